/* SPDX-License-Identifier: MIT */
#include "replication/join.h"

#include "replication/actions.h"
#include "replication/commit.h"
#include "replication/election.h"
#include "replication/locations.h"
#include "replication/log.h"
#include "replication/members.h"
#include "replication/requests.h"
#include "replication/role.h"
#include "replication/send.h"

#include <string.h>

/* ---- answering ---- */

static bool is_alive(struct replica *r, uint16_t id)
{
    const struct peer *peer = replica_peer_find(r, id);
    return peer != NULL && replica_peer_is_alive(r, peer);
}

/* A member may return at the address of a member that is not alive. A new node may not: the member that
 * is not alive may return to its address. 0: no rejection. */
static enum replica_rejection refusal_of(struct replica *r, const struct replica_message *join)
{
    bool is_known = replica_member_find(r, join->from) != NULL;
    if (strcmp(join->internal, r->internal) == 0)
        return REPLICA_REJECTED_ADDRESS;
    for (size_t i = 0; i < r->members.count; i++) {
        const struct replica_member *member = &r->members.items[i];
        bool is_self = member->id == join->from;
        if (is_self && member->left)
            return REPLICA_REJECTED_REMOVED;
        if (member->left || member->id == r->options.id)
            continue;
        bool is_there = strcmp(replica_location_named(r, member->id), join->internal) == 0;
        if (is_self && !is_there && is_alive(r, member->id))
            return REPLICA_REJECTED_ID;
        if (!is_self && is_there && (!is_known || is_alive(r, member->id)))
            return REPLICA_REJECTED_ADDRESS;
    }
    if (!is_known && r->members.count == REPLICA_MEMBERS_MAX)
        return REPLICA_REJECTED_FULL;
    return 0;
}

/* A node whose log ends before its last ack of this epoch has a new disk, so it is no longer in sync. */
static void forget_lost_data(struct replica *r, const struct replica_message *join)
{
    struct peer *peer = replica_peer_find(r, join->from);
    if (peer == NULL || join->join.last.seq >= peer->acked.seq)
        return;
    peer->acked = (struct log_position){0, 0};
    replica_in_sync_remove(r, join->from);
    replica_log_append_members(r);
}

/* A member that returns without data counts in no majority before it has the log again. So the master
 * withdraws its vote and removes it from the in-sync set. false: the new list is not committed yet. */
static bool is_vote_withdrawn(struct replica *r, const struct replica_message *join)
{
    const struct replica_member *member = replica_member_find(r, join->from);
    if (replica_has_cluster(join->cluster) || member == NULL)
        return true;
    if ((member->voter || member->in_sync) && replica_may_change_voters(r)) {
        struct replica_member *edit = replica_members_edit(r, join->from);
        edit->in_sync = false;
        edit->voter = false;
        replica_log_append_members(r);
    }
    member = replica_member_find(r, join->from);
    return !member->voter && !member->in_sync && !r->members_changed &&
           r->committed >= r->members_position.seq;
}

static void register_member(struct replica *r, const struct replica_message *join)
{
    const struct replica_member *member = replica_member_find(r, join->from);
    if (member != NULL && strcmp(member->internal, join->internal) == 0 &&
        strcmp(member->client, join->join.client) == 0 && member->level == join->join.level)
        return;
    replica_members_add(r, join->from, join->internal, join->join.client)->level = join->join.level;
    replica_log_append_members(r);
}

/* A member that lost its data would read old lists that have it in sync. So it gets a snapshot, which has
 * the newest list. */
static enum replica_answer answer_of(const struct replica *r, const struct replica_join *join,
                                     struct log_position common, bool was_member)
{
    if (was_member && join->last.seq == 0)
        return REPLICA_SNAPSHOT;
    if (log_position_compare(common, join->last) != 0)
        return REPLICA_DIVERGED;
    bool is_avoided = join->avoid.seq > common.seq && replica_log_has(r, join->avoid);
    return r->first_seq > common.seq + 1 || is_avoided ? REPLICA_SNAPSHOT : REPLICA_DELTAS;
}

static enum replica_answer answer_join(struct replica *r, const struct replica_message *message,
                                       bool was_member)
{
    const struct replica_join *join = &message->join;
    struct log_position common =
        epoch_history_common(join->epochs, join->last.seq, replica_log_epochs(r), r->last.seq);
    struct replica_message *reply = replica_send(r, REPLICA_JOIN_REPLY, message->from);
    if (reply->address == NULL)
        reply->address = message->internal;
    reply->epoch = join->recovering_log ? message->epoch : r->epoch;
    struct replica_join_reply *joined = &reply->join_reply;
    joined->recovering_log = join->recovering_log;
    if (!join->recovering_log)
        joined->leader = replica_own_leader(r);
    joined->answer = answer_of(r, join, common, was_member);
    joined->asked = join->last;
    joined->common = common;
    joined->last = r->last;
    joined->committed = r->committed;
    return joined->answer;
}

