/* SPDX-License-Identifier: MIT */
/* not on valgrind: thousands of walks, in a time that runs faster */
/* not on tsan: its runtime is linked in, and its calls would be put in other places, too */
/*
 * net_faults: the paths through connections, dialling, servers and children with every call and
 * every request for memory failing in turn, with calls interrupted all the time, and without
 * threads.
 */
#include "harness.h"
#include "net_faults.h"

#define NAME_SERVER_BEGINS() (faults_exempt = true)
#include "net_name_server.h"

#include "net/dns_cache.h"

#include <stddef.h>
#include <sys/un.h>

/* ---- dialling ---- */

static struct {
    int fd;
    int filler; /* a connection that is never accepted; -1: none */
    int port;
    char url[80];
} stand;

/* On 127.0.0.x; port 0: any. */
static int listen_on(const char *ip, int port, int backlog)
{
    struct sockaddr_in addr = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
    socklen_t len = sizeof addr;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    inet_pton(AF_INET, ip, &addr.sin_addr);
    if (bind(fd, (struct sockaddr *)&addr, len) < 0 || listen(fd, backlog) < 0) {
        close(fd);
        return -1;
    }
    getsockname(fd, (struct sockaddr *)&addr, &len);
    stand.port = ntohs(addr.sin_port);
    return fd;
}

static void open_stand(const char *host)
{
    stand.fd = listen_on("127.0.0.1", 0, 100);
    ck_assert_int_ge(stand.fd, 0);
    snprintf(stand.url, sizeof stand.url, "tcp://%s:%d", host, stand.port);
}

/* Takes what has been dialled off the backlog. */
static void clear_stand(int rc)
{
    int fd;
    while ((fd = accept4(stand.fd, NULL, NULL, SOCK_CLOEXEC)) >= 0)
        close(fd);
}

static struct pier_dial_opts dial_opts;

static int dial(void)
{
    struct pier_conn *c = pier_dial(stand.url, &dial_opts);
    int rc = c ? (int)pier_puts(c, "hello") : pier_error_code();
    pier_close(c);
    return rc < 0 ? rc : 0;
}

/* An address that is silent is not waited for long, but where the dial must succeed. */
static void set_patience(void)
{
    dial_opts.connect_timeout_ms = faults.at ? 5000 : 500 * 1000;
}

static const struct path dialling = {
    .walk = dial,
    .clean = clear_stand,
    .says = "dial tcp://|socket option|connection: |write tcp://",
};

TEST(dial_says_what_failed)
{
    open_stand("127.0.0.1");
    fail_everywhere(&dialling);
}

TEST(dial_by_name_says_what_failed)
{
    struct path path = dialling;
    path.offloads = true;
    open_stand("one.test");
    fail_everywhere(&path);
}

TEST(dial_of_several_addresses_goes_on_after_a_failure)
{
    struct path path = dialling;
    path.offloads = true;
    path.recovers = "socket|setsockopt|connect|eventfd|ppoll|epoll_ctl|getsockopt";
    faults_names = "127.0.0.1 127.0.0.1";
    open_stand("two.test");
    fail_everywhere(&path);
}

TEST(dial_races_on_after_a_failure)
{
    struct path path = dialling;
    path.offloads = path.brief = path.fails_once = true;
    path.recovers = "*";
    path.instead = "timed out"; /* the slow one is the last that is left */
    run_time_faster(50);        /* the attempt delay is 5 ms, the time-out of a dial 100 ms */
    path.prepare = set_patience;
    faults_names = "127.0.0.2 127.0.0.1";
    open_stand("two.test");
    int slow = listen_on("127.0.0.2", stand.port, 0);
    ck_assert_int_ge(slow, 0);
    struct sockaddr_in addr;
    socklen_t len = sizeof addr;
    getsockname(slow, (struct sockaddr *)&addr, &len);
    int filler = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(connect(filler, (struct sockaddr *)&addr, len), 0);
    fail_everywhere(&path);
}

static void open_unix_stand(void)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    int n = snprintf(addr.sun_path + 1, 64, "pier-net-faults-%d", getpid());
    stand.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
    ck_assert_int_eq(bind(stand.fd, (struct sockaddr *)&addr, len), 0);
    ck_assert_int_eq(listen(stand.fd, 10), 0);
    snprintf(stand.url, sizeof stand.url, "unix://@pier-net-faults-%d", getpid());
}

TEST(dial_of_a_path_says_what_failed)
{
    struct path path = dialling;
    path.says = "dial unix://|connection: |write unix://";
    open_unix_stand();
    fail_everywhere(&path);
}

TEST(dial_connects_when_calls_are_interrupted)
{
    struct path path = dialling;
    path.offloads = true;
    open_stand("127.0.0.1");
    interrupt_everywhere(&path);
    snprintf(stand.url, sizeof stand.url, "tcp://two.test:%d", stand.port);
    faults_names = "127.0.0.2 127.0.0.1";
    interrupt_everywhere(&path);
    open_unix_stand();
    interrupt_everywhere(&path);
}

/* Once it is open, a capture's trouble is not the connection's: memory is the packets', addresses
 * are made up. */
static char capture_path[64];

static int dial_captured(void)
{
    struct pier_capture *k = pier_capture_open(capture_path, NULL);
    if (!k)
        return pier_error_code();
    dial_opts.capture = k;
    int rc = dial();
    dial_opts.capture = NULL;
    int ended = pier_capture_close(k);
    return rc < 0 ? rc : ended;
}

TEST(dial_with_a_capture_says_what_failed)
{
    struct path path = dialling;
    path.walk = dial_captured;
    path.says = "dial tcp://|socket option|connection: |write tcp://|capture /";
    path.recovers = "memory|getsockname|close";
    snprintf(capture_path, sizeof capture_path, "/tmp/pier-faults-%d", (int)getpid());
    open_stand("127.0.0.1");
    fail_everywhere(&path);
    interrupt_everywhere(&path);
    unlink(capture_path);
}

/* ---- names and ports ---- */

static int ask_names(void)
{
    char name[PIER_NAME_CAP];
    struct pier_ip ip;
    int rc = pier_hostname(name, sizeof name);
    if (rc == 0)
        rc = pier_resolve(&ip, 1, "one.test", NULL);
    if (rc > 0)
        rc = pier_reverse(name, sizeof name, "127.0.0.1", NULL);
    return rc;
}

