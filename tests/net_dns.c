/* SPDX-License-Identifier: MIT */
/* backends: epoll io_uring */
/*
 * net_dns: look-ups against a name server of the test's own, on a thread.
 */
#include "both.h"
#include "files.h"
#include "net_name_server.h"

#include "net/dns.h"

#include <netdb.h>

/* ---- helpers ---- */

/* With a folder of its own in the place of /etc. */
static void begin(struct name_server *s)
{
    begin_folder();
    pi_dns_conf_folder(folder);
    start_name_server(s);
}

static void end(struct name_server *s)
{
    stop_name_server(s);
    ck_assert_int_eq(pi_dns_count(), 0);
    pi_dns_conf_folder(NULL);
    end_folder();
}

static void write_setting(const char *file, const char *text)
{
    ck_assert_int_eq(pier_write_file(in_folder(file), text, strlen(text), NULL), 0);
    pi_dns_conf_folder(folder); /* read at once */
}

static const char *ask_with(const char *name, const struct pier_resolve_opts *opts)
{
    static char all[2048];
    struct pier_ip ips[16];
    int count = pier_resolve(ips, 16, name, opts);
    all[0] = '\0';
    for (int i = 0; i < count; i++) {
        strcat(all, i ? " " : "");
        strcat(all, ips[i].text);
    }
    return count < 0 ? pier_error() : all;
}

static const char *ask(struct name_server *s, const char *name, int version)
{
    return ask_with(name, &(struct pier_resolve_opts){ .version = version, .servers = s->where });
}

/* ---- answers ---- */

BOTH(both_families_are_asked_for_and_kept)
{
    struct name_server s;
    begin(&s);
    ck_assert_str_eq(ask(&s, "a.test", 4), "192.0.2.1");
    ck_assert_int_eq(s.asked, 1);
    ck_assert_ptr_nonnull(strstr(ask(&s, "a.test", 0), "2001:db8::1"));
    ck_assert_ptr_nonnull(strstr(ask(&s, "A.Test.", 0), "192.0.2.1"));
    ck_assert_int_eq(s.asked, 2);
    ck_assert_str_eq(ask(&s, "once.test", 4), "192.0.2.1");
    ck_assert_str_eq(ask(&s, "once.test", 4), "192.0.2.1");
    ck_assert_int_eq(s.asked, 4);
    end(&s);
}

BOTH(an_alias_is_followed_and_a_loop_of_them_told)
{
    struct name_server s;
    struct pier_dns_record r;
    begin(&s);
    ck_assert_str_eq(ask(&s, "alias.test", 4), "192.0.2.2");
    ck_assert_str_eq(ask(&s, "alias.test", 6), "2001:db8::2");
    ck_assert_int_eq(pier_dns_query(&r, 1, "loop.test", PIER_DNS_A,
                                    &(struct pier_resolve_opts){ .servers = s.where }),
                     PIER_ERESOLVE);
    ck_assert_str_eq(pier_error(), "resolve A of loop.test: its aliases (CNAME) lead nowhere");
    ck_assert_str_eq(ask(&s, "loops.test", 4),
                     "resolve loops.test: the name server's answer makes no sense");
    end(&s);
}

BOTH(what_is_not_there_is_told_and_kept_as_its_soa_says)
{
    struct name_server s;
    begin(&s);
    ck_assert_str_eq(ask(&s, "nxsoa.test", 4), "resolve nxsoa.test: unknown name");
    ck_assert_str_eq(ask(&s, "nxsoa.test", 4), "resolve nxsoa.test: unknown name");
    ck_assert_int_eq(pier_exit_code(), 3);
    ck_assert_int_eq(s.asked, 1);
    ck_assert_str_eq(ask(&s, "nx.test", 4), "resolve nx.test: unknown name");
    ck_assert_str_eq(ask(&s, "nx.test", 4), "resolve nx.test: unknown name");
    ck_assert_int_eq(s.asked, 3); /* without SOA it holds no moment */
    ck_assert_str_eq(ask(&s, "only4.test", 6), "resolve only4.test: no IPv6 address");
    ck_assert_str_eq(ask(&s, "only4.test", 0), "192.0.2.1");
    end(&s);
}

/* The clock of the cache, moved on. */
static int64_t clock_offset_ns;
static const struct pi_sys *system_sys;

static int64_t later_clock(void)
{
    return system_sys->clock_ns() + clock_offset_ns;
}

