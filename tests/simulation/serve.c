/* SPDX-License-Identifier: MIT */
/* The chat side of a node: requests of clients, and what other halves hand over. */
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DELTAS_MAX 64
#define TIME_ZERO_MS 1700000000000u

/* The deltas of one batch, applied in the open transaction one by one. */
struct proposal {
    struct world *world;
    struct node *node;
    uint64_t epoch;
    uint64_t first_seq;
    Jackdaw__Delta *deltas[DELTAS_MAX];
    size_t count;
};

static uint64_t wall_ms(const struct world *world, const struct node *node)
{
    return TIME_ZERO_MS + world->now / MS + node->id * 37u; /* clocks differ */
}

static struct chat_call call_of(struct proposal *p)
{
    return (struct chat_call){.time_ms = wall_ms(p->world, p->node),
                              .monotonic_ms = p->world->now / MS,
                              .committed_seq = p->node->committed,
                              .arena = &p->world->scratch};
}

static uint64_t last_seq(const struct proposal *p)
{
    return p->first_seq + p->count - 1;
}

static void apply(struct proposal *p, const Jackdaw__Delta *delta)
{
    struct log_position position = {p->epoch, p->first_seq + p->count};
    node_note_delta(p->world, p->node, delta);
    enum error error = chat_apply(p->node->chat, delta, position);
    if (error != OK)
        broken(p->world, "apply_succeeds", "node %u proposing seq %llu: %s", p->node->id,
               (unsigned long long)position.seq, error_name(error));
    ASSERT(p->count < DELTAS_MAX);
    p->deltas[p->count++] = (Jackdaw__Delta *)(uintptr_t)delta;
}

/* ---- answers ---- */

static struct packet *reply_to(struct world *world, const struct node *node,
                               const struct packet *request, enum packet_kind kind)
{
    struct packet *reply = make(world, sizeof *reply);
    reply->kind = kind;
    reply->from = node->id;
    reply->to = request->from;
    reply->request = request->request;
    reply->read_id = request->read_id;
    return reply;
}

static void send_reply(struct world *world, struct node *node, struct packet *reply)
{
    uint64_t delay = node->busy_until > world->now ? node->busy_until - world->now : 0;
    transmit(world, reply, delay, false);
}

static void commit_waiter(struct world *world, struct node *node, struct packet *reply,
                          uint64_t seq)
{
    if (seq <= node->committed) {
        send_reply(world, node, reply);
        return;
    }
    struct commit_waiter *waiting = make(world, sizeof *waiting);
    *waiting = (struct commit_waiter){.seq = seq, .reply = reply};
    *node->commit_waiters_tail = waiting;
    node->commit_waiters_tail = &waiting->next;
}

void serve_committed(struct world *world, struct node *node, uint64_t seq)
{
    check_committed(world, node, seq);
    node->committed = seq;
    while (node->commit_waiters != NULL && node->commit_waiters->seq <= seq) {
        send_reply(world, node, node->commit_waiters->reply);
        node->commit_waiters = node->commit_waiters->next;
    }
    if (node->commit_waiters == NULL)
        node->commit_waiters_tail = &node->commit_waiters;
}

void serve_lost(struct world *world, struct node *node)
{
    (void)world;
    node->commit_waiters = NULL;
    node->commit_waiters_tail = &node->commit_waiters;
    node->queue = NULL;
    node->queue_tail = &node->queue;
    node->pending_merges = NULL;
    node->pending_merges_tail = &node->pending_merges;
}

/* ---- a message is sent ---- */

static void answer_outcome(struct proposal *p, const struct packet *request,
                           const struct chat_session *session)
{
    struct packet *reply = reply_to(p->world, p->node, request, PACKET_REPLY);
    struct chat_outcome outcome;
    enum error error =
        chat_outcome_of(p->node->chat, session, request->request, &p->world->scratch, &outcome);
    if (error != OK)
        broken(p->world, "retry_gets_answer", "no outcome of request %llu: %s",
               (unsigned long long)request->request, error_name(error));
    reply->status = outcome.status;
    reply->number = outcome.number;
    reply->position = outcome.position;
    commit_waiter(p->world, p->node, reply, last_seq(p));
}

static void refuse(struct proposal *p, const struct packet *request, const struct chat_call *call)
{
    struct packet *reply = reply_to(p->world, p->node, request, PACKET_REPLY);
    reply->status = call->status;
    reply->expected = call->next_request;
    commit_waiter(p->world, p->node, reply, last_seq(p));
}

