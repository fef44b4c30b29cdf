/* SPDX-License-Identifier: MIT */
/* What --status prints. Texts come from a server that may be any: nothing of them reaches the terminal
 * but what can be seen. */
#include "base/character.h"
#include "cluster/clocks.h"
#include "server/operator.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CELL_BYTES 320
#define COLUMNS 7

/* ---- words ---- */

static void write_clean(char out[static CELL_BYTES], const char *text)
{
    size_t i = 0;
    for (; text[i] != '\0' && i < CELL_BYTES - 1; i++)
        out[i] = text[i] >= ' ' && text[i] < 0x7f ? text[i] : '?';
    out[i] = '\0';
}

/* "3:1042": the epoch's number and the seq. */
static void write_position(char out[static CELL_BYTES], const Jackdaw__Position *position)
{
    if (position == NULL || position->seq == 0)
        (void)snprintf(out, CELL_BYTES, "-");
    else
        (void)snprintf(out, CELL_BYTES, "%" PRIu64 ":%" PRIu64, position->epoch >> 16,
                       position->seq);
}

static void write_duration(char out[static CELL_BYTES], uint64_t ms)
{
    uint64_t seconds = ms / 1000;
    if (seconds < 60)
        (void)snprintf(out, CELL_BYTES, "%" PRIu64 " s", seconds);
    else if (seconds < 3600)
        (void)snprintf(out, CELL_BYTES, "%" PRIu64 " min", seconds / 60);
    else if (seconds < 86400)
        (void)snprintf(out, CELL_BYTES, "%" PRIu64 " h %" PRIu64 " min", seconds / 3600,
                       seconds % 3600 / 60);
    else
        (void)snprintf(out, CELL_BYTES, "%" PRIu64 " d %" PRIu64 " h", seconds / 86400,
                       seconds % 86400 / 3600);
}

/* "2026-11-30 01:02:03 UTC". */
static void write_time(char out[static CELL_BYTES], uint64_t ms)
{
    time_t seconds = (time_t)(ms / 1000);
    struct tm parts;
    if (gmtime_r(&seconds, &parts) == NULL ||
        strftime(out, CELL_BYTES, "%Y-%m-%d %H:%M:%S UTC", &parts) == 0)
        (void)snprintf(out, CELL_BYTES, "%" PRIu64 " ms", ms);
}

static const char *state_of(const Jackdaw__StatusReply *status,
                            const Jackdaw__StatusReply__Member *member)
{
    if (member->left)
        return "left";
    if (member->id == status->master)
        return "master";
    if (member->in_sync)
        return "in sync";
    return member->voter ? "behind" : "joining";
}

/* Who has left is no longer told of what is written. */
static bool has_lag(const Jackdaw__StatusReply__Member *member)
{
    return !member->left && member->position != NULL && member->position->seq != 0;
}

/* Of those that have not left. */
static void count(const Jackdaw__StatusReply *status, unsigned *all, unsigned *in_sync)
{
    *all = *in_sync = 0;
    for (size_t i = 0; i < status->n_members; i++) {
        const Jackdaw__StatusReply__Member *member = status->members[i];
        *all += !member->left;
        *in_sync += !member->left && member->in_sync;
    }
}

/* ---- for people ---- */

static void print_verdict(const Jackdaw__StatusReply *status, FILE *out)
{
    char role[CELL_BYTES];
    char durability[CELL_BYTES];
    unsigned all, in_sync;
    write_clean(role, status->role);
    write_clean(durability, status->durability);
    count(status, &all, &in_sync);
    if (strcmp(role, "removed") == 0) {
        (void)fprintf(out, "server %u has left the cluster for good\n", status->id);
        return;
    }
    if (status->master == 0)
        (void)fprintf(out, "NO MASTER that server %u knows of (it is %s)", status->id, role);
    else if (status->master == status->id)
        (void)fprintf(out, "server %u is the master", status->id);
    else
        (void)fprintf(out, "server %u is %s%s, its master is server %u", status->id,
                      strcmp(role, "slave") == 0 ? "a " : "", role, status->master);
    if (status->master != 0)
        (void)fprintf(out, " of epoch %" PRIu64 " (%" PRIu64 ")", status->epoch >> 16,
                      status->epoch);
    (void)fprintf(out, "; %u of %u server%s in sync, durability %s\n", in_sync, all,
                  all == 1 ? "" : "s", durability);
}

struct table {
    char (*cells)[COLUMNS][CELL_BYTES]; /* the first row: headings */
    size_t rows;
};

