/* SPDX-License-Identifier: MIT */
#include "replica_fixture.h"

#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct replica_fixture_message {
    struct replica_fixture_message *next;
    uint16_t to;
    bool is_answer;
    struct replica_message message;
};

struct piece {
    struct piece *next;
};

static void *keep(struct replica_fixture *fixture, const void *bytes, size_t size)
{
    struct piece *piece = malloc(sizeof *piece + size);
    assert_non_null(piece);
    piece->next = fixture->memory;
    fixture->memory = piece;
    if (bytes != NULL)
        memcpy(piece + 1, bytes, size);
    return piece + 1;
}

static struct log_entry keep_batch(struct replica_fixture *fixture, const struct log_entry *batch)
{
    struct log_entry copy = *batch;
    copy.bytes = keep(fixture, batch->bytes, batch->size);
    return copy;
}

void replica_fixture_address(const struct replica_fixture *fixture, uint16_t id,
                             char text[static 32])
{
    unsigned host = fixture->hosts[id] == 0 ? id : fixture->hosts[id];
    (void)snprintf(text, 32, "10.0.0.%u:2626", host);
}

static uint16_t id_of(const struct replica_fixture *fixture, const char *address)
{
    char text[32];
    for (uint16_t id = 1; id <= fixture->count && address != NULL; id++) {
        replica_fixture_address(fixture, id, text);
        if (strcmp(text, address) == 0)
            return id;
    }
    return 0;
}

static void describe(struct replica_fixture *fixture, struct replica_fixture_node *node,
                     struct replica_state *state)
{
    *state = (struct replica_state){.promised = node->promised, .avoid = node->avoid};
    memcpy(state->cluster, node->cluster, sizeof state->cluster);
    struct epoch_start *starts = keep(fixture, NULL, (node->synced + 1) * sizeof *starts);
    for (size_t i = 0; i < node->synced; i++) {
        const struct log_entry *row = &node->rows[i];
        if (state->epochs.count == 0 || starts[state->epochs.count - 1].epoch != row->epoch)
            starts[state->epochs.count++] =
                (struct epoch_start){.epoch = row->epoch, .first_seq = row->first_seq};
        if (row->kind == LOG_ENTRY_MEMBERS) {
            state->members = row->bytes;
            state->members_size = row->size;
            state->members_position = (struct log_position){row->epoch, row->last_seq};
        }
        state->first_seq = node->rows[0].first_seq;
        state->last = (struct log_position){row->epoch, row->last_seq};
    }
    for (size_t i = 0; i < node->synced; i++)
        state->has_chat = state->has_chat || node->rows[i].kind == LOG_ENTRY_CHAT;
    state->epochs.starts = starts;
    state->last_orphan = node->orphans_count;
}

void replica_fixture_sync(struct replica_fixture *fixture, uint16_t id)
{
    struct replica_fixture_node *node = &fixture->nodes[id];
    if (node->synced == node->rows_count)
        return;
    node->synced = node->rows_count;
    const struct log_entry *row = &node->rows[node->synced - 1];
    replica_fixture_step(
        fixture, id,
        &(struct replica_event){.kind = REPLICA_DURABLE, .position = {row->epoch, row->last_seq}});
}

static void install(struct replica_fixture *fixture, uint16_t id, struct log_position common)
{
    struct replica_fixture_node *node = &fixture->nodes[id];
    for (size_t i = 0; i < node->rows_count; i++)
        if (node->rows[i].first_seq > common.seq && node->rows[i].kind == LOG_ENTRY_CHAT)
            node->orphans[node->orphans_count++] = node->rows[i];
    memcpy(node->rows, node->kept, node->kept_count * sizeof *node->rows);
    node->rows_count = node->synced = node->kept_count;
    node->installs++;
    struct replica_state state;
    describe(fixture, node, &state);
    replica_fixture_step(fixture, id,
                         &(struct replica_event){.kind = REPLICA_INSTALLED, .state = &state});
}

