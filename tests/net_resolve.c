/* SPDX-License-Identifier: MIT */
/* backends: epoll io_uring */
/*
 * net_resolve: addresses of names, names of addresses, and what this host says of itself. The
 * resolver is put in its place, so that nothing is looked up outside; the rest is compared with
 * what the system says.
 */
#include "both.h"

#include "net_names.h"

#include <dlfcn.h>
#include <ifaddrs.h>
#include <net/if.h>

/* ---- helpers ---- */

/* All that pier_resolve() says, with spaces in between; or its words. */
static const char *ask(const char *name, int version, int cap)
{
    static char all[2048];
    struct pier_ip ips[16];
    const struct pier_resolve_opts opts = { .version = version };
    int count = pier_resolve(ips, cap, name, &opts);
    all[0] = '\0';
    for (int i = 0; i < count; i++) {
        ck_assert_int_eq(ips[i].version, strchr(ips[i].text, ':') ? 6 : 4);
        strcat(all, i ? " " : "");
        strcat(all, ips[i].text);
    }
    return count < 0 ? pier_error() : all;
}

/* getnameinfo(3): what the test has set; it may be held as look-ups of names are. */
static const char *reverse_name;
static int reverse_failure;

int getnameinfo(const struct sockaddr *addr, socklen_t len, char *host, socklen_t cap,
                char *service, socklen_t service_cap, int flags)
{
    ck_assert_int_eq(flags, NI_NAMEREQD);
    ck_assert_uint_eq(len, addr->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6)
                                                       : sizeof(struct sockaddr_in));
    pthread_mutex_lock(&names.lock);
    while (names.held)
        pthread_cond_wait(&names.released, &names.lock);
    pthread_mutex_unlock(&names.lock);
    if (reverse_failure)
        return reverse_failure;
    snprintf(host, cap, "%s", reverse_name);
    return 0;
}

/* ---- addresses of names ---- */

BOTH(resolve_keeps_the_order_of_the_resolver)
{
    const char *texts[] = { "2001:db8::1", "2001:db8::2", "192.0.2.1", "192.0.2.2" };
    names_set(texts, 4, 0);
    ck_assert_str_eq(ask("host.test", 0, 16), "2001:db8::1 2001:db8::2 192.0.2.1 192.0.2.2");
    ck_assert_int_eq(names_asked(), 1);
}

BOTH(resolve_gives_no_more_than_there_is_room_for)
{
    const char *texts[20];
    for (int i = 0; i < 20; i++)
        texts[i] = "192.0.2.1";
    names_set(texts, 20, 0);
    struct pier_ip ips[3] = { { 0 }, { 0 }, { .text = "untouched" } };
    ck_assert_int_eq(pier_resolve(ips, 2, "host.test", NULL), 2);
    ck_assert_str_eq(ips[1].text, "192.0.2.1");
    ck_assert_str_eq(ips[2].text, "untouched");
    struct pier_ip many[32];
    ck_assert_int_eq(pier_resolve(many, 32, "host.test", NULL), 16);
}

BOTH(resolve_of_an_address_is_itself_and_asks_nobody)
{
    names_set(NULL, 0, EAI_FAIL);
    ck_assert_str_eq(ask("192.0.2.7", 0, 16), "192.0.2.7");
    ck_assert_str_eq(ask("2001:DB8:0:0::7", 0, 16), "2001:db8::7");
    ck_assert_int_eq(names_asked(), 0);
}

BOTH(resolve_of_localhost_asks_nobody)
{
    names_set(NULL, 0, EAI_FAIL);
    ck_assert_str_eq(ask("localhost", 0, 16), "::1 127.0.0.1");
    ck_assert_str_eq(ask("A.LocalHost.", 4, 16), "127.0.0.1");
    ck_assert_str_eq(ask("localhost", 6, 16), "::1");
    ck_assert_int_eq(names_asked(), 0);
}

static void expect_failure(const char *name, int version, int code, const char *words)
{
    struct pier_ip ip;
    const struct pier_resolve_opts opts = { .version = version };
    ck_assert_int_eq(pier_resolve(&ip, 1, name, &opts), code);
    ck_assert_str_eq(pier_error(), words);
    ck_assert_int_eq(pier_error_code(), code);
}

