/* SPDX-License-Identifier: MIT */
/*
 * fuzz/http_h1_wire.c - HTTP/1 messages: the same whole and in two pieces, every slice inside of
 * the input, every value free of what could end a line, and written fields read as they were.
 *
 * The first byte of an input says where it is cut and what it is: a request, a response, chunks.
 */
#include "fuzz.h"

#include "http/h1_wire.h"

#include <string.h>

static struct pi_h1_request request, request_cut;
static struct pi_h1_response response, response_cut;
static struct pi_fields trailers;

static void check_fields(const struct pi_fields *f, size_t len)
{
    FUZZ_CHECK(f->count <= PI_FIELDS_MAX);
    for (uint32_t i = 0; i < f->count; i++) {
        struct pi_part name = pi_field_name(f, i), value = pi_field_value(f, i);
        FUZZ_CHECK(pi_is_token(name.at, name.len));
        FUZZ_CHECK(pi_is_field_value(value.at, value.len));
        FUZZ_CHECK(name.at >= f->base && value.at + value.len <= f->base + len);
        FUZZ_CHECK(pi_field_id(name.at, name.len) == f->list[i].id);
    }
}

/* What has been read is written, and read again. */
static void check_copy(const struct pi_h1_request *r, size_t len)
{
    static char buf[1 << 17];
    struct pi_h1_out o = { .buf = buf, .cap = sizeof buf };
    if (len > sizeof buf / 2)
        return;
    pi_h1_out_request(&o, PI_H1_PART(r, name), PI_H1_PART(r, target));
    for (uint32_t i = 0; i < r->fields.count; i++)
        pi_h1_out_field(&o, pi_field_name(&r->fields, i), pi_field_value(&r->fields, i));
    ssize_t n = pi_h1_out_end(&o);
    FUZZ_CHECK(n > 0);
    request_cut.scan = (struct pi_h1_scan){ 0 };
    FUZZ_CHECK(pi_h1_parse_request(&request_cut, buf, (size_t)n, NULL) == n);
    FUZZ_CHECK(request_cut.fields.count == r->fields.count && request_cut.body == r->body);
    FUZZ_CHECK(request_cut.content_length == r->content_length);
}

static void try_request(const char *data, size_t size, size_t cut)
{
    request.scan = request_cut.scan = (struct pi_h1_scan){ 0 };
    ssize_t n = pi_h1_parse_request(&request, data, size, NULL);
    ssize_t m = pi_h1_parse_request(&request_cut, data, cut, NULL);
    FUZZ_CHECK(m <= 0 || m == n);
    if (m == 0)
        m = pi_h1_parse_request(&request_cut, data, size, NULL);
    /* A line that is not complete may be refused when its end comes. */
    FUZZ_CHECK(n > 0 ? m == n : m <= 0);
    if (n <= 0)
        return;
    FUZZ_CHECK((size_t)n <= size && request.body != PI_H1_UNTIL_CLOSE);
    FUZZ_CHECK(request.host.len > 0 || request.minor == 0);
    check_fields(&request.fields, (size_t)n);
    if (request.minor == 1)
        check_copy(&request, (size_t)n);
}

static void try_response(const char *data, size_t size, size_t cut)
{
    char *whole = malloc(size + 1), *pieces = malloc(size + 1);
    memcpy(whole, data, size);
    memcpy(pieces, data, size);
    response.scan = response_cut.scan = (struct pi_h1_scan){ 0 };
    ssize_t n = pi_h1_parse_response(&response, whole, size, PI_H1_GET, NULL);
    ssize_t m = pi_h1_parse_response(&response_cut, pieces, cut, PI_H1_GET, NULL);
    FUZZ_CHECK(m <= 0 || m == n);
    if (m == 0)
        m = pi_h1_parse_response(&response_cut, pieces, size, PI_H1_GET, NULL);
    FUZZ_CHECK(n > 0 ? m == n && memcmp(whole, pieces, size) == 0 : m <= 0);
    if (n > 0)
        check_fields(&response.fields, (size_t)n);
    free(whole);
    free(pieces);
}

struct outcome {
    ssize_t end; /* what was consumed, or a code; 0: it waits */
    uint64_t payload, sum;
};

/* Bytes up to len have arrived, up to `from` they were offered before. */
static void take_chunks(struct outcome *o, struct pi_h1_chunks *c, const char *data, size_t len)
{
    size_t at = (size_t)o->end;
    while (o->end >= 0 && !pi_h1_chunks_done(c)) {
        struct pi_part p;
        ssize_t n = pi_h1_chunk_step(c, &p, data + at, len - at);
        FUZZ_CHECK(n <= (ssize_t)(len - at));
        FUZZ_CHECK(p.len == 0 || (p.at >= data + at && p.at + p.len == data + at + n));
        for (size_t i = 0; i < p.len; i++)
            o->sum = o->sum * 31 + (uint8_t)p.at[i];
        o->payload += p.len;
        o->end = n < 0 ? n : (ssize_t)(at += (size_t)n);
        if (n == 0)
            return;
    }
}

static void try_chunks(const char *data, size_t size, size_t cut)
{
    struct pi_h1_chunks c = { 0 }, d = { 0 };
    struct outcome whole = { 0 }, pieces = { 0 };
    take_chunks(&whole, &c, data, size);
    take_chunks(&pieces, &d, data, cut);
    take_chunks(&pieces, &d, data, size);
    FUZZ_CHECK(whole.end == pieces.end && whole.payload == pieces.payload);
    FUZZ_CHECK(whole.sum == pieces.sum);
    if (whole.end < 0 || !pi_h1_chunks_done(&c))
        return;
    size_t left = size - (size_t)whole.end;
    ssize_t n = pi_h1_parse_trailers(&trailers, &c, data + whole.end, left, NULL);
    FUZZ_CHECK(n <= (ssize_t)left);
    if (n > 0)
        check_fields(&trailers, (size_t)n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    const char *text = (const char *)data + 1;
    size_t cut = (data[0] >> 2) * (size - 1) / 63;
    switch (data[0] & 3) {
    case 0:
        try_response(text, size - 1, cut);
        break;
    case 1:
        try_chunks(text, size - 1, cut);
        break;
    default:
        try_request(text, size - 1, cut);
    }
    return 0;
}