void replica_receive_join(struct replica *r, const struct replica_message *message)
{
    if (message->join.recovering_log) {
        if (message->epoch == r->promised && r->role != REPLICA_MASTER)
            (void)answer_join(r, message, false);
        return;
    }
    if (r->role != REPLICA_MASTER)
        return; /* LEADER_QUERY names this node's master */
    enum replica_rejection refusal = refusal_of(r, message);
    bool is_list_committed = !r->members_changed && r->committed >= r->members_position.seq;
    if (refusal == REPLICA_REJECTED_REMOVED && !is_list_committed)
        return; /* a later master may not have this list, and the node would end for good */
    if (refusal != 0) {
        struct replica_message *refused = replica_send(r, REPLICA_JOIN_REJECTED, message->from);
        refused->address = message->internal;
        refused->join_rejected.rejection = refusal;
        refused->epoch = r->epoch;
        return;
    }
    if (message->promised > r->epoch) {
        /* The promise of a node that is no member does not matter. */
        if (replica_member_find(r, message->from) != NULL)
            replica_renew_epoch(r);
        return;
    }
    forget_lost_data(r, message);
    if (!is_vote_withdrawn(r, message))
        return;
    bool was_member = replica_member_find(r, message->from) != NULL;
    register_member(r, message);
    struct peer *peer = replica_peer_find(r, message->from);
    ASSERT(peer != NULL);
    peer->follows = answer_join(r, message, was_member) == REPLICA_DELTAS;
    peer->last_seen_ms = r->now_ms;
    peer->spoke_ms = r->now_ms == 0 ? 1 : r->now_ms;
    peer->disconnected_ms = 0;
    /* A member in sync that joins repeatedly, because its disk is full, must not delay commits. */
    if (!replica_member_is_in_sync(r, message->from))
        peer->progress_ms = r->now_ms;
}

/* ---- the answer ---- */

static void begin_catch_up(struct replica *r, uint16_t from,
                           const struct replica_join_reply *joined)
{
    struct log_position want = joined->recovering_log ? r->catch_up.want : joined->last;
    r->catch_up = (struct catch_up){
        .source = from,
        .want = want,
        .common = joined->common,
        .progress_ms = r->now_ms,
        .snapshot = joined->answer != REPLICA_DELTAS,
    };
    if (r->catch_up.snapshot)
        replica_ask_for_chunk(r);
    else if (r->last.seq < want.seq)
        replica_ask_for_entries(r);
    else
        replica_caught_up(r);
}

void replica_caught_up(struct replica *r)
{
    r->catch_up = (struct catch_up){0};
    if (r->role == REPLICA_RECOVERING_LOG)
        replica_election_log_recovered(r);
}

static void follow(struct replica *r, const struct replica_message *message)
{
    replica_role_follow(r, message);
    if (r->follows)
        replica_commit_learn(r, message->join_reply.committed);
    begin_catch_up(r, message->from, &message->join_reply);
    replica_send_ack(r);
    replica_ping(r);
}

void replica_receive_join_reply(struct replica *r, const struct replica_message *message)
{
    const struct replica_join_reply *joined = &message->join_reply;
    if (joined->recovering_log) {
        if (r->role == REPLICA_RECOVERING_LOG && message->from == r->catch_up.source &&
            message->epoch == r->epoch && !r->catch_up.fetching &&
            log_position_compare(joined->asked, r->last) == 0)
            begin_catch_up(r, message->from, joined);
        return;
    }
    if (message->epoch < r->promised || message->epoch == 0)
        return;
    bool is_known = replica_is_following(r) && r->master.id == message->from &&
                    r->master.epoch == message->epoch;
    if (is_known && (r->follows || r->catch_up.snapshot))
        return; /* the reply to a repeated JOIN */
    if (r->role == REPLICA_MASTER || r->role == REPLICA_CANDIDATE ||
        r->role == REPLICA_RECOVERING_LOG) {
        if (message->epoch <= r->epoch)
            return;
        replica_role_step_down(r);
    }
    if (log_position_compare(joined->asked, r->last) != 0) {
        replica_ask_to_join(r, message->from, NULL, true);
        return;
    }
    follow(r, message);
}

void replica_note_rejection(struct replica *r, const struct replica_message *message)
{
    enum replica_rejection rejection = message->join_rejected.rejection;
    bool has_left = rejection == REPLICA_REJECTED_REMOVED;
    if (!has_left && replica_has_cluster(r->cluster)) {
        r->refused_ms = r->now_ms == 0 ? 1 : r->now_ms;
        replica_report(r, REPLICA_NODE_REJECTED, message, NULL)->report.rejection = rejection;
        return;
    }
    replica_act(r, REPLICA_DO_EXIT)->rejection = rejection;
    if (has_left)
        replica_role_remove(r);
}

