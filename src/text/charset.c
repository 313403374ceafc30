/* SPDX-License-Identifier: MIT */
/*
 * text/charset.c - text in other encodings than UTF-8, by iconv(3) of the C library: an allow-list
 * of names, three ways to treat what cannot be converted, and conversion piece by piece.
 *
 * Invariant: cutting the input elsewhere changes nothing, neither the output nor where a mistake
 * is found. A step converts whole characters from the beginning of what it is given; what is left
 * is shorter than a character and waits in held.
 *
 * What iconv() does of its own is undone here: it drops tag characters (U+E0000 and on) and a pair
 * of Korean bytes silently, and composes letters and accents of three charsets, which delays
 * output.
 */
#include "text/utf8.h"

#include "base/assert.h"
#include "base/err.h"

#include <iconv.h>
#include <string.h>
#include <strings.h>

enum {
    LABEL_MAX = 40, /* no name or label is longer */
    RUN_MAX = 512,  /* bytes of UTF-8 looked at before a step: so many again after a mistake */
    CHAR_MAX = 4,   /* bytes of a character, in every charset here */
};

_Static_assert(sizeof((struct pier_codec *)0)->held >= 2 * CHAR_MAX, "a character and its rest");

/* ---- names ---- */

enum traits {
    UNICODE = 1,  /* has all characters */
    TWO_BYTE = 2, /* made of units of two bytes */
    COMPOSES = 4, /* glibc waits for what may be composed with a character */
};

/* labels: other names, without what is neither letter nor digit, by the WHATWG Encoding Standard
 * and by what Windows and Python call them. iconv: NULL where it is not needed. */
struct charset {
    const char *name, *iconv, *labels;
    int traits;
};

/* Two differences from the web, where iso-8859-1 and ascii mean windows-1252, and iso-8859-9 means
 * windows-1254: here they are what their names say. gb2312, shift_jis and euc-kr are, as there, the
 * supersets that everybody writes. */
