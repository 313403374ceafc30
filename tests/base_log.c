/* SPDX-License-Identifier: MIT */
/*
 * base_log: who gets a record, what the sinks make of it, and that no stream can do harm.
 *
 * Time is fixed through pi_sys. A SOCK_SEQPACKET socket as the stream tells one write from two.
 */
#include "harness.h"

#include "base/log.h"
#include "base/sys.h"

#include <pier/text.h>

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- what the tests share ---- */

static int64_t fixed_unix_ns(void)
{
    return 1795166551 * PIER_SECOND + 123 * PIER_MILLISECOND;
}

static const struct pi_sys fixed_time = { .unix_ns = fixed_unix_ns };

#define TIME "2026-11-20T09:22:31.123Z"

/* Passes one record to a sink and returns what it wrote, without the newline that has to be there.
 */
static const char *line_of(pier_log_fn sink, enum pier_log_level level, const char *msg,
                           const struct pier_log_field *fields, size_t count)
{
    static char line[PI_LOG_LINE_MAX + 1];
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    pi_sys = &fixed_time;
    sink(out, level, msg, fields, count);
    fclose(out);
    ck_assert_uint_ge(len, 1);
    ck_assert_uint_le(len, PI_LOG_LINE_MAX);
    ck_assert_int_eq(text[len - 1], '\n');
    memcpy(line, text, len - 1);
    line[len - 1] = '\0';
    ck_assert_ptr_null(strchr(line, '\n'));
    free(text);
    return line;
}

#define LINE(sink, level, msg, ...)                                     \
    line_of(sink, level, msg, (struct pier_log_field[]){ __VA_ARGS__ }, \
            sizeof((struct pier_log_field[]){ __VA_ARGS__ }) / sizeof(struct pier_log_field))

/* A sink that keeps the last record. */
static struct {
    int calls;
    void *ctx;
    enum pier_log_level level;
    char msg[64];
    struct pier_log_field fields[4];
    size_t count;
} kept;

static void keep(void *ctx, enum pier_log_level level, const char *msg,
                 const struct pier_log_field *fields, size_t count)
{
    kept.calls++;
    kept.ctx = ctx;
    kept.level = level;
    snprintf(kept.msg, sizeof kept.msg, "%s", msg);
    ck_assert_uint_le(count, 4);
    if (count > 0)
        memcpy(kept.fields, fields, count * sizeof *fields);
    kept.count = count;
    errno = EBADF;
}

/* ---- records ---- */

TEST(log_passes_a_record_on_as_it_is)
{
    int ctx;
    pier_log_set(keep, &ctx);
    pier_log(PIER_LOG_WARN, "hello", pier_str("a", "text"), pier_str("b", NULL),
             pier_bytes("c", "x\0y", 3), pier_int("d", -5));
    ck_assert_int_eq(kept.calls, 1);
    ck_assert_ptr_eq(kept.ctx, &ctx);
    ck_assert_int_eq(kept.level, PIER_LOG_WARN);
    ck_assert_str_eq(kept.msg, "hello");
    ck_assert_uint_eq(kept.count, 4);
    ck_assert_str_eq(kept.fields[0].str, "text");
    ck_assert_uint_eq(kept.fields[0].len, 4);
    ck_assert_uint_eq(kept.fields[1].len, 0);
    ck_assert_uint_eq(kept.fields[2].len, 3);
    ck_assert_int_eq(kept.fields[3].kind, PIER_LOG_INT);
    ck_assert_int_eq(kept.fields[3].num, -5);
}

static int evaluated;

static struct pier_log_field costly(void)
{
    evaluated++;
    return pier_int("costly", 1);
}

TEST(log_drops_what_is_above_the_level_unevaluated)
{
    pier_log_set(keep, NULL);
    ck_assert(pier_log_enabled(PIER_LOG_INFO));
    ck_assert(!pier_log_enabled(PIER_LOG_DEBUG));
    pier_log(PIER_LOG_DEBUG, "x", costly());
    pier_log_record(PIER_LOG_DEBUG, "x", NULL, 0);
    ck_assert_int_eq(evaluated, 0);
    ck_assert_int_eq(kept.calls, 0);

    pier_log_set_level(PIER_LOG_DEBUG);
    pier_log(PIER_LOG_DEBUG, "x", costly());
    ck_assert_int_eq(evaluated, 1);
    ck_assert_int_eq(kept.calls, 1);

    pier_log_set_level(PIER_LOG_ERROR);
    ck_assert(!pier_log_enabled(PIER_LOG_WARN));
    pier_log_record(PIER_LOG_ERROR, "x", NULL, 0);
    ck_assert_int_eq(kept.calls, 2);
}

