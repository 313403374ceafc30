/* SPDX-License-Identifier: MIT */
/*
 * fuzz/net_dns.c - replies of name servers, and the files that say whom to ask.
 */
#include "fuzz.h"

#include "net/dns_conf.h"
#include "net/dns_wire.h"
#include "net/hosts.h"

#include <stdlib.h>
#include <string.h>

static void read_reply(const uint8_t *data, size_t size)
{
    static const int types[] = { 1, 5, 12, 28 };
    char name[PI_DNS_NAME_CAP];
    struct pi_dns_answer a;
    for (size_t t = 0; t < sizeof types / sizeof types[0]; t++) {
        if (pi_dns_read(&a, data, size, types[t]) < 0)
            continue;
        FUZZ_CHECK(a.count >= 0 && a.count <= PI_DNS_RECORDS_MAX && a.ttl <= INT32_MAX);
        for (int i = 0; i < a.count; i++) {
            FUZZ_CHECK(a.records[i].at + a.records[i].len <= size);
            if (pi_dns_name(name, data, size, a.records[i].at) >= 0)
                FUZZ_CHECK(strlen(name) < sizeof name);
        }
    }
    if (size >= 12)
        FUZZ_CHECK(pi_dns_server_error(data, size) <= PI_DNS_REFUSED);
}

static char *text_of(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    memcpy(text, data, size);
    text[size] = '\0';
    return text;
}

static void read_files(const uint8_t *data, size_t size)
{
    static struct pi_dns_conf conf;
    struct pi_resolve r = { .host = "a.test" };
    memset(&conf, 0, sizeof conf);
    pi_dns_conf_defaults(&conf);
    char *text = text_of(data, size);
    pi_dns_conf_read(&conf, text);
    FUZZ_CHECK(conf.server_count <= PI_DNS_SERVERS_MAX && conf.search_count <= PI_DNS_SEARCH_MAX);
    free(text);
    text = text_of(data, size);
    pi_dns_nss_is_usual(text);
    free(text);
    text = text_of(data, size);
    pi_dns_gai_is_usual(text);
    free(text);
    struct pi_hosts *hosts = pi_hosts_new(text_of(data, size));
    pi_hosts_find(hosts, &r);
    FUZZ_CHECK(r.count <= PI_RESOLVE_MAX);
    pi_hosts_free(hosts);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    read_reply(data, size);
    read_files(data, size);
    return 0;
}