static const struct charset charsets[] = {
    { "utf-8", NULL, "unicode11utf8 unicode20utf8 xunicode20utf8", UNICODE },
    { "utf-16le", "UTF-16LE", "csunicode iso10646ucs2 ucs2 unicode unicodefeff utf16",
      UNICODE | TWO_BYTE },
    { "utf-16be", "UTF-16BE", "unicodefffe", UNICODE | TWO_BYTE },
    { "ascii", "ASCII", "usascii ansix341968 iso646us", 0 },
    { "gbk", "GBK",
      "chinese csgb2312 csiso58gb231280 gb2312 gb231280 isoir58 xgbk cp936 ms936 windows936", 0 },
    { "gb18030", "GB18030", "gb180302000", UNICODE },
    { "big5", "BIG5", "cnbig5 csbig5 xxbig5 big5tw", 0 },
    { "big5-hkscs", "BIG5-HKSCS", "hkscs", COMPOSES },
    { "shift_jis", "CP932", "csshiftjis ms932 mskanji sjis windows31j xsjis cp932", 0 },
    { "euc-jp", "EUC-JP", "cseucpkdfmtjapanese xeucjp ujis", 0 },
    { "euc-kr", "UHC",
      "cseuckr csksc56011987 isoir149 korean ksc5601 ksc56011987 ksc56011989 windows949 cp949 uhc",
      0 },
    { "iso-8859-1", "ISO-8859-1", "latin1 l1 cp819 ibm819 csisolatin1 isoir100 iso885911987", 0 },
    { "iso-8859-2", "ISO-8859-2", "latin2 l2 csisolatin2 isoir101 iso885921987", 0 },
    { "iso-8859-3", "ISO-8859-3", "latin3 l3 csisolatin3 isoir109 iso885931988", 0 },
    { "iso-8859-4", "ISO-8859-4", "latin4 l4 csisolatin4 isoir110 iso885941988", 0 },
    { "iso-8859-5", "ISO-8859-5", "cyrillic csisolatincyrillic isoir144 iso885951988", 0 },
    { "iso-8859-6", "ISO-8859-6",
      "arabic asmo708 csiso88596e csiso88596i csisolatinarabic ecma114 iso885961987 iso88596e "
      "iso88596i isoir127",
      0 },
    { "iso-8859-7", "ISO-8859-7",
      "greek greek8 csisolatingreek ecma118 elot928 iso885971987 isoir126 suneugreek", 0 },
    { "iso-8859-8", "ISO-8859-8",
      "hebrew csiso88598e csisolatinhebrew iso885981988 iso88598e isoir138 visual csiso88598i "
      "iso88598i logical",
      0 },
    { "iso-8859-9", "ISO-8859-9", "latin5 l5 csisolatin5 isoir148 iso885991989", 0 },
    { "iso-8859-10", "ISO-8859-10", "latin6 l6 csisolatin6 isoir157", 0 },
    { "iso-8859-13", "ISO-8859-13", "latin7 l7", 0 },
    { "iso-8859-14", "ISO-8859-14", "latin8 l8", 0 },
    { "iso-8859-15", "ISO-8859-15", "latin9 l9 csisolatin9", 0 },
    { "iso-8859-16", "ISO-8859-16", "latin10 l10", 0 },
    { "windows-874", "CP874", "cp874 dos874 iso885911 tis620", 0 },
    { "windows-1250", "CP1250", "cp1250 xcp1250", 0 },
    { "windows-1251", "CP1251", "cp1251 xcp1251", 0 },
    { "windows-1252", "CP1252", "cp1252 xcp1252", 0 },
    { "windows-1253", "CP1253", "cp1253 xcp1253", 0 },
    { "windows-1254", "CP1254", "cp1254 xcp1254", 0 },
    { "windows-1255", "CP1255", "cp1255 xcp1255", COMPOSES },
    { "windows-1256", "CP1256", "cp1256 xcp1256", 0 },
    { "windows-1257", "CP1257", "cp1257 xcp1257", 0 },
    { "windows-1258", "CP1258", "cp1258 xcp1258", COMPOSES },
    { "koi8-r", "KOI8-R", "koi koi8 cskoi8r", 0 },
    { "koi8-u", "KOI8-U", "koi8ru", 0 },
    { "ibm437", "IBM437", "437 cp437", 0 },
    { "ibm850", "IBM850", "850 cp850", 0 },
    { "ibm866", "IBM866", "866 cp866 csibm866", 0 },
    { "macintosh", "MACINTOSH", "mac macroman csmacintosh xmacroman", 0 },
};

enum { CHARSETS = sizeof charsets / sizeof charsets[0] };

const char *pier_charset_name(int index)
{
    return index >= 0 && index < CHARSETS ? charsets[index].name : NULL;
}

/* Letters in lower case and digits, as much as fits LABEL_MAX: what is compared of a name. */
static void plain_label(char *out, const char *name, size_t len)
{
    size_t n = 0;
    for (size_t i = 0; i < len && n < LABEL_MAX - 1; i++) {
        char c = name[i] >= 'A' && name[i] <= 'Z' ? (char)(name[i] | 0x20) : name[i];
        if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))
            out[n++] = c;
    }
    out[n] = '\0';
}

/* The word at *labels as text; moves behind it. False: there is none. */
static bool next_label(char *out, const char **labels)
{
    *labels += strspn(*labels, " ");
    size_t len = strcspn(*labels, " ");
    plain_label(out, *labels, len);
    *labels += len;
    return len > 0;
}

static size_t least_of(size_t a, size_t b, size_t c)
{
    size_t least = a < b ? a : b;
    return least < c ? least : c;
}

