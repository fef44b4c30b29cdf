/* SPDX-License-Identifier: MIT */
#include "test_replica_bench.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct bench_message {
    struct bench_message *next;
    uint16_t to;
    bool is_answer;
    struct replica_message message;
};

struct piece {
    struct piece *next;
};

static void *keep(struct bench *bench, const void *bytes, size_t size)
{
    struct piece *piece = malloc(sizeof *piece + size);
    assert_non_null(piece);
    piece->next = bench->memory;
    bench->memory = piece;
    if (bytes != NULL)
        memcpy(piece + 1, bytes, size);
    return piece + 1;
}

static struct replica_batch keep_batch(struct bench *bench, const struct replica_batch *batch)
{
    struct replica_batch copy = *batch;
    copy.bytes = keep(bench, batch->bytes, batch->size);
    return copy;
}

void bench_address(const struct bench *bench, uint16_t id, char text[static 32])
{
    unsigned host = bench->hosts[id] == 0 ? id : bench->hosts[id];
    (void)snprintf(text, 32, "10.0.0.%u:2626", host);
}

static uint16_t id_of(const struct bench *bench, const char *address)
{
    char text[32];
    for (uint16_t id = 1; id <= bench->count && address != NULL; id++) {
        bench_address(bench, id, text);
        if (strcmp(text, address) == 0)
            return id;
    }
    return 0;
}

/* ---- the disk ---- */

static void describe(struct bench *bench, struct bench_node *node, struct replica_state *state)
{
    *state = (struct replica_state){.promised = node->promised, .avoid = node->avoid};
    memcpy(state->cluster, node->cluster, sizeof state->cluster);
    struct replica_reign *reigns = keep(bench, NULL, (node->synced + 1) * sizeof *reigns);
    for (size_t i = 0; i < node->synced; i++) {
        const struct replica_batch *row = &node->rows[i];
        if (state->reigns_count == 0 || reigns[state->reigns_count - 1].epoch != row->epoch)
            reigns[state->reigns_count++] =
                (struct replica_reign){.epoch = row->epoch, .first_seq = row->first_seq};
        if (row->kind == REPLICA_MEMBERS) {
            state->members = row->bytes;
            state->members_size = row->size;
            state->members_position = (struct replica_position){row->epoch, row->last_seq};
        }
        state->first_seq = node->rows[0].first_seq;
        state->last = (struct replica_position){row->epoch, row->last_seq};
    }
    for (size_t i = 0; i < node->synced; i++)
        state->has_chat = state->has_chat || node->rows[i].kind == REPLICA_CHAT;
    state->reigns = reigns;
    state->last_orphan = node->orphans_count;
}

void bench_sync(struct bench *bench, uint16_t id)
{
    struct bench_node *node = &bench->nodes[id];
    if (node->synced == node->rows_count)
        return;
    node->synced = node->rows_count;
    const struct replica_batch *row = &node->rows[node->synced - 1];
    bench_step(
        bench, id,
        &(struct replica_event){.kind = REPLICA_DURABLE, .position = {row->epoch, row->last_seq}});
}

static void install(struct bench *bench, uint16_t id, struct replica_position common)
{
    struct bench_node *node = &bench->nodes[id];
    for (size_t i = 0; i < node->rows_count; i++)
        if (node->rows[i].first_seq > common.seq && node->rows[i].kind == REPLICA_CHAT)
            node->orphans[node->orphans_count++] = node->rows[i];
    memcpy(node->rows, node->kept, node->kept_count * sizeof *node->rows);
    node->rows_count = node->synced = node->kept_count;
    node->installs++;
    struct replica_state state;
    describe(bench, node, &state);
    bench_step(bench, id, &(struct replica_event){.kind = REPLICA_INSTALLED, .state = &state});
}

static void reset(struct bench *bench, uint16_t id)
{
    struct bench_node *node = &bench->nodes[id];
    node->rows_count = node->synced = 0;
    node->promised = 0;
    memset(node->cluster, 0, sizeof node->cluster);
    struct replica_state state;
    describe(bench, node, &state);
    assert_false(state.has_chat);
    bench_step(bench, id, &(struct replica_event){.kind = REPLICA_INSTALLED, .state = &state});
}

/* ---- actions ---- */

