/* SPDX-License-Identifier: MIT */
/* How a node comes to have another's log: a slave its master's, a candidate the best one's. */
#include "replication/replica_internal.h"

#include <string.h>

/* ---- asking ---- */

static struct replica_join own_join(const struct replica *r)
{
    return (struct replica_join){.client = r->client,
                                 .level = r->options.level,
                                 .last = r->last,
                                 .avoid = r->avoid,
                                 .epochs = log_epochs(r)};
}

void ask_to_join(struct replica *r, uint16_t id, const char *address, bool now)
{
    if (!now && r->join_target == id && r->now_ms - r->join_ms < RESEND_MS)
        return;
    r->join_target = id;
    r->join_ms = r->now_ms;
    struct replica_message *join = message_to(r, REPLICA_JOIN, id);
    if (join->address == NULL)
        join->address = address;
    join->join = own_join(r);
}

static void request_recovery(struct replica *r)
{
    r->catch_up.asked_ms = r->now_ms;
    struct replica_message *join = message_to(r, REPLICA_JOIN, r->catch_up.source);
    join->epoch = r->epoch;
    join->join = own_join(r);
    join->join.recovering_log = true;
}

void recover_log_from(struct replica *r, uint16_t id, struct log_position want)
{
    become(r, REPLICA_RECOVERING_LOG);
    r->catch_up = (struct catch_up){.source = id, .want = want, .progress_ms = r->now_ms};
    request_recovery(r);
}

static void ask_for_chunk(struct replica *r)
{
    struct catch_up *catch_up = &r->catch_up;
    catch_up->fetching = true;
    catch_up->asked_ms = r->now_ms;
    struct replica_message *ask = message_to(r, REPLICA_SNAPSHOT_REQUEST, catch_up->source);
    bool is_recovering_log = r->role == REPLICA_RECOVERING_LOG;
    ask->epoch = is_recovering_log ? r->epoch : r->master.epoch;
    ask->snapshot_request = (struct replica_snapshot_request){.recovering_log = is_recovering_log,
                                                              .snapshot = catch_up->snapshot_id,
                                                              .offset = catch_up->offset,
                                                              .common = catch_up->common,
                                                              .avoid = r->avoid};
}

/* ---- answering ---- */

static bool is_alive(struct replica *r, uint16_t id)
{
    const struct peer *peer = peer_of(r, id);
    return peer != NULL && peer_is_alive(r, peer);
}

/* A member may come back at the address of another one that is gone; a new one may not, or that one
 * has none to come back to. */
static enum replica_rejection refusal_of(struct replica *r, const struct replica_message *join)
{
    bool is_known = member_find(r, join->from) != NULL;
    if (strcmp(join->internal, r->internal) == 0)
        return REPLICA_REJECTED_ADDRESS;
    for (size_t i = 0; i < r->members.count; i++) {
        const struct replica_member *member = &r->members.items[i];
        bool is_self = member->id == join->from;
        if (is_self && member->left)
            return REPLICA_REJECTED_REMOVED;
        if (member->left || member->id == r->options.id)
            continue;
        bool is_there = strcmp(named_by(r, member->id), join->internal) == 0;
        if (is_self && !is_there && is_alive(r, member->id))
            return REPLICA_REJECTED_ID;
        if (!is_self && is_there && (!is_known || is_alive(r, member->id)))
            return REPLICA_REJECTED_ADDRESS;
    }
    if (!is_known && r->members.count == REPLICA_MEMBERS_MAX)
        return REPLICA_REJECTED_FULL;
    return 0;
}

/* A node that has less than it acked in this epoch has a new disk, so it is no longer in sync. */
static void forget_lost_data(struct replica *r, const struct replica_message *join)
{
    struct peer *peer = peer_of(r, join->from);
    if (peer == NULL || join->join.last.seq >= peer->acked.seq)
        return;
    peer->acked = (struct log_position){0, 0};
    in_sync_leave(r, join->from);
    members_flush(r);
}

