/* SPDX-License-Identifier: MIT */
#include "store/store_internal.h"

#define COLUMNS "id, room, number, seq, kind, account, subject, session, request, time_ms, text"

enum error timeline_load(struct store *store)
{
    struct query query;
    bool row;
    query_read(&query, store, STATEMENT_LAST_EVENT, "SELECT id FROM event ORDER BY id DESC LIMIT 1",
               "find the last event");
    enum error error = query_step(&query, &row);
    store->now.last_event = 0;
    if (error == OK && row) {
        store->now.last_event = query_column_ordered(&query);
        error = query_row_error(&query);
    }
    return query_end(&query, error);
}

/* ---- writing ---- */

static enum error write_event(struct store *store, const struct timeline_row *row, uint64_t id)
{
    struct query query;
    query_write(&query, store, STATEMENT_ADD_EVENT,
                "INSERT INTO event (" COLUMNS ")"
                " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
                "add an event");
    query_bind_number(&query, id);
    query_bind_number(&query, row->room);
    query_bind_number(&query, row->number);
    query_bind_number(&query, row->seq);
    query_bind_number(&query, row->kind);
    query_bind_number(&query, row->account);
    query_bind_number(&query, row->subject);
    query_bind_number(&query, row->session);
    query_bind_number(&query, row->request);
    query_bind_number(&query, row->time_ms);
    query_bind_text(&query, row->text, row->text_size);
    return query_run(&query);
}

enum error timeline_write(struct store *store, const struct change_order *order, size_t count)
{
    struct run_tail tail;
    enum error error = run_load_tail(store, order[0].key, &tail);
    for (size_t i = 0; i < count && error == OK; i++) {
        struct change change = change_get(order[i].batch, order[i].index);
        const struct timeline_row *row = &change.row.event;
        if (row->number < tail.last_number || row->seq < tail.last_seq)
            return store_fault(store, ERROR_CORRUPT, "add an event",
                               "it does not follow the last one of its room");
        uint64_t id = ++store->now.last_event;
        error = write_event(store, row, id);
        if (error == OK)
            error = run_append(store, &tail, row, id);
    }
    return error == OK ? run_store_tail(store, &tail) : error;
}

/* ---- reading ---- */

static enum error read_row(struct query *query, uint64_t *id, struct timeline_row *row)
{
    *id = query_column_ordered(query);
    row->room = query_column_number(query);
    row->number = query_column_ordered(query);
    row->seq = query_column_ordered(query);
    row->kind = query_column_small(query, UINT32_MAX);
    row->account = query_column_number(query);
    row->subject = query_column_number(query);
    row->session = query_column_number(query);
    row->request = query_column_number(query);
    row->time_ms = query_column_number(query);
    row->text = query_column_text(query, &row->text_size);
    return query_row_error(query);
}

static enum error read_row_of(struct query *query, uint64_t room, struct timeline_row *row)
{
    uint64_t id;
    enum error error = read_row(query, &id, row);
    return error == OK && row->room != room ? query_suspect(query, "room") : error;
}

enum error timeline_each(struct store *store, uint64_t after,
                         enum error (*visit)(void *context, uint64_t id,
                                             const struct timeline_row *row),
                         void *context)
{
    struct query query;
    bool more;
    query_read(&query, store, STATEMENT_SCAN_EVENTS,
               "SELECT " COLUMNS " FROM event WHERE id > ?1 ORDER BY id", "read the events");
    query_bind_number(&query, clamp_ordered(after));
    enum error error;
    while ((error = query_step(&query, &more)) == OK && more) {
        struct timeline_row row;
        uint64_t id;
        error = read_row(&query, &id, &row);
        if (error == OK)
            error = visit(context, id, &row);
        if (error != OK)
            break;
    }
    return query_end(&query, error);
}

static void bind_run(struct query *query, const struct run *run)
{
    query_bind_number(query, run->id);
    query_bind_number(query, run->id + run->count - 1);
}

struct visit {
    store_event_visitor *visit;
    void *context;
    uint64_t room;
    size_t left;       /* how many more are wanted */
    uint64_t last_seq; /* of the last one visited */
};

static enum error visit_rows(struct query *query, struct visit *visit, bool keep_seqs_together)
{
    enum error error;
    bool more;
    while ((error = query_step(query, &more)) == OK && more) {
        struct timeline_row row;
        error = read_row_of(query, visit->room, &row);
        if (error != OK)
            break;
        if (visit->left == 0 && !(keep_seqs_together && row.seq == visit->last_seq))
            break;
        visit->left -= visit->left > 0;
        visit->last_seq = row.seq;
        error = visit->visit(visit->context, &row);
        if (error != OK)
            break;
    }
    return query_end(query, error);
}

