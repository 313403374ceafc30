/* SPDX-License-Identifier: MIT */
/*
 * text_charset: conversion in pieces, places of mistakes, room and names. What each charset's
 * characters are is compared with Python's in e2e/test_charsets.py.
 */
#include "harness.h"

#include "text/utf8.h"

#include <errno.h>
#include <iconv.h>
#include <sys/mman.h>
#include <unistd.h>

/* Set: what iconv_open() fails with. */
static int refused;

iconv_t __real_iconv_open(const char *to, const char *from);
iconv_t __wrap_iconv_open(const char *to, const char *from)
{
    if (refused == 0)
        return __real_iconv_open(to, from);
    errno = refused;
    return (iconv_t)-1;
}

#define SIZED(literal) literal, sizeof(literal) - 1

/* ---- at once ---- */

TEST(text_goes_to_gbk_and_back)
{
    char gbk[32], text[32];
    ck_assert_int_eq(pier_encode(gbk, sizeof gbk, "gbk", SIZED("你好,世界!")), 10);
    ck_assert_str_eq(gbk, "\xc4\xe3\xba\xc3,\xca\xc0\xbd\xe7!");
    ck_assert_int_eq(pier_decode(text, sizeof text, "GBK", gbk, 10), 14);
    ck_assert_str_eq(text, "你好,世界!");
}

TEST(a_nul_is_a_character_as_others)
{
    char out[32];
    ck_assert_int_eq(pier_decode(out, sizeof out, "gbk", SIZED("\0\xc4\xe3\0")), 5);
    ck_assert_mem_eq(out, "\0你\0", 6);
    ck_assert_int_eq(pier_encode(out, sizeof out, "utf-16be", SIZED("a\0")), 4);
    ck_assert_mem_eq(out, "\0a\0\0\0\0", 6);
}

TEST(a_letter_and_its_mark_stay_two_characters)
{
    char out[32];
    ck_assert_int_eq(pier_decode(out, sizeof out, "windows-1258", SIZED("a\xcc")), 3);
    ck_assert_str_eq(out, "a\xcc\x80");
    ck_assert_int_eq(pier_decode(out, sizeof out, "windows-1258", SIZED("a")), 1);
    ck_assert_int_eq(pier_decode(out, sizeof out, "windows-1255", SIZED("\xf9\xd1")), 4);
    ck_assert_str_eq(out, "\xd7\xa9\xd7\x81");
    ck_assert_int_eq(pier_decode(out, sizeof out, "big5-hkscs", SIZED("\x88\x66")), 2);
    ck_assert_str_eq(out, "\xc3\x8a");
}

/* Every cap: the whole result and its end, or -ENOSPC and nothing; not a byte beyond. */
static void fits_exactly(bool encodes, const char *charset, const char *in, size_t len)
{
    char whole[64];
    size_t nul = encodes && strncmp(charset, "utf-16", 6) == 0 ? 2 : 1;
    ssize_t n = encodes ? pier_encode(whole, sizeof whole, charset, in, len)
                        : pier_decode(whole, sizeof whole, charset, in, len);
    ck_assert_int_gt(n, 0);
    for (size_t cap = 0; cap < (size_t)n + nul + 2; cap++) {
        char *out = malloc(cap ? cap : 1); /* where ASan sees every byte */
        ssize_t got = encodes ? pier_encode(out, cap, charset, in, len)
                              : pier_decode(out, cap, charset, in, len);
        if (cap >= (size_t)n + nul) {
            ck_assert_int_eq(got, n);
            ck_assert_mem_eq(out, whole, (size_t)n);
            ck_assert_mem_eq(out + n, "\0", nul);
        } else {
            ck_assert_int_eq(got, -ENOSPC);
            ck_assert(cap == 0 || out[0] == '\0');
            ck_assert_ptr_nonnull(strstr(pier_error(), ": no room for more"));
        }
        free(out);
    }
}

TEST(a_result_fits_exactly_or_not_at_all)
{
    fits_exactly(true, "gbk", SIZED("a你好é"));
    fits_exactly(true, "utf-8", SIZED("a你😀"));
    fits_exactly(true, "utf-16le", SIZED("a你😀"));
    fits_exactly(true, "gb18030//replace", SIZED("é😀\xff"));
    fits_exactly(true, "latin1//replace", SIZED("é😀\xff"));
    fits_exactly(false, "gbk", SIZED("a\xc4\xe3\xba\xc3"));
    fits_exactly(false, "utf-8//replace", SIZED("a\xff你"));
    fits_exactly(false, "big5-hkscs", SIZED("\x88\x62\x88\x66"));
    fits_exactly(false, "windows-1258", SIZED("a\xcc"));
    fits_exactly(false, "gbk//replace", SIZED("\xff\xc4\xe3\xc4"));
}

