/* SPDX-License-Identifier: MIT */
/* The promises, each as a function that ends the run when it is broken. */
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the log ---- */

/* Logs that agree at a position agree before it; and one master per epoch, because two would write
 * different batches at the same position. digest runs over everything before. */
void check_log_matching(struct world *world, const struct node *node, const struct row *row)
{
    if (node_is_elsewhere(node))
        return;
    if (world->log_facts_count * 2 >= world->log_facts_capacity) {
        size_t capacity = world->log_facts_capacity == 0 ? 4096 : world->log_facts_capacity * 2;
        struct log_fact *old = world->log_facts;
        size_t old_capacity = world->log_facts_capacity;
        world->log_facts = calloc(capacity, sizeof *world->log_facts);
        ASSERT(world->log_facts != NULL);
        world->log_facts_capacity = capacity;
        for (size_t i = 0; i < old_capacity; i++)
            if (old[i].seq != 0) {
                size_t place = (old[i].seq * 0x9e3779b97f4a7c15u ^ old[i].epoch) % capacity;
                while (world->log_facts[place].seq != 0)
                    place = (place + 1) % capacity;
                world->log_facts[place] = old[i];
            }
        free(old);
    }
    size_t place = (row->last_seq * 0x9e3779b97f4a7c15u ^ row->epoch) % world->log_facts_capacity;
    for (; world->log_facts[place].seq != 0; place = (place + 1) % world->log_facts_capacity) {
        if (world->log_facts[place].seq != row->last_seq ||
            world->log_facts[place].epoch != row->epoch)
            continue;
        if (world->log_facts[place].digest != row->digest)
            broken(world, "log_matching", "node %u has another log up to %llx.%llu", node->id,
                   (unsigned long long)row->epoch, (unsigned long long)row->last_seq);
        return;
    }
    world->log_facts[place].seq = row->last_seq;
    world->log_facts[place].epoch = row->epoch;
    world->log_facts[place].digest = row->digest;
    world->log_facts_count++;
}

/* A promise is never taken back. */
void check_promise(struct world *world, const struct node *node, uint64_t promised)
{
    if (promised < node->promised)
        broken(world, "promise_grows", "node %u promised %llx, now %llx", node->id,
               (unsigned long long)node->promised, (unsigned long long)promised);
}

/* What is told of the disk is on the disk: promises and acks. */
void check_sent(struct world *world, const struct node *node, const struct replica_message *message)
{
    bool is_ack = message->kind == REPLICA_ACK || message->kind == REPLICA_PING;
    bool is_grant = message->kind == REPLICA_PROMISE && message->granted;
    bool is_ask = message->kind == REPLICA_PREPARE;
    if ((is_grant || is_ask) && message->epoch > node->promised)
        broken(world, "promise_before_send", "node %u tells of %llx, has %llx", node->id,
               (unsigned long long)message->epoch, (unsigned long long)node->promised);
    if (is_ack && message->epoch != 0 && message->epoch < node->promised)
        broken(world, "no_ack_below_promise", "node %u acks in %llx, promised %llx", node->id,
               (unsigned long long)message->epoch, (unsigned long long)node->promised);
    if ((is_ack || is_grant) && message->position.seq > rows_end(&node->rows, node->durable).seq)
        broken(world, "ack_after_fsync", "node %u acks %llu, synced %llu", node->id,
               (unsigned long long)message->position.seq,
               (unsigned long long)rows_end(&node->rows, node->durable).seq);
}

/* ---- committed ---- */

static bool is_durable_on(const struct node *node, const struct row *row)
{
    size_t low = 0, high = node->durable;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (node->rows.items[middle].last_seq < row->last_seq)
            low = middle + 1;
        else
            high = middle;
    }
    return low < node->durable && node->rows.items[low].digest == row->digest;
}

static const struct row *row_at(const struct node *node, uint64_t seq)
{
    for (size_t i = node->rows.count; i > 0; i--)
        if (node->rows.items[i - 1].first_seq <= seq)
            return &node->rows.items[i - 1];
    return NULL;
}