BOTH(resolve_of_an_unknown_name_says_so)
{
    names_set(NULL, 0, EAI_NONAME);
    expect_failure("no.such.name", 0, PIER_ERESOLVE, "resolve no.such.name: unknown name");
    ck_assert_int_eq(pier_exit_code(), 3);
    names_set(NULL, 0, EAI_NODATA);
    expect_failure("host.test", 6, PIER_ERESOLVE, "resolve host.test: no IPv6 address");
    expect_failure("host.test", 0, PIER_ERESOLVE, "resolve host.test: unknown name");
    names_set(NULL, 0, EAI_AGAIN);
    expect_failure("host.test", 0, PIER_ERESOLVE,
                   "resolve host.test: temporary failure in name resolution");
    ck_assert_int_eq(pier_exit_code(), 3);
}

BOTH(resolve_refuses_what_can_be_no_name)
{
    char longest[300], words[400];
    names_set(NULL, 0, EAI_FAIL);
    expect_failure("", 0, PIER_ERESOLVE, "resolve \"\": the name is empty");
    expect_failure("\xff\n", 0, PIER_ERESOLVE, "resolve \\xff\\n: not UTF-8");
    expect_failure("a\xe2\x80\xae"
                   "b.test",
                   0, PIER_ERESOLVE,
                   "resolve a\\xe2\\x80\\xaeb.test: no name by the rules of UTS 46");
    expect_failure("127.1", 0, PIER_ERESOLVE, "resolve 127.1: not an IPv4 address");
    expect_failure("4660", 0, PIER_ERESOLVE, "resolve 4660: not an IPv4 address");
    memset(longest, 'a', 254);
    longest[254] = '\0';
    snprintf(words, sizeof words, "resolve %s: longer than 253 bytes", longest);
    expect_failure(longest, 0, PIER_ERESOLVE, words);
    ck_assert_int_eq(names_asked(), 0);
    longest[253] = '.'; /* a final dot is not counted */
    expect_failure(longest, 0, PIER_ERESOLVE,
                   strcat(strcpy(words, "resolve "), longest)
                       ? strcat(words, ": non-recoverable failure in name resolution")
                       : NULL);
    ck_assert_int_eq(names_asked(), 1);
}

BOTH(resolve_refuses_senseless_arguments)
{
    struct pier_ip ip;
    ck_assert_int_eq(pier_resolve(&ip, 0, "host.test", NULL), -EINVAL);
    expect_failure("host.test", 5, -EINVAL, "resolve host.test: an IP version is 4 or 6");
    expect_failure("host.test", -1, -EINVAL, "resolve host.test: an IP version is 4 or 6");
}

/* The answer comes later, to nobody. */
BOTH(resolve_ends_at_its_time_out)
{
    struct pier_ip ip;
    const char *one = "192.0.2.1";
    const struct pier_resolve_opts opts = { .timeout_ms = 30 };
    names_set(&one, 1, 0);
    names_hold(true);
    int64_t begin = pier_now();
    ck_assert_int_eq(pier_resolve(&ip, 1, "host.test", &opts), -ETIMEDOUT);
    ck_assert_int_ge(ms_since(begin), 29);
    ck_assert_str_eq(pier_error(), "resolve host.test: timed out");
    ck_assert_int_eq(pier_exit_code(), 6);
    ck_assert_int_eq(pier_reverse((char[64]){ 0 }, 64, "192.0.2.1", &opts), -ETIMEDOUT);
    ck_assert_str_eq(pier_error(), "reverse 192.0.2.1: timed out");
    names_hold(false);
    ck_assert_str_eq(ask("host.test", 0, 16), "192.0.2.1");
}

/* Cancelled when the look-up is on its thread. */
static int cancel_when_asked(void *scope)
{
    while (names_asked() == 0)
        pier_sleep(PIER_MILLISECOND);
    pier_scope_cancel(scope);
    return 0;
}

static int resolve_host(void *arg)
{
    struct pier_ip ip;
    int rc = pier_resolve(&ip, 1, "host.test", NULL);
    ck_assert_int_eq(rc, -ECANCELED);
    ck_assert_str_eq(pier_error(), "resolve host.test: cancelled");
    *(bool *)arg = true;
    return rc;
}