/* A member that returns without data counts in no majority before it has its data again: the master
 * withdraws its vote and its place in the in-sync set. False: that is not committed yet. */
static bool is_vote_withdrawn(struct replica *r, const struct replica_message *join)
{
    const struct replica_member *member = member_find(r, join->from);
    if (has_cluster(join->cluster) || member == NULL)
        return true;
    if ((member->voter || member->in_sync) && may_change_voters(r)) {
        struct replica_member *edit = members_edit(r, join->from);
        edit->in_sync = false;
        edit->voter = false;
        members_flush(r);
    }
    member = member_find(r, join->from);
    return !member->voter && !member->in_sync && !r->members_changed &&
           r->committed >= r->members_position.seq;
}

static void register_member(struct replica *r, const struct replica_message *join)
{
    const struct replica_member *member = member_find(r, join->from);
    if (member != NULL && strcmp(member->internal, join->internal) == 0 &&
        strcmp(member->client, join->join.client) == 0 && member->level == join->join.level)
        return;
    members_add(r, join->from, join->internal, join->join.client)->level = join->join.level;
    members_flush(r);
}

/* Old lists, read one after the other, would have a member that lost its data believe that it is in
 * sync: it gets the newest one first, with a copy. */
static enum replica_answer answer_of(const struct replica *r, const struct replica_join *join,
                                     struct log_position common, bool was_member)
{
    if (was_member && join->last.seq == 0)
        return REPLICA_SNAPSHOT;
    if (log_position_compare(common, join->last) != 0)
        return REPLICA_DIVERGED;
    bool is_avoided = join->avoid.seq > common.seq && log_has(r, join->avoid);
    return r->first_seq > common.seq + 1 || is_avoided ? REPLICA_SNAPSHOT : REPLICA_DELTAS;
}

static enum replica_answer answer_join(struct replica *r, const struct replica_message *message,
                                       bool was_member)
{
    const struct replica_join *join = &message->join;
    struct log_position common =
        epoch_history_common(join->epochs, join->last.seq, log_epochs(r), r->last.seq);
    struct replica_message *reply = message_to(r, REPLICA_JOIN_REPLY, message->from);
    if (reply->address == NULL)
        reply->address = message->internal;
    reply->epoch = join->recovering_log ? message->epoch : r->epoch;
    struct replica_join_reply *joined = &reply->join_reply;
    joined->recovering_log = join->recovering_log;
    if (!join->recovering_log)
        joined->leader = message_own_leader(r);
    joined->answer = answer_of(r, join, common, was_member);
    joined->asked = join->last;
    joined->common = common;
    joined->last = r->last;
    joined->committed = r->committed;
    return joined->answer;
}

void receive_join(struct replica *r, const struct replica_message *message)
{
    if (message->join.recovering_log) {
        if (message->epoch == r->promised && r->role != REPLICA_MASTER)
            (void)answer_join(r, message, false);
        return;
    }
    if (r->role != REPLICA_MASTER)
        return; /* it finds out whom we follow by asking */
    enum replica_rejection refusal = refusal_of(r, message);
    bool is_list_committed = !r->members_changed && r->committed >= r->members_position.seq;
    if (refusal == REPLICA_REJECTED_REMOVED && !is_list_committed)
        return; /* it would be gone for good, and another master may never hear of its leaving */
    if (refusal != 0) {
        struct replica_message *refused = message_to(r, REPLICA_JOIN_REJECTED, message->from);
        refused->address = message->internal;
        refused->join_rejected.rejection = refusal;
        refused->epoch = r->epoch;
        return;
    }
    if (message->promised > r->epoch) {
        /* A stranger has no promise that we must mind. */
        if (member_find(r, message->from) != NULL)
            renew_epoch(r);
        return;
    }
    forget_lost_data(r, message);
    if (!is_vote_withdrawn(r, message))
        return;
    bool was_member = member_find(r, message->from) != NULL;
    register_member(r, message);
    struct peer *peer = peer_of(r, message->from);
    ASSERT(peer != NULL);
    peer->follows = answer_join(r, message, was_member) == REPLICA_DELTAS;
    peer->last_seen_ms = r->now_ms;
    peer->spoke_ms = r->now_ms == 0 ? 1 : r->now_ms;
    peer->disconnected_ms = 0;
    /* One in sync that joins again and again (its disk is full) must not be waited for for ever. */
    if (!member_is_in_sync(r, message->from))
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
        ask_for_chunk(r);
    else if (r->last.seq < want.seq)
        send_fetch(r);
    else
        caught_up(r);
}

