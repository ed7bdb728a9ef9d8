#include "envd/files/content_type.h"

#include "common/base/cleanup.h"

static const struct {
    const char *extension, *type;
} by_extension[] = {
    { "avif", "image/avif" },
    { "bmp", "image/bmp" },
    { "bz2", "application/x-bzip2" },
    { "css", "text/css; charset=utf-8" },
    { "csv", "text/csv; charset=utf-8" },
    { "doc", "application/msword" },
    { "docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document" },
    { "gif", "image/gif" },
    { "gz", "application/gzip" },
    { "htm", "text/html; charset=utf-8" },
    { "html", "text/html; charset=utf-8" },
    { "ico", "image/vnd.microsoft.icon" },
    { "jpeg", "image/jpeg" },
    { "jpg", "image/jpeg" },
    { "js", "text/javascript; charset=utf-8" },
    { "json", "application/json" },
    { "md", "text/markdown; charset=utf-8" },
    { "mjs", "text/javascript; charset=utf-8" },
    { "mp3", "audio/mpeg" },
    { "mp4", "video/mp4" },
    { "ogg", "audio/ogg" },
    { "pdf", "application/pdf" },
    { "png", "image/png" },
    { "pptx", "application/vnd.openxmlformats-officedocument.presentationml.presentation" },
    { "svg", "image/svg+xml" },
    { "tar", "application/x-tar" },
    { "tif", "image/tiff" },
    { "tiff", "image/tiff" },
    { "txt", "text/plain; charset=utf-8" },
    { "wasm", "application/wasm" },
    { "wav", "audio/x-wav" },
    { "webm", "video/webm" },
    { "webp", "image/webp" },
    { "xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet" },
    { "xml", "text/xml; charset=utf-8" },
    { "xz", "application/x-xz" },
    { "zip", "application/zip" },
    { "zst", "application/zstd" },
};

const char *content_type_by_name(const char *name)
{
    const char *dot = strrchr(name, '.');
    if (!dot || strchr(dot, '/'))
        return NULL;
    for (size_t i = 0; i < ARRAY_LEN(by_extension); i++)
        if (str_eq_nocase(str_of(dot + 1), str_of(by_extension[i].extension)))
            return by_extension[i].type;
    return NULL;
}

static const struct {
    struct str front;
    const char *type;
} by_front[] = {
    { { "%PDF-", 5 }, "application/pdf" },
    { { "%!PS-Adobe-", 11 }, "application/postscript" },
    { { "\xFE\xFF", 2 }, "text/plain; charset=utf-16be" },
    { { "\xFF\xFE", 2 }, "text/plain; charset=utf-16le" },
    { { "\xEF\xBB\xBF", 3 }, "text/plain; charset=utf-8" },
    { { "\x89PNG\r\n\x1A\n", 8 }, "image/png" },
    { { "\xFF\xD8\xFF", 3 }, "image/jpeg" },
    { { "GIF87a", 6 }, "image/gif" },
    { { "GIF89a", 6 }, "image/gif" },
    { { "BM", 2 }, "image/bmp" },
    { { "OggS\0", 5 }, "application/ogg" },
    { { "ID3", 3 }, "audio/mpeg" },
    { { "\x1F\x8B\x08", 3 }, "application/x-gzip" },
    { { "PK\003\004", 4 }, "application/zip" },
    { { "\0asm", 4 }, "application/wasm" },
};

static const char *const html_tags[] = { "<!DOCTYPE HTML",
                                         "<HTML",
                                         "<HEAD",
                                         "<SCRIPT",
                                         "<IFRAME",
                                         "<H1",
                                         "<DIV",
                                         "<FONT",
                                         "<TABLE",
                                         "<A",
                                         "<STYLE",
                                         "<TITLE",
                                         "<B",
                                         "<BODY",
                                         "<BR",
                                         "<P",
                                         "<!--" };

/* A tag counts when a blank or '>' ends it. */
static bool is_html(struct str s)
{
    for (size_t i = 0; i < ARRAY_LEN(html_tags); i++) {
        struct str tag = str_of(html_tags[i]);
        if (s.n > tag.n && str_eq_nocase((struct str){ s.p, tag.n }, tag) &&
            (s.p[tag.n] == ' ' || s.p[tag.n] == '>'))
            return true;
    }
    return false;
}

static bool is_binary(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c < 0x20 && (c <= 0x08 || c == 0x0B || (c >= 0x0E && c <= 0x1A) || c >= 0x1C))
            return true;
    }
    return false;
}

const char *content_type_sniff(struct str front)
{
    if (front.n > CONTENT_TYPE_SNIFF)
        front.n = CONTENT_TYPE_SNIFF;
    for (size_t i = 0; i < ARRAY_LEN(by_front); i++)
        if (str_starts(front, by_front[i].front))
            return by_front[i].type;
    if (front.n >= 12 && str_starts(front, STR("RIFF")) && memcmp(front.p + 8, "WEBPVP", 4) == 0)
        return "image/webp";
    struct str text = front;
    while (text.n && memchr("\t\n\x0C\r ", text.p[0], 5))
        text = str_from(text, 1);
    if (is_html(text))
        return "text/html; charset=utf-8";
    if (str_starts(text, STR("<?xml")))
        return "text/xml; charset=utf-8";
    return is_binary(front) ? "application/octet-stream" : "text/plain; charset=utf-8";
}
