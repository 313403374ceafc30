/* SPDX-License-Identifier: MIT */
/*
 * text/ascii.h - what the files about protocol text share: classes of ASCII characters, whatever
 * the locale, and a text that is put together in its caller's room.
 */
#ifndef PI_TEXT_ASCII_H
#define PI_TEXT_ASCII_H

#include <pier/text.h>

#include <stdbool.h>
#include <string.h>

static inline bool pi_is_digit(unsigned char c)
{
    return c >= '0' && c <= '9';
}

static inline bool pi_is_alpha(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static inline char pi_lower(unsigned char c)
{
    return (char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
}

/* RFC 3986, 2.3. */
static inline bool pi_is_unreserved(unsigned char c)
{
    return pi_is_alpha(c) || pi_is_digit(c) || c == '-' || c == '.' || c == '_' || c == '~';
}

/* RFC 9110, 5.6.2. */
static inline bool pi_is_tchar(unsigned char c)
{
    return pi_is_alpha(c) || pi_is_digit(c) || (c != '\0' && strchr("!#$%&'*+-.^_`|~", c));
}

/* What a hexadecimal digit is worth; -1 for another character. */
static inline int pi_hex_value(unsigned char c)
{
    if (pi_is_digit(c))
        return c - '0';
    c = (unsigned char)pi_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Whether text of len bytes is the word, in any case of ASCII letters. */
static inline bool pi_is_word(const char *text, size_t len, const char *word)
{
    for (size_t i = 0; i < len; i++)
        if (word[i] == '\0' || pi_lower((unsigned char)text[i]) != pi_lower((unsigned char)word[i]))
            return false;
    return word[len] == '\0';
}

/* A text that grows in room for cap bytes; len goes on counting what did not fit. */
struct pi_out {
    char *text;
    size_t cap, len;
};

static inline void pi_out_char(struct pi_out *o, char c)
{
    if (o->len < o->cap)
        o->text[o->len] = c;
    o->len++;
}

static inline void pi_out_bytes(struct pi_out *o, const char *bytes, size_t len)
{
    if (len > 0 && o->len < o->cap && len <= o->cap - o->len)
        memmove(o->text + o->len, bytes, len);
    o->len += len;
}

/* Ends the text with NUL: its length, or -ENOSPC and "". */
static inline ssize_t pi_out_end(struct pi_out *o)
{
    if (o->len < o->cap) {
        o->text[o->len] = '\0';
        return (ssize_t)o->len;
    }
    if (o->cap > 0)
        o->text[0] = '\0';
    return -ENOSPC;
}

#endif
