/* SPDX-License-Identifier: MIT */
#include "base/log.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINE_BYTES 2048

static const char *const level_names[] = {
    [LOG_DEBUG] = "debug",
    [LOG_INFO] = "info",
    [LOG_WARNING] = "warning",
    [LOG_ERROR] = "error",
    [LOG_SILENT] = "silent",
};

static enum log_level configured_level = LOG_INFO;
static enum log_format configured_format = LOG_TEXT;
static _Atomic uint64_t current_node;
static _Atomic uint64_t current_epoch;

struct line {
    char text[LINE_BYTES];
    size_t used;
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

/* A line that is full stays full: the last two bytes are kept for '}' and the newline. */
static void put(struct line *line, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void put(struct line *line, const char *format, ...)
{
    size_t room = LINE_BYTES - 2 - line->used;
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line->text + line->used, room, format, arguments);
    va_end(arguments);
    if (length > 0)
        line->used += (size_t)length < room ? (size_t)length : room - 1;
}

static void put_quoted(struct line *line, const char *text)
{
    put(line, "\"");
    for (const unsigned char *at = (const unsigned char *)text; *at != '\0'; at++) {
        if (LINE_BYTES - line->used < 32)
            break;
        if (*at == '"' || *at == '\\')
            put(line, "\\%c", *at);
        else if (*at < 0x20 || *at == 0x7f)
            put(line, "\\u%04x", *at);
        else
            put(line, "%c", *at);
    }
    put(line, "\"");
}

static bool is_plain(const char *text)
{
    for (const unsigned char *at = (const unsigned char *)text; *at != '\0'; at++)
        if (*at <= ' ' || *at == '"' || *at == '\\' || *at == '=' || *at == 0x7f)
            return false;
    return *text != '\0';
}

static void put_value(struct line *line, const struct log_field *field)
{
    const char *string = field->string == NULL ? "" : field->string;
    if (field->kind == LOG_FIELD_INTEGER)
        put(line, "%" PRId64, field->integer);
    else if (field->kind == LOG_FIELD_UNSIGNED)
        put(line, "%" PRIu64, field->number);
    else if (configured_format == LOG_TEXT && is_plain(string))
        put(line, "%s", string);
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

void log_write(enum log_level level, const char *module, const char *event,
               const struct log_field *fields)
{
    struct line line = {.used = 0};
    bool json = configured_format == LOG_JSON;
    if (json)
        put_json_head(&line, level_names[level], module, event);
    else
        put_text_head(&line, level_names[level], module, event);
    for (const struct log_field *field = fields; field->key != NULL; field++) {
        put(&line, json ? ",\"%s\":" : " %s=", field->key);
        put_value(&line, field);
    }
    if (json)
        line.text[line.used++] = '}';
    line.text[line.used++] = '\n';
    ssize_t written = write(STDERR_FILENO, line.text, line.used);
    (void)written; /* nobody is left to tell */
}
