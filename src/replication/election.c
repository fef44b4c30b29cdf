/* SPDX-License-Identifier: MIT */
/* From "nobody hears a master" to a new epoch. */
#include "replication/replica_internal.h"

#include <string.h>

/* ---- does anybody hear a master? ---- */

static void ask_all(struct replica *r)
{
    ask_everywhere(r);
    r->poll.next_ms = r->now_ms + POLL_MS;
}

void poll_begin(struct replica *r, uint64_t wait_ms, bool needs_all, uint16_t suspected)
{
    r->poll = (struct poll){
        .since_ms = r->now_ms,
        .elect_after_ms = r->now_ms + wait_ms,
        .needs_all = needs_all,
        .suspect = suspected,
    };
    for (size_t i = 0; i < REPLICA_MEMBERS_MAX; i++)
        r->peers[i].answered_ms = 0;
    ask_all(r);
}

void poll_tick(struct replica *r)
{
    if (r->now_ms >= r->poll.next_ms)
        ask_all(r);
    poll_evaluate(r);
}

void send_leader_info(struct replica *r, const struct replica_message *message, uint16_t suspected)
{
    if (is_refused(r))
        return;
    struct replica_message *answer = message_to(r, REPLICA_LEADER_INFO, message->from);
    if (answer->address == NULL)
        answer->address = message->internal;
    struct replica_leader_info *info = &answer->leader_info;
    info->locations = r->locations;
    info->locations_count = locations_list(r, message->from);
    info->role = r->role;
    info->unhealthy = is_unhealthy(r);
    info->durable = r->durable;
    info->in_sync = in_sync_set_own(r);
    if (r->role == REPLICA_MASTER) {
        info->leader = message_own_leader(r);
    } else if (master_is_seen(r)) {
        info->leader = message_own_leader(r);
        if (suspected == r->master.id)
            send_ping(r); /* see for ourselves */
    }
}

void receive_leader_query(struct replica *r, const struct replica_message *message)
{
    send_leader_info(r, message, message->leader_query.suspect);
}

void receive_leader_info(struct replica *r, const struct replica_message *message)
{
    const struct replica_leader_info *info = &message->leader_info;
    const struct replica_leader *leader = &info->leader;
    bool sees_master = leader->id != 0 && leader->id != r->options.id;
    struct peer *peer = peer_of(r, message->from);
    if (peer != NULL && has_cluster(message->cluster)) {
        peer->answered_ms = r->now_ms;
        peer->role = info->role;
        peer->unhealthy = info->unhealthy;
        peer->has_data = info->durable.seq > 0;
        peer->sees_master = sees_master;
        in_sync_set_update(&r->poll.in_sync, &info->in_sync);
    }
    for (size_t i = 0; i < info->locations_count; i++)
        location_learn(r, info->locations[i].id, info->locations[i].address);
    if (sees_master)
        location_learn(r, leader->id, leader->address);
    bool is_looking = r->role == REPLICA_LOOKING || r->role == REPLICA_SUSPECTING;
    bool is_above = r->role == REPLICA_MASTER && leader->epoch > r->epoch;
    if (sees_master && (is_looking || is_above))
        ask_to_join(r, leader->id, leader->address, false);
    if (is_looking)
        poll_evaluate(r);
}

static bool is_fresh(const struct replica *r, const struct peer *peer)
{
    return peer->answered_ms >= r->poll.since_ms && peer->answered_ms != 0 &&
           r->now_ms - peer->answered_ms <= FRESH_MS && peer->disconnected_ms == 0;
}

/* Whether it knows nobody but itself, and was told of somebody: who may tell that it has come to the
 * wrong place. */
static bool is_new_here(const struct replica *r)
{
    for (size_t i = 0; i < r->members.count; i++)
        if (r->members.items[i].id != r->options.id && !r->members.items[i].left)
            return false;
    return r->seeds_count > 0;
}

/* Whether everybody has answered who can be expected to. */
static bool poll_is_complete(struct replica *r)
{
    if (r->poll.needs_all && is_new_here(r))
        return false;
    for (size_t i = 0; i < r->members.count; i++) {
        const struct replica_member *member = &r->members.items[i];
        const struct peer *peer = peer_of(r, member->id);
        if (peer == NULL || member->left || is_fresh(r, peer))
            continue;
        bool is_gone = peer->disconnected_ms != 0 || member->id == r->poll.suspect;
        if (r->poll.needs_all || !is_gone)
            return false;
    }
    return true;
}

/* Whether somebody has a master, or is about to be one. */
static bool somebody_is_master(struct replica *r)
{
    for (size_t i = 0; i < REPLICA_MEMBERS_MAX; i++) {
        const struct peer *peer = &r->peers[i];
        if (peer->id == 0 || !is_fresh(r, peer))
            continue;
        if (peer->sees_master) {
            if (r->poll.next_ms > r->now_ms + POLL_MS / 4)
                r->poll.next_ms = r->now_ms + POLL_MS / 4;
            return true;
        }
        if (peer->role == REPLICA_CANDIDATE || peer->role == REPLICA_RECOVERING_LOG)
            return true;
    }
    return false;
}

