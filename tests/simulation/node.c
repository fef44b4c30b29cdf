/* SPDX-License-Identifier: MIT */
/* One server: the driver that carries out what its replica says. Its disk is a real store in memory
 * whose open transaction is what is not yet synced. */
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROWS_PER_TRANSACTION 64
#define CHUNK_ROWS 24 /* a snapshot is counted in rows here */

/* ---- rows ---- */

void rows_add(struct rows *rows, const struct row *row)
{
    if (rows->count == rows->capacity) {
        rows->capacity = rows->capacity == 0 ? 256 : rows->capacity * 2;
        rows->items = realloc(rows->items, rows->capacity * sizeof *rows->items);
        ASSERT(rows->items != NULL);
    }
    rows->items[rows->count++] = *row;
}

struct log_position rows_end(const struct rows *rows, size_t count)
{
    if (count == 0)
        return (struct log_position){0, 0};
    return (struct log_position){rows->items[count - 1].epoch, rows->items[count - 1].last_seq};
}

static uint64_t mix(uint64_t digest, const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        digest = (digest ^ bytes[i]) * 0x100000001b3u;
    return digest ^ (digest >> 29);
}

static uint64_t digest_after(const struct rows *rows, const struct row *row)
{
    uint64_t digest = rows->count == 0 ? 0xcbf29ce484222325u : rows->items[rows->count - 1].digest;
    digest = mix(digest ^ row->epoch, row->bytes, row->size);
    return digest * 31 + row->last_seq + (uint64_t)row->kind;
}

void node_push_row(struct world *world, struct node *node, struct row row)
{
    row.digest = digest_after(&node->rows, &row);
    rows_add(&node->rows, &row);
    check_log_matching(world, node, &row);
}

/* ---- the store ---- */

/* The first entry of an epoch is always a members batch. */
static enum error apply_members(struct node *node, const struct row *row)
{
    const struct epoch_start epoch_start = {.epoch = row->epoch, .first_seq = row->first_seq};
    enum error error = OK;
    if (store_epoch_at(node->store, row->first_seq - 1) != row->epoch)
        error = store_add_epoch(node->store, epoch_start);
    if (error != OK)
        return error;
    return chat_pass(node->chat, (struct log_position){row->epoch, row->first_seq});
}

void node_note_delta(struct world *world, struct node *node, const Jackdaw__Delta *delta)
{
    ASSERT(delta->change_case < DELTA_KINDS);
    if (node->fresh != NOT_FRESH)
        world->firsts[node->fresh][delta->change_case]++;
    node->fresh = NOT_FRESH;
}

static enum error apply_chat(struct world *world, struct node *node, const struct row *row)
{
    Jackdaw__Batch *batch = jackdaw__batch__unpack(NULL, row->size, row->bytes);
    if (batch == NULL)
        return ERROR_CORRUPT;
    enum error error = OK;
    for (size_t i = 0; i < batch->n_deltas && error == OK; i++) {
        node_note_delta(world, node, batch->deltas[i]);
        error = chat_apply(node->chat, batch->deltas[i],
                           (struct log_position){row->epoch, row->first_seq + i});
    }
    jackdaw__batch__free_unpacked(batch, NULL);
    return error;
}

enum error node_log_row(struct node *node, const struct row *row)
{
    return store_log_append(node->store, &(struct log_entry){
                                             .epoch = row->epoch,
                                             .first_seq = row->first_seq,
                                             .last_seq = row->last_seq,
                                             .kind = row->kind,
                                             .bytes = row->bytes,
                                             .size = row->size,
                                         });
}

static enum error apply_row(struct world *world, struct node *node, const struct row *row)
{
    enum error error =
        row->kind == LOG_ENTRY_MEMBERS ? apply_members(node, row) : apply_chat(world, node, row);
    return error == OK ? node_log_row(node, row) : error;
}

static void open_store(struct world *world, struct node *node)
{
    struct error_text why;
    struct store_options options = {.node_id = node->id};
    if (store_open(&node->store, &options, &why) != OK)
        broken(world, "harness", "store: %s", why.text);
}

static void fill_random(void *context, void *bytes, size_t size)
{
    uint8_t *at_byte = bytes;
    for (size_t i = 0; i < size; i += 8) {
        uint64_t value = draw(context);
        memcpy(at_byte + i, &value, size - i < 8 ? size - i : 8);
    }
}