TEST(resolve_can_be_cancelled)
{
    bool was_cancelled = false;
    struct pier_scope scope;
    names_hold(true);
    pier_scope_open(&scope, 0);
    pier_spawn(&scope, resolve_host, &was_cancelled);
    pier_spawn(&scope, cancel_when_asked, &scope);
    pier_scope_join(&scope);
    ck_assert(was_cancelled);
    names_hold(false);
}

BOTH(resolve_in_a_cancelled_scope_does_not_ask)
{
    struct pier_ip ip;
    struct pier_scope scope;
    pier_scope_open(&scope, 0);
    pier_scope_cancel(&scope);
    ck_assert_int_eq(pier_resolve(&ip, 1, "host.test", NULL), -ECANCELED);
    pier_scope_join(&scope);
    ck_assert_int_eq(names_asked(), 0);
}

static int resolve_one(void *arg)
{
    struct pier_ip ip;
    *(int *)arg = pier_resolve(&ip, 1, "host.test", NULL);
    return 0;
}

TEST(resolve_of_many_at_once_answers_all)
{
    enum { MANY = 200 };
    int rcs[MANY] = { 0 };
    const char *one = "192.0.2.1";
    names_set(&one, 1, 0);
    struct pier_scope scope;
    pier_scope_open(&scope, 0);
    for (int i = 0; i < MANY; i++)
        pier_spawn(&scope, resolve_one, &rcs[i]);
    ck_assert_int_eq(pier_scope_join(&scope), 0);
    for (int i = 0; i < MANY; i++)
        ck_assert_int_eq(rcs[i], 1);
    ck_assert_int_eq(names_asked(), MANY);
}

/* ---- names of addresses ---- */

BOTH(reverse_gives_the_name)
{
    char name[PIER_NAME_CAP];
    reverse_name = "host.test";
    ck_assert_int_eq(pier_reverse(name, sizeof name, "192.0.2.1", NULL), 0);
    ck_assert_str_eq(name, "host.test");
    ck_assert_int_eq(pier_reverse(name, sizeof name, "2001:db8::1", NULL), 0);
    ck_assert_int_eq(pier_reverse(name, sizeof "host.test", "192.0.2.1", NULL), 0);
    ck_assert_int_eq(pier_reverse(name, sizeof "host.test" - 1, "192.0.2.1", NULL), -ENAMETOOLONG);
}

BOTH(reverse_says_what_failed)
{
    char name[PIER_NAME_CAP];
    reverse_failure = EAI_NONAME;
    ck_assert_int_eq(pier_reverse(name, sizeof name, "192.0.2.1", NULL), PIER_ERESOLVE);
    ck_assert_str_eq(pier_error(), "reverse 192.0.2.1: no name");
    ck_assert_int_eq(pier_exit_code(), 3);
    reverse_failure = EAI_AGAIN;
    ck_assert_int_eq(pier_reverse(name, sizeof name, "192.0.2.1", NULL), PIER_ERESOLVE);
    ck_assert_str_eq(pier_error(), "reverse 192.0.2.1: temporary failure in name resolution");
    ck_assert_int_eq(pier_reverse(name, sizeof name, "host.test", NULL), -EINVAL);
    ck_assert_str_eq(pier_error(), "reverse host.test: not an IP address");
    ck_assert_int_eq(pier_reverse(name, sizeof name, "", NULL), -EINVAL);
}

/* ---- this host ---- */

BOTH(hostname_is_the_systems)
{
    char name[PIER_NAME_CAP], wanted[PIER_NAME_CAP];
    ck_assert_int_eq(gethostname(wanted, sizeof wanted), 0);
    ck_assert_int_eq(pier_hostname(name, sizeof name), 0);
    ck_assert_str_eq(name, wanted);
    ck_assert_int_eq(pier_hostname(name, strlen(wanted)), -ENAMETOOLONG);
    ck_assert_str_eq(pier_error(), "host name: file name too long");
    ck_assert_str_eq(name, "");
}

/* getifaddrs(3): the system's, or a list with one address up, one down, and one of no IP. */
static bool has_own_list;

