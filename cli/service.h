/* SPDX-License-Identifier: MIT */
/*
 * service.h - what `pier serve` does with a connection: the handlers, the conversation in messages
 * that most of them share, and the trace of -v. Private to the files of `pier serve`.
 */
#ifndef CLI_SERVICE_H
#define CLI_SERVICE_H

#include <pier/pier.h>

#include <stdbool.h>
#include <sys/uio.h>

/* The longest read, and so the longest message without --lines. */
enum { MESSAGE_BYTES = 65536 };

/* What a handler returns, beside negative codes. */
enum service_end {
    SERVICE_ENDED = 0,  /* the peer has ended its input, or the server stops */
    SERVICE_CLOSED = 1, /* the handler has had enough */
};

/* A write takes 64 pieces; one is for the newline of --lines. */
enum { REPLY_PIECES = 63 };

/* The text of --reply, cut at its "%m": pieces without a base stand for the message. */
struct reply_template {
    struct iovec pieces[REPLY_PIECES];
    int count;
};

/* One for all connections of the server; nothing in it changes while they are served. */
struct service {
    const char *name; /* as the line "listening on" shows it */
    int (*run)(struct pier_conn *c, const struct service *service);
    bool lines;
    bool datagrams; /* of udp:// endpoints */
    size_t max_line;
    bool once;
    struct reply_template reply;
    const char *command; /* of --exec */
    int idle_timeout_ms, http_idle_ms;
    bool traces; /* -v */
};

/* ---- serve.c ---- */

/* A pier_handler: serves the connection as the struct service that arg is. */
int service_run(struct pier_conn *c, void *arg);

/* ---- talk.c: a conversation in messages ---- */

struct talk {
    struct pier_conn *conn;
    const struct service *service;
    char *text; /* the last message, and the room for the next one */
    size_t len, cap;
};

/* Makes the room, which fini frees. 0 or -ENOMEM. */
int talk_init(struct talk *t, struct pier_conn *c, const struct service *service);
void talk_fini(struct talk *t);

/* Waits for the next message. 1; 0 when there will be no more; a negative code. */
int talk_next(struct talk *t);

/* The length of the message without the CR and LF at its end. */
size_t talk_trimmed(const struct talk *t);

/* Whether the message, without CR and LF at its end, is that word. */
bool talk_is(const struct talk *t, const char *word);
bool talk_is_nocase(const struct talk *t, const char *word);

/* Each sends one reply, which --lines ends with a newline: a text; the message between two texts;
 * pieces, at most REPLY_PIECES. 1 or a negative code. */
int talk_say(struct talk *t, const char *text);
int talk_answer(struct talk *t, const char *before, const char *after);
int talk_write(struct talk *t, const struct iovec *pieces, int count);

/* ---- the handlers ---- */

int handle_echo(struct pier_conn *c, const struct service *service);
int handle_message(struct pier_conn *c, const struct service *service);
int handle_hello(struct pier_conn *c, const struct service *service);
int handle_chat(struct pier_conn *c, const struct service *service);
int handle_discard(struct pier_conn *c, const struct service *service);
int handle_time(struct pier_conn *c, const struct service *service);
int handle_receiver(struct pier_conn *c, const struct service *service);
int handle_reply(struct pier_conn *c, const struct service *service);
int handle_exec(struct pier_conn *c, const struct service *service);

/* Cuts the text of --reply at its "%m". 0, or -EINVAL for another "%", -E2BIG for too many. */
int reply_parse(struct reply_template *reply, const char *text);

/* ---- serve_http.c ---- */

/* Whether a URL is served by pages instead of conversations; how that is called; adds it, with one
 * router for all of them. 0 or a negative code. */
bool is_http(const char *url);
const char *http_service_name(const struct service *service);
int http_add(struct pier_server *server, const struct service *service, const char *url);

/* ---- trace.c: what -v shows ---- */

/* 0: nothing; 1: connections and messages; 2: their bytes as well. Before the server runs. */
void trace_set(int verbosity);

void trace_connect(struct pier_conn *c);
void trace_message(struct pier_conn *c, const void *bytes, size_t len);
void trace_disconnect(struct pier_conn *c, int end); /* end: what the handler returned */

#endif
