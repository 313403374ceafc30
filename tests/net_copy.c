/* SPDX-License-Identifier: MIT */
/* backends: epoll io_uring */
/* net_copy: the relay, spliced and buffered, and that nothing gets lost in it. */
#include "both.h"

#include "net/conn.h"

#include <sys/resource.h>

enum { MIB = 1 << 20 };

/* A relay in the middle: near - [ a | b ] - far, the outer ends raw. */
struct middle {
    struct pier_conn *a, *b;
    int near, far;
};

/* Plain ones but for their address: pier_copy() must ask them for every byte. */
static struct pi_transport unspliceable;
static const struct pi_transport *original;
static int64_t asked;

static ssize_t ask(struct pier_conn *c, void *buf, size_t len, int64_t deadline_ns)
{
    ssize_t n = original->read(c, buf, len, deadline_ns);
    asked += n > 0 ? n : 0;
    return n;
}

static void open_middle(struct middle *m, enum kind kind, bool spliced)
{
    m->a = conn_and_fd(kind, &m->near);
    m->b = conn_and_fd(kind, &m->far);
    if (!spliced) {
        original = m->a->transport;
        unspliceable = *original;
        unspliceable.read = ask;
        asked = 0;
        m->a->transport = &unspliceable;
    }
}

static void close_middle(struct middle *m)
{
    pier_close(m->a);
    pier_close(m->b);
    close(m->near);
    close(m->far);
}

#define FOR_ALL_KINDS(m)                                                                       \
    for (int kinds_ = 0; kinds_ < 4; kinds_++)                                                 \
        for (bool once_ = (open_middle(&m, (enum kind)(kinds_ / 2), kinds_ % 2), true); once_; \
             once_ = (close_middle(&m), false))

/* ---- peers ---- */

/* Sends its stream and half-closes, while it takes the other's to the end. */
struct talk {
    int stream;
    size_t send_len, got;
    bool is_sound;
};

enum { TRICKLE = 12 };

static void *listen_to_end(void *arg)
{
    struct talk *t = ((void **)arg)[0];
    int fd = *(int *)((void **)arg)[1];
    static __thread char buf[65536];
    t->is_sound = true;
    for (ssize_t n; (n = recv(fd, buf, sizeof buf, 0)) > 0; t->got += (size_t)n)
        for (ssize_t i = 0; i < n; i++)
            t->is_sound &= buf[i] == pattern(t->got + (size_t)i, !t->stream);
    return NULL;
}

static void talk(int fd, void *arg)
{
    struct talk *t = arg;
    void *args[2] = { t, &fd };
    pthread_t listener;
    pthread_create(&listener, NULL, listen_to_end, args);
    char *bytes = make_pattern(t->send_len, t->stream);
    send_all(fd, bytes, t->send_len);
    shutdown(fd, SHUT_WR);
    pthread_join(listener, NULL);
    free(bytes);
}

static void relay_both_ways(struct middle *m, size_t there, size_t back)
{
    struct talk near = { 0, there, 0, false }, far = { 1, back, 0, false };
    struct peer peers[2];
    int64_t counts[2] = { -1, -1 };
    start_peer(&peers[0], m->near, talk, &near);
    start_peer(&peers[1], m->far, talk, &far);
    int rc = pier_copy(m->a, m->b, counts);
    if (rc < 0)
        ck_abort_msg("%s", pier_error());
    pthread_join(peers[0].thread, NULL);
    pthread_join(peers[1].thread, NULL);
    ck_assert(near.is_sound && far.is_sound);
    ck_assert_uint_eq(far.got, there);
    ck_assert_uint_eq(near.got, back);
    ck_assert_int_eq(counts[0], there);
    ck_assert_int_eq(counts[1], back);
}

/* ---- the way it should go ---- */

