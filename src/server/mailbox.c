/* SPDX-License-Identifier: MIT */
#include "server/mailbox.h"

#include "base/log_pace.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define READS_MAX 256 /* under way; further ones wait for the next delivery */
#define RETRY_AFTER_FAILED_READ_MS 500
#define RETRY_AFTER_ROLLBACK_MS 500
#define RETRY_WITHOUT_MEMORY_MS 1000
#define READ_ARENA_BYTES (4u * 1024u * 1024u)
#define ENCODE_ARENA_BYTES (4u * 1024u * 1024u)
#define CHUNKS_FIRST (CHAT_PAGE_EVENTS * 2)
#define ENTRIES_FIRST 8
#define ENTRIES_KEPT 64 /* capacity that an empty mailbox keeps */

/* One event as a packed ReceiveReply with nothing else in it: pages are made by joining them. */
struct encoded {
    size_t references;
    size_t size;
    uint8_t bytes[];
};

struct entry {
    struct encoded *encoded;
    uint64_t seq; /* 0: ephemeral */
};

enum mailbox_state {
    MAILBOX_LIVE,    /* holds every event after the cursor */
    MAILBOX_BEHIND,  /* holds every event after the cursor up to `filled` */
    MAILBOX_READING, /* as BEHIND; the store is being read from `filled` on, and pushed events are
                      * collected behind it, at `collected` */
};

struct mailbox {
    struct mailroom *mailroom;
    uint64_t session;
    uint64_t account;
    struct rpc_call *stream; /* NULL: none */
    uint64_t stream_gone_ms; /* set by tidy when it first sees no stream; 0: has one */
    enum mailbox_state state;
    struct position cursor; /* `next` of the last page, or where the session started */
    uint64_t filled;
    struct entry *entries; /* a ring of `capacity`, a power of two, from `head` on */
    uint32_t capacity;
    uint32_t head;
    uint32_t count;
    uint32_t collected; /* READING: how many of the entries were pushed since it began */
    size_t bytes;       /* of all entries, as if each were this mailbox's alone */
    bool rewound;       /* the next page says so, and is sent even if empty */
    struct mailbox *next_dirty;
    struct mailbox **dirty_link; /* what points to it in the list; NULL: not dirty */
    struct mailbox *previous;
    struct mailbox *next;
    struct reading *reading;
};

/* A page being read from the store. */
struct reading {
    struct gate gate; /* first: opens when `until` is committed, and the reader sees it */
    struct task task;
    struct mailroom *mailroom;
    struct mailbox *mailbox; /* NULL: gone meanwhile, or started anew */
    struct arena arena;
    struct chat_plan *plan;
    struct chat_page page;
    uint64_t until;
    bool overflowed; /* what came meanwhile did not fit: the mailbox stays behind */
    enum error error;
};

struct mailroom {
    struct mailroom_options options;
    struct chat *chat;
    struct mailbox *mailboxes;
    struct mailbox *dirty;
    struct arena scratch;
    struct rpc_chunk *chunks; /* of the page being sent */
    size_t chunks_capacity;
    struct encoded *shared; /* of the event being pushed */
    const struct chat_event *event;
    uint64_t encoded_for;     /* account that `shared` is for; 0: everybody */
    struct encoded *greeting; /* NULL: none */
    size_t readings;
    struct mailroom_figures figures;
};

/* ---- encoded events ---- */

static void drop(struct encoded *encoded)
{
    if (encoded != NULL && --encoded->references == 0)
        free(encoded);
}

/* NULL without memory. */
static struct encoded *pack(Jackdaw__Event *event)
{
    Jackdaw__ReceiveReply reply = JACKDAW__RECEIVE_REPLY__INIT;
    reply.n_events = 1;
    reply.events = &event;
    size_t size = jackdaw__receive_reply__get_packed_size(&reply);
    struct encoded *encoded = malloc(sizeof *encoded + size);
    if (encoded == NULL)
        return NULL;
    encoded->references = 1;
    encoded->size = size;
    (void)jackdaw__receive_reply__pack(&reply, encoded->bytes);
    return encoded;
}

