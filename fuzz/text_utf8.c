/* SPDX-License-Identifier: MIT */
/*
 * fuzz/text_utf8.c - the quick ways through UTF-8 against one that goes character by character.
 */
#include "fuzz.h"

#include "text/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t at = 0, n = 0, starts = 0;
    uint32_t code;
    while (at < size && (n = pi_utf8_char(data + at, size - at, &code)) > 0)
        at += n;
    for (size_t i = 0; i < size; i++)
        starts += (data[i] & 0xc0) != 0x80;
    FUZZ_CHECK(pier_utf8_valid(data, size) == (at == size));
    FUZZ_CHECK(pi_utf8_valid_len(data, size) == at);
    FUZZ_CHECK(pier_utf8_count(data, size) == starts);
    FUZZ_CHECK(at == size || pi_utf8_bad_len(data + at, size - at) <= size - at);
    FUZZ_CHECK(pier_utf8_cut(data, size) <= 3);

    size_t width = pier_utf8_width(data, size);
    FUZZ_CHECK(pier_utf8_fit(data, size, width) == size);
    for (size_t columns = 0; columns <= 8; columns++) {
        size_t fits = pier_utf8_fit(data, size, columns);
        FUZZ_CHECK(fits <= size && pier_utf8_width(data, fits) <= columns);
    }
    char text[64];
    size_t len = pier_escape(text, sizeof text, data, size);
    FUZZ_CHECK(len < sizeof text && pier_utf8_valid(text, len));
    return 0;
}
