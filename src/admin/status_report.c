/* SPDX-License-Identifier: MIT */
#include "admin/status_report.h"

#include "base/clock.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
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

/* Writes "3:1042": the number of the term, and the seq. */
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

/* Writes "2026-11-30 01:02:03 UTC". */
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

/* A member that has left receives no more changes, so its distance says nothing. */
static bool has_lag(const Jackdaw__StatusReply__Member *member)
{
    return !member->left && member->position != NULL && member->position->seq != 0;
}

/* Counts the members that have not left. */
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

static void print_summary(const Jackdaw__StatusReply *status, FILE *out)
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

/* Returns the lowest feature level, if a member has a higher one: no server uses the features above it.
 * UINT32_MAX: all members have one level. */
static uint32_t lowest_level(const Jackdaw__StatusReply *status)
{
    uint32_t lowest = UINT32_MAX, highest = 0;
    for (size_t i = 0; i < status->n_members; i++) {
        const Jackdaw__StatusReply__Member *member = status->members[i];
        if (member->left)
            continue;
        lowest = member->level < lowest ? member->level : lowest;
        highest = member->level > highest ? member->level : highest;
    }
    return lowest < highest ? lowest : UINT32_MAX;
}

/* Appends a note to those in out, and cuts what does not fit. */
__attribute__((format(printf, 2, 3))) static void add_note(char out[static CELL_BYTES],
                                                           const char *format, ...)
{
    size_t length = strlen(out);
    va_list arguments;
    if (length > 0)
        length += (size_t)snprintf(out + length, CELL_BYTES - length, "; ");
    if (length >= CELL_BYTES)
        return;
    va_start(arguments, format);
    (void)vsnprintf(out + length, CELL_BYTES - length, format, arguments);
    va_end(arguments);
}