BOTH(copy_relays_both_ways_to_both_ends)
{
    struct middle m;
    FOR_ALL_KINDS(m)
    {
        int before = open_fds();
        relay_both_ways(&m, 6 * MIB + 1, 3 * MIB + 7);
        ck_assert_int_le(open_fds(), before + 1); /* the thread's wake-up */
        int64_t bytes_read, bytes_written;
        pier_conn_bytes(m.a, &bytes_read, &bytes_written);
        ck_assert_int_eq(bytes_read, 6 * MIB + 1);
        if (m.a->transport == &unspliceable)
            ck_assert_int_eq(asked, bytes_read);
        ck_assert_int_eq(bytes_written, 3 * MIB + 7);
    }
}

BOTH(copy_of_nothing_passes_the_ends_on)
{
    struct middle m;
    FOR_ALL_KINDS(m)
    relay_both_ways(&m, 0, 0);
}

static void say_and_wait(int fd, void *unused)
{
    char text[8] = "";
    send_all(fd, "question", 8);
    shutdown(fd, SHUT_WR);
    ck_assert_uint_eq(recv_all(fd, text, 6), 6);
    ck_assert_int_eq(memcmp(text, "answer", 6), 0);
}

/* Answers only after the end of the question. */
static void answer_at_the_end(int fd, void *unused)
{
    char text[16];
    ck_assert_uint_eq(recv_all(fd, text, sizeof text), 8);
    send_all(fd, "answer", 6);
    shutdown(fd, SHUT_WR);
}

BOTH(copy_passes_a_half_close_on_and_goes_on)
{
    struct middle m;
    FOR_ALL_KINDS(m)
    {
        struct peer peers[2];
        start_peer(&peers[0], m.near, say_and_wait, NULL);
        start_peer(&peers[1], m.far, answer_at_the_end, NULL);
        ck_assert_int_eq(pier_copy(m.a, m.b, NULL), 0);
        pthread_join(peers[0].thread, NULL);
        pthread_join(peers[1].thread, NULL);
    }
}

BOTH(copy_begins_with_what_was_read_ahead)
{
    struct middle m;
    FOR_ALL_KINDS(m)
    {
        char line[32], *rest = make_pattern(9000, 0), *got = malloc(9000);
        int64_t counts[2];
        send_all(m.near, "CONNECT\n", 8);
        send_all(m.near, rest, 3000);
        ck_assert_int_eq(pier_read_line(m.a, line, sizeof line), 7);
        ck_assert_uint_gt(m.a->ahead_len, 0);
        send_all(m.near, rest + 3000, 6000);
        shutdown(m.near, SHUT_WR);
        shutdown(m.far, SHUT_WR);
        ck_assert_int_eq(pier_copy(m.a, m.b, counts), 0);
        ck_assert_int_eq(counts[0], 9000);
        ck_assert_uint_eq(recv_all(m.far, got, 9000), 9000);
        ck_assert_int_eq(memcmp(rest, got, 9000), 0);
        free(rest);
        free(got);
    }
}

BOTH(copy_splices_pipes)
{
    int in[2], out[2], far;
    char text[16] = "";
    int64_t counts[2];
    ck_assert_int_eq(pipe2(in, O_CLOEXEC), 0);
    ck_assert_int_eq(pipe2(out, O_CLOEXEC), 0);
    struct pier_conn *b = conn_and_fd(UNIX, &far), *a = pier_conn_adopt(in[0], NULL);
    ck_assert_int_eq(write(in[1], "from a pipe", 11), 11);
    close(in[1]);
    shutdown(far, SHUT_RDWR);
    ck_assert_int_eq(pier_copy(a, b, counts), -EPIPE); /* its bytes cannot be written */
    ck_assert_int_eq(pier_read(a, text, sizeof text), 11);
    pier_close(a);
    pier_close(b);
    close(far);
    close(out[0]);
    close(out[1]);
}

/* A pipe has no half to close: that is no failure. */
BOTH(copy_to_a_pipe_needs_no_half_close)
{
    int fds[2], near;
    char text[16] = "";
    struct pier_conn *a = conn_and_fd(UNIX, &near), *b = NULL;
    ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
    b = pier_conn_adopt(fds[1], NULL);
    b->at_end = true; /* there is nothing to read from this end of a pipe */
    send_all(near, "to a pipe", 9);
    shutdown(near, SHUT_WR);
    int64_t counts[2];
    ck_assert_int_eq(pier_copy(a, b, counts), 0);
    ck_assert_int_eq(counts[0], 9);
    ck_assert_int_eq(read(fds[0], text, sizeof text), 9);
    ck_assert_str_eq(text, "to a pipe");
    pier_close(a);
    pier_close(b);
    close(near);
    close(fds[0]);
}

