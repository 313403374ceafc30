/* SPDX-License-Identifier: MIT */
/*
 * fuzz/http_cookie_jar.c - Set-Cookie fields, one a line, from any bytes: what is sent back is a
 * field's value, goes to no other site, and not in the clear what was Secure.
 */
#include "fuzz.h"

#include "http/client.h"

#include <string.h>

static void check_value(const char *text, size_t len)
{
    FUZZ_CHECK(strlen(text) == len);
    for (size_t i = 0; i < len; i++)
        FUZZ_CHECK(((unsigned char)text[i] >= ' ' || text[i] == '\t') && text[i] != 0x7f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct pi_target from, beside, plain, elsewhere;
    char out[512];
    FUZZ_CHECK(pi_target_parse(&from, "https://www.example.com/a/b", NULL) == 0);
    FUZZ_CHECK(pi_target_parse(&beside, "https://example.com/", NULL) == 0);
    FUZZ_CHECK(pi_target_parse(&plain, "http://www.example.com/a/b", NULL) == 0);
    FUZZ_CHECK(pi_target_parse(&elsewhere, "https://www.example.org/a/b", NULL) == 0);

    struct pi_cookie_jar *jar = pi_cookie_jar_new();
    const char *text = (const char *)data, *end = text + size;
    bool all_secure = true;
    while (text < end) {
        const char *line = memchr(text, '\n', (size_t)(end - text));
        size_t len = line ? (size_t)(line - text) : (size_t)(end - text);
        all_secure = all_secure && len > 7 && memcmp(text + len - 7, ";Secure", 7) == 0;
        pi_cookie_jar_set(jar, &from, (struct pi_part){ text, len });
        text += len + (line != NULL);
    }
    check_value(out, pi_cookie_jar_get(jar, &from, out, sizeof out));
    check_value(out, pi_cookie_jar_get(jar, &beside, out, sizeof out));
    FUZZ_CHECK(pi_cookie_jar_get(jar, &elsewhere, out, sizeof out) == 0);
    size_t len = pi_cookie_jar_get(jar, &plain, out, sizeof out);
    FUZZ_CHECK(len == 0 || !all_secure);
    pi_cookie_jar_free(jar);
    return 0;
}