static void write_note(char out[static CELL_BYTES], const Jackdaw__StatusReply *status,
                       const Jackdaw__StatusReply__Member *member)
{
    out[0] = '\0';
    if (member->id == status->id)
        add_note(out, "asked");
    else if (!member->left && !member->reachable)
        add_note(out, "not reachable from server %u", status->id);
    bool is_off = member->has_clock &&
                  (member->clock_ms > CLOCK_TOLERANCE_MS || member->clock_ms < -CLOCK_TOLERANCE_MS);
    if (is_off)
        add_note(out, "its clock differs: %+" PRId64 " s", member->clock_ms / 1000);
    if (!member->left && member->level == lowest_level(status))
        add_note(out, "has an older program: features above level %u wait", member->level);
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

/* Requests and log entries that ended a server process. */
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

static void print_log(const Jackdaw__StatusReply *status, FILE *out)
{
    uint64_t limit = status->log_keep_bytes;
    bool is_bound = status->master == status->id && strcmp(status->durability, "quorum") != 0;
    if (!is_bound || limit < 100 || status->log_bytes < limit / 2)
        return;
    bool is_full = status->log_bytes >= limit;
    (void)fprintf(
        out,
        "server %u: LOG %" PRIu64 "%% FULL%s: it keeps %" PRIu64 " MiB that server %u lacks; "
        "start that server or remove it\n",
        status->id, status->log_bytes / (limit / 100), is_full ? ", WRITES ARE REFUSED" : "",
        status->log_bytes >> 20, status->log_member);
}

static void print_members(const Jackdaw__StatusReply *status, FILE *out)
{
    static const char *const headings[COLUMNS] = {"id",       "state", "clients", "internal",
                                                  "position", "lag",   "note"};
    struct table table = {.rows = status->n_members + 1};
    table.cells = calloc(table.rows, sizeof *table.cells);
    if (table.cells == NULL)
        return; /* the summary is printed already */
    for (size_t i = 0; i < COLUMNS; i++)
        (void)snprintf(table.cells[0][i], CELL_BYTES, "%s", headings[i]);
    for (size_t i = 0; i < status->n_members; i++)
        fill_row(table.cells[i + 1], status, status->members[i]);
    (void)fputc('\n', out);
    print_table(&table, out);
    free(table.cells);
}

/* The delays that the server has learned, of its master and of its disk. */
static void print_delays(const Jackdaw__StatusReply *status, FILE *out)
{
    for (size_t i = 0; i < status->n_members; i++) {
        const Jackdaw__StatusReply__Member *member = status->members[i];
        if (member->limit_ms == 0)
            continue;
        if (member->id == status->id)
            (void)fprintf(out,
                          "server %u: a write takes up to %u ms; the disk counts as hung after %u "
                          "ms\n",
                          status->id, member->delay_ms, member->limit_ms);
        else
            (void)fprintf(
                out,
                "server %u: server %u is up to %u ms late, and counts as lost after %u ms "
                "of silence\n",
                status->id, member->id, member->delay_ms, member->limit_ms);
    }
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

void status_report_print(const Jackdaw__StatusReply *status, FILE *out)
{
    char server[CELL_BYTES];
    char uptime[CELL_BYTES];
    char last[CELL_BYTES];
    char committed[CELL_BYTES];
    print_summary(status, out);
    if (status->n_members > 0)
        print_members(status, out);
    write_clean(server, status->server);
    write_duration(uptime, status->uptime_ms);
    write_position(last, status->last);
    write_position(committed, status->committed);
    (void)fprintf(out, "\nserver %u: %s, up %s, %u client%s, committed %s of %s\n", status->id,
                  server, uptime, status->clients, status->clients == 1 ? "" : "s", committed,
                  last);
    print_delays(status, out);
    print_log(status, out);
    print_database(status, out);
    if (status->orphans > 0)
        (void)fprintf(out,
                      "server %u: %" PRIu64 " change%s of a lost epoch %s kept here until a "
                      "master has merged them; keep its data folder\n",
                      status->id, status->orphans, status->orphans == 1 ? "" : "s",
                      status->orphans == 1 ? "is" : "are");
    print_poison(status, out);
}

/* ---- for programs ---- */

/* Text that is not UTF-8 is not JSON: it is cleaned. */
static json_t *text_json(const char *text)
{
    json_t *value = json_string(text);
    if (value != NULL)
        return value;
    char clean[CELL_BYTES];
    write_clean(clean, text);
    return json_string(clean);
}

static json_t *number_json(bool is_known, int64_t number)
{
    return is_known ? json_integer(number) : json_null();
}

static json_t *position_json(const Jackdaw__Position *position)
{
    if (position == NULL || position->seq == 0)
        return json_null();
    return json_pack("{s:I,s:I}", "epoch", (json_int_t)position->epoch, "seq",
                     (json_int_t)position->seq);
}

static json_t *member_json(const Jackdaw__StatusReply *status,
                           const Jackdaw__StatusReply__Member *member)
{
    return json_pack(
        "{s:I,s:s,s:o,s:o,s:b,s:b,s:b,s:b,s:o,s:o,s:o,s:I,s:o,s:o}", "id", (json_int_t)member->id,
        "state", state_of(status, member), "client", text_json(member->client), "internal",
        text_json(member->internal), "in_sync", member->in_sync, "voter", member->voter, "left",
        member->left, "reachable", member->reachable, "position", position_json(member->position),
        "lag", number_json(has_lag(member), (int64_t)member->lag), "clock_ms",
        number_json(member->has_clock, member->clock_ms), "level", (json_int_t)member->level,
        "delay_ms", number_json(member->limit_ms != 0, member->delay_ms), "limit_ms",
        number_json(member->limit_ms != 0, member->limit_ms));
}

static json_t *members_json(const Jackdaw__StatusReply *status)
{
    json_t *list = json_array();
    for (size_t i = 0; i < status->n_members; i++)
        if (json_array_append_new(list, member_json(status, status->members[i])) != 0) {
            json_decref(list);
            return NULL;
        }
    return list;
}

json_t *status_report_json(const Jackdaw__StatusReply *status)
{
    unsigned all, in_sync;
    count(status, &all, &in_sync);
    return json_pack(
        "{s:o,s:I,s:o,s:o,s:o,s:I,s:o,s:I,s:I,s:o,s:o,s:o,s:I,s:I,s:I,s:o,s:I,s:I,s:I,s:I,s:I,s:I,s:o,s:b,s:o}",
        "server", text_json(status->server), "id", (json_int_t)status->id, "role",
        text_json(status->role), "master", number_json(status->master != 0, status->master),
        "master_client", text_json(status->master_client), "epoch", (json_int_t)status->epoch,
        "durability", text_json(status->durability), "servers", (json_int_t)all, "in_sync",
        (json_int_t)in_sync, "last", position_json(status->last), "committed",
        position_json(status->committed), "members", members_json(status), "orphans",
        (json_int_t)status->orphans, "log_needed_bytes", (json_int_t)status->log_bytes,
        "log_keep_bytes", (json_int_t)status->log_keep_bytes, "log_needed_by",
        number_json(status->log_member != 0, status->log_member), "clients",
        (json_int_t)status->clients, "reads", (json_int_t)status->reads, "forwarded",
        (json_int_t)status->forwarded, "uptime_ms", (json_int_t)status->uptime_ms,
        "poison_requests", (json_int_t)status->poison_requests, "poison_entries",
        (json_int_t)status->poison_entries, "checked_ms",
        number_json(status->checked_ms != 0, (int64_t)status->checked_ms), "checking",
        status->checking, "damage",
        status->damage[0] == '\0' ? json_null() : text_json(status->damage));
}
