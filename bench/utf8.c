/* SPDX-License-Identifier: MIT */
/*
 * UTF-8 validation: pier_utf8_valid() beside g_utf8_validate() of GLib and u8_check() of
 * libunistring, where those libraries are installed. One JSON line each: `ns` is what a KiB costs,
 * `gbps` the same as GB/s, the best of REPEATS. peers/utf8.py does the same with Python's decoder.
 *
 * Usage: utf8 [FILE...]: the texts of the files instead of those made here.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <pier/pier.h>

enum { REPEATS = 9, TEXT_BYTES = 1 << 20, PASSES = 8 };

typedef int (*glib_validate)(const char *text, ssize_t len, const char **end);
typedef const uint8_t *(*unistring_check)(const uint8_t *text, size_t len);

static glib_validate validate_by_glib;
static unistring_check check_by_unistring;

static bool is_valid_pier(const char *text, size_t len)
{
    return pier_utf8_valid(text, len);
}

static bool is_valid_glib(const char *text, size_t len)
{
    return validate_by_glib(text, (ssize_t)len, NULL) != 0;
}

static bool is_valid_unistring(const char *text, size_t len)
{
    return check_by_unistring((const uint8_t *)text, len) == NULL;
}

static void *find(const char *library, const char *function)
{
    void *handle = dlopen(library, RTLD_NOW);
    void *found = handle ? dlsym(handle, function) : NULL;
    if (!found)
        fprintf(stderr, "absent: %s of %s\n", function, library);
    return found;
}

static void measure(const char *validator, bool (*is_valid)(const char *, size_t), const char *name,
                    const char *text, size_t len)
{
    int64_t best = INT64_MAX;
    for (int i = 0; i < REPEATS; i++) {
        int64_t start_ns = pier_now();
        for (int pass = 0; pass < PASSES; pass++) {
            if (!is_valid(text, len)) {
                fprintf(stderr, "%s: %s is not valid\n", validator, name);
                exit(1);
            }
        }
        int64_t ns = (pier_now() - start_ns) / PASSES;
        best = ns < best ? ns : best;
    }
    printf("{\"name\":\"utf8_%s\",\"by\":\"%s\",\"ns\":%.1f,\"gbps\":%.2f}\n", name, validator,
           (double)best * 1024 / (double)len, (double)len / (double)best);
}

static void measure_all(const char *name, const char *text, size_t len)
{
    measure("pier", is_valid_pier, name, text, len);
    if (validate_by_glib)
        measure("glib", is_valid_glib, name, text, len);
    if (check_by_unistring)
        measure("libunistring", is_valid_unistring, name, text, len);
}

/* A text of words drawn from those given, the same in every run. */
static size_t make_text(char *text, const char *const *words, int count)
{
    size_t len = 0;
    unsigned seed = 1;
    for (;;) {
        seed = seed * 1103515245 + 12345;
        const char *word = words[(seed >> 16) % (unsigned)count];
        size_t n = strlen(word);
        if (len + n > TEXT_BYTES)
            return len;
        memcpy(text + len, word, n);
        len += n;
    }
}

static int measure_file(const char *path, char *text)
{
    FILE *file = fopen(path, "rb");
    if (!file) {
        perror(path);
        return 1;
    }
    size_t len = fread(text, 1, TEXT_BYTES, file);
    fclose(file);
    measure_all(path, text, len);
    return 0;
}

int main(int argc, char **argv)
{
    static char text[TEXT_BYTES];
    static const char *const ascii[] = { "The ", "quick ", "brown fox ", "jumps.\n" };
    static const char *const latin[] = { "Où ", "est ", "l'été ", "naïf ", "garçon ", "là-bas?\n" };
    static const char *const chinese[] = { "你好", "世界", "服务器", "已收到", "，", "。" };
    static const char *const mixed[] = { "<p>", "你好", " world ", "é", "😀", "</p>\n", "消息: " };
    static const char *const emoji[] = { "😀", "🚀", "👍🏽", "🎉" };

    validate_by_glib = (glib_validate)find("libglib-2.0.so.0", "g_utf8_validate");
    check_by_unistring = (unistring_check)find("libunistring.so.2", "u8_check");
    int failed = 0;
    for (int i = 1; i < argc; i++)
        failed |= measure_file(argv[i], text);
    if (argc > 1)
        return failed;
#define MEASURE(words) \
    measure_all(#words, text, make_text(text, words, sizeof words / sizeof *words))
    MEASURE(ascii);
    MEASURE(latin);
    MEASURE(chinese);
    MEASURE(mixed);
    MEASURE(emoji);
    return 0;
}