static void reset(struct replica_fixture *fixture, uint16_t id)
{
    struct replica_fixture_node *node = &fixture->nodes[id];
    node->rows_count = node->synced = 0;
    node->promised = 0;
    memset(node->cluster, 0, sizeof node->cluster);
    struct replica_state state;
    describe(fixture, node, &state);
    assert_false(state.has_chat);
    replica_fixture_step(fixture, id,
                         &(struct replica_event){.kind = REPLICA_INSTALLED, .state = &state});
}

static const char *keep_text(struct replica_fixture *fixture, const char *text)
{
    return text == NULL ? NULL : keep(fixture, text, strlen(text) + 1);
}

static const struct log_entry *keep_entries(struct replica_fixture *fixture,
                                            const struct log_entry *entries, size_t count)
{
    return count == 0 ? NULL : keep(fixture, entries, count * sizeof *entries);
}

static void keep_info(struct replica_fixture *fixture, struct replica_leader_info *info)
{
    struct replica_location *locations =
        keep(fixture, info->locations, info->locations_count * sizeof *locations);
    for (size_t i = 0; i < info->locations_count; i++)
        locations[i].address = keep_text(fixture, locations[i].address);
    info->locations = locations;
    info->leader.address = keep_text(fixture, info->leader.address);
}

/* Copies what the message borrows. */
static void keep_parts(struct replica_fixture *fixture, struct replica_message *message)
{
    message->internal = keep_text(fixture, message->internal);
    switch (message->kind) {
    case REPLICA_APPEND:
        message->append.entry = keep_entries(fixture, message->append.entry, 1);
        break;
    case REPLICA_ENTRIES:
        message->entries.entries =
            keep_entries(fixture, message->entries.entries, message->entries.count);
        break;
    case REPLICA_ORPHAN_TRANSFER:
        message->orphan_transfer.entries =
            keep_entries(fixture, message->orphan_transfer.entries, message->orphan_transfer.count);
        break;
    case REPLICA_JOIN:
        message->join.client = keep_text(fixture, message->join.client);
        message->join.epochs.starts =
            keep(fixture, message->join.epochs.starts,
                 message->join.epochs.count * sizeof *message->join.epochs.starts);
        break;
    case REPLICA_PONG:
        message->pong.leader.address = keep_text(fixture, message->pong.leader.address);
        break;
    case REPLICA_JOIN_REPLY:
        message->join_reply.leader.address = keep_text(fixture, message->join_reply.leader.address);
        break;
    case REPLICA_PROMISE:
        message->promise.leader.address = keep_text(fixture, message->promise.leader.address);
        break;
    case REPLICA_LEADER_INFO:
        keep_info(fixture, &message->leader_info);
        break;
    default:
        break;
    }
}

static void send(struct replica_fixture *fixture, const struct replica_message *message)
{
    bool is_direct = message->kind == REPLICA_APPEND || message->to == fixture->answering;
    uint16_t to = is_direct && message->to != 0 ? message->to : id_of(fixture, message->address);
    if (fixture->nodes[message->from].cut)
        return;
    fixture->sent[message->kind]++;
    if (to == 0 || to > fixture->count || fixture->nodes[to].cut)
        return;
    struct replica_fixture_message *copy = keep(fixture, NULL, sizeof *copy);
    bool is_answer = fixture->answering != 0 && message->to == fixture->answering;
    *copy = (struct replica_fixture_message){.message = *message, .to = to, .is_answer = is_answer};
    keep_parts(fixture, &copy->message);
    *fixture->last = copy;
    fixture->last = &copy->next;
}

static void send_entries(struct replica_fixture *fixture, struct replica_fixture_node *node,
                         const struct replica_message *message)
{
    struct replica_message page = *message;
    size_t first = 0;
    while (first < node->rows_count && node->rows[first].first_seq <= page.entries.after.seq)
        first++;
    page.entries.entries = node->rows + first;
    page.entries.count = node->rows_count - first;
    if (page.entries.count > REPLICA_ENTRIES_MAX)
        page.entries.count = REPLICA_ENTRIES_MAX;
    send(fixture, &page);
}

