/* SPDX-License-Identifier: MIT */
/*
 * http/gunzip.c - gzip (RFC 1952) undone piece by piece, by zlib. Several members in a row are one
 * text; how much may come out is the caller's to limit.
 */
#include "http/client.h"

#include "base/err.h"
#include "base/sys.h"

#include <limits.h>
#include <zlib.h>

enum { WINDOW_BITS_GZIP = 31 }; /* 15, and 16 for gzip alone */

struct pi_gunzip {
    z_stream z;
    bool is_whole; /* a member has ended, and no byte came after it */
};

static void *allocate(void *ctx, unsigned items, unsigned size)
{
    return pi_alloc((size_t)items * size);
}

static void release(void *ctx, void *ptr)
{
    pi_free(ptr);
}

struct pi_gunzip *pi_gunzip_new(void)
{
    struct pi_gunzip *g = pi_zalloc(sizeof *g);
    if (!g)
        return NULL;
    g->z.zalloc = allocate;
    g->z.zfree = release;
    if (inflateInit2(&g->z, WINDOW_BITS_GZIP) != Z_OK) {
        pi_free(g);
        return NULL;
    }
    return g;
}

void pi_gunzip_free(struct pi_gunzip *g)
{
    if (!g)
        return;
    inflateEnd(&g->z);
    pi_free(g);
}

bool pi_gunzip_is_whole(const struct pi_gunzip *g)
{
    return g->is_whole;
}

ssize_t pi_gunzip(struct pi_gunzip *g, void *out, size_t cap, struct pi_part *in)
{
    if (cap > INT_MAX)
        cap = INT_MAX;
    g->z.next_in = (unsigned char *)(uintptr_t)in->at; /* zlib's older headers know no const */
    g->z.avail_in = in->len > INT_MAX ? INT_MAX : (unsigned)in->len;
    g->z.next_out = out;
    g->z.avail_out = (unsigned)cap;
    unsigned before = g->z.avail_in;
    if (before > 0)
        g->is_whole = false;
    int rc = inflate(&g->z, Z_NO_FLUSH);
    size_t used = before - g->z.avail_in;
    in->at += used;
    in->len -= used;
    if (rc == Z_STREAM_END) {
        g->is_whole = true;
        rc = inflateReset(&g->z);
    }
    if (rc == Z_MEM_ERROR)
        return -ENOMEM;
    if (rc != Z_OK && rc != Z_BUF_ERROR)
        return PIER_EPROTO;
    return (ssize_t)(cap - g->z.avail_out);
}
