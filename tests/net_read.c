/* SPDX-License-Identifier: MIT */
/* backends: epoll io_uring */
/* net_read: the forms of reading, however the bytes arrive. */
#include "both.h"

/* ---- every form in every split ---- */

/* A peer that sends its parts one by one, each after the one before has been read, then the end. */
struct feed {
    const char *bytes;
    size_t len, first; /* the first part's length; 0: every byte is a part */
};

static void feed(int fd, void *arg)
{
    const struct feed *f = arg;
    size_t part = f->first ? f->first : 1;
    for (size_t at = 0; at < f->len; at += part, part = f->first ? f->len - at : 1) {
        send_all(fd, f->bytes + at, part < f->len - at ? part : f->len - at);
        await_taken(fd);
    }
    shutdown(fd, SHUT_WR);
}

static void in_every_split(const char *bytes, size_t len, void (*check)(struct pier_conn *c))
{
    for (int kind = UNIX; kind <= TCP; kind++) {
        for (size_t first = 0; first <= len; first++) {
            struct feed f = { bytes, len, first };
            struct peer p;
            struct pier_conn *c = dial_peer(&p, (enum kind)kind, feed, &f);
            check(c);
            end_peer(&p);
            pier_close(c);
        }
    }
}

#define IN_EVERY_SPLIT(text, check) in_every_split(text, sizeof text - 1, check)

static void expect_line(struct pier_conn *c, size_t cap, const char *expected)
{
    char line[64];
    ck_assert_int_eq(pier_read_line(c, line, cap), strlen(expected));
    ck_assert_str_eq(line, expected);
}

static void expect_bytes(struct pier_conn *c, const char *expected)
{
    char bytes[64];
    ck_assert_int_eq(pier_read_exact(c, bytes, strlen(expected)), strlen(expected));
    ck_assert_int_eq(memcmp(bytes, expected, strlen(expected)), 0);
}

static void expect_until(struct pier_conn *c, const char *delim, const char *expected)
{
    char bytes[64];
    ssize_t n = pier_read_until(c, bytes, sizeof bytes, delim, strlen(delim));
    ck_assert_int_eq(n, strlen(expected));
    ck_assert_int_eq(memcmp(bytes, expected, strlen(expected)), 0);
}

static void check_lines(struct pier_conn *c)
{
    char line[64];
    static const char *const expected[] = { "one", "two", "", "", "a\rb", "\r", "last" };
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++)
        expect_line(c, sizeof line, expected[i]);
    ck_assert_int_eq(pier_read_line(c, line, sizeof line), -ENODATA);
    ck_assert_str_eq(line, "");
    ck_assert_int_eq(pier_read_line(c, line, sizeof line), -ENODATA);
}

BOTH(read_line_in_every_split)
{
    IN_EVERY_SPLIT("one\r\ntwo\n\r\n\na\rb\n\r\r\nlast", check_lines);
}

static void check_last_line_ended(struct pier_conn *c)
{
    char line[64];
    expect_line(c, sizeof line, "x");
    ck_assert_int_eq(pier_read_line(c, line, sizeof line), -ENODATA);
    ck_assert_str_eq(pier_error() + strlen(pier_error()) - 14, ": end of input");
}

BOTH(read_line_ends_where_the_last_line_ends)
{
    IN_EVERY_SPLIT("x\n", check_last_line_ended);
}

/* Lines of all lengths around the room for them. */
static void check_line_limits(struct pier_conn *c)
{
    char line[64];
    expect_line(c, 8, "1234567");
    expect_line(c, 8, "1234567");
    for (int i = 0; i < 2; i++) { /* it stays unread */
        ck_assert_int_eq(pier_read_line(c, line, 8), -EMSGSIZE);
        ck_assert_str_eq(line, "");
    }
    expect_line(c, 9, "12345678");
    ck_assert_int_eq(pier_read_line(c, line, 8), -EMSGSIZE);
    expect_line(c, 64, "12345678");
    ck_assert_int_eq(pier_read_line(c, line, 1), -EMSGSIZE);
    expect_bytes(c, "1234");
    expect_line(c, 8, "5");
    expect_line(c, 1, "");
    ck_assert_int_eq(pier_read_line(c, line, 8), -EMSGSIZE); /* the last one, too */
    expect_line(c, 9, "12345678");
    ck_assert_int_eq(pier_read_line(c, line, 0), -EINVAL);
}