static enum chat_decision decide(struct proposal *p, const struct packet *request,
                                 struct chat_call *call)
{
    if (request->is_join) {
        Jackdaw__JoinRoomRequest join = JACKDAW__JOIN_ROOM_REQUEST__INIT;
        join.request = request->request;
        join.room = (char *)(uintptr_t)request->room;
        join.private_ = request->is_private;
        return chat_propose_join(p->node->chat, call, &join);
    }
    Jackdaw__SendRequest send = JACKDAW__SEND_REQUEST__INIT;
    send.request = request->request;
    send.to = (char *)(uintptr_t)request->room;
    send.text = (char *)(uintptr_t)request->text;
    return chat_propose_send(p->node->chat, call, &send);
}

static void carry_out(struct proposal *p, struct packet *request)
{
    struct client *client = &p->world->clients[-1 - request->from];
    struct chat_call call = call_of(p);
    call.session = chat_authenticate(p->node->chat, client->token, sizeof client->token);
    if (call.session == NULL)
        broken(p->world, "sessions_survive", "node %u does not know client %d", p->node->id,
               client->index);
    enum chat_decision decision = decide(p, request, &call);
    if (decision == CHAT_REFUSE && call.retry_ms == 0)
        decision = chat_propose_refusal(p->node->chat, &call, request->request);
    if (decision == CHAT_PROPOSE)
        apply(p, call.delta);
    if (decision == CHAT_REFUSE)
        refuse(p, request, &call);
    else
        answer_outcome(p, request, call.session);
}

/* ---- the first batch: people and rooms ---- */

uint64_t token_word(int client, size_t index)
{
    return 0x5851f42d4c957f2du * ((uint64_t)client * 4 + index + 1);
}

static void set_up_client(struct proposal *p, struct client *client)
{
    struct world *world = p->world;
    struct chat *chat = p->node->chat;
    struct chat_call call = call_of(p);
    char name[16];
    (void)snprintf(name, sizeof name, "person%d", client->index);
    Jackdaw__RegisterRequest account = JACKDAW__REGISTER_REQUEST__INIT;
    account.name = name;
    account.password = (char *)(uintptr_t) "password";
    uint8_t nonce[STORE_NONCE_BYTES] = {(uint8_t)(client->index + 1)};
    account.nonce = (ProtobufCBinaryData){sizeof nonce, nonce};
    if (chat_propose_register(chat, &call, &account, "hash") != CHAT_PROPOSE)
        broken(world, "harness", "register: %s", call.text);
    apply(p, call.delta);
    for (size_t i = 0; i < CHAT_TOKEN_BYTES / 8; i++) {
        uint64_t word = token_word(client->index, i);
        memcpy(client->token + 8 * i, &word, 8);
    }
    Jackdaw__LoginRequest login = JACKDAW__LOGIN_REQUEST__INIT;
    login.name = name;
    login.password = (char *)(uintptr_t) "password";
    login.token = (ProtobufCBinaryData){sizeof client->token, client->token};
    login.device = (char *)(uintptr_t) "";
    call = call_of(p);
    const char *hash;
    if (chat_check_login(chat, &call, &login, &hash) != CHAT_PROPOSE ||
        chat_propose_login(chat, &call, &login, true) != CHAT_PROPOSE)
        broken(world, "harness", "login: %s", call.text);
    apply(p, call.delta);
    client->session = call.delta->session_started->session;
    client->account = call.delta->session_started->account;
    for (unsigned room = 0; room < ROOMS; room++) {
        char room_name[16];
        (void)snprintf(room_name, sizeof room_name, "room%u", room);
        Jackdaw__JoinRoomRequest join = JACKDAW__JOIN_ROOM_REQUEST__INIT;
        join.request = room + 1;
        join.room = room_name;
        call = call_of(p);
        call.session = chat_find_session(chat, client->session);
        if (chat_propose_join(chat, &call, &join) != CHAT_PROPOSE)
            broken(world, "harness", "join: %s", call.text);
        apply(p, call.delta);
        world->rooms[room] = call.delta->room_joined->room;
    }
}

/* ---- handing over ---- */

static void *from_scratch(void *arena, size_t size)
{
    return arena_alloc(arena, size);
}

static void back_to_scratch(void *arena, void *pointer)
{
    (void)arena;
    (void)pointer;
}

/* Sessions and accounts of clients are of the set-up: everybody has them. */
static bool is_of_client(const struct world *world, const Jackdaw__Delta *delta)
{
    for (unsigned i = 0; i < world->clients_count; i++)
        if (world->clients[i].session == delta->session)
            return true;
    return false;
}

