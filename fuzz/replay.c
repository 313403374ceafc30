/* SPDX-License-Identifier: MIT */
/*
 * fuzz/replay.c - a fuzz target without a fuzzer: runs it over files, over every beginning of each,
 * and over random changes, the same in every run.
 *
 * Usage: NAME FILE...; the input that fails is told in hexadecimal.
 */
#include "fuzz.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

enum { INPUT_MAX = 65536, BEGINNINGS = 256, CHANGES = 2000 };

static uint8_t input[INPUT_MAX];
static size_t input_len;

static void on_abort(int number)
{
    fprintf(stderr, "input:");
    for (size_t i = 0; i < input_len; i++)
        fprintf(stderr, " %02x", input[i]);
    fputc('\n', stderr);
    _exit(1);
}

/* From a copy of exactly that size, where a sanitizer sees what is read beyond it. */
static void run(void)
{
    uint8_t *copy = malloc(input_len ? input_len : 1);
    memcpy(copy, input, input_len);
    LLVMFuzzerTestOneInput(copy, input_len);
    free(copy);
}

static unsigned draw(unsigned below)
{
    static unsigned seed = 1;
    seed = seed * 1103515245 + 12345;
    return (seed >> 16) % below;
}

static int replay(const char *path)
{
    static uint8_t original[INPUT_MAX];
    FILE *file = fopen(path, "rb");
    if (!file) {
        perror(path);
        return 1;
    }
    size_t len = fread(original, 1, sizeof original, file);
    fclose(file);
    memcpy(input, original, len);
    for (input_len = 0; input_len < len && input_len < BEGINNINGS; input_len++)
        run();
    for (int i = 0; i < CHANGES; i++) {
        memcpy(input, original, len);
        input_len = len;
        for (unsigned n = i > 0 ? 1 + draw(4) : 0; n > 0 && len > 0; n--)
            input[draw((unsigned)len)] = (uint8_t)draw(256);
        run();
    }
    return 0;
}

int main(int argc, char **argv)
{
    int failed = argc < 2;
    signal(SIGABRT, on_abort);
    for (int i = 1; i < argc; i++)
        failed |= replay(argv[i]);
    return failed;
}