/* NULL without memory: the mailboxes concerned then fall behind and read it later. */
static struct encoded *encode(struct mailroom *mailroom, const struct chat_event *event,
                              uint64_t viewer)
{
    Jackdaw__Event filled = JACKDAW__EVENT__INIT;
    enum error error = chat_event_fill(mailroom->chat, event, viewer, &mailroom->scratch, &filled);
    struct encoded *encoded = error == OK ? pack(&filled) : NULL;
    arena_clear(&mailroom->scratch);
    return encoded;
}

static struct encoded *encode_notice(const char *text, uint64_t time_ms)
{
    Jackdaw__Event event = JACKDAW__EVENT__INIT;
    event.kind = JACKDAW__EVENT__KIND__NOTICE;
    event.time_ms = time_ms;
    event.text = (char *)text;
    return pack(&event);
}

/* ---- the ring ---- */

static struct entry *entry_at(const struct mailbox *mailbox, uint32_t index)
{
    return &mailbox->entries[(mailbox->head + index) & (mailbox->capacity - 1)];
}

static bool make_room(struct mailbox *mailbox, uint32_t more)
{
    uint32_t need = mailbox->count + more;
    if (need <= mailbox->capacity)
        return true;
    uint32_t capacity = mailbox->capacity == 0 ? ENTRIES_FIRST : mailbox->capacity;
    while (capacity < need)
        capacity *= 2;
    struct entry *entries = malloc(capacity * sizeof *entries);
    if (entries == NULL)
        return false;
    for (uint32_t i = 0; i < mailbox->count; i++)
        entries[i] = *entry_at(mailbox, i);
    free(mailbox->entries);
    mailbox->entries = entries;
    mailbox->capacity = capacity;
    mailbox->head = 0;
    return true;
}

static void drop_entry(struct mailbox *mailbox, uint32_t index)
{
    struct encoded *encoded = entry_at(mailbox, index)->encoded;
    if (encoded == NULL)
        return;
    mailbox->bytes -= encoded->size;
    drop(encoded);
}

static void drop_front(struct mailbox *mailbox, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        drop_entry(mailbox, i);
    mailbox->head += count;
    mailbox->count -= count;
    if (mailbox->count == 0 && mailbox->capacity > ENTRIES_KEPT) {
        free(mailbox->entries);
        mailbox->entries = NULL;
        mailbox->capacity = 0;
        mailbox->head = 0;
    }
}

static void drop_back(struct mailbox *mailbox, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        drop_entry(mailbox, mailbox->count - 1 - i);
    mailbox->count -= count;
}

/* ---- states ---- */

static void mark_dirty(struct mailbox *mailbox)
{
    if (mailbox->dirty_link != NULL || mailbox->stream == NULL)
        return;
    struct mailroom *mailroom = mailbox->mailroom;
    mailbox->next_dirty = mailroom->dirty;
    if (mailbox->next_dirty != NULL)
        mailbox->next_dirty->dirty_link = &mailbox->next_dirty;
    mailbox->dirty_link = &mailroom->dirty;
    mailroom->dirty = mailbox;
}

static void unlink_dirty(struct mailbox *mailbox)
{
    if (mailbox->dirty_link == NULL)
        return;
    *mailbox->dirty_link = mailbox->next_dirty;
    if (mailbox->next_dirty != NULL)
        mailbox->next_dirty->dirty_link = mailbox->dirty_link;
    mailbox->dirty_link = NULL;
}

static void abandon_reading(struct mailbox *mailbox)
{
    if (mailbox->reading != NULL)
        mailbox->reading->mailbox = NULL;
    mailbox->reading = NULL;
    mailbox->collected = 0;
}

/* Holds nothing; everything after seq is to be read from the store. */
static void fall_behind(struct mailbox *mailbox, uint64_t seq)
{
    abandon_reading(mailbox);
    drop_front(mailbox, mailbox->count);
    mailbox->state = MAILBOX_BEHIND;
    mailbox->filled = seq;
}

/* What it holds before the position `next_seq` stays, what comes from there on is read later: also
 * those events of that position that did fit. */