static void carry_out(struct replica_fixture *fixture, uint16_t id,
                      const struct replica_action *action)
{
    struct replica_fixture_node *node = &fixture->nodes[id];
    struct replica_message copy;
    switch (action->kind) {
    case REPLICA_DO_PERSIST:
        node->promised = action->persist.promised;
        memcpy(node->cluster, action->persist.cluster, sizeof node->cluster);
        break;
    case REPLICA_DO_APPEND:
        assert_true(node->rows_count < REPLICA_FIXTURE_ROWS);
        node->rows[node->rows_count++] = keep_batch(fixture, &action->entry);
        break;
    case REPLICA_DO_SEND:
        send(fixture, &action->message);
        break;
    case REPLICA_DO_PUBLISH:
        copy = action->message;
        copy.append.entry = &node->rows[node->rows_count - 1];
        for (copy.to = 1; copy.to <= fixture->count; copy.to++)
            if (copy.to != id)
                send(fixture, &copy);
        break;
    case REPLICA_DO_COMMITTED:
        node->committed = action->committed;
        break;
    case REPLICA_DO_SEND_ENTRIES:
        send_entries(fixture, node, &action->message);
        break;
    case REPLICA_DO_SEND_CHUNK: /* the whole log as one chunk of one byte */
        copy = action->message;
        copy.snapshot_chunk.snapshot = 1;
        copy.snapshot_chunk.total = 1;
        copy.snapshot_chunk.size = copy.snapshot_chunk.offset == 0 ? 1 : 0;
        copy.snapshot_chunk.last = replica_durable(node->replica);
        copy.snapshot_chunk.bytes = (const uint8_t *)node;
        send(fixture, &copy);
        break;
    case REPLICA_DO_STORE_CHUNK: {
        const struct replica_fixture_node *source = &fixture->nodes[action->received->from];
        node->kept = keep(fixture, source->rows, source->synced * sizeof *source->rows);
        node->kept_count = source->synced;
        break;
    }
    case REPLICA_DO_SEND_ORPHANS:
        copy = action->message;
        copy.orphan_transfer.entries = node->orphans;
        copy.orphan_transfer.count = node->orphans_count;
        copy.orphan_transfer.orphan = node->orphans_count;
        if (node->orphans_count > action->message.orphan_transfer.orphan)
            send(fixture, &copy);
        break;
    case REPLICA_DO_MERGE_ORPHANS:
        node->orphans_merged++;
        break;
    case REPLICA_DO_DROP_ORPHANS:
        node->orphans_count = 0;
        break;
    case REPLICA_DO_REPORT:
        node->told[action->report.news]++;
        break;
    case REPLICA_DO_EXIT:
        node->refusal = action->rejection;
        break;
    default:
        break;
    }
}

enum error replica_fixture_step(struct replica_fixture *fixture, uint16_t id,
                                const struct replica_event *event)
{
    struct replica_fixture_node *node = &fixture->nodes[id];
    if (node->replica == NULL)
        return ERROR_CLOSED;
    struct replica_event now = *event;
    now.now_ms = fixture->now_ms;
    enum error error = replica_step(node->replica, &now, &fixture->actions);
    /* A copy, because carrying out an action can step again. */
    size_t count = fixture->actions.count;
    struct replica_action *actions = malloc((count + 1) * sizeof *actions);
    assert_non_null(actions);
    memcpy(actions, fixture->actions.items, count * sizeof *actions);
    for (size_t i = 0; i < count; i++) {
        struct replica_action *action = &actions[i];
        if (action->kind == REPLICA_DO_INSTALL && node->holds_install) {
            node->holds++;
            break;
        }
        if (action->kind == REPLICA_DO_RESET) {
            reset(fixture, id);
            break;
        }
        if (action->kind == REPLICA_DO_INSTALL) {
            install(fixture, id, action->install);
            break;
        }
        carry_out(fixture, id, action);
    }
    free(actions);
    if (node->replica != NULL && !node->holds_sync)
        replica_fixture_sync(fixture, id);
    return error;
}

