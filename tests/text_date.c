/* SPDX-License-Identifier: MIT */
/* text_date: RFC 3339 dates and those of HTTP, against the C library's calendar. */
#include "guarded.h"

#include <pier/text.h>

#include <time.h>

static const char *date(int64_t unix_ns, bool millis)
{
    static char out[32];
    size_t len = pier_date_rfc3339(out, sizeof out, unix_ns, millis);
    ck_assert_uint_eq(len, strlen(out));
    return out;
}

TEST(date_has_millis_only_when_asked)
{
    int64_t at = 1795166551 * PIER_SECOND + 123 * PIER_MILLISECOND + 999999;
    ck_assert_str_eq(date(at, false), "2026-11-20T09:22:31Z");
    ck_assert_str_eq(date(at, true), "2026-11-20T09:22:31.123Z");
}

TEST(date_rounds_down_on_both_sides_of_1970)
{
    ck_assert_str_eq(date(0, true), "1970-01-01T00:00:00.000Z");
    ck_assert_str_eq(date(PIER_SECOND - 1, true), "1970-01-01T00:00:00.999Z");
    ck_assert_str_eq(date(-1, true), "1969-12-31T23:59:59.999Z");
    ck_assert_str_eq(date(-1, false), "1969-12-31T23:59:59Z");
    ck_assert_str_eq(date(-PIER_SECOND, true), "1969-12-31T23:59:59.000Z");
}

TEST(date_reaches_both_ends_of_its_range)
{
    ck_assert_str_eq(date(INT64_MAX, true), "2262-04-11T23:47:16.854Z");
    ck_assert_str_eq(date(INT64_MIN, true), "1677-09-21T00:12:43.145Z");
}

static void agree(int64_t seconds)
{
    time_t t = (time_t)seconds;
    struct tm tm;
    char want[32];
    strftime(want, sizeof want, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&t, &tm));
    if (strcmp(date(seconds * PIER_SECOND, false), want) != 0)
        ck_abort_msg("%lld: %s, not %s", (long long)seconds, date(seconds * PIER_SECOND, false),
                     want);
}

/* Each day of the range, at its first and last second: every leap rule within six centuries. */
TEST(date_agrees_with_the_c_library_on_every_day)
{
    for (int64_t day = -106750; day <= 106750; day++) {
        agree(day * 86400);
        agree(day * 86400 + 86399);
    }
}

/* ---- HTTP ---- */

static int64_t parsed(const char *text)
{
    size_t len = strlen(text);
    int64_t ns = 0;
    if (pier_date_parse_http(&ns, guarded(text, len), len) < 0)
        ck_abort_msg("\"%s\" is refused", text);
    return ns;
}

static void agree_http(int64_t seconds)
{
    time_t t = (time_t)seconds;
    struct tm tm;
    char want[40], out[32];
    strftime(want, sizeof want, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&t, &tm));
    if (pier_date_http(out, sizeof out, seconds * PIER_SECOND) != 29 || strcmp(out, want) != 0)
        ck_abort_msg("%lld: %s, not %s", (long long)seconds, out, want);
    int64_t back;
    if (pier_date_parse_http(&back, out, 29) < 0 || back != seconds * PIER_SECOND)
        ck_abort_msg("%s is read as another date", out);
    strftime(want, sizeof want, "%a %b %e %H:%M:%S %Y", &tm);
    if (pier_date_parse_http(&back, want, strlen(want)) < 0 || back != seconds * PIER_SECOND)
        ck_abort_msg("%s is read as another date", want);
}

TEST(date_of_http_agrees_with_the_c_library_on_every_day)
{
    for (int64_t day = -106750; day <= 106750; day++) {
        agree_http(day * 86400);
        agree_http(day * 86400 + 86399);
    }
}

/* RFC 9110, 5.6.7. */
TEST(date_of_http_has_three_forms)
{
    static const int64_t want = 784111777 * PIER_SECOND;
    ck_assert_int_eq(parsed("Sun, 06 Nov 1994 08:49:37 GMT"), want);
    ck_assert_int_eq(parsed("Sunday, 06-Nov-94 08:49:37 GMT"), want);
    ck_assert_int_eq(parsed("Sun Nov  6 08:49:37 1994"), want);
    ck_assert_int_eq(parsed("Sun, 06 Nov 1994 23:59:60 GMT"),
                     parsed("Mon, 07 Nov 1994 00:00:00 GMT"));
}

TEST(date_of_http_with_two_digits_is_at_most_fifty_years_ahead)
{
    time_t now = time(NULL);
    struct tm tm;
    int year = gmtime_r(&now, &tm)->tm_year + 1900;
    for (int y = 0; y < 100; y++) {
        char text[64], want[64];
        int whole = year - year % 100 + y;
        whole += whole > year + 50 ? -100 : whole <= year - 50 ? 100 : 0;
        snprintf(text, sizeof text, "Monday, 01-Mar-%02d 00:00:00 GMT", y);
        snprintf(want, sizeof want, "Mon, 01 Mar %04d 00:00:00 GMT", whole);
        ck_assert_int_eq(parsed(text), parsed(want));
    }
}

TEST(date_of_http_beyond_what_there_is_is_the_nearest)
{
    ck_assert_int_eq(parsed("Fri, 31 Dec 9999 23:59:59 GMT"), INT64_MAX);
    ck_assert_int_eq(parsed("Mon, 01 Jan 0001 00:00:00 GMT"), INT64_MIN);
    ck_assert_int_eq(parsed("Sat, 01 Jan 0000 00:00:00 GMT"), INT64_MIN);
}

TEST(date_of_http_in_another_form_is_refused)
{
    static const char *const bad[] = {
        "",
        "Sun",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 GXT",
        "Sun, 06 Nov 1994 08:49:37 UTC",
        "Sun, 06 Nov 1994 08:49:37 GMT ",
        "sun, 06 Nov 1994 08:49:37 GMT",
        "Xyz, 06 Nov 1994 08:49:37 GMT",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun, 06 nov 1994 08:49:37 GMT",
        "Sun, 06 Nox 1994 08:49:37 GMT",
        "Sun, 00 Nov 1994 08:49:37 GMT",
        "Sun, 31 Nov 1994 08:49:37 GMT",
        "Sun, 29 Feb 1994 08:49:37 GMT",
        "Sun, 29 Feb 1900 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:49:37 GMT",
        "Sun, 06 Nov 1994 08:60:37 GMT",
        "Sun, 06 Nov 1994 08:49:61 GMT",
        "Sunday, 06-Nov-1994 08:49:37 GMT",
        "Sun, 06-Nov-94 08:49:37 GMT",
        "Sun Nov 6 08:49:37 1994",
        "Sun Nov    08:49:37 1994",
        "Sun, 06 Nov 1994 0a:49:37 GMT",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        int64_t ns;
        size_t len = strlen(bad[i]);
        if (pier_date_parse_http(&ns, guarded(bad[i], len), len) != -EINVAL)
            ck_abort_msg("\"%s\" is not refused", bad[i]);
    }
}

HARNESS_MAIN("text_date")