BOTH(a_reply_is_kept_for_its_time_to_live)
{
    struct name_server s;
    struct pier_dns_record r;
    begin(&s);
    const struct pier_resolve_opts opts = { .servers = s.where };
    system_sys = pi_sys;
    struct pi_sys later = *pi_sys;
    later.clock_ns = later_clock;
    ck_assert_int_eq(pier_dns_query(&r, 1, "a.test", PIER_DNS_A, &opts), 1);
    ck_assert_int_eq(r.ttl_s, 60);
    clock_offset_ns = 40 * PIER_SECOND;
    pi_sys = &later;
    ck_assert_int_eq(pier_dns_query(&r, 1, "a.test", PIER_DNS_A, &opts), 1);
    ck_assert_int_ge(r.ttl_s, 18);
    ck_assert_int_le(r.ttl_s, 20);
    ck_assert_int_eq(s.asked, 1);
    clock_offset_ns = 61 * PIER_SECOND;
    ck_assert_int_eq(pier_dns_query(&r, 1, "a.test", PIER_DNS_A, &opts), 1);
    ck_assert_int_eq(s.asked, 2);
    pi_sys = system_sys;
    end(&s);
}

BOTH(a_truncated_reply_is_fetched_by_tcp)
{
    enum { MANY = 64 };
    struct name_server s;
    begin(&s);
    struct pier_dns_record *records = calloc(MANY, sizeof *records);
    const struct pier_resolve_opts opts = { .servers = s.where };
    ck_assert_int_eq(pier_dns_query(records, MANY, "big.test", PIER_DNS_TXT, &opts), 40);
    ck_assert_uint_eq(records[39].len, 100);
    ck_assert_int_eq(records[39].text[99], 'a' + 39 % 26);
    ck_assert_int_eq(s.asked_by_tcp, 1);
    ck_assert_int_eq(pier_dns_query(records, 2, "big.test", PIER_DNS_TXT, &opts), 2);
    ck_assert_int_eq(s.asked_by_tcp, 1);
    free(records);
    end(&s);
}

/* ---- servers that fail ---- */

BOTH(a_server_that_fails_is_named_by_its_error)
{
    struct name_server s;
    begin(&s);
    ck_assert_str_eq(ask(&s, "servfail.test", 4),
                     "resolve servfail.test: the name server has failed (SERVFAIL)");
    ck_assert_str_eq(ask(&s, "refused.test", 4),
                     "resolve refused.test: the name server refuses (REFUSED)");
    ck_assert_str_eq(ask(&s, "lame.test", 4),
                     "resolve lame.test: the name server has failed (SERVFAIL)");
    ck_assert_str_eq(ask(&s, "garbled.test", 4),
                     "resolve garbled.test: the name server's answer makes no sense");
    ck_assert_int_eq(pier_exit_code(), 3);
    end(&s);
}

BOTH(the_next_server_is_asked_where_one_cannot_answer)
{
    static const char *const troubles[] = { "servfail", "refused", "lame" };
    struct name_server s, bad;
    char both[80], name[32];
    begin(&s);
    for (int i = 0; i < 3; i++) {
        start_name_server(&bad);
        bad.always = troubles[i];
        snprintf(both, sizeof both, "%s,%s", bad.where, s.where);
        snprintf(name, sizeof name, "a%d.test", i);
        const struct pier_resolve_opts opts = { .version = 4, .servers = both };
        ck_assert_str_eq(ask_with(name, &opts), "192.0.2.1");
        ck_assert_int_eq(bad.asked, 1);
        stop_name_server(&bad);
    }
    end(&s);
}

/* One second is the shortest that a server is waited for. */
BOTH(a_silent_or_absent_server_gives_way_to_the_next)
{
    struct name_server s, silent;
    char both[80];
    setenv("RES_OPTIONS", "timeout:1 attempts:2", 1);
    begin(&s);
    start_name_server(&silent);
    silent.always = "silent";
    snprintf(both, sizeof both, "%s,%s", silent.where, s.where);
    const struct pier_resolve_opts opts = { .version = 4, .servers = both };
    ck_assert_str_eq(ask_with("a.test", &opts), "192.0.2.1");
    ck_assert_int_ge(silent.asked, 1);
    stop_name_server(&silent);
    ck_assert_str_eq(ask_with("b.test", &opts), "192.0.2.1");
    const struct pier_resolve_opts gone = { .version = 4, .servers = silent.where };
    ck_assert_str_eq(ask_with("c.test", &gone), "resolve c.test: no name server can be reached");
    end(&s);
}

