/* SPDX-License-Identifier: MIT */
/*
 * encodings.c - one text in two encodings: the bytes of each, and the text that comes back.
 */
#include <pier/pier.h>

#include <string.h>

static int show(const char *charset, const char *text)
{
    char bytes[256], back[256];
    ssize_t len = pier_encode(bytes, sizeof bytes, charset, text, strlen(text));
    if (len < 0 || pier_decode(back, sizeof back, charset, bytes, (size_t)len) < 0)
        return pier_fail("encodings");
    printf("%s: ", charset);
    for (ssize_t i = 0; i < len; i++)
        printf("\\x%02x", (unsigned char)bytes[i]);
    printf("\n%s: %s\n", charset, back);
    return 0;
}

int main(int argc, char **argv)
{
    const char *text = argc > 1 ? argv[1] : "你好,世界!";
    int failed = show("utf-8", text);
    return failed ? failed : show("gbk", text);
}
