/* SPDX-License-Identifier: MIT */
/*
 * send.c - `pier send`: messages to a server, one after the other, and its reply to each.
 *
 * A reply is one read, as a message is one write. It is printed as it came, on a line of its own.
 * Broadcast has no connection: whoever replies first is printed, and nobody need.
 */
#include "tls_options.h"
#include "verb.h"

#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* The longest reply that is one read. */
enum { REPLY_BYTES = 65536 };

static struct {
    bool greeting, no_reply, broadcast;
    int64_t timeout;
    const char *capture;
} given = { .timeout = 5 * PIER_SECOND };

static int print_text(const char *reply, size_t len)
{
    fwrite(reply, 1, len, stdout);
    if (reply[len - 1] != '\n')
        putchar('\n');
    if (fflush(stdout) != 0)
        return pier_error_set(-errno, "write standard output");
    return 1;
}

/* One read, printed. 1; 0 when the peer has closed; a negative code. */
static int print_reply(struct pier_conn *c)
{
    static char reply[REPLY_BYTES + 1];
    ssize_t n = pier_read_text(c, reply, sizeof reply);
    if (n <= 0)
        return (int)n;
    return print_text(reply, (size_t)n);
}

/* Sends the message, if any, and prints the reply, all within --timeout. As print_reply(). */
static int exchange(struct pier_conn *c, const char *message)
{
    PIER_SCOPE(limit, pier_after(given.timeout));
    if (message != NULL) {
        ssize_t n = pier_puts(c, message);
        if (n < 0)
            return (int)n;
    }
    return given.no_reply ? 1 : print_reply(c);
}

/* Returns the exit code. */
static int converse(struct pier_conn *c, const char *url, int count, char **messages)
{
    int rc = given.greeting ? exchange(c, NULL) : 1;
    int sent = 0;
    while (rc > 0 && sent < count)
        rc = exchange(c, messages[sent++]);
    if (rc < 0)
        return pier_fail("pier");
    if (rc > 0 || (sent == count && sent > 0)) /* a peer may leave the last word to us */
        return EXIT_OK;
    fprintf(stderr, "pier: %s: closed without a reply\n", url);
    return EXIT_FAILED;
}

/* ---- broadcast ---- */

/* The first reply within --timeout, printed; that there is none is no failure. */
static int print_any_reply(struct pier_udp *u)
{
    static char reply[REPLY_BYTES];
    struct pier_datagram d = { .bytes = reply, .cap = sizeof reply };
    int rc = pier_udp_recv(u, &d, 1, pier_after(given.timeout));
    if (rc < 0)
        return rc == -ETIMEDOUT ? 1 : rc;
    return d.len > 0 ? print_text(reply, d.len) : 1;
}

/* Returns the exit code. A connected socket would take no reply but from the address of everybody,
 * which nobody has: so the address goes with each datagram. */
static int broadcast(const char *url, int count, char **messages)
{
    struct pier_udp *u = pier_udp_open(NULL, &(struct pier_udp_opts){ .broadcast = true });
    struct pier_addr everybody;
    int rc = u != NULL ? pier_addr_parse(&everybody, url + strlen("udp://")) : -1;
    for (int i = 0; i < count && rc >= 0; i++) {
        struct pier_datagram d = { .bytes = messages[i],
                                   .len = strlen(messages[i]),
                                   .peer = everybody };
        rc = pier_udp_send(u, &d, 1);
        if (rc > 0 && !given.no_reply)
            rc = print_any_reply(u);
    }
    int code = rc < 0 ? pier_fail("pier") : EXIT_OK;
    pier_udp_close(u);
    return code;
}

static int run_send(int count, char **operands)
{
    if (count == 1 && !given.greeting)
        return usage_error(&verb_send, "send needs a MESSAGE, or --greeting");
    signal(SIGPIPE, SIG_IGN); /* an output that is closed is an error with a text */
    const char *url = operands[0];
    bool is_udp = strncasecmp(url, "udp://", 6) == 0;
    if ((given.no_reply || given.broadcast) && !is_udp)
        return usage_error(&verb_send, "--%s is for datagrams (udp://)",
                           given.no_reply ? "no-reply" : "broadcast");
    if (given.broadcast && given.capture)
        return usage_error(&verb_send, "--capture is not for --broadcast");
    if (given.broadcast)
        return broadcast(url, count - 1, operands + 1);
    int tls_code;
    tls_given.handshake_timeout_ms = duration_ms(given.timeout);
    struct pier_dial_opts limits = { .connect_timeout_ms = duration_ms(given.timeout),
                                     .tls = tls_options(&verb_send, &tls_code) };
    if (tls_code != 0)
        return tls_code;
    if (given.capture && !(limits.capture = pier_capture_open(given.capture, NULL)))
        return pier_fail("pier");
    struct pier_conn *c = pier_dial(url, &limits);
    int code = c ? converse(c, url, count - 1, operands + 1) : pier_fail("pier");
    pier_close(c);
    pier_capture_close(limits.capture); /* the log has said what ended it before */
    return code;
}

static const struct verb_option options[] = {
    { "greeting", OPTION_FLAG, &given.greeting,
      .help = "first print what the server says by itself" },
    { "no-reply", OPTION_FLAG, &given.no_reply, .help = "udp: do not wait for replies" },
    { "broadcast", OPTION_FLAG, &given.broadcast,
      .help = "udp: permit a broadcast address; that nobody replies in time is no failure" },
    { "timeout", OPTION_DURATION, &given.timeout, .value = "D", .min = PIER_MILLISECOND,
      .help = "the longest wait for the connection, and for each reply (default 5s)" },
    { "capture", OPTION_TEXT, &given.capture, .value = "FILE",
      .help = "write what is sent and received to FILE, for Wireshark, with the secrets of TLS" },
    TLS_CLIENT_OPTIONS,
    { 0 },
};

static const struct verb_example examples[] = {
    { "pier send tcp://localhost:8888 hello time exit", "three messages, three replies" },
    { "pier send udp://localhost:9999 hello", "one datagram, one reply" },
    { "pier send --broadcast udp://255.255.255.255:9999 hello", "who is there?" },
    { "pier send --greeting tcp://localhost:9999 Michael exit", "read the welcome first" },
    { 0 },
};

const struct verb verb_send = {
    .name = "send",
    .summary = "send messages to a server and print its replies",
    .operands = "URL [MESSAGE...]",
    .min_operands = 1,
    .max_operands = -1,
    .options = options,
    .examples = examples,
    .run = run_send,
};