TEST(names_say_what_failed)
{
    static const struct path path = {
        .walk = ask_names,
        .says = "resolve one.test|reverse 127.0.0.1",
        .instead = "no name",
        .offloads = true,
    };
    fail_everywhere(&path);
    interrupt_everywhere(&path);
}

static struct name_server name_server;

static int ask_name_server(void)
{
    struct pier_ip ips[2];
    const struct pier_resolve_opts opts = { .servers = name_server.where };
    int rc = pier_resolve(ips, 2, "a.test", &opts);
    return rc < 0 ? rc : 0;
}

static void forget_names(int rc)
{
    pi_dns_cache_clear();
    pi_dns_conf_folder(NULL); /* and the record with the servers */
}

/* A failure is a reason to ask again, for c-ares. */
TEST(names_of_a_name_server_say_what_failed)
{
    static const struct path path = {
        .walk = ask_name_server,
        .clean = forget_names,
        .says = "resolve a.test",
        .instead = "no name server can be reached|no name server answers|timed out",
        .recovers = "*",
        .brief = true,
    };
    run_time_faster(50);
    start_name_server(&name_server);
    fail_everywhere(&path);
    stop_name_server(&name_server);
}

static int ask_this_host(void)
{
    struct pier_local_addr addrs[4];
    int rc = pier_local_addrs(addrs, 4, PIER_WITH_LOOPBACK);
    return rc < 0 ? rc : 0;
}

TEST(addresses_of_this_host_say_what_failed)
{
    static const struct path path = {
        .walk = ask_this_host,
        .says = "local addresses",
        .offloads = true,
    };
    fail_everywhere(&path);
    interrupt_everywhere(&path);
}

/* Of one that our own table lacks, and of one that it has. */
static int ask_ports(void)
{
    char name[64];
    int rc = pier_service_port("no-such-service", NULL);
    if (rc == PIER_ERESOLVE)
        rc = pier_service_name(name, sizeof name, 80, "tcp");
    if (rc == 0)
        rc = pier_service_name(name, sizeof name, 4, "udp");
    return rc == PIER_ERESOLVE ? 0 : rc;
}

TEST(ports_say_what_failed)
{
    static const struct path path = {
        .walk = ask_ports,
        .says = "service no-such-service|service 80/tcp|service 4/udp",
        .recovers = "getservbyname_r|memory", /* of http; of the words of what is unknown */
        .offloads = true,
    };
    fail_everywhere(&path);
    interrupt_everywhere(&path);
}

/* ---- reading and writing ---- */

static struct {
    int fd;
    pthread_t thread;
    struct pier_conn *c;
} far;

static void *echo_back(void *arg)
{
    char buf[4096];
    ssize_t n;
    while ((n = recv(far.fd, buf, sizeof buf, 0)) > 0)
        send_all(far.fd, buf, (size_t)n);
    shutdown(far.fd, SHUT_WR);
    return NULL;
}

static void meet(enum kind kind)
{
    far.c = conn_and_fd(kind, &far.fd);
    far.thread = start_helper(echo_back, NULL);
}

static void meet_tcp(void)
{
    meet(TCP);
}

static void meet_unix(void)
{
    meet(UNIX);
}

static void part(int rc)
{
    pier_close(far.c);
    pthread_join(far.thread, NULL);
    close(far.fd);
}

/* Every form, each waiting for its echo. */
static int talk(void)
{
    char buf[1024];
    struct iovec pieces[] = { { "abcd", 4 }, { "efg", 3 }, { "hijkl", 5 } };
    ssize_t n = pier_puts(far.c, "a line\r\n");
    if (n > 0)
        n = pier_read_line(far.c, buf, sizeof buf);
    if (n > 0)
        n = pier_printf(far.c, "%600d;", 7);
    if (n > 0)
        n = pier_read_until(far.c, buf, sizeof buf, ";", 1);
    if (n > 0)
        n = pier_writev(far.c, pieces, 3);
    if (n > 0)
        n = pier_read_exact(far.c, buf, 12);
    if (n > 0)
        n = pier_puts(far.c, "text \xe2\x82\xac");
    for (int got = 0; n > 0 && got < 8; got += (int)n)
        n = pier_read_text(far.c, buf, sizeof buf);
    if (n > 0)
        n = pier_shutdown_write(far.c);
    if (n == 0)
        n = pier_read(far.c, buf, sizeof buf);
    return (int)n;
}

static const struct path talking = {
    .prepare = meet_tcp,
    .walk = talk,
    .clean = part,
    .says =
        "read tcp://|write tcp://|shut down tcp://|read unix://|write unix://|shut down unix://",
};

TEST(every_form_of_reading_and_writing_says_what_failed)
{
    struct path path = talking;
    fail_everywhere(&path);
    path.prepare = meet_unix;
    fail_everywhere(&path);
}

TEST(every_form_of_reading_and_writing_is_interrupted_unharmed)
{
    struct path path = talking;
    interrupt_everywhere(&path);
    path.prepare = meet_unix;
    interrupt_everywhere(&path);
}

static struct pier_conn *pipe_ends[2];

static int use_a_pipe(void)
{
    char buf[16];
    ssize_t n = pier_puts(pipe_ends[1], "line\n");
    if (n > 0)
        n = pier_read_line(pipe_ends[0], buf, sizeof buf);
    return n < 0 ? (int)n : 0;
}

static void open_pipe(void)
{
    int fds[2];
    ck_assert_int_eq(pipe(fds), 0);
    for (int i = 0; i < 2; i++)
        pipe_ends[i] = pier_conn_adopt(fds[i], NULL);
}

static void close_pipe(int rc)
{
    pier_close(pipe_ends[0]);
    pier_close(pipe_ends[1]);
}

TEST(pipes_say_what_failed)
{
    static const struct path path = {
        .prepare = open_pipe,
        .walk = use_a_pipe,
        .clean = close_pipe,
        .says = "read pipe://|write pipe://",
    };
    fail_everywhere(&path);
    interrupt_everywhere(&path);
}

static int write_to_nobody(void)
{
    pier_close(pipe_ends[0]);
    pipe_ends[0] = NULL;
    ssize_t n = pier_puts(pipe_ends[1], "hello");
    return n == -EPIPE ? 0 : n < 0 ? (int)n : -EILSEQ;
}

TEST(a_pipe_that_nobody_reads_raises_no_signal)
{
    static const struct path path = {
        .prepare = open_pipe,
        .walk = write_to_nobody,
        .clean = close_pipe,
        .says = "write pipe://",
        .recovers = "writev|getpeername|memory", /* its error is the right one; of the words */
    };
    fail_everywhere(&path);
    interrupt_everywhere(&path);
}

