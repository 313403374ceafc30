/* SPDX-License-Identifier: MIT */
/* backends: epoll io_uring */
/* net_conn: a connection's life, its writes, and what is sticky. Reading is net_read. */
#include "both.h"

#include <limits.h>
#include <sys/un.h>

enum { MIB = 1 << 20 };

/* ---- writing ---- */

struct intake {
    size_t len, got, chunk;
    int pause_ms;
    bool is_sound;
};

/* Takes len bytes, chunk by chunk, and looks at each. */
static void take(int fd, void *arg)
{
    struct intake *in = arg;
    char *buf = malloc(in->chunk);
    in->is_sound = true;
    for (ssize_t n = 1; in->got < in->len && n > 0;) {
        if (in->pause_ms)
            poll(NULL, 0, in->pause_ms);
        n = recv(fd, buf, in->chunk, 0);
        for (ssize_t i = 0; i < n; i++)
            in->is_sound &= buf[i] == pattern(in->got + (size_t)i, 0);
        in->got += n > 0 ? (size_t)n : 0;
    }
    free(buf);
}

static void write_to_slow_peer(enum kind kind)
{
    struct intake in = { .len = 4 * MIB, .chunk = 7777 };
    struct peer p;
    char *bytes = make_pattern(in.len, 0);
    struct pier_conn *c = dial_peer(&p, kind, take, &in);
    ck_assert_int_eq(pier_write(c, bytes, in.len), in.len);
    int64_t written;
    pier_conn_bytes(c, NULL, &written);
    ck_assert_int_eq(written, in.len);
    end_peer(&p);
    ck_assert_uint_eq(in.got, in.len);
    ck_assert(in.is_sound);
    pier_close(c);
    free(bytes);
}

BOTH(conn_write_takes_all_while_the_peer_is_slow)
{
    write_to_slow_peer(UNIX);
    write_to_slow_peer(TCP);
}

BOTH(conn_writev_takes_all_pieces)
{
    enum { PIECES = 64, LEN = 50000 };
    struct intake in = { .len = (PIECES - 2) * LEN, .chunk = 4096 };
    struct peer p;
    struct iovec pieces[PIECES + 1];
    char *bytes = make_pattern(in.len, 0);
    for (int i = 0; i < PIECES; i++) /* the first and one in the middle are empty */
        pieces[i] = (struct iovec){ bytes + (i - 1 - (i > 30)) * LEN, i && i != 30 ? LEN : 0 };
    for (int i = 31; i < PIECES; i++)
        pieces[i].iov_base = bytes + (i - 2) * LEN;
    struct pier_conn *c = dial_peer(&p, UNIX, take, &in);
    ck_assert_int_eq(pier_writev(c, pieces, PIECES), in.len);
    end_peer(&p);
    ck_assert_uint_eq(in.got, in.len);
    ck_assert(in.is_sound);
    ck_assert_int_eq(pier_writev(c, pieces, PIECES + 1), -EINVAL);
    ck_assert_int_eq(pier_writev(c, pieces, -1), -EINVAL);
    ck_assert_int_eq(pier_writev(c, pieces, 0), 0);
    ck_assert_int_eq(pier_write(c, NULL, 0), 0);
    pier_close(c);
    free(bytes);
}

BOTH(conn_write_times_out_without_progress_and_that_is_sticky)
{
    int other;
    char *bytes = make_pattern(8 * MIB, 0), byte;
    struct pier_conn *c = conn_and_fd(UNIX, &other);
    send_all(other, "xy", 2);
    ck_assert_int_eq(pier_set_timeouts(c, 0, 30), 0);
    ck_assert_int_eq(pier_write(c, bytes, 8 * MIB), -ETIMEDOUT);
    ck_assert_str_eq(pier_error(), "write unix://unix: timed out");
    int64_t begin = pier_now();
    ck_assert_int_eq(pier_write(c, "x", 1), -ETIMEDOUT);
    ck_assert_int_eq(pier_shutdown_write(c), -ETIMEDOUT);
    ck_assert_int_eq(pier_read(c, &byte, 1), 1); /* does not wait */
    ck_assert_int_eq(pier_read(c, &byte, 1), 1);
    ck_assert_int_eq(pier_read(c, &byte, 1), -ETIMEDOUT); /* would */
    ck_assert_int_lt(ms_since(begin), 1000);
    pier_close(c);
    close(other);
    free(bytes);
}