BOTH(read_line_limits_in_every_split)
{
    IN_EVERY_SPLIT("1234567\n1234567\r\n12345678\n12345678\r\n12345\n\n12345678",
                   check_line_limits);
}

static void check_exact(struct pier_conn *c)
{
    char bytes[16];
    expect_bytes(c, "abc");
    expect_bytes(c, "d");
    ck_assert_int_eq(pier_read_exact(c, bytes, 0), 0);
    expect_bytes(c, "efghijklmnop");
    ck_assert_int_eq(pier_read_exact(c, bytes, 3), -EPIPE);
    ck_assert_int_eq(pier_error_code(), -EPIPE);
    expect_bytes(c, "qr"); /* not lost */
    ck_assert_int_eq(pier_read_exact(c, bytes, 3), 0);
    ck_assert_int_eq(pier_read_exact(c, bytes, 3), 0);
}

BOTH(read_exact_in_every_split)
{
    IN_EVERY_SPLIT("abcdefghijklmnopqr", check_exact);
}

static void check_until(struct pier_conn *c)
{
    char bytes[16];
    expect_until(c, "\r\n\r\n", "a\r\n\rb\r\n\r\n");
    expect_until(c, "\r\n\r\n", "\r\r\n\r\n");
    expect_until(c, "x", "x");
    ck_assert_int_eq(pier_read_until(c, bytes, 16, "x", 1), -EPIPE);
    expect_bytes(c, "tail");
    ck_assert_int_eq(pier_read_until(c, bytes, 16, "x", 1), 0);
}

BOTH(read_until_in_every_split)
{
    IN_EVERY_SPLIT("a\r\n\rb\r\n\r\n\r\r\n\r\nxtail", check_until);
}

static void check_until_limits(struct pier_conn *c)
{
    char bytes[16];
    ck_assert_int_eq(pier_read_until(c, bytes, 5, "--", 2), 5);
    ck_assert_int_eq(memcmp(bytes, "abc--", 5), 0);
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(pier_read_until(c, bytes, 5, "--", 2), -EMSGSIZE);
    ck_assert_int_eq(pier_read_until(c, bytes, 6, "--", 2), 6);
    ck_assert_int_eq(memcmp(bytes, "defg--", 6), 0);
    ck_assert_int_eq(pier_read_until(c, bytes, 16, "--", 0), -EINVAL);
    ck_assert_int_eq(pier_read_until(c, bytes, 1, "--", 2), -EINVAL);
    expect_bytes(c, "h");
}

BOTH(read_until_limits_in_every_split)
{
    IN_EVERY_SPLIT("abc--defg--h", check_until_limits);
}

/* The forms follow one another in one stream. */
static void check_mix(struct pier_conn *c)
{
    char text[16];
    expect_line(c, 16, "l1");
    expect_bytes(c, "xy");
    expect_until(c, ";", "u;");
    expect_line(c, 16, "l2");
    ssize_t n = pier_read(c, text, 2);
    ck_assert(n == 1 || n == 2);
    ck_assert_int_eq(memcmp(text, "rs", (size_t)n), 0);
    if (n == 1)
        expect_bytes(c, "s");
    for (size_t got = 0; got < 4; got += (size_t)n) {
        n = pier_read_text(c, text + got, sizeof text - got);
        ck_assert_int_gt(n, 0);
    }
    ck_assert_str_eq(text, "text");
    int64_t bytes_read;
    ck_assert_int_eq(pier_read_text(c, text, sizeof text), 0);
    pier_conn_bytes(c, &bytes_read, NULL);
    ck_assert_int_eq(bytes_read, 17);
}

