/* SPDX-License-Identifier: MIT */
/* What a server makes of replication messages from its peers: each is decoded and given to a replica,
 * whose actions are carried out on a disk that always works. Whatever is sent, no assertion of the
 * state machine may be hurt.
 *
 * The first byte is the scene: who the node is, and its policy. The rest is a ClusterFrame. As nobody
 * reads `to`, it tells what happens before its message: its low bits, how much time passes; then, who
 * is found to be gone. */
#include "base/error.h"
#include "base/protobuf.h"
#include "cluster/cluster_wire.h"
#include "fuzz.h"

#include <string.h>

#define EPOCH 65537u /* the epoch that the scenes begin in: the first one of node 1 */
#define STEPS_MAX 1000

static const uint8_t cluster_id[] = "cluster of fuzz!"; /* as in make_corpus.c */

/* 1, 2 and 3, all in sync. */
static const uint8_t members[] = "\x01\x03"
                                 "\x00\x01\x00\x01\x05\x00\x03"
                                 "a:1\x00\x03"
                                 "a:2"
                                 "\x00\x02\x00\x01\x05\x00\x03"
                                 "b:1\x00\x03"
                                 "b:2"
                                 "\x00\x03\x00\x01\x05\x00\x03"
                                 "c:1\x00\x03"
                                 "c:2";

static struct scene {
    struct replica *replica;
    struct replica_actions actions;
    uint64_t now_ms;
    uint64_t promised;
    uint8_t cluster[REPLICA_CLUSTER_BYTES];
    struct log_position chunk_last; /* where the snapshot that is being sent ends */
    size_t steps;
} scene;

static void step(struct replica_event event);

/* What the disk holds in a scene that begins with data: a members batch and two more. */
static struct replica_state stored(void)
{
    static const struct epoch_start epoch_start = {.epoch = EPOCH, .first_seq = 1};
    struct replica_state state = {.promised = EPOCH,
                                  .last = {EPOCH, 3},
                                  .first_seq = 1,
                                  .epochs = {&epoch_start, 1},
                                  .members = members,
                                  .members_size = sizeof members - 1,
                                  .members_position = {EPOCH, 1},
                                  .last_orphan = 2};
    memcpy(state.cluster, cluster_id, sizeof state.cluster);
    return state;
}

/* The database that a snapshot would bring. It ends where its chunks say, or, should they lie (odd
 * snapshots do), in a later epoch. */
static void install(void)
{
    struct epoch_start epoch_start = {.epoch = scene.chunk_last.epoch, .first_seq = 1};
    struct replica_state state = stored();
    state.promised = scene.promised;
    memcpy(state.cluster, scene.cluster, sizeof state.cluster);
    state.last = scene.chunk_last;
    state.first_seq = state.last.seq == 0 ? 0 : state.last.seq;
    state.epochs = (struct epoch_history){&epoch_start, state.last.seq == 0 ? 0 : 1};
    step((struct replica_event){.kind = REPLICA_INSTALLED, .state = &state});
}

static void merge(const struct replica_message *message, uint16_t self)
{
    step((struct replica_event){.kind = REPLICA_ORPHANS_MERGED,
                                .node = message == NULL ? self : message->from,
                                .orphan = message == NULL ? 2 : message->orphan_transfer.orphan,
                                .position = replica_last(scene.replica)});
}

/* What is sent must be such that the other side takes it apart again. */
static void send(const struct replica_message *message)
{
    struct arena arena;
    arena_init(&arena, 4u << 20);
    ProtobufCBinaryData packed;
    ASSERT(cluster_wire_pack(message, NULL, &arena, &packed) == OK);
    Jackdaw__ClusterMessage *back = jackdaw__cluster_message__unpack(NULL, packed.len, packed.data);
    ASSERT(back != NULL && (int)back->kind == (int)message->kind + 1);
    jackdaw__cluster_message__free_unpacked(back, NULL);
    arena_clear(&arena);
}

static bool is_sending(enum replica_action_kind kind)
{
    return kind == REPLICA_DO_SEND || kind == REPLICA_DO_PUBLISH ||
           kind == REPLICA_DO_SEND_ENTRIES || kind == REPLICA_DO_SEND_CHUNK ||
           kind == REPLICA_DO_SEND_ORPHANS;
}

/* Carries out the actions of one step. What leads to further steps comes last, as those use the same
 * storage. */
