/* SPDX-License-Identifier: MIT */
#include "base/options.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define VARIABLE_BYTES 64
#define HELP_COLUMN 32
#define HELP_WIDTH 80

/* Where a value comes from, as a sentence names it: "--port" or "JACKDAW_PORT". */
struct source {
    char name[VARIABLE_BYTES];
};

static void *field_of(const struct option_spec *spec, void *settings)
{
    return (unsigned char *)settings + spec->offset;
}

static bool is_list(const struct option_spec *spec)
{
    return spec->kind == OPTION_STRINGS || spec->kind == OPTION_ADDRESSES;
}

static struct source option_source(const struct option_spec *spec)
{
    struct source source;
    (void)snprintf(source.name, sizeof source.name, "--%s", spec->name);
    return source;
}

static struct source variable_source(const struct option_table *table,
                                     const struct option_spec *spec)
{
    struct source source;
    (void)snprintf(source.name, sizeof source.name, "%s%s", table->prefix, spec->name);
    for (char *at = source.name; *at != '\0'; at++)
        *at = (char)toupper((unsigned char)*at);
    return source;
}

/* ---- values ---- */

static enum error parse_flag(const char *text, bool *out, const char *source,
                             struct error_text *why)
{
    static const char *const words[2][4] = {{"no", "false", "off", "0"},
                                            {"yes", "true", "on", "1"}};
    for (size_t value = 0; value < 2; value++) {
        for (size_t word = 0; word < 4; word++) {
            if (strcasecmp(text, words[value][word]) == 0) {
                *out = value == 1;
                return OK;
            }
        }
    }
    return error_set(why, ERROR_INVALID, "%s: \"%.100s\" is neither yes nor no", source, text);
}

