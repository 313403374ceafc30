/* SPDX-License-Identifier: MIT */
/*
 * fuzz/text_percent.c - encodings and back: percent, forms, base64; and pairs of forms, which
 * together are the form.
 */
#include "fuzz.h"

#include <pier/text.h>

#include <string.h>

enum { ROOM = PIER_PERCENT_ROOM(65536) };

static char first[ROOM], second[ROOM];

static void there_and_back(const char *text, size_t len)
{
    ssize_t n = pier_percent_encode(first, ROOM, text, len, "/");
    FUZZ_CHECK(n >= 0 && pier_percent_decode(second, ROOM, first, (size_t)n) == (ssize_t)len);
    FUZZ_CHECK(memcmp(second, text, len) == 0);
    n = pier_form_encode(first, ROOM, text, len);
    FUZZ_CHECK(n >= 0 && pier_form_decode(second, ROOM, first, (size_t)n) == (ssize_t)len);
    FUZZ_CHECK(memcmp(second, text, len) == 0);
    n = pier_base64_encode(first, PIER_BASE64_ROOM(len), text, len);
    FUZZ_CHECK(n >= 0 && pier_base64_decode(second, ROOM, first, (size_t)n) == (ssize_t)len);
    FUZZ_CHECK(memcmp(second, text, len) == 0);
}

static void and_back_again(const char *text, size_t len)
{
    ssize_t n = pier_base64_decode(first, ROOM, text, len);
    if (n >= 0) {
        FUZZ_CHECK(pier_base64_encode(second, ROOM, first, (size_t)n) == (ssize_t)len);
        FUZZ_CHECK(memcmp(second, text, len) == 0);
    }
    n = pier_percent_decode(first, ROOM, text, len);
    FUZZ_CHECK(n == -EILSEQ || (n >= 0 && (size_t)n <= len));
    FUZZ_CHECK(pier_form_decode(first, ROOM, text, len) >= 0);
    FUZZ_CHECK(pier_html_escape(first, ROOM, text, len < 20000 ? len : 20000) >= 0);
    (void)pier_base64url_decode(first, ROOM, text, len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    if (size > 65536)
        return 0;
    there_and_back(text, size);
    and_back_again(text, size);

    struct pier_slice rest = { text, size }, name, value;
    const char *last = text;
    while (pier_form_next(&rest, &name, &value)) {
        FUZZ_CHECK(name.ptr >= last && value.ptr >= name.ptr + name.len);
        FUZZ_CHECK(!memchr(name.ptr, '=', name.len) && !memchr(value.ptr, '&', value.len));
        last = value.ptr + value.len;
        FUZZ_CHECK(last <= text + size);
    }
    return 0;
}