/* Letters too many, too few, wrong, or swapped with their neighbour between two labels. */
static size_t slips_between(const char *a, const char *b)
{
    size_t rows[3][LABEL_MAX], len = strlen(b);
    for (size_t j = 0; j <= len; j++)
        rows[0][j] = j;
    size_t i = 1;
    for (; a[i - 1] != '\0'; i++) {
        size_t *row = rows[i % 3], *above = rows[(i + 2) % 3], *before = rows[(i + 1) % 3];
        row[0] = i;
        for (size_t j = 1; j <= len; j++) {
            row[j] = least_of(row[j - 1] + 1, above[j] + 1, above[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = least_of(row[j], row[j], before[j - 2] + 1);
        }
    }
    return rows[(i - 1) % 3][len];
}

/* The charset with that label; NULL: there is none. */
static const struct charset *find_label(const char *label)
{
    char known[LABEL_MAX];
    for (const struct charset *each = charsets; each < charsets + CHARSETS; each++) {
        const char *labels = each->labels;
        plain_label(known, each->name, strlen(each->name));
        do
            if (strcmp(label, known) == 0)
                return each;
        while (next_label(known, &labels));
    }
    return NULL;
}

/* The charset whose label may have been meant; NULL: none is near. */
static const struct charset *find_near(const char *label)
{
    const struct charset *best = NULL;
    size_t least = strlen(label) > 4 ? 3 : 2; /* two slips, or one in a short name */
    char known[LABEL_MAX];
    for (const struct charset *each = charsets; each < charsets + CHARSETS; each++) {
        const char *labels = each->labels;
        plain_label(known, each->name, strlen(each->name));
        do {
            size_t slips = slips_between(label, known);
            if (slips < least && slips < strlen(known)) {
                least = slips;
                best = each;
            }
        } while (next_label(known, &labels));
    }
    return best;
}

/* name is len bytes. Sets *found, or fails. */
static int find_charset(const struct charset **found, const char *verb, const char *name,
                        size_t len)
{
    char label[LABEL_MAX], shown[LABEL_MAX * 4];
    plain_label(label, name, len);
    *found = find_label(label);
    if (*found != NULL)
        return 0;
    const struct charset *near = find_near(label);
    pier_escape(shown, sizeof shown, name, len < LABEL_MAX ? len : LABEL_MAX);
    if (near != NULL)
        return pi_fail_text(-EINVAL, "%s: there is no charset '%s'; did you mean '%s'?", verb,
                            shown, near->name);
    return pi_fail_text(-EINVAL, "%s: there is no charset '%s'", verb, shown);
}

/* ---- what cannot be converted ---- */

enum errors { STRICT, REPLACE, IGNORE };

/* Why a codec has stopped; the bytes that it is about are in held. */
enum fault { NO_FAULT, BAD_BYTES, CUT_BYTES, BAD_UTF8, NOT_IN_CHARSET, NO_ROOM };

static const char *verb_of(const struct pier_codec *c)
{
    return c->encodes ? "encode" : "decode";
}

static const struct charset *charset_of(const struct pier_codec *c)
{
    return c->charset;
}

/* Sets the words of the codec's failure and returns its code. */
static int fail(const struct pier_codec *c)
{
    const char *name = charset_of(c)->name;
    char bytes[3 * sizeof c->held + 1] = "";
    uint32_t code;
    for (int i = 0; i < c->held_len; i++)
        snprintf(bytes + 3 * i, 4, i + 1 < c->held_len ? "%02x " : "%02x", c->held[i]);
    const char *verb = verb_of(c);
    long long at = c->consumed;
    switch ((enum fault)c->fault) {
    case BAD_BYTES:
        return pi_fail_text(-EILSEQ, "%s %s: byte %lld: %s is no character", verb, name, at, bytes);
    case CUT_BYTES:
        return pi_fail_text(-EILSEQ, "%s %s: byte %lld: the character %s is cut", verb, name, at,
                            bytes);
    case BAD_UTF8:
        return pi_fail_text(-EILSEQ, "%s %s: byte %lld: %s is no UTF-8", verb, name, at, bytes);
    case NOT_IN_CHARSET:
        if (pi_utf8_char(c->held, (size_t)c->held_len, &code) == 0)
            code = 0; /* unreachable: it was well-formed */
        return pi_fail_text(-EILSEQ, "%s %s: byte %lld: U+%04X is not in %s", verb, name, at, code,
                            name);
    default:
        return pi_fail_text(-ENOSPC, "%s %s: byte %lld: no room for more", verb, name, at);
    }
}

/* Stops the codec at the bytes given. */
static void stop(struct pier_codec *c, enum fault fault, const unsigned char *p, size_t len)
{
    c->fault = fault;
    c->held_len = (int)len;
    memmove(c->held, p, len);
}

/* ---- steps ---- */

struct output {
    char *at;
    size_t room;
};

static bool put(struct output *out, const void *bytes, size_t len)
{
    if (out->room < len)
        return false;
    memcpy(out->at, bytes, len);
    out->at += len;
    out->room -= len;
    return true;
}

/* iconv() with lengths; returns how many bytes it took, and -EILSEQ, -EINVAL, -E2BIG or 0. */
static size_t convert(struct pier_codec *c, struct output *out, const void *bytes, size_t len,
                      int *rc)
{
    char *in = (char *)bytes;
    size_t left = len;
    *rc = iconv(c->converter, &in, &left, &out->at, &out->room) == (size_t)-1 ? -errno : 0;
    return len - left;
}

static bool put_replacement(struct pier_codec *c, struct output *out)
{
    static const char unknown[] = "\xef\xbf\xbd"; /* U+FFFD */
    int rc;
    if (!c->encodes || c->converter == NULL)
        return put(out, unknown, sizeof unknown - 1);
    if (charset_of(c)->traits & UNICODE)
        (void)convert(c, out, unknown, sizeof unknown - 1, &rc);
    else
        (void)convert(c, out, "?", 1, &rc);
    return rc == 0;
}

/* Treats the len bytes at p that cannot be converted; returns how many are done with. */
static size_t reject(struct pier_codec *c, struct output *out, enum fault fault,
                     const unsigned char *p, size_t len)
{
    if (c->errors == STRICT || (c->errors == REPLACE && !put_replacement(c, out))) {
        stop(c, c->errors == STRICT ? fault : NO_ROOM, p, len);
        return 0;
    }
    return len;
}

/* One character alone, so that nothing is composed: as convert(). */
static size_t convert_alone(struct pier_codec *c, struct output *out, const unsigned char *p,
                            size_t len, int *rc)
{
    *rc = -EINVAL;
    for (size_t n = 1; n <= len && *rc == -EINVAL; n++) {
        struct output before = *out;
        size_t took = convert(c, out, p, n, rc);
        if (took == 0)
            continue;
        if (iconv(c->converter, NULL, NULL, &out->at, &out->room) == (size_t)-1) {
            iconv(c->converter, NULL, NULL, NULL, NULL);
            *out = before;
            *rc = -E2BIG;
            return 0;
        }
        return took;
    }
    return 0;
}

/* Whether iconv() has gone past what it then complained of, though what follows is fine: for that
 * is what it does with A2 E8, the one pair that its UHC does not know. */
static bool passed_over(struct pier_codec *c, const unsigned char *next, size_t len)
{
    char scratch[64];
    struct output nowhere = { scratch, sizeof scratch };
    int rc;
    return convert(c, &nowhere, next, len, &rc) > 0 || rc != -EILSEQ;
}

/* The steps below convert from p, at least one character, and return how many bytes; 0 when those
 * that there are are the beginning of a character, or when the codec has stopped. */

static size_t decode_step(struct pier_codec *c, struct output *out, const unsigned char *p,
                          size_t len)
{
    int rc, traits = charset_of(c)->traits;
    size_t n = traits & COMPOSES ? convert_alone(c, out, p, len, &rc)
                                 : convert(c, out, p, len, &rc);
    if (rc == -EILSEQ && n >= 2 && passed_over(c, p + n, len - n))
        n -= 2;
    if (n > 0 || rc == 0 || rc == -EINVAL)
        return n;
    if (rc == -EILSEQ)
        return reject(c, out, BAD_BYTES, p, traits & TWO_BYTE ? 2 : 1);
    stop(c, NO_ROOM, p, 0);
    return 0;
}

/* Well-formed UTF-8 that has a place in the charset, or may have. */
static size_t encode_run(struct pier_codec *c, struct output *out, const unsigned char *p,
                         size_t len)
{
    int rc = -EILSEQ;
    size_t n = 0;
    uint32_t code;
    if (c->converter == NULL) {
        n = len <= out->room ? len : out->room - pier_utf8_cut(p, out->room);
        rc = n > 0 && put(out, p, n) ? 0 : -E2BIG;
    } else if (charset_of(c)->traits & UNICODE) {
        n = convert(c, out, p, len, &rc);
    } else {
        const unsigned char *low = memmem(p, len, "\xf3\xa0\x80", 3);
        len = low ? (size_t)(low - p) : len;
        const unsigned char *high = memmem(p, len, "\xf3\xa0\x81", 3);
        len = high ? (size_t)(high - p) : len;
        if (len > 0)
            n = convert(c, out, p, len, &rc);
    }
    if (n > 0 || rc == 0)
        return n;
    if (rc == -EILSEQ)
        return reject(c, out, NOT_IN_CHARSET, p, pi_utf8_char(p, CHAR_MAX, &code));
    stop(c, NO_ROOM, p, 0);
    return 0;
}

static size_t utf8_step(struct pier_codec *c, struct output *out, const unsigned char *p,
                        size_t len)
{
    size_t run = len < RUN_MAX || c->converter == NULL ? len : RUN_MAX;
    size_t valid = pi_utf8_valid_len(p, run);
    if (valid > 0)
        return encode_run(c, out, p, valid);
    if (len < CHAR_MAX && pier_utf8_cut(p, len) == len)
        return 0;
    return reject(c, out, c->encodes ? BAD_UTF8 : BAD_BYTES, p, pi_utf8_bad_len(p, len));
}

static size_t step(struct pier_codec *c, struct output *out, const unsigned char *p, size_t len)
{
    size_t n = c->encodes || c->converter == NULL ? utf8_step(c, out, p, len)
                                                  : decode_step(c, out, p, len);
    c->consumed += (int64_t)n;
    return n;
}

/* Completes what is held with len further bytes, one by one; returns how many of them it took. */
static size_t complete(struct pier_codec *c, struct output *out, const unsigned char *p, size_t len)
{
    size_t took = 0;
    while (c->held_len > 0 && took < len && !c->fault) {
        c->held[c->held_len++] = p[took++];
        size_t n;
        while (c->held_len > 0 && (n = step(c, out, c->held, (size_t)c->held_len)) > 0) {
            c->held_len -= (int)n;
            memmove(c->held, c->held + n, (size_t)c->held_len);
        }
        PIER_ASSERT(c->held_len < (int)sizeof c->held);
    }
    return took;
}

/* ---- the interface ---- */

/* "gbk", "gbk//replace": the charset and what to do with errors. */
static int parse(struct pier_codec *c, const char *charset)
{
    static const char *const words[] = { "//strict", "//replace", "//ignore" };
    const struct charset *found;
    size_t len = strcspn(charset, "/");
    while (charset[len] != '\0' && strcasecmp(charset + len, words[c->errors]) != 0)
        if (++c->errors > IGNORE)
            return pi_fail_text(-EINVAL, "%s %s: neither //strict nor //replace nor //ignore",
                                verb_of(c), charset);
    int rc = find_charset(&found, verb_of(c), charset, len);
    c->charset = rc == 0 ? found : NULL;
    return rc;
}

static int init(struct pier_codec *c, const char *charset, bool encodes)
{
    *c = (struct pier_codec){ .encodes = encodes };
    int rc = parse(c, charset);
    const char *name = rc == 0 ? charset_of(c)->iconv : NULL;
    if (name == NULL)
        return rc;
    iconv_t converter = encodes ? iconv_open(name, "UTF-8") : iconv_open("UTF-8", name);
    if (converter != (iconv_t)-1) {
        c->converter = converter;
        return 0;
    }
    rc = -errno;
    name = charset_of(c)->name;
    c->charset = NULL;
    if (rc == -EINVAL) /* not for the asking: files of the C library that are not installed */
        return pi_fail_text(-ENOSYS, "%s %s: this system's iconv does not know it", verb_of(c),
                            name);
    return pi_fail(rc, "%s %s", verb_of(c), name);
}

int pier_decoder_init(struct pier_codec *c, const char *charset)
{
    return init(c, charset, false);
}

int pier_encoder_init(struct pier_codec *c, const char *charset)
{
    return init(c, charset, true);
}

void pier_codec_fini(struct pier_codec *c)
{
    if (c->converter != NULL)
        iconv_close(c->converter);
    *c = (struct pier_codec){ 0 };
}

int64_t pier_codec_bytes(const struct pier_codec *c)
{
    return c->consumed;
}

/* What was written; a failure when that is nothing. */
static ssize_t result(const struct pier_codec *c, const char *begin, const struct output *out)
{
    return out->at > begin || !c->fault ? out->at - begin : fail(c);
}

ssize_t pier_codec_feed(struct pier_codec *c, void *out, size_t cap, const void *bytes, size_t len)
{
    if (c->charset == NULL)
        return pier_error_code();
    struct output to = { .at = out, .room = cap };
    const unsigned char *p = bytes;
    size_t at = c->fault ? len : complete(c, &to, p, len), n;
    while (at < len && !c->fault && (n = step(c, &to, p + at, len - at)) > 0)
        at += n;
    if (!c->fault && at < len) {
        PIER_ASSERT(len - at < sizeof c->held);
        c->held_len = (int)(len - at);
        memcpy(c->held, p + at, len - at);
    }
    return result(c, out, &to);
}

ssize_t pier_codec_finish(struct pier_codec *c, void *out, size_t cap)
{
    if (c->charset == NULL)
        return pier_error_code();
    struct output to = { .at = out, .room = cap };
    if (!c->fault && c->held_len > 0 && reject(c, &to, CUT_BYTES, c->held, (size_t)c->held_len) > 0)
        c->held_len = 0;
    ssize_t n = result(c, out, &to);
    if (n >= 0 && !c->fault)
        c->consumed = 0;
    return n;
}

/* At once: the text and its NUL in out. */
static ssize_t whole(struct pier_codec *c, char *out, size_t cap, const void *bytes, size_t len)
{
    size_t nul = c->encodes && c->charset && (charset_of(c)->traits & TWO_BYTE) ? 2 : 1;
    size_t room = cap > nul ? cap - nul : 0;
    ssize_t fed = pier_codec_feed(c, out, room, bytes, len);
    ssize_t rest = fed < 0 ? fed : pier_codec_finish(c, out + fed, room - (size_t)fed);
    pier_codec_fini(c);
    size_t n = rest < 0 ? 0 : (size_t)(fed + rest);
    memset(out + n, 0, cap - n < nul ? cap - n : nul);
    return rest < 0 ? rest : (ssize_t)n;
}

ssize_t pier_decode(char *out, size_t cap, const char *charset, const void *bytes, size_t len)
{
    struct pier_codec c;
    int rc = pier_decoder_init(&c, charset);
    return rc < 0 ? rc : whole(&c, out, cap, bytes, len);
}

ssize_t pier_encode(void *out, size_t cap, const char *charset, const void *text, size_t len)
{
    struct pier_codec c;
    int rc = pier_encoder_init(&c, charset);
    return rc < 0 ? rc : whole(&c, out, cap, text, len);
}