BOTH(read_forms_mix_in_every_split)
{
    IN_EVERY_SPLIT("l1\nxyu;l2\r\nrstext", check_mix);
}

/* The delimiter has come already, with what a longer read fetched, but behind the room for it. */
BOTH(read_until_counts_what_was_read_ahead)
{
    int other;
    char bytes[16] = "";
    struct pier_conn *c = conn_and_fd(UNIX, &other);
    send_all(other, "x\nabcdefgh--", 12);
    expect_line(c, 64, "x");
    ck_assert_int_eq(pier_read_until(c, bytes, 9, "--", 2), -EMSGSIZE);
    ck_assert_str_eq(bytes, "");
    expect_until(c, "--", "abcdefgh--");
    pier_close(c);
    close(other);
}

BOTH(read_long_lines_grow_the_look_ahead)
{
    enum { LEN = 300000 };
    char *sent = malloc(2 * LEN), *line = malloc(LEN + 2);
    memset(sent, 'x', 2 * LEN);
    sent[LEN] = '\n';
    sent[2 * LEN - 1] = '\n';
    struct feed f = { sent, 2 * LEN, 2 * LEN };
    struct peer p;
    struct pier_conn *c = dial_peer(&p, TCP, feed, &f);
    ck_assert_int_eq(pier_read_line(c, line, LEN), -EMSGSIZE);
    ck_assert_int_eq(pier_read_line(c, line, LEN + 1), LEN);
    ck_assert_int_eq(memcmp(line, sent, LEN), 0);
    ck_assert_int_eq(pier_read_line(c, line, LEN + 1), LEN - 2);
    ck_assert_int_eq(pier_read_line(c, line, LEN + 1), -ENODATA);
    end_peer(&p);
    pier_close(c);
    free(sent);
    free(line);
}

/* ---- text ---- */

#define MIXED          \
    "a\xc3\xa9"        \
    "\xe4\xbd\xa0"     \
    "\xf0\x9f\x98\x80" \
    "b" /* 1 to 4 bytes a character */

static void check_text(struct pier_conn *c)
{
    char all[32] = "", text[16];
    ssize_t n = 1;
    while (n > 0) {
        int64_t begin = pier_now();
        n = pier_read_text(c, text, sizeof text);
        ck_assert_int_ge(n, 0);
        ck_assert_uint_eq(strlen(text), (size_t)n);
        /* Only a peer that was kept from running for so long may have had its character cut. */
        ck_assert(pier_utf8_valid(text, (size_t)n) || ms_since(begin) >= 100);
        strcat(all, text);
    }
    ck_assert_str_eq(all, MIXED);
}

BOTH(read_text_keeps_characters_whole_in_every_split)
{
    IN_EVERY_SPLIT(MIXED, check_text);
}

/* The smallest buffer: three characters of two bytes fit, and half of the fourth. */
BOTH(read_text_cut_by_its_room_waits_for_the_next_read)
{
    int other;
    char text[8];
    struct pier_conn *c = conn_and_fd(UNIX, &other);
    send_all(other, "\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9z", 9);
    ck_assert_int_eq(pier_read_text(c, text, sizeof text), 6);
    ck_assert_int_eq(pier_read_text(c, text, sizeof text), 3);
    ck_assert_str_eq(text, "\xc3\xa9z");
    ck_assert_int_eq(pier_read_text(c, text, 7), -EINVAL);
    ck_assert_str_eq(text, "");
    pier_close(c);
    close(other);
}