/* Refused by the one that takes: what is in the pipe by then goes through the buffer. */
BOTH(copy_falls_back_where_the_far_side_cannot_splice)
{
    int near;
    char text[16] = "";
    FILE *file = tmpfile();
    struct pier_conn *a = conn_and_fd(UNIX, &near);
    int fd = fcntl(fileno(file), F_DUPFD_CLOEXEC, 3);
    fcntl(fd, F_SETFL, O_APPEND); /* splice(2): EINVAL */
    struct pier_conn *b = pier_conn_adopt(fd, NULL);
    b->at_end = true;
    send_all(near, "to a file", 9);
    shutdown(near, SHUT_WR);
    ck_assert_int_eq(pier_copy(a, b, NULL), 0);
    ck_assert_int_eq(pread(fileno(file), text, sizeof text, 0), 9);
    ck_assert_str_eq(text, "to a file");
    pier_close(a);
    pier_close(b);
    close(near);
    fclose(file);
}

BOTH(copy_without_descriptors_for_pipes_takes_a_buffer)
{
    struct middle m;
    struct rlimit limit;
    open_middle(&m, UNIX, true);
    getrlimit(RLIMIT_NOFILE, &limit);
    send_all(m.near, "hello", 5);
    shutdown(m.near, SHUT_WR);
    shutdown(m.far, SHUT_WR);
    struct pier_scope scope; /* makes the loop, which needs descriptors of its own, before */
    pier_scope_open(&scope, 0);
    pier_spawn(&scope, (pier_task_fn)(void (*)(void))pier_yield, NULL);
    struct rlimit low = { 3, limit.rlim_max };
    setrlimit(RLIMIT_NOFILE, &low);
    int rc = pier_copy(m.a, m.b, NULL);
    setrlimit(RLIMIT_NOFILE, &limit);
    pier_scope_join(&scope);
    ck_assert_int_eq(rc, 0);
    char text[8];
    ck_assert_uint_eq(recv_all(m.far, text, sizeof text), 5);
    close_middle(&m);
}

/* ---- failures ---- */

static void reset(int fd)
{
    struct linger at_once = { 1, 0 };
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
}

BOTH(copy_ends_both_ways_with_the_first_failure)
{
    for (int spliced = 0; spliced < 2; spliced++) {
        struct middle m;
        char byte;
        open_middle(&m, TCP, spliced);
        reset(m.far);
        close(m.far);
        m.far = -1;
        ck_assert_int_eq(pier_copy(m.a, m.b, NULL), -ECONNRESET);
        ck_assert_ptr_nonnull(strstr(pier_error(), "connection reset by peer"));
        ck_assert_int_eq(pier_read(m.b, &byte, 1), -ECONNRESET); /* sticky */
        send_all(m.near, "x", 1);
        ck_assert_int_eq(pier_read(m.a, &byte, 1), 1); /* and not the other's */
        close_middle(&m);
    }
}

/* splice(2) raises SIGPIPE where send(2) need not; the program does not notice. */
BOTH(copy_to_a_closed_peer_is_an_error_not_a_signal)
{
    struct middle m;
    FOR_ALL_KINDS(m)
    {
        sigset_t mask, pending;
        int64_t counts[2];
        shutdown(m.far, SHUT_RD);
        if (kinds_ / 2 == TCP) /* that tells the other side nothing: break our own */
            shutdown(pier_conn_fd(m.b), SHUT_WR);
        send_all(m.near, "hello", 5);
        ck_assert_int_eq(pier_copy(m.a, m.b, counts), -EPIPE);
        ck_assert_int_eq(counts[0], 0);
        ck_assert_int_eq(pier_write(m.b, "x", 1), -EPIPE);
        char text[8];
        ck_assert_int_eq(pier_read(m.a, text, sizeof text), 5); /* it is still there */
        pthread_sigmask(SIG_SETMASK, NULL, &mask);
        sigpending(&pending);
        ck_assert_int_eq(sigismember(&mask, SIGPIPE), 0);
        ck_assert_int_eq(sigismember(&pending, SIGPIPE), 0);
    }
}