void caught_up(struct replica *r)
{
    r->catch_up = (struct catch_up){0};
    if (r->role == REPLICA_RECOVERING_LOG)
        log_recovered(r);
    else
        update_follower_role(r);
}

static void follow(struct replica *r, const struct replica_message *message)
{
    const struct replica_join_reply *joined = &message->join_reply;
    bool is_new = memcmp(r->cluster, message->cluster, sizeof r->cluster) != 0;
    memcpy(r->cluster, message->cluster, sizeof r->cluster);
    if (message->epoch > r->promised)
        promise(r, message->epoch);
    else if (is_new)
        persist(r);
    struct leader *master = &r->master;
    const struct replica_member *member = member_find(r, message->from);
    master->id = message->from;
    master->epoch = message->epoch;
    master->last_seen_ms = r->now_ms;
    r->merged_orphan = r->merged_seq = 0;
    const char *address = joined->leader.address;
    if (address_is_sound(address)) /* its list may be old, or have nobody yet */
        memcpy(master->address, address, strlen(address) + 1);
    else if (member != NULL)
        memcpy(master->address, member->internal, sizeof master->address);
    r->follows = joined->answer == REPLICA_DELTAS;
    if (r->role == REPLICA_JOINING)
        tell_role(r);
    become(r, REPLICA_JOINING);
    if (r->follows)
        commit_learn(r, joined->committed);
    begin_catch_up(r, message->from, joined);
    send_ack(r);
    send_ping(r);
}

void receive_join_reply(struct replica *r, const struct replica_message *message)
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
    bool is_known =
        is_following(r) && r->master.id == message->from && r->master.epoch == message->epoch;
    if (is_known && (r->follows || r->catch_up.snapshot))
        return; /* asked twice */
    if (r->role == REPLICA_MASTER || r->role == REPLICA_CANDIDATE ||
        r->role == REPLICA_RECOVERING_LOG) {
        if (message->epoch <= r->epoch)
            return;
        step_down(r);
    }
    if (log_position_compare(joined->asked, r->last) != 0) {
        ask_to_join(r, message->from, NULL, true);
        return;
    }
    follow(r, message);
}

/* Only a node without data ends because of what it is told, but for one that has left. */
void refused(struct replica *r, const struct replica_message *message)
{
    enum replica_rejection rejection = message->join_rejected.rejection;
    bool has_left = rejection == REPLICA_REJECTED_REMOVED;
    if (!has_left && has_cluster(r->cluster)) {
        r->refused_ms = r->now_ms == 0 ? 1 : r->now_ms;
        tell_news(r, REPLICA_NODE_REJECTED, message, NULL)->report.rejection = rejection;
        return;
    }
    act(r, REPLICA_DO_EXIT)->rejection = rejection;
    if (has_left)
        become(r, REPLICA_REMOVED);
}

void receive_join_rejected(struct replica *r, const struct replica_message *message)
{
    /* A master believes it of a higher epoch only: the others have gone on without it. */
    enum replica_rejection rejection = message->join_rejected.rejection;
    if (rejection == REPLICA_REJECTED_CLUSTER || message->from != r->join_target ||
        (r->role == REPLICA_MASTER &&
         (message->epoch <= r->epoch || rejection != REPLICA_REJECTED_REMOVED)))
        return;
    refused(r, message);
}

