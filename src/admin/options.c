/* SPDX-License-Identifier: MIT */
#include "admin/options.h"

#include <stdlib.h>
#include <string.h>

#define ID_MAX 65535

static const char *const names[] = {[ADMIN_STATUS] = "status",
                                    [ADMIN_LEAVE] = "leave",
                                    [ADMIN_REMOVE] = "remove",
                                    [ADMIN_VERIFY] = "verify",
                                    [ADMIN_DUMP] = "dump"};

static enum error parse_command(const char *text, void *field, struct error_text *why)
{
    (void)why;
    for (enum admin_command i = ADMIN_STATUS; i <= ADMIN_DUMP; i++)
        if (strcmp(text, names[i]) == 0) {
            *(enum admin_command *)field = i;
            return OK;
        }
    return ERROR_INVALID;
}

#define FIELD(name) OPTION_FIELD(struct admin_options, name)

static const struct option_spec specs[] = {
    OPTION(CHOICE, "Arguments", "command", "status|leave|remove|verify|dump", NULL,
           "status: print the cluster's state; leave: let a server leave for good; remove: take a "
           "dead server off the list; verify: check a log; dump: print a log",
           FIELD(command), .parse = parse_command, .positional = true, .private_line = true),
    OPTION(STRING, "Arguments", "target", "ADDRESS|ID|FOLDER", NULL,
           "status: address of any server; leave: internal address of the server that leaves; "
           "remove: id of the dead server; verify, dump: data folder of a stopped server",
           FIELD(target), .positional = true, .private_line = true),
    OPTION(ADDRESSES, "Arguments", "through", "ADDRESS", NULL,
           "remove: internal addresses of servers that run, separated by commas", FIELD(through),
           .positional = true, .private_line = true),
    OPTION(FLAG, "Options", "json", NULL, NULL, "status, verify, dump: as JSON", FIELD(json),
           .private_line = true),
    OPTION(FLAG, "Options", "text", NULL, NULL, "dump: with the texts of messages", FIELD(text),
           .private_line = true),
    OPTION(STRING, "Options", "tls_ca", "FILE", NULL,
           "certificate authority (PEM) that a tls+tcp:// address is checked against",
           FIELD(tls_ca)),
    OPTION(FLAG, "Options", "help", NULL, NULL, "print this and exit", FIELD(help), .letter = 'h',
           .private_line = true),
    OPTION(FLAG, "Options", "version", NULL, NULL, "print the version and exit", FIELD(version),
           .letter = 'V', .private_line = true),
    {.name = NULL},
};

static const struct option_table table = {
    .specs = specs,
    .prefix = "JACKDAW_",
    .usage = "jackdaw-admin status ADDRESS [--json] [--tls_ca=FILE]\n"
             "       jackdaw-admin leave ADDRESS\n"
             "       jackdaw-admin remove ID ADDRESS[,ADDRESS...]\n"
             "       jackdaw-admin verify FOLDER [--json]\n"
             "       jackdaw-admin dump FOLDER [--json] [--text]",
    .summary =
        "Asks a running cluster of jackdaw servers, and changes its members. Reads the log of a "
        "server that is stopped.",
};

/* ---- what the words mean together ---- */

static enum error check_ports(const struct option_addresses *addresses, struct error_text *why)
{
    for (size_t i = 0; i < addresses->count; i++)
        if (addresses->items[i].port == 0 || addresses->items[i].tls)
            return error_set(
                why, ERROR_INVALID,
                "remove takes internal addresses: a port that is not 0, no tls+tcp://");
    return OK;
}

static enum error check_removal(struct admin_options *options, struct error_text *why)
{
    char *end;
    unsigned long id = strtoul(options->target, &end, 10);
    if (options->target[0] < '0' || options->target[0] > '9' || *end != '\0' || id == 0 ||
        id > ID_MAX)
        return error_set(why, ERROR_INVALID, "remove %s: an id is a number from 1 to %d",
                         options->target, ID_MAX);
    options->id = (uint32_t)id;
    if (options->through.count == 0)
        return error_set(why, ERROR_INVALID,
                         "remove %s: add the internal address of a server that runs",
                         options->target);
    return check_ports(&options->through, why);
}

static enum error check_address(struct admin_options *options, struct error_text *why)
{
    const char *word = names[options->command];
    struct error_text reason;
    if (address_parse(options->target, &options->address, &reason) != OK)
        return error_set(why, ERROR_INVALID, "%s: %s", word, reason.text);
    if (options->address.port == 0)
        return error_set(why, ERROR_INVALID, "%s %s: no server can be reached at port 0", word,
                         options->target);
    if (options->through.count > 0)
        return error_set(why, ERROR_INVALID, "%s takes one address", word);
    if (options->command == ADMIN_LEAVE && options->address.tls)
        return error_set(why, ERROR_INVALID,
                         "leave takes an internal address, which has no tls+tcp://");
    if (options->address.tls && options->tls_ca == NULL)
        return error_set(why, ERROR_INVALID,
                         "an address with tls+tcp:// needs --tls_ca, to check the server's "
                         "certificate");
    return OK;
}

static enum error check_folder(const struct admin_options *options, struct error_text *why)
{
    if (options->through.count > 0)
        return error_set(why, ERROR_INVALID, "%s takes one data folder", names[options->command]);
    return OK;
}

static const char *target_of(enum admin_command command)
{
    switch (command) {
    case ADMIN_REMOVE:
        return "the id of a server";
    case ADMIN_VERIFY:
    case ADMIN_DUMP:
        return "the data folder of a server";
    default:
        return "the address of a server";
    }
}

static enum error check_target(struct admin_options *options, struct error_text *why)
{
    switch (options->command) {
    case ADMIN_REMOVE:
        return check_removal(options, why);
    case ADMIN_VERIFY:
    case ADMIN_DUMP:
        return check_folder(options, why);
    default:
        return check_address(options, why);
    }
}

static enum error check(struct admin_options *options, struct error_text *why)
{
    if (options->help || options->version)
        return OK;
    if (options->command == ADMIN_NONE)
        return error_set(why, ERROR_INVALID,
                         "a command is missing: status, leave, remove, verify or dump");
    if (options->target == NULL)
        return error_set(why, ERROR_INVALID, "%s is missing", target_of(options->command));
    if (options->json && (options->command == ADMIN_LEAVE || options->command == ADMIN_REMOVE))
        return error_set(why, ERROR_INVALID, "--json goes with status, verify and dump");
    if (options->text && options->command != ADMIN_DUMP)
        return error_set(why, ERROR_INVALID, "--text goes with dump");
    return check_target(options, why);
}

enum error admin_options_parse(int argc, char *const *argv, struct admin_options *out,
                               struct error_text *why)
{
    memset(out, 0, sizeof *out);
    enum error error = options_parse(&table, argc, argv, out, why);
    if (error != OK)
        return error;
    error = check(out, why);
    if (error != OK)
        options_release(&table, out);
    return error;
}

void admin_options_release(struct admin_options *options)
{
    options_release(&table, options);
}

void admin_options_print_help(FILE *stream)
{
    options_print_help(&table, stream);
}
