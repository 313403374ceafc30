/* SPDX-License-Identifier: MIT */
/* text_base64: the vectors of RFC 4648, every byte, and what a strict decoder refuses. */
#include "guarded.h"

#include <pier/text.h>

static char out[4096];

static void expect(const char *bytes, const char *standard, const char *for_urls)
{
    size_t len = strlen(bytes);
    char *in = guarded(bytes, len);
    ck_assert_int_eq(pier_base64_encode(out, sizeof out, in, len), (ssize_t)strlen(standard));
    ck_assert_str_eq(out, standard);
    ck_assert_int_eq(pier_base64url_encode(out, sizeof out, in, len), (ssize_t)strlen(for_urls));
    ck_assert_str_eq(out, for_urls);

    in = guarded(standard, strlen(standard));
    ck_assert_int_eq(pier_base64_decode(out, sizeof out, in, strlen(standard)), (ssize_t)len);
    ck_assert_str_eq(out, bytes);
    in = guarded(for_urls, strlen(for_urls));
    ck_assert_int_eq(pier_base64url_decode(out, sizeof out, in, strlen(for_urls)), (ssize_t)len);
    ck_assert_str_eq(out, bytes);
}

TEST(base64_has_the_vectors_of_the_rfc)
{
    expect("", "", "");
    expect("f", "Zg==", "Zg");
    expect("fo", "Zm8=", "Zm8");
    expect("foo", "Zm9v", "Zm9v");
    expect("foob", "Zm9vYg==", "Zm9vYg");
    expect("fooba", "Zm9vYmE=", "Zm9vYmE");
    expect("foobar", "Zm9vYmFy", "Zm9vYmFy");
    expect("\xfb\xff\xfe", "+//+", "-__-");
}

TEST(base64_brings_all_bytes_back)
{
    unsigned char bytes[256], back[257];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)(i * 7);
    for (size_t len = 0; len <= sizeof bytes; len++) {
        ssize_t n = pier_base64_encode(out, PIER_BASE64_ROOM(len), bytes, len);
        ck_assert_int_eq(n, (ssize_t)PIER_BASE64_ROOM(len) - 1);
        ck_assert_int_eq(pier_base64_decode(back, sizeof back, out, (size_t)n), (ssize_t)len);
        ck_assert_mem_eq(back, bytes, len);
    }
}

TEST(base64_decoding_is_strict)
{
    static const char *const bad[] = { "Zg",         "Zg=",      "Zg===",  "Z",        "=",
                                       "====",       "Zm9v\n",   "Zm 9v=", "Zg==Zg==", "Zh==",
                                       "Zm9=",       "Zm8=Zm8=", "Z=g=",   "Zm9-",     "Zm9_",
                                       "\xc3\xa9==", "Zg=a" };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        strcpy(out, "before");
        if (pier_base64_decode(out, sizeof out, bad[i], strlen(bad[i])) != -EILSEQ)
            ck_abort_msg("\"%s\" is not refused", bad[i]);
        ck_assert_str_eq(out, "");
    }
    static const char *const bad_for_urls[] = { "Z", "Zm9v+", "Zg=", "Zh", "Zm9", "Zg/=" };
    for (size_t i = 0; i < sizeof bad_for_urls / sizeof bad_for_urls[0]; i++)
        if (pier_base64url_decode(out, sizeof out, bad_for_urls[i], strlen(bad_for_urls[i])) !=
            -EILSEQ)
            ck_abort_msg("\"%s\" is not refused", bad_for_urls[i]);
    ck_assert_int_eq(pier_base64url_decode(out, sizeof out, "Zg==", 4), 1);
}

TEST(base64_says_when_there_is_no_room)
{
    for (size_t cap = 0; cap < 9; cap++) {
        ck_assert_int_eq(pier_base64_encode(out, cap, "foob", 4), -ENOSPC);
        ck_assert_int_eq(pier_base64_decode(out, cap < 5 ? cap : 4, "Zm9vYg==", 8), -ENOSPC);
    }
    ck_assert_int_eq(pier_base64_encode(out, 9, "foob", 4), 8);
    ck_assert_int_eq(pier_base64_decode(out, 5, "Zm9vYg==", 8), 4);
}

HARNESS_MAIN("text_base64")
