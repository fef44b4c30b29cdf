/* SPDX-License-Identifier: MIT */
/* Carries out what the replica says; see "CONTRACT OF ACTIONS" in replication/replica.h. */
#include "cluster/cluster_internal.h"

#include "base/log_pace.h"
#include "commit/fatal.h"

#include <stdio.h>
#include <string.h>

#define PAUSE_MS 5000 /* after a snapshot that could not be kept or installed */

/* ---- what is on the disk ---- */

/* The entry that has ended this server's process twice, unless it is in the log by now. */
static void describe_avoid(struct cluster *cluster, struct replica_state *state)
{
    struct log_position poison;
    if (cluster->note == NULL || !crash_note_poison(cluster->note, &poison) ||
        poison.seq <= state->last.seq)
        return;
    state->avoid = poison;
    if (!cluster->has_poison_entry)
        log_error("cluster", "poison_entry", log_number("epoch", poison.epoch),
                  log_number("seq", poison.seq),
                  log_string("hint", "a bug: applying this entry of the log ended this server "
                                     "twice; it asks for a snapshot instead. Report it with this "
                                     "line and the last lines of the two that died"));
    cluster->has_poison_entry = true;
}

enum error cluster_describe(struct cluster *cluster, struct replica_state *state,
                            struct error_text *why)
{
    enum error error = disk_state_read(&cluster->disk_state, cluster->store, state, why);
    state->last_orphan = commit_log_last_orphan(cluster->commit_log);
    describe_avoid(cluster, state);
    return error;
}

void cluster_end(struct cluster *cluster, const char *sentence)
{
    cluster->options.observer.ended(cluster->options.observer.context, sentence);
}

/* ---- the disk ---- */

/* A change of the database, so it waits for the commit under way. */
static enum error persist_cluster(struct cluster *cluster,
                                  const uint8_t id[static REPLICA_CLUSTER_BYTES])
{
    static const uint8_t none[REPLICA_CLUSTER_BYTES];
    uint8_t found[REPLICA_CLUSTER_BYTES];
    store_cluster(cluster->store, found);
    if (memcmp(id, none, sizeof none) == 0 || memcmp(id, found, sizeof found) == 0)
        return OK;
    enum error error = commit_log_wait_for_disk(cluster->commit_log);
    return error == OK ? store_set_cluster(cluster->store, id) : error;
}

static enum error persist(struct cluster *cluster, const struct replica_action *action)
{
    enum error error = persist_cluster(cluster, action->persist.cluster);
    if (error == OK)
        error = store_set_promised(cluster->store, action->persist.promised);
    if (error != OK)
        log_error_paced(NULL, "cluster", "cannot_promise",
                        log_string("reason", store_last_problem(cluster->store)));
    return error;
}

static enum error append(struct cluster *cluster, const struct log_entry *entry)
{
    if (entry->kind == LOG_ENTRY_MEMBERS)
        cluster->members_changed = true;
    enum error error = commit_log_append(cluster->commit_log, entry);
    if (error == OK && replica_role(cluster->replica) == REPLICA_MASTER)
        cluster_remember(cluster, entry);
    return error;
}

/* Passes the new store to all users, even if it is unreadable, because the old one is gone. false:
 * this server must end. */
static bool reopen(struct cluster *cluster)
{
    struct error_text why = {""};
    if (cluster->store == NULL) /* the next start finds one of the two */
        fatal("cluster", "a snapshot could not take the place of the database, nor could that be "
                         "undone: see the disk's errors in the log, and start the server again");
    snapshots_set_store(cluster->snapshots, cluster->store);
    commit_log_replaced(cluster->commit_log, cluster->store);
    enum error error = chat_move(cluster->chat, cluster->store, &why);
    if (error == OK)
        error = store_open_reader(&cluster->orphan_reader, cluster->store, &why);
    if (error == OK)
        return true;
    (void)error_prefix(&why, error, "the database cannot be read any more");
    cluster_end(cluster, why.text);
    return false;
}

/* Stops all use of the database. */
static enum error set_free(struct cluster *cluster)
{
    enum error error = commit_log_wait_for_disk(cluster->commit_log);
    commit_log_roll_back(cluster->commit_log);
    commit_log_wait_for_projection(cluster->commit_log);
    cluster->options.observer.replacing(cluster->options.observer.context);
    snapshots_forget(cluster->snapshots);
    store_close(cluster->orphan_reader);
    cluster->orphan_reader = NULL;
    return error;
}

