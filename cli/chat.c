/* SPDX-License-Identifier: MIT */
/*
 * chat.c - `pier serve --handler chat`: each message to every other client of the server.
 *
 * A client is two tasks: the handler's own reads and passes on, the other writes what comes into
 * the client's inbox. A line exists once, counted by the inboxes that hold it. Nobody waits with
 * the room locked, and no speaker waits for a full inbox longer than PATIENCE: then its client is
 * dropped, and told as soon as it takes bytes again.
 */
#include "service.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* Lines that may wait for a client, beside what the kernel's buffers hold. */
enum { INBOX_LINES = 256 };

/* Lines that one write takes, when so many wait. */
enum { BATCH_LINES = 16 };

/* A burst passes within this time; a client that has stopped reading does not. */
#define PATIENCE PIER_SECOND

/* The lock is held for a few instructions; a shield must have a bound, and this is never met. */
#define LOCK_LIMIT PIER_MINUTE

static const char too_slow[] = "too slow: messages were lost, goodbye\n";

struct line {
    atomic_int holders;
    size_t len;
    char text[];
};

/* Held by its own connection, and by each speaker who is about to send to it. */
struct client {
    atomic_int holders;
    atomic_bool dropped;
    struct pier_chan inbox; /* of struct line * */
    struct client *next, *before;
};

static struct {
    struct pier_mutex lock;
    struct client *first;
    size_t count;
} room;

/* ---- lines ---- */

/* "[speaker] text" and a newline, or NULL. */
static struct line *line_new(const char *speaker, const char *text, size_t len)
{
    size_t prefix = strlen(speaker) + 3;
    struct line *line = malloc(sizeof *line + prefix + len + 1);
    if (line == NULL)
        return NULL;
    atomic_init(&line->holders, 1);
    line->len = prefix + len + 1;
    line->text[0] = '[';
    memcpy(line->text + 1, speaker, prefix - 3);
    memcpy(line->text + prefix - 2, "] ", 2);
    memcpy(line->text + prefix, text, len);
    line->text[prefix + len] = '\n';
    return line;
}

static void line_release(struct line *line)
{
    if (atomic_fetch_sub(&line->holders, 1) == 1)
        free(line);
}

/* ---- clients ---- */

static struct client *client_new(void)
{
    struct client *client = calloc(1, sizeof *client);
    if (client == NULL)
        return NULL;
    atomic_init(&client->holders, 1);
    if (pier_chan_init(&client->inbox, sizeof(struct line *), INBOX_LINES, 0) < 0) {
        free(client);
        return NULL;
    }
    return client;
}

/* Nothing more comes into the inbox, and what was in it is forgotten. */
static void client_deafen(struct client *client)
{
    struct line *line;
    pier_chan_close(&client->inbox);
    while (pier_chan_try_recv(&client->inbox, &line) == 1)
        line_release(line);
}

static void client_release(struct client *client)
{
    if (atomic_fetch_sub(&client->holders, 1) > 1)
        return;
    client_deafen(client);
    pier_chan_fini(&client->inbox);
    free(client);
}

/* ---- the room ---- */

static int room_enter(struct client *client)
{
    int rc = pier_mutex_lock(&room.lock);
    if (rc < 0)
        return rc;
    client->next = room.first;
    if (room.first != NULL)
        room.first->before = client;
    room.first = client;
    room.count++;
    pier_mutex_unlock(&room.lock);
    return 0;
}

/* Never fails, whatever is being cancelled: the others must not find a client that is gone. */
static void room_leave(struct client *client)
{
    struct pier_scope shield;
    pier_shield(&shield, pier_after(LOCK_LIMIT));
    if (pier_mutex_lock(&room.lock) < 0)
        abort(); /* somebody waits with the room locked */
    if (client->next != NULL)
        client->next->before = client->before;
    *(client->before != NULL ? &client->before->next : &room.first) = client->next;
    room.count--;
    pier_mutex_unlock(&room.lock);
    pier_scope_join(&shield);
}

/* Everybody but the speaker: an array that the caller frees, of clients that the caller releases.
 * NULL on failure. */
static struct client **room_others(const struct client *speaker, size_t *count)
{
    if (pier_mutex_lock(&room.lock) < 0)
        return NULL;
    struct client **others = malloc(room.count * sizeof(struct client *));
    *count = 0;
    for (struct client *client = room.first; others && client; client = client->next) {
        if (client != speaker) {
            atomic_fetch_add(&client->holders, 1);
            others[(*count)++] = client;
        }
    }
    pier_mutex_unlock(&room.lock);
    if (others == NULL)
        pier_error_set(-ENOMEM, "chat");
    return others;
}