TEST_WITHIN(60, the_room_promised_is_enough)
{
    for (int i = 0; pier_charset_name(i); i++) {
        char charset[64], out[PIER_CODEC_ROOM(256)];
        unsigned char bytes[256];
        snprintf(charset, sizeof charset, "%s//replace", pier_charset_name(i));
        for (int lead = 0; lead < 256; lead += 5) {
            for (int j = 0; j < 256; j++)
                bytes[j] = (unsigned char)(j % 2 ? j : lead);
            ck_assert_int_ge(pier_decode(out, PIER_CODEC_ROOM(256), charset, bytes, 256), 0);
            ck_assert_int_ge(pier_encode(out, PIER_CODEC_ROOM(256), charset, bytes, 256), 0);
        }
        for (uint32_t code = 0x80; code < 0x20000; code++) {
            unsigned char text[4] = { (unsigned char)(0xf0 | code >> 18),
                                      (unsigned char)(0x80 | (code >> 12 & 63)),
                                      (unsigned char)(0x80 | (code >> 6 & 63)),
                                      (unsigned char)(0x80 | (code & 63)) };
            size_t len = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
            if (code % 64 && len > 2)
                continue;
            if (len == 2)
                text[2] |= 0xc0;
            if (len == 3)
                text[1] = (unsigned char)(0xe0 | code >> 12);
            if (pier_encode(out, PIER_CODEC_ROOM(len), charset, text + 4 - len, len) < 0)
                ck_abort_msg("%s: U+%04X: %s", charset, code, pier_error());
        }
    }
}

/* ---- mistakes ---- */

static void says(ssize_t got, const char *words)
{
    ck_assert_int_eq(got, -EILSEQ);
    ck_assert_str_eq(pier_error(), words);
    ck_assert_int_eq(pier_error_code(), -EILSEQ);
}

TEST(a_mistake_is_told_with_its_byte)
{
    char out[64];
#define DECODE(charset, literal) pier_decode(out, sizeof out, charset, SIZED(literal))
#define ENCODE(charset, literal) pier_encode(out, sizeof out, charset, SIZED(literal))
    says(DECODE("gbk", "\xc4\xe3 7890123456789\xff"), "decode gbk: byte 16: ff is no character");
    says(DECODE("gbk", "\x81 "), "decode gbk: byte 0: 81 is no character");
    says(DECODE("gbk", "a\xc4"), "decode gbk: byte 1: the character c4 is cut");
    says(DECODE("gb18030", "\x81\x30\x81"),
         "decode gb18030: byte 0: the character 81 30 81 is cut");
    says(DECODE("utf-8", "a\xe4\xbdz"), "decode utf-8: byte 1: e4 bd is no character");
    says(DECODE("utf-8", "a\xf0\x9f\x98"), "decode utf-8: byte 1: the character f0 9f 98 is cut");
    says(DECODE("utf-16le", "a\0\0\xdc"), "decode utf-16le: byte 2: 00 dc is no character");
    says(DECODE("utf-16le", "a\0b"), "decode utf-16le: byte 2: the character 62 is cut");
    says(DECODE("ascii", "a\x80"), "decode ascii: byte 1: 80 is no character");
    says(DECODE("euc-kr", "a\xa2\xe8z"), "decode euc-kr: byte 1: a2 is no character");
    says(DECODE("euc-kr", "a\xa2\xe8"), "decode euc-kr: byte 1: a2 is no character");
    says(ENCODE("gbk", "你😀"), "encode gbk: byte 3: U+1F600 is not in gbk");
    says(ENCODE("gbk", "你\xed\xa0\x80"), "encode gbk: byte 3: ed is no UTF-8");
    says(ENCODE("gbk", "你\xe4"), "encode gbk: byte 3: the character e4 is cut");
    says(ENCODE("latin1", "\U000e0041"), "encode iso-8859-1: byte 0: U+E0041 is not in iso-8859-1");
    says(ENCODE("latin1", "a\U000e0001"),
         "encode iso-8859-1: byte 1: U+E0001 is not in iso-8859-1");
    ck_assert_str_eq(out, "");
}

