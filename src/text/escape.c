/* SPDX-License-Identifier: MIT */
/*
 * text/escape.c - bytes as printable text, for logs and terminals. The text can be read back: a
 * backslash always begins an escape.
 *
 * Invariant: what has been written ends at a whole character or escape, and "whole" is the furthest
 * such end after which the mark of a cut text still fits.
 */
#include "text/utf8.h"

#include "base/assert.h"

#include <string.h>

enum { CAP_MIN = 8 };

static const char mark[] = "..."; /* with its NUL */

struct text {
    char *out;
    size_t len, cap;
    size_t whole;
};

/* Appends a run of characters or one escape (ASCII, so it has no inner ends of characters, and is
 * atomic). Returns false when it did not fit; the text is then to be cut. */
static bool append(struct text *t, const void *bytes, size_t len, bool atomic)
{
    size_t room = t->cap - 1 - t->len;
    size_t marked_max = t->cap - sizeof mark;
    if (t->len + len <= marked_max) {
        t->whole = t->len + len;
    } else if (!atomic && t->len < marked_max) {
        size_t part = marked_max - t->len;
        t->whole = marked_max - pier_utf8_cut(bytes, part);
    }
    size_t n = len < room ? len : room;
    memcpy(t->out + t->len, bytes, n);
    t->len += n;
    return n == len;
}

static bool append_escape(struct text *t, unsigned char byte)
{
    static const char digits[] = "0123456789abcdef";
    static const char named[] = "\nn\rr\tt\\\\\"\"";
    for (const char *p = named; *p; p += 2)
        if ((unsigned char)p[0] == byte)
            return append(t, (char[]){ '\\', p[1] }, 2, true);
    return append(t, (char[]){ '\\', 'x', digits[byte >> 4], digits[byte & 15] }, 4, true);
}

/* All bytes of a character that is not shown are escaped, not the first alone: the rest of it would
 * be bytes that continue nothing, so the next turns see to them. */
static bool append_all(struct text *t, const unsigned char *bytes, size_t len)
{
    size_t at = 0;
    while (at < len) {
        size_t plain = pi_utf8_plain(bytes + at, len - at);
        if (!append(t, bytes + at, plain, false))
            return false;
        at += plain;
        if (at < len && !append_escape(t, bytes[at++]))
            return false;
    }
    return true;
}

size_t pier_escape(char *out, size_t cap, const void *bytes, size_t len)
{
    PIER_ASSERT(cap >= CAP_MIN);
    struct text t = { .out = out, .cap = cap };
    if (append_all(&t, bytes, len)) {
        out[t.len] = '\0';
        return t.len;
    }
    memcpy(out + t.whole, mark, sizeof mark);
    return t.whole + sizeof mark - 1;
}
