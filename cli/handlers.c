/* SPDX-License-Identifier: MIT */
/*
 * handlers.c - what `pier serve` can be: message, hello, receiver, echo, discard, time, --reply.
 *
 * Chat and --exec have files of their own. The texts are part of the interface, byte by byte: other
 * people's programs and lessons wait for them.
 */
#include "service.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Answers one message: 1 to go on, 0 when that was the last word, or a negative code. */
typedef int (*answer_fn)(struct talk *t);

/* Answers each message until there are no more. welcome: the first words, or NULL. */
static int converse(struct pier_conn *c, const struct service *service, const char *welcome,
                    answer_fn answer)
{
    struct talk talk;
    int rc = talk_init(&talk, c, service);
    if (rc == 0 && welcome != NULL)
        rc = talk_say(&talk, welcome);
    while (rc >= 0 && (rc = talk_next(&talk)) > 0) {
        rc = answer(&talk);
        if (rc == 0) {
            rc = SERVICE_CLOSED;
            break;
        }
    }
    talk_fini(&talk);
    return rc;
}

/* ---- message ---- */

static int answer_time(struct talk *t)
{
    char text[64];
    time_t now = time(NULL);
    struct tm local;
    localtime_r(&now, &local);
    strftime(text, sizeof text, "当前时间: %Y-%m-%d %H:%M:%S", &local);
    return talk_say(t, text);
}

static int answer_message(struct talk *t)
{
    if (talk_is_nocase(t, "time"))
        return answer_time(t);
    if (!talk_is_nocase(t, "exit"))
        return talk_answer(t, "已收到: ", "");
    int rc = talk_say(t, "再见!");
    return rc < 0 ? rc : 0;
}

int handle_message(struct pier_conn *c, const struct service *service)
{
    return converse(c, service, NULL, answer_message);
}

/* ---- hello ---- */

static int answer_hello(struct talk *t)
{
    return talk_is(t, "exit") ? 0 : talk_answer(t, "Hello, ", "!");
}

int handle_hello(struct pier_conn *c, const struct service *service)
{
    return converse(c, service, service->datagrams ? NULL : "Welcome!", answer_hello);
}

/* ---- receiver ---- */

/* A message is one line of output, whatever is in it: nobody can write a line in another's name. */
static int print_message(const struct talk *t)
{
    size_t len = talk_trimmed(t), cap = 4 * len + 8; /* \xNN */
    char *shown = malloc(cap);
    if (shown == NULL)
        return pier_error_set(-ENOMEM, "message of %s", pier_peer(t->conn));
    pier_escape(shown, cap, t->text, len);
    flockfile(stdout);
    printf("收到来自 %s 的消息: %s\n", pier_peer(t->conn), shown);
    int rc = fflush(stdout) == 0 ? 1 : pier_error_set(-errno, "write standard output");
    funlockfile(stdout);
    free(shown);
    return rc;
}

static int answer_receiver(struct talk *t)
{
    int rc = print_message(t);
    return rc > 0 && talk_is_nocase(t, "hello") ? talk_say(t, "Hello from UDP Receiver!") : rc;
}

int handle_receiver(struct pier_conn *c, const struct service *service)
{
    return converse(c, service, NULL, answer_receiver);
}

/* ---- --reply ---- */

static int answer_reply(struct talk *t)
{
    const struct reply_template *reply = &t->service->reply;
    struct iovec pieces[REPLY_PIECES];
    for (int i = 0; i < reply->count; i++) {
        bool is_message = reply->pieces[i].iov_base == NULL;
        pieces[i] = is_message ? (struct iovec){ t->text, t->len } : reply->pieces[i];
    }
    int rc = talk_write(t, pieces, reply->count);
    return rc > 0 && t->service->once ? 0 : rc;
}

int handle_reply(struct pier_conn *c, const struct service *service)
{
    return converse(c, service, NULL, answer_reply);
}

int reply_parse(struct reply_template *reply, const char *text)
{
    for (reply->count = 0; *text != '\0'; reply->count++) {
        if (reply->count == REPLY_PIECES)
            return -E2BIG;
        struct iovec *piece = &reply->pieces[reply->count];
        if (*text != '%') {
            *piece = (struct iovec){ (char *)text, strcspn(text, "%") };
            text += piece->iov_len;
            continue;
        }
        if (text[1] != 'm' && text[1] != '%')
            return -EINVAL;
        *piece = text[1] == 'm' ? (struct iovec){ 0 } : (struct iovec){ "%", 1 };
        text += 2;
    }
    return 0;
}

/* ---- echo and discard ---- */

/* Most connections are small and idle: a buffer that shares the stack's one page with the frames
 * around it. A read that fills it is the beginning of bulk, which gets the heap and large reads. */
enum { SMALL_READ = 2048 };

/* For datagrams: what does not fit into the buffer would be lost. */
static int stream_datagrams(struct pier_conn *c, bool echo)
{
    char *buf = malloc(MESSAGE_BYTES);
    ssize_t n = buf != NULL ? 1 : pier_error_set(-ENOMEM, "datagrams of %s", pier_peer(c));
    while (n > 0 && (n = pier_read(c, buf, MESSAGE_BYTES)) > 0) {
        trace_message(c, buf, (size_t)n);
        if (echo)
            n = pier_write(c, buf, (size_t)n);
    }
    free(buf);
    return (int)n;
}

static int stream(struct pier_conn *c, bool echo)
{
    char small[SMALL_READ], *bulk = NULL, *buf = small;
    size_t cap = sizeof small;
    ssize_t n;
    while ((n = pier_read(c, buf, cap)) > 0) {
        trace_message(c, buf, (size_t)n);
        if (echo && (n = pier_write(c, buf, (size_t)n)) < 0)
            break;
        if (n == SMALL_READ && bulk == NULL && (bulk = malloc(MESSAGE_BYTES)) != NULL) {
            buf = bulk;
            cap = MESSAGE_BYTES;
        }
    }
    free(bulk);
    return (int)n;
}

int handle_echo(struct pier_conn *c, const struct service *service)
{
    return service->datagrams ? stream_datagrams(c, true) : stream(c, true);
}

int handle_discard(struct pier_conn *c, const struct service *service)
{
    return service->datagrams ? stream_datagrams(c, false) : stream(c, false);
}

/* ---- time ---- */

int handle_time(struct pier_conn *c, const struct service *service)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    char line[64];
    size_t len = pier_date_rfc3339(line, sizeof line, now.tv_sec * PIER_SECOND + now.tv_nsec,
                                   false);
    line[len++] = '\n';
    ssize_t n = pier_write(c, line, len);
    return n < 0 ? (int)n : SERVICE_CLOSED;
}
