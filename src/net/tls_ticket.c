/* SPDX-License-Identifier: MIT */
/*
 * net/tls_ticket.c - the keys of a server's session tickets (RFC 5077; RFC 8446, 4.6.1): a new one
 * every hour, each good for two hours more, in memory that all processes of the server share.
 *
 * The first handshake of an hour makes the hour's key: who wins the claim fills the slot, everybody
 * else goes on with the last one. A process that is killed while it fills one leaves a slot that is
 * not published, and the last key in use until the next hour. Keys are random, not derived from
 * each other: who steals today's cannot read yesterday's.
 */
#define _GNU_SOURCE
#include "net/tls.h"

#include "net/server.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/rand.h>

#include <string.h>
#include <sys/mman.h>

enum {
    HOUR_S = 60 * 60,
    SLOTS = 4,    /* the present one, two that are still good, one to be filled */
    GOOD_FOR = 2, /* hours after its own */
    NAME = 16,
    KEY = 32,
    BLOCK = 16,
};

struct key {
    unsigned char name[NAME], cipher[KEY], mac[KEY];
};

struct slot {
    _Atomic int64_t hour; /* since 1970, plus one; 0: not published */
    struct key key;
};

struct pi_tls_tickets {
    _Atomic int64_t claimed;
    _Atomic unsigned reloads;
    struct slot slots[SLOTS];
};

/* Not in a dump of memory, nor on a disk, where that can be had. */
struct pi_tls_tickets *pi_tls_tickets_new(void)
{
    struct pi_tls_tickets *t = mmap(NULL, sizeof *t, PROT_READ | PROT_WRITE,
                                    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (t == MAP_FAILED)
        return NULL;
    madvise(t, sizeof *t, MADV_DONTDUMP);
    return t;
}

void pi_tls_tickets_free(struct pi_tls_tickets *t)
{
    if (!t)
        return;
    munmap(t, sizeof *t);
}

unsigned pi_tls_tickets_reloads(const struct pi_tls_tickets *t)
{
    return atomic_load(&t->reloads);
}

void pi_tls_tickets_ask_reload(struct pi_tls_tickets *t)
{
    atomic_fetch_add(&t->reloads, 1);
}

static int64_t this_hour(void)
{
    return pi_unix_ns() / PIER_SECOND / HOUR_S + 1;
}

/* Makes the hour's key, unless somebody does. */
static void renew(struct pi_tls_tickets *t, int64_t hour)
{
    int64_t before = atomic_load(&t->claimed);
    if (before >= hour || !atomic_compare_exchange_strong(&t->claimed, &before, hour))
        return;
    struct slot *s = &t->slots[hour % SLOTS];
    atomic_store(&s->hour, 0);
    if (RAND_bytes((unsigned char *)&s->key, sizeof s->key) == 1)
        atomic_store(&s->hour, hour);
}

/* A copy that nobody has written to meanwhile. */
static bool copy_key(struct key *key, const struct slot *s, int64_t hour)
{
    *key = s->key;
    atomic_thread_fence(memory_order_acquire);
    return atomic_load(&s->hour) == hour;
}

static bool is_good(int64_t made, int64_t hour)
{
    return made > 0 && made <= hour && hour - made <= GOOD_FOR;
}

/* The newest. Where its hour's was never published the one before does. */
static bool newest(struct key *key, struct pi_tls_tickets *t, int64_t hour)
{
    for (int64_t made = hour; made >= hour - GOOD_FOR && made > 0; made--) {
        struct slot *s = &t->slots[made % SLOTS];
        if (atomic_load(&s->hour) == made && copy_key(key, s, made))
            return true;
    }
    return false;
}

static bool by_name(struct key *key, bool *is_newest, struct pi_tls_tickets *t,
                    const unsigned char *name)
{
    int64_t hour = this_hour();
    for (int i = 0; i < SLOTS; i++) {
        struct slot *s = &t->slots[i];
        int64_t made = atomic_load(&s->hour);
        *is_newest = made == hour;
        if (is_good(made, hour) && copy_key(key, s, made) && memcmp(key->name, name, NAME) == 0)
            return true;
    }
    return false;
}

static bool set_mac(EVP_MAC_CTX *mac, const struct key *key)
{
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, (void *)key->mac, KEY),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)"SHA256", 0),
        OSSL_PARAM_construct_end(),
    };
    return EVP_MAC_CTX_set_params(mac, params) == 1;
}

/* A ticket without a key is left out: -1 would end the handshake. */
static int seal(struct pi_tls_tickets *t, unsigned char *name, unsigned char *iv,
                EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac)
{
    struct key key;
    int64_t hour = this_hour();
    renew(t, hour);
    bool is_done = newest(&key, t, hour) && RAND_bytes(iv, BLOCK) == 1 &&
                   EVP_EncryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, key.cipher, iv) == 1 &&
                   set_mac(mac, &key);
    if (is_done)
        memcpy(name, key.name, NAME);
    OPENSSL_cleanse(&key, sizeof key);
    return is_done;
}

/* 0: no such key, a full handshake follows. 1: good. 2: good, and a new ticket follows. */
static int unseal(struct pi_tls_tickets *t, const unsigned char *name, const unsigned char *iv,
                  EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac)
{
    struct key key;
    bool is_newest;
    if (!by_name(&key, &is_newest, t, name))
        return 0;
    bool is_done = EVP_DecryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, key.cipher, iv) == 1 &&
                   set_mac(mac, &key);
    OPENSSL_cleanse(&key, sizeof key);
    if (!is_done)
        return 0;
    return is_newest ? 1 : 2;
}

int pi_tls_ticket_key(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                      EVP_MAC_CTX *mac, int is_new)
{
    const struct pi_tls_context *c = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    if (is_new)
        return seal(c->tickets, name, iv, cipher, mac);
    int rc = unseal(c->tickets, name, iv, cipher, mac);
    /* Clients use a ticket of TLS 1.3 once (RFC 8446, C.4), so each gets another. */
    return rc == 1 && SSL_version(ssl) == TLS1_3_VERSION ? 2 : rc;
}
