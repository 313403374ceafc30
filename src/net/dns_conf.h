/* SPDX-License-Identifier: MIT */
/*
 * net/dns_conf.h - how names are looked up on this host: resolv.conf(5), hosts(5), and whether
 * nsswitch.conf(5) and gai.conf(5) are as usual. Read when first needed, and again when they have
 * changed. A record never changes; whoever asks for one gives it back.
 */
#ifndef PI_NET_DNS_CONF_H
#define PI_NET_DNS_CONF_H

#include "task/io.h"

#include <pier/net.h>

enum {
    PI_DNS_SERVERS_MAX = 8,
    PI_DNS_SEARCH_MAX = 16,
    PI_DNS_SERVERS_TEXT = 512, /* of an option that lists them */
    PI_DNS_PORT = 53,
};

struct pi_hosts; /* hosts.h */

struct pi_dns_conf {
    _Atomic int users;
    int server_count, search_count;
    struct pier_addr servers[PI_DNS_SERVERS_MAX];
    char search[PI_DNS_SEARCH_MAX][PIER_NAME_CAP];
    int ndots, timeout_ms, attempts;
    bool rotate, use_tcp, no_ipv6;
    bool is_strange; /* something is set that only getaddrinfo(3) knows how to do */
    bool has_own_servers;
    struct pi_hosts *hosts;
};

/* The one of now. servers: "192.0.2.1,192.0.2.2:5353,[::1]:53" in the place of all files but the
 * search list and options of resolv.conf; NULL: none. NULL after pi_fail() with words that begin
 * with what. Waits for files. */
struct pi_dns_conf *pi_dns_conf_get(const char *servers, const char *what) PIER_MUST_USE;
void pi_dns_conf_put(struct pi_dns_conf *conf);

/* For tests: the folder in the place of /etc (borrowed), NULL: none, and all is strange; and no
 * record is kept. */
void pi_dns_conf_folder(const char *path);

/* The parsers. They change the text, which ends with NUL. */
void pi_dns_conf_defaults(struct pi_dns_conf *conf);
void pi_dns_conf_read(struct pi_dns_conf *conf, char *resolv_conf);
/* "ndots:2 timeout:1", as behind "options" and in RES_OPTIONS. */
void pi_dns_conf_options(struct pi_dns_conf *conf, char *options);
/* Names between blanks, as behind "search" and in LOCALDOMAIN. */
void pi_dns_conf_search(struct pi_dns_conf *conf, char *names);
/* 0, -EINVAL or -ENOMEM. */
int pi_dns_conf_servers(struct pi_dns_conf *conf, const char *list);
/* Whether "hosts:" of nsswitch.conf means: the file, then DNS; but for names of one label, of
 * .local, and this host's own. */
bool pi_dns_nss_is_usual(char *nsswitch_conf);
/* Whether gai.conf sets nothing. */
bool pi_dns_gai_is_usual(char *gai_conf);

#endif
