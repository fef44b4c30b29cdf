/* SPDX-License-Identifier: MIT */
#include "store/store_internal.h"

#include <string.h>

enum error members_write(struct store *store, struct log_position position, const uint8_t *bytes,
                         size_t size)
{
    struct query query;
    query_write(&query, store, STATEMENT_PUT_MEMBERS,
                "INSERT OR REPLACE INTO cluster_members (one, epoch, seq, bytes)"
                " VALUES (1, ?1, ?2, ?3)",
                "keep the list of members");
    query_bind_number(&query, position.epoch);
    query_bind_number(&query, position.seq);
    query_bind_bytes(&query, bytes, size);
    return query_run(&query);
}

static enum error copy_row(struct query *query, struct log_position *position, uint8_t *bytes,
                           size_t size, size_t *used)
{
    struct log_position at;
    size_t length;
    at.epoch = query_column_number(query);
    at.seq = query_column_ordered(query);
    const uint8_t *found = query_column_bytes(query, &length);
    enum error error = query_row_error(query);
    if (error != OK)
        return error;
    if (size > 0 && length > 0)
        memcpy(bytes, found, length < size ? length : size);
    *position = at;
    *used = length;
    return OK;
}

enum error store_get_members(struct store *store, struct log_position *position, uint8_t *bytes,
                             size_t size, size_t *used)
{
    struct query query;
    bool row;
    struct store *view;
    enum error error = projection_view(store, PROJECTION_ALL, &view);
    if (error != OK)
        return error;
    query_read(&query, view, STATEMENT_GET_MEMBERS,
               "SELECT epoch, seq, bytes FROM cluster_members WHERE one = 1",
               "read the list of members");
    error = query_step(&query, &row);
    if (error == OK)
        error = row ? copy_row(&query, position, bytes, size, used) : ERROR_NOT_FOUND;
    return projection_end_view(store, view, query_end(&query, error));
}