static enum error messages_of_run(struct store *store, const struct run *run, uint32_t kind,
                                  uint64_t before, struct visit *visit)
{
    struct query query;
    query_read(&query, store, STATEMENT_MESSAGES_OF_RUN,
               "SELECT " COLUMNS " FROM event WHERE id BETWEEN ?1 AND ?2 AND number < ?3"
               " AND kind = ?4 ORDER BY id DESC",
               "read messages");
    bind_run(&query, run);
    query_bind_number(&query, before);
    query_bind_number(&query, kind);
    return visit_rows(&query, visit, false);
}

enum error store_messages_before(struct store *store, uint64_t room, uint32_t kind, uint64_t before,
                                 size_t limit, store_event_visitor *visit, void *context)
{
    struct visit rows = {.visit = visit, .context = context, .room = room, .left = limit};
    before = before == 0 ? INT64_MAX : clamp_ordered(before);
    struct store *view;
    enum error error = projection_view(store, PROJECTION_ALL, &view);
    if (error != OK)
        return error;
    struct run_place place;
    error = query_read_enter(view);
    if (error == OK)
        error = run_find(view, room, RUN_BY_NUMBER, before - 1, &place);
    while (error == OK && place.found && rows.left > 0) {
        error = messages_of_run(view, &place.page.runs[place.index], kind, before, &rows);
        if (error == OK)
            error = run_previous(view, &place);
    }
    query_read_leave(view);
    return projection_end_view(store, view, error);
}

static enum error events_of_run(struct store *store, const struct run *run, uint64_t after_seq,
                                uint64_t until_seq, struct visit *visit)
{
    struct query query;
    query_read(&query, store, STATEMENT_EVENTS_OF_RUN,
               "SELECT " COLUMNS " FROM event WHERE id BETWEEN ?1 AND ?2 AND seq > ?3"
               " AND seq <= ?4 ORDER BY id",
               "read events");
    bind_run(&query, run);
    query_bind_number(&query, after_seq);
    query_bind_number(&query, until_seq);
    return visit_rows(&query, visit, true);
}

enum error store_events_after(struct store *store, uint64_t room, uint64_t after_seq,
                              uint64_t until_seq, size_t limit, store_event_visitor *visit,
                              void *context)
{
    struct visit rows = {.visit = visit, .context = context, .room = room, .left = limit};
    after_seq = clamp_ordered(after_seq);
    until_seq = clamp_ordered(until_seq);
    if (limit == 0)
        return OK;
    struct store *view;
    enum error error = projection_view(store, until_seq, &view);
    if (error != OK)
        return error;
    struct run_place place;
    error = query_read_enter(view);
    if (error == OK)
        error = run_find(view, room, RUN_BY_SEQ, after_seq, &place);
    if (error == OK)
        place.found = place.page.count > 0; /* else all of the room comes after after_seq */
    while (error == OK && place.found) {
        const struct run *run = &place.page.runs[place.index];
        if (run->seq > until_seq || (rows.left == 0 && run->seq != rows.last_seq))
            break;
        error = events_of_run(view, run, after_seq, until_seq, &rows);
        if (error == OK)
            error = run_next(view, &place);
    }
    query_read_leave(view);
    return projection_end_view(store, view, error);
}

static enum error number_in_run(struct store *store, const struct run *run, uint64_t seq,
                                uint64_t *number)
{
    struct query query;
    bool row;
    query_read(&query, store, STATEMENT_NUMBER_IN_RUN,
               "SELECT number FROM event WHERE id BETWEEN ?1 AND ?2 AND seq <= ?3"
               " ORDER BY id DESC LIMIT 1",
               "find a number");
    bind_run(&query, run);
    query_bind_number(&query, seq);
    enum error error = query_step(&query, &row);
    if (error == OK && !row)
        error = store_fault(store, ERROR_CORRUPT, query.what, "events are missing");
    if (error == OK) {
        uint64_t found = query_column_ordered(&query);
        error = query_row_error(&query);
        if (error == OK)
            *number = found;
    }
    return query_end(&query, error);
}

/* ---- changes that the database may lack ---- */

struct number_search {
    uint64_t room;
    uint64_t seq;
    uint64_t number;
    bool found;
};

static bool see_change(void *context, const struct change *change)
{
    struct number_search *search = context;
    const struct timeline_row *row = &change->row.event;
    search->found = row->room == search->room && row->seq <= search->seq;
    search->number = row->number;
    return !search->found;
}

enum error store_number_at(struct store *store, uint64_t room, uint64_t seq, uint64_t *number)
{
    struct number_search search = {.room = room, .seq = seq};
    enum error error = change_each(store, 1u << CHANGE_EVENT, see_change, &search);
    if (error != OK)
        return error;
    if (search.found) {
        *number = search.number;
        return OK;
    }
    struct run_place place;
    error = query_read_enter(store);
    if (error == OK)
        error = run_find(store, room, RUN_BY_SEQ, clamp_ordered(seq), &place);
    if (error == OK && place.found)
        error = number_in_run(store, &place.page.runs[place.index], clamp_ordered(seq), number);
    else if (error == OK)
        *number = 0;
    query_read_leave(store);
    return error;
}