static void stop_collecting(struct mailbox *mailbox, uint64_t next_seq)
{
    if (mailbox->state == MAILBOX_LIVE) {
        while (mailbox->count > 0 && entry_at(mailbox, mailbox->count - 1)->seq >= next_seq)
            drop_back(mailbox, 1);
        mailbox->state = MAILBOX_BEHIND;
        mailbox->filled = next_seq - 1;
        mark_dirty(mailbox); /* it may hold nothing that else would */
    } else {
        /* READING: what was collected is not needed; the reading itself goes on. */
        drop_back(mailbox, mailbox->collected);
        mailbox->collected = 0;
        mailbox->reading->overflowed = true;
    }
}

/* ---- pushing ---- */

/* false: it is full, or there is no memory. encoded may be NULL: there was none for it. */
static bool insert(struct mailbox *mailbox, uint32_t index, struct encoded *encoded, uint64_t seq)
{
    bool full = mailbox->count >= MAILBOX_EVENTS_MAX || mailbox->bytes >= MAILBOX_BYTES_MAX;
    if (full || encoded == NULL || !make_room(mailbox, 1))
        return false;
    encoded->references++;
    mailbox->bytes += encoded->size;
    for (uint32_t i = mailbox->count++; i > index; i--)
        *entry_at(mailbox, i) = *entry_at(mailbox, i - 1);
    *entry_at(mailbox, index) = (struct entry){.encoded = encoded, .seq = seq};
    mark_dirty(mailbox);
    return true;
}

static void push(struct mailbox *mailbox, struct encoded *encoded, uint64_t seq)
{
    if (mailbox->state == MAILBOX_BEHIND)
        return;
    if (mailbox->state == MAILBOX_READING && mailbox->reading->overflowed)
        return;
    bool is_in = insert(mailbox, mailbox->count, encoded, seq);
    if (is_in && mailbox->state == MAILBOX_READING)
        mailbox->collected++;
    if (!is_in && seq != 0) /* if ephemeral, nothing is lost */
        stop_collecting(mailbox, seq);
}

static void push_to_session(void *context, struct chat_session *session)
{
    struct mailroom *mailroom = context;
    struct mailbox *mailbox = *chat_session_attachment(session);
    if (mailbox == NULL)
        return; /* has not asked for anything yet; will read the store */
    if (mailroom->encoded_for != 0 && mailroom->encoded_for != mailbox->account) {
        drop(mailroom->shared);
        mailroom->shared = encode(mailroom, mailroom->event, mailbox->account);
        mailroom->encoded_for = mailbox->account;
    }
    push(mailbox, mailroom->shared, mailroom->event->position.seq);
}

void mailroom_event(void *context, const struct chat_event *event)
{
    struct mailroom *mailroom = context;
    if (mailroom->mailboxes == NULL)
        return; /* a slave */
    bool shared = chat_event_is_shared(mailroom->chat, event);
    mailroom->event = event;
    mailroom->encoded_for = shared ? 0 : UINT64_MAX; /* no account: encoded at the first */
    mailroom->shared = shared ? encode(mailroom, event, 0) : NULL;
    chat_each_recipient(mailroom->chat, event, push_to_session, mailroom);
    drop(mailroom->shared);
    mailroom->shared = NULL;
}

/* Also to those that are behind: it is in no store. It waits for no reading. */
static void push_notice(struct mailbox *mailbox, struct encoded *encoded)
{
    (void)insert(mailbox, mailbox->count - mailbox->collected, encoded, 0);
}

void mailroom_notice(struct mailroom *mailroom, const char *text, uint64_t time_ms)
{
    struct encoded *encoded = encode_notice(text, time_ms);
    for (struct mailbox *mailbox = mailroom->mailboxes; mailbox != NULL; mailbox = mailbox->next)
        if (mailbox->stream != NULL)
            push_notice(mailbox, encoded);
    drop(encoded);
}

void mailroom_greet(struct mailroom *mailroom, const char *text, uint64_t time_ms)
{
    drop(mailroom->greeting);
    mailroom->greeting = text == NULL ? NULL : encode_notice(text, time_ms);
}

/* ---- reading the store ---- */

static void finish_reading(struct task *task);

static struct reading *reading_of(struct task *task)
{
    return (struct reading *)((char *)task - offsetof(struct reading, task));
}

