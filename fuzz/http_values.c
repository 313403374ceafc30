/* SPDX-License-Identifier: MIT */
/*
 * fuzz/http_values.c - values of fields that a service believes or acts upon, from any bytes:
 * Cookie, Forwarded, addresses of X-Forwarded-For, traceparent, ids of requests.
 */
#include "fuzz.h"

#include "http/cookie_wire.h"
#include "http/forwarded_wire.h"

#include <string.h>

static void check_within(struct pi_part p, const char *text, size_t len)
{
    FUZZ_CHECK(!p.at || (p.at >= text && p.at + p.len <= text + len));
}

static void fuzz_cookies(const char *text, size_t len)
{
    struct pi_part rest = { text, len }, name, value;
    size_t left = len;
    while (pi_cookie_next(&rest, &name, &value)) {
        FUZZ_CHECK(name.len > 0 && rest.len < left);
        FUZZ_CHECK(!memchr(name.at, ';', name.len) && !memchr(name.at, '=', name.len));
        FUZZ_CHECK(!memchr(value.at, ';', value.len));
        check_within(name, text, len);
        check_within(value, text, len);
        left = rest.len;
    }
    if (pi_is_cookie_value(text, len) || pi_is_cookie_path(text, len) ||
        pi_is_cookie_domain(text, len))
        for (size_t i = 0; i < len; i++)
            FUZZ_CHECK(text[i] >= ' ' && text[i] != ';' && text[i] != 127);
    FUZZ_CHECK(pi_cookie_prefix(text, len) <= PI_COOKIE_HOST);
}

static void fuzz_forwarded(const char *text, size_t len)
{
    struct pi_part rest = { text, len }, element, id;
    struct pi_forwarded f;
    unsigned flags;
    while ((element = pi_list_next(&rest)).at) {
        if (pi_forwarded_read(&f, element)) {
            check_within(f.by_for, text, len);
            check_within(f.proto, text, len);
            check_within(f.host, text, len);
        }
        struct pi_part address = pi_forwarded_address(element);
        check_within(address, text, len);
        FUZZ_CHECK(address.len <= element.len);
    }
    if (pi_traceparent_read(&id, &flags, (struct pi_part){ text, len }))
        FUZZ_CHECK(id.len == PI_TRACE_ID_LEN && strspn(id.at, "0123456789abcdef") >= id.len &&
                   flags < 256);
    if (pi_is_request_id(text, len))
        FUZZ_CHECK(len > 0 && len <= 128 && !memchr(text, '"', len) && !memchr(text, '\n', len));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_cookies((const char *)data, size);
    fuzz_forwarded((const char *)data, size);
    return 0;
}
