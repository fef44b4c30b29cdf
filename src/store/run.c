/* SPDX-License-Identifier: MIT */
/* A page of runs is packed as differences: number, seq, id and count for each run, the first three
 * less those of the run before. */
#include "store/store_internal.h"

static void pack_runs(struct buffer *buffer, const struct run_page *page)
{
    struct run before = {0};
    for (size_t i = 0; i < page->count; i++) {
        const struct run *run = &page->runs[i];
        pack_number(buffer, run->number - before.number);
        pack_number(buffer, run->seq - before.seq);
        pack_number(buffer, run->id - before.id);
        pack_number(buffer, run->count);
        before = *run;
    }
}

/* Grows value by a difference; false when that leaves what SQLite can order. */
static bool advance(uint64_t *value, uint64_t difference)
{
    if (difference > INT64_MAX - *value)
        return false;
    *value += difference;
    return true;
}

static bool unpack_run(struct unpacker *unpacker, const struct run *before, struct run *run)
{
    *run = *before;
    bool fits = advance(&run->number, unpack_number(unpacker));
    fits = advance(&run->seq, unpack_number(unpacker)) && fits;
    fits = advance(&run->id, unpack_number(unpacker)) && fits;
    run->count = unpack_number(unpacker);
    return fits && !unpacker->bad && run->id >= before->id + before->count && run->seq > 0 &&
           run->id > 0 && run->count >= 1 && run->count <= EVENTS_PER_RUN;
}

static bool unpack_runs(struct unpacker unpacker, struct run_page *page)
{
    struct run before = {0};
    page->count = 0;
    while (unpacker.left > 0) {
        if (page->count == RUNS_PER_PAGE ||
            !unpack_run(&unpacker, &before, &page->runs[page->count]))
            return false;
        before = page->runs[page->count++];
    }
    return page->count > 0;
}

static enum error read_runs(struct query *query, struct run_page *page)
{
    struct unpacker unpacker = {0};
    unpacker.bytes = query_column_bytes(query, &unpacker.left);
    enum error error = query_row_error(query);
    if (error == OK && !unpack_runs(unpacker, page))
        error = query_suspect(query, "runs");
    return error;
}

enum error run_load_tail(struct store *store, uint64_t room, struct run_tail *tail)
{
    tail->page.room = room;
    tail->page.page = 0;
    tail->page.count = 0;
    tail->last_number = 0;
    tail->last_seq = 0;
    struct query query;
    bool row;
    query_read(&query, store, STATEMENT_GET_RUN_TAIL,
               "SELECT room, page, last_number, last_seq, runs FROM run_tail WHERE room = ?1",
               "find the end of a timeline");
    query_bind_number(&query, room);
    enum error error = query_step(&query, &row);
    if (error == OK && row) {
        (void)query_column_number(&query);
        tail->page.page = query_column_ordered(&query);
        tail->last_number = query_column_ordered(&query);
        tail->last_seq = query_column_ordered(&query);
        error = read_runs(&query, &tail->page);
    }
    return query_end(&query, error);
}

static enum error pack_page(struct store *store, const struct run_page *page)
{
    store->scratch.size = 0;
    enum error error =
        pack_buffer_reserve(store, &store->scratch, (size_t)RUNS_PER_PAGE * 4 * PACKED_NUMBER_MAX);
    if (error == OK)
        pack_runs(&store->scratch, page);
    return error;
}

enum error run_store_tail(struct store *store, const struct run_tail *tail)
{
    enum error error = pack_page(store, &tail->page);
    if (error != OK)
        return error;
    struct query query;
    query_write(&query, store, STATEMENT_PUT_RUN_TAIL,
                "INSERT OR REPLACE INTO run_tail (room, page, last_number, last_seq, runs)"
                " VALUES (?1, ?2, ?3, ?4, ?5)",
                "write the end of a timeline");
    query_bind_number(&query, tail->page.room);
    query_bind_number(&query, tail->page.page);
    query_bind_number(&query, tail->last_number);
    query_bind_number(&query, tail->last_seq);
    query_bind_bytes(&query, store->scratch.bytes, store->scratch.size);
    return query_run(&query);
}

static enum error add_page(struct store *store, const struct run_page *page)
{
    enum error error = pack_page(store, page);
    if (error != OK)
        return error;
    struct query query;
    query_write(&query, store, STATEMENT_ADD_RUN_PAGE,
                "INSERT INTO run_page (room, page, runs) VALUES (?1, ?2, ?3)",
                "write a part of a timeline");
    query_bind_number(&query, page->room);
    query_bind_number(&query, page->page);
    query_bind_bytes(&query, store->scratch.bytes, store->scratch.size);
    return query_run(&query);
}