/* ---- what else there is to a connection ---- */

static int pair(void)
{
    struct pier_conn *ends[2];
    char buf[8];
    int rc = pier_conn_pair(ends);
    if (rc == 0)
        rc = (int)pier_puts(ends[0], "1234");
    if (rc > 0)
        rc = (int)pier_read_exact(ends[1], buf, 4);
    pier_close(ends[0]);
    pier_close(ends[1]);
    return rc < 0 ? rc : 0;
}

TEST(a_pair_says_what_failed)
{
    static const struct path path = {
        .walk = pair,
        .says = "socket pair|connection|read unix://|write unix://",
    };
    fail_everywhere(&path);
    interrupt_everywhere(&path);
}

static int given[2];

static void give_pair(void)
{
    fd_pair(TCP, given);
}

/* It stays ours, and as it was, when it was not taken. */
static int adopt(void)
{
    struct pier_conn *c = pier_conn_adopt(given[0], NULL);
    if (!c)
        return pier_error_code();
    given[0] = -1;
    pier_close(c);
    return 0;
}

static void take_back(int rc)
{
    if (rc < 0)
        ck_assert_int_eq(fcntl(given[0], F_GETFL) & O_NONBLOCK, 0);
    if (given[0] >= 0)
        close(given[0]);
    close(given[1]);
}

TEST(adopt_says_what_failed_and_changes_nothing)
{
    static const struct path path = {
        .prepare = give_pair,
        .walk = adopt,
        .clean = take_back,
        .says = "adopt descriptor|connection: ",
    };
    fail_everywhere(&path);
    interrupt_everywhere(&path);
}

static int ask_tcp(void)
{
    struct pier_tcp_info info;
    int rc = pier_conn_set_opts(far.c, &(struct pier_sock_opts){ .send_buffer = 65536 });
    if (rc == 0)
        rc = pier_tcp_info(far.c, &info);
    pier_local(far.c);
    pier_peer(far.c);
    return rc;
}

TEST(figures_and_options_say_what_failed)
{
    static const struct path path = {
        .prepare = meet_tcp,
        .walk = ask_tcp,
        .clean = part,
        .says = "TCP figures of tcp://|socket option",
        .recovers = "getsockname|getpeername|memory", /* the addresses are "?" then */
    };
    fail_everywhere(&path);
}

BOTH(an_address_that_could_not_be_had_is_not_kept)
{
    struct pier_conn *both[2];
    ck_assert_int_eq(pier_conn_pair(both), 0);
    fail_call(F_GETPEERNAME, ENOBUFS, 1, false);
    ck_assert_str_eq(pier_peer(both[0]), "?");
    fail_no_more();
    ck_assert_str_eq(pier_peer(both[0]), "unix");
    pier_close(both[0]);
    pier_close(both[1]);
}

static struct pier_conn *mates[2];

static void mate(void)
{
    ck_assert_int_eq(pier_conn_pair(mates), 0);
}

static void unmate(int rc)
{
    pier_close(mates[0]);
    pier_close(mates[1]);
}

static int pass_descriptors(void)
{
    int fds[2] = { pier_conn_fd(mates[0]), pier_conn_fd(mates[1]) };
    struct pier_peer_cred cred;
    int rc = pier_peer_cred(mates[0], &cred);
    if (rc == 0)
        rc = pier_send_fds(mates[0], fds, 2);
    if (rc > 0)
        rc = pier_recv_fds(mates[1], fds, 2);
    for (int i = 0; i < rc; i++)
        __real_close(fds[i]);
    return rc < 0 ? rc : 0;
}

TEST(descriptors_say_why_they_were_not_passed)
{
    static const struct path path = {
        .prepare = mate,
        .walk = pass_descriptors,
        .clean = unmate,
        .says = "send descriptors|write unix://|read unix://|receive|credentials of",
    };
    fail_everywhere(&path);
    interrupt_everywhere(&path);
}

/* ---- the relay ---- */

enum { BULK = 100 * 1000 };

static struct {
    int near, far;
    struct pier_conn *a, *b;
    char got[BULK];
    size_t len;
} relay;

static void *listen_far(void *arg)
{
    relay.len = recv_all(relay.far, relay.got, sizeof relay.got);
    send_all(relay.far, "thanks", 6);
    shutdown(relay.far, SHUT_WR);
    return NULL;
}

static void *speak_near(void *arg)
{
    char thanks[8];
    char *bulk = make_pattern(BULK, 1);
    send_all(relay.near, bulk, BULK);
    shutdown(relay.near, SHUT_WR);
    free(bulk);
    recv_all(relay.near, thanks, sizeof thanks);
    return NULL;
}

static pthread_t speakers[2];

static void open_relay(void)
{
    relay.a = conn_and_fd(TCP, &relay.near);
    relay.b = conn_and_fd(UNIX, &relay.far);
    speakers[0] = start_helper(speak_near, NULL);
    speakers[1] = start_helper(listen_far, NULL);
}

/* What arrived is the beginning of what was sent, and after a success it is all of it. */
static void close_relay(int rc)
{
    pier_close(relay.a);
    pier_close(relay.b);
    for (int i = 0; i < 2; i++)
        pthread_join(speakers[i], NULL);
    close(relay.near);
    close(relay.far);
    for (size_t i = 0; i < relay.len; i++)
        if (relay.got[i] != pattern(i, 1))
            ck_abort_msg("byte %zu is another one", i);
    if (rc == 0)
        ck_assert_uint_eq(relay.len, BULK);
}

static int copy(void)
{
    return pier_copy(relay.a, relay.b, NULL);
}

static const struct path relaying = {
    .prepare = open_relay,
    .walk = copy,
    .clean = close_relay,
    .says = "read|write|shut down|relay|spawn|event loop|task stack",
    .recovers = "shutdown|memory", /* its peer is gone; of the signal stack */
    .spares = "read",              /* what is in the pipe can be read */
};

TEST(copy_says_what_failed_and_passes_nothing_wrong)
{
    fail_everywhere(&relaying);
}

TEST(copy_is_interrupted_unharmed)
{
    interrupt_everywhere(&relaying);
}

/* ---- children ---- */

