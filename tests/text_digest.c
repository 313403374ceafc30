/* SPDX-License-Identifier: MIT */
/*
 * text_digest: SHA-256 against the examples of FIPS 180-4 and NIST's, in every way to cut a text,
 * by several threads, and when OpenSSL fails.
 */
#include "harness.h"

#include <pier/pier.h>

#include <openssl/err.h>
#include <openssl/evp.h>

#include <pthread.h>

/* ---- OpenSSL, failing where a test says so ---- */

static enum { NOTHING, FETCH, CTX, INIT, UPDATE, FINAL } fails;

EVP_MD *__real_EVP_MD_fetch(OSSL_LIB_CTX *lib, const char *name, const char *properties);
EVP_MD *__wrap_EVP_MD_fetch(OSSL_LIB_CTX *lib, const char *name, const char *properties);
EVP_MD *__wrap_EVP_MD_fetch(OSSL_LIB_CTX *lib, const char *name, const char *properties)
{
    if (fails == FETCH) /* leaves an error in the thread's queue, as OpenSSL does */
        return __real_EVP_MD_fetch(lib, "no such digest", properties);
    return __real_EVP_MD_fetch(lib, name, properties);
}

EVP_MD_CTX *__real_EVP_MD_CTX_new(void);
EVP_MD_CTX *__wrap_EVP_MD_CTX_new(void);
EVP_MD_CTX *__wrap_EVP_MD_CTX_new(void)
{
    return fails == CTX ? NULL : __real_EVP_MD_CTX_new();
}

int __real_EVP_DigestInit_ex2(EVP_MD_CTX *ctx, const EVP_MD *md, const OSSL_PARAM *params);
int __wrap_EVP_DigestInit_ex2(EVP_MD_CTX *ctx, const EVP_MD *md, const OSSL_PARAM *params);
int __wrap_EVP_DigestInit_ex2(EVP_MD_CTX *ctx, const EVP_MD *md, const OSSL_PARAM *params)
{
    return fails == INIT ? 0 : __real_EVP_DigestInit_ex2(ctx, md, params);
}

int __real_EVP_DigestUpdate(EVP_MD_CTX *ctx, const void *bytes, size_t len);
int __wrap_EVP_DigestUpdate(EVP_MD_CTX *ctx, const void *bytes, size_t len);
int __wrap_EVP_DigestUpdate(EVP_MD_CTX *ctx, const void *bytes, size_t len)
{
    return fails == UPDATE ? 0 : __real_EVP_DigestUpdate(ctx, bytes, len);
}

int __real_EVP_DigestFinal_ex(EVP_MD_CTX *ctx, unsigned char *digest, unsigned int *len);
int __wrap_EVP_DigestFinal_ex(EVP_MD_CTX *ctx, unsigned char *digest, unsigned int *len);
int __wrap_EVP_DigestFinal_ex(EVP_MD_CTX *ctx, unsigned char *digest, unsigned int *len)
{
    return fails == FINAL ? 0 : __real_EVP_DigestFinal_ex(ctx, digest, len);
}

/* ---- what it must be ---- */

#define OF_NOTHING "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define OF_ABC "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define OF_MILLION "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"

static const char *hex_of(const void *bytes, size_t len)
{
    static char hex[PIER_SHA256_HEX_CAP];
    unsigned char digest[PIER_SHA256_LEN];
    ck_assert_int_eq(pier_sha256(digest, bytes, len), 0);
    pier_sha256_hex(hex, digest);
    return hex;
}

