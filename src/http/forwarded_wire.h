/* SPDX-License-Identifier: MIT */
/*
 * http/forwarded_wire.h - what proxies say of a request, as bytes: Forwarded (RFC 7239), the
 * X-Forwarded-For of everybody, and traceparent (W3C Trace Context). Pure.
 */
#ifndef PI_HTTP_FORWARDED_WIRE_H
#define PI_HTTP_FORWARDED_WIRE_H

#include "http/fields.h"

enum { PI_TRACE_ID_LEN = 32, PI_SPAN_ID_LEN = 16, PI_TRACEPARENT_LEN = 55 };

/* One element of Forwarded; .at is NULL for what it does not say. Quotation marks are gone, and a
 * value with escapes in them counts as not said: no address, host or scheme has any. */
struct pi_forwarded {
    struct pi_part by_for, proto, host;
};

/* Reads an element, as pi_list_next() gives it. False when it is none. */
bool pi_forwarded_read(struct pi_forwarded *out, struct pi_part element);

/* The address in "192.0.2.7", "192.0.2.7:1234", "2001:db8::7", "[2001:db8::7]", "[2001:db8::7]:1",
 * without brackets and port; .at is NULL for what cannot be one. Not looked at any closer. */
struct pi_part pi_forwarded_address(struct pi_part node) PIER_MUST_USE;

/* A valid traceparent: its trace id and its flags. */
bool pi_traceparent_read(struct pi_part *trace_id, unsigned *flags, struct pi_part value);

/* Whether it may be somebody's id of a request: 1 to 128 of letters, digits and "-._~+/=:@". */
bool pi_is_request_id(const char *text, size_t len) PIER_MUST_USE;

#endif