static enum error exchange(struct cluster *cluster, struct log_position common)
{
    enum error error = set_free(cluster);
    struct error_text why = {""};
    if (error == OK)
        error = store_install(&cluster->store, snapshots_finish_received(cluster->snapshots),
                              common, &why);
    if (error != OK)
        log_error("cluster", "cannot_install", log_string("error", error_name(error)),
                  log_string("reason", why.text));
    return error;
}

/* The next try would end as the last one did, and each begins with the whole database. */
static void pause_snapshots(struct cluster *cluster)
{
    cluster->fetch_again_ms = cluster->now_ms + PAUSE_MS;
}

/* Rolls back entries that are not durable. */
static void fall_back(struct cluster *cluster)
{
    (void)commit_log_wait_for_disk(cluster->commit_log);
    commit_log_roll_back(cluster->commit_log);
    cluster->owes_failed = true;
}

static void install(struct cluster *cluster, struct log_position common)
{
    enum error found;
    if (!snapshots_check_received(cluster->snapshots, &found))
        return; /* INSTALL is said again then */
    if (found != OK) {
        pause_snapshots(cluster);
        fall_back(cluster);
        return;
    }
    bool is_installed = exchange(cluster, common) == OK;
    if (!is_installed)
        pause_snapshots(cluster);
    bool is_open = reopen(cluster);
    cluster->options.observer.replaced(cluster->options.observer.context, cluster->store,
                                       is_installed ? common
                                                    : commit_log_applied(cluster->commit_log));
    if (is_installed)
        log_info("cluster", "snapshot_installed",
                 log_number("seq", store_position(cluster->store).seq),
                 log_number("common", common.seq),
                 log_number("orphans", store_orphan_count(cluster->store)));
    cluster->owes_installed = is_open && is_installed;
    cluster->owes_failed = is_open && !is_installed;
}

/* A blank cluster is given up. */
static void reset(struct cluster *cluster)
{
    enum error error = set_free(cluster);
    if (error == OK)
        error = store_reset(cluster->store);
    if (error != OK)
        log_error("cluster", "cannot_reset", log_string("error", error_name(error)),
                  log_string("reason", store_last_problem(cluster->store)));
    bool is_open = reopen(cluster);
    cluster->options.observer.replaced(cluster->options.observer.context, cluster->store,
                                       commit_log_applied(cluster->commit_log));
    cluster->owes_installed = is_open && error == OK;
    cluster->owes_failed = is_open && error != OK;
}

/* ---- the others ---- */

/* Answers go with the reply of the exchange that asked. */
static void send(struct cluster *cluster, const struct replica_message *message)
{
    const char *feed = message->kind == REPLICA_JOIN_REPLY ? cluster->feed_address : NULL;
    bool begins_snapshot =
        message->kind == REPLICA_SNAPSHOT_REQUEST && message->snapshot_request.offset == 0;
    if (begins_snapshot && cluster->now_ms < cluster->fetch_again_ms)
        return; /* it is asked again, and again */
    if (cluster->answer != NULL && message->to == cluster->answer_to &&
        cluster_frame_add(cluster->answer, message, feed, &cluster->arena) == OK)
        return;
    if (!cluster->has_resigned)
        peer_connections_send(cluster->peer_connections, message, feed);
}

static void publish(struct cluster *cluster, const struct replica_message *message)
{
    if (!cluster_has_subscribers(cluster))
        return;
    struct replica_message copy = *message;
    struct log_entry batch = *message->append.entry;
    const struct entry_queue_item *newest = entry_queue_newest(&cluster->entry_cache);
    if (newest != NULL && newest->entry.last_seq == batch.last_seq)
        memcpy(batch.digest, newest->entry.digest, sizeof batch.digest);
    copy.append.entry = &batch;
    struct arena arena;
    arena_init(&arena, batch.size + 65536);
    ProtobufCBinaryData packed;
    if (cluster_wire_pack(&copy, NULL, &arena, &packed) == OK)
        rpc_feed_publish(cluster->feed,
                         &(struct rpc_chunk){.bytes = packed.data, .size = packed.len}, 1);
    cluster->told_committed = message->append.committed;
    arena_clear(&arena);
}

static void send_entries(struct cluster *cluster, const struct replica_message *message)
{
    struct replica_message page = *message;
    cluster_fill_entries(cluster, &page.entries);
    send(cluster, &page);
}

static void send_chunk(struct cluster *cluster, const struct replica_message *message)
{
    struct replica_message chunk = *message;
    if (snapshots_send(cluster->snapshots, &chunk.snapshot_chunk, cluster->now_ms))
        send(cluster, &chunk);
}

