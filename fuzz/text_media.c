/* SPDX-License-Identifier: MIT */
/*
 * fuzz/text_media.c - media types and Accept fields from any bytes, and dates, which are as short.
 */
#include "fuzz.h"

#include <pier/text.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const offers[] = { "text/html", "text/plain;format=flowed", "image/png" };
    const char *text = (const char *)data;
    struct pier_media_type m;
    char value[64], date[32];
    if (pier_media_type_parse(&m, text, size) == 0) {
        FUZZ_CHECK(m.type.len > 0 && m.subtype.len > 0);
        FUZZ_CHECK(m.params.ptr + m.params.len <= text + size);
        ssize_t n = pier_media_type_param(value, sizeof value, &m, "charset");
        FUZZ_CHECK(n == -ENOENT || n == -ENOSPC || (n >= 0 && (size_t)n < sizeof value));
    }
    int chosen = pier_accept_choose(text, size, offers, 3);
    FUZZ_CHECK(chosen >= -1 && chosen < 3);

    int64_t at, again;
    if (pier_date_parse_http(&at, text, size) == 0 && at != INT64_MIN && at != INT64_MAX) {
        size_t len = pier_date_http(date, sizeof date, at);
        FUZZ_CHECK(pier_date_parse_http(&again, date, len) == 0 && again == at);
    }
    return 0;
}
