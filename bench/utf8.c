/* SPDX-License-Identifier: MIT */
/*
 * UTF-8 validation: pier_utf8_valid() beside the validators of GLib, libunistring and iconv, a
 * table of classes and states (after Björn Hoehrmann) and one of shifts (after Per Vognsen);
 * bench/run adds those of Go and Rust as libraries, and peers/utf8.py does the same with Python's
 * decoder. One JSON line each, `ns` is what a KiB costs: the best of REPEATS rounds, in which
 * everybody has a turn.
 *
 * Usage: utf8 [NAME | LIBRARY.so]...: those validators only; a library has is_valid_utf8().
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <iconv.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <pier/pier.h>

enum { REPEATS = 15, TEXT_BYTES = 256 << 10, PASSES = 4, SKIP_CODE = 77, VALIDATORS_MAX = 16 };

typedef bool (*validate)(const char *text, size_t len);

struct validator {
    const char *name;
    validate is_valid;
    int64_t best_ns;
};

/* ---- the validators ---- */

typedef int (*glib_function)(const char *text, ssize_t len, const char **end);
typedef const uint8_t *(*unistring_function)(const uint8_t *text, size_t len);

static void *glib_validate, *unistring_check;

static bool is_valid_glib(const char *text, size_t len)
{
    return ((glib_function)glib_validate)(text, (ssize_t)len, NULL) != 0;
}

static bool is_valid_unistring(const char *text, size_t len)
{
    return ((unistring_function)unistring_check)((const uint8_t *)text, len) == NULL;
}

static bool is_valid_pier(const char *text, size_t len)
{
    return pier_utf8_valid(text, len);
}

/* It has no call that only looks. */
static bool is_valid_iconv(const char *text, size_t len)
{
    static iconv_t decoder;
    static char room[16 << 10];
    if (!decoder)
        decoder = iconv_open("UTF-32LE", "UTF-8");
    iconv(decoder, NULL, NULL, NULL, NULL);
    char *from = (char *)text;
    for (size_t before = len + 1; len > 0 && len < before;) {
        char *to = room;
        size_t left = sizeof room;
        before = len;
        iconv(decoder, &from, &len, &to, &left);
    }
    return len == 0;
}

/* What is still to come; after E0, ED, F0 and F4 the next byte's range is narrower. */
enum { WHOLE, BAD, ONE, TWO, THREE, E0, ED, F0, F4, STATES };
/* ASCII, three ranges that continue, and what begins a character. */
enum { A, C8, C9, CA, L2, LE0, L3, LED, LF0, L4, LF4, X, CLASSES = 16 };

static const uint8_t class_of[256] = {
    [0x00 ... 0x7f] = A, [0x80 ... 0x8f] = C8, [0x90 ... 0x9f] = C9, [0xa0 ... 0xbf] = CA,
    [0xc0 ... 0xc1] = X, [0xc2 ... 0xdf] = L2, [0xe0] = LE0,         [0xe1 ... 0xec] = L3,
    [0xed] = LED,        [0xee ... 0xef] = L3, [0xf0] = LF0,         [0xf1 ... 0xf3] = L4,
    [0xf4] = LF4,        [0xf5 ... 0xff] = X,
};

/* The next state times CLASSES, so that a step is one addition and one load. */
static uint8_t next_state[STATES * CLASSES];
static uint64_t shifts[256];

static void lead(int from, int class, int to)
{
    next_state[from * CLASSES + class] = (uint8_t)(to * CLASSES);
}

static void make_tables(void)
{
    memset(next_state, BAD * CLASSES, sizeof next_state);
    static const uint8_t first[] = { WHOLE, BAD, BAD, BAD, ONE, E0, TWO, ED, F0, THREE, F4, BAD };
    for (int class = A; class <= X; class ++)
        lead(WHOLE, class, first[class]);
    for (int class = C8; class <= CA; class ++) {
        lead(ONE, class, WHOLE);
        lead(TWO, class, ONE);
        lead(THREE, class, TWO);
        lead(E0, class, class == CA ? ONE : BAD);
        lead(ED, class, class == CA ? BAD : ONE);
        lead(F0, class, class == C8 ? BAD : TWO);
        lead(F4, class, class == C8 ? TWO : BAD);
    }
    for (int byte = 0; byte < 256; byte++)
        for (int state = 0; state < STATES; state++)
            shifts[byte] |= (uint64_t)(6 * next_state[state * CLASSES + class_of[byte]] / CLASSES)
                            << (6 * state);
}

static bool is_valid_states(const char *text, size_t len)
{
    size_t state = WHOLE;
    for (size_t i = 0; i < len; i++)
        state = next_state[state + class_of[(unsigned char)text[i]]];
    return state == WHOLE;
}

static bool is_valid_shifts(const char *text, size_t len)
{
    uint64_t state = 6 * WHOLE;
    for (size_t i = 0; i < len; i++)
        state = shifts[(unsigned char)text[i]] >> (state & 63);
    return (state & 63) == 6 * WHOLE;
}