int getifaddrs(struct ifaddrs **list)
{
    static struct sockaddr_in four[2] = { { .sin_family = AF_INET }, { .sin_family = AF_INET } };
    static struct sockaddr_in6 six = { .sin6_family = AF_INET6, .sin6_scope_id = 1 };
    static struct sockaddr packet = { .sa_family = AF_PACKET };
    static struct ifaddrs all[] = {
        { &all[1], (char *)"down0", 0, (struct sockaddr *)&four[0], NULL, { NULL }, NULL },
        { &all[2], (char *)"up0", IFF_UP, &packet, NULL, { NULL }, NULL },
        { &all[3], (char *)"up0", IFF_UP, NULL, NULL, { NULL }, NULL },
        { &all[4], (char *)"up0", IFF_UP, (struct sockaddr *)&four[1], NULL, { NULL }, NULL },
        { NULL, (char *)"up0", IFF_UP, (struct sockaddr *)&six, NULL, { NULL }, NULL },
    };
    if (!has_own_list)
        return ((int (*)(struct ifaddrs **))dlsym(RTLD_NEXT, "getifaddrs"))(list);
    inet_pton(AF_INET, "192.0.2.1", &four[0].sin_addr);
    inet_pton(AF_INET, "192.0.2.2", &four[1].sin_addr);
    inet_pton(AF_INET6, "fe80::1", &six.sin6_addr);
    *list = all;
    return 0;
}

void freeifaddrs(struct ifaddrs *list)
{
    if (!has_own_list)
        ((void (*)(struct ifaddrs *))dlsym(RTLD_NEXT, "freeifaddrs"))(list);
}

BOTH(local_addresses_leave_out_what_is_down_and_what_is_no_ip)
{
    struct pier_local_addr addrs[8];
    char zone[IF_NAMESIZE] = "", wanted[64] = "fe80::1";
    if (if_indextoname(1, zone))
        snprintf(wanted, sizeof wanted, "fe80::1%%%s", zone);
    has_own_list = true;
    ck_assert_int_eq(pier_local_addrs(addrs, 8, PIER_WITH_LOOPBACK), 2);
    ck_assert_str_eq(addrs[0].ip.text, "192.0.2.2");
    ck_assert_str_eq(addrs[0].interface, "up0");
    ck_assert_str_eq(addrs[1].ip.text, wanted);
}

/* Those that are up, as text, each with its interface. */
static int count_system(bool with_loopback, const struct pier_local_addr *wanted, int count)
{
    int found = 0;
    struct ifaddrs *all;
    ck_assert_int_eq(getifaddrs(&all), 0);
    for (struct ifaddrs *a = all; a; a = a->ifa_next) {
        int family = a->ifa_addr ? a->ifa_addr->sa_family : AF_UNSPEC;
        bool is_loopback = a->ifa_flags & IFF_LOOPBACK;
        if ((family != AF_INET && family != AF_INET6) || !(a->ifa_flags & IFF_UP) ||
            (is_loopback && !with_loopback))
            continue;
        ck_assert_int_lt(found, count);
        const struct pier_local_addr *w = &wanted[found++];
        char text[INET6_ADDRSTRLEN];
        const void *ip = family == AF_INET
                             ? (void *)&((struct sockaddr_in *)a->ifa_addr)->sin_addr
                             : (void *)&((struct sockaddr_in6 *)a->ifa_addr)->sin6_addr;
        inet_ntop(family, ip, text, sizeof text);
        ck_assert_int_eq(strncmp(w->ip.text, text, strlen(text)), 0);
        ck_assert_int_eq(w->ip.version, family == AF_INET ? 4 : 6);
        ck_assert_str_eq(w->interface, a->ifa_name);
        ck_assert_int_eq(w->is_loopback, is_loopback);
    }
    freeifaddrs(all);
    return found;
}

BOTH(local_addresses_are_those_of_the_system)
{
    enum { MANY = 1024 };
    static struct pier_local_addr addrs[MANY];
    for (int loopback = 0; loopback < 2; loopback++) {
        int count = pier_local_addrs(addrs, MANY, loopback ? PIER_WITH_LOOPBACK : 0);
        ck_assert_msg(count >= loopback, "%s", pier_error());
        ck_assert_int_eq(count_system(loopback, addrs, count), count);
    }
    ck_assert_int_eq(pier_local_addrs(addrs, 1, PIER_WITH_LOOPBACK), 1);
    ck_assert_int_eq(pier_local_addrs(addrs, 0, 0), -EINVAL);
}

