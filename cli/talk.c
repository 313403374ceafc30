/* SPDX-License-Identifier: MIT */
/*
 * talk.c - a connection as a conversation: messages in, replies out.
 *
 * A message is one read of text, or one line with --lines. Its room is on the heap, since reads are
 * long and stacks are small: whole for reads, where only the pages that were written to cost
 * anything, and growing with the line for lines.
 */
#include "service.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Room for a line to begin with; most are shorter. */
enum { FIRST_LINE_ROOM = 1024 };

int talk_init(struct talk *t, struct pier_conn *c, const struct service *service)
{
    size_t most = service->lines ? service->max_line : MESSAGE_BYTES;
    size_t cap = service->lines && most >= FIRST_LINE_ROOM ? FIRST_LINE_ROOM : most + 1;
    *t = (struct talk){ .conn = c, .service = service, .text = malloc(cap), .cap = cap };
    return t->text != NULL ? 0 : pier_error_set(-ENOMEM, "message of %s", pier_peer(c));
}

void talk_fini(struct talk *t)
{
    free(t->text);
    t->text = NULL;
}

/* ---- in ---- */

/* Doubles the room, at most to the limit of lines. */
static int grow(struct talk *t)
{
    size_t cap = t->cap * 2 < t->service->max_line + 1 ? t->cap * 2 : t->service->max_line + 1;
    char *text = realloc(t->text, cap);
    if (text == NULL)
        return pier_error_set(-ENOMEM, "line of %s", pier_peer(t->conn));
    t->text = text;
    t->cap = cap;
    return 0;
}

static int refuse_line(struct talk *t)
{
    size_t limit = t->service->max_line;
    pier_printf(t->conn, "line too long: the limit is %zu bytes\n", limit);
    return pier_error_set(-EMSGSIZE, "line of more than %zu bytes", limit);
}

static ssize_t next_line(struct talk *t)
{
    for (;;) {
        ssize_t n = pier_read_line(t->conn, t->text, t->cap);
        if (n == -EMSGSIZE && t->cap > t->service->max_line)
            return refuse_line(t);
        if (n != -EMSGSIZE)
            return n;
        int rc = grow(t); /* the line stays unread meanwhile */
        if (rc < 0)
            return rc;
    }
}

int talk_next(struct talk *t)
{
    bool lines = t->service->lines;
    ssize_t n = lines ? next_line(t) : pier_read_text(t->conn, t->text, t->cap);
    if (n < 0 || (n == 0 && !lines))
        return lines && n == -ENODATA ? 0 : (int)n;
    t->len = (size_t)n;
    trace_message(t->conn, t->text, t->len);
    return 1;
}

size_t talk_trimmed(const struct talk *t)
{
    size_t len = t->len;
    while (len > 0 && (t->text[len - 1] == '\n' || t->text[len - 1] == '\r'))
        len--;
    return len;
}

bool talk_is(const struct talk *t, const char *word)
{
    size_t len = talk_trimmed(t);
    return len == strlen(word) && memcmp(t->text, word, len) == 0;
}

bool talk_is_nocase(const struct talk *t, const char *word)
{
    size_t len = talk_trimmed(t);
    return len == strlen(word) && strncasecmp(t->text, word, len) == 0;
}

/* ---- out ---- */

int talk_write(struct talk *t, const struct iovec *pieces, int count)
{
    struct iovec line[64];
    if (t->service->lines) {
        memcpy(line, pieces, (size_t)count * sizeof *pieces);
        line[count++] = (struct iovec){ "\n", 1 };
        pieces = line;
    }
    ssize_t n = pier_writev(t->conn, pieces, count);
    return n < 0 ? (int)n : 1;
}

int talk_say(struct talk *t, const char *text)
{
    return talk_write(t, &(struct iovec){ (char *)text, strlen(text) }, 1);
}

int talk_answer(struct talk *t, const char *before, const char *after)
{
    const struct iovec pieces[] = {
        { (char *)before, strlen(before) },
        { t->text, t->len },
        { (char *)after, strlen(after) },
    };
    return talk_write(t, pieces, 3);
}
