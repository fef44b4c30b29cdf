/* SPDX-License-Identifier: MIT */
/* options.h - one table makes a program's command line, its environment and its --help.
 *
 *     static const struct option_spec specs[] = {
 *         OPTION(UNSIGNED, "Network", "port", "PORT", "2625", "where to listen",
 *                OPTION_FIELD(struct settings, port), .min = 1, .max = 65535, .letter = 'p'),
 *         {.name = NULL},
 *     };
 *
 * An option is given as --port=1, --port 1 or -p 1; `-` and `_` in long names are alike; `--` ends
 * the options. Each is also an environment variable: the table's prefix and the name in capitals
 * (JACKDAW_PORT); an empty variable counts as not set. The command line wins over the environment,
 * that over the default. Mistakes are sentences that name the option and what it takes.
 *
 * Values are written into a struct of the program's, one field per option. Any thread. */
#ifndef JACKDAW_BASE_OPTIONS_H
#define JACKDAW_BASE_OPTIONS_H

#include "base/address.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define OPTION_LIST_MAX 256 /* most items of one list */

/* The values that an option takes, and the type of its field. */
enum option_kind {
    OPTION_FLAG,      /* bool: --name, or --name=yes|no|true|false|on|off|1|0 */
    OPTION_STRING,    /* const char *: borrowed from argv, the environment or the table; or NULL */
    OPTION_UNSIGNED,  /* uint16_t, uint32_t or uint64_t: decimal, from min to max */
    OPTION_ADDRESS,   /* struct address */
    OPTION_CHOICE,    /* any type: parse writes it */
    OPTION_STRINGS,   /* struct option_strings: may be repeated, and each time be a,b,c */
    OPTION_ADDRESSES, /* struct option_addresses: likewise */
};

/* Lists: items and the array are the options'; ended by options_release. */
struct option_strings {
    char **items;
    size_t count;
};
struct option_addresses {
    struct address *items;
    size_t count;
};

/* An address that may be left out; for a parse function of OPTION_CHOICE. */
struct option_address {
    bool is_given;
    struct address address;
};

struct option_spec {
    const char *name; /* long name, in lower case with '_'; NULL ends a table */
    char letter;      /* short name; 0: none */
    enum option_kind kind;
    const char *argument; /* name of the value in --help: "FILE", "debug|info"; NULL for flags */
    const char *fallback; /* default in text form, as on the command line; NULL: false, 0, none */
    const char *help;     /* the option's purpose: a phrase without a full stop */
    const char *group;    /* --help's heading; options of a group stand together */
    uint64_t min, max;    /* OPTION_UNSIGNED; max 0: as much as the field holds */
    bool positional;      /* may also be given as a plain word; positions in the table's order */
    bool greedy;          /* lists: takes all words up to the next option (-a A B C) */
    bool private_line;    /* command line only: there is no environment variable for it */
    /* OPTION_CHOICE: reads text into the field. ERROR_INVALID: why may be left empty, the sentence
     * then names `argument`. */
    enum error (*parse)(const char *text, void *field, struct error_text *why);
    size_t offset, size; /* of the field: OPTION_FIELD */
};

/* One row of a table. Then comes OPTION_FIELD, and what else the option has. */
#define OPTION(kind_, group_, name_, argument_, fallback_, help_, ...)                             \
    {                                                                                              \
        .name = (name_), .kind = OPTION_##kind_, .argument = (argument_), .fallback = (fallback_), \
        .group = (group_), .help = (help_), __VA_ARGS__                                            \
    }
#define OPTION_FIELD(type, field) \
    .offset = offsetof(type, field), .size = sizeof(((type *)0)->field)

struct option_table {
    const struct option_spec *specs;
    const char *prefix;  /* of environment variables: "JACKDAW_" */
    const char *usage;   /* the text after "usage: " */
    const char *summary; /* the program's purpose, printed below the usage; may be NULL */
    const char *closing; /* printed at the end of --help; may be NULL */
};

/* Fills *settings (every field that a spec names, whatever was there before). argv[0] is skipped.
 * On ERROR_INVALID or ERROR_NO_MEMORY why has a sentence, and the caller releases nothing. */
enum error options_parse(const struct option_table *table, int argc, char *const *argv,
                         void *settings, struct error_text *why);

/* Frees the lists. Once per successful options_parse. */
void options_release(const struct option_table *table, void *settings);

/* Prints usage, options by group with their defaults, and the name of the variables. */
void options_print_help(const struct option_table *table, FILE *stream);

#endif