enum error replica_fixture_receive(struct replica_fixture *fixture, uint16_t id,
                                   const struct replica_message *message)
{
    return replica_fixture_step(
        fixture, id, &(struct replica_event){.kind = REPLICA_RECEIVE, .message = message});
}

enum error replica_fixture_answer(struct replica_fixture *fixture, uint16_t to, uint16_t at,
                                  const struct replica_message *message)
{
    char address[32];
    replica_fixture_address(fixture, at, address);
    return replica_fixture_step(
        fixture, to,
        &(struct replica_event){.kind = REPLICA_RECEIVE, .message = message, .address = address});
}

void replica_fixture_disconnect(struct replica_fixture *fixture, uint16_t id, uint16_t other)
{
    char address[32];
    replica_fixture_address(fixture, other, address);
    replica_fixture_step(fixture, id,
                         &(struct replica_event){.kind = REPLICA_DISCONNECTED, .address = address});
}

enum error replica_fixture_leave(struct replica_fixture *fixture, uint16_t id, uint16_t leaver)
{
    return replica_fixture_step(
        fixture, id, &(struct replica_event){.kind = REPLICA_LEAVE_NODE, .node = leaver});
}

enum error replica_fixture_propose(struct replica_fixture *fixture, uint16_t id, uint64_t count)
{
    return replica_fixture_step(
        fixture, id,
        &(struct replica_event){
            .kind = REPLICA_PROPOSE, .bytes = (const uint8_t *)"batch", .size = 5, .count = count});
}

void replica_fixture_write(struct replica_fixture *fixture, uint16_t id, uint64_t count)
{
    assert_int_equal(replica_fixture_propose(fixture, id, count), OK);
    replica_fixture_settle(fixture);
}

void replica_fixture_settle(struct replica_fixture *fixture)
{
    while (fixture->first != NULL) {
        struct replica_fixture_message *message = fixture->first;
        fixture->first = message->next;
        if (fixture->first == NULL)
            fixture->last = &fixture->first;
        uint16_t to = message->to;
        uint16_t from = message->message.from;
        if (fixture->nodes[to].replica == NULL)
            replica_fixture_disconnect(fixture, from, to);
        else if (fixture->nodes[to].cut)
            continue;
        else if (message->is_answer)
            replica_fixture_answer(fixture, to, from, &message->message);
        else {
            fixture->answering = from;
            replica_fixture_receive(fixture, to, &message->message);
            fixture->answering = 0;
        }
    }
}

void replica_fixture_pass(struct replica_fixture *fixture, uint64_t ms)
{
    for (uint64_t passed = 0; passed < ms; passed += 10) {
        fixture->now_ms += 10;
        for (uint16_t id = 1; id <= fixture->count; id++)
            replica_fixture_step(fixture, id, &(struct replica_event){.kind = REPLICA_TICK});
        replica_fixture_settle(fixture);
    }
}