static struct replica_in_sync_set newest_in_sync_set(const struct replica *r)
{
    struct replica_in_sync_set newest = r->poll.in_sync;
    struct replica_in_sync_set own = in_sync_set_own(r);
    in_sync_set_update(&newest, &own);
    return newest;
}

static bool may_succeed(struct replica *r)
{
    struct replica_in_sync_set in_sync = newest_in_sync_set(r);
    size_t voters = 0;
    bool has_in_sync = false;
    for (size_t i = 0; i < r->members.count; i++) {
        const struct replica_member *member = &r->members.items[i];
        const struct peer *peer = peer_of(r, member->id);
        bool is_here = member->id == r->options.id || (peer != NULL && is_fresh(r, peer));
        if (member->left || !is_here)
            continue;
        voters += member->voter;
        has_in_sync = has_in_sync || in_sync_set_has(&in_sync, member->id);
    }
    if (r->options.policy == REPLICA_QUORUM)
        return voters >= voters_count(r) / 2 + 1;
    return r->options.policy == REPLICA_LOCAL || has_in_sync;
}

/* How many have their turn before us. */
static uint64_t rank_of_self(struct replica *r)
{
    uint64_t rank = 0;
    for (size_t i = 0; i < r->members.count; i++) {
        const struct replica_member *member = &r->members.items[i];
        if (member->id == r->options.id)
            break;
        const struct peer *peer = peer_of(r, member->id);
        rank += !member->left && member->voter && peer != NULL && is_fresh(r, peer) &&
                !peer->unhealthy && peer->has_data;
    }
    return rank;
}

void poll_evaluate(struct replica *r)
{
    const struct replica_member *self = member_find(r, r->options.id);
    bool is_free = self != NULL && !self->left && self->voter && !is_unhealthy(r) &&
                   !is_refused(r) && !somebody_is_master(r) &&
                   (poll_is_complete(r) || r->now_ms >= r->poll.elect_after_ms) && may_succeed(r);
    if (!is_free) {
        r->poll.turn_since_ms = 0;
        return;
    }
    if (r->poll.turn_since_ms == 0)
        r->poll.turn_since_ms = r->now_ms;
    if (r->now_ms - r->poll.turn_since_ms >= rank_of_self(r) * TURN_MS)
        start_election(r);
}

/* ---- promises ---- */

uint64_t next_epoch(const struct replica *r)
{
    uint64_t highest = r->highest > r->promised ? r->highest : r->promised;
    return ((highest >> 16) + 1) << 16 | r->options.id;
}

static void ask_for_promises(struct replica *r)
{
    for (size_t i = 0; i < r->members.count; i++) {
        const struct replica_member *member = &r->members.items[i];
        const struct peer *peer = peer_of(r, member->id);
        if (peer == NULL || member->left || peer->promised || peer->refused)
            continue;
        message_to(r, REPLICA_PREPARE, member->id)->epoch = r->epoch;
    }
    r->poll.next_ms = r->now_ms + POLL_MS;
}

void start_election(struct replica *r)
{
    r->epoch = next_epoch(r);
    for (size_t i = 0; i < REPLICA_MEMBERS_MAX; i++) {
        r->peers[i].promised = false;
        r->peers[i].refused = false;
    }
    if (r->role == REPLICA_MASTER)
        r->poll = (struct poll){0}; /* being the master again, above somebody's promise */
    promise(r, r->epoch);
    become(r, REPLICA_CANDIDATE);
    ask_for_promises(r);
    election_check(r);
}

static void grant(struct replica *r, const struct replica_message *ask)
{
    struct replica_message *answer = message_to(r, REPLICA_PROMISE, ask->from);
    answer->epoch = ask->epoch;
    answer->promise.granted = true;
    answer->promise.durable = r->durable;
    answer->promise.in_sync = in_sync_set_own(r);
}

static void refuse(struct replica *r, const struct replica_message *ask)
{
    struct replica_message *answer = message_to(r, REPLICA_PROMISE, ask->from);
    answer->epoch = ask->epoch;
    if (master_is_seen(r))
        answer->promise.leader = message_own_leader(r);
}

void receive_prepare(struct replica *r, const struct replica_message *message)
{
    if (is_refused(r))
        return;
    bool is_again = message->epoch == r->promised && r->role == REPLICA_LOOKING;
    if (is_again) {
        grant(r, message);
        return;
    }
    bool has_other = master_is_seen(r) && r->master.id != message->from;
    if (message->epoch <= r->promised || has_other || (message->epoch & 0xffffu) != message->from) {
        refuse(r, message);
        return;
    }
    promise(r, message->epoch);
    become(r, REPLICA_LOOKING);
    grant(r, message);
    poll_begin(r, TURN_MS, false, 0);
}