/* ---- in a simulation ---- */

static int ask_around(void *arg)
{
    char name[PIER_NAME_CAP];
    struct pier_ip ips[4];
    struct pier_local_addr addrs[8];
    PIER_SIM_CHECK(pier_hostname(name, sizeof name) == 0 && strcmp(name, "client") == 0);
    PIER_SIM_CHECK(pier_resolve(ips, 4, "server", NULL) == 2);
    PIER_SIM_CHECK(strcmp(ips[0].text, "10.0.0.2") == 0 && strcmp(ips[1].text, "fd00::2") == 0);
    PIER_SIM_CHECK(pier_resolve(ips, 4, "server", &(struct pier_resolve_opts){ .version = 6 }) ==
                   1);
    PIER_SIM_CHECK(strcmp(ips[0].text, "fd00::2") == 0);
    PIER_SIM_CHECK(pier_resolve(ips, 4, "client", &(struct pier_resolve_opts){ .version = 6 }) ==
                   PIER_ERESOLVE);
    PIER_SIM_CHECK(strcmp(pier_error(), "resolve client: no IPv6 address") == 0);
    PIER_SIM_CHECK(pier_resolve(ips, 4, "nobody", NULL) == PIER_ERESOLVE);
    PIER_SIM_CHECK(strcmp(pier_error(), "resolve nobody: unknown name") == 0);
    PIER_SIM_CHECK(pier_reverse(name, sizeof name, "fd00::2", NULL) == 0);
    PIER_SIM_CHECK(strcmp(name, "server") == 0);
    PIER_SIM_CHECK(pier_reverse(name, sizeof name, "127.0.0.1", NULL) == 0);
    PIER_SIM_CHECK(strcmp(name, "client") == 0);
    PIER_SIM_CHECK(pier_reverse(name, sizeof name, "10.9.9.9", NULL) == PIER_ERESOLVE);
    PIER_SIM_CHECK(pier_local_addrs(addrs, 8, 0) == 1);
    PIER_SIM_CHECK(strcmp(addrs[0].ip.text, "10.0.0.1") == 0 && !addrs[0].is_loopback);
    PIER_SIM_CHECK(pier_local_addrs(addrs, 8, PIER_WITH_LOOPBACK) == 3);
    PIER_SIM_CHECK(addrs[0].is_loopback && strcmp(addrs[0].interface, "lo") == 0);
    return 0;
}

static int scene(void *arg)
{
    struct pier_sim_host *client = pier_sim_host("client", "10.0.0.1");
    pier_sim_host("server", "10.0.0.2 fd00::2");
    pier_sim_start(client, ask_around, NULL);
    return pier_sim_join(client);
}

TEST(a_simulation_answers_for_its_hosts)
{
    names_set(NULL, 0, EAI_FAIL);
    for (uint64_t seed = 1; seed <= 20; seed++)
        ck_assert_msg(pier_sim_run(seed, NULL, scene) == 0, "%s", pier_error());
    ck_assert_int_eq(names_asked(), 0);
}

/* ---- memory ---- */

long pi_alloc_fail(long countdown);

static int ask_everything(void)
{
    char name[PIER_NAME_CAP];
    struct pier_ip ip;
    struct pier_local_addr addr;
    int rc = pier_resolve(&ip, 1, "host.test", NULL);
    if (rc > 0)
        rc = pier_reverse(name, sizeof name, "192.0.2.1", NULL);
    if (rc == 0)
        rc = pier_local_addrs(&addr, 1, PIER_WITH_LOOPBACK);
    return rc;
}

BOTH(names_without_memory_fail)
{
    const char *one = "192.0.2.1";
    reverse_name = "host.test";
    names_set(&one, 1, 0);
    int rc = -ENOMEM;
    for (long i = 1; rc < 0; i++) {
        ck_assert_int_lt(i, 40);
        pi_alloc_fail(i);
        rc = ask_everything();
        pi_alloc_fail(0);
        ck_assert_msg(rc == 1 || rc == -ENOMEM, "%d", rc);
    }
}

HARNESS_MAIN("net_resolve")
