/* SPDX-License-Identifier: MIT */
#include "base/log.h"

#include "base/log_writer.h"
#include "base/output.h"
#include "base/text.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define FLUSH_MS 500        /* longest that the end of a process waits for a reader of its log */
#define VALUE_TAIL_BYTES 16 /* a longest escape, a quote and the end of the line */
#define REPLACEMENT_CHARACTER 0xFFFDu

static const char *const level_names[] = {
    [LOG_DEBUG] = "debug", [LOG_INFO] = "info",     [LOG_WARNING] = "warning",
    [LOG_ERROR] = "error", [LOG_SILENT] = "silent",
};

static enum log_level configured_level = LOG_INFO;
static enum log_format configured_format = LOG_TEXT;
static _Atomic uint64_t current_node;
static _Atomic uint64_t current_epoch;

struct line {
    char text[LOG_LINE_BYTES];
    size_t used;
    bool full;
};

void log_configure(enum log_level level, enum log_format format)
{
    configured_level = level;
    configured_format = format;
}

void log_identify(uint64_t node, uint64_t epoch)
{
    atomic_store(&current_node, node);
    atomic_store(&current_epoch, epoch);
}

enum error log_level_parse(const char *text, enum log_level *out)
{
    for (enum log_level level = LOG_DEBUG; level <= LOG_SILENT; level++) {
        if (strcmp(text, level_names[level]) == 0) {
            *out = level;
            return OK;
        }
    }
    return ERROR_INVALID;
}

enum error log_format_parse(const char *text, enum log_format *out)
{
    if (strcmp(text, "text") == 0)
        *out = LOG_TEXT;
    else if (strcmp(text, "json") == 0)
        *out = LOG_JSON;
    else
        return ERROR_INVALID;
    return OK;
}

bool log_enabled(enum log_level level)
{
    return level >= configured_level && level != LOG_SILENT;
}

/* Appends all or nothing. Text that does not fit leaves the line unchanged and marks it full. The
 * last two bytes are kept for '}' and the newline. */
static void put(struct line *line, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void put(struct line *line, const char *format, ...)
{
    size_t room = LOG_LINE_BYTES - 2 - line->used;
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line->text + line->used, room, format, arguments);
    va_end(arguments);
    if (length < 0 || (size_t)length >= room)
        line->full = true;
    else
        line->used += (size_t)length;
}

/* Ends early where the line is nearly full, always with the closing quote. */
static void put_quoted(struct line *line, const char *text)
{
    const char *at = text;
    put(line, "\"");
    while (*at != '\0' && LOG_LINE_BYTES - line->used > VALUE_TAIL_BYTES) {
        uint32_t code = REPLACEMENT_CHARACTER;
        size_t size = text_decode(at, &code);
        if (size == 0 || text_is_unsafe(code))
            put(line, "\\u%04" PRIx32, code);
        else if (code == '"' || code == '\\')
            put(line, "\\%c", (int)code);
        else
            put(line, "%.*s", (int)size, at);
        at += size == 0 ? 1 : size;
    }
    put(line, "\"");
}

/* Whether text can stand in a line of words as it is. */
static bool is_plain(const char *text)
{
    for (const unsigned char *at = (const unsigned char *)text; *at != '\0'; at++)
        if (*at <= ' ' || *at == '"' || *at == '\\' || *at == '=' || *at >= 0x7f)
            return false;
    return *text != '\0';
}

static void put_plain(struct line *line, const char *text)
{
    size_t used = line->used + VALUE_TAIL_BYTES;
    put(line, "%.*s", used < LOG_LINE_BYTES ? (int)(LOG_LINE_BYTES - used) : 0, text);
}

static void put_value(struct line *line, const struct log_field *field)
{
    const char *string = field->string == NULL ? "" : field->string;
    if (field->kind == LOG_FIELD_INTEGER)
        put(line, "%" PRId64, field->integer);
    else if (field->kind == LOG_FIELD_UNSIGNED)
        put(line, "%" PRIu64, field->number);
    else if (configured_format == LOG_TEXT && is_plain(string))
        put_plain(line, string);
    else
        put_quoted(line, string);
}