static void read_now(struct task *task)
{
    struct reading *reading = reading_of(task);
    const struct mailroom_options *options = &reading->mailroom->options;
    struct store *store = options->reader_store == NULL ? options->store : options->reader_store;
    reading->error = chat_read(reading->plan, store, &reading->arena, &reading->page);
    reading->task.run = finish_reading;
    task_queue_push(options->queue, &reading->task);
}

static void free_reading(struct reading *reading)
{
    reading->mailroom->readings--;
    arena_clear(&reading->arena);
    free(reading);
}

static enum error plan_reading(struct reading *reading, struct mailbox *mailbox,
                               struct chat_session *session)
{
    struct chat_call call = {.session = session, .arena = &reading->arena};
    return chat_plan_receive(mailbox->mailroom->chat, &call, mailbox->filled, reading->until,
                             &reading->plan);
}

/* NULL without memory: tried again at the next delivery. */
static struct reading *new_reading(struct mailbox *mailbox, uint64_t until)
{
    struct mailroom *mailroom = mailbox->mailroom;
    struct chat_session *session = chat_find_session(mailroom->chat, mailbox->session);
    ASSERT(session != NULL);
    struct reading *reading = calloc(1, sizeof *reading);
    if (reading == NULL)
        return NULL;
    mailroom->readings++;
    reading->mailroom = mailroom;
    reading->task.run = read_now;
    reading->until = until;
    arena_init(&reading->arena, READ_ARENA_BYTES);
    if (plan_reading(reading, mailbox, session) == OK)
        return reading;
    free_reading(reading);
    return NULL;
}

static void on_readable(struct gate *gate, bool committed)
{
    struct reading *reading = (struct reading *)gate;
    const struct mailroom_options *options = &reading->mailroom->options;
    if (!committed || reading->mailbox == NULL) {
        if (reading->mailbox != NULL)
            fall_behind(reading->mailbox, reading->mailbox->cursor.seq);
        free_reading(reading);
    } else if (options->reader == NULL) {
        read_now(&reading->task);
    } else {
        worker_push(options->reader, &reading->task);
    }
}

/* What is pushed from now on must follow what is read; so what is applied by now is read, once it is
 * committed. */
static void start_reading(struct mailbox *mailbox)
{
    struct mailroom *mailroom = mailbox->mailroom;
    uint64_t applied = ledger_applied(mailroom->options.ledger).seq;
    if (mailbox->filled == applied) {
        mailbox->state = MAILBOX_LIVE;
        return;
    }
    if (mailroom->readings >= READS_MAX)
        return;
    struct reading *reading = new_reading(mailbox, applied);
    if (reading == NULL)
        return;
    mailroom->figures.store_reads++;
    reading->mailbox = mailbox;
    mailbox->reading = reading;
    mailbox->state = MAILBOX_READING;
    mailbox->collected = 0;
    reading->gate.open = on_readable;
    ledger_gate(mailroom->options.ledger, &reading->gate);
}

/* Puts the page between what the mailbox held before the reading and what was collected since. */
static bool insert_page(struct mailbox *mailbox, const struct chat_page *page)
{
    uint32_t added = (uint32_t)page->count;
    if (!make_room(mailbox, added))
        return false;
    uint32_t kept = mailbox->count - mailbox->collected;
    mailbox->count += added;
    for (uint32_t i = 0; i < mailbox->collected; i++)
        *entry_at(mailbox, mailbox->count - 1 - i) =
            *entry_at(mailbox, kept + mailbox->collected - 1 - i);
    bool complete = true;
    for (uint32_t i = 0; i < added; i++) {
        const struct chat_event *event = &page->events[i];
        struct encoded *encoded =
            complete ? encode(mailbox->mailroom, event, mailbox->account) : NULL;
        *entry_at(mailbox, kept + i) =
            (struct entry){.encoded = encoded, .seq = event->position.seq};
        if (encoded != NULL)
            mailbox->bytes += encoded->size;
        complete = encoded != NULL;
    }
    return complete;
}

static void take_page(struct mailbox *mailbox, const struct reading *reading)
{
    const struct chat_page *page = &reading->page;
    bool complete = !page->more && !reading->overflowed;
    if (!complete) {
        drop_back(mailbox, mailbox->collected);
        mailbox->collected = 0;
    }
    if (!insert_page(mailbox, page)) {
        fall_behind(mailbox, mailbox->cursor.seq);
        return;
    }
    mailbox->collected = 0;
    mailbox->filled = page->more ? page->next.seq : reading->until;
    mailbox->state = complete ? MAILBOX_LIVE : MAILBOX_BEHIND;
}

