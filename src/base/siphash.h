/* SPDX-License-Identifier: MIT */
/*
 * base/siphash.h - SipHash-1-3 of whole words, for tables whose keys strangers choose: who does not
 * know the key cannot aim at a bucket (Aumasson and Bernstein, "SipHash", 2012).
 *
 * Of one table all keys have the same number of words, so the length is not mixed in.
 */
#ifndef PI_BASE_SIPHASH_H
#define PI_BASE_SIPHASH_H

#include <stdint.h>

static inline uint64_t pi_rotate(uint64_t x, int by)
{
    return x << by | x >> (64 - by);
}

static inline void pi_sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = pi_rotate(v[1], 13) ^ v[0];
    v[0] = pi_rotate(v[0], 32);
    v[2] += v[3];
    v[3] = pi_rotate(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = pi_rotate(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = pi_rotate(v[1], 17) ^ v[2];
    v[2] = pi_rotate(v[2], 32);
}

static inline uint64_t pi_siphash(const uint64_t key[2], const uint64_t *words, int count)
{
    uint64_t v[4] = { key[0] ^ 0x736f6d6570736575, key[1] ^ 0x646f72616e646f6d,
                      key[0] ^ 0x6c7967656e657261, key[1] ^ 0x7465646279746573 };
    for (int i = 0; i < count; i++) {
        v[3] ^= words[i];
        pi_sip_round(v);
        v[0] ^= words[i];
    }
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++)
        pi_sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

#endif