TEST(digests_are_those_of_the_standard)
{
    static const char two[] = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    ck_assert_str_eq(hex_of("", 0), OF_NOTHING);
    ck_assert_str_eq(hex_of(NULL, 0), OF_NOTHING);
    ck_assert_str_eq(hex_of("abc", 3), OF_ABC);
    ck_assert_str_eq(hex_of(two, 56),
                     "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    char *million = malloc(1000000);
    memset(million, 'a', 1000000);
    ck_assert_str_eq(hex_of(million, 1000000), OF_MILLION);
    free(million);
}

TEST(pieces_come_to_the_same_wherever_the_text_is_cut)
{
    char text[200], hex[PIER_SHA256_HEX_CAP], whole[PIER_SHA256_HEX_CAP];
    unsigned char digest[PIER_SHA256_LEN];
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (char)(i * 7);
    strcpy(whole, hex_of(text, sizeof text));
    for (size_t cut = 0; cut <= sizeof text; cut++) {
        struct pier_sha256 h;
        ck_assert_int_eq(pier_sha256_init(&h), 0);
        ck_assert_int_eq(pier_sha256_update(&h, text, cut), 0);
        ck_assert_int_eq(pier_sha256_update(&h, text + cut, sizeof text - cut), 0);
        ck_assert_int_eq(pier_sha256_final(&h, digest), 0);
        pier_sha256_hex(hex, digest);
        ck_assert_str_eq(hex, whole);
    }
}

/* ---- the life of a hash ---- */

TEST(an_empty_hash_has_not_begun_and_can_be_ended)
{
    unsigned char digest[PIER_SHA256_LEN];
    struct pier_sha256 h = { 0 };
    pier_sha256_fini(&h);
    pier_sha256_fini(&h);
    ck_assert_int_eq(pier_sha256_update(&h, "a", 1), -EINVAL);
    ck_assert_str_eq(pier_error(), "SHA-256: invalid argument");
    ck_assert_int_eq(pier_sha256_final(&h, digest), -EINVAL);
    ck_assert_int_eq(pier_sha256_init(&h), 0);
    ck_assert_int_eq(pier_sha256_final(&h, digest), 0);
    ck_assert_int_eq(pier_sha256_final(&h, digest), -EINVAL);
    ck_assert_int_eq(pier_sha256_init(&h), 0);
    pier_sha256_fini(&h);
    pier_sha256_fini(&h);
}

static void check_failure(int where, int code, const char *words)
{
    unsigned char digest[PIER_SHA256_LEN];
    struct pier_sha256 h;
    fails = where;
    pier_sha256_init(&h);
    pier_sha256_update(&h, "abc", 3);
    fails = where == FINAL ? FINAL : NOTHING; /* the first failure stays */
    pier_error_set(-EILSEQ, "something else");
    ck_assert_int_eq(pier_sha256_final(&h, digest), code);
    if (where == FINAL)
        ck_assert_str_eq(pier_error(), words);
    ck_assert_uint_eq(ERR_peek_error(), 0);
    fails = where;
    ck_assert_int_eq(pier_sha256(digest, "abc", 3), code);
    ck_assert_str_eq(pier_error(), words);
    fails = NOTHING;
    ck_assert_str_eq(hex_of("abc", 3), OF_ABC);
}

TEST(each_failure_of_openssl_is_told_once_and_stays)
{
    check_failure(FETCH, -EOPNOTSUPP, "SHA-256: operation not supported");
    check_failure(CTX, -ENOMEM, "SHA-256: cannot allocate memory");
    check_failure(INIT, -ENOMEM, "SHA-256: cannot allocate memory");
    check_failure(UPDATE, -EIO, "SHA-256: input/output error");
    check_failure(FINAL, -EIO, "SHA-256: input/output error");
}

/* ---- threads ---- */

static pthread_barrier_t together;

static void *hash_abc(void *arg)
{
    unsigned char digest[PIER_SHA256_LEN];
    pthread_barrier_wait(&together); /* the first hash of all fetches */
    for (int i = 0; i < 1000; i++) {
        ck_assert_int_eq(pier_sha256(digest, "abc", 3), 0);
        pier_sha256_hex(arg, digest);
    }
    return NULL;
}

TEST(threads_hash_at_the_same_time)
{
    enum { THREADS = 8 };
    pthread_t ids[THREADS];
    char hex[THREADS][PIER_SHA256_HEX_CAP];
    pthread_barrier_init(&together, NULL, THREADS);
    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&ids[i], NULL, hash_abc, hex[i]), 0);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(ids[i], NULL);
        ck_assert_str_eq(hex[i], OF_ABC);
    }
    pthread_barrier_destroy(&together);
}

HARNESS_MAIN("text_digest")
