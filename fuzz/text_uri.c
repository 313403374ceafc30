/* SPDX-License-Identifier: MIT */
/*
 * fuzz/text_uri.c - the normal form of a URI is its own, and so is what a reference resolves to.
 */
#include "fuzz.h"

#include <pier/text.h>

#include <string.h>

enum { ROOM = 200000 };

static char first[ROOM], second[ROOM];

/* What was written can be read, and is written the same way. */
static void check_normal(ssize_t len)
{
    struct pier_uri u;
    FUZZ_CHECK(len >= 0 && pier_uri_parse(&u, first, (size_t)len) == 0);
    FUZZ_CHECK(pier_uri_format(second, ROOM, &u) == len);
    FUZZ_CHECK(memcmp(first, second, (size_t)len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char base_text[] = "http://me@host:81/a/b/c?q";
    struct pier_uri u, base;
    if (pier_uri_parse(&u, (const char *)data, size) < 0) {
        FUZZ_CHECK(pier_error_code() == PIER_EURL);
        return 0;
    }
    check_normal(pier_uri_format(first, ROOM, &u));
    FUZZ_CHECK(pier_uri_parse(&base, base_text, strlen(base_text)) == 0);
    check_normal(pier_uri_resolve(first, ROOM, &base, &u));
    return 0;
}