/* Committed means durable where the policy says. */
static void check_durable(struct world *world, const struct node *node, const struct row *row)
{
    const struct replica_member *members;
    size_t count = replica_members(node->replica, &members);
    size_t voters = 0, here = 0;
    for (size_t i = 0; i < count; i++) {
        if (members[i].left)
            continue;
        const struct node *other = node_of(world, members[i].id);
        /* Or lost with its disk since it acked. */
        bool is_there = is_durable_on(other, row) ||
                        (other->emptied_at != 0 && world->now - other->emptied_at < 5 * SECOND);
        /* One that has gone on to another master had it when it acked; it is an orphan now. */
        bool has_gone_on = other->promised > node->promised;
        voters += members[i].voter;
        here += members[i].voter && is_there;
        bool is_needed =
            world->options.policy == REPLICA_ALL ? members[i].in_sync : members[i].id == node->id;
        if (world->options.policy != REPLICA_QUORUM && is_needed && !is_there && !has_gone_on)
            broken(world, "committed_is_durable", "node %u commits %llu, not on node %u", node->id,
                   (unsigned long long)row->last_seq, members[i].id);
    }
    if (world->options.policy == REPLICA_QUORUM && here * 2 <= voters)
        broken(world, "committed_is_durable", "node %u commits %llu with %zu of %zu", node->id,
               (unsigned long long)row->last_seq, here, voters);
}

/* Nothing is committed twice differently, and it never goes back. */
void check_committed(struct world *world, const struct node *node, uint64_t seq)
{
    const struct row *row = row_at(node, seq);
    if (row == NULL)
        broken(world, "committed_is_kept", "node %u commits %llu, which it has not", node->id,
               (unsigned long long)seq);
    if (replica_role(node->replica) == REPLICA_MASTER)
        check_durable(world, node, row);
    if (!world->is_strict || node_is_elsewhere(node))
        return;
    if (row->last_seq >= world->committed_capacity) {
        size_t capacity = (size_t)row->last_seq * 2 + 1024;
        world->committed_digest =
            realloc(world->committed_digest, capacity * sizeof *world->committed_digest);
        ASSERT(world->committed_digest != NULL);
        memset(world->committed_digest + world->committed_capacity, 0,
               (capacity - world->committed_capacity) * sizeof *world->committed_digest);
        world->committed_capacity = capacity;
    }
    uint64_t *known = &world->committed_digest[row->last_seq];
    if (*known != 0 && *known != row->digest)
        broken(world, "committed_once", "node %u commits something else at %llu", node->id,
               (unsigned long long)seq);
    *known = row->digest;
}

/* Nothing stands between them, and the other one was there all the time. */
static bool can_find(const struct world *world, const struct node *node, const struct node *other)
{
    unsigned hidden = FAULT_LOSS | FAULT_PARTITION | FAULT_PAUSE | FAULT_DISK;
    return (world->options.faults & hidden) == 0 && other != node && other->alive &&
           other->cluster[0] != 0 && !node_is_elsewhere(other) &&
           other->started_at <= node->started_at;
}

void check_founded(struct world *world, const struct node *node)
{
    trace(world, "n%u founds a cluster", node->id);
    for (unsigned i = 0; i < world->nodes_count && world->is_set_up; i++)
        if (can_find(world, node, &world->nodes[i]))
            broken(world, "one_cluster", "node %u founds one, and node %u is there", node->id,
                   i + 1);
}

static uint64_t highest_acked(const struct client *client)
{
    uint64_t acked = client->base - 1;
    for (uint64_t request = client->base; request < client->next; request++)
        if (client->sent[request - client->first].acked)
            acked = request;
    return acked;
}

/* An acknowledged uid is in every later master's log. A session's requests are in the log without
 * holes, so the last one tells. */
void check_new_master(struct world *world, const struct node *node)
{
    if (!world->is_strict || !world->is_set_up || node->rows.count != node->applied)
        return;
    for (unsigned i = 0; i < world->clients_count; i++) {
        const struct client *client = &world->clients[i];
        const struct chat_session *session = chat_find_session(node->chat, client->session);
        uint64_t acked = highest_acked(client);
        if (session == NULL || chat_session_last_request(session) < acked) {
            /* Deposed and not aware of it: it cannot commit any more, so it harms nobody. */
            bool is_newest = true;
            for (unsigned k = 0; k < world->nodes_count; k++)
                is_newest = is_newest && world->nodes[k].promised <= node->promised;
            if (is_newest)
                broken(world, "acked_is_kept", "master %u lacks request %llu of client %d",
                       node->id, (unsigned long long)acked, client->index);
        }
    }
}