static void write_note(char out[static CELL_BYTES], const Jackdaw__StatusReply *status,
                       const Jackdaw__StatusReply__Member *member)
{
    int length = 0;
    out[0] = '\0';
    if (member->id == status->id)
        length = snprintf(out, CELL_BYTES, "asked");
    else if (!member->left && !member->reachable)
        length = snprintf(out, CELL_BYTES, "not reachable from server %u", status->id);
    bool is_off = member->has_clock && (member->clock_ms > CLOCKS_TOLERANCE_MS ||
                                        member->clock_ms < -CLOCKS_TOLERANCE_MS);
    if (is_off)
        (void)snprintf(out + length, CELL_BYTES - (size_t)length,
                       "%sits clock differs: %+" PRId64 " s", length > 0 ? "; " : "",
                       member->clock_ms / 1000);
}

static void fill_row(char cells[COLUMNS][CELL_BYTES], const Jackdaw__StatusReply *status,
                     const Jackdaw__StatusReply__Member *member)
{
    bool is_known = has_lag(member);
    (void)snprintf(cells[0], CELL_BYTES, "%u", member->id);
    (void)snprintf(cells[1], CELL_BYTES, "%s", state_of(status, member));
    write_clean(cells[2], *member->client == '\0' ? "-" : member->client);
    write_clean(cells[3], *member->internal == '\0' ? "-" : member->internal);
    write_position(cells[4], member->position);
    if (is_known)
        (void)snprintf(cells[5], CELL_BYTES, "%" PRIu64, member->lag);
    else
        (void)snprintf(cells[5], CELL_BYTES, "-");
    write_note(cells[6], status, member);
}

static void print_table(const struct table *table, FILE *out)
{
    int widths[COLUMNS] = {0};
    for (size_t row = 0; row < table->rows; row++)
        for (size_t i = 0; i < COLUMNS; i++) {
            int width = (int)strlen(table->cells[row][i]);
            widths[i] = width > widths[i] ? width : widths[i];
        }
    for (size_t row = 0; row < table->rows; row++) {
        char line[COLUMNS * (CELL_BYTES + 2) + 1];
        int length = 0;
        for (size_t i = 0; i < COLUMNS; i++) {
            bool is_number = i == 0 || i == 4 || i == 5;
            length += snprintf(line + length, sizeof line - (size_t)length, "  %*s",
                               is_number ? widths[i] : -widths[i], table->cells[row][i]);
        }
        while (length > 0 && line[length - 1] == ' ')
            length--;
        (void)fprintf(out, "%.*s\n", length, line);
    }
}

/* What this program has a bug in. */
static void print_poison(const Jackdaw__StatusReply *status, FILE *out)
{
    if (status->poison_requests > 0)
        (void)fprintf(out,
                      "server %u: refused %" PRIu64 " request%s that ended a server process; see "
                      "poison_refused in its log\n",
                      status->id, status->poison_requests, status->poison_requests == 1 ? "" : "s");
    if (status->poison_entries > 0)
        (void)fprintf(out,
                      "server %u: died twice of an entry of the log and took a snapshot instead; "
                      "see poison_entry in its log\n",
                      status->id);
}

static void print_members(const Jackdaw__StatusReply *status, FILE *out)
{
    static const char *const headings[COLUMNS] = {"id",       "state", "clients", "internal",
                                                  "position", "lag",   "note"};
    struct table table = {.rows = status->n_members + 1};
    table.cells = calloc(table.rows, sizeof *table.cells);
    if (table.cells == NULL)
        return; /* the verdict was printed */
    for (size_t i = 0; i < COLUMNS; i++)
        (void)snprintf(table.cells[0][i], CELL_BYTES, "%s", headings[i]);
    for (size_t i = 0; i < status->n_members; i++)
        fill_row(table.cells[i + 1], status, status->members[i]);
    (void)fputc('\n', out);
    print_table(&table, out);
    free(table.cells);
}

static void print_database(const Jackdaw__StatusReply *status, FILE *out)
{
    char text[CELL_BYTES];
    if (status->damage[0] != '\0') {
        write_clean(text, status->damage);
        (void)fprintf(out, "server %u: DATABASE DAMAGED: %s; keep its data folder\n", status->id,
                      text);
    } else if (status->checked_ms != 0) {
        write_time(text, status->checked_ms);
        (void)fprintf(out, "server %u: database checked %s, no damage found%s\n", status->id, text,
                      status->checking ? "; it is being checked again" : "");
    } else if (status->checking) {
        (void)fprintf(out, "server %u: the database is being checked\n", status->id);
    }
}

void operator_print_text(const Jackdaw__StatusReply *status, FILE *out)
{
    char server[CELL_BYTES];
    char uptime[CELL_BYTES];
    char last[CELL_BYTES];
    char committed[CELL_BYTES];
    print_verdict(status, out);
    if (status->n_members > 0)
        print_members(status, out);
    write_clean(server, status->server);
    write_duration(uptime, status->uptime_ms);
    write_position(last, status->last);
    write_position(committed, status->committed);
    (void)fprintf(out, "\nserver %u: %s, up %s, %u client%s, committed %s of %s\n", status->id,
                  server, uptime, status->clients, status->clients == 1 ? "" : "s", committed,
                  last);
    print_database(status, out);
    if (status->orphans > 0)
        (void)fprintf(out,
                      "server %u: %" PRIu64 " change%s of a lost epoch wait%s here until a master "
                      "has taken them over; keep its data folder\n",
                      status->id, status->orphans, status->orphans == 1 ? "" : "s",
                      status->orphans == 1 ? "s" : "");
    print_poison(status, out);
}

