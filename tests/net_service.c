/* SPDX-License-Identifier: MIT */
/* backends: epoll io_uring */
/*
 * net_service: ports of services and services of ports, where the system knows them, where it knows
 * others, and where it knows nothing: its table is put in its place.
 */
#include "both.h"

#include <netdb.h>

/* ---- the system's table ---- */

static struct {
    const char *name, *protocol;
    int port;
} entry; /* the only one there is; without a name: none */

static int failure; /* of each look-up */

static int give(struct servent *out, struct servent **found, bool fits)
{
    *found = NULL;
    if (failure)
        return failure;
    if (!fits)
        return 0;
    *out = (struct servent){ .s_name = (char *)entry.name,
                             .s_port = htons((uint16_t)entry.port),
                             .s_proto = (char *)entry.protocol };
    *found = out;
    return 0;
}

static bool fits_protocol(const char *protocol)
{
    return entry.name && (!protocol || strcmp(protocol, entry.protocol) == 0);
}

int getservbyname_r(const char *name, const char *protocol, struct servent *out, char *buf,
                    size_t cap, struct servent **found)
{
    return give(out, found, fits_protocol(protocol) && strcmp(name, entry.name) == 0);
}

int getservbyport_r(int port, const char *protocol, struct servent *out, char *buf, size_t cap,
                    struct servent **found)
{
    return give(out, found, fits_protocol(protocol) && ntohs((uint16_t)port) == entry.port);
}

static void set_entry(const char *name, int port, const char *protocol)
{
    entry.name = name;
    entry.port = port;
    entry.protocol = protocol;
}

static void check_name(int port, const char *protocol, const char *wanted)
{
    char name[64];
    ck_assert_msg(pier_service_name(name, sizeof name, port, protocol) == 0, "%s", pier_error());
    ck_assert_str_eq(name, wanted);
}

/* ---- ports ---- */

BOTH(the_best_known_are_known_without_a_table)
{
    static const struct {
        const char *name;
        int port;
    } known[] = { { "ftp", 21 }, { "ssh", 22 },    { "smtp", 25 }, { "domain", 53 },
                  { "dns", 53 }, { "https", 443 }, { "http", 80 } };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        ck_assert_int_eq(pier_service_port(known[i].name, NULL), known[i].port);
        ck_assert_int_eq(pier_service_port(known[i].name, "tcp"), known[i].port);
        if (strcmp(known[i].name, "dns") != 0)
            check_name(known[i].port, "tcp", known[i].name);
    }
    ck_assert_int_eq(pier_service_port("HTTPS", NULL), 443);
    ck_assert_int_eq(pier_service_port("domain", "udp"), 53);
    ck_assert_int_eq(pier_service_port("ntp", "tcp"), PIER_ERESOLVE);
    check_name(123, NULL, "ntp");
}

BOTH(the_systems_table_comes_first)
{
    set_entry("http", 8080, "tcp");
    ck_assert_int_eq(pier_service_port("http", "tcp"), 8080);
    ck_assert_int_eq(pier_service_port("HTTP", NULL), 8080);
    check_name(8080, NULL, "http");
    set_entry("our-own-service", 4711, "udp");
    ck_assert_int_eq(pier_service_port("our-own-service", NULL), 4711);
    ck_assert_int_eq(pier_service_port("our-own-service", "tcp"), PIER_ERESOLVE);
    ck_assert_str_eq(pier_error(), "service our-own-service/tcp: unknown");
    check_name(4711, "udp", "our-own-service");
}

BOTH(a_name_in_capitals_is_found_as_it_stands_first)
{
    set_entry("X11", 6000, "tcp");
    ck_assert_int_eq(pier_service_port("X11", NULL), 6000);
}

BOTH(a_number_is_itself)
{
    ck_assert_int_eq(pier_service_port("0", NULL), 0);
    ck_assert_int_eq(pier_service_port("443", "tcp"), 443);
    ck_assert_int_eq(pier_service_port("65535", NULL), 65535);
    ck_assert_int_eq(pier_service_port("65536", NULL), -EINVAL);
    ck_assert_str_eq(pier_error(), "port 65536: at most 65535");
    ck_assert_int_eq(pier_service_port("99999999999999999999999", NULL), -EINVAL);
}

BOTH(what_is_unknown_is_told)
{
    char name[64], tall[200];
    ck_assert_int_eq(pier_service_port("nosuch", NULL), PIER_ERESOLVE);
    ck_assert_str_eq(pier_error(), "service nosuch: unknown");
    ck_assert_int_eq(pier_exit_code(), 3);
    ck_assert_int_eq(pier_service_port("", NULL), PIER_ERESOLVE);
    ck_assert_int_eq(pier_service_port("-1", NULL), PIER_ERESOLVE);
    memset(tall, 'x', sizeof tall);
    tall[sizeof tall - 1] = '\0';
    ck_assert_int_eq(pier_service_port(tall, NULL), PIER_ERESOLVE);
    ck_assert_int_eq(pier_service_name(name, sizeof name, 4, NULL), PIER_ERESOLVE);
    ck_assert_str_eq(pier_error(), "service 4: unknown");
    ck_assert_int_eq(pier_service_port("http", "a protocol"), -EINVAL);
}

BOTH(what_is_no_port_is_told)
{
    char name[64];
    ck_assert_int_eq(pier_service_name(name, sizeof name, 65536, NULL), -EINVAL);
    ck_assert_str_eq(pier_error(), "port 65536: not from 0 to 65535");
    ck_assert_int_eq(pier_service_name(name, sizeof name, -1, NULL), -EINVAL);
    ck_assert_int_eq(pier_service_name(name, 4, 80, "tcp"), -ENAMETOOLONG);
    ck_assert_int_eq(pier_service_name(name, 5, 80, "tcp"), 0);
}

BOTH(a_table_that_cannot_be_read_is_done_without)
{
    char name[64];
    failure = EMFILE;
    ck_assert_int_eq(pier_service_port("https", NULL), 443);
    ck_assert_int_eq(pier_service_port("nosuch", NULL), -EMFILE);
    ck_assert_str_eq(pier_error(), "service nosuch: too many open files");
    ck_assert_int_eq(pier_service_name(name, sizeof name, 4, "udp"), -EMFILE);
    ck_assert_str_eq(pier_error(), "service 4/udp: too many open files");
}

/* ---- in a simulation ---- */

static int ask_simulated(void *arg)
{
    PIER_SIM_CHECK(pier_service_port("HTTP", NULL) == 80);
    PIER_SIM_CHECK(pier_service_port("only-here", NULL) == PIER_ERESOLVE);
    return 0;
}

TEST(a_simulation_knows_the_best_known_alone)
{
    set_entry("only-here", 4711, "tcp");
    ck_assert_int_eq(pier_sim_run(1, NULL, ask_simulated), 0);
    set_entry("http", 8080, "tcp");
    ck_assert_int_eq(pier_sim_run(1, NULL, ask_simulated), 0);
}

HARNESS_MAIN("net_service")