static void send(struct bench *bench, const struct replica_message *message)
{
    bool is_direct = message->kind == REPLICA_PUBLISH || message->to == bench->answering;
    uint16_t to = is_direct && message->to != 0 ? message->to : id_of(bench, message->address);
    if (bench->nodes[message->from].cut)
        return;
    bench->sent[message->kind]++;
    if (to == 0 || to > bench->count || bench->nodes[to].cut)
        return;
    struct bench_message *copy = keep(bench, NULL, sizeof *copy);
    bool is_answer = bench->answering != 0 && message->to == bench->answering;
    *copy = (struct bench_message){.message = *message, .to = to, .is_answer = is_answer};
    if (message->batches_count > 0)
        copy->message.batches =
            keep(bench, message->batches, message->batches_count * sizeof *message->batches);
    const char **texts[] = {&copy->message.internal, &copy->message.client,
                            &copy->message.master_address};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (*texts[i] != NULL)
            *texts[i] = keep(bench, *texts[i], strlen(*texts[i]) + 1);
    for (size_t i = 0; i < copy->message.places_count; i++) {
        const char **text = &copy->message.places[i].address;
        *text = keep(bench, *text, strlen(*text) + 1);
    }
    *bench->last = copy;
    bench->last = &copy->next;
}

static void send_page(struct bench *bench, struct bench_node *node,
                      const struct replica_message *message)
{
    struct replica_message page = *message;
    size_t first = 0;
    while (first < node->rows_count && node->rows[first].first_seq <= message->position.seq)
        first++;
    page.batches = node->rows + first;
    page.batches_count = node->rows_count - first;
    if (page.batches_count > REPLICA_PAGE_BATCHES)
        page.batches_count = REPLICA_PAGE_BATCHES;
    send(bench, &page);
}

static void carry_out(struct bench *bench, uint16_t id, const struct replica_action *action)
{
    struct bench_node *node = &bench->nodes[id];
    struct replica_message copy;
    switch (action->kind) {
    case REPLICA_DO_PERSIST:
        node->promised = action->promised;
        memcpy(node->cluster, action->cluster, sizeof node->cluster);
        break;
    case REPLICA_DO_APPEND:
        assert_true(node->rows_count < BENCH_ROWS);
        node->rows[node->rows_count++] = keep_batch(bench, &action->batch);
        break;
    case REPLICA_DO_SEND:
        send(bench, action->message);
        break;
    case REPLICA_DO_PUBLISH:
        copy = *action->message;
        copy.batches = &node->rows[node->rows_count - 1];
        for (copy.to = 1; copy.to <= bench->count; copy.to++)
            if (copy.to != id)
                send(bench, &copy);
        break;
    case REPLICA_DO_COMMITTED:
        node->committed = action->seq;
        break;
    case REPLICA_DO_SEND_PAGE:
        send_page(bench, node, action->message);
        break;
    case REPLICA_DO_SEND_CHUNK: /* the whole log as one chunk of one byte */
        copy = *action->message;
        copy.snapshot = 1;
        copy.total = 1;
        copy.size = copy.offset == 0 ? 1 : 0;
        copy.last = replica_durable(node->replica);
        copy.bytes = (const uint8_t *)node;
        send(bench, &copy);
        break;
    case REPLICA_DO_KEEP_CHUNK: {
        const struct bench_node *source = &bench->nodes[action->message->from];
        node->kept = keep(bench, source->rows, source->synced * sizeof *source->rows);
        node->kept_count = source->synced;
        break;
    }
    case REPLICA_DO_SEND_ORPHANS:
        copy = *action->message;
        copy.batches = node->orphans;
        copy.batches_count = node->orphans_count;
        copy.orphan = node->orphans_count;
        if (node->orphans_count > 0)
            send(bench, &copy);
        break;
    case REPLICA_DO_TAKE_OVER:
        node->taken_over++;
        break;
    case REPLICA_DO_DROP_ORPHANS:
        node->orphans_count = 0;
        break;
    case REPLICA_DO_TELL:
        node->told[action->news]++;
        break;
    case REPLICA_DO_GIVE_UP:
        node->refusal = action->refusal;
        break;
    default:
        break;
    }
}

enum error bench_step(struct bench *bench, uint16_t id, const struct replica_event *event)
{
    struct bench_node *node = &bench->nodes[id];
    if (node->replica == NULL)
        return ERROR_CLOSED;
    struct replica_event now = *event;
    now.now_ms = bench->now_ms;
    enum error error = replica_step(node->replica, &now, &bench->actions);
    struct replica_actions *actions = malloc(sizeof *actions);
    assert_non_null(actions);
    *actions = bench->actions;
    for (size_t i = 0; i < actions->count; i++) {
        struct replica_action *action = &actions->items[i];
        if (action->kind == REPLICA_DO_INSTALL && node->holds_install) {
            node->holds++;
            break;
        }
        if (action->kind == REPLICA_DO_RESET) {
            reset(bench, id);
            break;
        }
        if (action->kind == REPLICA_DO_INSTALL) {
            install(bench, id, action->position);
            break;
        }
        carry_out(bench, id, action);
    }
    free(actions);
    if (node->replica != NULL && !node->holds_sync)
        bench_sync(bench, id);
    return error;
}

