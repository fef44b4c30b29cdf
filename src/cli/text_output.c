/* SPDX-License-Identifier: MIT */
#include "cli/text_output.h"

#include "app/app.h"
#include "base/text.h"
#include "client/text.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

static void put(struct text_output *lines, const char *text)
{
    if (lines->holding && lines->held_stream != NULL)
        (void)fputs(text, lines->held_stream);
    else if (lines->put != NULL)
        lines->put(lines->put_context, text);
    else
        (void)fputs(text, stdout);
    (void)fflush(stdout);
}

/* Bytes of a sequence that sets a style, and does nothing else to a terminal; 0: at is none. */
static size_t style_size(const char *at)
{
    if (at[0] != '\x1b' || at[1] != '[')
        return 0;
    size_t size = 2 + strspn(at + 2, "0123456789;");
    return at[size] == 'm' ? size + 1 : 0;
}

/* Returns the number of bytes that may be printed unchanged; 0: none. */
static size_t safe_size(const char *at)
{
    uint32_t character;
    size_t size = text_decode(at, &character);
    if (size > 0 && !text_is_unsafe(character))
        return size;
    if (at[0] == '\n' && at[1] == ' ')
        return 1; /* text_printable indents what goes on in the next line */
    return style_size(at);
}

/* Most texts were made printable before; this is for those that were forgotten. */
static void make_safe(char *text)
{
    char *to = text;
    for (const char *at = text; *at != '\0';) {
        size_t size = safe_size(at);
        if (size == 0) {
            uint32_t ignored;
            size_t skipped = text_decode(at, &ignored);
            *to++ = '?';
            at += skipped == 0 ? 1 : skipped;
            continue;
        }
        memmove(to, at, size);
        to += size;
        at += size;
    }
    *to = '\0';
}

void text_output_put(struct app *app, const char *format, ...)
{
    char *text = NULL;
    va_list arguments;
    va_start(arguments, format);
    int length = vasprintf(&text, format, arguments);
    va_end(arguments);
    if (length < 0)
        return;
    make_safe(text);
    char *line = realloc(text, (size_t)length + 2);
    if (line != NULL) {
        memcpy(line + strlen(line), "\n", 2);
        put(app->lines, line);
    }
    free(line == NULL ? text : line);
}

void text_output_hold(struct app *app)
{
    struct text_output *lines = app->lines;
    lines->held_stream = open_memstream(&lines->held, &lines->held_size);
    lines->holding = lines->held_stream != NULL;
}

void text_output_release(struct app *app)
{
    struct text_output *lines = app->lines;
    if (!lines->holding)
        return;
    lines->holding = false;
    if (fclose(lines->held_stream) == 0 && lines->held_size > 0)
        put(lines, lines->held);
    free(lines->held);
    lines->held_stream = NULL;
    lines->held = NULL;
}

struct text_output_room *text_output_room(struct app *app, const char *name)
{
    struct text_output *lines = app->lines;
    for (size_t i = 0; i < lines->room_count; i++)
        if (strcmp(lines->rooms[i].name, name) == 0)
            return &lines->rooms[i];
    char *copy = strdup(name);
    if (copy == NULL)
        return NULL;
    size_t index = lines->room_count;
    if (index == TEXT_OUTPUT_ROOMS_MAX) {
        index = 0; /* an old one makes room; at worst something is shown twice */
        free(lines->rooms[0].name);
    } else {
        lines->room_count++;
    }
    lines->rooms[index] = (struct text_output_room){.name = copy};
    return &lines->rooms[index];
}

char *text_output_text(const char *text, const char *indent)
{
    char *printable = text_printable(text, indent);
    if (printable == NULL)
        printable = strdup("?");
    ASSERT(printable != NULL);
    return printable;
}

void text_output_time(uint64_t time_ms, char out[static TEXT_OUTPUT_TIME_SIZE])
{
    time_t then = (time_t)(time_ms / 1000);
    time_t now = time(NULL);
    struct tm then_parts;
    struct tm now_parts;
    out[0] = '\0';
    if (localtime_r(&then, &then_parts) == NULL || localtime_r(&now, &now_parts) == NULL)
        return;
    bool today = then_parts.tm_yday == now_parts.tm_yday && then_parts.tm_year == now_parts.tm_year;
    (void)strftime(out, TEXT_OUTPUT_TIME_SIZE, today ? "%H:%M" : "%Y-%m-%d %H:%M", &then_parts);
}
