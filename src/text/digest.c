/* SPDX-License-Identifier: MIT */
/*
 * text/digest.c - SHA-256 (FIPS 180-4) by OpenSSL's EVP, in pieces or at once.
 *
 * The algorithm is fetched once a process: a fetch takes locks and looks through the providers, a
 * hash of a short text takes less. OpenSSL's queue of errors belongs to the thread and is left
 * empty: what it would say is in the code that is returned.
 */
#define _GNU_SOURCE
#include "base/err.h"

#include <pier/text.h>

#include <openssl/err.h>
#include <openssl/evp.h>

#include <stdatomic.h>

static EVP_MD *_Atomic sha256;

/* NULL: no memory, or a configuration that does without it; the next call tries again. */
static const EVP_MD *fetch(void)
{
    EVP_MD *md = atomic_load_explicit(&sha256, memory_order_acquire);
    if (md)
        return md;
    EVP_MD *fetched = EVP_MD_fetch(NULL, "SHA2-256", NULL);
    if (!fetched || atomic_compare_exchange_strong(&sha256, &md, fetched))
        return fetched;
    EVP_MD_free(fetched); /* another thread was first */
    return md;
}

static int failed(struct pier_sha256 *h, int code)
{
    ERR_clear_error();
    h->error = code;
    return pi_fail(code, "SHA-256");
}

int pier_sha256_init(struct pier_sha256 *h)
{
    *h = (struct pier_sha256){ 0 };
    const EVP_MD *md = fetch();
    if (!md)
        return failed(h, -EOPNOTSUPP);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    if (!ctx || EVP_DigestInit_ex2(ctx, md, NULL) != 1) {
        EVP_MD_CTX_free(ctx);
        return failed(h, -ENOMEM);
    }
    h->ctx = ctx;
    return 0;
}

/* 0, or why no more can be done with it. */
static int check(struct pier_sha256 *h)
{
    if (h->error)
        return h->error;
    return h->ctx ? 0 : failed(h, -EINVAL);
}

int pier_sha256_update(struct pier_sha256 *h, const void *bytes, size_t len)
{
    int rc = check(h);
    if (rc == 0 && EVP_DigestUpdate(h->ctx, bytes, len) != 1)
        rc = failed(h, -EIO);
    return rc;
}

int pier_sha256_final(struct pier_sha256 *h, unsigned char digest[PIER_SHA256_LEN])
{
    int rc = check(h);
    if (rc == 0 && EVP_DigestFinal_ex(h->ctx, digest, NULL) != 1)
        rc = failed(h, -EIO);
    pier_sha256_fini(h);
    return rc;
}

void pier_sha256_fini(struct pier_sha256 *h)
{
    EVP_MD_CTX_free(h->ctx);
    *h = (struct pier_sha256){ 0 };
}

int pier_sha256(unsigned char digest[PIER_SHA256_LEN], const void *bytes, size_t len)
{
    struct pier_sha256 h;
    pier_sha256_init(&h);
    pier_sha256_update(&h, bytes, len);
    return pier_sha256_final(&h, digest);
}

void pier_sha256_hex(char out[PIER_SHA256_HEX_CAP], const unsigned char digest[PIER_SHA256_LEN])
{
    static const char digits[] = "0123456789abcdef";
    for (int i = 0; i < PIER_SHA256_LEN; i++) {
        out[2 * i] = digits[digest[i] >> 4];
        out[2 * i + 1] = digits[digest[i] & 15];
    }
    out[2 * PIER_SHA256_LEN] = '\0';
}