void receive_promise(struct replica *r, const struct replica_message *message)
{
    struct peer *peer = peer_of(r, message->from);
    if (r->role != REPLICA_CANDIDATE || message->epoch != r->epoch || peer == NULL)
        return;
    const struct replica_promise *promise = &message->promise;
    if (!promise->granted) {
        step_down(r);
        if (promise->leader.id != 0 && promise->leader.id != r->options.id)
            ask_to_join(r, promise->leader.id, promise->leader.address, false);
        return;
    }
    peer->promised = true;
    peer->promised_position = promise->durable;
    in_sync_set_update(&r->poll.in_sync, &promise->in_sync);
    election_check(r);
}

/* ---- deciding ---- */

static bool has_promise(struct replica *r, const struct replica_member *member)
{
    const struct peer *peer = peer_of(r, member->id);
    return member->id == r->options.id || (peer != NULL && peer->promised);
}

static bool has_majority(struct replica *r)
{
    size_t count = 0;
    for (size_t i = 0; i < r->members.count; i++) {
        const struct replica_member *member = &r->members.items[i];
        count += member->voter && !member->left && has_promise(r, member);
    }
    return count >= voters_count(r) / 2 + 1;
}

static bool has_one_in_sync(struct replica *r)
{
    struct replica_in_sync_set in_sync = newest_in_sync_set(r);
    for (size_t i = 0; i < r->members.count; i++)
        if (has_promise(r, &r->members.items[i]) &&
            in_sync_set_has(&in_sync, r->members.items[i].id))
            return true;
    return false;
}

static bool has_enough(struct replica *r)
{
    if (r->options.policy == REPLICA_QUORUM)
        return has_majority(r);
    return r->options.policy == REPLICA_LOCAL || has_one_in_sync(r);
}

static bool is_everybody_asked(struct replica *r)
{
    for (size_t i = 0; i < r->members.count; i++) {
        const struct replica_member *member = &r->members.items[i];
        const struct peer *peer = peer_of(r, member->id);
        if (peer != NULL && !member->left && !peer->promised && peer->disconnected_ms == 0 &&
            member->id != r->poll.suspect)
            return false;
    }
    return true;
}

void election_check(struct replica *r)
{
    bool is_late = r->now_ms - r->role_since_ms >= PROMISE_WAIT_MS;
    if (!is_late && !is_everybody_asked(r))
        return;
    if (!has_enough(r)) {
        if (is_late)
            step_down(r);
        return;
    }
    const struct peer *best = NULL;
    struct log_position position = r->last;
    for (size_t i = 0; i < REPLICA_MEMBERS_MAX; i++) {
        const struct peer *peer = &r->peers[i];
        if (peer->id != 0 && peer->promised &&
            log_position_compare(peer->promised_position, position) > 0) {
            best = peer;
            position = peer->promised_position;
        }
    }
    if (best == NULL)
        become_master(r);
    else
        recover_log_from(r, best->id, position);
}

void election_tick(struct replica *r)
{
    if (r->now_ms >= r->poll.next_ms)
        ask_for_promises(r);
    election_check(r);
}

/* The best log is here. It may name other members than ours did. */
void log_recovered(struct replica *r)
{
    if (is_member(r) && has_enough(r))
        become_master(r);
    else
        step_down(r);
}

/* ---- being the master ---- */

static void begin_with_members(struct replica *r)
{
    /* Also where it was known before: it may have moved. */
    struct replica_member *self = members_add(r, r->options.id, r->internal, r->client);
    self->level = r->options.level;
    for (size_t i = 0; i < r->next_members.count; i++) {
        struct replica_member *member = &r->next_members.items[i];
        member->in_sync = member->in_sync && has_promise(r, member);
    }
    self->in_sync = true;
    self->voter = true;
}

void become_master(struct replica *r)
{
    r->master = (struct leader){.id = r->options.id, .epoch = r->epoch, .last_seen_ms = r->now_ms};
    memcpy(r->master.address, r->internal, sizeof r->master.address);
    r->catch_up = (struct catch_up){0};
    r->merged_orphan = r->merged_seq = 0;
    become(r, REPLICA_MASTER);
    for (size_t i = 0; i < REPLICA_MEMBERS_MAX; i++) {
        r->peers[i].last_seen_ms = r->now_ms;
        r->peers[i].progress_ms = r->now_ms;
    }
    r->epoch_first_seq = r->last.seq + 1;
    begin_with_members(r);
    members_flush(r);
    for (size_t i = 0; i < r->members.count; i++)
        if (r->members.items[i].id != r->options.id && !r->members.items[i].left)
            announce_to(r, r->members.items[i].id);
    r->announce_ms = r->now_ms;
}