/* Whether the orphan is dealt with. */
static bool merge_delta(struct proposal *p, const Jackdaw__Delta *orphan)
{
    struct chat_call call = call_of(p);
    if (p->count == DELTAS_MAX)
        return false;
    switch (chat_merge_orphan(p->node->chat, &call, orphan)) {
    case CHAT_APPLY:
        check_orphan(p->world, p->node, call.delta);
        apply(p, call.delta);
        return true;
    case CHAT_WAIT:
        broken(p->world, "nothing_waits", "node %u, request %llu: %s", p->node->id,
               (unsigned long long)orphan->request, call.text);
    case CHAT_DROP:
        if (!is_of_client(p->world, orphan))
            return true;
        broken(p->world, "nothing_is_dropped", "node %u, request %llu: %s", p->node->id,
               (unsigned long long)orphan->request, call.text);
    default:
        return true;
    }
}

/* Whether everything of the row is in the log now. A request whose predecessor is missing must wait
 * for whoever has that. Deltas stay in the scratch arena until they are packed. */
static bool take_row(struct proposal *p, const struct row *row)
{
    ProtobufCAllocator scratch = {
        .alloc = from_scratch, .free = back_to_scratch, .allocator_data = &p->world->scratch};
    Jackdaw__Batch *batch = jackdaw__batch__unpack(&scratch, row->size, row->bytes);
    ASSERT(batch != NULL);
    bool is_whole = true;
    for (size_t i = 0; i < batch->n_deltas; i++)
        is_whole = merge_delta(p, batch->deltas[i]) && is_whole;
    return is_whole;
}

void serve_merge_orphans(struct world *world, struct node *node,
                         const struct replica_message *message, uint64_t after)
{
    struct packet *waiting = make(world, sizeof *waiting);
    waiting->from = message == NULL ? node->id : message->from;
    waiting->message.orphan = after;
    if (message != NULL)
        waiting->message = *message;
    *node->pending_merges_tail = waiting;
    node->pending_merges_tail = &waiting->next;
}

static bool merge(struct proposal *p, struct packet *waiting)
{
    struct node *node = p->node;
    bool is_whole = true;
    if (waiting->from == node->id) {
        size_t count;
        size_t first = node_orphans_after(node, waiting->message.orphan, &count);
        for (size_t i = first; i < first + count; i++)
            is_whole = take_row(p, &node->orphans[i].row) && is_whole;
        waiting->message.orphan = count == 0 ? 0 : node->orphans[first + count - 1].id;
        return is_whole && count > 0;
    }
    for (size_t i = 0; i < waiting->message.batches_count; i++) {
        const struct log_entry *batch = &waiting->message.batches[i];
        struct row row = {.bytes = batch->bytes, .size = batch->size};
        is_whole = take_row(p, &row) && is_whole;
    }
    return is_whole;
}

/* ---- a turn ---- */

static const uint8_t *pack(struct proposal *p, size_t *size)
{
    Jackdaw__Batch batch = JACKDAW__BATCH__INIT;
    batch.epoch = p->epoch;
    batch.first_seq = p->first_seq;
    batch.n_deltas = p->count;
    batch.deltas = p->deltas;
    *size = jackdaw__batch__get_packed_size(&batch);
    uint8_t *bytes = make(p->world, *size);
    jackdaw__batch__pack(&batch, bytes);
    return bytes;
}

static void propose(struct proposal *p)
{
    struct node *node = p->node;
    if (p->count == 0) {
        store_rollback(node->store);
        return;
    }
    size_t size;
    const uint8_t *bytes = pack(p, &size);
    node->proposing = true;
    node_step(p->world, node,
              &(struct replica_event){
                  .kind = REPLICA_PROPOSE, .bytes = bytes, .size = size, .count = p->count});
    ASSERT(!node->alive || !node->refused);
}

static void report_orphans_merged(struct proposal *p, struct packet *done)
{
    struct node *node = p->node;
    for (; done != NULL && node->alive; done = done->next)
        node_step(p->world, node,
                  &(struct replica_event){.kind = REPLICA_ORPHANS_MERGED,
                                          .node = (uint16_t)done->from,
                                          .orphan = done->message.orphan,
                                          .position = rows_end(&node->rows, node->rows.count)});
}