enum error bench_propose(struct bench *bench, uint16_t id, uint64_t count)
{
    return bench_step(
        bench, id,
        &(struct replica_event){
            .kind = REPLICA_PROPOSE, .bytes = (const uint8_t *)"batch", .size = 5, .count = count});
}

/* ---- time ---- */

void bench_settle(struct bench *bench)
{
    while (bench->first != NULL) {
        struct bench_message *message = bench->first;
        bench->first = message->next;
        if (bench->first == NULL)
            bench->last = &bench->first;
        uint16_t to = message->to;
        char address[32];
        char asked[32];
        bench_address(bench, to, address);
        bench_address(bench, message->message.from, asked);
        if (bench->nodes[to].replica == NULL)
            bench_step(bench, message->message.from,
                       &(struct replica_event){.kind = REPLICA_LINK_DOWN, .address = address});
        else if (!bench->nodes[to].cut) {
            bench->answering = message->is_answer ? 0 : message->message.from;
            bench_step(bench, to,
                       &(struct replica_event){.kind = REPLICA_RECEIVE,
                                               .message = &message->message,
                                               .address = message->is_answer ? asked : NULL});
            bench->answering = 0;
        }
    }
}

void bench_pass(struct bench *bench, uint64_t ms)
{
    for (uint64_t passed = 0; passed < ms; passed += 10) {
        bench->now_ms += 10;
        for (uint16_t id = 1; id <= bench->count; id++)
            bench_step(bench, id, &(struct replica_event){.kind = REPLICA_TICK});
        bench_settle(bench);
    }
}

/* ---- life ---- */

void bench_start(struct bench *bench, uint16_t id, bool is_first)
{
    struct bench_node *node = &bench->nodes[id];
    char internal[32], texts[BENCH_NODES][32];
    const char *seeds[BENCH_NODES];
    size_t count = 0;
    bench_address(bench, id, internal);
    for (uint16_t other = 1; other <= BENCH_NODES; other++) {
        bool is_seed =
            is_first ? bench->founding_wait_ms != 0 && other <= bench->count : count == 0;
        if (other == id || !is_seed)
            continue;
        bench_address(bench, other, texts[count]);
        seeds[count] = texts[count];
        count++;
    }
    struct replica_options options = {
        .id = id,
        .internal = internal,
        .client = internal,
        .policy = bench->policy,
        .is_first = is_first,
        .seeds = seeds,
        .seeds_count = count,
        .founding_wait_ms = bench->founding_wait_ms,
    };
    memset(options.new_cluster, bench->founding_wait_ms == 0 ? 7 : 20 + id,
           sizeof options.new_cluster);
    assert_int_equal(replica_new(&node->replica, &options), OK);
    struct replica_state state;
    describe(bench, node, &state);
    bench_step(bench, id, &(struct replica_event){.kind = REPLICA_START, .state = &state});
}

void bench_kill(struct bench *bench, uint16_t id)
{
    struct bench_node *node = &bench->nodes[id];
    replica_free(node->replica);
    node->replica = NULL;
    node->rows_count = node->synced;
    char address[32];
    bench_address(bench, id, address);
    for (uint16_t other = 1; other <= bench->count; other++)
        if (other != id)
            bench_step(bench, other,
                       &(struct replica_event){.kind = REPLICA_LINK_DOWN, .address = address});
}

void bench_open(struct bench *bench, unsigned count, enum replica_policy policy)
{
    memset(bench, 0, sizeof *bench);
    bench->count = count;
    bench->policy = policy;
    bench->now_ms = 1000;
    bench->last = &bench->first;
    bench_start(bench, 1, true);
    for (uint16_t id = 2; id <= count; id++)
        bench_start(bench, id, false);
    bench_pass(bench, 1000);
}

void bench_close(struct bench *bench)
{
    for (uint16_t id = 1; id <= bench->count; id++)
        replica_free(bench->nodes[id].replica);
    for (struct piece *piece = bench->memory, *next; piece != NULL; piece = next) {
        next = piece->next;
        free(piece);
    }
}

enum replica_role bench_role(const struct bench *bench, uint16_t id)
{
    return replica_role(bench->nodes[id].replica);
}

uint64_t bench_last(const struct bench *bench, uint16_t id)
{
    return replica_last(bench->nodes[id].replica).seq;
}

uint16_t bench_master(const struct bench *bench)
{
    uint16_t master = 0;
    for (uint16_t id = 1; id <= bench->count; id++) {
        if (bench->nodes[id].replica == NULL || bench_role(bench, id) != REPLICA_MASTER)
            continue;
        if (master != 0)
            return 0;
        master = id;
    }
    return master;
}
