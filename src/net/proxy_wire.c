/* SPDX-License-Identifier: MIT */
/*
 * net/proxy_wire.c - the header of the PROXY protocol, from bytes to addresses.
 *
 * Version 1 is a line of text, version 2 a block of bytes that begins with a signature which no
 * line of text has. Both are taken as strictly as they are written: the header says who somebody
 * is.
 */
#include "net/proxy_wire.h"

#include <errno.h>
#include <string.h>

enum {
    SIGNATURE_LEN = 12,
    HEAD_LEN = 16,      /* signature, version and command, family, length */
    SHORTEST_TEXT = 15, /* "PROXY UNKNOWN\r\n" */
};

static const uint8_t signature[SIGNATURE_LEN] = { '\r', '\n', '\r', '\n', 0,   '\r',
                                                  '\n', 'Q',  'U',  'I',  'T', '\n' };
static const char prefix[] = "PROXY ";

static bool begins_with(const void *bytes, size_t len, const void *what, size_t what_len)
{
    return memcmp(bytes, what, len < what_len ? len : what_len) == 0;
}

/* ---- version 1 ---- */

struct line {
    const char *at, *end;
};

/* The text up to the next blank, or to the end; moves behind the blank. */
static struct line next_word(struct line *l)
{
    struct line word = { l->at, l->at };
    while (word.end < l->end && *word.end != ' ')
        word.end++;
    l->at = word.end < l->end ? word.end + 1 : l->end;
    return word;
}

static bool is_word(struct line word, const char *text)
{
    size_t len = strlen(text);
    return (size_t)(word.end - word.at) == len && memcmp(word.at, text, len) == 0;
}

static bool read_port(uint16_t *out, struct line word)
{
    long value = 0;
    size_t len = (size_t)(word.end - word.at);
    if (len == 0 || len > 5 || (len > 1 && *word.at == '0'))
        return false;
    for (; word.at < word.end; word.at++) {
        if (*word.at < '0' || *word.at > '9')
            return false;
        value = value * 10 + (*word.at - '0');
    }
    *out = (uint16_t)value;
    return value <= 65535;
}

static bool set_text(struct pi_proxy_end *end, struct line word)
{
    end->text = word.at;
    end->text_len = (size_t)(word.end - word.at);
    return end->text_len > 0 && end->text_len <= PI_PROXY_ADDR_TEXT;
}

/* What follows the prefix, without the line end. */
static int read_words(struct pi_proxy *out, struct line l)
{
    struct line family = next_word(&l);
    if (is_word(family, "UNKNOWN"))
        return 0; /* what follows is to be ignored */
    out->family = is_word(family, "TCP4") ? 4 : is_word(family, "TCP6") ? 6 : 0;
    bool good = out->family != 0;
    good = good && set_text(&out->source, next_word(&l)) && set_text(&out->target, next_word(&l));
    good = good && read_port(&out->source.port, next_word(&l));
    good = good && l.at < l.end && l.at[-1] == ' ' && read_port(&out->target.port, l);
    return good ? 0 : -EPROTO;
}

static ssize_t read_text(struct pi_proxy *out, const char *bytes, size_t len)
{
    size_t most = len < PI_PROXY_TEXT_MAX ? len : PI_PROXY_TEXT_MAX;
    const char *end = memchr(bytes, '\n', most);
    if (!begins_with(bytes, len, prefix, sizeof prefix - 1))
        return -EPROTO;
    if (!end)
        return most == PI_PROXY_TEXT_MAX || memchr(bytes, '\0', most) ? -EPROTO : 0;
    if (end - bytes < (ptrdiff_t)sizeof prefix || end[-1] != '\r')
        return -EPROTO;
    struct line words = { bytes + sizeof prefix - 1, end - 1 };
    if (memchr(words.at, '\r', (size_t)(words.end - words.at)) ||
        memchr(words.at, '\0', (size_t)(words.end - words.at)))
        return -EPROTO;
    int rc = read_words(out, words);
    return rc < 0 ? rc : end + 1 - bytes;
}

/* ---- version 2 ---- */

static unsigned load16(const uint8_t *bytes)
{
    return (unsigned)bytes[0] << 8 | bytes[1];
}

static size_t block_len(const uint8_t *bytes)
{
    return HEAD_LEN + load16(bytes + 14);
}

static void set_ip(struct pi_proxy *out, const uint8_t *at, size_t ip_len)
{
    memcpy(out->source.ip, at, ip_len);
    memcpy(out->target.ip, at + ip_len, ip_len);
    out->source.port = (uint16_t)load16(at + 2 * ip_len);
    out->target.port = (uint16_t)load16(at + 2 * ip_len + 2);
}

/* The length of a family's addresses; negative: there is no such family. */
static int addrs_len(uint8_t family)
{
    switch (family) {
    case 0x00: /* unspecified */
        return 0;
    case 0x11: /* TCP over IPv4 */
        return 12;
    case 0x21: /* TCP over IPv6 */
        return 36;
    case 0x31: /* Unix streams */
        return 216;
    default:
        return -1;
    }
}

static ssize_t read_block(struct pi_proxy *out, const uint8_t *bytes, size_t len)
{
    if (!begins_with(bytes, len, signature, sizeof signature))
        return -EPROTO;
    if (len > 12 && bytes[12] != 0x20 && bytes[12] != 0x21)
        return -EPROTO; /* another version, or neither LOCAL nor PROXY */
    if (len < HEAD_LEN)
        return 0;
    bool is_local = bytes[12] == 0x20;
    size_t total = block_len(bytes);
    int need = addrs_len(bytes[13]);
    if (total > PI_PROXY_LEN_MAX || (!is_local && (need < 0 || total < HEAD_LEN + (size_t)need)))
        return -EPROTO;
    if (len < total)
        return 0;
    if (!is_local && (bytes[13] == 0x11 || bytes[13] == 0x21)) {
        out->family = bytes[13] == 0x11 ? 4 : 6;
        set_ip(out, bytes + HEAD_LEN, out->family == 4 ? 4 : 16);
    }
    return (ssize_t)total;
}

/* ---- both ---- */

ssize_t pi_proxy_read(struct pi_proxy *out, const void *bytes, size_t len)
{
    *out = (struct pi_proxy){ 0 };
    if (len == 0)
        return 0;
    bool is_text = *(const char *)bytes == prefix[0];
    ssize_t n = is_text ? read_text(out, bytes, len) : read_block(out, bytes, len);
    if (n <= 0)
        *out = (struct pi_proxy){ 0 };
    return n;
}

size_t pi_proxy_lacks(const void *bytes, size_t len)
{
    const char *text = bytes;
    if (len < SHORTEST_TEXT)
        return SHORTEST_TEXT - len; /* the shortest of all */
    if (text[0] == prefix[0])
        return text[len - 1] == '\r' ? 1 : 2;
    return len < HEAD_LEN ? HEAD_LEN - len : block_len(bytes) - len;
}
