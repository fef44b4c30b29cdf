/* SPDX-License-Identifier: MIT */
/* The outcomes of OUTCOMES_PER_PART consecutive requests are one part, a packed row. A session's
 * newest part is its tail. Tails are small and close together, because every transaction rewrites
 * them. When the next part begins, the tail moves to one of PARTS slots and replaces the part that
 * has left the window.
 *
 * A packed outcome: the length of the rest, the request's place in its part (one byte), status,
 * room (8 bytes), number, seq, time_ms, flags, the text with its NUL. */
#include "store/store_internal.h"

#include <string.h>

#define OUTCOMES_PER_PART 16u
#define PARTS (STORE_OUTCOME_WINDOW / OUTCOMES_PER_PART)
#define OUTCOME_FIXED_MAX (1 + 8 + 6 * PACKED_NUMBER_MAX)

struct part {
    uint64_t session;
    uint64_t part; /* request / OUTCOMES_PER_PART */
    struct buffer outcomes;
};

/* ---- packing ---- */

static enum error corrupt(struct store *store)
{
    return store_fault(store, ERROR_CORRUPT, "read the outcomes of a session", "outcomes");
}

/* The next packed outcome; index: its place in the part. */
static struct unpacker take_outcome(struct unpacker *all, uint8_t *index)
{
    struct unpacker one = {0};
    one.left = (size_t)unpack_number(all);
    one.bytes = unpack_bytes(all, one.left);
    one.bad = all->bad;
    const uint8_t *first = unpack_bytes(&one, 1);
    *index = first == NULL ? 0 : *first;
    all->bad = one.bad;
    return one;
}

static bool unpack_outcome(struct unpacker one, struct outcome_row *row)
{
    uint64_t status = unpack_number(&one);
    const uint8_t *room = unpack_bytes(&one, sizeof row->room);
    row->number = unpack_number(&one);
    row->seq = unpack_number(&one);
    row->time_ms = unpack_number(&one);
    uint64_t flags = unpack_number(&one);
    if (one.bad || status > UINT32_MAX || flags > UINT32_MAX || one.left == 0 ||
        memchr(one.bytes, '\0', one.left) != one.bytes + one.left - 1)
        return false;
    memcpy(&row->room, room, sizeof row->room);
    row->status = (uint32_t)status;
    row->flags = (uint32_t)flags;
    row->text = (const char *)one.bytes;
    return true;
}

bool outcome_rows_are_sound(const uint8_t *bytes, size_t size)
{
    struct unpacker all = {.bytes = bytes, .left = size};
    unsigned seen = 0;
    while (all.left > 0) {
        uint8_t index;
        struct outcome_row row;
        struct unpacker one = take_outcome(&all, &index);
        if (all.bad || index >= OUTCOMES_PER_PART || (seen & 1u << index) != 0 ||
            !unpack_outcome(one, &row))
            return false;
        seen |= 1u << index;
    }
    return true;
}

/* Takes the outcome at index out of the part, if there is one. */
static enum error remove_outcome(struct store *store, struct buffer *outcomes, uint8_t index)
{
    struct unpacker all = {.bytes = outcomes->bytes, .left = outcomes->size};
    while (all.left > 0) {
        uint8_t *start = outcomes->bytes + (outcomes->size - all.left);
        uint8_t found;
        (void)take_outcome(&all, &found);
        if (all.bad)
            return corrupt(store);
        if (found != index)
            continue;
        memmove(start, all.bytes, all.left);
        outcomes->size = (size_t)(start - outcomes->bytes) + all.left;
        return OK;
    }
    return OK;
}

static enum error add_outcome(struct store *store, struct buffer *outcomes,
                              const struct outcome_row *row)
{
    uint8_t index = (uint8_t)(row->request % OUTCOMES_PER_PART);
    enum error error = remove_outcome(store, outcomes, index);
    size_t text_size = strlen(row->text) + 1;
    struct buffer *scratch = &store->scratch;
    scratch->size = 0;
    if (error == OK)
        error = pack_buffer_reserve(store, scratch, OUTCOME_FIXED_MAX + text_size);
    if (error == OK)
        error = pack_buffer_reserve(store, outcomes, OUTCOME_FIXED_MAX + text_size);
    if (error != OK)
        return error;
    pack_bytes(scratch, &index, 1);
    pack_number(scratch, row->status);
    pack_bytes(scratch, &row->room, sizeof row->room);
    pack_number(scratch, row->number);
    pack_number(scratch, row->seq);
    pack_number(scratch, row->time_ms);
    pack_number(scratch, row->flags);
    pack_bytes(scratch, row->text, text_size);
    pack_number(outcomes, scratch->size);
    pack_bytes(outcomes, scratch->bytes, scratch->size);
    return OK;
}

/* ---- recent ones ----
 *
 * A request shares its place with the request one window before, so an outcome found here is also
 * in the window. */