static void carry_out(uint16_t self)
{
    struct log_position appended = {0, 0};
    const struct replica_message *orphan_transfer = NULL;
    struct replica_message copy;
    bool merges_orphans = false;
    bool installs = false;
    for (size_t i = 0; i < scene.actions.count; i++) {
        const struct replica_action *action = &scene.actions.items[i];
        if (action->kind == REPLICA_DO_PERSIST) {
            scene.promised = action->persist.promised;
            memcpy(scene.cluster, action->persist.cluster, sizeof scene.cluster);
        } else if (action->kind == REPLICA_DO_APPEND) {
            appended = (struct log_position){action->entry.epoch, action->entry.last_seq};
        } else if (action->kind == REPLICA_DO_STORE_CHUNK) {
            const struct replica_snapshot_chunk *chunk = &action->received->snapshot_chunk;
            scene.chunk_last = chunk->last;
            scene.chunk_last.epoch += (chunk->snapshot & 1u) * 65536;
        } else if (action->kind == REPLICA_DO_MERGE_ORPHANS) {
            merges_orphans = true;
            if (action->merge.received != NULL) {
                copy = *action->merge.received;
                orphan_transfer = &copy;
            }
        } else if (action->kind == REPLICA_DO_INSTALL) {
            installs = true;
        } else if (is_sending(action->kind)) {
            send(&action->message);
        }
    }
    if (appended.seq != 0)
        step((struct replica_event){.kind = REPLICA_DURABLE, .position = appended});
    if (merges_orphans)
        merge(orphan_transfer, self);
    if (installs)
        install();
}

static uint16_t self_of(uint8_t setup)
{
    return (setup & 3u) == 3 ? 1 : 2;
}

static uint8_t current_setup;

static void step(struct replica_event event)
{
    if (scene.steps++ > STEPS_MAX)
        return;
    event.now_ms = scene.now_ms;
    enum error error = replica_step(scene.replica, &event, &scene.actions);
    ASSERT(error == OK || (error == ERROR_INVALID && event.kind == REPLICA_RECEIVE));
    if (error == OK)
        carry_out(self_of(current_setup));
}

/* 0: a new slave, 1: the first master, 2: a slave with data, 3: a master with data. Above: policy. */
static void open_scene(uint8_t setup)
{
    static const char *const seeds[] = {"a:1", "c:1"};
    uint8_t kind = setup & 3u;
    struct replica_options options = {.id = self_of(setup),
                                      .internal = kind == 3 ? "a:1" : "b:1",
                                      .client = kind == 3 ? "a:2" : "b:2",
                                      .policy = (enum replica_policy)((setup >> 2) % 3),
                                      .is_first = kind == 1,
                                      .seeds = seeds,
                                      .seeds_count = kind == 0 ? 2 : 0};
    memcpy(options.new_cluster, cluster_id, sizeof options.new_cluster);
    scene = (struct scene){.now_ms = 1000};
    current_setup = setup;
    ASSERT(replica_new(&scene.replica, &options) == OK);
    struct replica_state state = {0};
    if (kind >= 2) {
        state = stored();
        scene.promised = state.promised;
        memcpy(scene.cluster, state.cluster, sizeof scene.cluster);
    }
    step((struct replica_event){.kind = REPLICA_START, .state = &state});
    if (kind == 3) { /* the others say that they have nothing and nobody, and it is the master */
        for (uint16_t node = 2; node <= 3; node++) {
            struct replica_message heard = {.kind = REPLICA_LEADER_INFO, .from = node};
            memcpy(heard.cluster, cluster_id, sizeof heard.cluster);
            step((struct replica_event){.kind = REPLICA_RECEIVE, .message = &heard});
            struct replica_message promise = {.kind = REPLICA_PROMISE,
                                              .from = node,
                                              .epoch = EPOCH + 65536,
                                              .promise.granted = true};
            memcpy(promise.cluster, cluster_id, sizeof promise.cluster);
            step((struct replica_event){.kind = REPLICA_RECEIVE, .message = &promise});
        }
    }
}

static void let_pass(uint32_t what)
{
    for (uint32_t i = 0; i < (what & 15u); i++) {
        scene.now_ms += 50;
        step((struct replica_event){.kind = REPLICA_TICK});
    }
    for (uint16_t node = 1; node <= 4; node++)
        if ((what >> (3 + node) & 1u) != 0)
            step((struct replica_event){.kind = REPLICA_DISCONNECTED,
                                        .address = node == 1   ? "a:1"
                                                   : node == 2 ? "b:1"
                                                               : "c:1"});
}

static void receive(const Jackdaw__ClusterMessage *in, struct arena *arena)
{
    struct replica_message message;
    const char *feed;
    if (cluster_wire_decode(in, arena, &message, &feed) != OK)
        return;
    uint16_t what = message.to;
    let_pass(what);
    if ((what >> 9 & 1u) == 0)
        message.to = 0;
    const char *address = (what >> 10 & 1u) != 0 ? "c:1" : NULL;
    step((struct replica_event){.kind = REPLICA_RECEIVE, .message = &message, .address = address});
    if (replica_role(scene.replica) == REPLICA_MASTER && (what >> 8 & 1u) != 0)
        step((struct replica_event){
            .kind = REPLICA_PROPOSE, .bytes = cluster_id, .size = 4, .count = 2});
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct arena arena;
    arena_init(&arena, size * 64 + 65536);
    Jackdaw__ClusterFrame *frame =
        protobuf_unpack(&jackdaw__cluster_frame__descriptor, &arena, data + 1, size - 1);
    if (frame != NULL) {
        open_scene(data[0]);
        for (size_t i = 0; i < frame->n_messages && i < 64; i++)
            receive(frame->messages[i], &arena);
        let_pass(15);
        replica_free(scene.replica);
    }
    arena_clear(&arena);
    return 0;
}