static int run_cat(void)
{
    char buf[16];
    int status;
    struct pier_conn *c = pier_exec("exec cat 2>&-");
    if (!c)
        return pier_error_code();
    ssize_t n = pier_puts(c, "meow\n");
    if (n > 0)
        n = pier_read_line(c, buf, sizeof buf);
    if (n > 0)
        n = pier_shutdown_write(c);
    if (n == 0)
        n = pier_exec_wait(c, &status, 0);
    pier_close(c);
    return (int)n;
}

static const struct path running = {
    .walk = run_cat,
    .says = "run \"exec cat|wait for command|read unix://|write unix://|shut down unix://",
};

TEST(exec_says_what_failed_and_leaves_no_child)
{
    fail_everywhere(&running);
}

TEST(exec_is_interrupted_unharmed)
{
    interrupt_everywhere(&running);
}

static int run_sleep(void)
{
    struct pier_conn *c = pier_exec("trap '' TERM; exec sleep 100");
    int rc = c ? 0 : pier_error_code();
    pier_close(c);
    return rc;
}

TEST(a_child_that_stays_is_killed_whatever_fails)
{
    static const struct path path = {
        .walk = run_sleep,
        .says = "run \"trap",
        .recovers = "eventfd|epoll_ctl|poll|ppoll|waitpid|memory", /* closing never fails */
        .brief = true,
        .fails_once = true,
    };
    run_time_faster(100); /* it is killed after 10 ms */
    fail_everywhere(&path);
}

/* ---- listening ---- */

static const char *listen_url;
static char path_name[64];
static ino_t stale;

static int listen_and_free(void)
{
    struct pier_server *s = pier_server_new(NULL);
    int rc = s ? pier_server_add(s, listen_url, NULL, NULL) : pier_error_code();
    if (rc == 0)
        rc = pier_server_listen(s);
    pier_server_free(s);
    return rc;
}

static const struct path listening = {
    .walk = listen_and_free,
    .says = "listen tcp://|listen unix://|server: |socket option",
};

TEST(listen_says_what_failed)
{
    struct path path = listening;
    listen_url = "tcp://127.0.0.1:0";
    fail_everywhere(&path);
    path.offloads = true;
    listen_url = "tcp://two.test:0";
    faults_names = "127.0.0.1 127.0.0.2";
    path.recovers = "socket|bind|listen"; /* a family less; another port */
    fail_everywhere(&path);
    interrupt_everywhere(&path);
    listen_url = "tcp://:0";
    fail_everywhere(&path);
}

static const char *firewall_file[2];

static int listen_behind_a_firewall(void)
{
    const char *const networks[] = { "10.0.0.0/8", "::1", NULL };
    struct pier_firewall_opts firewall = {
        .allow = networks, .deny = firewall_file, .max_per_ip = 1, .rate = 1
    };
    struct pier_serve_opts opts = { .workers = 1, .firewall = &firewall };
    struct pier_server *s = pier_server_new(&opts);
    int rc = s ? pier_server_add(s, "tcp://127.0.0.1:0", NULL, NULL) : pier_error_code();
    if (rc == 0)
        rc = pier_server_listen(s);
    pier_server_free(s);
    return rc;
}

TEST(listen_behind_a_firewall_says_what_failed)
{
    char name[] = "/tmp/pier-firewall-XXXXXX";
    int fd = mkstemp(name);
    ck_assert_int_eq(write(fd, "192.0.2.0/24\n", 13), 13);
    close(fd);
    firewall_file[0] = name;
    struct path path = {
        .walk = listen_behind_a_firewall,
        .says = "listen tcp://|server: |socket option|firewall",
        .recovers = "stat", /* then the file is read again a second later */
    };
    fail_everywhere(&path);
    interrupt_everywhere(&path);
    unlink(name);
}

static ino_t inode_of(const char *name)
{
    struct stat st;
    return lstat(name, &st) == 0 ? st.st_ino : 0;
}

/* What a server that died has left. */
static void leave_socket(void)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(addr.sun_path, sizeof addr.sun_path, "%s", path_name);
    unlink(path_name);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&addr, sizeof addr), 0);
    close(fd);
    stale = inode_of(path_name);
}

/* unlink(2) may be what fails. */
static void expect_no_new_path(int rc)
{
    ino_t left = inode_of(path_name);
    if (left != 0 && left != stale && !(faults.injected && faults.kind == F_UNLINK))
        ck_abort_msg("the path of a failed listen is left behind");
    unlink(path_name);
}

TEST(listen_on_a_path_says_what_failed_and_leaves_no_path)
{
    char url[80];
    struct path path = listening;
    snprintf(path_name, sizeof path_name, "/tmp/pier-net-faults-%d", getpid());
    snprintf(url, sizeof url, "unix://%s", path_name);
    listen_url = url;
    path.clean = expect_no_new_path;
    path.recovers = "unlink|bind|connect"; /* it is bound again */
    fail_everywhere(&path);
    path.prepare = leave_socket;
    path.instead = "address already in use"; /* whether it is served could not be seen */
    fail_everywhere(&path);
    interrupt_everywhere(&path);
}

static int kept_fd;

/* The first descriptor that a service manager passes is 3, which is libcheck's. */
static void inherit(void)
{
    dup2(stand.fd, 3);
}

static void give_back(int rc)
{
    dup2(kept_fd, 3);
}

static int add_inherited(void)
{
    struct pier_server *s = pier_server_new(NULL);
    int rc = s ? pier_server_add_inherited(s, NULL, NULL) : pier_error_code();
    pier_server_free(s);
    return rc == 0 ? -ENOENT : rc < 0 ? rc : 0;
}

/* Until it is added, it can be: each walk but the last fails. */
TEST(an_inherited_socket_that_was_not_added_is_not_taken)
{
    char pid[16];
    struct walk w = { .path = &(struct path){
                          .prepare = inherit, .walk = add_inherited, .clean = give_back } };
    kept_fd = dup(3);
    open_stand("127.0.0.1");
    snprintf(pid, sizeof pid, "%d", getpid());
    setenv("LISTEN_PID", pid, 1);
    setenv("LISTEN_FDS", "1", 1);
    for (faults.at = 1; w.rc < 0 || faults.at == 1; faults.at++) {
        take_a_walk(&w, NULL);
        ck_assert_int_lt(faults.at, 20);
        ck_assert_msg(w.rc == 0 || faults.injected, "%s", w.words);
    }
    ck_assert_int_gt(faults.at, 5);
}