static struct recent_outcome *recent_of(const struct store *store, uint64_t session,
                                        uint64_t request)
{
    uint64_t spread = (session * UINT64_C(0x9E3779B97F4A7C15)) >> 32;
    return &store->recent[(spread + request % STORE_OUTCOME_WINDOW) % RECENT_OUTCOMES];
}

void outcome_remember(struct store *store, const struct outcome_row *row)
{
    if (store->recent == NULL) {
        store->recent = sqlite3_malloc64(RECENT_OUTCOMES * sizeof *store->recent);
        if (store->recent == NULL)
            return; /* then they are read */
        outcome_forget(store);
    }
    bool is_plain = row->text[0] == '\0';
    *recent_of(store, row->session, row->request) = (struct recent_outcome){
        .session = is_plain ? row->session : 0,
        .request = row->request,
        .room = row->room,
        .number = row->number,
        .seq = row->seq,
        .time_ms = row->time_ms,
        .status = row->status,
        .flags = row->flags,
    };
}

void outcome_forget(struct store *store)
{
    if (store->recent != NULL)
        memset(store->recent, 0, RECENT_OUTCOMES * sizeof *store->recent);
}

static bool find_recent(const struct store *store, uint64_t session, uint64_t request,
                        struct outcome_row *row)
{
    if (store->recent == NULL || session == 0)
        return false;
    const struct recent_outcome *recent = recent_of(store, session, request);
    if (recent->session != session || recent->request != request)
        return false;
    *row = (struct outcome_row){
        .session = session,
        .request = request,
        .status = recent->status,
        .room = recent->room,
        .number = recent->number,
        .seq = recent->seq,
        .time_ms = recent->time_ms,
        .flags = recent->flags,
        .text = "",
    };
    return true;
}

/* ---- rows ---- */

static void read_outcomes(struct query *query, struct buffer *outcomes)
{
    size_t size;
    const uint8_t *bytes = query_column_bytes(query, &size);
    outcomes->size = 0;
    if (query_row_error(query) == OK)
        query->error = pack_buffer_reserve(query->store, outcomes, size);
    if (query->error == OK)
        pack_bytes(outcomes, bytes, size);
}

/* A session without outcomes has an empty tail with last_request 0. */
static enum error load_tail(struct store *store, struct part *tail, uint64_t *last_request)
{
    struct query query;
    bool row;
    query_read(&query, store, STATEMENT_GET_OUTCOME_TAIL,
               "SELECT session, part, last_request, outcomes FROM outcome_tail WHERE session = ?1",
               "read the outcomes of a session");
    query_bind_number(&query, tail->session);
    enum error error = query_step(&query, &row);
    tail->part = 0;
    tail->outcomes.size = 0;
    *last_request = 0;
    if (error == OK && row) {
        (void)query_column_number(&query);
        tail->part = query_column_ordered(&query);
        *last_request = query_column_ordered(&query);
        read_outcomes(&query, &tail->outcomes);
        error = query_row_error(&query);
    }
    return query_end(&query, error);
}

static enum error store_tail(struct store *store, const struct part *tail, uint64_t last_request)
{
    struct query query;
    query_write(&query, store, STATEMENT_PUT_OUTCOME_TAIL,
                "INSERT OR REPLACE INTO outcome_tail (session, part, last_request, outcomes)"
                " VALUES (?1, ?2, ?3, ?4)",
                "write the outcomes of a session");
    query_bind_number(&query, tail->session);
    query_bind_number(&query, tail->part);
    query_bind_number(&query, last_request);
    query_bind_bytes(&query, tail->outcomes.bytes, tail->outcomes.size);
    return query_run(&query);
}

/* The part is empty if another one has its slot. */
static enum error load_part(struct store *store, struct part *part)
{
    struct query query;
    bool row;
    query_read(&query, store, STATEMENT_GET_OUTCOME_PART,
               "SELECT session, part, outcomes FROM outcome_part WHERE session = ?1 AND slot = ?2",
               "read the outcomes of a session");
    query_bind_number(&query, part->session);
    query_bind_number(&query, part->part % PARTS);
    enum error error = query_step(&query, &row);
    part->outcomes.size = 0;
    if (error == OK && row)
        (void)query_column_number(&query);
    if (error == OK && row && query_column_ordered(&query) == part->part)
        read_outcomes(&query, &part->outcomes);
    if (error == OK)
        error = query_row_error(&query);
    return query_end(&query, error);
}

static enum error store_part(struct store *store, const struct part *part)
{
    struct query query;
    query_write(&query, store, STATEMENT_PUT_OUTCOME_PART,
                "INSERT OR REPLACE INTO outcome_part (session, slot, part, outcomes)"
                " VALUES (?1, ?2, ?3, ?4)",
                "write the outcomes of a session");
    query_bind_number(&query, part->session);
    query_bind_number(&query, part->part % PARTS);
    query_bind_number(&query, part->part);
    query_bind_bytes(&query, part->outcomes.bytes, part->outcomes.size);
    return query_run(&query);
}

