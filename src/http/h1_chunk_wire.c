/* SPDX-License-Identifier: MIT */
/*
 * http/h1_chunk_wire.c - the framing of chunked bodies (RFC 9112, 7.1), a byte at a time: what is
 * between two chunks is short. Payload is passed on as it lies in the input.
 *
 * All that other parsers have been fooled with is refused: bare CR or LF, white space where the
 * grammar has none, signs and prefixes of numbers, more than 16 digits.
 */
#include "http/h1_wire.h"

#include <string.h>

enum {
    DIGITS_MAX = 16,
    EXTENSIONS_MAX = 1024, /* more than there has been payload */
};

enum state {
    SIZE_FIRST, /* a digit has to come */
    SIZE,
    BEFORE_EXTENSION, /* white space: ";" has to come */
    NAME_FIRST,       /* behind ";" */
    NAME,
    BEHIND_NAME, /* white space: "=" or ";" has to come */
    VALUE_FIRST, /* behind "=" */
    VALUE,
    QUOTED,
    ESCAPED,
    BEHIND_QUOTED,
    SIZE_LF,
    DATA,
    DATA_CR,
    DATA_LF,
    DONE,
};

static inline bool is_space(char c)
{
    return c == ' ' || c == '\t';
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int take_digit(struct pi_h1_chunks *c, int digit)
{
    if (c->left > (uint64_t)INT64_MAX >> 4)
        return PI_H1_CHUNK_TOO_LARGE;
    if (++c->digits > DIGITS_MAX)
        return PI_H1_BAD_CHUNK_SIZE;
    c->left = c->left << 4 | (unsigned)digit;
    return SIZE;
}

/* Behind a size, a name or a value: the line's end or another extension. */
static int end_of_part(char byte)
{
    if (byte == '\r')
        return SIZE_LF;
    if (byte == ';')
        return NAME_FIRST;
    if (byte == '\n')
        return PI_H1_BARE_LF;
    return PI_H1_BAD_CHUNK_EXTENSION;
}

static int in_size(struct pi_h1_chunks *c, char byte)
{
    int digit = hex_value(byte);
    if (digit >= 0)
        return take_digit(c, digit);
    if (c->state == SIZE_FIRST)
        return PI_H1_BAD_CHUNK_SIZE;
    if (is_space(byte))
        return BEFORE_EXTENSION;
    int next = end_of_part(byte);
    return next == PI_H1_BAD_CHUNK_EXTENSION ? PI_H1_BAD_CHUNK_SIZE : next;
}

static int in_name(struct pi_h1_chunks *c, char byte)
{
    bool is_token = pi_is_token(&byte, 1);
    if (c->state == NAME_FIRST)
        return is_token ? NAME : is_space(byte) ? NAME_FIRST : PI_H1_BAD_CHUNK_EXTENSION;
    if (is_token && c->state == NAME)
        return NAME;
    if (is_space(byte))
        return BEHIND_NAME;
    if (byte == '=')
        return VALUE_FIRST;
    if (c->state == BEHIND_NAME)
        return byte == ';' ? NAME_FIRST : PI_H1_BAD_CHUNK_EXTENSION;
    return end_of_part(byte);
}

static int in_value(struct pi_h1_chunks *c, char byte)
{
    if (pi_is_token(&byte, 1))
        return VALUE;
    if (c->state == VALUE_FIRST)
        return byte == '"' ? QUOTED : is_space(byte) ? VALUE_FIRST : PI_H1_BAD_CHUNK_EXTENSION;
    return is_space(byte) ? BEFORE_EXTENSION : end_of_part(byte);
}

static int in_quoted(struct pi_h1_chunks *c, char byte)
{
    if (pi_value_span(&byte, 1) == 0)
        return PI_H1_BAD_CHUNK_EXTENSION;
    if (c->state == ESCAPED)
        return QUOTED;
    return byte == '"' ? BEHIND_QUOTED : byte == '\\' ? ESCAPED : QUOTED;
}

static int extension(struct pi_h1_chunks *c, char byte)
{
    if (++c->extensions > EXTENSIONS_MAX)
        return PI_H1_CHUNK_EXTENSION_TOO_LONG;
    switch (c->state) {
    case BEFORE_EXTENSION:
        return byte == ';'      ? NAME_FIRST
               : is_space(byte) ? BEFORE_EXTENSION
                                : PI_H1_BAD_CHUNK_EXTENSION;
    case NAME_FIRST:
    case NAME:
    case BEHIND_NAME:
        return in_name(c, byte);
    case VALUE_FIRST:
    case VALUE:
        return in_value(c, byte);
    case QUOTED:
    case ESCAPED:
        return in_quoted(c, byte);
    default:
        return is_space(byte) ? BEFORE_EXTENSION : end_of_part(byte);
    }
}

static int size_is_known(struct pi_h1_chunks *c)
{
    c->digits = 0;
    return c->left > 0 ? DATA : DONE;
}

/* The next state, or a negative code. */
static int next_state(struct pi_h1_chunks *c, char byte)
{
    switch (c->state) {
    case SIZE_FIRST:
    case SIZE:
        return in_size(c, byte);
    case SIZE_LF:
        return byte == '\n' ? size_is_known(c) : PI_H1_BARE_CR;
    case DATA_CR:
        return byte == '\r' ? DATA_LF : PI_H1_NO_CHUNK_END;
    case DATA_LF:
        return byte == '\n' ? SIZE_FIRST : PI_H1_NO_CHUNK_END;
    default:
        return extension(c, byte);
    }
}

ssize_t pi_h1_chunk_step(struct pi_h1_chunks *c, struct pi_part *data, const char *buf, size_t len)
{
    size_t used = 0;
    *data = (struct pi_part){ NULL, 0 };
    while (used < len && c->state != DATA && c->state != DONE) {
        int next = next_state(c, buf[used]);
        if (next < 0)
            return next;
        c->state = (uint8_t)next;
        used++;
    }
    if (c->state != DATA || used == len)
        return (ssize_t)used;
    size_t n = c->left < len - used ? (size_t)c->left : len - used;
    *data = (struct pi_part){ buf + used, n };
    c->left -= n;
    c->extensions -= c->extensions < n ? c->extensions : (uint32_t)n;
    if (c->left == 0)
        c->state = DATA_CR;
    return (ssize_t)(used + n);
}

bool pi_h1_chunks_done(const struct pi_h1_chunks *c)
{
    return c->state == DONE;
}

size_t pi_h1_chunk_head(char *out, uint64_t n)
{
    int digits = 1;
    while (digits < DIGITS_MAX && n >> 4 * digits)
        digits++;
    for (int i = 0; i < digits; i++)
        out[i] = "0123456789abcdef"[n >> 4 * (digits - 1 - i) & 15];
    memcpy(out + digits, "\r\n", 2);
    return (size_t)digits + 2;
}