TEST(a_server_keeps_the_words_of_its_first_failure)
{
    struct pier_server *s = pier_server_new(NULL);
    ck_assert_int_eq(pier_server_add(s, "tcp://127.0.0.1:99999", NULL, NULL), PIER_EURL);
    char words[256];
    snprintf(words, sizeof words, "%s", pier_error());
    for (int i = 0; i < 2; i++) {
        pier_error_set(-EIO, "something else");
        ck_assert_int_eq(i ? pier_server_run(s) : pier_server_listen(s), PIER_EURL);
        ck_assert_str_eq(pier_error(), words);
        ck_assert_int_eq(pier_exit_code(), 2);
    }
    pier_server_free(s);
}

/* ---- serving ---- */

static struct {
    struct pier_serve_opts opts;
    struct pier_server *server;
    struct sockaddr_in addr;
    pthread_t clients;
    _Atomic bool is_over;
    bool together;
    _Atomic int wanted, echoed, said;
    int notify_fd;
} site;

enum { CLIENTS = 3, CROWD = 6 };

/* The records of a walk, for a failing test's message. */
static pthread_mutex_t said_lock = PTHREAD_MUTEX_INITIALIZER;
static char said_text[4096];

static void count_record(void *ctx, enum pier_log_level level, const char *msg,
                         const struct pier_log_field *fields, size_t count)
{
    pthread_mutex_lock(&said_lock);
    size_t len = strlen(said_text);
    snprintf(said_text + len, sizeof said_text - len, "%s; ", msg);
    pthread_mutex_unlock(&said_lock);
    site.said++;
}

/* Bounded: the server may have ended before it began, or lack for good what it needs. */
static bool await_input(int fd)
{
    struct pollfd p = { .fd = fd, .events = POLLIN };
    for (int i = 0;
         !site.is_over && !(faults.stays && !faults.forced && i == 10) && poll(&p, 1, 2) == 0; i++)
        ;
    return p.revents != 0;
}

/* At once, so that workers hand some over to each other. */
static void visit_together(void)
{
    int fds[CROWD];
    for (int i = 0; i < CROWD; i++) {
        fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        connect(fds[i], (struct sockaddr *)&site.addr, sizeof site.addr);
        send_all(fds[i], "hello", 5);
    }
    for (int i = 0; i < CROWD; i++) {
        char got[8];
        site.echoed += await_input(fds[i]) && recv_all(fds[i], got, 5) == 5;
        site.wanted++;
    }
    for (int i = 0; i < CROWD; i++)
        close(fds[i]);
}

static void *visit(void *arg)
{
    if (site.together)
        visit_together();
    for (int i = 0; i < (faults.stays && !faults.forced ? 1 : CLIENTS); i++) {
        char got[8] = "";
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (connect(fd, (struct sockaddr *)&site.addr, sizeof site.addr) == 0) {
            send_all(fd, "hello", 5);
            if (await_input(fd) && recv_all(fd, got, 5) == 5 && strcmp(got, "hello") == 0)
                site.echoed++;
        }
        site.wanted++;
        close(fd);
    }
    pier_server_stop_remote(site.server);
    return NULL;
}

static int echo_once(struct pier_conn *c, void *arg)
{
    char buf[64];
    ssize_t n = pier_read_exact(c, buf, 5);
    if (n > 0)
        n = pier_write(c, buf, (size_t)n);
    while (n > 0)
        n = pier_read(c, buf, sizeof buf);
    return (int)n;
}

static void open_site(void)
{
    said_text[0] = '\0';
    site.said = site.echoed = site.wanted = 0;
    site.is_over = false;
    site.server = pier_server_new(&site.opts);
    ck_assert_int_eq(pier_server_add(site.server, "tcp://127.0.0.1:0", echo_once, NULL), 0);
    ck_assert_int_eq(pier_server_listen(site.server), 0);
    int port = atoi(strrchr(pier_server_url(site.server, 0), ':') + 1);
    site.addr = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
    site.addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    site.clients = start_helper(visit, NULL);
}

static int serve(void)
{
    return pier_server_run(site.server);
}

/* Nothing goes wrong in silence: who was not served is in the log, or the run has failed. */
static void close_site(int rc)
{
    char state[32];
    int states = 0;
    site.is_over = true;
    pthread_join(site.clients, NULL);
    ck_assert_int_eq(pier_server_conns(site.server), 0);
    pier_server_free(site.server);
    while (recv(site.notify_fd, state, sizeof state, 0) > 0)
        states++;
    if (!faults.injected && !faults.storm && rc == 0)
        ck_assert_int_eq(states, 2);
    if (rc == 0 && site.echoed < site.wanted && site.said == 0 && !faults.stays)
        ck_abort_msg("call %ld (%s), error %d: %d of %d were served, and nothing was said",
                     faults.at, fault_kinds[faults.kind].name, faults.error, site.echoed,
                     site.wanted);
    if (!faults.injected && !faults.stays && rc == 0)
        ck_assert_msg(site.echoed == site.wanted, "%d served; %s", site.echoed, said_text);
}

static const struct path serving = {
    .prepare = open_site,
    .walk = serve,
    .clean = close_site,
    .says = "event loop|task stack|accept|server",
    .recovers = "*",
};

/* Takes what the server tells its service manager. */
static void open_notify(void)
{
    char name[64];
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    snprintf(name, sizeof name, "@pier-net-faults-notify-%d", getpid());
    memcpy(addr.sun_path + 1, name + 1, strlen(name) - 1);
    socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name));
    site.notify_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(site.notify_fd, (struct sockaddr *)&addr, len), 0);
    setenv("NOTIFY_SOCKET", name, 1);
}

static void begin_serving(enum pier_model model, int workers)
{
    site.opts = (struct pier_serve_opts){
        .model = model, .workers = workers, .no_signals = true, .grace_ms = 2000
    };
    open_notify();
    pier_log_set(count_record, NULL);
    pier_log_set_level(PIER_LOG_DEBUG);
    pier_watchdog(PIER_MINUTE / PIER_MILLISECOND); /* of the faster time: not to be heard */
    run_time_faster(50); /* a failed accept is tried again after 2 ms, the grace is 40 ms */
}

TEST(a_server_with_one_worker_serves_on)
{
    begin_serving(PIER_TASKS, 1);
    fail_everywhere(&serving);
}

TEST(a_server_with_two_workers_serves_on)
{
    struct path path = serving;
    path.on_thread_only = true;
    begin_serving(PIER_TASKS, 2);
    fail_everywhere(&path);
    path.fails_once = site.together = true;
    fail_everywhere(&path);
}

