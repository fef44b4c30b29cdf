/* SPDX-License-Identifier: MIT */
#include "store/store_internal.h"

#define COLUMNS "id, name, folded, password_hash, nonce, created_ms, deleted_ms, delivered_seq"

enum error account_write(struct store *store, const struct account_row *row)
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

/* ---- changes that the database may lack ---- */

struct account_search {
    uint64_t id;
    bool has_delivered; /* a change of delivered_seq alone, newer than the row */
    uint64_t delivered_seq;
    bool found;
    struct account_row row;
};

static bool see_change(void *context, const struct change *change)
{
    struct account_search *search = context;
    if (change->kind == CHANGE_DELIVERED && change->row.delivered.account == search->id &&
        !search->has_delivered) {
        search->has_delivered = true;
        search->delivered_seq = change->row.delivered.seq;
    }
    if (change->kind != CHANGE_ACCOUNT || change->row.account.id != search->id)
        return true;
    search->found = true;
    search->row = change->row.account;
    return false;
}

/* ---- reading ---- */

static enum error read_account(struct store *store, uint64_t id,
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

enum error account_write_delivered(struct store *store, uint64_t account, uint64_t seq)
{
    struct query query;
    query_write(&query, store, STATEMENT_SET_DELIVERED,
                "UPDATE account SET delivered_seq = ?2 WHERE id = ?1", "note what was delivered");
    query_bind_number(&query, account);
    query_bind_number(&query, seq);
    return query_run(&query);
}

/* Where only delivered_seq is newer, the row is in the database. */
struct delivery_overlay {
    uint64_t seq;
    enum error (*visit)(void *context, const struct account_row *row);
    void *context;
};

static enum error visit_newer(void *context, const struct account_row *row)
{
    const struct delivery_overlay *newer = context;
    struct account_row changed = *row;
    changed.delivered_seq = newer->seq;
    return newer->visit(newer->context, &changed);
}

enum error store_get_account(struct store *store, uint64_t id,
                             enum error (*visit)(void *context, const struct account_row *row),
                             void *context)
{
    struct account_search search = {.id = id};
    enum error error =
        change_each(store, 1u << CHANGE_ACCOUNT | 1u << CHANGE_DELIVERED, see_change, &search);
    if (error != OK)
        return error;
    struct delivery_overlay newer = {
        .seq = search.delivered_seq, .visit = visit, .context = context};
    if (search.found)
        return search.has_delivered ? visit_newer(&newer, &search.row)
                                    : visit(context, &search.row);
    return search.has_delivered ? read_account(store, id, visit_newer, &newer)
                                : read_account(store, id, visit, context);
}

enum error store_each_account(struct store *store,
                              enum error (*visit)(void *context, const struct account_row *row),
                              void *context)
{
    struct query query;
    struct store *view;
    enum error error = projection_view(store, PROJECTION_ALL, &view);
    if (error != OK)
        return error;
    query_read(&query, view, STATEMENT_EACH_ACCOUNT, "SELECT " COLUMNS " FROM account ORDER BY id",
               "read the accounts");
    QUERY_EACH(&query, &error, struct account_row, read_row, visit, context);
    return projection_end_view(store, view, error);
}