void replica_receive_join_rejected(struct replica *r, const struct replica_message *message)
{
    /* A master believes only a master of a higher epoch, which was elected after it. */
    enum replica_rejection rejection = message->join_rejected.rejection;
    if (rejection == REPLICA_REJECTED_CLUSTER || message->from != r->join_target ||
        (r->role == REPLICA_MASTER &&
         (message->epoch <= r->epoch || rejection != REPLICA_REJECTED_REMOVED)))
        return;
    replica_note_rejection(r, message);
}

/* ---- snapshots ---- */

void replica_receive_snapshot_request(struct replica *r, const struct replica_message *message)
{
    const struct replica_snapshot_request *request = &message->snapshot_request;
    bool is_slave = r->role == REPLICA_MASTER && message->epoch == r->epoch;
    bool is_candidate = request->recovering_log && message->epoch == r->promised;
    if (!is_slave && !is_candidate)
        return;
    struct replica_message *answer =
        replica_send_with(r, REPLICA_DO_SEND_CHUNK, REPLICA_SNAPSHOT_CHUNK, message->from);
    answer->epoch = message->epoch;
    struct replica_snapshot_chunk *chunk = &answer->snapshot_chunk;
    chunk->recovering_log = request->recovering_log;
    chunk->snapshot = request->snapshot;
    chunk->common = request->common;
    if (replica_log_has(r, request->avoid)) /* otherwise no node gets that entry from this one */
        chunk->avoid = request->avoid;
    chunk->offset = request->offset;
}

void replica_receive_snapshot_chunk(struct replica *r, const struct replica_message *message)
{
    struct catch_up *catch_up = &r->catch_up;
    const struct replica_snapshot_chunk *chunk = &message->snapshot_chunk;
    bool is_recovering_log = r->role == REPLICA_RECOVERING_LOG;
    uint64_t epoch = is_recovering_log ? r->epoch : r->master.epoch;
    if (!catch_up->snapshot || message->from != catch_up->source || message->epoch != epoch ||
        chunk->recovering_log != is_recovering_log)
        return;
    if (!is_recovering_log)
        r->master.last_seen_ms = r->now_ms;
    if (chunk->last.seq < catch_up->common.seq)
        return; /* the install would remove entries that may have been committed by this node's ack */
    if (chunk->last.seq < chunk->avoid.seq)
        return; /* the entry to avoid would come after the snapshot */
    bool is_new = chunk->offset == 0 && chunk->snapshot != catch_up->snapshot_id;
    if (!is_new && (chunk->snapshot != catch_up->snapshot_id || chunk->offset != catch_up->offset))
        return;
    catch_up->snapshot_id = chunk->snapshot;
    catch_up->offset = chunk->offset + chunk->size;
    catch_up->progress_ms = r->now_ms;
    if (catch_up->is_whole && !is_new)
        return; /* the chunk after the last one: its request kept the sender's copy and log */
    replica_act(r, REPLICA_DO_STORE_CHUNK)->received = message;
    catch_up->is_whole = catch_up->offset >= chunk->total;
    if (catch_up->is_whole)
        replica_act(r, REPLICA_DO_INSTALL)->install = catch_up->common;
    else
        replica_ask_for_chunk(r);
}

void replica_checked(struct replica *r)
{
    if (r->catch_up.is_whole)
        replica_act(r, REPLICA_DO_INSTALL)->install = r->catch_up.common;
}

void replica_installed(struct replica *r, const struct replica_state *state)
{
    uint64_t common = r->catch_up.common.seq;
    replica_log_load(r, state);
    r->needed = 0;
    if (r->committed > common)
        r->committed = common;
    if (r->last.epoch > r->promised) { /* the snapshot is of a later epoch than its chunks said */
        replica_raise_promise(r, r->last.epoch);
        replica_role_step_down(r);
        return;
    }
    if (r->role == REPLICA_RECOVERING_LOG) {
        struct catch_up *catch_up = &r->catch_up;
        *catch_up = (struct catch_up){
            .source = catch_up->source, .want = catch_up->want, .progress_ms = r->now_ms};
        if (r->last.seq >= catch_up->want.seq)
            replica_caught_up(r);
        else
            replica_ask_for_log(r);
        return;
    }
    r->catch_up = (struct catch_up){0};
    if (replica_is_following(r))
        replica_ask_to_join(r, r->master.id, NULL, true);
}

/* ---- repeating requests ---- */

void replica_join_tick(struct replica *r)
{
    struct catch_up *catch_up = &r->catch_up;
    if (r->role == REPLICA_RECOVERING_LOG && r->now_ms - catch_up->progress_ms > RECOVERY_WAIT_MS) {
        replica_role_step_down(r);
        return;
    }
    if (replica_is_following(r) && !r->follows && catch_up->source == 0) {
        replica_ask_to_join(r, r->master.id, NULL, false);
        return;
    }
    if (catch_up->source == 0 || r->now_ms - catch_up->asked_ms < RESEND_MS)
        return;
    if (catch_up->snapshot)
        replica_ask_for_chunk(r);
    else if (r->role == REPLICA_RECOVERING_LOG && !catch_up->fetching)
        replica_ask_for_log(r);
    else
        replica_ask_for_entries(r);
}