TEST(a_server_with_threads_serves_on)
{
    struct path path = serving;
    path.on_thread_only = true;
    begin_serving(PIER_THREADS, 1);
    fail_everywhere(&path);
}

TEST(servers_are_interrupted_unharmed)
{
    begin_serving(PIER_TASKS, 1);
    interrupt_everywhere(&serving);
    site.opts.workers = 2;
    interrupt_everywhere(&serving);
    site.opts.model = PIER_THREADS;
    interrupt_everywhere(&serving);
}

/* ---- serving by processes: the clients are one, too ---- */

static struct house {
    _Atomic int echoed, wanted, said;
    _Atomic bool is_over;
} * house; /* shared by all of them */
static pid_t house_clients;

static void count_said(void *ctx, enum pier_log_level level, const char *msg,
                       const struct pier_log_field *fields, size_t count)
{
    atomic_fetch_add(&house->said, 1);
}

static void stop_site(int number)
{
    pier_server_stop_remote(site.server);
}

/* Bounded, as the server may lack for good what it needs. */
static void visit_house(pid_t server)
{
    for (int i = 0; i < CLIENTS; i++) {
        char got[8] = "";
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        struct pollfd p = { .fd = fd, .events = POLLIN };
        if (connect(fd, (struct sockaddr *)&site.addr, sizeof site.addr) == 0) {
            send_all(fd, "hello", 5);
            for (int k = 0; !house->is_over && k < 2000 && poll(&p, 1, 2) == 0; k++)
                ;
            if (p.revents && recv_all(fd, got, 5) == 5 && strcmp(got, "hello") == 0)
                atomic_fetch_add(&house->echoed, 1);
        }
        atomic_fetch_add(&house->wanted, 1);
        close(fd);
    }
    kill(server, SIGTERM);
    _exit(0);
}

static void open_house(void)
{
    memset(house, 0, sizeof *house);
    site.server = pier_server_new(&site.opts);
    ck_assert_int_eq(pier_server_add(site.server, "tcp://127.0.0.1:0", echo_once, NULL), 0);
    ck_assert_int_eq(pier_server_listen(site.server), 0);
    int port = atoi(strrchr(pier_server_url(site.server, 0), ':') + 1);
    site.addr = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
    site.addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    pid_t server = getpid();
    house_clients = fork();
    ck_assert_int_ge(house_clients, 0);
    if (house_clients == 0)
        visit_house(server);
}

/* As close_site(). */
static void close_house(int rc)
{
    int status = 0;
    house->is_over = true;
    while (waitpid(house_clients, &status, 0) < 0 && errno == EINTR)
        ;
    ck_assert_int_eq(status, 0);
    ck_assert_int_eq(pier_server_conns(site.server), 0);
    pier_server_free(site.server);
    if (rc == 0 && house->echoed < house->wanted && house->said == 0 && !faults.stays)
        ck_abort_msg("call %ld (%s), error %d: %d of %d were served, and nothing was said",
                     faults.at, fault_kinds[faults.kind].name, faults.error, house->echoed,
                     house->wanted);
    if (!faults.injected && !faults.stays && rc == 0)
        ck_assert_int_eq(house->echoed, house->wanted);
}

/* A worker is walked as tasks are; one that fails the same way each time would never serve. */
static void spare_workers(void)
{
    faults_exempt = site.opts.model == PIER_PREFORK;
}

static void serve_by_processes(enum pier_model model, int workers)
{
    static const struct path path = {
        .prepare = open_house,
        .walk = serve,
        .clean = close_house,
        .says = "event loop|task stack|accept|server|fork",
        .recovers = "*",
        .on_thread_only = true,
        .fails_once = true,
        .forks = true,
    };
    begin_serving(model, workers);
    pier_log_set(count_said, NULL);
    house = mmap(NULL, sizeof *house, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(house, MAP_FAILED);
    signal(SIGTERM, stop_site);
    pthread_atfork(NULL, NULL, spare_workers);
    fail_everywhere(&path);
}

TEST_WITHIN(60, a_server_with_processes_serves_on)
{
    serve_by_processes(PIER_PROCESSES, 1);
}

TEST_WITHIN(60, a_server_with_prefork_serves_on)
{
    serve_by_processes(PIER_PREFORK, 2);
}

/* A server is told to end by the scope around it; that is its exit code's reason. */
static struct pier_scope sugar_scope;
static _Atomic bool sugar_is_open;

static void *visit_sugar(void *arg)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    int n = snprintf(addr.sun_path + 1, 64, "pier-net-faults-%d", getpid());
    socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
    char got[8] = "";
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    while (!site.is_over && connect(fd, (struct sockaddr *)&addr, len) < 0)
        usleep(100);
    send_all(fd, "hello", 5);
    if (await_input(fd))
        site.echoed += recv_all(fd, got, 5) == 5;
    close(fd);
    if (!site.is_over)
        pier_scope_cancel_remote(&sugar_scope);
    sugar_is_open = false;
    return NULL;
}

static int serve_sugar(void)
{
    char url[64];
    snprintf(url, sizeof url, "unix://@pier-net-faults-%d", getpid());
    site.is_over = false;
    pier_scope_open(&sugar_scope, 0);
    sugar_is_open = true;
    site.clients = start_helper(visit_sugar, NULL);
    int code = pier_serve(url, echo_once, NULL, &site.opts);
    int rc = code ? pier_error_code() : 0;
    bool is_named = rc == -ECANCELED;
    site.is_over = true;
    pthread_join(site.clients, NULL);
    pier_scope_join(&sugar_scope);
    return is_named ? 0 : rc;
}

TEST(the_whole_of_a_small_server_says_what_failed)
{
    static const struct path path = {
        .walk = serve_sugar,
        .says = "event loop|task stack|accept|server|listen unix://",
        .recovers = "*",
        .fails_once = true,
    };
    begin_serving(PIER_TASKS, 1);
    fail_everywhere(&path);
}

/* ---- what must not be mistaken ---- */

/* The system says once that a peer is dead, and from then on that input has ended. */
BOTH(a_dead_peer_is_no_end_of_input)
{
    char buf[8];
    meet(TCP);
    fail_call(F_RECV, ETIMEDOUT, 1, false);
    ck_assert_int_eq(pier_read(far.c, buf, sizeof buf), -ETIMEDOUT);
    fail_no_more();
    shutdown(far.fd, SHUT_WR);
    ck_assert_int_eq(pier_read(far.c, buf, sizeof buf), -ETIMEDOUT);
    part(0);
}

