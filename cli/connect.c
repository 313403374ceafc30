/* SPDX-License-Identifier: MIT */
/*
 * connect.c - `pier connect`: standard input to a connection, the connection to standard output.
 *
 * Over udp:// a line, without its end, is a datagram, and a datagram is printed as a line.
 * Two tasks, one each way. The streams are other people's open files and stay blocking: a task
 * waits until one is ready, then moves no more than can be moved at once. Files do not wait
 * (EPERM).
 */
#include "tls_options.h"
#include "verb.h"

#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum { PIECE_BYTES = 16384, DATAGRAM_BYTES = 65536 };

/* Datagrams have no end: how long after the end of input what still comes is printed. */
#define DATAGRAM_WAIT PIER_SECOND

static struct {
    bool crlf;
    int64_t wait;
    const char *capture;
} given = { .wait = -1 };

struct session {
    const char *url;
    struct pier_conn *conn;
    struct pier_scope scope;
    bool datagrams;
    char line[DATAGRAM_BYTES]; /* of standard input, until its end has come */
    size_t line_len;
    bool last_was_cr; /* of standard input, for --crlf */
    int send_rc;      /* what became of standard input */
};

/* ---- the streams ---- */

/* Waits until a read or a small write on a standard stream will not block. 0 or a negative code. */
static int wait_for_stream(int fd, int events)
{
    int rc = pier_wait_fd(fd, events, 0);
    return rc > 0 || rc == -EPERM ? 0 : rc;
}

/* Up to PIECE_BYTES: their count; 0 at the end of input; a negative code. */
static ssize_t read_input(char *buf)
{
    for (;;) {
        int rc = wait_for_stream(STDIN_FILENO, POLLIN);
        if (rc < 0)
            return rc;
        ssize_t n = read(STDIN_FILENO, buf, PIECE_BYTES);
        if (n < 0 && errno == EIO) /* a terminal that has gone */
            return 0;
        if (n >= 0 || (errno != EAGAIN && errno != EINTR))
            return n >= 0 ? n : pier_error_set(-errno, "read standard input");
    }
}

static int write_output(const char *buf, size_t len)
{
    while (len > 0) {
        int rc = wait_for_stream(STDOUT_FILENO, POLLOUT);
        if (rc < 0)
            return rc;
        /* A pipe that is ready has room for PIPE_BUF bytes. */
        ssize_t n = write(STDOUT_FILENO, buf, len < PIPE_BUF ? len : PIPE_BUF);
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return pier_error_set(-errno, "write standard output");
        if (n > 0) {
            buf += n;
            len -= (size_t)n;
        }
    }
    return 0;
}

/* ---- the two ways ---- */

/* Copies with each LF that no CR precedes made a CRLF. Returns the length. */
static size_t expand_line_ends(struct session *s, char *out, const char *in, size_t len)
{
    size_t at = 0;
    for (size_t i = 0; i < len; i++) {
        if (in[i] == '\n' && !s->last_was_cr)
            out[at++] = '\r';
        out[at++] = in[i];
        s->last_was_cr = in[i] == '\r';
    }
    return at;
}

/* Sends the line that has been put together. An empty one is no datagram. */
static int send_line(struct session *s)
{
    size_t len = s->line_len;
    s->line_len = 0;
    if (len > 0 && s->line[len - 1] == '\r')
        len--;
    if (!given.crlf)
        return (int)pier_write(s->conn, s->line, len);
    struct iovec pieces[] = { { s->line, len }, { "\r\n", 2 } };
    return (int)pier_writev(s->conn, pieces, 2);
}

static ssize_t send_lines(struct session *s, const char *buf, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (buf[i] != '\n') {
            if (s->line_len == sizeof s->line)
                return pier_error_set(-EMSGSIZE, "a line of more than %zu bytes", sizeof s->line);
            s->line[s->line_len++] = buf[i];
            continue;
        }
        int rc = send_line(s);
        if (rc < 0)
            return rc;
    }
    return (ssize_t)len;
}

static ssize_t send_piece(struct session *s, const char *buf, size_t len)
{
    if (s->datagrams)
        return send_lines(s, buf, len);
    if (!given.crlf)
        return pier_write(s->conn, buf, len);
    char expanded[2 * PIECE_BYTES];
    return pier_write(s->conn, expanded, expand_line_ends(s, expanded, buf, len));
}

/* Whether there is more on standard input, which nobody needs any more. */
static bool has_more_input(void)
{
    struct pollfd input = { .fd = STDIN_FILENO, .events = POLLIN };
    char byte;
    return poll(&input, 1, 0) > 0 && (input.revents & POLLIN) != 0 &&
           read(STDIN_FILENO, &byte, 1) > 0;
}

/* A task: standard input, to its end. Only its own failure ends the session: when the peer takes no
 * more, what it has sent is still to be read. */
