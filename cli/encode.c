/* SPDX-License-Identifier: MIT */
/*
 * encode.c - `pier encode` and `pier decode`: text between UTF-8 and another charset, from the
 * command line or from standard input to standard output, piece by piece.
 *
 * Before a mistake is told, all that precedes it has been written. Raw output has not a byte more;
 * text and escapes that come from an operand are a line.
 */
#include "verb.h"

#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PIECE = 65536 };

static const char *const error_modes[] = { "strict", "replace", "ignore", NULL };

static struct {
    const char *charset;
    int errors;
    bool hex, list, as_json;
} given;

/* A conversion, and where it is. */
struct conversion {
    const struct verb *verb;
    bool encodes;
    struct pier_codec codec;
    int64_t fed, newlines; /* bytes of the text; newlines in what was converted of it */
    int64_t typed;         /* bytes of what escapes were read from */
    char escape[4];        /* one that is not complete */
    int escape_len;
};

/* ---- the list ---- */

static int list_names(void)
{
    char buf[1024];
    struct pier_json json;
    const char *name;
    pier_json_init(&json, buf, sizeof buf, output_json, NULL);
    pier_json_array(&json);
    for (int i = 0; (name = pier_charset_name(i)) != NULL; i++) {
        if (given.as_json)
            pier_json_str(&json, name);
        else
            puts(name);
    }
    pier_json_close(&json);
    if (given.as_json && pier_json_end(&json) == 0)
        putchar('\n');
    return output_finish();
}

/* ---- escapes ---- */

static void print_hex(const char *bytes, size_t len)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < len; i++) {
        unsigned char byte = (unsigned char)bytes[i];
        const char text[4] = { '\\', 'x', digits[byte >> 4], digits[byte & 15] };
        fwrite(text, 1, sizeof text, stdout);
    }
}

static int digit_value(char c)
{
    static const char digits[] = "0123456789abcdef0123456789ABCDEF";
    const char *at = c != '\0' ? strchr(digits, c) : NULL;
    return at != NULL ? (int)((at - digits) % 16) : -1;
}

enum { ESCAPE_CUT = -1, ESCAPE_WRONG = -2 };

/* The byte that an escape means: \xc4, or one of those that Python prints. */
static int escape_value(const char *escape, int len)
{
    static const char named[] = "\\\\''\"\"n\nr\rt\t";
    if (len == 1)
        return ESCAPE_CUT;
    if (escape[1] == 'x') {
        int value = 0;
        for (int i = 2; i < len; i++) {
            if (digit_value(escape[i]) < 0)
                return ESCAPE_WRONG;
            value = value * 16 + digit_value(escape[i]);
        }
        return len == 4 ? value : ESCAPE_CUT;
    }
    for (const char *p = named; *p != '\0'; p += 2)
        if (escape[1] == *p)
            return p[1];
    return ESCAPE_WRONG;
}

static int wrong_escape(const struct conversion *v)
{
    char shown[32];
    pier_escape(shown, sizeof shown, v->escape + 1, (size_t)v->escape_len - 1);
    fprintf(stderr, "pier: %s --hex: byte %lld: \\%s is no escape\n", v->verb->name,
            (long long)(v->typed - v->escape_len), shown);
    return EXIT_FAILED;
}

/* Reads escapes in place: bytes that are none stand for themselves, line ends for nothing. */
static int unescape(struct conversion *v, char *bytes, size_t *len)
{
    size_t n = 0;
    for (size_t i = 0; i < *len; i++) {
        char c = bytes[i];
        v->typed++;
        if (v->escape_len == 0 && c != '\\') {
            bytes[n] = c;
            n += c != '\n' && c != '\r';
            continue;
        }
        v->escape[v->escape_len++] = c;
        int value = escape_value(v->escape, v->escape_len);
        if (value == ESCAPE_WRONG)
            return wrong_escape(v);
        if (value == ESCAPE_CUT)
            continue;
        bytes[n++] = (char)value;
        v->escape_len = 0;
    }
    *len = n;
    return EXIT_OK;
}

/* ---- conversion ---- */

static int64_t count_newlines(const char *bytes, size_t len)
{
    int64_t count = 0;
    for (const char *p = bytes; (p = memchr(p, '\n', len - (size_t)(p - bytes))) != NULL; p++)
        count++;
    return count;
}

static int fail_at(const struct conversion *v)
{
    fprintf(stderr, "pier: %s (line %lld)\n", pier_error(), (long long)v->newlines + 1);
    return EXIT_FAILED;
}

static int print(const struct conversion *v, const char *bytes, size_t len)
{
    if (v->encodes && given.hex)
        print_hex(bytes, len);
    else
        fwrite(bytes, 1, len, stdout);
    return output_finish();
}

static int convert(struct conversion *v, const char *bytes, size_t len)
{
    static char out[PIER_CODEC_ROOM(PIECE)];
    ssize_t n = pier_codec_feed(&v->codec, out, sizeof out, bytes, len);
    if (n < 0)
        return fail_at(v);
    int64_t done = pier_codec_bytes(&v->codec) - v->fed;
    v->newlines += v->encodes ? count_newlines(bytes, done > 0 ? (size_t)done : 0)
                              : count_newlines(out, (size_t)n);
    v->fed += (int64_t)len;
    return print(v, out, (size_t)n);
}

