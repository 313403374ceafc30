/* SPDX-License-Identifier: MIT */
/* text_date: RFC 3339 dates, against the C library's calendar. */
#include "harness.h"

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

HARNESS_MAIN("text_date")
