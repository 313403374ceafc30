/* SPDX-License-Identifier: MIT */
/*
 * guarded: copies of a text that end right before a page which cannot be read, so that a parser
 * which looks one byte too far dies at once, without any sanitizer.
 */
#ifndef PIER_TESTS_GUARDED_H
#define PIER_TESTS_GUARDED_H

#include "harness.h"

#include <sys/mman.h>
#include <unistd.h>

/* Valid until the process ends, which is when a test does. Texts of up to 64 KiB. */
__attribute__((unused)) static char *guarded(const void *bytes, size_t len)
{
    enum { ROOM = 65536 };
    static char *end;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (!end) {
        char *room = mmap(NULL, ROOM + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                          -1, 0);
        ck_assert_ptr_ne(room, MAP_FAILED);
        end = room + ROOM;
        ck_assert_int_eq(mprotect(end, page, PROT_NONE), 0);
    }
    ck_assert_uint_le(len, ROOM);
    if (len > 0)
        memcpy(end - len, bytes, len);
    return end - len;
}

#endif
