/* SPDX-License-Identifier: MIT */
#include "store/store_internal.h"

enum error store_put_outcome(struct store *store, const struct outcome_row *row)
{
    struct query query;
    query_write(&query, store, STATEMENT_PUT_OUTCOME,
                "INSERT OR REPLACE INTO outcome (session, slot, request, status, room, number, seq,"
                " time_ms, flags, text) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
                "put an outcome");
    bind_number(&query, row->session);
    bind_number(&query, row->request % STORE_OUTCOME_WINDOW);
    bind_number(&query, row->request);
    bind_number(&query, row->status);
    bind_number(&query, row->room);
    bind_number(&query, row->number);
    bind_number(&query, row->seq);
    bind_number(&query, row->time_ms);
    bind_number(&query, row->flags);
    bind_string(&query, row->text);
    return query_run(&query);
}

enum error store_get_outcome(struct store *store, uint64_t session, uint64_t request,
                             enum error (*visit)(void *context, const struct outcome_row *row),
                             void *context)
{
    struct query query;
    bool found;
    query_read(&query, store, STATEMENT_GET_OUTCOME,
               "SELECT request, status, room, number, seq, time_ms, flags, text FROM outcome"
               " WHERE session = ?1 AND slot = ?2 AND request = ?3",
               "read an outcome");
    bind_number(&query, session);
    bind_number(&query, request % STORE_OUTCOME_WINDOW);
    bind_number(&query, request);
    enum error error = query_step(&query, &found);
    if (error == OK && !found)
        error = ERROR_NOT_FOUND;
    if (error == OK) {
        struct outcome_row row = {.session = session};
        row.request = column_number(&query);
        row.status = column_small(&query, UINT32_MAX);
        row.room = column_number(&query);
        row.number = column_number(&query);
        row.seq = column_number(&query);
        row.time_ms = column_number(&query);
        row.flags = column_small(&query, UINT32_MAX);
        row.text = column_string(&query);
        error = query_row_error(&query);
        if (error == OK)
            error = visit(context, &row);
    }
    return query_end(&query, error);
}