/* The same with bytes that an earlier read has fetched: the half goes back before the rest. */
BOTH(read_text_cut_by_its_room_in_what_was_read_ahead)
{
    int other;
    char text[8];
    struct pier_conn *c = conn_and_fd(UNIX, &other);
    send_all(other, "x\n\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9z", 11);
    expect_line(c, 64, "x");
    ck_assert_int_eq(pier_read_text(c, text, sizeof text), 6);
    ck_assert_str_eq(text, "\xc3\xa9\xc3\xa9\xc3\xa9");
    ck_assert_int_eq(pier_read_text(c, text, sizeof text), 3);
    ck_assert_str_eq(text, "\xc3\xa9z");
    pier_close(c);
    close(other);
}

BOTH(read_text_passes_what_is_whole_on_at_once)
{
    int other;
    char text[16];
    struct pier_conn *c = conn_and_fd(UNIX, &other);
    int64_t begin = pier_now();
    send_all(other, "\xe4\xbd\xa0\xe5\xa5", 5);
    ck_assert_int_eq(pier_read_text(c, text, sizeof text), 3);
    ck_assert_str_eq(text, "\xe4\xbd\xa0");
    ck_assert_int_lt(ms_since(begin), 150);
    send_all(other, "\xbd!", 2);
    ck_assert_int_eq(pier_read_text(c, text, sizeof text), 4);
    ck_assert_str_eq(text, "\xe5\xa5\xbd!");
    pier_close(c);
    close(other);
}

BOTH(read_text_holds_cut_bytes_for_200_ms)
{
    int other;
    char text[16];
    struct pier_conn *c = conn_and_fd(UNIX, &other);
    int64_t begin = pier_now();
    send_all(other, "\xe4\xbd", 2);
    ck_assert_int_eq(pier_read_text(c, text, sizeof text), 2);
    ck_assert_str_eq(text, "\xe4\xbd");
    ck_assert_int_ge(ms_since(begin), 200);
    ck_assert_int_lt(ms_since(begin), 2000);
    send_all(other, "\xa0", 1); /* too late: it is nobody's */
    begin = pier_now();
    ck_assert_int_eq(pier_read_text(c, text, sizeof text), 1);
    ck_assert_str_eq(text, "\xa0");
    ck_assert_int_lt(ms_since(begin), 150);
    pier_close(c);
    close(other);
}

static void trickle(int fd, void *unused)
{
    send_all(fd, "\xf0", 1);
    await_taken(fd);
    poll(NULL, 0, 180);
    send_all(fd, "\x9f", 1);
    await_taken(fd);
    poll(NULL, 0, 600);
    send_all(fd, "\x98\x80", 2);
}

/* 200 ms in all, not after each byte. */
BOTH(read_text_does_not_hold_longer_for_more_bytes)
{
    test_not_on_valgrind("it is a matter of milliseconds");
    struct peer p;
    char text[16];
    int64_t begin = pier_now();
    struct pier_conn *c = dial_peer(&p, UNIX, trickle, NULL);
    ck_assert_int_eq(pier_read_text(c, text, sizeof text), 2);
    ck_assert_str_eq(text, "\xf0\x9f");
    ck_assert_int_ge(ms_since(begin), 200);
    ck_assert_int_lt(ms_since(begin), 375);
    end_peer(&p);
    pier_close(c);
}

BOTH(read_text_holds_nothing_that_cannot_be_completed)
{
    int other;
    char text[16];
    struct pier_conn *c = conn_and_fd(UNIX, &other);
    int64_t begin = pier_now();
    static const char *const whole[] = { "\xff", "\x80", "a\xc0", "\344A", "\xf8\x88", "\xed\xa0" };
    for (size_t i = 0; i < sizeof whole / sizeof whole[0]; i++) {
        send_all(other, whole[i], strlen(whole[i]));
        ck_assert_int_eq(pier_read_text(c, text, sizeof text), strlen(whole[i]));
        ck_assert_str_eq(text, whole[i]);
    }
    ck_assert_int_lt(ms_since(begin), 190);
    pier_close(c);
    close(other);
}