BOTH(a_look_up_ends_at_its_time_out_and_leaves_nothing)
{
    struct name_server s;
    begin(&s);
    int fds = open_fds();
    const struct pier_resolve_opts opts = { .timeout_ms = 30, .servers = s.where };
    ck_assert_str_eq(ask_with("silent.test", &opts), "resolve silent.test: timed out");
    ck_assert_int_eq(pier_exit_code(), 6);
    ck_assert_int_le(open_fds(), fds + 1); /* the thread's eventfd */
    ck_assert_int_eq(pi_dns_count(), 0);
    end(&s);
}

BOTH(servers_that_are_no_addresses_are_refused)
{
    static const char *const bad[] = { "",          ",",           "name",
                                       "1.2.3",     "127.0.0.1:x", "127.0.0.1:0",
                                       "fe80::1%lo" };
    struct name_server s;
    struct pier_ip ip;
    begin(&s);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        const struct pier_resolve_opts opts = { .servers = bad[i] };
        ck_assert_int_eq(pier_resolve(&ip, 1, "a.test", &opts), -EINVAL);
    }
    ck_assert_str_eq(pier_error(), "resolve a.test: servers are IP addresses, as "
                                   "\"192.0.2.1,[::1]:5353\"");
    end(&s);
}

/* ---- many at once ---- */

struct job {
    struct name_server *server;
    char name[32];
    int timeout_ms, rc;
};

static int *most_at_once;

static int run_job(void *arg)
{
    struct job *j = arg;
    struct pier_ip ip;
    const struct pier_resolve_opts opts = { .version = 4,
                                            .timeout_ms = j->timeout_ms,
                                            .servers = j->server->where };
    j->rc = pier_resolve(&ip, 1, j->name, &opts);
    return 0;
}

static int count_queries(void *arg)
{
    *most_at_once = pi_dns_count();
    return 0;
}

/* How many queries were under way when all waited. */
static int run_jobs(struct job *jobs, int count)
{
    struct pier_scope scope;
    int most = 0;
    most_at_once = &most;
    pier_scope_open(&scope, 0);
    for (int i = 0; i < count; i++)
        ck_assert_int_eq(pier_spawn(&scope, run_job, &jobs[i]), 0);
    pier_spawn(&scope, count_queries, NULL); /* runs when all others wait */
    ck_assert_int_eq(pier_scope_join(&scope), 0);
    return most;
}

TEST_WITHIN(60, ten_thousand_look_ups_are_under_way_at_once)
{
    enum { MANY = 10000, NOTICED = 9000 };
    struct name_server s;
    begin(&s);
    ck_assert_str_eq(ask(&s, "a.test", 4), "192.0.2.1"); /* the settings are read */
    int fds = open_fds();
    struct job *jobs = calloc(MANY, sizeof *jobs);
    for (int i = 0; i < MANY; i++) {
        jobs[i] = (struct job){ .server = &s, .timeout_ms = 50 * 1000 };
        snprintf(jobs[i].name, sizeof jobs[i].name, "a%d.test", i);
    }
    int most = run_jobs(jobs, MANY);
    for (int i = 0; i < MANY; i++)
        ck_assert_msg(jobs[i].rc == 1, "%s: %d", jobs[i].name, jobs[i].rc);
    ck_assert_int_ge(most, NOTICED);
    ck_assert_int_le(open_fds(), fds + 1); /* the thread's eventfd */
    ck_assert_uint_le(pi_dns_cache_size(), PI_DNS_CACHE_BYTES);
    free(jobs);
    end(&s);
}

TEST(equal_look_ups_are_one)
{
    enum { MANY = 50 };
    struct name_server s;
    struct job jobs[MANY] = { 0 };
    begin(&s);
    ck_assert_str_eq(ask(&s, "a.test", 4), "192.0.2.1"); /* the settings are read */
    s.slow_ms = 50;
    for (int i = 0; i < MANY; i++) {
        jobs[i].server = &s;
        snprintf(jobs[i].name, sizeof jobs[i].name, "%s.test", i % 2 ? "ONCE" : "once");
    }
    run_jobs(jobs, MANY);
    for (int i = 0; i < MANY; i++)
        ck_assert_int_eq(jobs[i].rc, 1);
    ck_assert_int_eq(s.asked, 2);
    end(&s);
}