static int send_input(void *arg)
{
    struct session *s = arg;
    char buf[PIECE_BYTES];
    ssize_t n;
    while ((n = read_input(buf)) > 0) {
        s->send_rc = (int)send_piece(s, buf, (size_t)n);
        if (s->send_rc < 0)
            return 0;
    }
    if (n < 0 && n != -ECANCELED)
        return (int)n;
    if (n < 0) /* the peer has ended the session */
        s->send_rc = has_more_input() ? -EPIPE : 0;
    else
        s->send_rc = s->datagrams ? send_line(s) : pier_shutdown_write(s->conn);
    if (s->send_rc > 0)
        s->send_rc = 0;
    int64_t wait = s->datagrams && given.wait < 0 ? DATAGRAM_WAIT : given.wait;
    if (n == 0 && wait >= 0 && pier_sleep(wait) == 0)
        pier_scope_cancel(&s->scope);
    return 0;
}

static int receive_datagrams(struct session *s)
{
    static char buf[DATAGRAM_BYTES + 1];
    ssize_t n;
    while ((n = pier_read(s->conn, buf, DATAGRAM_BYTES)) > 0) {
        if (buf[n - 1] != '\n')
            buf[n++] = '\n';
        int rc = write_output(buf, (size_t)n);
        if (rc < 0)
            return rc;
    }
    return (int)n;
}

static int receive_output(struct session *s)
{
    if (s->datagrams)
        return receive_datagrams(s);
    char buf[PIECE_BYTES];
    ssize_t n;
    while ((n = pier_read(s->conn, buf, sizeof buf)) > 0) {
        int rc = write_output(buf, (size_t)n);
        if (rc < 0)
            return rc;
    }
    return (int)n;
}

/* ---- the verb ---- */

/* Until the peer ends the connection, or --wait is over. 0 or a negative code. */
static int relay(struct session *s)
{
    pier_scope_open(&s->scope, 0);
    pier_spawn(&s->scope, send_input, s);
    int received = receive_output(s);
    pier_scope_cancel(&s->scope);
    int rc = pier_scope_join(&s->scope);
    if (rc < 0 && rc != -ECANCELED)
        return rc; /* standard input could not be read */
    if (received < 0 && received != -ECANCELED)
        return received;
    if (s->send_rc < 0)
        return pier_error_set(s->send_rc, "send to %s", s->url);
    return 0;
}

static int run_connect(int count, char **operands)
{
    signal(SIGPIPE, SIG_IGN); /* an output that is closed is an error with a text */
    int tls_code;
    struct pier_dial_opts limits = {
        .read_timeout_ms = PIER_NO_TIMEOUT,
        .write_timeout_ms = PIER_NO_TIMEOUT,
        .tls = tls_options(&verb_connect, &tls_code),
    };
    if (tls_code != 0)
        return tls_code;
    if (given.capture && !(limits.capture = pier_capture_open(given.capture, NULL)))
        return pier_fail("pier");
    static struct session s;
    s.url = operands[0];
    s.conn = pier_dial(operands[0], &limits);
    s.datagrams = strncasecmp(operands[0], "udp://", 6) == 0;
    int code = s.conn == NULL || relay(&s) < 0 ? pier_fail("pier") : EXIT_OK;
    pier_close(s.conn);
    pier_capture_close(limits.capture); /* the log has said what ended it before */
    return code;
}

static const struct verb_option options[] = {
    { "crlf", OPTION_FLAG, &given.crlf, .help = "send each line end as CR LF" },
    { "wait", OPTION_DURATION, &given.wait, .value = "D",
      .help = "after the end of input, wait at most D for the rest (default: until it ends; "
              "udp: 1s)" },
    { "capture", OPTION_TEXT, &given.capture, .value = "FILE",
      .help = "write what is sent and received to FILE, for Wireshark, with the secrets of TLS" },
    TLS_CLIENT_OPTIONS,
    { 0 },
};

static const struct verb_example examples[] = {
    { "pier connect tcp://localhost:8888", "talk to a server; Ctrl-D ends the input" },
    { "echo hello | pier connect unix:///run/echo.sock", "send a line and print what comes back" },
    { "pier connect tls://example.com:443 --alpn http/1.1", "the same over TLS" },
    { "pier connect tls://example.com:443 --capture tls.pcapng", "record it for Wireshark" },
    { "printf 'GET / HTTP/1.0\\n\\n' | pier connect --crlf tcp://example.com:80",
      "speak a protocol whose lines end with CR LF" },
    { 0 },
};

const struct verb verb_connect = {
    .name = "connect",
    .summary = "connect standard input and output to a server",
    .operands = "URL",
    .min_operands = 1,
    .max_operands = 1,
    .options = options,
    .examples = examples,
    .run = run_connect,
};
