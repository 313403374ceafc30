/* SPDX-License-Identifier: MIT */
/*
 * http/cookie_wire.h - cookies as bytes (RFC 6265bis, 4.1.1 and 4.2.1). Pure: no I/O, no clock, no
 * allocation.
 */
#ifndef PI_HTTP_COOKIE_WIRE_H
#define PI_HTTP_COOKIE_WIRE_H

#include "http/fields.h"

/* Takes the next "name=value" off the value of a field Cookie; quotation marks round the value are
 * left out. What is no such pair, or has no name, is passed over. False at the end. rest begins as
 * the whole value. */
bool pi_cookie_next(struct pi_part *rest, struct pi_part *name, struct pi_part *value);

/* Whether len bytes may be the value of a cookie: no controls, white space, quotation marks,
 * commas, semicolons and backslashes, and ASCII alone. */
bool pi_is_cookie_value(const char *text, size_t len) PIER_MUST_USE;

/* The same for a Path, which begins with "/", and for a Domain, a name in ASCII. */
bool pi_is_cookie_path(const char *text, size_t len) PIER_MUST_USE;
bool pi_is_cookie_domain(const char *text, size_t len) PIER_MUST_USE;

/* What clients ask of a cookie because of its name, in any case of letters (4.1.3). */
enum pi_cookie_prefix { PI_COOKIE_PLAIN, PI_COOKIE_SECURE, PI_COOKIE_HOST };
enum pi_cookie_prefix pi_cookie_prefix(const char *name, size_t len) PIER_MUST_USE;

#endif
