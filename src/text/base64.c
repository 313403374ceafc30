/* SPDX-License-Identifier: MIT */
/*
 * text/base64.c - base64 and base64url (RFC 4648, 4 and 5). Strict, as its section 3 advises: one
 * text for the same bytes, so no line breaks, and the bits that are left over are zero.
 */
#include "text/ascii.h"

static const char standard[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char for_urls[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/* ---- encoding ---- */

static ssize_t encode(struct pi_out *o, struct pier_slice in, const char *alphabet, bool pads)
{
    const unsigned char *bytes = (const unsigned char *)in.ptr;
    for (size_t i = 0; i < in.len; i += 3) {
        size_t n = in.len - i < 3 ? in.len - i : 3;
        unsigned bits = (unsigned)bytes[i] << 16 | (n > 1 ? (unsigned)bytes[i + 1] << 8 : 0) |
                        (n > 2 ? bytes[i + 2] : 0);
        for (size_t k = 0; k <= n; k++)
            pi_out_char(o, alphabet[bits >> (18 - 6 * k) & 63]);
        for (size_t k = n; k < 3 && pads; k++)
            pi_out_char(o, '=');
    }
    return pi_out_end(o);
}

ssize_t pier_base64_encode(char *out, size_t cap, const void *bytes, size_t len)
{
    struct pi_out o = { out, cap, 0 };
    return encode(&o, (struct pier_slice){ bytes, len }, standard, true);
}

ssize_t pier_base64url_encode(char *out, size_t cap, const void *bytes, size_t len)
{
    struct pi_out o = { out, cap, 0 };
    return encode(&o, (struct pier_slice){ bytes, len }, for_urls, false);
}

/* ---- decoding ---- */

/* What a digit is worth; -1 for another character. */
static int value_of(unsigned char c, const char *alphabet)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (pi_is_digit(c))
        return c - '0' + 52;
    return c == (unsigned char)alphabet[62] ? 62 : c == (unsigned char)alphabet[63] ? 63 : -1;
}

/* Two to four digits into one to three bytes: how many; -EILSEQ for what is no digit, or bits that
 * are left over. */
static int decode_group(unsigned char bytes[3], const char *digits, size_t count,
                        const char *alphabet)
{
    unsigned bits = 0;
    for (size_t i = 0; i < count; i++) {
        int value = value_of((unsigned char)digits[i], alphabet);
        if (value < 0)
            return -EILSEQ;
        bits |= (unsigned)value << (18 - 6 * i);
    }
    bytes[0] = (unsigned char)(bits >> 16);
    bytes[1] = (unsigned char)(bits >> 8);
    bytes[2] = (unsigned char)bits;
    bool is_rest_zero = (count != 2 || (bits & 0xffff) == 0) && (count != 3 || (bits & 0xff) == 0);
    return count >= 2 && is_rest_zero ? (int)count - 1 : -EILSEQ;
}

/* The digits of a text, whose padding is whole or, where it may be, not there: -1 for another. */
static ssize_t without_padding(struct pier_slice in, bool needs_padding)
{
    size_t len = in.len;
    while (len > 0 && in.len - len < 2 && in.ptr[len - 1] == '=')
        len--;
    bool is_padded = len < in.len;
    if ((is_padded || needs_padding) && in.len % 4 != 0)
        return -1;
    return (ssize_t)len;
}

static ssize_t decode(struct pi_out *o, struct pier_slice in, const char *alphabet,
                      bool needs_padding)
{
    ssize_t digits = without_padding(in, needs_padding);
    int n = digits < 0 ? -EILSEQ : 0;
    for (ssize_t i = 0; i < digits && n >= 0; i += 4) {
        unsigned char bytes[3];
        size_t count = digits - i < 4 ? (size_t)(digits - i) : 4;
        n = decode_group(bytes, in.ptr + i, count, alphabet);
        if (n > 0)
            pi_out_bytes(o, (const char *)bytes, (size_t)n);
    }
    if (n < 0)
        o->len = 0;
    ssize_t len = pi_out_end(o);
    return n < 0 ? n : len;
}

ssize_t pier_base64_decode(void *out, size_t cap, const char *text, size_t len)
{
    struct pi_out o = { out, cap, 0 };
    return decode(&o, (struct pier_slice){ text, len }, standard, true);
}

ssize_t pier_base64url_decode(void *out, size_t cap, const char *text, size_t len)
{
    struct pi_out o = { out, cap, 0 };
    return decode(&o, (struct pier_slice){ text, len }, for_urls, false);
}