BOTH(conn_write_that_passed_nothing_on_may_be_tried_again)
{
    int other;
    struct pier_conn *c = conn_and_fd(UNIX, &other);
    size_t len = stuff(pier_conn_fd(c));
    char *bytes = malloc(len);
    pier_set_timeouts(c, 0, 20);
    ck_assert_int_eq(pier_write(c, "x", 1), -ETIMEDOUT);
    struct pier_scope scope;
    pier_scope_open(&scope, 0);
    pier_scope_cancel(&scope);
    ck_assert_int_eq(pier_write(c, "x", 1), -ECANCELED);
    pier_scope_join(&scope);
    ck_assert_uint_eq(recv_all(other, bytes, len), len);
    ck_assert_int_eq(pier_write(c, "y", 1), 1);
    ck_assert_uint_eq(recv_all(other, bytes, 1), 1);
    ck_assert_int_eq(bytes[0], 'y');
    pier_close(c);
    close(other);
    free(bytes);
}

/* The time-out is between two bytes, not over the whole. */
BOTH(conn_write_goes_on_while_there_is_progress)
{
    struct intake in = { .len = 4 * MIB, .chunk = MIB / 4, .pause_ms = 100 };
    struct peer p;
    char *bytes = make_pattern(in.len, 0);
    struct pier_conn *c = dial_peer(&p, UNIX, take, &in);
    pier_set_timeouts(c, 0, 900);
    int64_t begin = pier_now();
    ck_assert_int_eq(pier_write(c, bytes, in.len), in.len);
    ck_assert_int_ge(ms_since(begin), 1200);
    end_peer(&p);
    ck_assert(in.is_sound);
    pier_close(c);
    free(bytes);
}

BOTH(conn_write_to_a_closed_peer_is_sticky)
{
    int other;
    char byte;
    struct pier_conn *c = conn_and_fd(UNIX, &other);
    send_all(other, "x", 1);
    close(other);
    ck_assert_int_eq(pier_write(c, "x", 1), -EPIPE);
    ck_assert_int_eq(pier_write(c, "x", 1), -EPIPE);
    ck_assert_int_eq(pier_printf(c, "%d", 1), -EPIPE);
    ck_assert_int_eq(pier_error_code(), -EPIPE);
    ck_assert_int_eq(pier_read(c, &byte, 1), 1); /* what came before is there */
    ck_assert_int_eq(pier_read(c, &byte, 1), 0);
    pier_close(c);
}

