/* SPDX-License-Identifier: MIT */
/*
 * http/host_wire.h - "uri-host[:port]" as it stands in Host and in targets (RFC 9110, 7.2; RFC
 * 3986, 3.2). Pure. Nothing is decoded and nothing is looked up.
 */
#ifndef PI_HTTP_HOST_WIRE_H
#define PI_HTTP_HOST_WIRE_H

#include "http/fields.h"

struct pi_host {
    struct pi_part name; /* with the brackets of an IPv6 address; never empty */
    uint16_t port;       /* 0 where none is given: "a", "a:" */
    bool has_port;       /* digits are there */
};

/* Returns false for what is no uri-host with an optional port up to 65535. Users ("a@b") and empty
 * hosts are none. */
bool pi_host_parse(struct pi_host *out, struct pi_part text) PIER_MUST_USE;

#endif
