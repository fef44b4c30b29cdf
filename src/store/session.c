/* SPDX-License-Identifier: MIT */
#include "store/store_internal.h"

enum error session_write(struct store *store, const struct session_row *row)
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

enum error session_erase(struct store *store, uint64_t id)
{
    enum error error = delete_from(store, id, STATEMENT_DELETE_OUTCOME_TAIL,
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

/* ---- changes that the database may lack ---- */

struct session_search {
    uint64_t id;
    uint64_t last_request;
    bool is_deleted;
    bool found;
    struct session_row row;
};

static bool see_change(void *context, const struct change *change)
{
    struct session_search *search = context;
    if (change->kind == CHANGE_OUTCOME && change->row.outcome.session == search->id &&
        change->row.outcome.request > search->last_request)
        search->last_request = change->row.outcome.request;
    search->is_deleted = change->kind == CHANGE_SESSION_DELETED && change->row.id == search->id;
    if (change->kind == CHANGE_SESSION && change->row.session.id == search->id && !search->found) {
        search->found = true;
        search->row = change->row.session;
    }
    return !search->is_deleted; /* older changes are deleted, too */
}

/* ---- reading ---- */

static enum error read_session(struct store *store, uint64_t id, struct query *query, bool *found,
                               struct session_row *row)
{
    query_read(query, store, STATEMENT_GET_SESSION, SELECT " WHERE id = ?1", "read a session");
    query_bind_number(query, id);
    enum error error = query_step(query, found);
    return error == OK && *found ? read_row(query, row) : error;
}

enum error store_get_session(struct store *store, uint64_t id,
                             enum error (*visit)(void *context, const struct session_row *row),
                             void *context)
{
    struct session_search search = {.id = id};
    enum error error = change_each(
        store, 1u << CHANGE_SESSION | 1u << CHANGE_SESSION_DELETED | 1u << CHANGE_OUTCOME,
        see_change, &search);
    if (error != OK)
        return error;
    struct query query;
    struct session_row row;
    bool is_stored = false;
    error = read_session(store, id, &query, &is_stored, &row);
    if (search.is_deleted)
        is_stored = false;
    if (!is_stored)
        row.last_request = 0;
    uint64_t last_request =
        search.last_request > row.last_request ? search.last_request : row.last_request;
    if (search.found)
        row = search.row;
    row.last_request = last_request;
    if (error == OK && !search.found && !is_stored)
        error = ERROR_NOT_FOUND;
    if (error == OK)
        error = visit(context, &row);
    return query_end(&query, error);
}

enum error store_each_session(struct store *store,
                              enum error (*visit)(void *context, const struct session_row *row),
                              void *context)
{
    struct query query;
    struct store *view;
    enum error error = projection_view(store, PROJECTION_ALL, &view);
    if (error != OK)
        return error;
    query_read(&query, view, STATEMENT_EACH_SESSION, SELECT " ORDER BY id", "read the sessions");
    QUERY_EACH(&query, &error, struct session_row, read_row, visit, context);
    return projection_end_view(store, view, error);
}