/* The first one leads, and leaves first; the others still get what comes. */
TEST(silent_names_keep_no_others_waiting)
{
    enum { MANY = 200 };
    struct name_server s;
    struct job jobs[2 * MANY] = { 0 };
    begin(&s);
    for (int i = 0; i < 2 * MANY; i++) {
        jobs[i] = (struct job){ .server = &s, .timeout_ms = i < MANY ? 300 + i % 7 : 10 * 1000 };
        snprintf(jobs[i].name, sizeof jobs[i].name, "%s%d.test", i < MANY ? "silent" : "a", i);
    }
    run_jobs(jobs, 2 * MANY);
    for (int i = 0; i < MANY; i++) {
        ck_assert_int_eq(jobs[i].rc, -ETIMEDOUT);
        ck_assert_int_eq(jobs[MANY + i].rc, 1);
    }
    end(&s);
}

static int cancel_when_asked(void *arg)
{
    void **both = arg;
    struct name_server *s = both[1];
    while (s->asked == 0)
        pier_sleep(PIER_MILLISECOND);
    pier_scope_cancel(both[0]);
    return 0;
}

TEST(a_cancelled_look_up_leaves_nothing)
{
    struct name_server s;
    struct pier_scope scope;
    begin(&s);
    int fds = open_fds();
    struct job job = { .server = &s, .name = "silent.test" };
    pier_scope_open(&scope, 0);
    pier_spawn(&scope, run_job, &job);
    pier_spawn(&scope, cancel_when_asked, ((void *[]){ &scope, &s }));
    pier_scope_join(&scope);
    ck_assert_int_eq(job.rc, -ECANCELED);
    ck_assert_int_le(open_fds(), fds + 1); /* the thread's eventfd */
    end(&s);
}

static void *ask_on_a_thread(void *arg)
{
    struct job *j = arg;
    for (int i = 0; i < 100; i++) {
        snprintf(j->name, sizeof j->name, "a%d.test", i);
        run_job(j);
        if (j->rc != 1)
            break;
    }
    return NULL;
}

