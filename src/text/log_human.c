/* SPDX-License-Identifier: MIT */
/*
 * text/log_human.c - the log as lines for people:
 *
 *     2026-11-20T09:22:31.123Z warn message key=value
 *
 * Invariant: a line is printable UTF-8 whatever the record holds, so nobody on the network writes
 * to a terminal, and no record looks like two. A value that needs it is quoted; what does not fit
 * is cut and marked "...", and a long value leaves room for the fields behind it.
 */
#include <pier/text.h>

#include "base/log.h"
#include "base/sys.h"

#include <inttypes.h>
#include <string.h>

enum {
    KEY_CAP = 64,       /* keys are a program's own words: longer ones are cut */
    FIELD_RESERVE = 48, /* kept free for each field that is still to come: a key and an address */
    FIELD_MIN = 24,     /* less is no use to a reader, and pier_escape() wants 8 */
};

struct line {
    char text[PI_LOG_LINE_MAX];
    size_t len;
};

static const char more[] = " ...\n"; /* fields were left out */

static void add(struct line *l, const char *text, size_t len)
{
    memcpy(l->text + l->len, text, len);
    l->len += len;
}

static size_t room_left(const struct line *l)
{
    return sizeof l->text - sizeof more - l->len;
}

/* The room for one item when others are to follow: all but their reserve. There is at least
 * FIELD_MIN left. */
static size_t room_for_one(const struct line *l, size_t others)
{
    size_t room = room_left(l);
    if (others >= (room - FIELD_MIN) / FIELD_RESERVE)
        return FIELD_MIN;
    return room - others * FIELD_RESERVE;
}

/* Spaces and equals signs would not be told from the line's own; quotes, backslashes and whatever
 * else was escaped shows as a difference to the value; and an empty value has to be seen. */
static bool needs_quotes(const char *shown, size_t shown_len, const struct pier_log_field *f)
{
    return shown_len == 0 || shown_len != f->len || memcmp(shown, f->str, shown_len) != 0 ||
           memchr(shown, ' ', shown_len) || memchr(shown, '=', shown_len);
}

/* Written behind the place of an opening quotation mark, and moved there when there is none. */
static void add_string(struct line *l, const struct pier_log_field *f, size_t cap)
{
    char *quote = l->text + l->len;
    size_t len = pier_escape(quote + 1, cap - 2, f->str, f->len);
    if (needs_quotes(quote + 1, len, f)) {
        quote[0] = '"';
        quote[len + 1] = '"';
        l->len += len + 2;
    } else {
        memmove(quote, quote + 1, len);
        l->len += len;
    }
}

/* Returns false when there is no room for it. */
static bool add_field(struct line *l, const struct pier_log_field *f, size_t others)
{
    char key[KEY_CAP];
    size_t key_len = pier_escape(key, sizeof key, f->key, strlen(f->key));
    if (room_left(l) < key_len + 2 + FIELD_MIN)
        return false;
    add(l, " ", 1);
    add(l, key, key_len);
    add(l, "=", 1);
    if (f->kind == PIER_LOG_INT) {
        int len = snprintf(l->text + l->len, FIELD_MIN, "%" PRId64, f->num);
        l->len += (size_t)len;
    } else {
        add_string(l, f, room_for_one(l, others));
    }
    return true;
}

void pier_log_human(void *ctx, enum pier_log_level level, const char *msg,
                    const struct pier_log_field *fields, size_t count)
{
    struct line l;
    const char *name = pi_log_level_name(level);
    l.len = pier_date_rfc3339(l.text, sizeof l.text, pi_unix_ns(), true);
    add(&l, " ", 1);
    add(&l, name, strlen(name));
    add(&l, " ", 1);
    l.len += pier_escape(l.text + l.len, room_for_one(&l, count), msg, strlen(msg));

    size_t shown = 0;
    while (shown < count && add_field(&l, &fields[shown], count - shown - 1))
        shown++;
    bool all = shown == count;
    add(&l, all ? "\n" : more, all ? 1 : sizeof more - 1);
    pi_log_write(ctx, l.text, l.len);
}