static void end_stream(struct mailbox *mailbox, enum status status, uint32_t retry_ms,
                       const char *text)
{
    struct rpc_call *stream = mailbox->stream;
    if (stream == NULL)
        return;
    mailbox->stream = NULL;
    mailbox->mailroom->figures.streams--;
    rpc_call_fail(stream, status, retry_ms, text);
}

static void finish_reading(struct task *task)
{
    struct reading *reading = reading_of(task);
    struct mailbox *mailbox = reading->mailbox;
    if (mailbox != NULL) {
        mailbox->reading = NULL;
        if (reading->error == OK) {
            take_page(mailbox, reading);
            mark_dirty(mailbox);
        } else {
            log_error_paced(error_name(reading->error), "mailbox", "cannot_read",
                            log_string("error", error_name(reading->error)));
            fall_behind(mailbox, mailbox->cursor.seq);
            end_stream(mailbox, STATUS_UNAVAILABLE, RETRY_AFTER_FAILED_READ_MS,
                       "the server cannot read what happened; try again");
        }
    }
    free_reading(reading);
}

/* ---- delivering ---- */

struct page {
    struct rpc_chunk *chunks; /* the mailroom's; chunks[0] is left for the page's own fields */
    uint32_t count;           /* events in it */
    uint64_t last_seq;        /* of the last one that is not ephemeral; 0: none */
};

/* Those that may leave: while the store is read, what was collected meanwhile comes after it. */
static uint32_t deliverable(const struct mailbox *mailbox)
{
    return mailbox->count - mailbox->collected;
}

/* How many committed events from the front make a page. It ends between two positions, never among
 * the events of one: a cursor cannot point there. */
static uint32_t measure_page(const struct mailbox *mailbox, uint64_t committed)
{
    size_t bytes = 0;
    uint64_t last_seq = 0;
    uint32_t count = 0;
    for (; count < deliverable(mailbox); count++) {
        const struct entry *entry = entry_at(mailbox, count);
        bool full = count >= CHAT_PAGE_EVENTS || bytes >= CHAT_PAGE_BYTES;
        bool between = entry->seq == 0 || entry->seq != last_seq;
        if (entry->seq > committed || (full && between))
            break;
        bytes += entry->encoded->size;
        last_seq = entry->seq;
    }
    return count;
}

static bool reserve_chunks(struct mailroom *mailroom, size_t count)
{
    if (count <= mailroom->chunks_capacity)
        return true;
    size_t capacity = count < CHUNKS_FIRST ? CHUNKS_FIRST : count;
    struct rpc_chunk *chunks = reallocarray(mailroom->chunks, capacity, sizeof *chunks);
    if (chunks == NULL)
        return false;
    mailroom->chunks = chunks;
    mailroom->chunks_capacity = capacity;
    return true;
}

/* false: no memory. */
static bool collect(const struct mailbox *mailbox, uint64_t committed, struct page *page)
{
    *page = (struct page){.count = measure_page(mailbox, committed)};
    if (!reserve_chunks(mailbox->mailroom, page->count + 1))
        return false;
    page->chunks = mailbox->mailroom->chunks;
    for (uint32_t i = 0; i < page->count; i++) {
        const struct entry *entry = entry_at(mailbox, i);
        page->chunks[i + 1] =
            (struct rpc_chunk){.bytes = entry->encoded->bytes, .size = entry->encoded->size};
        if (entry->seq != 0)
            page->last_seq = entry->seq;
    }
    return true;
}

static struct position position_of(const struct mailroom *mailroom, uint64_t seq)
{
    return (struct position){.epoch = store_epoch_at(mailroom->options.store, seq), .seq = seq};
}

