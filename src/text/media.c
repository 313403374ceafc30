/* SPDX-License-Identifier: MIT */
/*
 * text/media.c - media types (RFC 9110, 8.3.1): read, guessed from a file's name, and chosen by
 * what a client accepts (12.5.1). Nothing is allocated; names compare in any case of letters.
 */
#include "text/ascii.h"

#include <strings.h>

/* ---- the grammar ---- */

static void skip_space(struct pier_slice *rest)
{
    while (rest->len > 0 && (rest->ptr[0] == ' ' || rest->ptr[0] == '\t')) {
        rest->ptr++;
        rest->len--;
    }
}

static bool skip_char(struct pier_slice *rest, char c)
{
    if (rest->len == 0 || rest->ptr[0] != c)
        return false;
    rest->ptr++;
    rest->len--;
    return true;
}

static struct pier_slice take_token(struct pier_slice *rest)
{
    struct pier_slice token = { rest->ptr, 0 };
    while (token.len < rest->len && pi_is_tchar((unsigned char)rest->ptr[token.len]))
        token.len++;
    rest->ptr += token.len;
    rest->len -= token.len;
    return token;
}

/* With its quotation marks; empty when it is none, or has no end. */
static struct pier_slice take_quoted(struct pier_slice *rest)
{
    struct pier_slice quoted = { rest->ptr, 0 };
    for (size_t i = 1; i < rest->len; i++) {
        unsigned char c = (unsigned char)rest->ptr[i];
        if (c == '"') {
            quoted.len = i + 1;
            rest->ptr += quoted.len;
            rest->len -= quoted.len;
            break;
        }
        if (c == '\\')
            c = ++i < rest->len ? (unsigned char)rest->ptr[i] : 0;
        if ((c < ' ' && c != '\t') || c == 0x7f)
            break;
    }
    return quoted;
}

/* The next ";name=value" off the front: 1, 0 at the end of the parameters, -EINVAL. */
static int next_param(struct pier_slice *rest, struct pier_slice *name, struct pier_slice *value)
{
    for (;;) {
        skip_space(rest);
        if (!skip_char(rest, ';'))
            return 0;
        skip_space(rest);
        *name = take_token(rest);
        if (name->len > 0)
            break; /* else ";;", which RFC 9110 permits */
    }
    if (!skip_char(rest, '='))
        return -EINVAL;
    *value = rest->len > 0 && rest->ptr[0] == '"' ? take_quoted(rest) : take_token(rest);
    return value->len > 0 ? 1 : -EINVAL;
}

/* A media type or range off the front: 0 or -EINVAL. */
static int take_type(struct pier_media_type *out, struct pier_slice *rest)
{
    struct pier_slice name, value;
    skip_space(rest);
    out->type = take_token(rest);
    bool slash = skip_char(rest, '/');
    out->subtype = take_token(rest);
    if (!slash || out->type.len == 0 || out->subtype.len == 0)
        return -EINVAL;
    const char *begin = rest->ptr;
    int rc = 1;
    while (rc > 0)
        rc = next_param(rest, &name, &value);
    out->params = (struct pier_slice){ begin, (size_t)(rest->ptr - begin) };
    return rc;
}

int pier_media_type_parse(struct pier_media_type *out, const char *text, size_t len)
{
    struct pier_slice rest = { text, len };
    *out = (struct pier_media_type){ 0 };
    if (take_type(out, &rest) < 0 || rest.len > 0) {
        *out = (struct pier_media_type){ 0 };
        return -EINVAL;
    }
    return 0;
}

static ssize_t put_value(struct pi_out *o, struct pier_slice value)
{
    bool is_quoted = value.len >= 2 && value.ptr[0] == '"';
    size_t end = value.len - is_quoted;
    for (size_t i = is_quoted; i < end; i++) {
        if (is_quoted && value.ptr[i] == '\\')
            i++;
        pi_out_char(o, value.ptr[i]);
    }
    return pi_out_end(o);
}

