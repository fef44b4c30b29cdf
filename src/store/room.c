/* SPDX-License-Identifier: MIT */
#include "store/store_internal.h"

#define COLUMNS "id, name, folded, topic, owner, is_private, direct_low, direct_high, created_ms"

enum error room_write(struct store *store, const struct room_row *row)
{
    struct query query;
    query_write(&query, store, STATEMENT_PUT_ROOM,
                "INSERT INTO room (" COLUMNS ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)"
                " ON CONFLICT (id) DO UPDATE SET name = ?2, folded = ?3, topic = ?4, owner = ?5,"
                " is_private = ?6, direct_low = ?7, direct_high = ?8, created_ms = ?9",
                "put a room");
    query_bind_number(&query, row->id);
    query_bind_string(&query, row->name);
    query_bind_string(&query, row->folded);
    query_bind_string(&query, row->topic);
    query_bind_number(&query, row->owner);
    query_bind_number(&query, row->is_private);
    query_bind_number(&query, row->direct_low);
    query_bind_number(&query, row->direct_high);
    query_bind_number(&query, row->created_ms);
    return query_run(&query);
}

enum error room_erase(struct store *store, uint64_t id)
{
    struct query query;
    query_write(&query, store, STATEMENT_DELETE_MEMBERS, "DELETE FROM member WHERE room = ?1",
                "delete a room's members");
    query_bind_number(&query, id);
    enum error error = query_run(&query);
    if (error != OK)
        return error;
    query_write(&query, store, STATEMENT_DELETE_ROOM, "DELETE FROM room WHERE id = ?1",
                "delete a room");
    query_bind_number(&query, id);
    return query_run(&query);
}

static enum error read_room(struct query *query, struct room_row *row)
{
    row->id = query_column_number(query);
    row->name = query_column_string(query);
    row->folded = query_column_string(query);
    row->topic = query_column_string(query);
    row->owner = query_column_number(query);
    row->is_private = query_column_small(query, 1) != 0;
    row->direct_low = query_column_number(query);
    row->direct_high = query_column_number(query);
    row->created_ms = query_column_number(query);
    row->last_number = query_column_ordered(query);
    row->last_seq = query_column_ordered(query);
    return query_row_error(query);
}

enum error store_each_room(struct store *store,
                           enum error (*visit)(void *context, const struct room_row *row),
                           void *context)
{
    struct query query;
    struct store *view;
    enum error error = projection_view(store, PROJECTION_ALL, &view);
    if (error != OK)
        return error;
    query_read(&query, view, STATEMENT_EACH_ROOM,
               "SELECT " COLUMNS ", coalesce(last_number, 0), coalesce(last_seq, 0)"
               " FROM room LEFT JOIN run_tail ON room = id ORDER BY id",
               "read the rooms");
    QUERY_EACH(&query, &error, struct room_row, read_room, visit, context);
    return projection_end_view(store, view, error);
}

enum error room_write_member(struct store *store, const struct member_row *row)
{
    struct query query;
    query_write(&query, store, STATEMENT_PUT_MEMBER,
                "INSERT OR REPLACE INTO member (room, account, state, since_seq, until_seq)"
                " VALUES (?1, ?2, ?3, ?4, ?5)",
                "put a member");
    query_bind_number(&query, row->room);
    query_bind_number(&query, row->account);
    query_bind_number(&query, (uint64_t)row->state);
    query_bind_number(&query, row->since_seq);
    query_bind_number(&query, row->until_seq);
    return query_run(&query);
}

enum error room_erase_member(struct store *store, uint64_t room, uint64_t account)
{
    struct query query;
    query_write(&query, store, STATEMENT_DELETE_MEMBER,
                "DELETE FROM member WHERE room = ?1 AND account = ?2", "delete a member");
    query_bind_number(&query, room);
    query_bind_number(&query, account);
    return query_run(&query);
}

static enum error read_member(struct query *query, struct member_row *row)
{
    row->room = query_column_number(query);
    row->account = query_column_number(query);
    uint32_t state = query_column_small(query, MEMBER_BANNED);
    row->state = (enum member_state)state;
    row->since_seq = query_column_number(query);
    row->until_seq = query_column_number(query);
    if (state < MEMBER_INVITED && query->suspect == NULL)
        query->suspect = "state";
    return query_row_error(query);
}

enum error store_each_member(struct store *store,
                             enum error (*visit)(void *context, const struct member_row *row),
                             void *context)
{
    struct query query;
    struct store *view;
    enum error error = projection_view(store, PROJECTION_ALL, &view);
    if (error != OK)
        return error;
    query_read(&query, view, STATEMENT_EACH_MEMBER,
               "SELECT room, account, state, since_seq, until_seq FROM member"
               " ORDER BY room, account",
               "read the members");
    QUERY_EACH(&query, &error, struct member_row, read_member, visit, context);
    return projection_end_view(store, view, error);
}
