/* SPDX-License-Identifier: MIT */
#include "harness/database_digest.h"

#include "support/test.h"

#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>

#define BUSY_MS 5000
#define LOG 0 /* its place among the selected */

static const struct {
    const char *name;
    const char *sql;
} selected[DATABASE_DIGEST_TABLES] = {
    {"log", "SELECT seq, epoch, digest FROM log_end"},
    {"account", "SELECT * FROM account ORDER BY id"},
    {"session", "SELECT * FROM session ORDER BY id"},
    {"room", "SELECT * FROM room ORDER BY id"},
    {"member", "SELECT * FROM member ORDER BY room, account"},
    /* Not their ids: those tell in which order they were written in a transaction, and the servers
     * cut their transactions as they like. */
    {"event", "SELECT room, number, seq, kind, account, subject, session, request, time_ms, text"
              " FROM event ORDER BY room, number, seq, kind, account, subject"},
};

/* FNV-1a: for telling what is different, not for defence. */
static uint64_t add_bytes(uint64_t sum, const void *bytes, size_t size)
{
    const uint8_t *at = bytes;
    for (size_t i = 0; i < size; i++)
        sum = (sum ^ at[i]) * 0x100000001b3u;
    return sum;
}

static uint64_t add_column(uint64_t sum, sqlite3_stmt *statement, int column)
{
    const void *bytes = sqlite3_column_blob(statement, column);
    int size = sqlite3_column_bytes(statement, column);
    sum = add_bytes(sum, &size, sizeof size);
    return size > 0 ? add_bytes(sum, bytes, (size_t)size) : sum;
}

static void read_table(sqlite3 *database, size_t i, struct database_digest *out)
{
    sqlite3_stmt *statement = NULL;
    if (sqlite3_prepare_v2(database, selected[i].sql, -1, &statement, NULL) != SQLITE_OK)
        fail_msg("%s: %s", selected[i].name, sqlite3_errmsg(database));
    uint64_t sum = 0xcbf29ce484222325u;
    int code;
    while ((code = sqlite3_step(statement)) == SQLITE_ROW) {
        if (i == LOG)
            out->last_seq = (uint64_t)sqlite3_column_int64(statement, 0);
        for (int column = 0; column < sqlite3_column_count(statement); column++)
            sum = add_column(sum, statement, column);
        out->rows[i]++;
    }
    (void)sqlite3_finalize(statement);
    if (code != SQLITE_DONE)
        fail_msg("%s: %s", selected[i].name, sqlite3_errmsg(database));
    out->sums[i] = sum;
}

void database_digest_read(const char *path, struct database_digest *out)
{
    sqlite3 *database = NULL;
    *out = (struct database_digest){0};
    if (sqlite3_open_v2(path, &database, SQLITE_OPEN_READONLY, NULL) != SQLITE_OK)
        fail_msg("cannot open %s: %s", path, sqlite3_errmsg(database));
    (void)sqlite3_busy_timeout(database, BUSY_MS);
    if (sqlite3_exec(database, "BEGIN", NULL, NULL, NULL) != SQLITE_OK)
        fail_msg("cannot read %s: %s", path, sqlite3_errmsg(database));
    for (size_t i = 0; i < DATABASE_DIGEST_TABLES; i++)
        read_table(database, i, out);
    (void)sqlite3_close(database);
}

bool database_digests_are_equal(const struct database_digest *left,
                                const struct database_digest *right, char difference[static 128])
{
    for (size_t i = 0; i < DATABASE_DIGEST_TABLES; i++) {
        if (left->rows[i] == right->rows[i] && left->sums[i] == right->sums[i])
            continue;
        (void)snprintf(difference, 128, "%s, %" PRIu64 " and %" PRIu64 " rows", selected[i].name,
                       left->rows[i], right->rows[i]);
        return false;
    }
    return true;
}
