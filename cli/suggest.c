/* SPDX-License-Identifier: MIT */
/*
 * suggest.c - "did you mean": the name that is the fewest slips away from what was typed.
 *
 * A slip is a letter too many, too few, a wrong one, or two neighbours swapped (optimal string
 * alignment distance). Names are short, so three rows of the table are all there is.
 */
#include "verb.h"

#include <stdio.h>
#include <string.h>

/* Longer than any name of a verb, an option or a choice; what is longer is no slip. */
enum { NAME_MAX_LEN = 32 };

static size_t smallest(size_t a, size_t b, size_t c)
{
    size_t least = a < b ? a : b;
    return least < c ? least : c;
}

/* The number of slips between a and b, neither longer than NAME_MAX_LEN. */
static size_t distance(const char *a, const char *b)
{
    size_t rows[3][NAME_MAX_LEN + 1], *before = rows[0], *above = rows[1], *row = rows[2];
    size_t len = strlen(b);
    for (size_t j = 0; j <= len; j++)
        row[j] = j;
    for (size_t i = 1; a[i - 1] != '\0'; i++) {
        size_t *oldest = before;
        before = above;
        above = row;
        row = oldest;
        row[0] = i;
        for (size_t j = 1; j <= len; j++) {
            row[j] = smallest(above[j] + 1, row[j - 1] + 1, above[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = smallest(row[j], row[j], before[j - 2] + 1);
        }
    }
    return row[len];
}

void suggestion_offer(struct suggestion *s, const char *name)
{
    if (strlen(s->typed) > NAME_MAX_LEN || strlen(name) > NAME_MAX_LEN)
        return;
    /* Two slips in a name of four letters, three in one of eight: more make another word. */
    size_t slips = distance(s->typed, name), len = strlen(name);
    if (slips > 1 + len / 4 || slips >= len || (s->best != NULL && slips >= s->distance))
        return;
    s->best = name;
    s->distance = slips;
}

const char *suggestion_text(const struct suggestion *s, const char *prefix)
{
    static char text[NAME_MAX_LEN + 32];
    text[0] = '\0';
    if (s->best != NULL)
        snprintf(text, sizeof text, "; did you mean '%s%s'?", prefix, s->best);
    return text;
}