BOTH(read_text_passes_cut_bytes_on_at_the_end)
{
    int other;
    char text[16];
    struct pier_conn *c = conn_and_fd(UNIX, &other);
    int64_t begin = pier_now();
    send_all(other, "x\xe4\xbd", 3);
    ck_assert_int_eq(pier_read_text(c, text, sizeof text), 1);
    close(other);
    ck_assert_int_eq(pier_read_text(c, text, sizeof text), 2);
    ck_assert_str_eq(text, "\xe4\xbd");
    ck_assert_int_eq(pier_read_text(c, text, sizeof text), 0);
    ck_assert_str_eq(text, "");
    ck_assert_int_lt(ms_since(begin), 150);
    pier_close(c);
}

/* The 200 ms count from when the bytes were held, but what has come since is looked at first. */
BOTH(read_text_after_a_pause_finds_the_rest)
{
    int other;
    char text[16];
    struct pier_conn *c = conn_and_fd(TCP, &other);
    send_all(other, "x\xe4\xbd", 3);
    ck_assert_int_eq(pier_read_text(c, text, sizeof text), 1);
    send_all(other, "\xa0y", 2);
    poll(NULL, 0, 230);
    ck_assert_int_eq(pier_read_text(c, text, sizeof text), 4);
    ck_assert_str_eq(text, "\xe4\xbd\xa0y");
    send_all(other, "z\xe4\xbd", 3);
    ck_assert_int_eq(pier_read_text(c, text, sizeof text), 1);
    poll(NULL, 0, 230);
    int64_t begin = pier_now();
    ck_assert_int_eq(pier_read_text(c, text, sizeof text), 2);
    ck_assert_int_lt(ms_since(begin), 150);
    pier_close(c);
    close(other);
}

BOTH(read_of_other_forms_waits_for_no_character)
{
    int other;
    char text[16];
    struct pier_conn *c = conn_and_fd(UNIX, &other);
    int64_t begin = pier_now();
    for (int form = 0; form < 2; form++) {
        send_all(other, "x\xe4\xbd", 3);
        ck_assert_int_eq(pier_read_text(c, text, sizeof text), 1);
        ck_assert_int_eq(form ? pier_read_exact(c, text, 2) : pier_read(c, text, 16), 2);
        ck_assert_int_eq(memcmp(text, "\xe4\xbd", 2), 0);
    }
    ck_assert_int_lt(ms_since(begin), 190);
    pier_close(c);
    close(other);
}

/* A cancellation while bytes are held loses none of them. */
BOTH(read_text_cancelled_keeps_held_bytes)
{
    int other;
    char text[16];
    struct pier_scope scope;
    struct pier_conn *c = conn_and_fd(UNIX, &other);
    send_all(other, "\xe4\xbd", 2);
    pier_scope_open(&scope, pier_after(20 * PIER_MILLISECOND));
    ck_assert_int_eq(pier_read_text(c, text, sizeof text), -ETIMEDOUT);
    ck_assert_str_eq(text, "");
    pier_scope_join(&scope);
    send_all(other, "\xa0", 1);
    ck_assert_int_eq(pier_read_text(c, text, sizeof text), 3);
    ck_assert_str_eq(text, "\xe4\xbd\xa0");
    pier_close(c);
    close(other);
}

/* ---- a deadline in the middle ---- */

typedef void (*form_fn)(struct pier_conn *c, ssize_t *result, char *out, size_t cap);

static void exact_form(struct pier_conn *c, ssize_t *result, char *out, size_t cap)
{
    *result = pier_read_exact(c, out, 12);
}

static void line_form(struct pier_conn *c, ssize_t *result, char *out, size_t cap)
{
    *result = pier_read_line(c, out, cap);
}

static void until_form(struct pier_conn *c, ssize_t *result, char *out, size_t cap)
{
    *result = pier_read_until(c, out, cap, "\r\n", 2);
}