#define FIRST_CLUSTER 0x4a

bool node_is_elsewhere(const struct node *node)
{
    return node->cluster[0] != 0 && node->cluster[0] != FIRST_CLUSTER;
}

static void open_chat(struct world *world, struct node *node)
{
    struct error_text why;
    struct chat_limits limits;
    chat_limits_default(&limits);
    limits.requests_per_second = 0;
    struct chat_observer observer = {0};
    if (chat_open(&node->chat, node->store, &limits, &observer, world->now / MS, &why) != OK)
        broken(world, "harness", "chat: %s", why.text);
    chat_set_random(node->chat, &(struct chat_random){.context = world, .fill = fill_random});
}

/* ---- what is on the disk ---- */

static void describe(struct world *world, struct node *node, struct replica_state *state)
{
    *state = (struct replica_state){.promised = node->promised};
    memcpy(state->cluster, node->cluster, sizeof state->cluster);
    struct epoch_start *starts = make(world, (node->durable + 1) * sizeof *starts);
    for (size_t i = 0; i < node->durable; i++) {
        const struct row *row = &node->rows.items[i];
        if (state->epochs.count == 0 || starts[state->epochs.count - 1].epoch != row->epoch)
            starts[state->epochs.count++] =
                (struct epoch_start){.epoch = row->epoch, .first_seq = row->first_seq};
        if (row->kind == LOG_ENTRY_MEMBERS) {
            state->members = row->bytes;
            state->members_size = row->size;
            state->members_position = (struct log_position){row->epoch, row->last_seq};
        }
        state->has_chat = state->has_chat || row->kind == LOG_ENTRY_CHAT;
        if (row->first_seq >= node->pruned_before && state->first_seq == 0)
            state->first_seq = row->first_seq;
    }
    state->epochs.starts = starts;
    state->last = rows_end(&node->rows, node->durable);
    state->last_orphan = node->orphans_count == 0 ? 0 : node->orphans[node->orphans_count - 1].id;
}

/* ---- the disk at work ---- */

static uint64_t sync_time(struct world *world, struct node *node)
{
    uint64_t time = world->now + 100 + below(world, 900);
    return node->disk_stalled_until > time ? node->disk_stalled_until + below(world, MS) : time;
}

static void forget_unsynced(struct world *world, struct node *node)
{
    store_rollback(node->store);
    struct error_text why;
    if (node->applied > node->durable && chat_reload(node->chat, &why) != OK)
        broken(world, "harness", "reload: %s", why.text);
    if (node->applied > node->durable)
        node->fresh = FRESH_ROLLBACK;
    node->rows.count = node->durable;
    node->applied = node->durable;
    node->disk_busy = false;
}

void node_fail(struct world *world, struct node *node)
{
    trace(world, "n%u disk fails", node->id);
    forget_unsynced(world, node);
    serve_lost(world, node);
    if (node->committed > rows_end(&node->rows, node->durable).seq)
        node->committed = rows_end(&node->rows, node->durable).seq;
    struct replica_state state;
    describe(world, node, &state);
    node_step(world, node, &(struct replica_event){.kind = REPLICA_FAILED, .state = &state});
}

void node_pump(struct world *world, struct node *node)
{
    if (!node->alive || node->disk_busy || node->rows.count == node->durable)
        return;
    if (node->applied == node->durable) { /* not proposed here */
        if (store_begin(node->store) != OK)
            broken(world, "harness", "begin");
        while (node->applied < node->rows.count &&
               node->applied - node->durable < ROWS_PER_TRANSACTION) {
            const struct row *row = &node->rows.items[node->applied];
            enum error error = apply_row(world, node, row);
            if (error != OK)
                broken(world, "apply_succeeds", "node %u cannot apply seq %llu: %s (%s)", node->id,
                       (unsigned long long)row->first_seq, error_name(error),
                       store_last_problem(node->store));
            node->applied++;
        }
    }
    node->disk_busy = true;
    at(world, sync_time(world, node), AT_DISK, node->id, node->incarnation, NULL);
}