static const struct {
    const char *name;
    validate is_valid;
    const char *library, *function; /* what it calls, if that is not linked */
    void **found;
} known[] = {
    { "pier", is_valid_pier, NULL, NULL, NULL },
    { "glib", is_valid_glib, "libglib-2.0.so.0", "g_utf8_validate", &glib_validate },
    { "libunistring", is_valid_unistring, "libunistring.so.2", "u8_check", &unistring_check },
    { "iconv", is_valid_iconv, NULL, NULL, NULL },
    { "states", is_valid_states, NULL, NULL, NULL },
    { "shifts", is_valid_shifts, NULL, NULL, NULL },
};

enum { KNOWN = sizeof known / sizeof *known };

static void *find(const char *library, const char *function)
{
    void *handle = dlopen(library, RTLD_NOW);
    void *found = handle ? dlsym(handle, function) : NULL;
    if (!found)
        fprintf(stderr, "no %s in %s\n", function, library);
    return found;
}

/* is_valid is NULL when what it would call is not there. */
static struct validator choose(const char *name)
{
    for (int i = 0; i < KNOWN; i++) {
        if (strcmp(known[i].name, name) != 0)
            continue;
        if (known[i].library)
            *known[i].found = find(known[i].library, known[i].function);
        bool is_there = !known[i].library || *known[i].found;
        return (struct validator){ name, is_there ? known[i].is_valid : NULL, 0 };
    }
    return (struct validator){ name, (validate)find(name, "is_valid_utf8"), 0 };
}

/* ---- the texts ---- */

/* Words drawn from those given, the same in every run. */
static size_t make_text(char *text, const char *const *words, size_t count)
{
    size_t len = 0;
    unsigned seed = 1;
    for (;;) {
        seed = seed * 1103515245 + 12345;
        const char *word = words[(seed >> 16) % count];
        size_t n = strlen(word);
        if (len + n > TEXT_BYTES)
            return len;
        memcpy(text + len, word, n);
        len += n;
    }
}

#define WORDS_MAX 8

static const struct text {
    const char *name;
    bool is_cut; /* in its last character */
    const char *words[WORDS_MAX];
} texts[] = {
    { "ascii", false, { "The ", "quick ", "brown fox ", "jumps.\n" } },
    { "english",
      false,
      { "A text of many plain words, ", "as most are, ", "that has a naïve ", "word or so.\n" } },
    { "latin", false, { "Où ", "est ", "l'été ", "naïf ", "garçon ", "là-bas?\n" } },
    { "russian", false, { "Привет, ", "мир! ", "сервер ", "получил ", "сообщение.\n" } },
    { "chinese", false, { "你好", "世界", "服务器", "已收到", "，", "。" } },
    { "emoji", false, { "😀", "🚀", "👍🏽", "🎉" } },
    { "mixed", false, { "<p>", "你好", " world ", "é", "😀", "</p>\n", "消息: " } },
    { "cut", true, { "你好", "世界", "服务器", "已收到" } },
};

/* ---- the run ---- */

static void take_turn(struct validator *v, const char *text, size_t len, bool expected)
{
    int64_t start_ns = pier_now();
    for (int pass = 0; pass < PASSES; pass++) {
        if (v->is_valid(text, len) != expected) {
            fprintf(stderr, "%s is wrong\n", v->name);
            exit(1);
        }
    }
    int64_t ns = (pier_now() - start_ns) / PASSES;
    v->best_ns = ns < v->best_ns ? ns : v->best_ns;
}

static void measure(struct validator *validators, int count, const struct text *t)
{
    static char bytes[TEXT_BYTES];
    size_t words = 0;
    while (words < WORDS_MAX && t->words[words])
        words++;
    size_t len = make_text(bytes, t->words, words) - t->is_cut;
    for (int i = 0; i < count; i++)
        validators[i].best_ns = INT64_MAX;
    for (int repeat = 0; repeat < REPEATS; repeat++)
        for (int i = 0; i < count; i++)
            take_turn(&validators[i], bytes, len, !t->is_cut);
    for (int i = 0; i < count; i++)
        printf("{\"name\":\"%s\",\"by\":\"%s\",\"ns\":%.1f}\n", t->name, validators[i].name,
               (double)validators[i].best_ns * 1024 / (double)len);
}

int main(int argc, char **argv)
{
    struct validator chosen[VALIDATORS_MAX];
    int count = 0;
    make_tables();
    for (int i = 0; argc == 1 && i < KNOWN; i++) {
        chosen[count] = choose(known[i].name);
        count += chosen[count].is_valid != NULL;
    }
    for (int i = 1; i < argc && count < VALIDATORS_MAX; i++) {
        chosen[count] = choose(argv[i]);
        if (!chosen[count++].is_valid)
            return SKIP_CODE;
    }
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        measure(chosen, count, &texts[i]);
    return 0;
}