TEST(log_leaves_errno_alone)
{
    pier_log_set(keep, NULL);
    errno = EAGAIN;
    pier_log_record(PIER_LOG_INFO, "x", NULL, 0);
    ck_assert_int_eq(errno, EAGAIN);
}

/* Standard error becomes one end of a pair; returns the other one. */
static int capture_stderr(int type)
{
    int ends[2];
    ck_assert_int_eq(socketpair(AF_UNIX, type, 0, ends), 0);
    dup2(ends[1], STDERR_FILENO);
    close(ends[1]);
    return ends[0];
}

TEST(log_null_is_the_human_sink_on_standard_error)
{
    char line[256] = "";
    int other = capture_stderr(SOCK_SEQPACKET);
    pi_sys = &fixed_time;
    pier_log_set(keep, &kept);
    pier_log_set(NULL, &kept);
    pier_log(PIER_LOG_INFO, "x", pier_int("n", 1));
    ck_assert_int_gt((int)recv(other, line, sizeof line - 1, 0), 0);
    ck_assert_str_eq(line, TIME " info x n=1\n");
}

/* ---- the human sink ---- */

#define HUMAN(...) LINE(pier_log_human, PIER_LOG_INFO, "m", __VA_ARGS__)
#define HUMAN_IS(field, want) ck_assert_str_eq(HUMAN(field), TIME " info m " want)

TEST(human_names_the_levels)
{
    static const char *const names[] = { "error", "warn", "info", "debug" };
    for (int i = 0; i < 4; i++) {
        char want[64];
        snprintf(want, sizeof want, TIME " %s up", names[i]);
        ck_assert_str_eq(line_of(pier_log_human, (enum pier_log_level)i, "up", NULL, 0), want);
    }
}

TEST(human_quotes_a_value_only_when_it_needs_it)
{
    HUMAN_IS(pier_str("peer", "[::1]:80"), "peer=[::1]:80");
    HUMAN_IS(pier_int("n", INT64_MIN), "n=-9223372036854775808");
    HUMAN_IS(pier_str("k", "你好"), "k=你好");
    HUMAN_IS(pier_str("k", ""), "k=\"\"");
    HUMAN_IS(pier_bytes("k", NULL, 0), "k=\"\"");
    HUMAN_IS(pier_str("k", "a b"), "k=\"a b\"");
    HUMAN_IS(pier_str("k", "a=b"), "k=\"a=b\"");
    HUMAN_IS(pier_str("k", "say \"hi\""), "k=\"say \\\"hi\\\"\"");
    HUMAN_IS(pier_str("k", "a\\b"), "k=\"a\\\\b\"");
}

TEST(human_never_writes_a_raw_control_or_bad_byte)
{
    HUMAN_IS(pier_bytes("k", "a\0b", 3), "k=\"a\\x00b\"");
    HUMAN_IS(pier_str("k", "a\n" TIME " forged"), "k=\"a\\n" TIME " forged\"");
    HUMAN_IS(pier_str("k", "\x1b[2J\xff"), "k=\"\\x1b[2J\\xff\"");
    HUMAN_IS(pier_str("a\nb", "x"), "a\\nb=x");
    ck_assert_str_eq(line_of(pier_log_human, PIER_LOG_WARN, "a\033\n", NULL, 0),
                     TIME " warn a\\x1b\\n");
}

static char huge[100001];

static const char *huge_text(char with)
{
    memset(huge, with, sizeof huge - 1);
    return huge;
}

TEST(human_long_value_is_marked_and_hides_no_field)
{
    const char *line = HUMAN(pier_str("text", huge_text('x')), pier_str("peer", "[::1]:5555"),
                             pier_int("n", 12345678));
    ck_assert_uint_gt(strlen(line), PI_LOG_LINE_MAX - 100);
    ck_assert_ptr_nonnull(strstr(line, "xxx...\" peer=[::1]:5555 n=12345678"));

    line = LINE(pier_log_human, PIER_LOG_INFO, huge_text('y'), pier_int("n", 1));
    ck_assert_ptr_nonnull(strstr(line, "yyy... n=1"));

    line = LINE(pier_log_human, PIER_LOG_INFO, "m", pier_str(huge_text('z'), "v"));
    ck_assert_ptr_nonnull(strstr(line, "zzz...=v"));
}

/* Lengths about the limit, in bytes that grow fourfold; line_of() checks the bounds. */
TEST(human_fits_its_line_at_every_length)
{
    char text[PI_LOG_LINE_MAX + 1] = "";
    for (size_t len = 0; len < PI_LOG_LINE_MAX; len++) {
        HUMAN(pier_str("k", text), pier_str("l", text), pier_int("n", 1));
        HUMAN(pier_bytes("k", "", 0), pier_bytes("bad", text, len), pier_str("l", text));
        text[len] = len % 3 ? 'a' : '\xff';
    }
}

