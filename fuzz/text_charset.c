/* SPDX-License-Identifier: MIT */
/*
 * fuzz/text_charset.c - a text converted at once and in pieces: the same output, the same place of
 * the same mistake.
 *
 * The first byte chooses the charset, the second the direction and the mode, the third the length
 * of the pieces; the rest is the text.
 */
#include "fuzz.h"

#include <pier/text.h>

#include <stdlib.h>
#include <string.h>

struct outcome {
    char *text;
    size_t len;
    int64_t bytes;
    char error[256];
};

static void convert(struct outcome *o, bool encodes, const char *charset, const uint8_t *in,
                    size_t len, size_t piece)
{
    struct pier_codec c;
    int rc = encodes ? pier_encoder_init(&c, charset) : pier_decoder_init(&c, charset);
    FUZZ_CHECK(rc == 0);
    *o = (struct outcome){ .text = malloc(PIER_CODEC_ROOM(len)) };
    ssize_t n = 0;
    for (size_t at = 0; at < len && n >= 0; at += piece) {
        size_t part = len - at < piece ? len - at : piece;
        n = pier_codec_feed(&c, o->text + o->len, PIER_CODEC_ROOM(len) - o->len, in + at, part);
        o->len += n > 0 ? (size_t)n : 0;
    }
    if (n >= 0)
        n = pier_codec_finish(&c, o->text + o->len, PIER_CODEC_ROOM(len) - o->len);
    o->len += n > 0 ? (size_t)n : 0;
    FUZZ_CHECK(n != -ENOSPC);
    o->bytes = pier_codec_bytes(&c);
    snprintf(o->error, sizeof o->error, "%s", n < 0 ? pier_error() : "");
    pier_codec_fini(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const modes[] = { "", "//replace", "//ignore" };
    int count = 0;
    while (pier_charset_name(count))
        count++;
    if (size < 3)
        return 0;
    char charset[64];
    const char *mode = modes[data[1] / 2 % 3];
    snprintf(charset, sizeof charset, "%s%s", pier_charset_name(data[0] % count), mode);
    bool encodes = data[1] % 2;

    struct outcome whole, cut;
    convert(&whole, encodes, charset, data + 3, size - 3, size);
    convert(&cut, encodes, charset, data + 3, size - 3, data[2] % 16 + 1);
    FUZZ_CHECK(whole.len == cut.len && memcmp(whole.text, cut.text, cut.len) == 0);
    FUZZ_CHECK(whole.bytes == cut.bytes && strcmp(whole.error, cut.error) == 0);
    FUZZ_CHECK(*mode == '\0' || whole.error[0] == '\0');
    FUZZ_CHECK(encodes || pier_utf8_valid(whole.text, whole.len));
    free(whole.text);
    free(cut.text);
    return 0;
}
