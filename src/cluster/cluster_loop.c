/* SPDX-License-Identifier: MIT */
/* The loop that steps the replica: see cluster.h. */
#include "cluster/cluster_internal.h"

#include "base/log_pace.h"

/* Whether the replica may answer the event with an entry of its own. An ack of one in sync only moves
 * what is committed; there are many, and a batch had better grow until they have all come. */
static bool may_append(const struct cluster *cluster, const struct replica_event *event)
{
    if (event->kind == REPLICA_PROPOSE)
        return false;
    if (event->kind != REPLICA_RECEIVE || event->message->kind != REPLICA_ACK)
        return true;
    const struct replica_member *members;
    size_t count = replica_members(cluster->replica, &members);
    for (size_t i = 0; i < count; i++)
        if (members[i].id == event->message->from)
            return !members[i].in_sync || members[i].left;
    return true;
}

static const char *name_of(enum replica_event_kind kind)
{
    static const char *const names[REPLICA_EVENT_KINDS] = {
        [REPLICA_START] = "start",         [REPLICA_TICK] = "tick",
        [REPLICA_RECEIVE] = "receive",     [REPLICA_DISCONNECTED] = "disconnected",
        [REPLICA_PROPOSE] = "propose",     [REPLICA_DURABLE] = "durable",
        [REPLICA_FAILED] = "failed",       [REPLICA_CHECKED] = "checked",
        [REPLICA_INSTALLED] = "installed", [REPLICA_ORPHANS_MERGED] = "orphans_merged",
        [REPLICA_PRUNED] = "pruned",       [REPLICA_LEAVE_NODE] = "leave_node",
    };
    return names[kind] == NULL ? "unknown" : names[kind];
}

void cluster_log_refused(const struct replica_event *event, enum error error)
{
    if (event->kind != REPLICA_RECEIVE) {
        log_warning_paced(name_of(event->kind), "cluster", "event_refused",
                          log_string("event", name_of(event->kind)),
                          log_string("error", error_name(error)));
        return;
    }
    const char *name = replica_message_name(event->message->kind);
    log_warning_paced(name, "cluster", "event_refused", log_string("event", name_of(event->kind)),
                      log_string("message", name), log_number("from", event->message->from),
                      log_number("epoch", event->message->epoch),
                      log_string("error", error_name(error)));
}

/* An entry that does not fit means that the two databases differ, whatever the disk says. A server must not skip
 * a delta that its build does not know: later entries would not fit. */
static void note_failure(struct cluster *cluster, enum error error)
{
    if (error == ERROR_VERSION)
        cluster_end(cluster, "the log has a change that this version of the server does not know: "
                             "install the version that the other servers have");
    else if (error == ERROR_CORRUPT && replica_role(cluster->replica) != REPLICA_MASTER)
        cluster_end(
            cluster,
            "the master's entries do not fit this server's database, or the database is damaged: " STORE_DAMAGE_ADVICE);
    else
        cluster->owes_failed = true;
}

/* FAILED or INSTALLED, with what is on the disk. false: that cannot be read. */
static bool state_event(struct cluster *cluster, struct replica_event *event)
{
    struct error_text why = {""};
    bool has_failed = cluster->owes_failed;
    cluster->owes_failed = cluster->owes_installed = false;
    if (cluster_describe(cluster, &cluster->state, &why) != OK) {
        (void)error_prefix(&why, ERROR_CORRUPT, "the database cannot be read any more");
        cluster_end(cluster, why.text);
        return false;
    }
    if (has_failed)
        cluster_clear_entry_cache(cluster);
    else
        cluster->first_seq = cluster->state.first_seq;
    cluster->members_changed = true; /* back, perhaps, to those that are on the disk */
    *event = (struct replica_event){.kind = has_failed ? REPLICA_FAILED : REPLICA_INSTALLED,
                                    .state = &cluster->state};
    return true;
}

