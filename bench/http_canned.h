/* SPDX-License-Identifier: MIT */
/*
 * What the bare HTTP servers share: the response, as long as Pier's, and how long requests are.
 * Benchmarks only.
 */
#pragma once
#include "listen.h"

#include <string.h>

#define CANNED                                    \
    "HTTP/1.1 200 OK\r\n"                         \
    "Date: Fri, 20 Nov 2026 09:22:31 GMT\r\n"     \
    "Content-Type: text/plain; charset=utf-8\r\n" \
    "Content-Length: 14\r\n"                      \
    "\r\n"                                        \
    "Hello, World!\n"

#define BATCH_MAX 64 /* requests that are answered at once */

/* The length of the first request in a buffer; 0: it is not whole. */
static inline size_t first_request(const char *bytes, size_t len)
{
    const char *end = memmem(bytes, len, "\r\n\r\n", 4);
    return end ? (size_t)(end - bytes) + 4 : 0;
}