/* A time-out of its own is passing, as ever. */
BOTH(a_time_out_of_its_own_is_none_of_a_dead_peer)
{
    char buf[8];
    meet(TCP);
    pier_set_timeouts(far.c, 10, 0);
    ck_assert_int_eq(pier_read(far.c, buf, sizeof buf), -ETIMEDOUT);
    ck_assert_int_eq(pier_puts(far.c, "echo"), 4);
    pier_set_timeouts(far.c, 10000, 0);
    ck_assert_int_eq(pier_read_exact(far.c, buf, 4), 4);
    part(0);
}

/* Reads all that is relayed, and its end; then ends, too. */
static void *answer_with_the_end(void *arg)
{
    char got[8];
    relay.len = recv_all(relay.far, got, sizeof got);
    shutdown(relay.far, SHUT_WR);
    return NULL;
}

/* Nor is it one that a relay passes on, though the other way has just moved. */
BOTH(copy_passes_no_end_on_for_a_dead_peer)
{
    relay.a = conn_and_fd(TCP, &relay.near);
    relay.b = conn_and_fd(TCP, &relay.far);
    send_all(relay.near, "data", 4);
    shutdown(relay.near, SHUT_WR);
    pthread_t id = start_helper(answer_with_the_end, NULL);
    faults.source = pier_conn_fd(relay.b);
    fail_call(F_SPLICE, ETIMEDOUT, 2, false); /* the first finds nothing */
    ck_assert_int_eq(pier_copy(relay.a, relay.b, NULL), -ETIMEDOUT);
    fail_no_more();
    pthread_join(id, NULL);
    ck_assert_uint_eq(relay.len, 4);
    pier_close(relay.a);
    pier_close(relay.b);
    close(relay.near);
    close(relay.far);
}

/* Sends until nothing is taken any more, then resets the other end. */
static void *clog_and_reset(void *arg)
{
    struct pollfd p = { .fd = relay.near, .events = POLLOUT };
    do
        stuff(relay.near);
    while (poll(&p, 1, 50) > 0);
    setsockopt(relay.far, SOL_SOCKET, SO_LINGER, &(struct linger){ 1, 0 }, sizeof(struct linger));
    close(relay.far);
    return NULL;
}

/* The reading way is told of the reset, and then the writing one gets the signal. */
BOTH(copy_survives_a_reset_of_both_its_ways)
{
    relay.a = conn_and_fd(UNIX, &relay.near);
    relay.b = conn_and_fd(TCP, &relay.far);
    pthread_t id = start_helper(clog_and_reset, NULL);
    ck_assert_int_lt(pier_copy(relay.a, relay.b, NULL), 0);
    pthread_join(id, NULL);
    pier_close(relay.a);
    pier_close(relay.b);
    close(relay.near);
}

/* The system gives one address up at once: the next one is tried, and this one is not taken for
 * connected. */
BOTH(dial_tries_the_next_address_when_the_system_has_timed_out)
{
    char byte;
    faults_names = "127.0.0.1 127.0.0.1";
    open_stand("two.test");
    fail_call(F_CONNECT, ETIMEDOUT, 1, false);
    struct pier_conn *c = pier_dial(stand.url, NULL);
    fail_no_more();
    ck_assert_msg(c != NULL, "%s", pier_error());
    int fd = accept4(stand.fd, NULL, NULL, SOCK_CLOEXEC);
    send_all(fd, "x", 1);
    ck_assert_int_eq(pier_read(c, &byte, 1), 1);
    pier_close(c);
    close(fd);
}

/* ---- real signals ---- */

TEST(signals_harm_nothing)
{
    struct path path = dialling;
    open_stand("127.0.0.1");
    signal_everywhere(&path);
    signal_everywhere(&talking);
    signal_everywhere(&relaying);
    signal_everywhere(&running);
    begin_serving(PIER_TASKS, 2);
    signal_everywhere(&serving);
}

/* ---- threads that cannot be had ---- */

static int times_said(const char *words)
{
    int count = 0;
    for (const char *at = said_text; (at = strstr(at, words)) != NULL; at++)
        count++;
    return count;
}

static void serve_without_thread(long n, bool stays)
{
    open_site();
    fail_call(F_THREAD, EAGAIN, n, stays);
    int rc = serve();
    ck_assert_msg(faults.injected, "no thread was asked for");
    fail_no_more();
    faults.injected = false;
    close_site(rc);
    ck_assert_int_eq(rc, 0);
    ck_assert_int_eq(site.echoed, CLIENTS);
}

TEST(workers_that_cannot_be_started_leave_the_others_the_load)
{
    begin_serving(PIER_TASKS, 4);
    serve_without_thread(2, false); /* the first is the watchdog's */
    ck_assert_int_eq(times_said("a worker could not be started"), 1);
    serve_without_thread(2, true);
    ck_assert_int_eq(times_said("a worker could not be started"), 3);
}

TEST(a_server_without_watchdog_serves)
{
    begin_serving(PIER_TASKS, 1);
    serve_without_thread(1, false);
    ck_assert_str_eq(said_text, "");
}

TEST(a_connection_waits_for_its_thread)
{
    begin_serving(PIER_THREADS, 1);
    serve_without_thread(2, false);
    ck_assert_int_eq(times_said("accept failed, trying again"), 1);
}

BOTH(a_look_up_without_thread_says_so)
{
    char words[128];
    open_stand("one.test");
    fail_call(F_THREAD, EAGAIN, 1, true);
    ck_assert_ptr_null(pier_dial(stand.url, NULL));
    fail_no_more();
    snprintf(words, sizeof words, "dial %s: resource temporarily unavailable", stand.url);
    ck_assert_str_eq(pier_error(), words);
    ck_assert_int_eq(dial(), 0);
}

/* ---- datagrams ---- */

static struct pier_udp *open_with_all(void)
{
    return pier_udp_open("udp://127.0.0.1:0", &(struct pier_udp_opts){
                                                  .interface = "lo",
                                                  .packet_info = true,
                                                  .receive_ttl = true,
                                                  .errors = true,
                                                  .segmentation = true,
                                                  .ttl = 9,
                                              });
}