enum { MANY = 1000 };

static const struct pier_log_field *many_fields(void)
{
    static struct pier_log_field fields[MANY];
    for (int i = 0; i < MANY; i++)
        fields[i] = i % 2 ? pier_int("number", i) : pier_str("string", "a b");
    return fields;
}

TEST(human_says_when_fields_are_left_out)
{
    for (size_t count = 1; count <= MANY; count++) {
        const char *line = line_of(pier_log_human, PIER_LOG_INFO, "m", many_fields(), count);
        bool left_out = strcmp(line + strlen(line) - 4, " ...") == 0;
        bool all_shown = count<60, none_fits = count> 200;
        ck_assert(!(left_out && all_shown) && !(none_fits && !left_out));
    }
}

/* ---- the JSON sink ---- */

#define JSON(...) LINE(pier_log_json, PIER_LOG_INFO, "m", __VA_ARGS__)
#define JSON_HEAD "{\"time\":\"" TIME "\",\"level\":\"info\",\"msg\":\"m\""

TEST(json_sink_writes_an_object_a_line)
{
    ck_assert_str_eq(line_of(pier_log_json, PIER_LOG_ERROR, "a\n", NULL, 0),
                     "{\"time\":\"" TIME "\",\"level\":\"error\",\"msg\":\"a\\n\"}");
    ck_assert_str_eq(JSON(pier_str("s", "x y"), pier_int("n", -1), pier_bytes("b", "\0\xff", 2)),
                     JSON_HEAD ",\"s\":\"x y\",\"n\":-1,\"b\":\"\\u0000\xef\xbf\xbd\"}");
}

TEST(json_sink_cuts_long_strings_and_says_so)
{
    const char *line = JSON(pier_str("text", huge_text('x')), pier_int("n", 1));
    ck_assert(strncmp(line, JSON_HEAD ",\"text\":\"xxx", strlen(JSON_HEAD) + 12) == 0);
    ck_assert_str_eq(line + strlen(line) - 20, "x\",\"n\":1,\"cut\":true}");
    ck_assert_uint_gt(strlen(line), PI_LOG_LINE_MAX / 2);

    line = JSON(pier_bytes("text", huge_text('\0'), 100000));
    ck_assert_str_eq(line + strlen(line) - 19, "\\u0000\",\"cut\":true}");
}

TEST(json_sink_cuts_no_character)
{
    char text[4096] = "";
    for (int i = 0; i < 700; i++)
        strcat(text, "你");
    for (int shift = 0; shift < 3; shift++) {
        const char *line = JSON(pier_bytes("text", text, strlen(text)), pier_int("n", shift));
        ck_assert(pier_utf8_valid(line, strlen(line)));
        ck_assert_ptr_null(strstr(line, "\xef\xbf\xbd"));
        memmove(text + 1, text, strlen(text) + 1);
        text[0] = 'a';
    }
}

TEST(json_sink_leaves_fields_out_when_nothing_else_helps)
{
    const char *line = line_of(pier_log_json, PIER_LOG_INFO, "m", many_fields(), MANY);
    ck_assert_str_eq(line, JSON_HEAD ",\"cut\":true}");
    line = JSON(pier_int(huge_text('k'), 1));
    ck_assert_str_eq(line, JSON_HEAD ",\"cut\":true}");
}

/* ---- streams ---- */

TEST(log_writes_a_record_in_one_go)
{
    static const pier_log_fn sinks[] = { pier_log_human, pier_log_json };
    int other = capture_stderr(SOCK_SEQPACKET);
    for (int i = 0; i < 2; i++) {
        char line[PI_LOG_LINE_MAX + 1];
        sinks[i](NULL, PIER_LOG_INFO, huge_text('x'), many_fields(), 10);
        ssize_t n = recv(other, line, sizeof line, MSG_DONTWAIT);
        ck_assert_int_gt((int)n, 200);
        ck_assert_int_eq(line[n - 1], '\n');
        ck_assert_int_lt((int)recv(other, line, sizeof line, MSG_DONTWAIT), 0);
    }
}

TEST(log_flushes_a_buffered_stream_after_each_record)
{
    char line[256];
    int ends[2];
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), 0);
    FILE *out = fdopen(ends[1], "w");
    setvbuf(out, NULL, _IOFBF, 65536);
    for (int i = 0; i < 3; i++) {
        pier_log_human(out, PIER_LOG_INFO, "x", NULL, 0);
        ssize_t n = recv(ends[0], line, sizeof line, MSG_DONTWAIT);
        ck_assert_int_eq((int)n, (int)strlen(TIME " info x\n"));
    }
    fclose(out);
}

