/* SPDX-License-Identifier: MIT */
/*
 * text/width.c - how many characters a text has, and how many columns of a terminal it takes
 * (UAX #11). No locale: the table is made from the Unicode Character Database.
 *
 * A width is that of its characters, one by one, as wcwidth(3) has it; a terminal that joins emoji
 * into one picture needs less.
 */
#include "text/utf8.h"
#include "text/width_table.h"

#include <string.h>

/* The ASCII of whole words is counted without looking at each byte. */
enum { WORD = sizeof(uint64_t) };

size_t pier_utf8_count(const void *bytes, size_t len)
{
    const unsigned char *p = bytes;
    size_t count = 0, at = 0;
    for (; len - at >= WORD; at += WORD) {
        uint64_t word;
        memcpy(&word, p + at, WORD);
        uint64_t continuing = (word >> 7) & ~(word >> 6) & 0x0101010101010101u;
        count += WORD - (size_t)(continuing * 0x0101010101010101u >> 56);
    }
    for (; at < len; at++)
        count += (p[at] & 0xc0) != 0x80;
    return count;
}

static bool within(const struct run *runs, size_t count, uint32_t code)
{
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (code > runs[middle].last)
            low = middle + 1;
        else
            high = middle;
    }
    return low < count && code >= runs[low].first;
}

#define WITHIN(runs, code) within(runs, sizeof(runs) / sizeof((runs)[0]), code)

static size_t columns_of(uint32_t code)
{
    if (code < 0x20 || (code >= 0x7f && code < 0xa0))
        return 0;
    if (code < no_column[0].first)
        return 1;
    if (WITHIN(no_column, code))
        return 0;
    return WITHIN(two_columns, code) ? 2 : 1;
}

/* The width of the character at p, and its length; bytes that are none show as one U+FFFD. */
static size_t next_width(const unsigned char *p, size_t len, size_t *n)
{
    uint32_t code;
    *n = pi_utf8_char(p, len, &code);
    if (*n > 0)
        return columns_of(code);
    *n = pi_utf8_bad_len(p, len);
    return 1;
}

size_t pier_utf8_width(const void *bytes, size_t len)
{
    const unsigned char *p = bytes;
    size_t columns = 0, n;
    for (size_t at = 0; at < len; at += n)
        columns += next_width(p + at, len - at, &n);
    return columns;
}

size_t pier_utf8_fit(const void *bytes, size_t len, size_t columns)
{
    const unsigned char *p = bytes;
    size_t at = 0;
    while (at < len) {
        size_t n, width = next_width(p + at, len - at, &n);
        if (width > columns)
            break;
        columns -= width;
        at += n;
    }
    return at;
}