/* A piece of input, at most PIECE bytes, which may be overwritten. */
static int convert_piece(struct conversion *v, char *bytes, size_t len)
{
    int code = !v->encodes && given.hex ? unescape(v, bytes, &len) : EXIT_OK;
    return code == EXIT_OK ? convert(v, bytes, len) : code;
}

static int convert_operand(struct conversion *v, char *text)
{
    int code = EXIT_OK;
    for (size_t left = strlen(text), n; left > 0 && code == EXIT_OK; left -= n, text += n) {
        n = left < PIECE ? left : PIECE;
        code = convert_piece(v, text, n);
    }
    return code;
}

static int convert_input(struct conversion *v)
{
    static char piece[PIECE];
    int code = EXIT_OK;
    ssize_t n = 1;
    while (code == EXIT_OK && (n = read(STDIN_FILENO, piece, sizeof piece)) > 0)
        code = convert_piece(v, piece, (size_t)n);
    if (n == 0 || code != EXIT_OK)
        return code;
    fprintf(stderr, "pier: read standard input: %s\n", pier_strerror(-errno));
    return EXIT_FAILED;
}

static int finish(struct conversion *v, bool is_line)
{
    char out[PIER_CODEC_ROOM(0)];
    if (v->escape_len > 0)
        return wrong_escape(v);
    ssize_t n = pier_codec_finish(&v->codec, out, sizeof out);
    if (n < 0)
        return fail_at(v);
    int code = print(v, out, (size_t)n);
    if (is_line)
        putchar('\n');
    return code == EXIT_OK ? output_finish() : code;
}

static int run(struct conversion *v, int count, char **operands)
{
    char charset[128];
    if (given.list)
        return list_names();
    if (given.charset == NULL)
        return usage_error(v->verb, "%s needs --%s CHARSET; --list prints their names",
                           v->verb->name, v->encodes ? "to" : "from");
    snprintf(charset, sizeof charset, "%.100s//%s", given.charset, error_modes[given.errors]);
    int rc = v->encodes ? pier_encoder_init(&v->codec, charset)
                        : pier_decoder_init(&v->codec, charset);
    if (rc == -EINVAL)
        return usage_error(v->verb, "%s", pier_error());
    if (rc < 0)
        return pier_fail("pier");
    signal(SIGPIPE, SIG_IGN); /* an output that is closed is an error with a text */
    int code = count > 0 ? convert_operand(v, operands[0]) : convert_input(v);
    if (code == EXIT_OK)
        code = finish(v, v->encodes ? given.hex : count > 0);
    pier_codec_fini(&v->codec);
    return code;
}

/* ---- the verbs ---- */

#define SHARED_OPTIONS                                                                       \
    { "errors",                                                                              \
      OPTION_CHOICE,                                                                         \
      &given.errors,                                                                         \
      .value = "MODE",                                                                       \
      .choices = error_modes,                                                                \
      .help = "what cannot be converted: strict ends with an error (default), replace puts " \
              "? or U+FFFD there, ignore leaves it out" },                                   \
        { "list", OPTION_FLAG, &given.list, .help = "print the names of the charsets" },     \
    {                                                                                        \
        "json", OPTION_FLAG, &given.as_json, .help = "print the list as JSON"                \
    }

static int run_encode(int count, char **operands)
{
    struct conversion v = { .verb = &verb_encode, .encodes = true };
    return run(&v, count, operands);
}

static const struct verb_option encode_options[] = {
    { "to", OPTION_TEXT, &given.charset, .value = "CHARSET", .help = "the charset to encode in" },
    { "hex", OPTION_FLAG, &given.hex, .help = "print each byte as \\xNN, and a line end" },
    SHARED_OPTIONS,
    { 0 },
};

static const struct verb_example encode_examples[] = {
    { "pier encode --to gbk --hex 你好", "\\xc4\\xe3\\xba\\xc3" },
    { "pier encode --to shift_jis --errors replace <in.txt >out.txt", "a file of any size" },
    { 0 },
};

const struct verb verb_encode = {
    .name = "encode",
    .summary = "encode UTF-8 text in another charset",
    .operands = "[TEXT]",
    .max_operands = 1,
    .details = "Encodes TEXT, or standard input, and writes the bytes to standard output. What "
               "cannot be encoded is told with its byte, counted from 0, and its line.",
    .options = encode_options,
    .examples = encode_examples,
    .run = run_encode,
};

static int run_decode(int count, char **operands)
{
    struct conversion v = { .verb = &verb_decode };
    return run(&v, count, operands);
}

static const struct verb_option decode_options[] = {
    { "from", OPTION_TEXT, &given.charset, .value = "CHARSET",
      .help = "the charset that the bytes are in" },
    { "hex", OPTION_FLAG, &given.hex, .help = "read \\xNN for a byte, as encode --hex prints" },
    SHARED_OPTIONS,
    { 0 },
};

static const struct verb_example decode_examples[] = {
    { "pier decode --from gbk --hex '\\xc4\\xe3\\xba\\xc3'", "你好" },
    { "pier decode --from big5 <page.html", "a file of any size, as UTF-8" },
    { 0 },
};

const struct verb verb_decode = {
    .name = "decode",
    .summary = "decode bytes of another charset to UTF-8",
    .operands = "[BYTES]",
    .max_operands = 1,
    .details = "Decodes BYTES, or standard input, and writes UTF-8 to standard output. What is no "
               "character is told with its byte, counted from 0, and its line.",
    .options = decode_options,
    .examples = decode_examples,
    .run = run_decode,
};