BOTH(conn_reset_is_sticky_for_reads)
{
    int other;
    char byte;
    struct linger at_once = { 1, 0 };
    struct pier_conn *c = conn_and_fd(TCP, &other);
    setsockopt(other, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close(other);
    ck_assert_int_eq(pier_read(c, &byte, 1), -ECONNRESET);
    ck_assert_int_eq(pier_read(c, &byte, 1), -ECONNRESET);
    ck_assert_int_eq(pier_read_exact(c, &byte, 1), -ECONNRESET);
    ck_assert_ptr_nonnull(strstr(pier_error(), ": connection reset by peer"));
    pier_close(c);
}

BOTH(conn_printf_writes_texts_of_any_length)
{
    struct intake in = { .len = 3 + 511 + 512 + 100000, .chunk = 4096 };
    int other;
    char *text = malloc(2 * MIB), *got = malloc(in.len + 1);
    memset(text, 'a', 2 * MIB);
    struct pier_conn *c = conn_and_fd(UNIX, &other);
    ck_assert_int_eq(pier_printf(c, "%d-%s", 1, "b"), 3);
    ck_assert_int_eq(pier_printf(c, "%.*s", 511, text), 511);
    ck_assert_int_eq(pier_printf(c, "%.*s", 512, text), 512);
    ck_assert_int_eq(pier_printf(c, "%.*s", 100000, text), 100000);
    ck_assert_int_eq(pier_printf(c, "%s", ""), 0);
    ck_assert_uint_eq(recv_all(other, got, in.len), in.len);
    ck_assert_int_eq(memcmp(got, "1-b", 3), 0);
    ck_assert_int_eq(memcmp(got + 3, text, in.len - 3), 0);
    ck_assert_int_eq(pier_printf(c, "%.*s", MIB + 1, text), -EMSGSIZE);
    ck_assert_int_eq(pier_puts(c, "hi"), 2); /* that is not sticky */
    ck_assert_uint_eq(recv_all(other, got, 2), 2);
    ck_assert_int_eq(memcmp(got, "hi", 2), 0);
    pier_close(c);
    close(other);
    free(text);
    free(got);
}

/* ---- half-close ---- */

BOTH(conn_shutdown_ends_writing_only)
{
    int other;
    char byte;
    struct pier_conn *c = conn_and_fd(TCP, &other);
    ck_assert_int_eq(pier_write(c, "x", 1), 1);
    ck_assert_int_eq(pier_shutdown_write(c), 0);
    ck_assert_int_eq(recv(other, &byte, 1, 0), 1);
    ck_assert_int_eq(recv(other, &byte, 1, 0), 0);
    send_all(other, "y", 1);
    ck_assert_int_eq(pier_read(c, &byte, 1), 1);
    ck_assert_int_eq(pier_write(c, "x", 1), -EPIPE);
    pier_close(c);
    close(other);
}

/* ---- one reader, one writer ---- */

struct job {
    struct pier_conn *c;
    const char *bytes;
    size_t len;
    ssize_t result;
};

static int read_job(void *arg)
{
    struct job *j = arg;
    char byte;
    j->result = pier_read(j->c, &byte, 1);
    return 0;
}

static int write_job(void *arg)
{
    struct job *j = arg;
    j->result = pier_write(j->c, j->bytes, j->len);
    return 0;
}

BOTH(conn_second_reader_and_writer_are_busy)
{
    int other;
    char byte, *bytes = make_pattern(8 * MIB, 0);
    struct pier_scope scope;
    struct pier_conn *c = conn_and_fd(UNIX, &other);
    struct job reader = { .c = c }, writer = { .c = c, .bytes = bytes, .len = 8 * MIB };
    pier_scope_open(&scope, 0);
    pier_spawn(&scope, read_job, &reader);
    pier_spawn(&scope, write_job, &writer);
    pier_yield();
    ck_assert_int_eq(pier_read(c, &byte, 1), -EBUSY);
    ck_assert_int_eq(pier_write(c, "x", 1), -EBUSY);
    ck_assert_int_eq(pier_shutdown_write(c), -EBUSY);
    ck_assert_int_eq(pier_write(c, "x", 1), -EBUSY); /* not sticky, and the first ones go on */
    struct intake in = { .len = 8 * MIB, .chunk = 65536 };
    struct peer p;
    send_all(other, "x", 1);
    start_peer(&p, other, take, &in);
    ck_assert_int_eq(pier_scope_join(&scope), 0);
    end_peer(&p);
    ck_assert_int_eq(reader.result, 1);
    ck_assert_int_eq(writer.result, 8 * MIB);
    ck_assert(in.is_sound);
    pier_close(c);
    free(bytes);
}

BOTH(conn_close_ends_reads_and_writes_of_other_tasks)
{
    int other;
    char *bytes = make_pattern(8 * MIB, 0);
    struct pier_scope scope;
    struct pier_conn *c = conn_and_fd(UNIX, &other);
    struct job reader = { .c = c }, writer = { .c = c, .bytes = bytes, .len = 8 * MIB };
    pier_scope_open(&scope, 0);
    pier_spawn(&scope, read_job, &reader);
    pier_spawn(&scope, write_job, &writer);
    pier_yield();
    pier_close(c);
    ck_assert_int_eq(pier_scope_join(&scope), 0);
    ck_assert_int_eq(reader.result, -ECANCELED);
    ck_assert_int_eq(writer.result, -ECANCELED);
    while (recv(other, bytes, MIB, 0) > 0) /* and the peer sees the end */
        ;
    close(other);
    free(bytes);
}

BOTH(conn_cancelled_read_may_be_tried_again)
{
    int other;
    char byte;
    struct pier_scope scope;
    struct pier_conn *c = conn_and_fd(UNIX, &other);
    struct job reader = { .c = c };
    pier_scope_open(&scope, 0);
    pier_spawn(&scope, read_job, &reader);
    pier_yield();
    pier_scope_cancel(&scope);
    ck_assert_int_eq(pier_scope_join(&scope), 0);
    ck_assert_int_eq(reader.result, -ECANCELED);
    send_all(other, "x", 1);
    ck_assert_int_eq(pier_read(c, &byte, 1), 1);
    pier_close(c);
    close(other);
}

/* ---- the NULL of a failed constructor ---- */

BOTH(conn_null_answers_with_the_failure)
{
    char buf[16];
    int64_t bytes_read = 1, bytes_written = 1, counts[2] = { 1, 1 };
    struct iovec piece = { buf, 1 };
    pier_error_set(-ECONNREFUSED, "dial x");
    ck_assert_int_eq(pier_read(NULL, buf, 16), -ECONNREFUSED);
    ck_assert_int_eq(pier_read_text(NULL, buf, 16), -ECONNREFUSED);
    ck_assert_str_eq(buf, "");
    ck_assert_int_eq(pier_read_exact(NULL, buf, 16), -ECONNREFUSED);
    ck_assert_int_eq(pier_read_line(NULL, buf, 16), -ECONNREFUSED);
    ck_assert_int_eq(pier_read_until(NULL, buf, 16, "x", 1), -ECONNREFUSED);
    ck_assert_int_eq(pier_write(NULL, buf, 16), -ECONNREFUSED);
    ck_assert_int_eq(pier_writev(NULL, &piece, 1), -ECONNREFUSED);
    ck_assert_int_eq(pier_puts(NULL, "x"), -ECONNREFUSED);
    ck_assert_int_eq(pier_printf(NULL, "%d", 1), -ECONNREFUSED);
    ck_assert_int_eq(pier_shutdown_write(NULL), -ECONNREFUSED);
    ck_assert_int_eq(pier_set_timeouts(NULL, 1, 1), -ECONNREFUSED);
    ck_assert_int_eq(pier_conn_fd(NULL), -ECONNREFUSED);
    ck_assert_int_eq(pier_copy(NULL, NULL, counts), -ECONNREFUSED);
    ck_assert_int_eq(counts[0] + counts[1], 0);
    pier_conn_bytes(NULL, &bytes_read, &bytes_written);
    ck_assert_int_eq(bytes_read + bytes_written, 0);
    ck_assert_str_eq(pier_peer(NULL), "?");
    ck_assert_str_eq(pier_local(NULL), "?");
    pier_close(NULL);
    ck_assert_str_eq(pier_error(), "dial x: connection refused");
}

TEST(conn_null_is_invalid_where_nothing_has_failed)
{
    char byte;
    ck_assert_int_eq(pier_read(NULL, &byte, 1), -EINVAL);
}

/* ---- making connections ---- */

BOTH(conn_pair_is_connected)
{
    struct pier_conn *ends[2];
    char text[8] = "";
    ck_assert_int_eq(pier_conn_pair(ends), 0);
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(pier_puts(ends[i], "hi"), 2);
        ck_assert_int_eq(pier_read(ends[!i], text, sizeof text), 2);
        ck_assert_str_eq(text, "hi");
        ck_assert_str_eq(pier_peer(ends[i]), "unix");
        ck_assert_str_eq(pier_local(ends[i]), "unix");
        ck_assert_int_eq(fcntl(pier_conn_fd(ends[i]), F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    }
    pier_close(ends[0]);
    ck_assert_int_eq(pier_read(ends[1], text, sizeof text), 0);
    ck_assert_int_eq(pier_read(ends[1], text, sizeof text), 0);
    pier_close(ends[1]);
}

long pi_alloc_fail(long countdown);

BOTH(conn_pair_without_memory_leaves_nothing)
{
    struct pier_conn *ends[2];
    int before = open_fds();
    int rc = -ENOMEM;
    for (long i = 1; rc < 0; i++) {
        ck_assert_int_lt(i, 10);
        pi_alloc_fail(i);
        rc = pier_conn_pair(ends);
        pi_alloc_fail(0);
        if (rc == 0)
            break;
        ck_assert_int_eq(rc, -ENOMEM);
        ck_assert(!ends[0] && !ends[1]);
        ck_assert_int_eq(open_fds(), before);
    }
    pier_close(ends[0]);
    pier_close(ends[1]);
}

BOTH(conn_adopts_both_ends_of_a_pipe)
{
    int fds[2];
    char text[8] = "";
    ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
    struct pier_conn *in = pier_conn_adopt(fds[0], NULL), *out = pier_conn_adopt(fds[1], NULL);
    ck_assert_int_eq(pier_puts(out, "hello"), 5);
    ck_assert_int_eq(pier_read(in, text, sizeof text), 5);
    ck_assert_str_eq(text, "hello");
    ck_assert_int_eq(pier_shutdown_write(out), -EOPNOTSUPP);
    pier_set_timeouts(in, 20, 0);
    ck_assert_int_eq(pier_read(in, text, sizeof text), -ETIMEDOUT);
    pier_close(out);
    ck_assert_int_eq(pier_read(in, text, sizeof text), 0);
    pier_close(in);
    ck_assert_int_eq(fcntl(fds[0], F_GETFD), -1);
}

/* write(2) to such a pipe raises SIGPIPE, which would end the program. */
BOTH(conn_pipe_without_reader_is_an_error_not_a_signal)
{
    int fds[2];
    sigset_t mask, pending;
    ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
    struct pier_conn *out = pier_conn_adopt(fds[1], NULL);
    close(fds[0]);
    ck_assert_int_eq(pier_puts(out, "hello"), -EPIPE);
    ck_assert_int_eq(pier_puts(out, "hello"), -EPIPE);
    pier_close(out);
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    sigpending(&pending);
    ck_assert_int_eq(sigismember(&mask, SIGPIPE), 0);
    ck_assert_int_eq(sigismember(&pending, SIGPIPE), 0);
}

BOTH(conn_adopt_leaves_what_it_refuses)
{
    int fds[2];
    int unconnected = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_ptr_null(pier_conn_adopt(unconnected, NULL));
    ck_assert_int_eq(pier_error_code(), -ENOTCONN);
    ck_assert_int_ge(fcntl(unconnected, F_GETFD), 0);
    close(unconnected);
    ck_assert_ptr_null(pier_conn_adopt(unconnected, NULL));
    ck_assert_int_eq(pier_error_code(), -EBADF);
    fd_pair(UNIX, fds);
    pi_alloc_fail(1);
    struct pier_conn *c = pier_conn_adopt(fds[0], NULL);
    pi_alloc_fail(0);
    ck_assert_ptr_null(c);
    ck_assert_int_ge(fcntl(fds[0], F_GETFD), 0);
    close(fds[0]);
    close(fds[1]);
}

/* Its open file may be held by others, and outlive the connection: nothing of it stays in the loop.
 */
BOTH(conn_adopted_descriptor_may_live_on)
{
    int other;
    struct pier_conn *c = conn_and_fd(UNIX, &other);
    int twin = dup(pier_conn_fd(c));
    pier_set_timeouts(c, 10, 0);
    char byte;
    ck_assert_int_eq(pier_read(c, &byte, 1), -ETIMEDOUT); /* now it is registered */
    pier_close(c);
    send_all(other, "x", 1);
    pier_sleep(PIER_MILLISECOND);
    ck_assert_int_eq(recv(twin, &byte, 1, 0), 1);
    close(twin);
    close(other);
}

/* ---- options and addresses ---- */

BOTH(conn_timeouts_can_be_kept_changed_and_removed)
{
    int other;
    char byte;
    struct pier_conn *c = conn_and_fd(UNIX, &other);
    ck_assert_int_eq(pier_set_timeouts(c, 20, 0), 0);
    ck_assert_int_eq(pier_read(c, &byte, 1), -ETIMEDOUT);
    ck_assert_int_eq(pier_set_timeouts(c, 0, 0), 0);
    int64_t begin = pier_now();
    ck_assert_int_eq(pier_read(c, &byte, 1), -ETIMEDOUT); /* not sticky: it waited again */
    ck_assert_int_ge(ms_since(begin), 15);
    ck_assert_int_eq(pier_set_timeouts(c, PIER_NO_TIMEOUT, PIER_NO_TIMEOUT), 0);
    struct pier_scope scope;
    pier_scope_open(&scope, pier_after(60 * PIER_MILLISECOND));
    begin = pier_now();
    ck_assert_int_eq(pier_read(c, &byte, 1), -ETIMEDOUT); /* the scope's */
    ck_assert_int_ge(ms_since(begin), 55);
    pier_scope_join(&scope);
    ck_assert_int_eq(pier_set_timeouts(c, INT_MAX, INT_MAX), 0);
    send_all(other, "x", 1);
    ck_assert_int_eq(pier_read(c, &byte, 1), 1);
    pier_close(c);
    close(other);
}

BOTH(conn_options_of_adopt_set_the_time_outs)
{
    int fds[2];
    char byte;
    fd_pair(UNIX, fds);
    struct pier_conn *c = pier_conn_adopt(fds[0],
                                          &(struct pier_dial_opts){ .read_timeout_ms = 20 });
    ck_assert_int_eq(pier_read(c, &byte, 1), -ETIMEDOUT);
    pier_close(c);
    close(fds[1]);
}

BOTH(conn_addresses_are_texts)
{
    int other;
    struct sockaddr_in name;
    socklen_t len = sizeof name;
    char expected[64];
    struct pier_conn *c = conn_and_fd(TCP, &other);
    getsockname(other, (struct sockaddr *)&name, &len);
    snprintf(expected, sizeof expected, "127.0.0.1:%d", ntohs(name.sin_port));
    ck_assert_str_eq(pier_peer(c), expected);
    len = sizeof name;
    getpeername(other, (struct sockaddr *)&name, &len);
    snprintf(expected, sizeof expected, "127.0.0.1:%d", ntohs(name.sin_port));
    ck_assert_str_eq(pier_local(c), expected);
    ck_assert_ptr_eq(pier_local(c), pier_local(c)); /* kept */
    pier_close(c);
    close(other);
}

HARNESS_MAIN("net_conn")