/* How far the session has everything once this page is sent. */
static struct position next_cursor(const struct mailbox *mailbox, const struct page *page)
{
    const struct mailroom *mailroom = mailbox->mailroom;
    struct position committed = ledger_committed(mailroom->options.ledger);
    uint64_t seq = page->last_seq > mailbox->cursor.seq ? page->last_seq : mailbox->cursor.seq;
    if (page->count == deliverable(mailbox)) {
        uint64_t known = mailbox->state == MAILBOX_LIVE ? committed.seq : mailbox->filled;
        if (known > committed.seq)
            known = committed.seq;
        if (known > seq)
            seq = known;
    }
    return seq == committed.seq ? committed : position_of(mailroom, seq);
}

static size_t pack_frame_of_page(const struct mailbox *mailbox, struct position next,
                                 uint8_t bytes[static 64])
{
    Jackdaw__Position after = JACKDAW__POSITION__INIT;
    Jackdaw__Position to = JACKDAW__POSITION__INIT;
    after.epoch = mailbox->cursor.epoch;
    after.seq = mailbox->cursor.seq;
    to.epoch = next.epoch;
    to.seq = next.seq;
    Jackdaw__ReceiveReply reply = JACKDAW__RECEIVE_REPLY__INIT;
    reply.after = &after;
    reply.next = &to;
    reply.rewound = mailbox->rewound;
    return jackdaw__receive_reply__pack(&reply, bytes);
}

static void send_page(struct mailbox *mailbox, struct page *page)
{
    struct mailroom *mailroom = mailbox->mailroom;
    struct position next = next_cursor(mailbox, page);
    uint8_t own[64];
    page->chunks[0] =
        (struct rpc_chunk){.bytes = own, .size = pack_frame_of_page(mailbox, next, own)};
    struct rpc_call *stream = mailbox->stream;
    if (rpc_call_is_stream(stream)) {
        (void)rpc_call_send(stream, page->chunks, page->count + 1);
    } else {
        mailbox->stream = NULL;
        mailroom->figures.streams--;
        rpc_call_finish(stream, page->chunks, page->count + 1);
    }
    mailbox->cursor = next;
    mailbox->rewound = false;
    drop_front(mailbox, page->count);
    mailroom->figures.pages_sent++;
    mailroom->figures.events_delivered += page->count;
}

static void deliver(struct mailbox *mailbox, uint64_t committed)
{
    struct page page;
    while (mailbox->stream != NULL && rpc_call_credits(mailbox->stream) > 0) {
        if (!collect(mailbox, committed, &page)) {
            end_stream(mailbox, STATUS_RESOURCE_EXHAUSTED, RETRY_WITHOUT_MEMORY_MS,
                       "the server is out of memory; try again");
            return;
        }
        if (page.count == 0 && !mailbox->rewound)
            break;
        send_page(mailbox, &page);
    }
    if (mailbox->stream != NULL && mailbox->state == MAILBOX_BEHIND && mailbox->count == 0)
        start_reading(mailbox);
}

/* For a commit still to come, or for its turn to read. What else there is to wait for (credit, the
 * end of a reading) marks it dirty when it comes. */
static bool is_waiting(const struct mailbox *mailbox)
{
    if (mailbox->stream == NULL)
        return false;
    bool has_more = deliverable(mailbox) > 0 && rpc_call_credits(mailbox->stream) > 0;
    return has_more || (mailbox->state == MAILBOX_BEHIND && mailbox->count == 0);
}

void mailroom_deliver(struct mailroom *mailroom)
{
    uint64_t committed = ledger_committed(mailroom->options.ledger).seq;
    struct mailbox *mailbox = mailroom->dirty;
    mailroom->dirty = NULL;
    while (mailbox != NULL) {
        struct mailbox *next = mailbox->next_dirty;
        mailbox->dirty_link = NULL;
        deliver(mailbox, committed);
        if (is_waiting(mailbox))
            mark_dirty(mailbox);
        mailbox = next;
    }
}

/* ---- streams ---- */

static void on_cancelled(void *context, struct rpc_call *call)
{
    struct mailbox *mailbox = context;
    ASSERT(mailbox->stream == call);
    end_stream(mailbox, STATUS_CANCELLED, 0, "the call was cancelled");
}

static void on_credited(void *context, struct rpc_call *call)
{
    (void)call;
    mark_dirty(context);
}

