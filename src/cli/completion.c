/* SPDX-License-Identifier: MIT */
#include "cli/completion.h"

#include "app/app.h"
#include "client/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The candidates that fit so far. */
struct completion {
    const char *word; /* what is there */
    struct names fitting;
};

/* A server may list anything as a name, and the completed text is printed and typed. */
static bool is_printable(const char *text)
{
    char *printable = text_printable(text, NULL);
    bool is_same = printable != NULL && strcmp(printable, text) == 0;
    free(printable);
    return is_same;
}

static void consider(struct completion *completion, const char *before, const char *candidate)
{
    char text[600];
    if (!is_printable(candidate))
        return;
    int length = snprintf(text, sizeof text, "%s%s", before, candidate);
    if (length > 0 && (size_t)length < sizeof text &&
        strncmp(text, completion->word, strlen(completion->word)) == 0)
        names_add(&completion->fitting, text);
}

static void consider_all(struct completion *completion, const char *before,
                         const struct names *names)
{
    for (size_t i = 0; i < names->count; i++)
        consider(completion, before, names->items[i]);
}

static void consider_commands(struct completion *completion, const char *before)
{
    for (const struct command *command = commands; command->name != NULL; command++)
        consider(completion, before, command->name);
}

static void consider_arguments(struct completion *completion, const struct app *app,
                               const struct command *command)
{
    switch (command->completion) {
    case COMPLETE_ROOM:
        consider_all(completion, "", &app->rooms);
        if (*completion->word == '@')
            consider_all(completion, "@", &app->people);
        break;
    case COMPLETE_PERSON:
        consider_all(completion, *completion->word == '@' ? "@" : "", &app->people);
        break;
    case COMPLETE_COMMAND:
        consider_commands(completion, *completion->word == '/' ? "/" : "");
        break;
    case COMPLETE_NOTHING:
        break;
    }
}

/* Cuts text to what it has in common with other, in whole characters. */
static void keep_common(char *text, const char *other)
{
    size_t length = 0;
    while (text[length] != '\0' && text[length] == other[length])
        length++;
    while (length > 0 && ((unsigned char)text[length] & 0xC0) == 0x80)
        length--;
    text[length] = '\0';
}

static char *finish(struct completion *completion,
                    void (*show)(void *context, const char *candidate), void *context)
{
    const struct names *fitting = &completion->fitting;
    size_t known = strlen(completion->word);
    char *common = fitting->count == 0 ? NULL : strdup(fitting->items[0]);
    if (common == NULL)
        return NULL;
    for (size_t i = 1; i < fitting->count; i++)
        keep_common(common, fitting->items[i]);
    char *addition = NULL;
    const char *rest = strlen(common) > known ? common + known : "";
    if (asprintf(&addition, "%s%s", rest, fitting->count == 1 ? " " : "") < 0)
        addition = NULL;
    free(common);
    if (addition != NULL && *addition == '\0')
        for (size_t i = 0; i < fitting->count; i++)
            show(context, fitting->items[i]);
    return addition;
}

char *completion_of(const struct app *app, const char *line,
                    void (*show)(void *context, const char *candidate), void *context)
{
    const char *space = strrchr(line, ' ');
    struct completion completion = {.word = space == NULL ? line : space + 1};
    const struct command *command = NULL;
    const char *rest;
    if (space == NULL && line[0] == '/' && line[1] != '/')
        consider_commands(&completion, "/");
    else if (space != NULL && command_parse(line, &command, &rest) == LINE_COMMAND &&
             rest + strspn(rest, " ") == completion.word)
        consider_arguments(&completion, app, command);
    else if (command == NULL)
        consider_all(&completion, *completion.word == '@' ? "@" : "", &app->people);
    char *addition = finish(&completion, show, context);
    names_clear(&completion.fitting);
    return addition;
}
