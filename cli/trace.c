/* SPDX-License-Identifier: MIT */
/*
 * trace.c - what `pier serve -v` tells of its clients, through the log: connect, messages,
 * disconnect.
 *
 * Kept out of the handlers' files, so that its buffers are not part of their frames. The log
 * escapes what peers sent and cuts what is long; the hex dump of -vv shows printable ASCII only.
 */
#include "service.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

enum { DUMP_ROW = 16 };

static int level;

void trace_set(int verbosity)
{
    level = verbosity;
}

void trace_connect(struct pier_conn *c)
{
    if (level > 0)
        pier_log(PIER_LOG_INFO, "connected", pier_str("peer", pier_peer(c)),
                 pier_str("local", pier_local(c)));
}

/* "00000010  68 65 6c 6c 6f 0a                                |hello.|" */
static void dump_row(char *row, size_t cap, size_t offset, const unsigned char *bytes, size_t len)
{
    int at = snprintf(row, cap, "%08zx ", offset);
    for (size_t i = 0; i < DUMP_ROW; i++)
        at += snprintf(row + at, cap - (size_t)at, i < len ? " %02x" : "   ",
                       i < len ? bytes[i] : 0);
    at += snprintf(row + at, cap - (size_t)at, "  |");
    for (size_t i = 0; i < len; i++)
        row[at++] = bytes[i] >= ' ' && bytes[i] < 0x7f ? (char)bytes[i] : '.';
    snprintf(row + at, cap - (size_t)at, "|");
}

static void dump(struct pier_conn *c, const unsigned char *bytes, size_t len)
{
    for (size_t offset = 0; offset < len; offset += DUMP_ROW) {
        char row[128];
        size_t left = len - offset;
        dump_row(row, sizeof row, offset, bytes + offset, left < DUMP_ROW ? left : DUMP_ROW);
        pier_log(PIER_LOG_INFO, row, pier_str("peer", pier_peer(c)));
    }
}

static void show(struct pier_conn *c, const void *bytes, size_t len)
{
    pier_log(PIER_LOG_INFO, "message", pier_str("peer", pier_peer(c)),
             pier_int("bytes", (int64_t)len), pier_bytes("text", bytes, len));
    if (level > 1)
        dump(c, bytes, len);
}

void trace_message(struct pier_conn *c, const void *bytes, size_t len)
{
    if (level > 0)
        show(c, bytes, len);
}

/* A read that returns 0 does not say whether the peer is done or the server: the socket knows. */
static const char *end_text(struct pier_conn *c, int end)
{
    if (end < 0)
        return pier_strerror(end);
    if (end == SERVICE_CLOSED)
        return "closed by the handler";
    char byte;
    int type = 0;
    socklen_t len = sizeof type;
    if (getsockopt(pier_conn_fd(c), SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_DGRAM)
        return "the peer is silent, or the server needs its place or stops";
    bool by_peer = recv(pier_conn_fd(c), &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
    return by_peer ? "closed by the peer" : "the server stops";
}

void trace_disconnect(struct pier_conn *c, int end)
{
    if (level == 0)
        return;
    int64_t received, sent;
    pier_conn_bytes(c, &received, &sent);
    pier_log(PIER_LOG_INFO, "disconnected", pier_str("peer", pier_peer(c)),
             pier_str("reason", end_text(c, end)), pier_int("received", received),
             pier_int("sent", sent));
}
