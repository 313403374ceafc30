/* SPDX-License-Identifier: MIT */
/*
 * http/format.h - formatted text in an exchange's memory, and the switch to another protocol: what
 * request.c and response.c do for the other files of the server.
 */
#ifndef PI_HTTP_FORMAT_H
#define PI_HTTP_FORMAT_H

#include <pier/http.h>

/* The text, or NULL: the task's failure says why. */
char *pi_exchange_vprintf(struct pier_exchange *ex, const char *fmt, va_list args);

/* "101 Switching Protocols" with the fields that have been set, on its way when this returns 0. */
int pi_res_switch(struct pier_exchange *ex);

#endif