static int copy_task(void *arg)
{
    struct middle *m = arg;
    return pier_copy(m->a, m->b, NULL);
}

/* The second of two relays on one thread goes on without the signal. */
BOTH(copy_that_ends_leaves_others_without_the_signal)
{
    struct middle m[2];
    struct pier_scope scope;
    open_middle(&m[0], UNIX, true);
    open_middle(&m[1], UNIX, true);
    pier_scope_open(&scope, 0);
    pier_spawn(&scope, copy_task, &m[0]);
    pier_spawn(&scope, copy_task, &m[1]);
    pier_yield();
    shutdown(m[0].near, SHUT_WR);
    shutdown(m[0].far, SHUT_WR);
    for (int i = 0; i < 20; i++)
        pier_sleep(PIER_MILLISECOND);
    shutdown(m[1].far, SHUT_RD);
    send_all(m[1].near, "x", 1);
    ck_assert_int_eq(pier_scope_join(&scope), -EPIPE);
    close_middle(&m[0]);
    close_middle(&m[1]);
}

BOTH(copy_has_the_time_outs_of_reads_and_writes)
{
    struct middle m;
    FOR_ALL_KINDS(m)
    {
        pier_set_timeouts(m.a, 20, 0);
        ck_assert_int_eq(pier_copy(m.a, m.b, NULL), -ETIMEDOUT);
        ck_assert_ptr_nonnull(strstr(pier_error(), "read "));
        pier_set_timeouts(m.a, PIER_NO_TIMEOUT, 0);
        pier_set_timeouts(m.b, PIER_NO_TIMEOUT, 20);
        stuff(pier_conn_fd(m.b));
        send_all(m.near, "x", 1);
        ck_assert_int_eq(pier_copy(m.a, m.b, NULL), -ETIMEDOUT);
        ck_assert_ptr_nonnull(strstr(pier_error(), "write "));
    }
}

static void trickle(int fd, void *unused)
{
    for (int i = 0; i < TRICKLE; i++) {
        send_all(fd, "x", 1);
        poll(NULL, 0, 50);
    }
    shutdown(fd, SHUT_WR);
}

/* The near side says nothing for three of its time-outs, while the other way moves. */
BOTH(copy_is_idle_only_when_neither_way_moves)
{
    struct middle m;
    FOR_ALL_KINDS(m)
    {
        struct peer far;
        int64_t counts[2];
        start_peer(&far, m.far, trickle, NULL);
        pier_set_timeouts(m.a, 200, 0);
        ck_assert_int_eq(pier_copy(m.a, m.b, counts), -ETIMEDOUT);
        ck_assert_int_eq(counts[1], TRICKLE);
        pthread_join(far.thread, NULL);
    }
}

struct source {
    char *bytes;
    size_t len;
};

/* Reads what fd gives (MSG_DONTWAIT: now; 0: to the end), and compares it with what follows at in
 * the source. */
static size_t drain(int fd, const struct source *s, size_t at, int flags)
{
    static char buf[65536];
    size_t total = 0;
    for (ssize_t n; (n = recv(fd, buf, sizeof buf, flags)) > 0; total += (size_t)n)
        ck_assert_int_eq(memcmp(buf, s->bytes + at + total, (size_t)n), 0);
    return total;
}

static void pour(int fd, void *arg)
{
    struct source *s = arg;
    send_all(fd, s->bytes, s->len);
    shutdown(fd, SHUT_WR);
}