TEST(an_unknown_name_is_an_error_with_what_is_near)
{
    char out[8];
    ck_assert_int_eq(DECODE("gkb", "a"), -EINVAL);
    ck_assert_str_eq(pier_error(), "decode: there is no charset 'gkb'; did you mean 'gbk'?");
    ck_assert_int_eq(ENCODE("", "a"), -EINVAL);
    ck_assert_str_eq(pier_error(), "encode: there is no charset ''");
    ck_assert_int_eq(ENCODE("gbk//translit", "a"), -EINVAL);
    ck_assert_str_eq(pier_error(),
                     "encode gbk//translit: neither //strict nor //replace nor //ignore");
    char name[500];
    memset(name, 'x', sizeof name);
    name[sizeof name - 1] = '\0';
    ck_assert_int_eq(ENCODE(name, "a"), -EINVAL);
}

TEST(a_refusal_of_the_system_is_told)
{
    char out[8];
    refused = ENOMEM;
    ck_assert_int_eq(DECODE("gbk", "a"), -ENOMEM);
    ck_assert_str_eq(pier_error(), "decode gbk: cannot allocate memory");
    refused = EINVAL;
    ck_assert_int_eq(DECODE("gbk", "a"), -ENOSYS);
    ck_assert_str_eq(pier_error(), "decode gbk: this system's iconv does not know it");
    ck_assert_int_eq(DECODE("utf-8", "a"), 1);
    struct pier_codec c;
    ck_assert_int_lt(pier_encoder_init(&c, "gbk"), 0);
    ck_assert_int_lt(pier_codec_feed(&c, out, sizeof out, "a", 1), 0);
    ck_assert_int_lt(pier_codec_finish(&c, out, sizeof out), 0);
    pier_codec_fini(&c);
}

/* ---- in pieces ---- */

struct outcome {
    char text[512];
    size_t len;
    int code;
    char error[128];
};

/* Converts pieces of the given length. */
static void run(struct outcome *o, struct pier_codec *c, const char *in, size_t len, size_t piece)
{
    *o = (struct outcome){ 0 };
    ssize_t n = 0;
    for (size_t at = 0; at < len && n >= 0; at += piece) {
        size_t part = len - at < piece ? len - at : piece;
        char *guarded = malloc(part); /* where ASan sees every byte */
        memcpy(guarded, in + at, part);
        n = pier_codec_feed(c, o->text + o->len, PIER_CODEC_ROOM(part), guarded, part);
        free(guarded);
        o->len += n > 0 ? (size_t)n : 0;
    }
    if (n >= 0)
        n = pier_codec_finish(c, o->text + o->len, PIER_CODEC_ROOM(0));
    o->len += n > 0 ? (size_t)n : 0;
    o->code = n < 0 ? (int)n : 0;
    snprintf(o->error, sizeof o->error, "%s at %d", n < 0 ? pier_error() : "",
             (int)pier_codec_bytes(c));
}

static void same_however_cut(bool encodes, const char *charset, const char *in, size_t len)
{
    static struct outcome whole, cut;
    for (size_t piece = len; piece > 0; piece--) {
        struct pier_codec c;
        int rc = encodes ? pier_encoder_init(&c, charset) : pier_decoder_init(&c, charset);
        ck_assert_int_eq(rc, 0);
        run(piece == len ? &whole : &cut, &c, in, len, piece);
        if (piece < len && (cut.len != whole.len || memcmp(cut.text, whole.text, cut.len) != 0))
            ck_abort_msg("%s: %zu bytes in pieces of %zu: %zu bytes, not %zu", charset, len, piece,
                         cut.len, whole.len);
        if (piece < len)
            ck_assert_str_eq(cut.error, whole.error);
        pier_codec_fini(&c);
    }
}

