/* SPDX-License-Identifier: MIT */
/*
 * text/percent.c - percent-encoding (RFC 3986, 2.1), and query strings and forms as browsers write
 * them (WHATWG URL Standard, application/x-www-form-urlencoded). Nothing is allocated, and bytes
 * need not be text.
 *
 * Two readings of a '%' that begins no pair of digits: a URI is wrong, a form means that character.
 */
#include "text/ascii.h"

static void put_triplet(struct pi_out *o, unsigned char c)
{
    static const char digits[] = "0123456789ABCDEF";
    pi_out_char(o, '%');
    pi_out_char(o, digits[c >> 4]);
    pi_out_char(o, digits[c & 15]);
}

/* The byte of a triplet of which left bytes are there; -1 when it is none. */
static int triplet(const char *text, size_t left)
{
    int high = left >= 3 ? pi_hex_value((unsigned char)text[1]) : -1;
    int low = high >= 0 ? pi_hex_value((unsigned char)text[2]) : -1;
    return low >= 0 ? high << 4 | low : -1;
}

/* What is written never overtakes what is read, so that out may be text. */
static ssize_t decode(struct pi_out *o, struct pier_slice in, bool is_form)
{
    for (size_t i = 0; i < in.len; i++) {
        char c = in.ptr[i];
        int byte = c == '%' ? triplet(in.ptr + i, in.len - i) : -1;
        if (byte >= 0) {
            c = (char)byte;
            i += 2;
        } else if (c == '%' && !is_form) {
            *o = (struct pi_out){ o->text, o->cap, 0 };
            (void)pi_out_end(o); /* the failure is the text's, whatever the room */
            return -EILSEQ;
        } else if (c == '+' && is_form) {
            c = ' ';
        }
        pi_out_char(o, c);
    }
    return pi_out_end(o);
}

ssize_t pier_percent_decode(char *out, size_t cap, const char *text, size_t len)
{
    struct pi_out o = { out, cap, 0 };
    return decode(&o, (struct pier_slice){ text, len }, false);
}

ssize_t pier_form_decode(char *out, size_t cap, const char *text, size_t len)
{
    struct pi_out o = { out, cap, 0 };
    return decode(&o, (struct pier_slice){ text, len }, true);
}

ssize_t pier_percent_encode(char *out, size_t cap, const char *text, size_t len, const char *keep)
{
    struct pi_out o = { out, cap, 0 };
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (pi_is_unreserved(c) || (keep && c != '\0' && strchr(keep, c)))
            pi_out_char(&o, (char)c);
        else
            put_triplet(&o, c);
    }
    return pi_out_end(&o);
}

/* The standard's set keeps "*-._" and no "~". */
ssize_t pier_form_encode(char *out, size_t cap, const char *text, size_t len)
{
    struct pi_out o = { out, cap, 0 };
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == ' ')
            pi_out_char(&o, '+');
        else if (c == '*' || (pi_is_unreserved(c) && c != '~'))
            pi_out_char(&o, (char)c);
        else
            put_triplet(&o, c);
    }
    return pi_out_end(&o);
}

/* ---- pairs ---- */

/* Takes what is before the first separator off the front of rest, and the separator with it. */
static struct pier_slice cut(struct pier_slice *rest, char separator)
{
    const char *at = rest->len > 0 ? memchr(rest->ptr, separator, rest->len) : NULL;
    struct pier_slice first = { rest->ptr, at ? (size_t)(at - rest->ptr) : rest->len };
    size_t taken = first.len + (at != NULL);
    *rest = (struct pier_slice){ rest->len > 0 ? rest->ptr + taken : rest->ptr, rest->len - taken };
    return first;
}

bool pier_form_next(struct pier_slice *rest, struct pier_slice *name, struct pier_slice *value)
{
    while (rest->len > 0) {
        struct pier_slice pair = cut(rest, '&');
        if (pair.len == 0)
            continue;
        *name = cut(&pair, '=');
        *value = pair;
        return true;
    }
    return false;
}

/* Whether an encoded name stands for the wanted one; compared byte by byte, without room. */
static bool means(struct pier_slice encoded, const char *wanted)
{
    for (size_t i = 0; i < encoded.len; i++, wanted++) {
        char c = encoded.ptr[i] == '+' ? ' ' : encoded.ptr[i];
        int byte = c == '%' ? triplet(encoded.ptr + i, encoded.len - i) : -1;
        if (byte >= 0) {
            c = (char)byte;
            i += 2;
        }
        if (*wanted == '\0' || *wanted != c)
            return false;
    }
    return *wanted == '\0';
}

ssize_t pier_form_get(char *out, size_t cap, struct pier_slice form, const char *name)
{
    struct pier_slice key, value;
    while (pier_form_next(&form, &key, &value))
        if (means(key, name))
            return pier_form_decode(out, cap, value.ptr, value.len);
    if (cap > 0)
        out[0] = '\0';
    return -ENOENT;
}