/* Large, and offered again soon: it waits for no connection. */
static void send_orphans(struct cluster *cluster, const struct replica_message *message)
{
    if (cluster->has_resigned ||
        !peer_connections_is_connected(cluster->peer_connections, message->to))
        return;
    struct replica_message orphan_transfer = *message;
    if (cluster_fill_orphans(cluster, &orphan_transfer.orphan_transfer))
        send(cluster, &orphan_transfer);
}

/* ---- the role ---- */

static void change_role(struct cluster *cluster, const struct replica_action *action)
{
    enum replica_role role = action->role.role;
    uint64_t epoch = action->role.epoch;
    bool epoch_starts = role == REPLICA_MASTER;
    log_identify(cluster->options.settings->id, epoch);
    log_info("cluster", "role", log_string("role", replica_role_name(role)),
             log_number("master", action->role.master), log_number("epoch", epoch));
    bool was_master = commit_log_is_master(cluster->commit_log);
    if (was_master != epoch_starts) {
        commit_log_set_epoch(cluster->commit_log, epoch_starts ? epoch : 0);
        cluster_clear_entry_cache(cluster);
        cluster_forget_orphan_transfers(cluster);
        cluster->readers_until_ms = 0;
    }
    if (epoch_starts)
        chat_touch_all(cluster->chat, cluster->now_ms);
    cluster->options.observer.role(cluster->options.observer.context, role);
    if (role == REPLICA_REMOVED)
        cluster_end(cluster, NULL);
}

static void give_up(struct cluster *cluster, enum replica_rejection refusal)
{
    static const char *const sentences[] = {
        [REPLICA_REJECTED_ID] = "another server of the cluster has this id: choose another",
        [REPLICA_REJECTED_ADDRESS] =
            "another server of the cluster has this internal address: choose another",
        [REPLICA_REJECTED_REMOVED] =
            "the server with this id has left the cluster for good: start it with an id that none "
            "had, which takes a data folder of its own",
        [REPLICA_REJECTED_FULL] = "the cluster has as many servers as it can have",
    };
    cluster_end(cluster, sentences[refusal]);
}

/* ---- the list ---- */

static enum error carry_out(struct cluster *cluster, const struct replica_action *action)
{
    switch (action->kind) {
    case REPLICA_DO_PERSIST:
        return persist(cluster, action);
    case REPLICA_DO_APPEND:
        return append(cluster, &action->entry);
    case REPLICA_DO_SEND:
        send(cluster, &action->message);
        break;
    case REPLICA_DO_PUBLISH:
        publish(cluster, &action->message);
        break;
    case REPLICA_DO_COMMITTED:
        commit_log_commit(cluster->commit_log, action->committed);
        break;
    case REPLICA_DO_ROLE:
        change_role(cluster, action);
        break;
    case REPLICA_DO_SEND_ENTRIES:
        send_entries(cluster, &action->message);
        break;
    case REPLICA_DO_SEND_CHUNK:
        send_chunk(cluster, &action->message);
        break;
    case REPLICA_DO_STORE_CHUNK:
        return snapshots_receive(cluster->snapshots, &action->received->snapshot_chunk);
    case REPLICA_DO_SEND_ORPHANS:
        send_orphans(cluster, &action->message);
        break;
    case REPLICA_DO_MERGE_ORPHANS:
        cluster_note_orphan_transfer(cluster, action->merge.received, action->merge.orphan);
        break;
    case REPLICA_DO_DROP_ORPHANS:
        commit_log_drop_orphans(cluster->commit_log, action->drop_orphans);
        break;
    case REPLICA_DO_REPORT:
        cluster_tell(cluster, action);
        break;
    case REPLICA_DO_INSTALL:
        install(cluster, action->install);
        break;
    case REPLICA_DO_RESET:
        reset(cluster);
        break;
    case REPLICA_DO_EXIT:
        give_up(cluster, action->rejection);
        break;
    default:
        break;
    }
    return OK;
}

void cluster_carry_out(struct cluster *cluster)
{
    const struct replica_actions *actions = cluster->actions;
    for (size_t i = 0; i < actions->count; i++) {
        const struct replica_action *action = &actions->items[i];
        enum error error = carry_out(cluster, action);
        if (error == OK)
            continue;
        log_error_paced(replica_action_name(action->kind), "cluster", "cannot_write",
                        log_string("doing", replica_action_name(action->kind)),
                        log_string("error", error_name(error)));
        if (action->kind == REPLICA_DO_STORE_CHUNK)
            pause_snapshots(cluster);
        fall_back(cluster);
        return;
    }
}
