/* SPDX-License-Identifier: MIT */
/*
 * fuzz/text_json_read.c - what is read, written and read again is written the same way.
 */
#include "fuzz.h"

#include <pier/text.h>

#include <string.h>

enum { ROOM = 1 << 20 };

static size_t write_out(char *out, const struct pier_json_value *value)
{
    struct pier_json w;
    pier_json_init(&w, out, ROOM, NULL, NULL);
    pier_json_value(&w, value);
    ssize_t len = pier_json_end(&w);
    FUZZ_CHECK(len > 0);
    return (size_t)len;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char first[ROOM], second[ROOM];
    struct pier_json_value *v = pier_json_parse((const char *)data, size, NULL);
    if (!v) {
        FUZZ_CHECK(pier_error_code() == -EILSEQ || pier_error_code() == -EMSGSIZE);
        return 0;
    }
    size_t len = write_out(first, v);
    struct pier_json_value *again = pier_json_parse(first, len, NULL);
    FUZZ_CHECK(again != NULL);
    FUZZ_CHECK(write_out(second, again) == len && memcmp(first, second, len) == 0);
    pier_json_free(again);
    pier_json_free(v);
    return 0;
}