/* ---- writing and finding ---- */

/* A request from before the tail: out of order, but the window has a place for it. */
static enum error put_late(struct store *store, const struct outcome_row *row)
{
    struct part part = {.session = row->session, .part = row->request / OUTCOMES_PER_PART};
    enum error error = load_part(store, &part);
    if (error == OK)
        error = add_outcome(store, &part.outcomes, row);
    if (error == OK)
        error = store_part(store, &part);
    pack_buffer_free(&part.outcomes);
    return error;
}

static enum error put(struct store *store, struct part *tail, uint64_t *last_request,
                      const struct outcome_row *row)
{
    uint64_t part = row->request / OUTCOMES_PER_PART;
    if (part + PARTS < tail->part)
        return OK; /* its slot holds a newer part */
    if (part < tail->part)
        return put_late(store, row);
    enum error error = OK;
    if (part > tail->part) {
        if (tail->outcomes.size > 0)
            error = store_part(store, tail);
        tail->part = part;
        tail->outcomes.size = 0;
    }
    if (error == OK)
        error = add_outcome(store, &tail->outcomes, row);
    if (row->request > *last_request)
        *last_request = row->request;
    return error;
}

enum error outcome_write(struct store *store, const struct change_order *order, size_t count)
{
    struct part tail = {.session = order[0].key};
    uint64_t last_request;
    enum error error = load_tail(store, &tail, &last_request);
    for (size_t i = 0; i < count && error == OK; i++) {
        struct change change = change_get(order[i].batch, order[i].index);
        error = put(store, &tail, &last_request, &change.row.outcome);
    }
    if (error == OK)
        error = store_tail(store, &tail, last_request);
    pack_buffer_free(&tail.outcomes);
    return error;
}

static enum error find(struct store *store, struct part *part, uint64_t request)
{
    uint64_t last_request;
    enum error error = load_tail(store, part, &last_request);
    if (error != OK)
        return error;
    if (request > last_request || last_request - request >= STORE_OUTCOME_WINDOW)
        return ERROR_NOT_FOUND;
    uint64_t tail = part->part;
    part->part = request / OUTCOMES_PER_PART;
    return part->part == tail ? OK : load_part(store, part);
}

static enum error visit_outcome(struct store *store, const struct part *part, uint64_t request,
                                enum error (*visit)(void *context, const struct outcome_row *row),
                                void *context)
{
    struct unpacker all = {.bytes = part->outcomes.bytes, .left = part->outcomes.size};
    while (all.left > 0) {
        uint8_t index;
        struct unpacker one = take_outcome(&all, &index);
        struct outcome_row row = {.session = part->session, .request = request};
        if (all.bad)
            return corrupt(store);
        if (index != request % OUTCOMES_PER_PART)
            continue;
        return unpack_outcome(one, &row) ? visit(context, &row) : corrupt(store);
    }
    return ERROR_NOT_FOUND;
}

/* ---- changes that the database may lack ---- */

struct outcome_search {
    uint64_t session;
    uint64_t request;
    uint64_t last_request; /* of the changes */
    bool is_deleted;
    bool found;
    struct outcome_row row;
};

static bool see_change(void *context, const struct change *change)
{
    struct outcome_search *search = context;
    if (change->kind == CHANGE_SESSION_DELETED) {
        search->is_deleted = change->row.id == search->session;
        return !search->is_deleted; /* older changes are deleted, too */
    }
    const struct outcome_row *row = &change->row.outcome;
    if (row->session != search->session)
        return true;
    if (row->request > search->last_request)
        search->last_request = row->request;
    if (row->request == search->request && !search->found) {
        search->found = true;
        search->row = *row;
    }
    return true;
}

enum error store_get_outcome(struct store *store, uint64_t session, uint64_t request,
                             enum error (*visit)(void *context, const struct outcome_row *row),
                             void *context)
{
    struct outcome_row recent;
    if (find_recent(store, session, request, &recent))
        return visit(context, &recent);
    struct outcome_search search = {.session = session, .request = request};
    enum error error = change_each(store, 1u << CHANGE_OUTCOME | 1u << CHANGE_SESSION_DELETED,
                                   see_change, &search);
    if (error != OK)
        return error;
    bool has_left =
        search.last_request > request && search.last_request - request >= STORE_OUTCOME_WINDOW;
    if (has_left || (search.is_deleted && !search.found))
        return ERROR_NOT_FOUND;
    if (search.found)
        return visit(context, &search.row);
    struct part part = {.session = session};
    error = query_read_enter(store);
    if (error == OK)
        error = find(store, &part, request);
    if (error == OK)
        error = visit_outcome(store, &part, request, visit, context);
    query_read_leave(store);
    pack_buffer_free(&part.outcomes);
    return error;
}
