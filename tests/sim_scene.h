/* SPDX-License-Identifier: MIT */
/*
 * sim_scene: what the tests of the simulator share. A scenario is a plain function; scene_passes()
 * runs it with several seeds, scene_calm() without chance, scene_finds() expects a failure.
 *
 *     static int asks(void *arg)
 *     {
 *         scene_open();                        two hosts; the scenario's task goes to "client"
 *         struct meeting m;
 *         scene_meet(&m, "tcp://server:80");   both ends of a connection in one hand
 *         ...
 *         scene_part(&m);
 *         return 0;
 *     }
 */
#ifndef PIER_TESTS_SIM_SCENE_H
#define PIER_TESTS_SIM_SCENE_H

#include "harness.h"

#include <pier/pier.h>

#include <inttypes.h>

#define UNUSED_FN __attribute__((unused))
#define CALM "calm=order+split+latency+faults"

/* ---- runs ---- */

/* Fails the test with the words of a run that found something. */
static void scene_seed(uint64_t seed, const struct pier_sim_opts *opts, pier_task_fn scenario)
{
    int rc = pier_sim_run(seed, opts, scenario);
    if (rc != 0)
        ck_abort_msg("seed %" PRIu64 ": %d, %s", seed, rc, pier_error());
}

UNUSED_FN static void scene_passes(pier_task_fn scenario)
{
    for (uint64_t seed = 1; seed <= 20; seed++)
        scene_seed(seed, NULL, scenario);
}

UNUSED_FN static void scene_calm(pier_task_fn scenario)
{
    scene_seed(1, &(struct pier_sim_opts){ .reduced = CALM }, scenario);
}

UNUSED_FN static void scene_expect_words(const char *words)
{
    if (!strstr(pier_error(), words))
        ck_abort_msg("\"%s\" is not in \"%s\"", words, pier_error());
}

/* Runs a calm scenario that must end with that code, and words with these in them. */
UNUSED_FN static void scene_fails(int code, const char *words, pier_task_fn scenario)
{
    struct pier_sim_opts opts = { .reduced = CALM };
    ck_assert_int_eq(pier_sim_run(1, &opts, scenario), code);
    ck_assert_int_eq(pier_error_code(), code);
    scene_expect_words(words);
}

UNUSED_FN static void scene_finds(const char *words, pier_task_fn scenario)
{
    scene_fails(PIER_ESIM, words, scenario);
}

/* The trace of a run, to be freed; opts may be NULL. */
UNUSED_FN static char *scene_trace(uint64_t seed, const struct pier_sim_opts *opts,
                                   pier_task_fn scenario)
{
    struct pier_sim_opts own = opts ? *opts : (struct pier_sim_opts){ .reduced = CALM };
    char *text = NULL;
    size_t len = 0;
    own.trace = open_memstream(&text, &len);
    int rc = pier_sim_run(seed, &own, scenario);
    fclose(own.trace);
    if (rc != 0)
        ck_abort_msg("%s\n%s", pier_error(), text);
    return text;
}

/* ---- hosts ---- */

struct scene {
    struct pier_sim_host *server, *client;
};

static struct scene scene;

UNUSED_FN static void scene_open(void)
{
    scene.server = pier_sim_host("server", "10.0.0.1 fd00::1");
    scene.client = pier_sim_host("client", "10.0.0.2 fd00::2");
    if (!scene.server || !scene.client)
        abort();
    pier_sim_enter(scene.client);
}

/* ---- a server in a program of its own ---- */

struct service {
    const char *url;
    pier_handler handler;
    void *arg;
    struct pier_serve_opts opts;
    int rc; /* of its run */
};

/* A stop is no failure of the program. */
UNUSED_FN static int service_main(void *arg)
{
    struct service *s = arg;
    struct pier_server *server = pier_server_new(&s->opts);
    pier_server_add(server, s->url, s->handler, s->arg);
    s->rc = pier_server_run(server);
    pier_server_free(server);
    return s->rc == -ECANCELED ? 0 : s->rc;
}

UNUSED_FN static int scene_echo(struct pier_conn *c, void *arg)
{
    char buf[1000];
    ssize_t n;
    while ((n = pier_read(c, buf, sizeof buf)) > 0)
        if (pier_write(c, buf, (size_t)n) < 0)
            return pier_error_code();
    return (int)n;
}

/* Connects, if need be again: the server may not listen yet. */
UNUSED_FN static struct pier_conn *scene_dial(const char *url)
{
    struct pier_conn *c = NULL;
    for (int i = 0; i < 50 && !c; i++) {
        c = pier_dial(url, NULL);
        if (!c)
            pier_sleep(10 * PIER_MILLISECOND);
    }
    if (!c)
        ck_abort_msg("%s", pier_error());
    return c;
}

/* ---- both ends of a connection ---- */

struct meeting {
    struct service service;
    struct pier_conn *there, *here; /* there: the server's end, open until scene_part() */
    struct pier_event came, leave;
};

static int meet(struct pier_conn *c, void *arg)
{
    struct meeting *m = arg;
    if (m->there)
        return 0; /* one is enough */
    m->there = c;
    pier_event_set(&m->came);
    pier_event_wait(&m->leave);
    return 0;
}

UNUSED_FN static void scene_meet_with(struct meeting *m, const char *url,
                                      const struct pier_serve_opts *opts)
{
    *m = (struct meeting){ .service = { .url = url, .handler = meet, .arg = m } };
    m->service.opts = opts ? *opts : (struct pier_serve_opts){ 0 };
    pier_event_init(&m->came, PIER_LOCAL);
    pier_event_init(&m->leave, PIER_LOCAL);
    ck_assert_int_eq(pier_sim_start(scene.server, service_main, &m->service), 0);
    m->here = scene_dial(url);
    ck_assert_int_eq(pier_event_wait(&m->came), 0);
}

UNUSED_FN static void scene_meet(struct meeting *m, const char *url)
{
    scene_meet_with(m, url, NULL);
}

/* Ends the server; the other end is the caller's. */
UNUSED_FN static void scene_part(struct meeting *m)
{
    pier_close(m->here);
    pier_event_set(&m->leave);
    pier_sim_stop(scene.server);
    ck_assert_int_eq(pier_sim_join(scene.server), 0);
}

#endif