static bool read_unsigned(const char *text, uint64_t *out)
{
    uint64_t value = 0;
    if (*text == '\0')
        return false;
    for (; *text != '\0'; text++) {
        if (!isdigit((unsigned char)*text))
            return false;
        unsigned digit = (unsigned)(*text - '0');
        if (value > (UINT64_MAX - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    *out = value;
    return true;
}

static enum error parse_unsigned(const struct option_spec *spec, const char *text, void *field,
                                 const char *source, struct error_text *why)
{
    uint64_t most = spec->size >= 8 ? UINT64_MAX : (UINT64_C(1) << (8 * spec->size)) - 1;
    if (spec->max != 0 && spec->max < most)
        most = spec->max;
    uint64_t value;
    if (!read_unsigned(text, &value) || value < spec->min || value > most)
        return error_set(why, ERROR_INVALID,
                         "%s: \"%.100s\" is not a whole number from %" PRIu64 " to %" PRIu64,
                         source, text, spec->min, most);
    switch (spec->size) {
    case 2:
        *(uint16_t *)field = (uint16_t)value;
        break;
    case 4:
        *(uint32_t *)field = (uint32_t)value;
        break;
    default:
        ASSERT(spec->size == 8);
        *(uint64_t *)field = value;
        break;
    }
    return OK;
}

static enum error parse_choice(const struct option_spec *spec, const char *text, void *field,
                               const char *source, struct error_text *why)
{
    struct error_text reason = {.text = ""};
    enum error error = spec->parse(text, field, &reason);
    if (error == OK)
        return OK;
    if (reason.text[0] != '\0')
        return error_set(why, error, "%s: %s", source, reason.text);
    return error_set(why, error, "%s: \"%.100s\" is not one of %s", source, text, spec->argument);
}

static enum error parse_address(const char *text, struct address *out, const char *source,
                                struct error_text *why)
{
    enum error error = address_parse(text, out, why);
    return error == OK ? OK : error_prefix(why, error, "%s", source);
}

/* ---- lists ---- */

static void clear_list(const struct option_spec *spec, void *field)
{
    if (spec->kind == OPTION_STRINGS) {
        struct option_strings *list = field;
        for (size_t i = 0; i < list->count; i++)
            free(list->items[i]);
        free(list->items);
        *list = (struct option_strings){.items = NULL};
    } else {
        struct option_addresses *list = field;
        free(list->items);
        *list = (struct option_addresses){.items = NULL};
    }
}

static enum error add_string(struct option_strings *list, const char *text)
{
    char **items = realloc(list->items, (list->count + 1) * sizeof *items);
    if (items == NULL)
        return ERROR_NO_MEMORY;
    list->items = items;
    items[list->count] = strdup(text);
    if (items[list->count] == NULL)
        return ERROR_NO_MEMORY;
    list->count++;
    return OK;
}

static enum error add_address(struct option_addresses *list, const char *text, const char *source,
                              struct error_text *why)
{
    struct address address;
    enum error error = parse_address(text, &address, source, why);
    if (error != OK)
        return error;
    struct address *items = realloc(list->items, (list->count + 1) * sizeof *items);
    if (items == NULL)
        return ERROR_NO_MEMORY;
    list->items = items;
    items[list->count++] = address;
    return OK;
}

static enum error add_item(const struct option_spec *spec, const char *text, void *field,
                           const char *source, struct error_text *why)
{
    /* Both kinds of lists begin alike, and only one of them is used. */
    size_t count = spec->kind == OPTION_STRINGS ? ((struct option_strings *)field)->count
                                                : ((struct option_addresses *)field)->count;
    if (count == OPTION_LIST_MAX)
        return error_set(why, ERROR_INVALID, "%s: more than %d items", source, OPTION_LIST_MAX);
    if (*text == '\0')
        return error_set(why, ERROR_INVALID, "%s: an item of the list is empty", source);
    return spec->kind == OPTION_STRINGS ? add_string(field, text)
                                        : add_address(field, text, source, why);
}

/* Appends the items of "a,b,c". */
static enum error add_items(const struct option_spec *spec, const char *text, void *field,
                            const char *source, struct error_text *why)
{
    char *copy = strdup(text);
    if (copy == NULL)
        return error_set(why, ERROR_NO_MEMORY, "%s: out of memory", source);
    enum error error = OK;
    char *rest = copy;
    while (error == OK && rest != NULL) {
        char *item = strsep(&rest, ",");
        error = add_item(spec, item, field, source, why);
    }
    free(copy);
    return error;
}

static enum error set_value(const struct option_spec *spec, const char *text, void *settings,
                            const char *source, struct error_text *why)
{
    void *field = field_of(spec, settings);
    switch (spec->kind) {
    case OPTION_FLAG:
        return parse_flag(text, field, source, why);
    case OPTION_STRING:
        *(const char **)field = text;
        return OK;
    case OPTION_UNSIGNED:
        return parse_unsigned(spec, text, field, source, why);
    case OPTION_ADDRESS:
        return parse_address(text, field, source, why);
    case OPTION_CHOICE:
        return parse_choice(spec, text, field, source, why);
    case OPTION_STRINGS:
    case OPTION_ADDRESSES:
        return add_items(spec, text, field, source, why);
    }
    ASSERT(!"a kind of option that does not exist");
    return ERROR_INTERNAL;
}

/* ---- defaults and environment ---- */

static enum error set_defaults(const struct option_table *table, void *settings,
                               struct error_text *why)
{
    for (const struct option_spec *spec = table->specs; spec->name != NULL; spec++)
        memset(field_of(spec, settings), 0, spec->size);
    for (const struct option_spec *spec = table->specs; spec->name != NULL; spec++) {
        const char *text = spec->fallback;
        struct source source = option_source(spec);
        if (!spec->private_line) {
            struct source variable = variable_source(table, spec);
            const char *value = getenv(variable.name);
            if (value != NULL && *value != '\0') {
                text = value;
                source = variable;
            }
        }
        if (text == NULL)
            continue;
        enum error error = set_value(spec, text, settings, source.name, why);
        if (error != OK)
            return error;
    }
    return OK;
}

/* ---- command line ---- */

/* One run over argv. */
struct reader {
    const struct option_table *table;
    void *settings;
    struct error_text *why;
    int count;
    char *const *words;
    int at;
    const struct option_spec *next_position;
    uint64_t lists_given[4]; /* bit per spec: the first use replaces default and environment */
};

static enum error give(struct reader *reader, const struct option_spec *spec, const char *text)
{
    if (is_list(spec)) {
        size_t index = (size_t)(spec - reader->table->specs);
        ASSERT(index < 256);
        uint64_t bit = UINT64_C(1) << (index % 64);
        if ((reader->lists_given[index / 64] & bit) == 0)
            clear_list(spec, field_of(spec, reader->settings));
        reader->lists_given[index / 64] |= bit;
    }
    struct source source = option_source(spec);
    return set_value(spec, text, reader->settings, source.name, reader->why);
}

/* The words that follow a greedy list, up to the next option. */
static enum error give_following(struct reader *reader, const struct option_spec *spec)
{
    while (reader->at < reader->count && reader->words[reader->at][0] != '-') {
        enum error error = give(reader, spec, reader->words[reader->at++]);
        if (error != OK)
            return error;
    }
    return OK;
}

/* Takes the value of an option: attached (after '=' or the letter), or the next word. */
static enum error read_value(struct reader *reader, const struct option_spec *spec,
                             const char *attached)
{
    if (spec->kind == OPTION_FLAG)
        return give(reader, spec, attached == NULL ? "yes" : attached);
    if (attached == NULL) {
        if (reader->at == reader->count)
            return error_set(reader->why, ERROR_INVALID, "--%s needs a value: --%s=%s", spec->name,
                             spec->name, spec->argument);
        attached = reader->words[reader->at++];
    }
    enum error error = give(reader, spec, attached);
    return error == OK && spec->greedy ? give_following(reader, spec) : error;
}

static bool is_named(const char *word, size_t length, const char *name)
{
    if (strlen(name) != length)
        return false;
    for (size_t i = 0; i < length; i++)
        if ((word[i] == '-' ? '_' : word[i]) != name[i])
            return false;
    return true;
}

static enum error read_long(struct reader *reader, const char *word)
{
    const char *equals = strchr(word, '=');
    size_t length = equals == NULL ? strlen(word) : (size_t)(equals - word);
    for (const struct option_spec *spec = reader->table->specs; spec->name != NULL; spec++)
        if (is_named(word, length, spec->name))
            return read_value(reader, spec, equals == NULL ? NULL : equals + 1);
    return error_set(reader->why, ERROR_INVALID,
                     "there is no option --%.*s; --help lists those there are",
                     length > 100 ? 100 : (int)length, word);
}

/* "-v", "-vq" (flags together) or "-pVALUE". */
static enum error read_short(struct reader *reader, const char *letters)
{
    for (; *letters != '\0'; letters++) {
        const struct option_spec *spec = reader->table->specs;
        while (spec->name != NULL && spec->letter != *letters)
            spec++;
        if (spec->name == NULL)
            return error_set(reader->why, ERROR_INVALID,
                             "there is no option -%c; --help lists those there are", *letters);
        if (spec->kind != OPTION_FLAG)
            return read_value(reader, spec, letters[1] == '\0' ? NULL : letters + 1);
        enum error error = give(reader, spec, "yes");
        if (error != OK)
            return error;
    }
    return OK;
}

static enum error read_position(struct reader *reader, const char *word)
{
    const struct option_spec *spec = reader->next_position;
    while (spec->name != NULL && !spec->positional)
        spec++;
    if (spec->name == NULL)
        return error_set(reader->why, ERROR_INVALID,
                         "\"%.100s\" is one word too many; --help tells what is expected", word);
    reader->next_position = is_list(spec) ? spec : spec + 1;
    return give(reader, spec, word);
}

static enum error read_words(struct reader *reader)
{
    bool only_positions = false;
    while (reader->at < reader->count) {
        const char *word = reader->words[reader->at++];
        enum error error = OK;
        if (only_positions || word[0] != '-' || word[1] == '\0')
            error = read_position(reader, word);
        else if (strcmp(word, "--") == 0)
            only_positions = true;
        else if (word[1] == '-')
            error = read_long(reader, word + 2);
        else
            error = read_short(reader, word + 1);
        if (error != OK)
            return error;
    }
    return OK;
}

enum error options_parse(const struct option_table *table, int argc, char *const *argv,
                         void *settings, struct error_text *why)
{
    enum error error = set_defaults(table, settings, why);
    if (error == OK) {
        struct reader reader = {.table = table,
                                .settings = settings,
                                .why = why,
                                .count = argc,
                                .words = argv,
                                .at = 1,
                                .next_position = table->specs};
        error = read_words(&reader);
    }
    if (error == ERROR_NO_MEMORY)
        (void)error_set(why, error, "out of memory while reading the options");
    if (error != OK)
        options_release(table, settings);
    return error;
}

void options_release(const struct option_table *table, void *settings)
{
    for (const struct option_spec *spec = table->specs; spec->name != NULL; spec++)
        if (is_list(spec))
            clear_list(spec, field_of(spec, settings));
}

/* ---- help ---- */

/* Prints text from a column on, broken between words before the edge. */
static void print_wrapped(FILE *stream, const char *text, int column, int indent)
{
    while (*text != '\0') {
        int length = (int)strcspn(text, " ");
        if (column > indent && column + 1 + length > HELP_WIDTH) {
            (void)fprintf(stream, "\n%*s", indent, "");
            column = indent;
        } else if (column > indent) {
            (void)fputc(' ', stream);
            column++;
        }
        (void)fprintf(stream, "%.*s", length, text);
        column += length;
        text += length;
        text += strspn(text, " ");
    }
    (void)fputc('\n', stream);
}

static void print_option(const struct option_spec *spec, FILE *stream)
{
    char head[128];
    char letter[8] = "    ";
    if (spec->letter != '\0')
        (void)snprintf(letter, sizeof letter, "-%c, ", spec->letter);
    (void)snprintf(head, sizeof head, "  %s--%s%s%s%s", letter, spec->name,
                   spec->argument == NULL ? "" : " ", spec->argument == NULL ? "" : spec->argument,
                   spec->greedy ? " ..." : "");
    int column = fprintf(stream, "%s", head);
    if (column + 2 > HELP_COLUMN) {
        (void)fputc('\n', stream);
        column = 0;
    }
    (void)fprintf(stream, "%*s", HELP_COLUMN - column, "");
    char text[1024];
    bool told = spec->fallback != NULL && *spec->fallback != '\0';
    (void)snprintf(text, sizeof text, "%s%s%s%s", spec->help, told ? " (default: " : "",
                   told ? spec->fallback : "", told ? ")" : "");
    print_wrapped(stream, text, HELP_COLUMN, HELP_COLUMN);
}

void options_print_help(const struct option_table *table, FILE *stream)
{
    (void)fprintf(stream, "usage: %s\n", table->usage);
    if (table->summary != NULL)
        (void)fprintf(stream, "%s\n", table->summary);
    const char *group = NULL;
    for (const struct option_spec *spec = table->specs; spec->name != NULL; spec++) {
        if (group == NULL || strcmp(group, spec->group) != 0)
            (void)fprintf(stream, "\n%s:\n", spec->group);
        group = spec->group;
        print_option(spec, stream);
    }
    (void)fputc('\n', stream);
    char text[256];
    (void)snprintf(text, sizeof text,
                   "Options that make sense there are also environment variables: the name in "
                   "capitals after %s, as in %sLOG_LEVEL=...",
                   table->prefix, table->prefix);
    print_wrapped(stream, text, 0, 0);
    if (table->closing != NULL)
        (void)fprintf(stream, "%s\n", table->closing);
}