/* In all charsets and modes, over bytes that are often nearly right. */
TEST_WITHIN(60, pieces_may_end_anywhere)
{
    static const char *const texts[] = {
        "a你好é😀z",
        "\xc4\xe3\xff\x81\x30\x81\x30z\x81\x30\x81\x41\xe4\xbd",
        "a\xa2\xe8z\xa2\xe8\x8f\xa2\xa1\x8e\xb1",
        "\x88\x62\x88\x66\x88\xa5\xff\xa4\x40",
        "\xe4\xbd\xa0\xe4\xbd\xf0\x9f\x98\xed\xa0\x80\xf4\x90\x80\x80\xf0\x9f\x98\x80\xc0",
        "x\U000e0041\U000e0001y\xf3\xa0\x80",
    };
    static const char *const modes[] = { "", "//replace", "//ignore" };
    unsigned seed = 1;
    for (int i = 0; pier_charset_name(i); i++) {
        for (int mode = 0; mode < 3; mode++) {
            char charset[64], noise[24];
            snprintf(charset, sizeof charset, "%s%s", pier_charset_name(i), modes[mode]);
            for (size_t t = 0; t < sizeof texts / sizeof texts[0]; t++) {
                same_however_cut(false, charset, texts[t], strlen(texts[t]));
                same_however_cut(true, charset, texts[t], strlen(texts[t]));
            }
            for (int round = 0; round < 20; round++) {
                for (size_t j = 0; j < sizeof noise; j++)
                    noise[j] = (char)((seed = seed * 1103515245 + 12345) >> 16);
                same_however_cut(false, charset, noise, sizeof noise);
                same_however_cut(true, charset, noise, sizeof noise);
            }
        }
    }
}

TEST(a_codec_takes_one_text_after_the_other)
{
    struct pier_codec c;
    char out[64];
    ck_assert_int_eq(pier_decoder_init(&c, "gbk"), 0);
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(pier_codec_feed(&c, out, sizeof out, "\xc4", 1), 0);
        ck_assert_int_eq(pier_codec_feed(&c, out, sizeof out, "\xe3", 1), 3);
        ck_assert_int_eq(pier_codec_bytes(&c), 2);
        ck_assert_int_eq(pier_codec_finish(&c, out, sizeof out), 0);
        ck_assert_int_eq(pier_codec_bytes(&c), 0);
    }
    pier_codec_fini(&c);
    pier_codec_fini(&c);
}

TEST(a_failure_comes_after_what_precedes_it_and_stays)
{
    struct pier_codec c;
    char out[64];
    ck_assert_int_eq(pier_decoder_init(&c, "gbk"), 0);
    ck_assert_int_eq(pier_codec_feed(&c, out, sizeof out, SIZED("ab\xff")), 2);
    for (int i = 0; i < 2; i++) {
        says(pier_codec_feed(&c, out, sizeof out, "z", 1),
             "decode gbk: byte 2: ff is no character");
        says(pier_codec_finish(&c, out, sizeof out), "decode gbk: byte 2: ff is no character");
        ck_assert_int_eq(pier_codec_bytes(&c), 2);
    }
    pier_codec_fini(&c);
}

/* The last byte of the input is the last of a page; the next page cannot be read. */
TEST(nothing_is_read_beyond_the_input)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *pages = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(pages, MAP_FAILED);
    ck_assert_int_eq(mprotect(pages + page, page, PROT_NONE), 0);
    static const char text[] =
        "abcdefghijklmnopqrstuvwxyz你好é😀\xe4\xbd\xa0\xf3\xa0\x80\x81\xf0\x9f";
    for (size_t len = 0; len < sizeof text; len++) {
        for (size_t from = 0; from <= len; from++) {
            char out[PIER_CODEC_ROOM(sizeof text)];
            size_t n = len - from;
            char *in = pages + page - n;
            memcpy(in, text + from, n);
            ck_assert_int_ge(pier_decode(out, sizeof out, "utf-8//replace", in, n), 0);
            ck_assert_int_ge(pier_decode(out, sizeof out, "gb18030//replace", in, n), 0);
            ck_assert_int_ge(pier_encode(out, sizeof out, "gbk//ignore", in, n), 0);
            ck_assert_uint_le(pier_utf8_fit(in, n, 7), n);
            ck_assert_uint_le(pier_utf8_count(in, n), n);
            ck_assert_uint_le(pier_utf8_width(in, n), n);
            ck_assert(pier_utf8_valid(in, n) == (pi_utf8_valid_len((void *)in, n) == n));
        }
    }
    munmap(pages, 2 * page);
}

TEST(names_are_listed_and_all_work)
{
    int count = 0;
    ck_assert_ptr_null(pier_charset_name(-1));
    for (const char *name; (name = pier_charset_name(count)) != NULL; count++) {
        char out[16];
        ck_assert_int_eq(pier_encode(out, sizeof out, name, "", 0), 0);
        ck_assert_int_gt(pier_decode(out, sizeof out, name, "z\0", 2), 0);
    }
    ck_assert_int_eq(count, 41);
}

HARNESS_MAIN("text_charset")
