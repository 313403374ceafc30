/* SPDX-License-Identifier: MIT */
/*
 * values.c - counts, sizes and durations as people write them: "1000", "64k", "1.5s".
 *
 * Integers throughout: a duration of "0.1s" is 100,000,000 ns and nothing beside it. A text is
 * taken whole or not at all.
 */
#include "verb.h"

#include <limits.h>
#include <string.h>

struct unit {
    const char *name;
    int64_t factor;
};

static const struct unit sizes[] = {
    { "", 1 }, { "k", 1 << 10 }, { "K", 1 << 10 }, { "M", 1 << 20 }, { "G", 1 << 30 }, { NULL, 0 },
};

static const struct unit durations[] = {
    { "", PIER_SECOND },  { "ms", PIER_MILLISECOND }, { "s", PIER_SECOND },
    { "m", PIER_MINUTE }, { "h", PIER_HOUR },         { NULL, 0 },
};

static const struct unit rates[] = {
    { "", PIER_SECOND }, { "/s", PIER_SECOND }, { "/m", PIER_MINUTE },
    { "/h", PIER_HOUR }, { NULL, 0 },
};

/* The factor of the unit with that name, 0 when there is none. */
static int64_t unit_factor(const struct unit *units, const char *name)
{
    while (units->name != NULL && strcmp(units->name, name) != 0)
        units++;
    return units->factor;
}

/* Reads digits at *text and moves it behind them. */
static int read_digits(int64_t *out, const char **text)
{
    if (**text < '0' || **text > '9')
        return -EINVAL;
    int64_t value = 0;
    for (; **text >= '0' && **text <= '9'; ++*text) {
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, **text - '0', &value))
            return -ERANGE;
    }
    *out = value;
    return 0;
}

int value_count(int64_t *out, const char *text)
{
    int rc = read_digits(out, &text);
    if (rc < 0)
        return rc;
    return *text == '\0' ? 0 : -EINVAL;
}

int value_size(int64_t *out, const char *text)
{
    int rc = read_digits(out, &text);
    if (rc < 0)
        return rc;
    int64_t factor = unit_factor(sizes, text);
    if (factor == 0)
        return -EINVAL;
    return __builtin_mul_overflow(*out, factor, out) ? -ERANGE : 0;
}

int value_duration(int64_t *out, const char *text)
{
    int64_t whole;
    int rc = read_digits(&whole, &text);
    if (rc < 0)
        return rc;
    const char *decimals = "";
    if (*text == '.') {
        decimals = ++text;
        text += strspn(text, "0123456789");
    }
    int64_t factor = unit_factor(durations, text);
    if (factor == 0)
        return -EINVAL;
    int64_t ns;
    if (__builtin_mul_overflow(whole, factor, &ns) || ns > INT64_MAX - factor)
        return -ERANGE;
    for (; *decimals >= '0' && *decimals <= '9'; decimals++)
        ns += (*decimals - '0') * (factor /= 10);
    *out = ns;
    return 0;
}

int value_rate(int64_t *count, int64_t *ns, const char *text)
{
    int rc = read_digits(count, &text);
    if (rc < 0)
        return rc;
    *ns = unit_factor(rates, text);
    return *ns == 0 ? -EINVAL : 0;
}

int duration_ms(int64_t ns)
{
    int64_t ms = ns / PIER_MILLISECOND + (ns % PIER_MILLISECOND > 0);
    return ms > INT_MAX ? INT_MAX : (int)ms;
}