void node_disk_done(struct world *world, struct node *node)
{
    if (!node->disk_busy)
        return;
    node->disk_busy = false;
    if (world->now < node->disk_fails_until) {
        node_fail(world, node);
        return;
    }
    if (store_commit(node->store) != OK)
        broken(world, "harness", "commit: %s", store_last_problem(node->store));
    node->durable = node->applied;
    node_step(world, node,
              &(struct replica_event){.kind = REPLICA_DURABLE,
                                      .position = rows_end(&node->rows, node->durable)});
    if (!node->alive)
        return;
    node_pump(world, node);
    serve_pump(world, node);
}

/* ---- actions ---- */

static uint64_t digest_word(const struct log_entry *batch)
{
    uint64_t word;
    memcpy(&word, batch->digest, sizeof word);
    return word;
}

static void to_batch(const struct row *row, struct log_entry *batch)
{
    *batch = (struct log_entry){.kind = row->kind,
                                .epoch = row->epoch,
                                .first_seq = row->first_seq,
                                .last_seq = row->last_seq,
                                .bytes = row->bytes,
                                .size = row->size};
    memcpy(batch->digest, &row->digest, sizeof row->digest);
}

static struct row to_row(struct world *world, const struct log_entry *batch)
{
    return (struct row){.kind = batch->kind,
                        .epoch = batch->epoch,
                        .first_seq = batch->first_seq,
                        .last_seq = batch->last_seq,
                        .bytes = keep(world, batch->bytes, batch->size),
                        .size = batch->size};
}

static int node_at(struct world *world, const char *address)
{
    for (unsigned i = 0; address != NULL && i < world->nodes_count; i++)
        if (strcmp(world->nodes[i].internal, address) == 0)
            return (int)i + 1;
    return 0;
}

/* An answer goes to the process that asked, anything else to whoever is at the address. */
static int receiver_of(struct world *world, const struct node *node,
                       const struct replica_message *message, bool is_feed)
{
    if (is_feed || (node->answering != NULL && message->to == node->answering->from))
        return message->to;
    return node_at(world, message->address);
}

static void send_message(struct world *world, struct node *node,
                         const struct replica_message *message, bool is_feed)
{
    int to = receiver_of(world, node, message, is_feed);
    bool is_answer = !is_feed && node->answering != NULL && message->to == node->answering->from;
    if (to == node->id || (to == 0 && message->address == NULL))
        return;
    check_sent(world, node, message);
    if (to == 0) {
        refuse_link(world, node, message->address, 0);
        return;
    }
    struct packet *packet = make(world, sizeof *packet);
    packet->kind = PACKET_REPLICA;
    packet->from = node->id;
    packet->to = to;
    packet->is_answer = is_answer;
    packet->life = is_answer ? node->answering->life : node->life;
    packet->dialled = is_answer ? node->answering->dialled
                      : is_feed ? node_of(world, to)->internal
                                : keep_address(world, message->address);
    packet->message = *message;
    packet->message.address = NULL;
    packet->message.internal = keep_address(world, message->internal);
    packet->message.client = keep_address(world, message->client);
    packet->message.master_address = keep_address(world, message->master_address);
    struct epoch_start *starts = make(world, (message->epochs.count + 1) * sizeof *starts);
    if (message->epochs.count > 0)
        memcpy(starts, message->epochs.starts, message->epochs.count * sizeof *starts);
    packet->message.epochs.starts = starts;
    for (size_t i = 0; i < message->locations_count; i++)
        packet->message.locations[i].address = keep_address(world, message->locations[i].address);
    uint64_t delay = node->busy_until > world->now ? node->busy_until - world->now : 0;
    trace(world, "n%u -> n%d %s epoch %llx pos %llx.%llu last %llu promised %llx master %u %s",
          node->id, to, replica_message_name(message->kind), (unsigned long long)message->epoch,
          (unsigned long long)message->position.epoch, (unsigned long long)message->position.seq,
          (unsigned long long)message->last.seq, (unsigned long long)message->promised,
          message->master, message->granted ? "granted" : "");
    transmit(world, packet, delay, is_feed);
}

/* A node listens to the feed of the master it knows. */
static bool is_subscribed(const struct world *world, unsigned id, const struct node *master)
{
    const struct node *node = &world->nodes[id - 1];
    return node->alive && replica_master(node->replica) == master->id;
}

