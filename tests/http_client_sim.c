/* SPDX-License-Identifier: MIT */
/*
 * http_client_sim: a client and a server of ours on simulated hosts, while calls of both fail and
 * segments are late and lost. A response is the right one and whole, or it is a failure in words;
 * what may not be done twice is not; nothing hangs, nothing is left.
 */
#include "harness.h"

#include <pier/pier.h>

#include <inttypes.h>

enum { REQUESTS = 12, CLIENTS = 3, BODY_CAP = 40000, SEEDS = 150 };

static struct {
    bool done[CLIENTS * REQUESTS]; /* uploads that were made */
    int answered, left;
    struct pier_event all_ended;
} world;

/* The bytes of resource n. */
static size_t fill(char *out, int number)
{
    size_t len = (size_t)number * 997 % BODY_CAP;
    for (size_t i = 0; i < len; i++)
        out[i] = (char)('a' + (i * 7 + (size_t)number) % 26);
    return len;
}

/* ---- the server ---- */

static int give(struct pier_exchange *ex, void *arg)
{
    char *room = pier_exchange_alloc(ex, BODY_CAP);
    if (!room)
        return -ENOMEM;
    int number = atoi(pier_req_param(ex, "number"));
    size_t len = fill(room, number);
    if (number % 2)
        return pier_http_bytes(ex, 200, NULL, room, len);
    ssize_t n = pier_res_write(ex, room, len);
    return n < 0 ? (int)n : 0;
}

static int move(struct pier_exchange *ex, void *arg)
{
    char to[32];
    snprintf(to, sizeof to, "/give/%s", pier_req_param(ex, "number"));
    return pier_http_redirect(ex, 302, to);
}

static int take(struct pier_exchange *ex, void *arg)
{
    int id = atoi(pier_req_param(ex, "id"));
    size_t len;
    char want[BODY_CAP];
    char *body = pier_body_all(ex, &len);
    if (!body)
        return pier_error_code();
    PIER_SIM_CHECK(!world.done[id]); /* a POST is never made again */
    world.done[id] = true;
    PIER_SIM_CHECK(len == fill(want, id) && memcmp(body, want, len) == 0);
    return pier_http_text(ex, 201, "made");
}

static int serve(void *arg)
{
    int rc = -1;
    while (rc < 0 && rc != -ECANCELED) { /* until there is memory, and a descriptor, for it */
        struct pier_router *r = pier_router_new();
        pier_route(r, "GET /give/{number}", give, NULL);
        pier_route(r, "GET /move/{number}", move, NULL);
        pier_route(r, "POST /take/{id}", take, NULL);
        struct pier_server *s = pier_server_new(&(struct pier_serve_opts){ .no_signals = true });
        pier_server_add_http(s, "http://:80", r, NULL);
        rc = pier_server_run(s);
        pier_server_free(s);
        pier_router_free(r);
        if (rc < 0 && pier_sleep(PIER_SECOND) < 0)
            break;
    }
    return 0;
}

/* ---- clients ---- */

/* 1: answered and right; 0: failed, in words. */
static int check(struct pier_response *r, int status, const char *want, size_t want_len)
{
    size_t len;
    char *body = pier_response_all(r, &len);
    int right = 0;
    if (!body)
        PIER_SIM_CHECK(pier_error_code() < 0 && *pier_error());
    if (body && pier_response_status(r) == status) {
        PIER_SIM_CHECK(len == want_len && memcmp(body, want, len) == 0);
        right = 1;
    }
    pier_response_free(r);
    return right;
}

static int ask(struct pier_http_client *client, int id)
{
    static char want[BODY_CAP]; /* of no task while it waits */
    char url[64];
    const struct pier_request req = { .client = client, .retries = 3, .timeout_ms = 60000 };
    size_t len = fill(want, id);
    if (id % 3 == 0) {
        char *body = malloc(BODY_CAP);
        memcpy(body, want, len);
        snprintf(url, sizeof url, "http://server/take/%d", id);
        struct pier_response *r = pier_http_post(url, NULL, body, len, &req);
        free(body);
        return check(r, 201, "made", 4);
    }
    snprintf(url, sizeof url, "http://server/%s/%d", id % 3 == 1 ? "give" : "move", id);
    struct pier_response *r = pier_http_get(url, &req);
    char *whole = malloc(BODY_CAP);
    int right = check(r, 200, whole, fill(whole, id));
    free(whole);
    return right;
}

static int client_of(void *arg)
{
    int first = (int)(intptr_t)arg * REQUESTS;
    struct pier_http_client *client = pier_http_client_new(NULL);
    for (int i = 0; i < REQUESTS && client; i++) {
        int rc = ask(client, first + i);
        if (rc < 0)
            return rc;
        world.answered += rc;
        if (pier_sleep(pier_sim_between(0, 3) * 20 * PIER_SECOND) < 0)
            break;
    }
    pier_http_client_free(client);
    if (--world.left == 0)
        pier_event_set(&world.all_ended);
    return 0;
}

static int scenario(void *arg)
{
    memset(&world, 0, sizeof world);
    pier_event_init(&world.all_ended, PIER_LOCAL);
    struct pier_sim_host *server = pier_sim_host("server", "10.0.0.1");
    struct pier_sim_host *client = pier_sim_host("client", "10.0.0.2");
    pier_sim_start(server, serve, NULL);
    world.left = CLIENTS;
    for (int i = 0; i < CLIENTS; i++)
        pier_sim_start(client, client_of, (void *)(intptr_t)i);
    int rc = pier_event_wait(&world.all_ended);
    pier_sim_stop(server);
    pier_sim_join(server);
    return rc;
}

static int run_seeds(const struct pier_sim_opts *opts, int count)
{
    int answered = 0;
    for (uint64_t seed = 1; seed <= (uint64_t)count; seed++) {
        int rc = pier_sim_run(seed, opts, scenario);
        if (rc != 0)
            ck_abort_msg("seed %" PRIu64 ": %d, %s", seed, rc, pier_error());
        answered += world.answered;
    }
    return answered;
}

TEST(client_is_answered_in_a_calm_network)
{
    ck_assert_int_eq(run_seeds(NULL, 10), 10 * CLIENTS * REQUESTS);
}

TEST_WITHIN(60, client_stays_right_in_a_bad_network)
{
    const struct pier_sim_opts opts = {
        .link = { .loss_ppm = 50000, .jitter_ns = 50 * PIER_MILLISECOND },
        .faults = { .refuse = 20000,
                    .reset = 5000,
                    .broken_pipe = 5000,
                    .timeout = 1000,
                    .interrupt = 20000,
                    .resolve = 20000,
                    .descriptors = 10000 },
    };
    int answered = run_seeds(&opts, SEEDS);
    ck_assert_int_gt(answered, SEEDS * CLIENTS * REQUESTS / 2);
    ck_assert_int_lt(answered, SEEDS * CLIENTS * REQUESTS); /* there was trouble */
}

TEST_WITHIN(60, client_stays_right_without_memory)
{
    const struct pier_sim_opts opts = { .faults = { .memory = 5000 } };
    int answered = run_seeds(&opts, SEEDS);
    ck_assert_int_gt(answered, SEEDS * CLIENTS * REQUESTS / 4);
}

HARNESS_MAIN("http_client_sim")
