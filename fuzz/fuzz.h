/* SPDX-License-Identifier: MIT */
/*
 * fuzz.h - what a fuzz target is: one function, which must return for every input.
 *
 * With meson's -Dfuzz=true (clang) a target is a fuzzer of libFuzzer's; else replay.c runs it over
 * the files of fuzz/corpus and over changes of them, as part of the tests.
 */
#ifndef PIER_FUZZ_H
#define PIER_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FUZZ_CHECK(condition)                                                   \
    do {                                                                        \
        if (!(condition)) {                                                     \
            fprintf(stderr, "%s:%d: not %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                            \
        }                                                                       \
    } while (0)

#endif