ssize_t pier_media_type_param(char *out, size_t cap, const struct pier_media_type *m,
                              const char *wanted)
{
    struct pi_out o = { out, cap, 0 };
    struct pier_slice rest = m->params, name, value;
    while (next_param(&rest, &name, &value) > 0)
        if (pi_is_word(name.ptr, name.len, wanted))
            return put_value(&o, value);
    if (cap > 0)
        out[0] = '\0';
    return -ENOENT;
}

bool pier_media_type_is(const struct pier_media_type *m, const char *wanted)
{
    size_t type = strcspn(wanted, "/");
    return m->type.len == type && wanted[type] == '/' &&
           strncasecmp(m->type.ptr, wanted, type) == 0 &&
           pi_is_word(m->subtype.ptr, m->subtype.len, wanted + type + 1);
}

/* ---- choosing ---- */

enum { WEIGHT_MAX = 1000 };

/* "0.5" in thousandths; -1 for what is no weight (RFC 9110, 12.4.2). */
static int weight_of(struct pier_slice text)
{
    int weight = 0, unit = WEIGHT_MAX;
    for (size_t i = 0; i < text.len; i++) {
        bool is_fine = i == 1 ? text.ptr[i] == '.' : pi_is_digit((unsigned char)text.ptr[i]);
        if (!is_fine || i > 4)
            return -1;
        if (i == 1)
            continue;
        weight += (text.ptr[i] - '0') * unit;
        unit /= 10;
    }
    return text.len > 0 && weight <= WEIGHT_MAX ? weight : -1;
}

static bool has_param(struct pier_slice params, struct pier_slice name, struct pier_slice value)
{
    struct pier_slice n, v;
    while (next_param(&params, &n, &v) > 0)
        if (n.len == name.len && strncasecmp(n.ptr, name.ptr, n.len) == 0 && v.len == value.len &&
            strncasecmp(v.ptr, value.ptr, v.len) == 0)
            return true;
    return false;
}

static bool is_star(struct pier_slice s)
{
    return s.len == 1 && s.ptr[0] == '*';
}

static bool same_word(struct pier_slice a, struct pier_slice b)
{
    return a.len == b.len && strncasecmp(a.ptr, b.ptr, a.len) == 0;
}

/* How closely a range fits an offer, from 1; 0: not at all. *weight becomes the range's. */
static int fit(const struct pier_media_type *range, const struct pier_media_type *offer,
               int *weight)
{
    struct pier_slice rest = range->params, name, value;
    int closeness = is_star(range->type) ? 1 : is_star(range->subtype) ? 2 : 3;
    *weight = WEIGHT_MAX;
    if (closeness > 1 && !same_word(range->type, offer->type))
        return 0;
    if (closeness > 2 && !same_word(range->subtype, offer->subtype))
        return 0;
    while (next_param(&rest, &name, &value) > 0) {
        if (pi_is_word(name.ptr, name.len, "q")) {
            *weight = weight_of(value);
            break; /* what follows is not the type's */
        }
        if (!has_param(offer->params, name, value))
            return 0;
        closeness++;
    }
    return *weight < 0 ? 0 : closeness;
}

/* The weight that the closest range gives an offer; 0: not acceptable. Elements that cannot be
 * understood are passed over. */
static int weigh(struct pier_slice accept, const struct pier_media_type *offer)
{
    int best = 0, closest = 0;
    while (accept.len > 0) {
        struct pier_media_type range;
        int weight;
        int rc = take_type(&range, &accept);
        skip_space(&accept);
        bool is_whole = rc == 0 && (accept.len == 0 || accept.ptr[0] == ',');
        int closeness = is_whole ? fit(&range, offer, &weight) : 0;
        if (closeness > closest) {
            closest = closeness;
            best = weight;
        }
        while (accept.len > 0 && !skip_char(&accept, ',')) {
            accept.ptr++;
            accept.len--;
        }
    }
    return best;
}

int pier_accept_choose(const char *accept, size_t len, const char *const *offers, int count)
{
    struct pier_slice text = { accept, len };
    int best = -1, best_weight = 0;
    skip_space(&text);
    if (text.len == 0)
        return count > 0 ? 0 : -1;
    for (int i = 0; i < count; i++) {
        struct pier_media_type offer;
        if (pier_media_type_parse(&offer, offers[i], strlen(offers[i])) < 0)
            continue;
        int weight = weigh(text, &offer);
        if (weight > best_weight) {
            best = i;
            best_weight = weight;
        }
    }
    return best;
}

