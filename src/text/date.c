/* SPDX-License-Identifier: MIT */
/*
 * text/date.c - UNIX time as RFC 3339 text in UTC. No time zones, no locale, no leap seconds (POSIX
 * time has none).
 *
 * 64 bits of nanoseconds span the years 1677 to 2262, so a year always has four digits.
 */
#include <pier/text.h>

#include "base/assert.h"

enum { CAP_MIN = 32, DAY_SECONDS = 86400 };

struct civil {
    int year, month, day;
};

/* Days since 1970-01-01 to the Gregorian calendar, with years that begin in March, so that the leap
 * day is a year's last day; 400 years are one era of 146,097 days. (Howard Hinnant,
 * "chrono-Compatible Low-Level Date Algorithms".) */
static struct civil civil_of(int64_t days)
{
    int64_t since = days + 719468; /* since 0000-03-01: positive within our range */
    int era = (int)(since / 146097);
    int day_of_era = (int)(since % 146097);
    int year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) /
                      365;
    int day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int march_month = (5 * day_of_year + 2) / 153; /* 0 is March */
    int month = march_month < 10 ? march_month + 3 : march_month - 9;
    return (struct civil){
        .year = era * 400 + year_of_era + (month <= 2),
        .month = month,
        .day = day_of_year - (153 * march_month + 2) / 5 + 1,
    };
}

/* Writes value in width digits, then what follows it; returns the place behind. */
static char *number(char *out, int width, int value, char follows)
{
    for (int i = width - 1; i >= 0; i--) {
        out[i] = (char)('0' + value % 10);
        value /= 10;
    }
    out[width] = follows;
    return out + width + 1;
}

/* Quotients are rounded down, also before 1970. */
static int64_t floor_div(int64_t value, int64_t by)
{
    return value / by - (value % by < 0);
}

size_t pier_date_rfc3339(char *out, size_t cap, int64_t unix_ns, bool millis)
{
    PIER_ASSERT(cap >= CAP_MIN);
    int64_t ms = floor_div(unix_ns, PIER_MILLISECOND);
    int64_t seconds = floor_div(ms, 1000);
    int64_t days = floor_div(seconds, DAY_SECONDS);
    int of_day = (int)(seconds - days * DAY_SECONDS);
    struct civil date = civil_of(days);

    char *p = number(out, 4, date.year, '-');
    p = number(p, 2, date.month, '-');
    p = number(p, 2, date.day, 'T');
    p = number(p, 2, of_day / 3600, ':');
    p = number(p, 2, of_day / 60 % 60, ':');
    p = number(p, 2, of_day % 60, millis ? '.' : 'Z');
    if (millis)
        p = number(p, 3, (int)(ms - seconds * 1000), 'Z');
    *p = '\0';
    return (size_t)(p - out);
}