static void put_time(struct line *line)
{
    struct timespec now;
    struct tm utc;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    (void)gmtime_r(&now.tv_sec, &utc);
    char stamp[32];
    (void)strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &utc);
    put(line, "%s.%06ldZ", stamp, now.tv_nsec / 1000);
}

static void put_text_head(struct line *line, const char *level, const char *module,
                          const char *event)
{
    uint64_t node = atomic_load(&current_node);
    uint64_t epoch = atomic_load(&current_epoch);
    put_time(line);
    put(line, " %s ", level);
    if (node == 0)
        put(line, "- ");
    else
        put(line, "%" PRIu64 " ", node);
    if (epoch == 0)
        put(line, "- ");
    else
        put(line, "%" PRIu64 " ", epoch);
    put(line, "%s %s", module, event);
}

static void put_json_head(struct line *line, const char *level, const char *module,
                          const char *event)
{
    put(line, "{\"time\":\"");
    put_time(line);
    put(line,
        "\",\"level\":\"%s\",\"node\":%" PRIu64 ",\"epoch\":%" PRIu64
        ",\"module\":\"%s\",\"event\":\"%s\"",
        level, atomic_load(&current_node), atomic_load(&current_epoch), module, event);
}

/* The bytes of the line are line->text[0..used). */
static void make_line(struct line *line, enum log_level level, const char *module,
                      const char *event, const struct log_field *fields)
{
    line->used = 0;
    line->full = false;
    bool json = configured_format == LOG_JSON;
    if (json)
        put_json_head(line, level_names[level], module, event);
    else
        put_text_head(line, level_names[level], module, event);
    for (const struct log_field *field = fields; field->key != NULL; field++) {
        size_t before = line->used;
        put(line, json ? ",\"%s\":" : " %s=", field->key);
        put_value(line, field);
        if (line->full) {
            line->used = before; /* this field and those behind it are left out */
            break;
        }
    }
    if (json)
        line->text[line->used++] = '}';
    line->text[line->used++] = '\n';
}

void log_write(enum log_level level, const char *module, const char *event,
               const struct log_field *fields)
{
    struct line line;
    make_line(&line, level, module, event, fields);
    log_writer_put(line.text, line.used);
}

/* ---- the thread that writes ---- */

static size_t report_dropped(uint64_t dropped, char text[static LOG_LINE_BYTES])
{
    struct line line;
    make_line(
        &line, LOG_WARNING, "log", "lines_dropped",
        (const struct log_field[]){
            log_number("count", dropped),
            log_string("reason", "the reader of the log was too slow, or its disk refused it"),
            {.key = NULL}});
    memcpy(text, line.text, line.used);
    return line.used;
}

static void on_reopened(const char *file, const char *reason)
{
    if (reason == NULL)
        log_info("log", "reopened", log_string("file", file));
    else
        log_error("log", "cannot_reopen", log_string("file", file), log_string("reason", reason),
                  log_string("hint", "the log goes on in the file that was open before"));
}

enum error log_start(const char *file, struct error_text *why)
{
    enum error error = log_writer_start(file, report_dropped, why);
    if (error == OK)
        (void)atexit(log_flush);
    return error;
}

void log_reopen(void)
{
    log_writer_reopen(on_reopened);
}

void log_flush(void)
{
    log_writer_flush(FLUSH_MS);
}

void log_last_words(const char *sentence)
{
    if (log_writer_has_file())
        log_error("process", "ends", log_string("reason", sentence));
    log_flush();
    char text[LOG_LINE_BYTES];
    int length = snprintf(text, sizeof text, "%s\n", sentence);
    size_t size = length < 0 ? 0 : (size_t)length < sizeof text ? (size_t)length : sizeof text - 1;
    (void)output_within(STDERR_FILENO, text, size, FLUSH_MS);
}
