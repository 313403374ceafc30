/* SPDX-License-Identifier: MIT */
/*
 * fuzz/net_proxy.c - headers of the PROXY protocol: the same whether they come at once or in the
 * pieces that they are read in.
 */
#include "fuzz.h"

#include "net/proxy_wire.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pi_proxy whole, piece;
    ssize_t n = pi_proxy_read(&whole, data, size);
    FUZZ_CHECK(n <= (ssize_t)size && n <= PI_PROXY_LEN_MAX);
    FUZZ_CHECK(n > 0 || whole.family == 0);
    size_t at = 0;
    ssize_t got = 0;
    while (at < size && got == 0) {
        size_t lacks = pi_proxy_lacks(data, at);
        FUZZ_CHECK(lacks > 0);
        at = at + lacks < size ? at + lacks : size;
        got = pi_proxy_read(&piece, data, at);
    }
    FUZZ_CHECK(n > 0 ? got == n && at == (size_t)n : n < 0 ? got < 0 : got == 0);
    for (int i = 0; n > 0 && i < 2; i++) {
        const struct pi_proxy_end *end = i ? &whole.target : &whole.source;
        FUZZ_CHECK(!end->text || ((const uint8_t *)end->text >= data &&
                                  (const uint8_t *)end->text + end->text_len <= data + n));
    }
    return 0;
}