void replica_fixture_start(struct replica_fixture *fixture, uint16_t id, bool is_first)
{
    struct replica_fixture_node *node = &fixture->nodes[id];
    char internal[32], texts[REPLICA_FIXTURE_NODES][32];
    const char *seeds[REPLICA_FIXTURE_NODES];
    size_t count = 0;
    replica_fixture_address(fixture, id, internal);
    for (uint16_t other = 1; other <= REPLICA_FIXTURE_NODES; other++) {
        bool is_seed =
            is_first ? fixture->founding_wait_ms != 0 && other <= fixture->count : count == 0;
        if (other == id || !is_seed)
            continue;
        replica_fixture_address(fixture, other, texts[count]);
        seeds[count] = texts[count];
        count++;
    }
    struct replica_options options = {
        .id = id,
        .internal = internal,
        .client = internal,
        .policy = fixture->policy,
        .level = (uint16_t)(REPLICA_FIXTURE_LEVEL - (id == fixture->old_node)),
        .is_first = is_first,
        .seeds = seeds,
        .seeds_count = count,
        .founding_wait_ms = fixture->founding_wait_ms,
    };
    memset(options.new_cluster, fixture->founding_wait_ms == 0 ? 7 : 20 + id,
           sizeof options.new_cluster);
    assert_int_equal(replica_new(&node->replica, &options), OK);
    struct replica_state state;
    describe(fixture, node, &state);
    replica_fixture_step(fixture, id,
                         &(struct replica_event){.kind = REPLICA_START, .state = &state});
}

void replica_fixture_kill(struct replica_fixture *fixture, uint16_t id)
{
    struct replica_fixture_node *node = &fixture->nodes[id];
    replica_free(node->replica);
    node->replica = NULL;
    node->rows_count = node->synced;
    for (uint16_t other = 1; other <= fixture->count; other++)
        if (other != id)
            replica_fixture_disconnect(fixture, other, id);
}

void replica_fixture_kill_all(struct replica_fixture *fixture)
{
    for (uint16_t id = 1; id <= fixture->count; id++)
        replica_fixture_kill(fixture, id);
}

void replica_fixture_open(struct replica_fixture *fixture, unsigned count,
                          enum replica_policy policy)
{
    memset(fixture, 0, sizeof *fixture);
    fixture->count = count;
    fixture->policy = policy;
    fixture->now_ms = 1000;
    fixture->last = &fixture->first;
    replica_fixture_start(fixture, 1, true);
    for (uint16_t id = 2; id <= count; id++)
        replica_fixture_start(fixture, id, false);
    replica_fixture_pass(fixture, 1000);
}

void replica_fixture_close(struct replica_fixture *fixture)
{
    for (uint16_t id = 1; id <= fixture->count; id++)
        replica_free(fixture->nodes[id].replica);
    for (struct piece *piece = fixture->memory, *next; piece != NULL; piece = next) {
        next = piece->next;
        free(piece);
    }
}

struct replica_fixture *replica_fixture_new(unsigned count, enum replica_policy policy)
{
    struct replica_fixture *fixture = malloc(sizeof *fixture);
    assert_non_null(fixture);
    replica_fixture_open(fixture, count, policy);
    return fixture;
}

void replica_fixture_free(struct replica_fixture *fixture)
{
    replica_fixture_close(fixture);
    free(fixture);
}

enum replica_role replica_fixture_role(const struct replica_fixture *fixture, uint16_t id)
{
    return replica_role(fixture->nodes[id].replica);
}

uint64_t replica_fixture_last(const struct replica_fixture *fixture, uint16_t id)
{
    return replica_last(fixture->nodes[id].replica).seq;
}

uint16_t replica_fixture_master(const struct replica_fixture *fixture)
{
    uint16_t master = 0;
    for (uint16_t id = 1; id <= fixture->count; id++) {
        if (fixture->nodes[id].replica == NULL ||
            replica_fixture_role(fixture, id) != REPLICA_MASTER)
            continue;
        if (master != 0)
            return 0;
        master = id;
    }
    return master;
}

void replica_fixture_check_master(const struct replica_fixture *fixture, uint16_t master)
{
    assert_int_equal(replica_fixture_master(fixture), master);
    for (uint16_t id = 1; id <= fixture->count; id++) {
        if (fixture->nodes[id].replica == NULL)
            continue;
        enum replica_role role = replica_fixture_role(fixture, id);
        if (role != (id == master ? REPLICA_MASTER : REPLICA_SLAVE))
            fail_msg("node %d has role %d, and %d should be the master", id, (int)role, master);
    }
}