static void publish(struct world *world, struct node *node, const struct replica_message *message)
{
    struct replica_message copy = *message;
    struct log_entry *batch = make(world, sizeof *batch);
    to_batch(&node->rows.items[node->rows.count - 1], batch);
    copy.batches = batch;
    for (unsigned id = 1; id <= world->nodes_count; id++) {
        copy.to = (uint16_t)id;
        if (id != node->id && is_subscribed(world, id, node))
            send_message(world, node, &copy, true);
    }
}

static size_t row_after(const struct node *node, uint64_t seq)
{
    size_t low = 0, high = node->rows.count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (node->rows.items[middle].first_seq <= seq)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void send_entries(struct world *world, struct node *node,
                         const struct replica_message *message)
{
    struct replica_message copy = *message;
    size_t first = row_after(node, message->position.seq);
    size_t count = node->rows.count - first;
    size_t most = 1 + below(world, 24);
    if (count > most)
        count = most;
    struct log_entry *batches = make(world, (count + 1) * sizeof *batches);
    for (size_t i = 0; i < count; i++)
        to_batch(&node->rows.items[first + i], &batches[i]);
    copy.batches = batches;
    copy.batches_count = count;
    send_message(world, node, &copy, false);
}

/* One snapshot serves all who ask at about the same time: were each to get its own, they would take
 * turns in making those of the others void. */
static bool is_current(const struct node *node, struct log_position common)
{
    uint64_t end = node->snapshot_id == 0 ? 0 : node->snapshot[node->snapshot_count - 1].last_seq;
    return node->snapshot_id != 0 && node->durable - node->snapshot_count < 64 &&
           end >= common.seq && node->pruned_before <= end + 1;
}

static void make_snapshot(struct world *world, struct node *node)
{
    node->snapshot_id = ++world->next_snapshot;
    node->snapshot_count = node->durable;
    node->snapshot = keep(world, node->rows.items, node->durable * sizeof *node->snapshot);
}

static void send_chunk(struct world *world, struct node *node,
                       const struct replica_message *message)
{
    struct replica_message copy = *message;
    if (message->snapshot == 0 || message->snapshot != node->snapshot_id) {
        if (node->durable == 0 || rows_end(&node->rows, node->durable).seq < message->common.seq)
            return;
        if (!is_current(node, message->common))
            make_snapshot(world, node);
        copy.snapshot = node->snapshot_id;
        copy.offset = 0;
    }
    if (copy.offset > node->snapshot_count)
        return;
    size_t left = node->snapshot_count - copy.offset;
    const struct row *end = &node->snapshot[node->snapshot_count - 1];
    copy.last = (struct log_position){end->epoch, end->last_seq};
    copy.total = node->snapshot_count;
    copy.orphan = node->pruned_before; /* a copy of the database has the log as it is there */
    copy.size = left < CHUNK_ROWS ? left : CHUNK_ROWS;
    copy.bytes = (const uint8_t *)(node->snapshot + copy.offset);
    send_message(world, node, &copy, false);
}

static void keep_chunk(struct node *node, const struct replica_message *message)
{
    if (message->offset == 0) {
        node->kept.count = 0;
        node->kept_id++;
    }
    ASSERT(node->kept.count == message->offset);
    node->kept_pruned_before = message->orphan;
    const struct row *rows = (const struct row *)(const void *)message->bytes;
    for (size_t i = 0; i < message->size; i++)
        rows_add(&node->kept, &rows[i]);
}

/* As store_install does: the new orphans come first, and the others get new ids behind them. */
static void put_new_orphans_first(struct world *world, struct node *node, size_t old_count)
{
    size_t added = node->orphans_count - old_count;
    if (added == 0 || old_count == 0)
        return;
    struct orphan *old = make(world, old_count * sizeof *old);
    memcpy(old, node->orphans, old_count * sizeof *old);
    memmove(node->orphans, node->orphans + old_count, added * sizeof *old);
    for (size_t i = 0; i < old_count; i++)
        node->orphans[added + i] = (struct orphan){.id = ++node->next_orphan, .row = old[i].row};
}

static void add_orphans(struct world *world, struct node *node, uint64_t after_seq)
{
    /* What was pruned is gone. */
    if (node->pruned_before > after_seq + 1 &&
        rows_end(&node->rows, node->rows.count).seq > after_seq)
        broken(world, "pruned_is_known",
               "node %u pruned up to %llu, common with its master is %llu", node->id,
               (unsigned long long)node->pruned_before, (unsigned long long)after_seq);
    size_t old_count = node->orphans_count;
    for (size_t i = 0; i < node->rows.count; i++) {
        const struct row *row = &node->rows.items[i];
        if (row->kind != LOG_ENTRY_CHAT || row->first_seq <= after_seq)
            continue;
        if (node->orphans_count == node->orphans_capacity) {
            node->orphans_capacity = node->orphans_capacity * 2 + 16;
            node->orphans = realloc(node->orphans, node->orphans_capacity * sizeof *node->orphans);
            ASSERT(node->orphans != NULL);
        }
        node->orphans[node->orphans_count++] =
            (struct orphan){.id = ++node->next_orphan, .row = *row};
        world->orphans++;
    }
    put_new_orphans_first(world, node, old_count);
}

static void install(struct world *world, struct node *node, struct log_position common)
{
    world->snapshots++;
    trace(world, "n%u installs %zu rows, its own end %llu, common %llu", node->id, node->kept.count,
          (unsigned long long)rows_end(&node->rows, node->rows.count).seq,
          (unsigned long long)common.seq);
    add_orphans(world, node, common.seq);
    store_rollback(node->store);
    chat_close(node->chat);
    store_close(node->store);
    open_store(world, node);
    open_chat(world, node);
    node->fresh = NOT_FRESH; /* until the copy is there */
    node->rows.count = 0;
    if (store_begin(node->store) != OK)
        broken(world, "harness", "begin");
    for (size_t i = 0; i < node->kept.count; i++) {
        struct row row = node->kept.items[i];
        node_push_row(world, node, row);
        if (apply_row(world, node, &row) != OK)
            broken(world, "apply_succeeds", "node %u cannot install seq %llu", node->id,
                   (unsigned long long)row.first_seq);
    }
    if (store_commit(node->store) != OK)
        broken(world, "harness", "commit");
    chat_close(node->chat);
    disk_reopen(world, node);
    open_chat(world, node);
    node->fresh = FRESH_SNAPSHOT;
    node->applied = node->durable = node->rows.count;
    node->snapshot_id = 0;
    node->checked_id = 0;
    node->disk_busy = false;
    node->incarnation++; /* what was under way on the disk is void */
    node->tick_at = 0;
    if (node->committed > common.seq)
        node->committed = common.seq;
    node->busy_until = world->now + 2 * MS + below(world, 20 * MS);
    struct replica_state state;
    node->pruned_before = node->kept_pruned_before;
    describe(world, node, &state);
    node_step(world, node, &(struct replica_event){.kind = REPLICA_INSTALLED, .state = &state});
}

static void forget_disk(struct node *node)
{
    store_close(node->store);
    node->store = NULL;
    node->rows.count = 0;
    node->applied = node->durable = 0;
    node->pruned_before = 0;
    node->snapshot_id = 0;
    node->committed = 0;
    node->promised = 0;
    memset(node->cluster, 0, sizeof node->cluster);
}

static void reset(struct world *world, struct node *node)
{
    trace(world, "n%u gives its blank cluster up", node->id);
    for (size_t i = 0; i < node->rows.count; i++)
        if (node->rows.items[i].kind != LOG_ENTRY_MEMBERS)
            broken(world, "nothing_is_dropped", "node %u gives up a cluster with a chat", node->id);
    store_rollback(node->store);
    chat_close(node->chat);
    forget_disk(node);
    open_store(world, node);
    open_chat(world, node);
    node->disk_busy = false;
    node->incarnation++;
    node->tick_at = 0;
    struct replica_state state;
    describe(world, node, &state);
    node_step(world, node, &(struct replica_event){.kind = REPLICA_INSTALLED, .state = &state});
}

void node_empty(struct world *world, struct node *node)
{
    trace(world, "n%u loses its disk", node->id);
    forget_disk(node);
    node->emptied_at = world->now;
    node->is_recovering = true;
}

/* Whether it is still to be looked at, which takes time. */
static bool has_to_wait(struct world *world, struct node *node)
{
    if ((world->options.faults & FAULT_CHECK) == 0 || node->checked_id == node->kept_id)
        return false;
    if (node->checking_id == 0) {
        node->checking_id = node->kept_id;
        uint64_t most = world->is_quiet ? 100 * MS : 3 * SECOND;
        at(world, world->now + below(world, most), AT_CHECKED, node->id, node->incarnation, NULL);
    }
    return true;
}

static bool is_kept_sound(struct world *world)
{
    bool may_be_bad = (world->options.faults & FAULT_CHECK) != 0 && !world->is_quiet;
    return !may_be_bad || !chance(world, 200);
}

void node_checked(struct world *world, struct node *node)
{
    trace(world, "n%u has looked at what it kept", node->id);
    node->checked_id = node->checking_id;
    node->checking_id = 0;
    node_step(world, node, &(struct replica_event){.kind = REPLICA_CHECKED});
}

size_t node_orphans_after(const struct node *node, uint64_t after, size_t *count)
{
    size_t first = 0;
    while (first < node->orphans_count && node->orphans[first].id <= after)
        first++;
    *count = node->orphans_count - first < 8 ? node->orphans_count - first : 8;
    return first;
}

static void send_orphans(struct world *world, struct node *node,
                         const struct replica_message *message)
{
    size_t count;
    size_t first = node_orphans_after(node, message->orphan, &count);
    if (count == 0)
        return;
    struct replica_message copy = *message;
    struct log_entry *batches = make(world, count * sizeof *batches);
    for (size_t i = 0; i < count; i++)
        to_batch(&node->orphans[first + i].row, &batches[i]);
    copy.batches = batches;
    copy.batches_count = count;
    copy.orphan = node->orphans[first + count - 1].id;
    send_message(world, node, &copy, false);
}

static void drop_orphans(struct node *node, uint64_t id)
{
    size_t count = 0;
    while (count < node->orphans_count && node->orphans[count].id <= id)
        count++;
    memmove(node->orphans, node->orphans + count,
            (node->orphans_count - count) * sizeof *node->orphans);
    node->orphans_count -= count;
}

static void role_changed(struct world *world, struct node *node,
                         const struct replica_action *action)
{
    trace(world, "n%u is %s, master %u, epoch %llx", node->id, replica_role_name(action->role),
          action->master, (unsigned long long)action->epoch);
    if (action->role == REPLICA_SLAVE && !node_is_elsewhere(node))
        node->is_recovering = false;
    if (action->role == REPLICA_MASTER) {
        world->elections++;
        chat_touch_all(node->chat, world->now / MS);
    } else {
        serve_lost(world, node);
    }
    if (action->role == REPLICA_REMOVED)
        node->left = true;
}

static bool persist(struct world *world, struct node *node, const struct replica_action *action)
{
    if (world->now < node->disk_fails_until)
        return false;
    uint64_t done = sync_time(world, node);
    if (done > node->busy_until)
        node->busy_until = done;
    check_promise(world, node, action->promised);
    node->promised = action->promised;
    memcpy(node->cluster, action->cluster, sizeof node->cluster);
    return true;
}

static bool append(struct world *world, struct node *node, const struct log_entry *batch)
{
    node_push_row(world, node, to_row(world, batch));
    const struct row *row = &node->rows.items[node->rows.count - 1];
    if (node->proposing) {
        /* Its deltas were applied already, in the transaction that is open. */
        node->proposing = false;
        if (node_log_row(node, row) != OK)
            broken(world, "harness", "log: %s", store_last_problem(node->store));
        node->applied++;
    }
    if (digest_word(batch) != 0 && digest_word(batch) != row->digest)
        broken(world, "digests_agree", "node %u at seq %llu", node->id,
               (unsigned long long)row->last_seq);
    return true;
}

static bool carry_out(struct world *world, struct node *node, const struct replica_action *action)
{
    switch (action->kind) {
    case REPLICA_DO_PERSIST:
        return persist(world, node, action);
    case REPLICA_DO_APPEND:
        return append(world, node, &action->entry);
    case REPLICA_DO_SEND:
        send_message(world, node, action->message, false);
        return true;
    case REPLICA_DO_PUBLISH:
        publish(world, node, action->message);
        return true;
    case REPLICA_DO_COMMITTED:
        serve_committed(world, node, action->seq);
        return true;
    case REPLICA_DO_ROLE:
        role_changed(world, node, action);
        return true;
    case REPLICA_DO_SEND_ENTRIES:
        send_entries(world, node, action->message);
        return true;
    case REPLICA_DO_SEND_CHUNK:
        send_chunk(world, node, action->message);
        return true;
    case REPLICA_DO_STORE_CHUNK:
        keep_chunk(node, action->message);
        return true;
    case REPLICA_DO_SEND_ORPHANS:
        send_orphans(world, node, action->message);
        return true;
    case REPLICA_DO_MERGE_ORPHANS:
        serve_merge_orphans(world, node, action->message, action->orphan);
        return true;
    case REPLICA_DO_DROP_ORPHANS:
        drop_orphans(node, action->orphan);
        return true;
    case REPLICA_DO_REPORT:
        if (action->news == REPLICA_FOUNDING_CLUSTER)
            check_founded(world, node);
        return true;
    case REPLICA_DO_EXIT:
        if (node->cluster[0] == 0 && action->refusal != REPLICA_REJECTED_REMOVED &&
            (world->options.faults & FAULT_EMPTY) != 0) {
            at(world, world->now + MS, AT_REFUSED, node->id, node->incarnation, NULL);
            return true;
        }
        node->left = node->left || action->refusal == REPLICA_REJECTED_REMOVED;
        if (node->left)
            return true;
        broken(world, "nobody_is_refused", "node %u: %d", node->id, (int)action->refusal);
    default:
        broken(world, "harness", "action %d", (int)action->kind);
    }
}

static bool dies_here(struct world *world)
{
    return (world->options.faults & FAULT_CRASH) != 0 && !world->is_gentle && !world->is_quiet &&
           world->is_set_up && below(world, 20000) == 0;
}

void node_step(struct world *world, struct node *node, const struct replica_event *event)
{
    struct replica_event now = *event;
    now.now_ms = world->now / MS + 1;
    ASSERT(!node->handling);
    enum error error = replica_step(node->replica, &now, &node->actions);
    node->refused = error == ERROR_REFUSED;
    ASSERT(error == OK || node->refused || event->kind == REPLICA_LEAVE_NODE);
    node->handling = true;
    for (size_t i = 0; i < node->actions.count; i++) {
        const struct replica_action *action = &node->actions.items[i];
        if (dies_here(world)) {
            node->handling = false;
            node_crash(world, node, chance(world, 500));
            return;
        }
        if (action->kind == REPLICA_DO_RESET) {
            node->handling = false;
            reset(world, node);
            return;
        }
        if (action->kind == REPLICA_DO_INSTALL) {
            node->handling = false;
            if (has_to_wait(world, node))
                break;
            if (is_kept_sound(world))
                install(world, node, action->position);
            else
                node_fail(world, node);
            return;
        }
        if (!carry_out(world, node, action)) {
            node->handling = false;
            node_fail(world, node);
            return;
        }
    }
    node->handling = false;
    bool is_master = replica_role(node->replica) == REPLICA_MASTER && !node_is_elsewhere(node);
    if (is_master && event->kind != REPLICA_PROPOSE)
        check_new_master(world, node);
    node_pump(world, node);
    uint64_t due = replica_deadline(node->replica) * MS;
    if (due < node->tick_at || node->tick_at <= world->now) {
        node->tick_at = due > world->now ? due : world->now + MS;
        at(world, node->tick_at, AT_TICK, node->id, node->incarnation, NULL);
    }
}

void node_prune(struct world *world, struct node *node)
{
    uint64_t needed = replica_needed_seq(node->replica);
    size_t first = row_after(node, needed);
    if (first == 0 || first >= node->durable ||
        node->rows.items[first].first_seq <= node->pruned_before)
        return;
    node->pruned_before = node->rows.items[first].first_seq;
    trace(world, "n%u prunes before %llu", node->id, (unsigned long long)node->pruned_before);
    node_step(
        world, node,
        &(struct replica_event){.kind = REPLICA_PRUNED, .position = {0, node->pruned_before}});
}

void node_tick(struct world *world, struct node *node)
{
    if (world->now < node->tick_at)
        return; /* one of those that an earlier one replaced */
    node_step(world, node, &(struct replica_event){.kind = REPLICA_TICK});
    if (node->alive)
        serve_pump(world, node);
}

void node_receive(struct world *world, struct node *node, struct packet *packet)
{
    if (packet->kind != PACKET_REPLICA) {
        serve_packet(world, node, packet);
        return;
    }
    if (packet->is_answer && packet->life != node->life)
        return;
    node->answering = packet->is_answer ? NULL : packet;
    node_step(world, node,
              &(struct replica_event){.kind = REPLICA_RECEIVE,
                                      .message = &packet->message,
                                      .address = packet->is_answer ? packet->dialled : NULL});
    node->answering = NULL;
    if (node->alive)
        serve_pump(world, node);
}

/* ---- life ---- */

static void new_replica(struct world *world, struct node *node, bool is_first)
{
    const char *seeds[NODES_MAX];
    size_t count = 0;
    bool is_alone = is_first && !world->is_set_up;
    for (unsigned i = 0; i < world->nodes_count && !is_alone; i++)
        if (i + 1 != node->id)
            seeds[count++] = world->nodes[i].internal;
    /* As long as all are at addresses that somebody had, they find each other without being told. */
    if ((world->options.faults & FAULT_MOVE) != 0 && world->is_set_up && world->hosts == 0 &&
        chance(world, 500))
        count = 0;
    struct replica_options options = {
        .id = node->id,
        .internal = node->internal,
        .client = node->client,
        .policy = world->options.policy,
        .is_first = is_first,
        .founding_wait_ms = world->is_set_up ? 1000 : 0,
        .seeds = seeds,
        .seeds_count = count,
    };
    memset(options.new_cluster, FIRST_CLUSTER, sizeof options.new_cluster);
    if (world->is_set_up)
        memset(options.new_cluster, 0x80 + (int)(world->clusters++ % 64),
               sizeof options.new_cluster);
    ASSERT(replica_new(&node->replica, &options) == OK);
}

void node_start(struct world *world, struct node *node, bool is_first)
{
    trace(world, "n%u starts", node->id);
    if (node->store == NULL)
        open_store(world, node);
    else
        disk_reopen(world, node);
    open_chat(world, node);
    node->fresh = FRESH_START;
    new_replica(world, node, is_first);
    node->alive = true;
    node->life++;
    node->started_at = world->now;
    node->answering = NULL;
    node->incarnation++;
    node->tick_at = 0;
    node->busy_until = 0;
    node->paused_until = 0;
    node->queue = NULL;
    node->queue_tail = &node->queue;
    node->commit_waiters = NULL;
    node->commit_waiters_tail = &node->commit_waiters;
    node->pending_merges = NULL;
    node->pending_merges_tail = &node->pending_merges;
    node->proposing = false;
    node->committed = 0;
    struct replica_state state;
    describe(world, node, &state);
    node_step(world, node, &(struct replica_event){.kind = REPLICA_START, .state = &state});
}

void node_crash(struct world *world, struct node *node, bool with_unsynced)
{
    trace(world, "n%u crashes%s", node->id, with_unsynced ? ", its last write was synced" : "");
    world->crashes++;
    if (with_unsynced && node->disk_busy && world->now >= node->disk_fails_until) {
        if (store_commit(node->store) != OK)
            broken(world, "harness", "commit");
        node->durable = node->applied;
    }
    store_rollback(node->store);
    node->rows.count = node->durable;
    node->applied = node->durable;
    node->disk_busy = false;
    node->kept.count = 0;
    node->checking_id = 0;
    node->checked_id = 0;
    node->snapshot_id = 0;
    chat_close(node->chat);
    node->chat = NULL;
    replica_free(node->replica);
    node->replica = NULL;
    node->alive = false;
    node->incarnation++;
    for (unsigned i = 0; i < world->nodes_count; i++)
        if (&world->nodes[i] != node && world->nodes[i].alive &&
            !is_cut(world, node->id, (int)i + 1))
            refuse_link(world, &world->nodes[i], node->internal, below(world, MS));
    if (!world->is_degraded)
        at(world, world->now + 5 * MS + below(world, 3 * SECOND), AT_RESTART, node->id,
           node->incarnation, NULL);
}

void node_close(struct node *node)
{
    chat_close(node->chat);
    if (node->store != NULL)
        store_close(node->store);
    replica_free(node->replica);
    free(node->rows.items);
    free(node->kept.items);
    free(node->orphans);
}