static struct mailbox *new_mailbox(struct mailroom *mailroom, struct chat_session *session)
{
    struct mailbox *mailbox = calloc(1, sizeof *mailbox);
    if (mailbox == NULL)
        return NULL;
    mailbox->mailroom = mailroom;
    mailbox->session = chat_session_id(session);
    mailbox->account = chat_session_account(session);
    mailbox->state = MAILBOX_BEHIND;
    mailbox->next = mailroom->mailboxes;
    if (mailbox->next != NULL)
        mailbox->next->previous = mailbox;
    mailroom->mailboxes = mailbox;
    mailroom->figures.mailboxes++;
    *chat_session_attachment(session) = mailbox;
    return mailbox;
}

/* Its stream was ended before. */
static void free_mailbox(struct mailbox *mailbox)
{
    ASSERT(mailbox->stream == NULL);
    abandon_reading(mailbox);
    drop_front(mailbox, mailbox->count);
    unlink_dirty(mailbox);
    if (mailbox->previous != NULL)
        mailbox->previous->next = mailbox->next;
    else
        mailbox->mailroom->mailboxes = mailbox->next;
    if (mailbox->next != NULL)
        mailbox->next->previous = mailbox->previous;
    mailbox->mailroom->figures.mailboxes--;
    free(mailbox->entries);
    free(mailbox);
}

/* Goes on after `position`: with what the mailbox holds if that is enough, else from the store. */
static void resume(struct mailbox *mailbox, struct position position)
{
    bool holds = mailbox->state == MAILBOX_LIVE && position.seq >= mailbox->cursor.seq;
    if (!holds) {
        fall_behind(mailbox, position.seq);
    } else {
        uint32_t known = 0;
        while (known < mailbox->count && entry_at(mailbox, known)->seq <= position.seq)
            known++;
        drop_front(mailbox, known);
    }
    mailbox->cursor = position;
}

void mailroom_receive(struct mailroom *mailroom, struct chat_session *session,
                      struct rpc_call *call, const Jackdaw__ReceiveRequest *request)
{
    struct mailbox *mailbox = *chat_session_attachment(session);
    bool is_new = mailbox == NULL;
    if (is_new)
        mailbox = new_mailbox(mailroom, session);
    if (mailbox == NULL) {
        rpc_call_fail(call, STATUS_RESOURCE_EXHAUSTED, RETRY_WITHOUT_MEMORY_MS,
                      "the server is out of memory; try again");
        return;
    }
    end_stream(mailbox, STATUS_ABORTED, 0, "another Receive of this session took its place");
    struct position asked = {0};
    if (request->after != NULL)
        asked = (struct position){.epoch = request->after->epoch, .seq = request->after->seq};
    uint64_t committed = ledger_committed(mailroom->options.ledger).seq;
    uint64_t common =
        chat_common_seq_of(mailroom->chat, request->after, request->trail, request->n_trail);
    struct position position = position_of(mailroom, common < committed ? common : committed);
    resume(mailbox, position);
    mailbox->rewound = position.seq != asked.seq || position.epoch != asked.epoch;
    call = rpc_call_keep(call); /* request is gone */
    mailbox->stream = call;
    mailbox->stream_gone_ms = 0;
    mailroom->figures.streams++;
    rpc_call_watch(call, &(struct rpc_call_watch){.context = mailbox,
                                                  .cancelled = on_cancelled,
                                                  .credited = on_credited});
    if (is_new)
        push_notice(mailbox, mailroom->greeting);
    mark_dirty(mailbox);
}

/* ---- life ---- */

enum error mailroom_new(struct mailroom **out, const struct mailroom_options *options)
{
    struct mailroom *mailroom = calloc(1, sizeof *mailroom);
    if (mailroom == NULL)
        return ERROR_NO_MEMORY;
    mailroom->options = *options;
    arena_init(&mailroom->scratch, ENCODE_ARENA_BYTES);
    *out = mailroom;
    return OK;
}

void mailroom_attach(struct mailroom *mailroom, struct chat *chat)
{
    mailroom->chat = chat;
}

void mailroom_free(struct mailroom *mailroom)
{
    if (mailroom == NULL)
        return;
    while (mailroom->mailboxes != NULL) {
        end_stream(mailroom->mailboxes, STATUS_CANCELLED, 0, "the server is closing");
        free_mailbox(mailroom->mailboxes);
    }
    drop(mailroom->greeting);
    arena_clear(&mailroom->scratch);
    free(mailroom->chunks);
    free(mailroom);
}