static void do_turn(struct world *world, struct node *node)
{
    struct proposal p = {.world = world,
                         .node = node,
                         .epoch = replica_epoch(node->replica),
                         .first_seq = replica_last(node->replica).seq + 1};
    if (store_begin(node->store) != OK)
        broken(world, "harness", "begin");
    if (world->rooms[0] == 0)
        for (unsigned i = 0; i < world->clients_count; i++)
            set_up_client(&p, &world->clients[i]);
    struct chat_call guest = call_of(&p);
    if (guest_acts(world, node, &guest))
        apply(&p, guest.delta);
    struct packet *waiting = node->pending_merges;
    node->pending_merges = NULL;
    node->pending_merges_tail = &node->pending_merges;
    struct packet *done = NULL;
    struct packet **done_tail = &done;
    for (struct packet *next; waiting != NULL; waiting = next) {
        next = waiting->next;
        waiting->next = NULL;
        if (merge(&p, waiting)) {
            *done_tail = waiting;
            done_tail = &waiting->next;
        }
    }
    while (node->queue != NULL && p.count < DELTAS_MAX - 1) {
        struct packet *request = node->queue;
        node->queue = request->next;
        carry_out(&p, request);
    }
    if (node->queue == NULL)
        node->queue_tail = &node->queue;
    propose(&p);
    arena_clear(&world->scratch);
    report_orphans_merged(&p, done);
}

void serve_pump(struct world *world, struct node *node)
{
    if (!node->alive || replica_role(node->replica) != REPLICA_MASTER || node->disk_busy ||
        node->rows.count != node->durable)
        return;
    if (node->queue == NULL && node->pending_merges == NULL && world->rooms[0] != 0)
        return;
    do_turn(world, node);
}

/* ---- packets from clients ---- */

static void redirect(struct world *world, struct node *node, const struct packet *request,
                     enum packet_kind kind)
{
    struct packet *reply = reply_to(world, node, request, kind);
    reply->redirect = true;
    reply->master = replica_master(node->replica);
    send_reply(world, node, reply);
}

struct page_context {
    struct world *world;
    struct packet *page;
};

static void fill_page(struct world *world, struct packet *page, const struct chat_page *events)
{
    page->seen = make(world, (events->count + 1) * sizeof *page->seen);
    for (size_t i = 0; i < events->count; i++) {
        const struct chat_event *event = &events->events[i];
        if (event->kind != JACKDAW__EVENT__KIND__MESSAGE)
            continue;
        page->seen[page->seen_count++] = (struct message_record){.room = event->room,
                                                                 .number = event->number,
                                                                 .session = event->session,
                                                                 .request = event->request,
                                                                 .seq = event->position.seq};
    }
    page->position = (struct log_position){events->next.epoch, events->next.seq};
}

static void read_page(struct world *world, struct node *node, const struct packet *request)
{
    const struct client *client = &world->clients[-1 - request->from];
    struct packet *page = reply_to(world, node, request, PACKET_PAGE);
    struct chat_call call = {.monotonic_ms = world->now / MS, .arena = &world->scratch};
    call.session = chat_authenticate(node->chat, client->token, sizeof client->token);
    ASSERT(call.session != NULL);
    /* Behind, or deposed and not aware of it: better no answer than a rewinding. */
    if (node->applied != node->rows.count || request->position.epoch > replica_epoch(node->replica))
        return;
    page->after_seq =
        chat_common_seq(node->chat, request->cursor_history, request->cursor_history_count);
    page->cursor_reset = page->after_seq < request->position.seq;
    if (page->after_seq > node->committed)
        return; /* not known to be committed here yet */
    struct chat_plan *plan;
    struct chat_page events;
    if (chat_plan_receive(node->chat, &call, page->after_seq, node->committed, &plan) != OK ||
        chat_read(plan, node->store, &world->scratch, &events) != OK)
        broken(world, "harness", "reading");
    fill_page(world, page, &events);
    arena_clear(&world->scratch);
    send_reply(world, node, page);
}

void serve_packet(struct world *world, struct node *node, struct packet *packet)
{
    bool is_send = packet->kind == PACKET_SEND;
    if (node_is_elsewhere(node))
        return; /* clients do not follow it there */
    if (replica_role(node->replica) != REPLICA_MASTER) {
        redirect(world, node, packet, is_send ? PACKET_REPLY : PACKET_PAGE);
        return;
    }
    if (!is_send) {
        read_page(world, node, packet);
        return;
    }
    struct packet *copy = keep(world, packet, sizeof *packet); /* the network may double it */
    copy->next = NULL;
    *node->queue_tail = copy;
    node->queue_tail = &copy->next;
    serve_pump(world, node);
}
