/* SPDX-License-Identifier: MIT */
/*
 * net/idn.c - internationalised names, by libidn2, which is loaded with the first of them: with its
 * tables it would cost every start of every program 0.2 ms.
 */
#define _GNU_SOURCE
#include "net/resolve.h"

#include <pier/text.h>

#include <dlfcn.h>
#include <idn2.h>
#include <pthread.h>
#include <string.h>

static struct {
    int (*lookup)(const uint8_t *src, uint8_t **out, int flags);
    void (*free)(void *ptr);
} idn2;

static void load(void)
{
    void *library = dlopen("libidn2.so.0", RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return;
    idn2.free = (void (*)(void *))dlsym(library, "idn2_free");
    idn2.lookup = (int (*)(const uint8_t *, uint8_t **, int))dlsym(library, "idn2_lookup_u8");
}

static bool is_ascii(const char *name)
{
    for (; *name; name++)
        if ((unsigned char)*name >= 0x80)
            return false;
    return true;
}

static int refuse(const char **why, int code, const char *reason)
{
    *why = reason;
    return code;
}

static int explain(int rc, const char **why)
{
    switch (rc) {
    case IDN2_MALLOC:
        return refuse(why, -ENOMEM, "out of memory");
    case IDN2_TOO_BIG_DOMAIN:
        return refuse(why, PIER_ERESOLVE, "longer than 253 bytes in its xn-- form");
    case IDN2_TOO_BIG_LABEL:
        return refuse(why, PIER_ERESOLVE, "a label of more than 63 bytes in its xn-- form");
    default:
        return refuse(why, PIER_ERESOLVE, "no name by the rules of UTS 46");
    }
}

int pi_idn_to_ascii(char *out, size_t cap, const char *name, const char **why)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    uint8_t *found = NULL;
    if (is_ascii(name))
        return snprintf(out, cap, "%s", name) < (int)cap
                   ? 0
                   : refuse(why, PIER_ERESOLVE, "longer than 253 bytes");
    if (!pier_utf8_valid(name, strlen(name)))
        return refuse(why, PIER_ERESOLVE, "not UTF-8");
    pthread_once(&once, load);
    if (!idn2.lookup || !idn2.free)
        return refuse(why, PIER_ERESOLVE,
                      "not ASCII, and libidn2 is not installed; give its xn-- form (RFC 5891)");
    int rc = idn2.lookup((const uint8_t *)name, &found, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL);
    if (rc != IDN2_OK)
        return explain(rc, why);
    rc = snprintf(out, cap, "%s", (char *)found) < (int)cap ? 0 : explain(IDN2_TOO_BIG_DOMAIN, why);
    idn2.free(found);
    return rc;
}