/* ---- what clients see ---- */

static void check_real_time(struct world *world, const struct client *client,
                            const struct request_record *sent)
{
    if (sent->number <= sent->floor)
        broken(world, "after_what_was_acked",
               "request %llu of client %d is number %llu, but %llu was acked before",
               (unsigned long long)sent->request, client->index, (unsigned long long)sent->number,
               (unsigned long long)sent->floor);
}

/* One may not come into somebody's private room, nor write there. And it may have got another name
 * while it was taken over. */
static bool may_be_refused(const struct request_record *sent)
{
    bool may_be_out = sent->target % 2 == 0;
    return (sent->kind == SENT_JOIN || sent->kind == SENT_EXTRA) && may_be_out;
}

/* A retry gets the first answer. Where halves may have met, the message may have a new number. */
static void check_same_answer(struct world *world, const struct client *client,
                              const struct request_record *sent, const struct packet *reply)
{
    bool may_differ = may_be_refused(sent) && !world->is_strict;
    bool is_same =
        (may_differ || sent->status == reply->status) &&
        (!world->is_strict || (sent->number == reply->number && sent->seq == reply->position.seq));
    if (!is_same)
        broken(world, "first_answer", "request %llu of client %d: %d %llu, then %d %llu",
               (unsigned long long)sent->request, client->index, (int)sent->status,
               (unsigned long long)sent->number, (int)reply->status,
               (unsigned long long)reply->number);
}

static bool is_message(const struct request_record *sent)
{
    return sent->kind != SENT_JOIN && sent->kind != SENT_NOWHERE;
}

static bool is_right_answer(const struct request_record *sent, enum status status)
{
    if (sent->kind == SENT_NOWHERE)
        return status == STATUS_NOT_FOUND;
    return status == STATUS_OK || (may_be_refused(sent) && (status == STATUS_NOT_FOUND ||
                                                            status == STATUS_PERMISSION_DENIED));
}

/* What comes before an orphan is here, or came before it: nothing waits, and no number is left out. */
void check_orphan(struct world *world, const struct node *node, const Jackdaw__Delta *late)
{
    const struct chat_session *session = chat_find_session(node->chat, late->session);
    if (session != NULL && late->request > chat_session_last_request(session) + 1)
        broken(world, "orphans_are_whole", "node %u: request %llu of session %llx follows %llu",
               node->id, (unsigned long long)late->request, (unsigned long long)late->session,
               (unsigned long long)chat_session_last_request(session));
}

void check_ack(struct world *world, struct client *client, const struct packet *reply)
{
    struct request_record *sent = &client->sent[reply->request - client->first];
    if (!is_right_answer(sent, reply->status))
        broken(world, "right_answer", "request %llu of client %d: %d",
               (unsigned long long)reply->request, client->index, (int)reply->status);
    sent->was_sent = sent->was_sent || (is_message(sent) && reply->status == STATUS_OK);
    sent->was_refused = sent->was_refused || reply->status != STATUS_OK;
    client->answers++;
    if (sent->acked) {
        check_same_answer(world, client, sent, reply);
        return;
    }
    trace(world, "client %d has request %llu acked: number %llu, seq %llx.%llu", client->index,
          (unsigned long long)reply->request, (unsigned long long)reply->number,
          (unsigned long long)reply->position.epoch, (unsigned long long)reply->position.seq);
    sent->acked = true;
    sent->status = reply->status;
    sent->number = reply->number;
    sent->seq = reply->position.seq;
    world->acks++;
    if (sent->kind != SENT_ROOM || !world->is_strict)
        return;
    check_real_time(world, client, sent);
    if (sent->number > world->acked_number[sent->target])
        world->acked_number[sent->target] = sent->number;
}

