/* SPDX-License-Identifier: MIT */
#include "store/store_internal.h"

enum error store_put_session(struct store *store, const struct session_row *row)
{
    struct query query;
    query_write(&query, store, STATEMENT_PUT_SESSION,
                "INSERT OR REPLACE INTO session (id, account, token_hash, device, started_ms)"
                " VALUES (?1, ?2, ?3, ?4, ?5)",
                "put a session");
    query_bind_number(&query, row->id);
    query_bind_number(&query, row->account);
    query_bind_bytes(&query, row->token_hash, sizeof row->token_hash);
    query_bind_string(&query, row->device);
    query_bind_number(&query, row->started_ms);
    return query_run(&query);
}

static enum error delete_from(struct store *store, uint64_t id, enum statement which,
                              const char *sql)
{
    struct query query;
    query_write(&query, store, which, sql, "delete a session");
    query_bind_number(&query, id);
    return query_run(&query);
}

enum error store_delete_session(struct store *store, uint64_t id)
{
    outcome_forget(store);
    enum error error = pending_flush(store);
    if (error == OK)
        error = delete_from(store, id, STATEMENT_DELETE_OUTCOME_TAIL,
                            "DELETE FROM outcome_tail WHERE session = ?1");
    if (error == OK)
        error = delete_from(store, id, STATEMENT_DELETE_OUTCOME_PARTS,
                            "DELETE FROM outcome_part WHERE session = ?1");
    if (error == OK)
        error =
            delete_from(store, id, STATEMENT_DELETE_SESSION, "DELETE FROM session WHERE id = ?1");
    return error;
}

static enum error read_row(struct query *query, struct session_row *row)
{
    row->id = query_column_number(query);
    row->account = query_column_number(query);
    query_column_exactly(query, row->token_hash, sizeof row->token_hash);
    row->device = query_column_string(query);
    row->started_ms = query_column_number(query);
    row->last_request = query_column_ordered(query);
    return query_row_error(query);
}

#define SELECT                                                                      \
    "SELECT id, account, token_hash, device, started_ms, coalesce(last_request, 0)" \
    " FROM session LEFT JOIN outcome_tail ON session = id"

enum error store_get_session(struct store *store, uint64_t id,
                             enum error (*visit)(void *context, const struct session_row *row),
                             void *context)
{
    struct query query;
    struct session_row row;
    bool found;
    enum error error = pending_flush(store);
    if (error != OK)
        return error;
    query_read(&query, store, STATEMENT_GET_SESSION, SELECT " WHERE id = ?1", "read a session");
    query_bind_number(&query, id);
    error = query_step(&query, &found);
    if (error == OK && !found)
        error = ERROR_NOT_FOUND;
    if (error == OK)
        error = read_row(&query, &row);
    if (error == OK)
        error = visit(context, &row);
    return query_end(&query, error);
}

enum error store_each_session(struct store *store,
                              enum error (*visit)(void *context, const struct session_row *row),
                              void *context)
{
    struct query query;
    enum error error = pending_flush(store);
    if (error != OK)
        return error;
    query_read(&query, store, STATEMENT_EACH_SESSION, SELECT " ORDER BY id", "read the sessions");
    QUERY_EACH(&query, &error, struct session_row, read_row, visit, context);
    return error;
}
