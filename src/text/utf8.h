/* SPDX-License-Identifier: MIT */
/*
 * text/utf8.h - what escaping, JSON, widths and charsets ask about bytes: characters, where
 * well-formed text ends, and where text that can be shown as it is does.
 */
#ifndef PI_TEXT_UTF8_H
#define PI_TEXT_UTF8_H

#include <pier/text.h>

/* The length of the well-formed character at the beginning of len bytes, 1 to 4, and the character
 * itself; 0 when there is none. */
size_t pi_utf8_char(const unsigned char *bytes, size_t len, uint32_t *code) PIER_MUST_USE;

/* How many of len bytes, from the first, are well-formed. */
size_t pi_utf8_valid_len(const unsigned char *bytes, size_t len) PIER_MUST_USE;

/* Where no well-formed character begins: how many bytes are one mistake, at least 1 of len: as many
 * as are the beginning of a character, else one (Unicode 15, 3.9: maximal subparts). */
size_t pi_utf8_bad_len(const unsigned char *bytes, size_t len) PIER_MUST_USE;

/* How many of len bytes, from the first, may stand in a quoted text as they are: well-formed
 * characters that neither steer a terminal nor reorder what surrounds them, but the quotation mark
 * and the backslash. */
size_t pi_utf8_plain(const unsigned char *bytes, size_t len) PIER_MUST_USE;

#endif