static void read_with_deadlines(form_fn form, bool own_time_out)
{
    static const char input[] = "0123456789\r\n";
    for (size_t split = 0; split < 12; split++) {
        int other;
        ssize_t n;
        char out[32] = "";
        struct pier_scope scope;
        struct pier_conn *c = conn_and_fd(TCP, &other);
        if (own_time_out)
            pier_set_timeouts(c, 3, 0);
        send_all(other, input, split);
        for (int i = 0; i < 2; i++) {
            pier_scope_open(&scope, own_time_out ? 0 : pier_after(3 * PIER_MILLISECOND));
            form(c, &n, out, sizeof out);
            pier_scope_join(&scope);
            ck_assert_int_eq(n, -ETIMEDOUT);
        }
        pier_set_timeouts(c, PIER_NO_TIMEOUT, 0);
        send_all(other, input + split, 12 - split);
        send_all(other, "rest", 4);
        form(c, &n, out, sizeof out);
        ck_assert_int_eq(n, form == line_form ? 10 : 12);
        ck_assert_int_eq(memcmp(out, input, 10), 0);
        ck_assert_int_eq(pier_read_exact(c, out, 4), 4);
        ck_assert_int_eq(memcmp(out, "rest", 4), 0);
        pier_close(c);
        close(other);
    }
}

BOTH(read_loses_no_byte_to_a_deadline)
{
    read_with_deadlines(exact_form, false);
    read_with_deadlines(line_form, false);
    read_with_deadlines(until_form, false);
}

BOTH(read_loses_no_byte_to_a_time_out)
{
    read_with_deadlines(exact_form, true);
    read_with_deadlines(line_form, true);
    read_with_deadlines(until_form, true);
}

/* ---- several at once, want, bad use ---- */

static int read_line_task(void *arg)
{
    struct pier_conn *c = arg;
    expect_line(c, 64, "first");
    return 0;
}

/* Not even the part of a line that has come already is for a second reader. */
BOTH(read_by_a_second_task_is_busy_in_every_form)
{
    int other;
    char buf[16];
    struct pier_scope scope;
    struct pier_conn *c = conn_and_fd(UNIX, &other);
    send_all(other, "fir", 3);
    pier_scope_open(&scope, 0);
    ck_assert_int_eq(pier_spawn(&scope, read_line_task, c), 0);
    pier_yield();
    ck_assert_int_eq(pier_read(c, buf, 16), -EBUSY);
    ck_assert_int_eq(pier_read_text(c, buf, 16), -EBUSY);
    ck_assert_int_eq(pier_read_exact(c, buf, 1), -EBUSY);
    ck_assert_int_eq(pier_read_line(c, buf, 16), -EBUSY);
    ck_assert_int_eq(pier_read_until(c, buf, 16, "x", 1), -EBUSY);
    send_all(other, "st\n", 3);
    ck_assert_int_eq(pier_scope_join(&scope), 0);
    pier_close(c);
    close(other);
}

long pi_alloc_fail(long countdown);

BOTH(read_line_without_memory_loses_nothing)
{
    int other;
    char line[64];
    struct pier_conn *c = conn_and_fd(UNIX, &other);
    send_all(other, "a line that needs room\n", 23);
    pi_alloc_fail(1);
    ck_assert_int_eq(pier_read_line(c, line, sizeof line), -ENOMEM);
    pi_alloc_fail(0);
    expect_line(c, sizeof line, "a line that needs room");
    pier_close(c);
    close(other);
}

/* What cannot be put back is a hole in the stream, and no later read passes over it. */
BOTH(read_exact_without_memory_says_so_for_ever)
{
    int other;
    char bytes[64];
    struct pier_conn *c = conn_and_fd(UNIX, &other);
    send_all(other, "more than eight bytes", 21);
    pi_alloc_fail(1);
    ck_assert_int_eq(pier_read_exact(c, bytes, 64), -ENOMEM);
    pi_alloc_fail(0);
    ck_assert_int_eq(pier_read_exact(c, bytes, 1), -ENOMEM);
    ck_assert_int_eq(pier_read(c, bytes, 1), -ENOMEM);
    pier_close(c);
    close(other);
}

HARNESS_MAIN("net_read")