/* ---- speaking ---- */

/* Whether the inbox is full: then the line is not in it. */
static bool is_full(struct client *client, struct line *line)
{
    atomic_fetch_add(&line->holders, 1);
    int rc = pier_chan_try_send(&client->inbox, &line);
    if (rc < 0)
        line_release(line);
    return rc == -EAGAIN;
}

/* Waits for room in a full inbox, drops a client that makes none. 0 or the cancellation's code. */
static int insist(struct client *client, struct line *line, int64_t deadline_ns)
{
    struct pier_select_case send = { &client->inbox, PIER_SELECT_SEND, .elem = &line };
    atomic_fetch_add(&line->holders, 1);
    int rc = pier_select(&send, 1, deadline_ns);
    if (rc == 0 && send.rc == 0)
        return 0;
    line_release(line);
    if (rc != -ETIMEDOUT)
        return rc;
    atomic_store(&client->dropped, true);
    client_deafen(client);
    return 0;
}

/* Those who keep up have the line at once; then the full inboxes are waited for, all together. */
static int speak(const struct client *speaker, struct line *line)
{
    size_t count, full = 0;
    struct client **others = room_others(speaker, &count);
    if (others == NULL)
        return pier_error_code();
    for (size_t i = 0; i < count; i++) {
        if (is_full(others[i], line))
            others[full++] = others[i];
        else
            client_release(others[i]);
    }
    int rc = 0;
    int64_t deadline_ns = pier_after(PATIENCE);
    for (size_t i = 0; i < full; i++) {
        if (rc == 0)
            rc = insist(others[i], line, deadline_ns);
        client_release(others[i]);
    }
    free(others);
    return rc;
}

/* ---- a connection ---- */

struct listener {
    struct pier_conn *conn;
    struct client *client;
};

static int write_lines(struct pier_conn *c, struct line **lines, int count)
{
    struct iovec pieces[BATCH_LINES];
    for (int i = 0; i < count; i++)
        pieces[i] = (struct iovec){ lines[i]->text, lines[i]->len };
    ssize_t n = pier_writev(c, pieces, count);
    for (int i = 0; i < count; i++)
        line_release(lines[i]);
    return n < 0 ? (int)n : 0;
}

/* A task: writes what comes into the inbox until it is closed. A failure ends the reading, too. */
static int listen_to_others(void *arg)
{
    struct listener *l = arg;
    struct pier_chan *inbox = &l->client->inbox;
    struct line *lines[BATCH_LINES];
    int rc;
    while ((rc = pier_chan_recv(inbox, &lines[0])) > 0) {
        int count = 1;
        while (count < BATCH_LINES && pier_chan_try_recv(inbox, &lines[count]) == 1)
            count++;
        rc = write_lines(l->conn, lines, count);
        if (rc < 0)
            return rc;
    }
    if (rc < 0 || !atomic_load(&l->client->dropped))
        return rc;
    pier_puts(l->conn, too_slow);
    return pier_error_set(-ENOBUFS, "chat with %s: too slow", pier_peer(l->conn));
}

static int speak_to_others(struct talk *talk, const struct client *self)
{
    int rc;
    while ((rc = talk_next(talk)) > 0) {
        struct line *line = line_new(pier_peer(talk->conn), talk->text, talk_trimmed(talk));
        if (line == NULL)
            return pier_error_set(-ENOMEM, "chat");
        rc = speak(self, line);
        line_release(line);
        if (rc < 0)
            return rc;
    }
    return rc;
}

static int take_part(struct talk *talk, struct client *self)
{
    struct listener listener = { talk->conn, self };
    struct pier_scope scope;
    pier_scope_open(&scope, 0);
    int rc = pier_spawn(&scope, listen_to_others, &listener);
    if (rc == 0)
        rc = room_enter(self);
    if (rc == 0) {
        rc = speak_to_others(talk, self);
        room_leave(self);
    }
    pier_chan_close(&self->inbox); /* what is in it is still written */
    int listened = pier_scope_join(&scope);
    return listened < 0 ? listened : rc;
}

int handle_chat(struct pier_conn *c, const struct service *service)
{
    struct talk talk;
    int rc = talk_init(&talk, c, service);
    if (rc < 0)
        return rc;
    struct client *self = client_new();
    rc = self != NULL ? take_part(&talk, self) : pier_error_set(-ENOMEM, "chat");
    if (self != NULL)
        client_release(self);
    talk_fini(&talk);
    return rc;
}