/* Three datagrams to itself, of which two are one message. */
static int send_to_itself(struct pier_udp *u)
{
    char room[3][64];
    struct pier_datagram out[3] = { { .bytes = (void *)"one", .len = 3 },
                                    { .bytes = (void *)"two", .len = 3 },
                                    { .bytes = (void *)"three", .len = 5 } };
    struct pier_addr own;
    int rc = pier_udp_local(u, &own);
    for (int i = 0; i < 3; i++)
        out[i].peer = own;
    if (rc == 0)
        rc = pier_udp_send(u, out, 3);
    for (size_t got = 0, sent = rc == 3 ? 11 : 0; rc > 0 && got < sent;) {
        struct pier_datagram in[3];
        for (int i = 0; i < 3; i++)
            in[i] = (struct pier_datagram){ .bytes = room[i], .cap = sizeof room[i] };
        rc = pier_udp_recv(u, in, 3, pier_after(5 * PIER_SECOND));
        for (int i = 0; i < rc; i++)
            got += in[i].len; /* the kernel may have joined some */
    }
    for (int i = 0; i < 3 && rc > 0; i++)
        if (out[i].error)
            rc = pier_error_set(out[i].error, "send to udp://itself");
    return rc < 0 ? rc : 0;
}

static int use_udp(void)
{
    struct pier_udp *u = open_with_all();
    int rc = u ? pier_udp_join(u, "239.77.9.9", "lo", NULL) : pier_error_code();
    if (rc == 0)
        rc = send_to_itself(u);
    if (rc == 0)
        rc = pier_udp_leave(u, "239.77.9.9", "lo", NULL);
    pier_udp_close(u);
    return rc;
}

static const struct path using_udp = {
    .walk = use_udp,
    .says = "open udp://|socket option|interface lo|join group|leave group|send to udp://|"
            "receive on udp://|address of udp://",
    .recovers = "setsockopt", /* what the kernel lacks the library does */
};

TEST(datagrams_say_what_failed)
{
    fail_everywhere(&using_udp);
}

TEST(datagrams_are_interrupted_unharmed)
{
    interrupt_everywhere(&using_udp);
}

static int answer_one(struct pier_udp *u)
{
    char room[64];
    struct pier_datagram d = { .bytes = room, .cap = sizeof room };
    int rc = pier_udp_recv(u, &d, 1, pier_after(5 * PIER_SECOND));
    return rc < 0 ? rc : pier_udp_send(u, &d, 1);
}

static int dial_udp(void)
{
    char url[PIER_ADDR_TEXT + 8] = "udp://", buf[16];
    struct pier_addr own;
    struct pier_udp *u = pier_udp_open("udp://127.0.0.1:0", NULL);
    int rc = u ? pier_udp_local(u, &own) : pier_error_code();
    struct pier_conn *c = NULL;
    if (rc == 0)
        pier_addr_text(&own, url + 6, sizeof url - 6);
    if (rc == 0 && !(c = pier_dial(url, NULL)))
        rc = pier_error_code();
    if (rc == 0)
        rc = (int)pier_puts(c, "hello");
    if (rc > 0)
        rc = answer_one(u);
    if (rc > 0)
        rc = (int)pier_read(c, buf, sizeof buf);
    pier_close(c);
    pier_udp_close(u);
    return rc < 0 ? rc : 0;
}

static const struct path dialling_udp = {
    .walk = dial_udp,
    .says = "open udp://|dial udp://|write udp://|read udp://|send to udp://|receive on udp://|"
            "address of udp://",
};

TEST(dialling_udp_says_what_failed)
{
    fail_everywhere(&dialling_udp);
}

TEST(dialling_udp_is_interrupted_unharmed)
{
    interrupt_everywhere(&dialling_udp);
}

/* A datagram may be lost: it is sent again, a few times. */
static bool is_answered(int fd)
{
    char got[16];
    for (int i = 0; i < 20 && !site.is_over; i++) {
        struct pollfd p = { .fd = fd, .events = POLLIN };
        send(fd, "hello", 5, MSG_DONTWAIT);
        if (poll(&p, 1, 50) > 0 && recv(fd, got, sizeof got, MSG_DONTWAIT) == 5)
            return true;
    }
    return false;
}

static void *visit_udp(void *arg)
{
    for (int i = 0; i < (faults.stays ? 1 : CLIENTS); i++) {
        int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        connect(fd, (struct sockaddr *)&site.addr, sizeof site.addr);
        site.echoed += !faults.stays && is_answered(fd);
        site.wanted++;
        close(fd);
    }
    pier_server_stop_remote(site.server);
    return NULL;
}

static void open_udp_site(void)
{
    said_text[0] = '\0';
    site.said = site.echoed = site.wanted = 0;
    site.is_over = false;
    site.server = pier_server_new(&site.opts);
    ck_assert_int_eq(pier_server_add(site.server, "udp://127.0.0.1:0", echo_once, NULL), 0);
    ck_assert_int_eq(pier_server_listen(site.server), 0);
    int port = atoi(strrchr(pier_server_url(site.server, 0), ':') + 1);
    site.addr = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
    site.addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    site.clients = start_helper(visit_udp, NULL);
}

static const struct path serving_udp = {
    .prepare = open_udp_site,
    .walk = serve,
    .clean = close_site,
    .says = "event loop|task stack|accept|server|serve udp://",
    .recovers = "*",
};

TEST_WITHIN(60, datagrams_served_by_tasks_survive_or_say_what_failed)
{
    begin_serving(PIER_TASKS, 1);
    fail_everywhere(&serving_udp);
}

TEST_WITHIN(60, datagrams_served_by_threads_survive_or_say_what_failed)
{
    begin_serving(PIER_THREADS, 1);
    fail_everywhere(&serving_udp);
}

/* ---- the last test ---- */

/* Runs with all others, whose processes share the record. */
TEST(every_call_has_failed)
{
    enum { PATHS = 36 }; /* that fail_everywhere() was given */
    if (faults.record->tests < PATHS)
        test_skip("not all tests have run before it");
    /* The first three are work_faults.c's, the next two task_faults.c's; the next come when threads
     * meet so; the last is not asked where the kernel has no guard regions, or PIER_STACK_GUARD
     * forbids them. */
    const char *kind = never_failed(
        "fork|pipe for a fork|opendir|timerfd_create|epoll_wait|futex|write to the eventfd|"
        "read of the eventfd|guard|"
        /* of files: task_faults.c's */
        "fchmod|fchown|sync|ftruncate|open|pread|pwrite|readlink|"
        "rename|getrlimit|stat|unlinkat|"
        "flock|mkdir"); /* net_cert_faults.c's */
    ck_assert_msg(kind == NULL, "%s never failed", kind);
    ck_assert_int_gt(faults.record->interruptions, 100);
}

HARNESS_MAIN("net_faults")