enum error run_append(struct store *store, struct run_tail *tail, const struct timeline_row *row,
                      uint64_t id)
{
    struct run_page *page = &tail->page;
    struct run *last = page->count == 0 ? NULL : &page->runs[page->count - 1];
    tail->last_number = row->number;
    tail->last_seq = row->seq;
    if (last != NULL && last->id + last->count == id && last->count < EVENTS_PER_RUN) {
        last->count++;
        return OK;
    }
    if (page->count == RUNS_PER_PAGE) {
        enum error error = add_page(store, page);
        if (error != OK)
            return error;
        page->page++;
        page->count = 0;
    }
    page->runs[page->count++] =
        (struct run){.number = row->number, .seq = row->seq, .id = id, .count = 1};
    return OK;
}

/* ---- finding ---- */

enum error run_load_page(struct store *store, struct run_place *place, uint64_t page)
{
    if (page == place->tail.page.page) {
        place->page = place->tail.page;
        return OK;
    }
    struct query query;
    bool row;
    query_read(&query, store, STATEMENT_GET_RUN_PAGE,
               "SELECT room, runs FROM run_page WHERE room = ?1 AND page = ?2",
               "read a part of a timeline");
    query_bind_number(&query, place->tail.page.room);
    query_bind_number(&query, page);
    enum error error = query_step(&query, &row);
    if (error == OK && !row)
        error = store_fault(store, ERROR_CORRUPT, query.what, "it is missing");
    if (error == OK) {
        place->page.room = place->tail.page.room;
        place->page.page = page;
        (void)query_column_number(&query);
        error = read_runs(&query, &place->page);
    }
    return query_end(&query, error);
}

static bool is_at_most(const struct run *run, enum run_key key, uint64_t most)
{
    return (key == RUN_BY_NUMBER ? run->number : run->seq) <= most;
}

/* The last page whose first run is at most most, or page 0. As most readers are near the end, the
 * search doubles its way back from there before it bisects. */
static enum error find_page(struct store *store, enum run_key key, uint64_t most,
                            struct run_place *place)
{
    uint64_t low = 0;
    uint64_t high = place->tail.page.page;
    enum error error = run_load_page(store, place, high);
    for (uint64_t step = 1; error == OK && low < high; step *= 2) {
        if (is_at_most(&place->page.runs[0], key, most)) {
            low = place->page.page;
            break;
        }
        high = place->page.page - 1;
        error = run_load_page(store, place, high > step ? high - step : 0);
        if (error == OK && place->page.page == 0)
            break;
    }
    while (error == OK && low < high) {
        uint64_t middle = low + (high - low + 1) / 2;
        error = run_load_page(store, place, middle);
        if (error == OK && is_at_most(&place->page.runs[0], key, most))
            low = middle;
        else
            high = middle - 1;
    }
    return error == OK && place->page.page != low ? run_load_page(store, place, low) : error;
}

enum error run_find(struct store *store, uint64_t room, enum run_key key, uint64_t most,
                    struct run_place *place)
{
    place->found = false;
    place->index = 0;
    enum error error = run_load_tail(store, room, &place->tail);
    if (error != OK)
        return error;
    if (place->tail.page.count == 0) {
        place->page = place->tail.page;
        return OK;
    }
    error = find_page(store, key, most, place);
    if (error != OK)
        return error;
    size_t index = place->page.count;
    while (index > 0 && !is_at_most(&place->page.runs[index - 1], key, most))
        index--;
    place->found = index > 0;
    place->index = index > 0 ? index - 1 : 0;
    return OK;
}

enum error run_next(struct store *store, struct run_place *place)
{
    if (place->index + 1 < place->page.count) {
        place->index++;
        return OK;
    }
    place->found = place->page.page < place->tail.page.page;
    place->index = 0;
    return place->found ? run_load_page(store, place, place->page.page + 1) : OK;
}

enum error run_previous(struct store *store, struct run_place *place)
{
    if (place->index > 0) {
        place->index--;
        return OK;
    }
    place->found = place->page.page > 0;
    if (!place->found)
        return OK;
    enum error error = run_load_page(store, place, place->page.page - 1);
    if (error == OK)
        place->index = place->page.count - 1;
    return error;
}
