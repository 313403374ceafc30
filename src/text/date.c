/* SPDX-License-Identifier: MIT */
/*
 * text/date.c - UNIX time as text in UTC: RFC 3339, and the three forms of HTTP (RFC 9110, 5.6.7).
 * No time zones, no locale, no leap seconds (POSIX time has none; a second 60 is the next one).
 *
 * 64 bits of nanoseconds span the years 1677 to 2262, so a year always has four digits. What is
 * read and lies beyond, cookies' year 9999 for one, is the nearest end of that.
 */
#include "base/assert.h"
#include "base/sys.h"
#include "text/ascii.h"

enum { CAP_MIN = 32, DAY_SECONDS = 86400 };

static const char day_names[] = "SunMonTueWedThuFriSat";
static const char month_names[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

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

/* Three letters out of a table of them. */
static char *name(char *out, const char *names, int index, char follows)
{
    memcpy(out, names + 3 * index, 3);
    out[3] = follows;
    return out + 4;
}

size_t pier_date_http(char *out, size_t cap, int64_t unix_ns)
{
    PIER_ASSERT(cap >= CAP_MIN);
    int64_t seconds = floor_div(unix_ns, PIER_SECOND);
    int64_t days = floor_div(seconds, DAY_SECONDS);
    int of_day = (int)(seconds - days * DAY_SECONDS);
    struct civil date = civil_of(days);

    char *p = name(out, day_names, (int)((days % 7 + 11) % 7), ','); /* 1970 began on a Thursday */
    *p++ = ' ';
    p = number(p, 2, date.day, ' ');
    p = name(p, month_names, date.month - 1, ' ');
    p = number(p, 4, date.year, ' ');
    p = number(p, 2, of_day / 3600, ':');
    p = number(p, 2, of_day / 60 % 60, ':');
    p = number(p, 2, of_day % 60, ' ');
    memcpy(p, "GMT", 4);
    return (size_t)(p + 3 - out);
}

/* ---- reading ---- */

struct moment {
    int year, month, day, hour, minute, second; /* month from 1 */
};

/* civil_of() the other way round. */
static int64_t days_of(const struct moment *m)
{
    int64_t year = m->year - (m->month <= 2); /* that begins in March; 0 to 9999 */
    int64_t era = floor_div(year, 400), year_of_era = year - era * 400;
    int64_t day_of_year = (153 * (m->month + (m->month > 2 ? -3 : 9)) + 2) / 5 + m->day - 1;
    return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year -
           719468;
}

static bool is_moment(const struct moment *m)
{
    static const unsigned char month_days[] = { 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    if (m->month < 1 || m->day < 1 || m->day > month_days[m->month - 1])
        return false;
    bool is_leap = m->year % 4 == 0 && (m->year % 100 != 0 || m->year % 400 == 0);
    return (m->month != 2 || m->day < 29 || is_leap) && m->hour < 24 && m->minute < 60 &&
           m->second <= 60;
}

/* Matches text with a form, of which "Y" is a digit of the year, "D" of the day, "h", "m", "s" of
 * the time, "W" a letter of a day of the week, "N" of a month, "_" a digit of the day or a space.
 */
static bool match(struct moment *out, struct pier_slice text, const char *form)
{
    struct moment m = { 0 };
    int *const into[] = { &m.year, &m.day, &m.hour, &m.minute, &m.second, &m.day };
    static const char fields[] = "YDhms_";
    if (strlen(form) != text.len)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        const char *field = strchr(fields, form[i]);
        if (form[i] == '_' && text.ptr[i] == ' ')
            continue;
        if (field && !pi_is_digit((unsigned char)text.ptr[i]))
            return false;
        if (field)
            *into[field - fields] = *into[field - fields] * 10 + (text.ptr[i] - '0');
        else if (form[i] != 'W' && form[i] != 'N' && form[i] != text.ptr[i])
            return false;
    }
    *out = m;
    return true;
}

/* Which of a table's names is at text, from 0; -1: none. */
static int find_name(const char *text, const char *names)
{
    for (int i = 0; names[3 * i]; i++)
        if (memcmp(names + 3 * i, text, 3) == 0)
            return i;
    return -1;
}

/* RFC 850's years have two digits: the century that is at most 50 years ahead. */
static int whole_year(int year)
{
    int now = civil_of(floor_div(pi_unix_ns(), DAY_SECONDS * PIER_SECOND)).year;
    year += now - now % 100;
    if (year > now + 50)
        return year - 100;
    return year <= now - 50 ? year + 100 : year;
}

/* The day of the week in full, and ", ", off the front; false when there is none. */
static bool skip_long_day(struct pier_slice *text)
{
    static const char *const days[] = { "Sunday, ",   "Monday, ", "Tuesday, ", "Wednesday, ",
                                        "Thursday, ", "Friday, ", "Saturday, " };
    for (int i = 0; i < 7; i++) {
        size_t len = strlen(days[i]);
        if (text->len > len && memcmp(text->ptr, days[i], len) == 0) {
            *text = (struct pier_slice){ text->ptr + len, text->len - len };
            return true;
        }
    }
    return false;
}

int pier_date_parse_http(int64_t *unix_ns, const char *bytes, size_t len)
{
    struct pier_slice text = { bytes, len };
    struct moment m;
    bool is_long = skip_long_day(&text);
    size_t month_at = is_long ? 3 : 8;
    bool matched = is_long ? match(&m, text, "DD-NNN-YY hh:mm:ss GMT")
                           : match(&m, text, "WWW, DD NNN YYYY hh:mm:ss GMT");
    if (!matched && !is_long) {
        matched = match(&m, text, "WWW NNN _D hh:mm:ss YYYY");
        month_at = 4;
    }
    if (!matched || (!is_long && find_name(text.ptr, day_names) < 0))
        return -EINVAL;
    m.month = find_name(text.ptr + month_at, month_names) + 1;
    if (is_long)
        m.year = whole_year(m.year);
    if (!is_moment(&m))
        return -EINVAL;
    int64_t seconds = days_of(&m) * DAY_SECONDS + m.hour * 3600 + m.minute * 60 + m.second;
    if (__builtin_mul_overflow(seconds, PIER_SECOND, unix_ns))
        *unix_ns = seconds < 0 ? INT64_MIN : INT64_MAX;
    return 0;
}
