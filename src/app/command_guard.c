/* SPDX-License-Identifier: MIT */
/* command_guard.c - plain lines that may have been meant as commands. A message cannot be taken back,
 * and one of these would publish a password. */
#include "app/commands.h"
#include "client/text.h"

#include <stdlib.h>
#include <string.h>

/* Fraction, division, big solidus, diagonal, rising diagonal. Folding makes a slash of U+FF0F. */
static const char *const slashes[] = {
    "/", "\xE2\x81\x84", "\xE2\x88\x95", "\xE2\xA7\xB8", "\xE2\x95\xB1", "\xE2\x9F\x8B"};

static size_t slash_size(const char *text)
{
    for (size_t i = 0; i < sizeof slashes / sizeof slashes[0]; i++)
        if (strncmp(text, slashes[i], strlen(slashes[i])) == 0)
            return strlen(slashes[i]);
    return 0;
}

static bool is_mark(const char *text)
{
    return *text == '\\' || *text == '!' || slash_size(text) > 0;
}

/* Whether text begins with a space and holds so many words. */
static bool has_words(const char *text, size_t least)
{
    size_t words = 0;
    enum text_kind before = text_next(&text);
    if (before != TEXT_SPACE)
        return false;
    for (enum text_kind kind; (kind = text_next(&text)) != TEXT_END; before = kind)
        if (kind != TEXT_SPACE && before == TEXT_SPACE)
            words++;
    return words >= least;
}

/* A word of the line, and what is before it. */
struct place {
    const char *word;
    bool first;  /* no other word is before it */
    bool signs;  /* ... but something that is no space is */
    bool marked; /* a mark is right before it, */
    bool glued;  /* and right before that another word, as in an URL */
};

static const struct command *command_at(const struct place *place)
{
    const char *name = place->word;
    if (place->first)
        name += strspn(name, "0123456789");
    bool is_behind_signs = place->first && (place->signs || name > place->word);
    if (!is_behind_signs && (!place->marked || place->glued))
        return NULL;
    size_t size = strspn(name, "abcdefghijklmnopqrstuvwxyz");
    const struct command *command = command_named(name, size);
    bool holds = command != NULL && command->password_words > 0 &&
                 has_words(name + size, command->password_words);
    return holds ? command : NULL;
}

/* The first word of a line that begins with what looks like a slash. */
static const struct command *command_behind_slash(const char *folded)
{
    const char *at = folded + text_blank_size(folded, strlen(folded));
    size_t size = slash_size(at);
    return size == 0 ? NULL : command_named(at + size, command_name_size(at + size));
}

/* A prompt ends with '>', so the text after it counts as a line. */
static void note_sign(struct place *place, enum text_kind kind, enum text_kind before,
                      const char *character)
{
    place->marked = kind == TEXT_OTHER && is_mark(character);
    place->signs = place->signs || kind == TEXT_OTHER;
    if (kind != TEXT_OTHER || *character == '>')
        place->glued = false;
    else if (before == TEXT_WORD)
        place->glued = true;
}

static const struct command *find(const char *folded)
{
    const struct command *command = command_behind_slash(folded);
    struct place place = {.first = true};
    enum text_kind before = TEXT_SPACE;
    for (const char *at = folded; command == NULL && *at != '\0';) {
        const char *character = at;
        enum text_kind kind = text_next(&at);
        if (kind == TEXT_WORD && before != TEXT_WORD) {
            place.word = character;
            command = command_at(&place);
            place.first = false;
        }
        note_sign(&place, kind, before, character);
        before = kind;
    }
    return command;
}

const struct command *command_guard(const char *line)
{
    char *folded = text_fold(line);
    const struct command *command = folded == NULL ? NULL : find(folded);
    free(folded);
    return command;
}