TEST(threads_share_settings_and_cache)
{
    enum { THREADS = 4 };
    struct name_server s;
    pthread_t threads[THREADS];
    struct job jobs[THREADS];
    begin(&s);
    for (int i = 0; i < THREADS; i++) {
        jobs[i] = (struct job){ .server = &s };
        ck_assert_int_eq(pthread_create(&threads[i], NULL, ask_on_a_thread, &jobs[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        ck_assert_int_eq(jobs[i].rc, 1);
    }
    ck_assert_int_ge(s.asked, 100);
    ck_assert_int_le(s.asked, 100 * THREADS);
    ck_assert_str_eq(ask(&s, "a99.test", 4), "192.0.2.1");
    end(&s);
}

/* In the child of a fork the parent's queries are nobody's. */
static int fork_when_asked(void *arg)
{
    void **both = arg;
    struct name_server *s = both[1];
    while (s->asked == 0)
        pier_sleep(PIER_MILLISECOND);
    pid_t pid = fork();
    if (pid == 0)
        _exit(pi_dns_count() == 0 ? 0 : 1);
    int status = -1;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
    ck_assert_int_eq(pi_dns_count(), 1);
    pier_scope_cancel(both[0]);
    return 0;
}

TEST(a_child_of_a_fork_leaves_its_parents_queries_alone)
{
    struct name_server s;
    struct pier_scope scope;
    begin(&s);
    struct job job = { .server = &s, .name = "silent.test" };
    pier_scope_open(&scope, 0);
    pier_spawn(&scope, run_job, &job);
    pier_spawn(&scope, fork_when_asked, ((void *[]){ &scope, &s }));
    pier_scope_join(&scope);
    ck_assert_int_eq(job.rc, -ECANCELED);
    end(&s);
}

/* ---- settings ---- */

BOTH(a_short_name_goes_along_the_search_list)
{
    struct name_server s;
    begin(&s);
    write_setting("resolv.conf", "search nxsoa.test here.test.\noptions ndots:2\n");
    s.always = NULL;
    const struct pier_resolve_opts opts = { .version = 4, .servers = s.where };
    ck_assert_str_eq(ask_with("nx.a", &opts), "resolve nx.a: unknown name");
    ck_assert_int_eq(s.asked, 3); /* nx.a.nxsoa.test, nx.a.here.test, nx.a */
    ck_assert_str_eq(ask_with("a.b", &opts), "192.0.2.1");
    ck_assert_int_eq(s.asked, 4); /* a.b.nxsoa.test is there */
    ck_assert_str_eq(ask_with("nx.a.b", &opts), "resolve nx.a.b: unknown name");
    ck_assert_int_eq(s.asked, 7);
    ck_assert_str_eq(ask_with("nx.a.b.", &opts), "resolve nx.a.b.: unknown name");
    ck_assert_int_eq(s.asked, 8);
    end(&s);
}

BOTH(the_table_of_hosts_comes_first_and_changes_are_seen)
{
    struct name_server s;
    begin(&s);
    write_setting("hosts", "192.0.2.9 Name.test alias.test # nx.test\nbad line.test\n"
                           "2001:db8::9 name.test\n");
    ck_assert_str_eq(ask_with("alias.test", NULL), "192.0.2.9");
    ck_assert_str_eq(ask_with("name.TEST.", &(struct pier_resolve_opts){ .version = 6 }),
                     "2001:db8::9");
    char name[64];
    ck_assert_int_eq(pier_reverse(name, sizeof name, "192.0.2.9", NULL), 0);
    ck_assert_str_eq(name, "Name.test");
    ck_assert_str_eq(ask(&s, "name.test", 4), "192.0.2.1"); /* servers of one's own: no table */
    const char *now = "192.0.2.10 name.test\n";
    ck_assert_int_eq(pier_write_file(in_folder("hosts"), now, strlen(now), NULL), 0);
    const struct pier_resolve_opts four = { .version = 4 };
    while (strcmp(ask_with("name.test", &four), "192.0.2.10") != 0)
        pier_sleep(PIER_MILLISECOND);
    end(&s);
}

/* ---- dialling ---- */

/* A listener on 127.0.0.1, and a URL with that port. */
static int listen_for(const char *name, char url[80])
{
    struct sockaddr_in addr = { .sin_family = AF_INET };
    socklen_t len = sizeof addr;
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&addr, len), 0);
    ck_assert_int_eq(listen(fd, 10), 0);
    getsockname(fd, (struct sockaddr *)&addr, &len);
    snprintf(url, 80, "tcp://%s:%d", name, ntohs(addr.sin_port));
    return fd;
}

BOTH(a_dial_goes_on_without_the_slower_family)
{
    struct name_server s;
    char url[80];
    begin(&s);
    int fd = listen_for("mute6.test", url);
    int64_t start = pier_now();
    struct pier_conn *c = pier_dial(url, &(struct pier_dial_opts){ .servers = s.where });
    ck_assert_msg(c != NULL, "%s", pier_error());
    ck_assert_int_ge(ms_since(start), 49);
    ck_assert_int_lt(ms_since(start), 900); /* a server is given 2 s */
    pier_close(c);
    close(fd);
    end(&s);
}

BOTH(addresses_that_come_late_are_still_tried)
{
    struct name_server s;
    char url[80];
    begin(&s);
    s.slow_ms = 200;
    int fd = listen_for("late4.test", url); /* AAAA at once, where nobody listens; A later */
    struct pier_conn *c = pier_dial(url, &(struct pier_dial_opts){ .servers = s.where });
    ck_assert_msg(c != NULL, "%s", pier_error());
    pier_close(c);
    close(fd);
    end(&s);
}

BOTH(a_dial_of_datagrams_asks_the_same_servers)
{
    struct name_server s;
    begin(&s);
    struct pier_conn *c = pier_dial("udp://late4.test:9",
                                    &(struct pier_dial_opts){ .servers = s.where });
    ck_assert_msg(c != NULL, "%s", pier_error());
    ck_assert_str_eq(pier_peer(c), "127.0.0.1:9");
    pier_close(c);
    end(&s);
}

/* ---- memory ---- */

long pi_alloc_fail(long countdown);

BOTH(look_ups_without_memory_fail)
{
    struct name_server s;
    begin(&s);
    int rc = -ENOMEM;
    for (long i = 1; rc < 0; i++) {
        struct pier_ip ip;
        const struct pier_resolve_opts opts = { .servers = s.where };
        ck_assert_int_lt(i, 60);
        pi_dns_conf_folder(folder);
        pi_dns_cache_clear();
        pi_alloc_fail(i);
        rc = pier_resolve(&ip, 1, "a.test", &opts);
        pi_alloc_fail(0);
        ck_assert_msg(rc == 1 || rc == -ENOMEM || rc == PIER_ERESOLVE, "%d", rc);
        ck_assert_int_eq(pi_dns_count(), 0);
    }
    end(&s);
}

HARNESS_MAIN("net_dns")
