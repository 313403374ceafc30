/* SPDX-License-Identifier: MIT */
/*
 * rest_api [URL]: a list of things to do, in JSON: GET and POST /todos; GET, PUT, PATCH and DELETE
 * /todos/{id}. Each has a text and may be done. Field X-Total-Count says how many there are.
 *
 * URL defaults to http://127.0.0.1:8000. The list lives as long as the program, in which one task
 * at a time has it.
 */
#include <pier/pier.h>

#include <stdlib.h>
#include <string.h>

enum { TODOS_MAX = 1000, TEXT_MAX = 200 };

struct todo {
    int id; /* 0: a free place */
    bool done;
    char text[TEXT_MAX + 1];
};

static struct todo todos[TODOS_MAX];
static int last_id;

static struct todo *find(const char *id)
{
    char *end;
    long number = strtol(id, &end, 10);
    for (int i = 0; number > 0 && *end == '\0' && i < TODOS_MAX; i++)
        if (todos[i].id == number)
            return &todos[i];
    return NULL;
}

static struct todo *free_place(void)
{
    for (int i = 0; i < TODOS_MAX; i++)
        if (todos[i].id == 0)
            return &todos[i];
    return NULL;
}

static void put(struct pier_json *w, const struct todo *t)
{
    pier_json_object(w);
    pier_json_key(w, "id");
    pier_json_int(w, t->id);
    pier_json_key(w, "text");
    pier_json_str(w, t->text);
    pier_json_key(w, "done");
    pier_json_bool(w, t->done);
    pier_json_close(w);
}

static int answer(struct pier_exchange *ex, int status, const struct todo *t)
{
    struct pier_json w;
    pier_res_json(ex, status, &w);
    put(&w, t);
    return (int)pier_json_end(&w);
}

static int no_todo(struct pier_exchange *ex)
{
    return pier_http_error(ex, 404, "there is no todo %s", pier_req_param(ex, "id"));
}

/* Changes what the body names; whole: it has to name the text. 0, or the result of having answered
 * or failed: *answered says whether to go on. */
static int change(struct pier_exchange *ex, struct todo *t, bool whole, bool *answered)
{
    const struct pier_json_value *body = pier_body_json(ex, NULL);
    *answered = true;
    if (!body)
        return pier_error_code();
    const char *text = pier_json_get_str(body, "text", whole ? NULL : t->text);
    if (!text || strlen(text) > TEXT_MAX)
        return pier_http_error(ex, 422, "text has to be a string of at most %d bytes", TEXT_MAX);
    *answered = false;
    t->done = pier_json_get_bool(body, "done", whole ? false : t->done);
    memmove(t->text, text, strlen(text) + 1);
    return 0;
}

static int list(struct pier_exchange *ex, void *arg)
{
    struct pier_json w;
    int count = 0;
    for (int i = 0; i < TODOS_MAX; i++)
        count += todos[i].id != 0;
    pier_res_set(ex, "X-Total-Count", pier_exchange_printf(ex, "%d", count));
    pier_res_json(ex, 200, &w);
    pier_json_array(&w);
    for (int i = 0; i < TODOS_MAX; i++)
        if (todos[i].id != 0)
            put(&w, &todos[i]);
    pier_json_close(&w);
    return (int)pier_json_end(&w);
}

static int create(struct pier_exchange *ex, void *arg)
{
    bool answered;
    struct todo made = { 0 };
    int rc = change(ex, &made, true, &answered);
    if (answered)
        return rc;
    struct todo *place = free_place();
    if (!place)
        return pier_http_error(ex, 507, "there is room for %d", TODOS_MAX);
    made.id = ++last_id;
    *place = made;
    pier_res_set(ex, "Location", pier_exchange_printf(ex, "/todos/%d", made.id));
    return answer(ex, 201, &made);
}

static int show(struct pier_exchange *ex, void *arg)
{
    const struct todo *t = find(pier_req_param(ex, "id"));
    return t ? answer(ex, 200, t) : no_todo(ex);
}

static int update(struct pier_exchange *ex, void *arg)
{
    bool answered, whole = strcmp(pier_req_method(ex), "PUT") == 0;
    struct todo *t = find(pier_req_param(ex, "id"));
    if (!t)
        return no_todo(ex);
    struct todo changed = *t;
    int rc = change(ex, &changed, whole, &answered);
    if (answered)
        return rc;
    t = find(pier_req_param(ex, "id")); /* the body was waited for */
    if (!t)
        return no_todo(ex);
    *t = changed;
    return answer(ex, 200, &changed);
}

static int delete_one(struct pier_exchange *ex, void *arg)
{
    struct todo *t = find(pier_req_param(ex, "id"));
    if (!t)
        return no_todo(ex);
    t->id = 0;
    return pier_http_empty(ex, 204);
}

int main(int argc, char **argv)
{
    struct pier_router *r = pier_router_new();
    pier_use_security(r, NULL);
    pier_use_request_id(r);
    pier_route(r, "GET /todos", list, NULL);
    pier_route(r, "POST /todos", create, NULL);
    pier_route(r, "GET /todos/{id}", show, NULL);
    pier_route(r, "PUT /todos/{id}", update, NULL);
    pier_route(r, "PATCH /todos/{id}", update, NULL);
    pier_route(r, "DELETE /todos/{id}", delete_one, NULL);
    int code = pier_http_serve(argc > 1 ? argv[1] : "http://127.0.0.1:8000", r,
                               &(struct pier_http_opts){ .serve = { .workers = 1 } });
    pier_router_free(r);
    return code;
}