/* ---- for programs ---- */

/* Takes value. NULL, or no place: the object goes, and all that follows has none to go to. */
static void put(json_t **object, const char *key, json_t *value)
{
    if (*object != NULL && json_object_set_new(*object, key, value) == 0)
        return;
    json_decref(*object);
    *object = NULL;
}

static void put_number(json_t **object, const char *key, uint64_t value)
{
    if (*object != NULL)
        put(object, key, json_integer((json_int_t)value));
}

static void put_flag(json_t **object, const char *key, bool value)
{
    if (*object != NULL)
        put(object, key, json_boolean(value));
}

static void put_text(json_t **object, const char *key, const char *text)
{
    if (*object == NULL)
        return;
    json_t *value = json_string(text);
    if (value == NULL) { /* no UTF-8, or no memory */
        char clean[CELL_BYTES];
        write_clean(clean, text);
        value = json_string(clean);
    }
    put(object, key, value);
}

static void put_position(json_t **object, const char *key, const Jackdaw__Position *position)
{
    if (*object == NULL)
        return;
    if (position == NULL || position->seq == 0) {
        put(object, key, json_null());
        return;
    }
    json_t *value = json_object();
    put_number(&value, "epoch", position->epoch);
    put_number(&value, "seq", position->seq);
    put(object, key, value);
}

static json_t *member_of(const Jackdaw__StatusReply *status,
                         const Jackdaw__StatusReply__Member *member)
{
    json_t *object = json_object();
    put_number(&object, "id", member->id);
    put_text(&object, "state", state_of(status, member));
    put_text(&object, "client", member->client);
    put_text(&object, "internal", member->internal);
    put_flag(&object, "in_sync", member->in_sync);
    put_flag(&object, "voter", member->voter);
    put_flag(&object, "left", member->left);
    put_flag(&object, "reachable", member->reachable);
    put_position(&object, "position", member->position);
    if (object != NULL)
        put(&object, "lag", has_lag(member) ? json_integer((json_int_t)member->lag) : json_null());
    if (object != NULL)
        put(&object, "clock_ms", member->has_clock ? json_integer(member->clock_ms) : json_null());
    return object;
}

static json_t *members_of(const Jackdaw__StatusReply *status)
{
    json_t *list = json_array();
    for (size_t i = 0; i < status->n_members; i++)
        if (json_array_append_new(list, member_of(status, status->members[i])) != 0) {
            json_decref(list);
            return NULL;
        }
    return list;
}

static json_t *object_of(const Jackdaw__StatusReply *status)
{
    unsigned all, in_sync;
    count(status, &all, &in_sync);
    json_t *object = json_object();
    put_text(&object, "type", "cluster");
    put_text(&object, "server", status->server);
    put_number(&object, "id", status->id);
    put_text(&object, "role", status->role);
    if (object != NULL)
        put(&object, "master", status->master == 0 ? json_null() : json_integer(status->master));
    put_text(&object, "master_client", status->master_client);
    put_number(&object, "epoch", status->epoch);
    put_text(&object, "durability", status->durability);
    put_number(&object, "servers", all);
    put_number(&object, "in_sync", in_sync);
    put_position(&object, "last", status->last);
    put_position(&object, "committed", status->committed);
    if (object != NULL)
        put(&object, "members", members_of(status));
    put_number(&object, "orphans", status->orphans);
    put_number(&object, "clients", status->clients);
    put_number(&object, "uptime_ms", status->uptime_ms);
    put_number(&object, "poison_requests", status->poison_requests);
    put_number(&object, "poison_entries", status->poison_entries);
    if (object != NULL)
        put(&object, "checked_ms",
            status->checked_ms == 0 ? json_null() : json_integer((json_int_t)status->checked_ms));
    put_flag(&object, "checking", status->checking);
    if (object != NULL && status->damage[0] == '\0')
        put(&object, "damage", json_null());
    else
        put_text(&object, "damage", status->damage);
    return object;
}

bool operator_print_json(const Jackdaw__StatusReply *status, FILE *out)
{
    json_t *object = object_of(status);
    char *text = object == NULL ? NULL : json_dumps(object, JSON_COMPACT);
    if (text != NULL) {
        character_print_json(text, out);
        (void)fputc('\n', out);
    }
    bool is_printed = text != NULL;
    free(text);
    json_decref(object);
    return is_printed;
}