/* ---- by the name of a file ---- */

static const struct {
    const char *extension, *type;
} types[] = {
    { "7z", "application/x-7z-compressed" },
    { "aac", "audio/aac" },
    { "apng", "image/apng" },
    { "atom", "application/atom+xml" },
    { "avif", "image/avif" },
    { "bin", "application/octet-stream" },
    { "bmp", "image/bmp" },
    { "br", "application/x-brotli" },
    { "bz2", "application/x-bzip2" },
    { "c", "text/plain; charset=utf-8" },
    { "css", "text/css; charset=utf-8" },
    { "csv", "text/csv; charset=utf-8" },
    { "deb", "application/vnd.debian.binary-package" },
    { "doc", "application/msword" },
    { "docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document" },
    { "epub", "application/epub+zip" },
    { "flac", "audio/flac" },
    { "gif", "image/gif" },
    { "gz", "application/gzip" },
    { "h", "text/plain; charset=utf-8" },
    { "htm", "text/html; charset=utf-8" },
    { "html", "text/html; charset=utf-8" },
    { "ico", "image/vnd.microsoft.icon" },
    { "ics", "text/calendar; charset=utf-8" },
    { "jpeg", "image/jpeg" },
    { "jpg", "image/jpeg" },
    { "js", "text/javascript; charset=utf-8" },
    { "json", "application/json" },
    { "jsonl", "application/jsonl" },
    { "jxl", "image/jxl" },
    { "log", "text/plain; charset=utf-8" },
    { "m4a", "audio/mp4" },
    { "m4v", "video/mp4" },
    { "map", "application/json" },
    { "md", "text/markdown; charset=utf-8" },
    { "mjs", "text/javascript; charset=utf-8" },
    { "mkv", "video/matroska" },
    { "mov", "video/quicktime" },
    { "mp3", "audio/mpeg" },
    { "mp4", "video/mp4" },
    { "mpeg", "video/mpeg" },
    { "odp", "application/vnd.oasis.opendocument.presentation" },
    { "ods", "application/vnd.oasis.opendocument.spreadsheet" },
    { "odt", "application/vnd.oasis.opendocument.text" },
    { "oga", "audio/ogg" },
    { "ogg", "audio/ogg" },
    { "ogv", "video/ogg" },
    { "opus", "audio/ogg" },
    { "otf", "font/otf" },
    { "pdf", "application/pdf" },
    { "png", "image/png" },
    { "ppt", "application/vnd.ms-powerpoint" },
    { "pptx", "application/vnd.openxmlformats-officedocument.presentationml.presentation" },
    { "ps", "application/postscript" },
    { "py", "text/x-python; charset=utf-8" },
    { "rss", "application/rss+xml" },
    { "rtf", "application/rtf" },
    { "sh", "application/x-sh" },
    { "svg", "image/svg+xml" },
    { "tar", "application/x-tar" },
    { "tif", "image/tiff" },
    { "tiff", "image/tiff" },
    { "ttf", "font/ttf" },
    { "txt", "text/plain; charset=utf-8" },
    { "vtt", "text/vtt; charset=utf-8" },
    { "wasm", "application/wasm" },
    { "wav", "audio/wav" },
    { "weba", "audio/webm" },
    { "webm", "video/webm" },
    { "webmanifest", "application/manifest+json" },
    { "webp", "image/webp" },
    { "woff", "font/woff" },
    { "woff2", "font/woff2" },
    { "xhtml", "application/xhtml+xml" },
    { "xls", "application/vnd.ms-excel" },
    { "xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet" },
    { "xml", "application/xml" },
    { "xz", "application/x-xz" },
    { "yaml", "application/yaml" },
    { "yml", "application/yaml" },
    { "zip", "application/zip" },
    { "zst", "application/zstd" },
};

const char *pier_media_type_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot && dot > name && i < sizeof types / sizeof types[0]; i++)
        if (strcasecmp(dot + 1, types[i].extension) == 0)
            return types[i].type;
    return "application/octet-stream";
}