/* ---- snapshots ---- */

void receive_snapshot_request(struct replica *r, const struct replica_message *message)
{
    const struct replica_snapshot_request *request = &message->snapshot_request;
    bool is_slave = r->role == REPLICA_MASTER && message->epoch == r->epoch;
    bool is_candidate = request->recovering_log && message->epoch == r->promised;
    if (!is_slave && !is_candidate)
        return;
    struct replica_message *answer =
        message_with(r, REPLICA_DO_SEND_CHUNK, REPLICA_SNAPSHOT_CHUNK, message->from);
    answer->epoch = message->epoch;
    struct replica_snapshot_chunk *chunk = &answer->snapshot_chunk;
    chunk->recovering_log = request->recovering_log;
    chunk->snapshot = request->snapshot;
    chunk->common = request->common;
    if (log_has(r, request->avoid)) /* or nobody gets it from here */
        chunk->avoid = request->avoid;
    chunk->offset = request->offset;
}

void receive_snapshot_chunk(struct replica *r, const struct replica_message *message)
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
        return; /* it would take away what we have, and what may count on us */
    if (chunk->last.seq < chunk->avoid.seq)
        return; /* the entry that is avoided would come as a batch */
    bool is_new = chunk->offset == 0 && chunk->snapshot != catch_up->snapshot_id;
    if (!is_new && (chunk->snapshot != catch_up->snapshot_id || chunk->offset != catch_up->offset))
        return;
    catch_up->snapshot_id = chunk->snapshot;
    catch_up->offset = chunk->offset + chunk->size;
    catch_up->progress_ms = r->now_ms;
    if (catch_up->is_whole && !is_new)
        return; /* nothing: it was only asked for so that whoever has it keeps it */
    act(r, REPLICA_DO_STORE_CHUNK)->received = message;
    catch_up->is_whole = catch_up->offset >= chunk->total;
    if (catch_up->is_whole)
        act(r, REPLICA_DO_INSTALL)->install = catch_up->common;
    else
        ask_for_chunk(r);
}

void checked(struct replica *r)
{
    if (r->catch_up.is_whole)
        act(r, REPLICA_DO_INSTALL)->install = r->catch_up.common;
}

void installed(struct replica *r, const struct replica_state *state)
{
    uint64_t common = r->catch_up.common.seq;
    log_load(r, state);
    r->needed = 0;
    if (r->committed > common)
        r->committed = common;
    if (r->last.epoch > r->promised) { /* it is from after what its sender said: of another epoch */
        promise(r, r->last.epoch);
        step_down(r);
        return;
    }
    if (r->role == REPLICA_RECOVERING_LOG) {
        struct catch_up *catch_up = &r->catch_up;
        *catch_up = (struct catch_up){
            .source = catch_up->source, .want = catch_up->want, .progress_ms = r->now_ms};
        if (r->last.seq >= catch_up->want.seq)
            caught_up(r);
        else
            request_recovery(r);
        return;
    }
    r->catch_up = (struct catch_up){0};
    if (is_following(r))
        ask_to_join(r, r->master.id, NULL, true);
}

/* ---- what is not answered is asked again ---- */

void join_tick(struct replica *r)
{
    struct catch_up *catch_up = &r->catch_up;
    if (r->role == REPLICA_RECOVERING_LOG && r->now_ms - catch_up->progress_ms > RECOVERY_WAIT_MS) {
        step_down(r);
        return;
    }
    if (is_following(r) && !r->follows && catch_up->source == 0) {
        ask_to_join(r, r->master.id, NULL, false);
        return;
    }
    if (catch_up->source == 0 || r->now_ms - catch_up->asked_ms < RESEND_MS)
        return;
    if (catch_up->snapshot)
        ask_for_chunk(r);
    else if (r->role == REPLICA_RECOVERING_LOG && !catch_up->fetching)
        request_recovery(r);
    else
        send_fetch(r);
}
