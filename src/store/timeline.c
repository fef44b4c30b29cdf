/* SPDX-License-Identifier: MIT */
#include "store/store_internal.h"

#define COLUMNS "room, number, seq, kind, account, subject, session, request, time_ms, text"

enum error store_add_event(struct store *store, const struct timeline_row *row)
{
    struct query query;
    query_write(&query, store, STATEMENT_ADD_EVENT,
                "INSERT INTO timeline (" COLUMNS ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
                "add an event");
    bind_number(&query, row->room);
    bind_number(&query, row->number);
    bind_number(&query, row->seq);
    bind_number(&query, row->kind);
    bind_number(&query, row->account);
    bind_number(&query, row->subject);
    bind_number(&query, row->session);
    bind_number(&query, row->request);
    bind_number(&query, row->time_ms);
    bind_text(&query, row->text, row->text_size);
    return query_run(&query);
}

static enum error read_row(struct query *query, struct timeline_row *row)
{
    row->room = column_number(query);
    row->number = column_ordered(query);
    row->seq = column_ordered(query);
    row->kind = column_small(query, UINT32_MAX);
    row->account = column_number(query);
    row->subject = column_number(query);
    row->session = column_number(query);
    row->request = column_number(query);
    row->time_ms = column_number(query);
    row->text = column_text(query, &row->text_size);
    return query_row_error(query);
}

static enum error visit_all(struct query *query, store_event_visitor *visit, void *context)
{
    enum error error;
    bool more;
    while ((error = query_step(query, &more)) == OK && more) {
        struct timeline_row row;
        error = read_row(query, &row);
        if (error == OK)
            error = visit(context, &row);
        if (error != OK)
            break;
    }
    return query_end(query, error);
}

enum error store_messages_before(struct store *store, uint64_t room, uint32_t kind,
                                 uint64_t before, size_t limit, store_event_visitor *visit,
                                 void *context)
{
    struct query query;
    query_read(&query, store, STATEMENT_MESSAGES_BEFORE,
               "SELECT " COLUMNS " FROM timeline WHERE room = ?1 AND number < ?2 AND kind = ?3"
               " ORDER BY number DESC, seq DESC LIMIT ?4",
               "read messages");
    bind_number(&query, room);
    bind_number(&query, before == 0 ? INT64_MAX : clamp_ordered(before));
    bind_number(&query, kind);
    bind_number(&query, clamp_ordered(limit));
    return visit_all(&query, visit, context);
}

/* The place of a row within a room. */
struct place {
    bool found;
    uint64_t number;
    uint64_t seq;
};

static enum error read_place(struct query *query, struct place *place)
{
    bool row;
    enum error error = query_step(query, &row);
    *place = (struct place){.found = error == OK && row};
    if (place->found) {
        place->number = column_ordered(query);
        place->seq = column_ordered(query);
        error = query_row_error(query);
    }
    return query_end(query, error);
}

static enum error first_place_from(struct store *store, uint64_t room, uint64_t number,
                                   struct place *place)
{
    struct query query;
    query_read(&query, store, STATEMENT_FIRST_EVENT_FROM,
               "SELECT number, seq FROM timeline WHERE room = ?1 AND number >= ?2"
               " ORDER BY number, seq LIMIT 1",
               "find an event");
    bind_number(&query, room);
    bind_number(&query, number);
    return read_place(&query, place);
}

static enum error last_place(struct store *store, uint64_t room, struct place *place)
{
    struct query query;
    query_read(&query, store, STATEMENT_LAST_EVENT,
               "SELECT number, seq FROM timeline WHERE room = ?1"
               " ORDER BY number DESC, seq DESC LIMIT 1",
               "find the last event");
    bind_number(&query, room);
    return read_place(&query, place);
}

/* The highest number whose first row is not after seq; 0 when even the first one is. Both number
 * and seq only grow along a room, so that it can be bisected; and as most readers are near the
 * end, the search first doubles its way back from there. */
static enum error number_not_after(struct store *store, uint64_t room, uint64_t seq,
                                   uint64_t *number)
{
    struct place place;
    *number = 0;
    enum error error = last_place(store, room, &place);
    if (error != OK || !place.found)
        return error;
    uint64_t low = 0; /* not after seq, or the start */
    uint64_t high = place.number;
    for (uint64_t step = 1; low < high; step *= 2) {
        uint64_t probe = high - low > step ? high - step + 1 : low + 1;
        error = first_place_from(store, room, probe, &place);
        if (error != OK)
            return error;
        if (place.found && place.seq <= seq) {
            low = place.number;
            break;
        }
        high = probe - 1;
    }
    while (low < high) {
        uint64_t middle = low + (high - low + 1) / 2;
        error = first_place_from(store, room, middle, &place);
        if (error != OK)
            return error;
        if (place.found && place.seq <= seq)
            low = place.number;
        else
            high = middle - 1;
    }
    *number = low;
    return OK;
}

enum error store_events_after(struct store *store, uint64_t room, uint64_t after_seq,
                              uint64_t until_seq, size_t limit, store_event_visitor *visit,
                              void *context)
{
    uint64_t number;
    enum error error = number_not_after(store, room, clamp_ordered(after_seq), &number);
    if (error != OK)
        return error;
    struct query query;
    query_read(&query, store, STATEMENT_EVENTS_FROM,
               "SELECT " COLUMNS " FROM timeline WHERE room = ?1 AND (number, seq) > (?2, ?3)"
               " AND seq <= ?4 ORDER BY number, seq LIMIT ?5",
               "read events");
    bind_number(&query, room);
    bind_number(&query, number);
    bind_number(&query, clamp_ordered(after_seq));
    bind_number(&query, clamp_ordered(until_seq));
    bind_number(&query, clamp_ordered(limit));
    return visit_all(&query, visit, context);
}

enum error store_number_at(struct store *store, uint64_t room, uint64_t seq, uint64_t *number)
{
    uint64_t found;
    enum error error = number_not_after(store, room, clamp_ordered(seq), &found);
    if (error == OK)
        *number = found;
    return error;
}