enum { WRITERS = 4, LINES_EACH = 2000 };

static void *write_lines(void *arg)
{
    const struct pier_log_field field = pier_int("number", 1);
    for (int i = 0; i < LINES_EACH; i++)
        pier_log_human(arg, PIER_LOG_INFO, "line", &field, 1);
    return NULL;
}

TEST(log_lines_of_several_threads_do_not_mix)
{
    pthread_t threads[WRITERS];
    FILE *out = tmpfile();
    for (int i = 0; i < WRITERS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, write_lines, out), 0);
    for (int i = 0; i < WRITERS; i++)
        pthread_join(threads[i], NULL);

    int lines = 0;
    char line[256];
    rewind(out);
    for (; fgets(line, sizeof line, out); lines++)
        if (strcmp(line + strlen(TIME), " info line number=1\n") != 0)
            ck_abort_msg("%s", line);
    ck_assert_int_eq(lines, WRITERS * LINES_EACH);
    fclose(out);
}

TEST(log_survives_a_reader_that_went)
{
    sigset_t pending;
    close(capture_stderr(SOCK_STREAM));
    signal(SIGPIPE, SIG_DFL);
    for (int i = 0; i < 3; i++)
        pier_log_human(NULL, PIER_LOG_INFO, "x", NULL, 0);
    sigpending(&pending);
    ck_assert(!sigismember(&pending, SIGPIPE));
}

TEST(log_leaves_somebody_elses_sigpipe_pending)
{
    sigset_t sigpipe, pending;
    sigemptyset(&sigpipe);
    sigaddset(&sigpipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &sigpipe, NULL);
    close(capture_stderr(SOCK_STREAM));
    pier_log_human(NULL, PIER_LOG_INFO, "x", NULL, 0);
    sigpending(&pending);
    ck_assert(!sigismember(&pending, SIGPIPE));

    raise(SIGPIPE);
    pier_log_human(NULL, PIER_LOG_INFO, "x", NULL, 0);
    sigpending(&pending);
    ck_assert(sigismember(&pending, SIGPIPE));
}

/* Ends by the test's time limit if it waits for ever. */
static void fill_and_drain(int flags)
{
    char block[65536];
    int fds[2];
    ck_assert_int_eq(pipe2(fds, flags), 0);
    FILE *out = fdopen(fds[1], "w");
    setvbuf(out, NULL, _IONBF, 0);
    for (int i = 0; i < 2000; i++) /* more than a pipe holds */
        pier_log_human(out, PIER_LOG_INFO, "a line that fills a pipe with its friends", NULL, 0);

    fcntl(fds[0], F_SETFL, O_NONBLOCK);
    ssize_t n;
    char last = '\n';
    while ((n = read(fds[0], block, sizeof block)) > 0)
        last = block[n - 1];
    ck_assert_int_eq(last, '\n');

    pier_log_human(out, PIER_LOG_INFO, "again", NULL, 0);
    ck_assert_int_gt((int)read(fds[0], block, sizeof block), 0);
    fclose(out);
}

TEST(log_waits_for_no_reader_for_ever)
{
    fill_and_drain(0);
    fill_and_drain(O_NONBLOCK);
}

TEST(log_survives_a_closed_descriptor)
{
    close(STDERR_FILENO);
    pier_log_human(NULL, PIER_LOG_INFO, "x", NULL, 0);
    pier_log_json(NULL, PIER_LOG_INFO, "x", NULL, 0);
}

/* ---- changing the sink under way ---- */

static char ctx_a, ctx_b;
static atomic_int mixtures, records;

static void sink_a(void *ctx, enum pier_log_level level, const char *msg,
                   const struct pier_log_field *fields, size_t count)
{
    mixtures += ctx != &ctx_a;
    records++;
}

static void sink_b(void *ctx, enum pier_log_level level, const char *msg,
                   const struct pier_log_field *fields, size_t count)
{
    mixtures += ctx != &ctx_b;
    records++;
}

static atomic_bool done;

static void *change_sinks(void *arg)
{
    for (int i = 0; !atomic_load(&done); i++)
        pier_log_set(i % 2 ? sink_a : sink_b, i % 2 ? &ctx_a : &ctx_b);
    return NULL;
}

TEST(log_sink_and_ctx_change_together)
{
    pthread_t threads[2];
    pier_log_set(sink_a, &ctx_a);
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, change_sinks, NULL), 0);
    for (int i = 0; i < 200000; i++)
        pier_log_record(PIER_LOG_INFO, "x", NULL, 0);
    done = true;
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    ck_assert_int_eq(records, 200000);
    ck_assert_int_eq(mixtures, 0);
}

HARNESS_MAIN("base_log")