/* The log is pruned behind commits, once the database that has its entries is synced. */
static bool pruned_event(struct cluster *cluster, struct replica_event *event)
{
    uint64_t first = store_log_first(cluster->store);
    if (first == cluster->first_seq)
        return false;
    cluster->first_seq = first;
    *event = (struct replica_event){.kind = REPLICA_PRUNED, .position = {.seq = first}};
    return true;
}

/* Events of this server's own disk. */
static bool own_event(struct cluster *cluster, struct replica_event *event)
{
    struct commit_log_event told;
    while (!cluster->owes_failed && !cluster->owes_installed &&
           commit_log_next_event(cluster->commit_log, &told)) {
        if (told.kind == COMMIT_LOG_ROLLED_BACK)
            cluster_undo_orphan_transfers(cluster);
        else if (told.kind == COMMIT_LOG_FAILED)
            note_failure(cluster, told.error);
        else {
            *event = (struct replica_event){
                .kind = REPLICA_DURABLE,
                .position = {.epoch = told.position.epoch, .seq = told.position.seq}};
            return true;
        }
    }
    if ((cluster->owes_failed || cluster->owes_installed) && state_event(cluster, event))
        return true;
    return pruned_event(cluster, event);
}

/* Commits what is applied. true: it is a batch of this server, which the replica must order first. */
static bool proposal(struct cluster *cluster, struct replica_event *event)
{
    struct commit_log_batch batch;
    cluster->commit_is_due = false;
    if (!commit_log_seal(cluster->commit_log, &batch)) {
        commit_log_write(cluster->commit_log);
        return false;
    }
    *event = (struct replica_event){
        .kind = REPLICA_PROPOSE, .bytes = batch.bytes, .size = batch.size, .count = batch.count};
    return true;
}

/* The applied deltas have the next position of the log, so they are committed before an event that
 * may append. */
static bool next_event(struct cluster *cluster, const struct replica_event **arrived,
                       struct replica_event *event)
{
    if (own_event(cluster, event))
        return true;
    if (cluster->commit_is_due || (*arrived != NULL && may_append(cluster, *arrived))) {
        if (proposal(cluster, event) || own_event(cluster, event))
            return true;
    }
    if (*arrived == NULL)
        return false;
    *event = **arrived;
    *arrived = NULL;
    return true;
}

static enum error step(struct cluster *cluster, struct replica_event *event)
{
    event->now_ms = cluster->now_ms;
    enum error error = replica_step(cluster->replica, event, cluster->actions);
    bool is_answered = event->kind == REPLICA_LEAVE_NODE; /* by the caller that asked */
    if (error != OK && error != ERROR_REFUSED && !is_answered)
        cluster_log_refused(event, error);
    cluster_carry_out(cluster);
    if (event->kind == REPLICA_PROPOSE)
        commit_log_write(cluster->commit_log);
    if (event->kind == REPLICA_FAILED || event->kind == REPLICA_INSTALLED)
        commit_log_commit(cluster->commit_log, replica_committed(cluster->replica));
    cluster_note_members(cluster);
    /* Never put off: where much happens, the clock would stand still. */
    uint64_t deadline_ms = replica_deadline(cluster->replica);
    if (event->kind == REPLICA_TICK || deadline_ms < cluster->deadline_ms)
        cluster->deadline_ms = deadline_ms;
    return error;
}

enum error cluster_loop(struct cluster *cluster, const struct replica_event *arrived)
{
    ASSERT(!cluster->is_looping); /* another step would replace the list of actions */
    cluster->is_looping = true;
    enum error result = OK;
    bool was_arrived = arrived == NULL;
    struct replica_event event;
    while (next_event(cluster, &arrived, &event)) {
        enum error error = step(cluster, &event);
        if (!was_arrived && arrived == NULL)
            result = error;
        was_arrived = arrived == NULL;
    }
    cluster->is_looping = false;
    return result;
}
