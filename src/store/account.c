/* SPDX-License-Identifier: MIT */
#include "store/store_internal.h"

#define COLUMNS "id, name, folded, password_hash, nonce, created_ms, deleted_ms, delivered_seq"

enum error store_put_account(struct store *store, const struct account_row *row)
{
    struct query query;
    query_write(&query, store, STATEMENT_PUT_ACCOUNT,
                "INSERT INTO account (" COLUMNS ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)"
                " ON CONFLICT (id) DO UPDATE SET name = ?2, folded = ?3, password_hash = ?4,"
                " nonce = ?5, created_ms = ?6, deleted_ms = ?7, delivered_seq = ?8",
                "put an account");
    query_bind_number(&query, row->id);
    query_bind_string(&query, row->name);
    query_bind_string(&query, row->folded);
    query_bind_string(&query, row->password_hash);
    query_bind_bytes(&query, row->nonce, sizeof row->nonce);
    query_bind_number(&query, row->created_ms);
    query_bind_number(&query, row->deleted_ms);
    query_bind_number(&query, row->delivered_seq);
    return query_run(&query);
}

static enum error read_row(struct query *query, struct account_row *row)
{
    row->id = query_column_number(query);
    row->name = query_column_string(query);
    row->folded = query_column_string(query);
    row->password_hash = query_column_string(query);
    query_column_exactly(query, row->nonce, sizeof row->nonce);
    row->created_ms = query_column_number(query);
    row->deleted_ms = query_column_number(query);
    row->delivered_seq = query_column_number(query);
    return query_row_error(query);
}

enum error store_get_account(struct store *store, uint64_t id,
                             enum error (*visit)(void *context, const struct account_row *row),
                             void *context)
{
    struct query query;
    struct account_row row;
    bool found;
    query_read(&query, store, STATEMENT_GET_ACCOUNT,
               "SELECT " COLUMNS " FROM account WHERE id = ?1", "read an account");
    query_bind_number(&query, id);
    enum error error = query_step(&query, &found);
    if (error == OK && !found)
        error = ERROR_NOT_FOUND;
    if (error == OK)
        error = read_row(&query, &row);
    if (error == OK)
        error = visit(context, &row);
    return query_end(&query, error);
}

enum error store_set_delivered(struct store *store, uint64_t account, uint64_t seq)
{
    struct query query;
    query_write(&query, store, STATEMENT_SET_DELIVERED,
                "UPDATE account SET delivered_seq = ?2 WHERE id = ?1", "note what was delivered");
    query_bind_number(&query, account);
    query_bind_number(&query, seq);
    enum error error = query_run(&query);
    if (error == OK && sqlite3_changes(store->database) == 0)
        return ERROR_NOT_FOUND;
    return error;
}

enum error store_each_account(struct store *store,
                              enum error (*visit)(void *context, const struct account_row *row),
                              void *context)
{
    struct query query;
    query_read(&query, store, STATEMENT_EACH_ACCOUNT, "SELECT " COLUMNS " FROM account ORDER BY id",
               "read the accounts");
    enum error error;
    QUERY_EACH(&query, &error, struct account_row, read_row, visit, context);
    return error;
}