static void check_told(struct world *world, unsigned room, const struct message_record *seen)
{
    if (seen->number >= world->told_capacity[room]) {
        size_t capacity = (size_t)seen->number * 2 + 256;
        world->told[room] = realloc(world->told[room], capacity * sizeof *world->told[room]);
        ASSERT(world->told[room] != NULL);
        memset(world->told[room] + world->told_capacity[room], 0,
               (capacity - world->told_capacity[room]) * sizeof *world->told[room]);
        world->told_capacity[room] = capacity;
    }
    struct fact *fact = &world->told[room][seen->number];
    if (fact->session != 0 && (fact->session != seen->session || fact->request != seen->request))
        broken(world, "one_order", "room %u number %llu was another message for another reader",
               room, (unsigned long long)seen->number);
    *fact = (struct fact){.session = seen->session, .request = seen->request};
}

static unsigned room_index(const struct world *world, uint64_t room)
{
    unsigned index = 0;
    while (index < ROOMS && world->rooms[index] != room)
        index++;
    return index;
}

/* Keeps the last position of each epoch, forgets those that are behind the page's start. */
static void extend_cursor_history(struct client *client, const struct packet *page)
{
    size_t kept = 0;
    struct log_position cursor_history[TRAIL] = {page->position};
    size_t count = 1;
    for (; kept < client->cursor_history_count && count < TRAIL; kept++) {
        const struct log_position *old = &client->cursor_history[kept];
        if (old->seq <= page->after_seq && old->epoch < page->position.epoch)
            cursor_history[count++] = *old;
    }
    memcpy(client->cursor_history, cursor_history, sizeof cursor_history);
    client->cursor_history_count = count;
}

/* Cursors never go back unless told, numbers have no holes, everybody sees one order, nothing that
 * is not committed. */
void check_page(struct world *world, struct client *client, const struct packet *page)
{
    world->reads++;
    trace(world, "client %d reads %zu messages from %llx.%llu%s to %llx.%llu", client->index,
          page->seen_count, (unsigned long long)client->cursor.epoch,
          (unsigned long long)client->cursor.seq, page->cursor_reset ? ", rewound," : "",
          (unsigned long long)page->position.epoch, (unsigned long long)page->position.seq);
    if (page->cursor_reset && world->is_strict)
        broken(world, "cursor_forward", "client %d is rewound from %llx.%llu to %llu",
               client->index, (unsigned long long)client->cursor.epoch,
               (unsigned long long)client->cursor.seq, (unsigned long long)page->after_seq);
    if (!page->cursor_reset && page->position.seq < client->cursor.seq)
        broken(world, "cursor_forward", "client %d from %llu to %llu", client->index,
               (unsigned long long)client->cursor.seq, (unsigned long long)page->position.seq);
    if (page->cursor_reset)
        memset(client->last_number, 0, sizeof client->last_number);
    for (size_t i = 0; i < page->seen_count; i++) {
        const struct message_record *seen = &page->seen[i];
        unsigned room = room_index(world, seen->room);
        if (room == ROOMS)
            continue; /* what is said between two, or in a room made on the way */
        uint64_t *last = &client->last_number[room];
        if (*last != 0 && seen->number != *last + 1)
            broken(world, "no_holes", "client %d reads number %llu after %llu", client->index,
                   (unsigned long long)seen->number, (unsigned long long)*last);
        *last = seen->number;
        if (world->is_strict)
            check_told(world, room, seen);
    }
    client->cursor = page->position;
    extend_cursor_history(client, page);
}

/* ---- at the end ---- */

bool is_converged(struct world *world)
{
    const struct node *master = NULL;
    for (unsigned i = 0; i < world->nodes_count; i++) {
        const struct node *node = &world->nodes[i];
        if (node->left)
            continue;
        if (!node->alive || node->orphans_count != 0 || node_is_elsewhere(node))
            return false;
        if (replica_role(node->replica) == REPLICA_MASTER) {
            if (master != NULL)
                return false;
            master = node;
        }
    }
    if (master == NULL || !clients_done(world) || master->queue != NULL)
        return false;
    struct log_position last = replica_last(master->replica);
    for (unsigned i = 0; i < world->nodes_count; i++) {
        const struct node *node = &world->nodes[i];
        if (node->left)
            continue;
        enum replica_role role = replica_role(node->replica);
        if ((node != master && role != REPLICA_SLAVE) ||
            replica_master(node->replica) != master->id ||
            log_position_compare(replica_durable(node->replica), last) != 0 ||
            replica_committed(node->replica) != last.seq)
            return false;
    }
    return true;
}