/* However often it is cut off in the middle, every byte is on this side or on that, in order. */
static void copy_with_interruptions(struct middle *m, struct source *s)
{
    struct peer p;
    size_t passed = 0;
    int64_t counts[2], total = 0;
    int rc = -1, rounds = 0;
    start_peer(&p, m->near, pour, s);
    while (rc < 0) {
        struct pier_scope scope;
        int64_t tenths = rounds < 30 ? rounds + 1 : 30; /* of ms: soon enough on a fast machine */
        pier_scope_open(&scope, pier_after(tenths * PIER_MILLISECOND / 10));
        rc = pier_copy(m->a, m->b, counts);
        ck_assert(rc == 0 || rc == -ETIMEDOUT);
        pier_scope_join(&scope);
        total += counts[0];
        passed += drain(m->far, s, passed, MSG_DONTWAIT);
        if (m->a->at_end && m->a->ahead_len == 0)
            shutdown(m->far, SHUT_WR); /* so that it can end */
        ck_assert_int_lt(++rounds, 5000);
    }
    passed += drain(m->far, s, passed, 0); /* TCP's last bytes may still be on their way */
    ck_assert_uint_eq(passed, s->len);
    ck_assert_int_eq(total, s->len);
    ck_assert_int_gt(rounds, 2);
    pthread_join(p.thread, NULL);
}

BOTH(copy_cut_off_anywhere_loses_no_byte)
{
    struct middle m;
    struct source s = { make_pattern(4 * MIB, 0), 4 * MIB };
    FOR_ALL_KINDS(m)
    copy_with_interruptions(&m, &s);
    free(s.bytes);
}

/* Both of its conns can be used on after a cancellation from outside. */
BOTH(copy_is_cancelled_from_outside)
{
    struct middle m;
    FOR_ALL_KINDS(m)
    {
        struct pier_scope scope;
        char text[8] = "";
        int before = open_fds();
        pier_scope_open(&scope, 0);
        ck_assert_int_eq(pier_spawn(&scope, copy_task, &m), 0);
        pier_yield();
        pier_yield();
        pier_scope_cancel(&scope);
        ck_assert_int_eq(pier_scope_join(&scope), -ECANCELED);
        ck_assert_int_le(open_fds(), before + 1); /* the thread's wake-up */
        send_all(m.near, "hi", 2);
        ck_assert_int_eq(pier_read(m.a, text, sizeof text), 2);
        ck_assert_int_eq(pier_puts(m.b, text), 2);
    }
}

BOTH(copy_while_another_task_reads_is_busy)
{
    struct middle m;
    struct pier_scope scope;
    char byte;
    open_middle(&m, UNIX, true);
    pier_scope_open(&scope, 0);
    ck_assert_int_eq(pier_spawn(&scope, copy_task, &m), 0);
    pier_yield();
    pier_yield();
    ck_assert_int_eq(pier_read(m.a, &byte, 1), -EBUSY);
    ck_assert_int_eq(pier_copy(m.a, m.b, NULL), -EBUSY);
    shutdown(m.near, SHUT_WR);
    shutdown(m.far, SHUT_WR);
    ck_assert_int_eq(pier_scope_join(&scope), 0);
    close_middle(&m);
}

long pi_alloc_fail(long countdown);

/* Every request for memory fails in turn: an error, no leak, and no byte lost in silence. */
BOTH(copy_without_memory_fails)
{
    for (int spliced = 0; spliced < 2; spliced++) {
        int rc = -1;
        for (long i = 1; rc < 0; i++) {
            struct middle m;
            char text[8];
            ck_assert_int_lt(i, 30);
            open_middle(&m, UNIX, spliced);
            int before = open_fds();
            send_all(m.near, "hello", 5);
            shutdown(m.near, SHUT_WR);
            shutdown(m.far, SHUT_WR);
            pi_alloc_fail(i);
            rc = pier_copy(m.a, m.b, NULL);
            pi_alloc_fail(0);
            ck_assert_int_le(open_fds(), before + 1);
            if (rc == 0)
                ck_assert_uint_eq(recv_all(m.far, text, sizeof text), 5);
            else
                ck_assert_int_eq(rc, -ENOMEM);
            close_middle(&m);
        }
    }
}

HARNESS_MAIN("net_copy")