/* ---- sessions that end ---- */

/* A stream whose session has ended: it is told when that is committed. In the call's arena. */
struct farewell {
    struct gate gate;
    struct rpc_call *stream;
};

static void end_farewell(struct gate *gate, bool committed)
{
    const struct farewell *farewell = (struct farewell *)gate;
    if (committed)
        rpc_call_fail(farewell->stream, STATUS_UNAUTHENTICATED, 0,
                      "the session has ended; log in again");
    else
        rpc_call_fail(farewell->stream, STATUS_UNAVAILABLE, RETRY_AFTER_ROLLBACK_MS,
                      "the server could not write down what happened; try again");
}

static void say_farewell(struct mailbox *mailbox)
{
    struct rpc_call *stream = mailbox->stream;
    if (stream == NULL)
        return;
    struct farewell *farewell = arena_zalloc(rpc_call_arena(stream), sizeof *farewell);
    if (farewell == NULL) {
        end_stream(mailbox, STATUS_UNAVAILABLE, RETRY_WITHOUT_MEMORY_MS,
                   "the server is out of memory; try again");
        return;
    }
    mailbox->stream = NULL;
    mailbox->mailroom->figures.streams--;
    farewell->gate.open = end_farewell;
    farewell->stream = stream;
    rpc_call_watch(stream, &(struct rpc_call_watch){.context = NULL});
    ledger_gate(mailbox->mailroom->options.ledger, &farewell->gate);
}

void mailroom_session_ended(void *context, struct chat_session *session)
{
    (void)context;
    void **attachment = chat_session_attachment(session);
    struct mailbox *mailbox = *attachment;
    *attachment = NULL;
    if (mailbox == NULL)
        return;
    say_farewell(mailbox);
    free_mailbox(mailbox);
}

/* Sessions that only the undone transaction knew have ended before this. */
void mailroom_rolled_back(struct mailroom *mailroom, struct position position)
{
    for (struct mailbox *mailbox = mailroom->mailboxes; mailbox != NULL; mailbox = mailbox->next) {
        uint64_t seq = mailbox->cursor.seq;
        fall_behind(mailbox, seq < position.seq ? seq : position.seq);
        mark_dirty(mailbox);
    }
}

void mailroom_hang_up(struct mailroom *mailroom, const char *text)
{
    for (struct mailbox *mailbox = mailroom->mailboxes; mailbox != NULL; mailbox = mailbox->next)
        end_stream(mailbox, STATUS_UNAVAILABLE, 0, text);
}

void mailroom_close_all(struct mailroom *mailroom, const char *text, const char *master)
{
    while (mailroom->mailboxes != NULL) {
        struct mailbox *mailbox = mailroom->mailboxes;
        if (mailbox->stream != NULL && master != NULL)
            rpc_call_redirect(mailbox->stream, master);
        end_stream(mailbox, STATUS_UNAVAILABLE, 0, text);
        struct chat_session *session = chat_find_session(mailroom->chat, mailbox->session);
        if (session != NULL)
            *chat_session_attachment(session) = NULL;
        free_mailbox(mailbox);
    }
}

void mailroom_set_store(struct mailroom *mailroom, struct store *store, struct store *reader_store,
                        struct worker *reader)
{
    mailroom->options.store = store;
    mailroom->options.reader_store = reader_store;
    mailroom->options.reader = reader;
}

void mailroom_tidy(struct mailroom *mailroom, uint64_t before_ms, uint64_t now_ms)
{
    for (struct mailbox *mailbox = mailroom->mailboxes; mailbox != NULL; mailbox = mailbox->next) {
        if (mailbox->stream != NULL)
            continue;
        if (mailbox->stream_gone_ms == 0)
            mailbox->stream_gone_ms = now_ms;
        else if (mailbox->stream_gone_ms < before_ms && mailbox->count > 0)
            fall_behind(mailbox, mailbox->cursor.seq);
    }
}

void mailroom_figures(const struct mailroom *mailroom, struct mailroom_figures *out)
{
    *out = mailroom->figures;
    out->reading = mailroom->readings;
}