struct scan {
    struct world *world;
    const struct node *node;
    const struct room_row *room;
    uint64_t number;
    struct request_record *last[CLIENTS_MAX];
};

/* Whether the room is the one that the message was sent to, under whatever name it is now. */
static bool is_right_room(const struct world *world, const struct room_row *room,
                          const struct client *from, const struct request_record *sent)
{
    char name[32];
    size_t length;
    bool may_be_private = sent->target % 2 == 0;
    switch (sent->kind) {
    case SENT_ROOM:
        return room->id == world->rooms[sent->target];
    case SENT_PERSON: {
        uint64_t other = world->clients[sent->target].account;
        return (room->direct_low == from->account && room->direct_high == other) ||
               (room->direct_high == from->account && room->direct_low == other);
    }
    case SENT_EXTRA:
        length = (size_t)snprintf(name, sizeof name, "extra%u", sent->target);
        return strncmp(room->name, name, length) == 0 &&
               (room->name[length] == '\0' || (room->name[length] == '~' && may_be_private));
    default:
        return false;
    }
}

static enum error scan_event(void *context, const struct timeline_row *row)
{
    struct scan *scan = context;
    struct world *world = scan->world;
    if (row->kind != JACKDAW__EVENT__KIND__MESSAGE)
        return OK;
    if (row->number != ++scan->number)
        broken(world, "no_holes", "node %u, %s: number %llu follows %llu", scan->node->id,
               scan->room->name, (unsigned long long)row->number,
               (unsigned long long)scan->number - 1);
    for (unsigned i = 0; i < world->clients_count; i++) {
        struct client *client = &world->clients[i];
        if (client->session != row->session)
            continue;
        struct request_record *sent = &client->sent[row->request - client->first];
        const struct request_record *last = scan->last[i];
        /* What was refused in the half that stays is kept, but comes late. */
        bool is_late = sent->was_refused || (last != NULL && last->was_refused);
        if (last != NULL && row->request <= last->request && !is_late)
            broken(world, "senders_order", "node %u, %s: client %u's request %llu after %llu",
                   scan->node->id, scan->room->name, i, (unsigned long long)row->request,
                   (unsigned long long)last->request);
        scan->last[i] = sent;
        if (!is_right_room(world, scan->room, client, sent))
            broken(world, "right_room", "node %u: client %u's request %llu is in %s",
                   scan->node->id, i, (unsigned long long)row->request, scan->room->name);
        sent->found++;
    }
    return OK;
}

struct visit {
    struct world *world;
    const struct node *node;
};

static enum error scan_room(void *context, const struct room_row *room)
{
    const struct visit *visit = context;
    struct scan scan = {.world = visit->world, .node = visit->node, .room = room};
    return store_events_after(visit->node->store, room->id, 0, UINT64_MAX >> 1, 1u << 30,
                              scan_event, &scan);
}

/* Every acknowledged message is there, exactly once, where it was sent to, in its sender's order, on
 * every node. */
static void check_node(struct world *world, const struct node *node)
{
    struct visit visit = {.world = world, .node = node};
    if (store_each_room(node->store, scan_room, &visit) != OK)
        broken(world, "harness", "scan");
    for (unsigned i = 0; i < world->clients_count; i++) {
        const struct client *client = &world->clients[i];
        for (uint64_t request = client->first; request < client->next; request++) {
            struct request_record *sent = &client->sent[request - client->first];
            if (sent->found > 1 || (sent->was_sent && sent->found == 0))
                broken(world, "acked_exactly_once", "node %u: request %llu of client %u: %u times",
                       node->id, (unsigned long long)request, i, sent->found);
            sent->found = 0;
        }
    }
}

void check_final(struct world *world)
{
    uint8_t first[LOG_DIGEST_BYTES];
    const struct node *with = NULL;
    for (unsigned i = 0; i < world->nodes_count; i++) {
        const struct node *node = &world->nodes[i];
        if (node->left)
            continue;
        uint8_t digest[LOG_DIGEST_BYTES];
        store_digest(node->store, digest);
        if (with == NULL)
            memcpy(first, digest, sizeof first);
        else if (memcmp(first, digest, sizeof first) != 0)
            broken(world, "digests_agree", "nodes %u and %u", with->id, node->id);
        with = with == NULL ? node : with;
        check_node(world, node);
    }
}
