/* SPDX-License-Identifier: MIT */
#include "replication/election.h"

#include "replication/actions.h"
#include "replication/locations.h"
#include "replication/log.h"
#include "replication/members.h"
#include "replication/requests.h"
#include "replication/role.h"
#include "replication/send.h"

/* Whether the master rejected this node within QUIET_MS. The node then takes part in no election. */
static bool is_refused(const struct replica *r)
{
    return r->refused_ms != 0 && r->now_ms - r->refused_ms < QUIET_MS;
}

/* ---- the poll: does any node see a master? ---- */

void replica_poll_tick(struct replica *r)
{
    if (r->now_ms >= r->poll.next_ms) {
        replica_ask_for_leader(r);
        r->poll.next_ms = r->now_ms + POLL_MS;
    }
    replica_poll_evaluate(r);
}

void replica_answer_leader(struct replica *r, const struct replica_message *message,
                           uint16_t suspected)
{
    if (is_refused(r))
        return;
    struct replica_message *answer = replica_send(r, REPLICA_LEADER_INFO, message->from);
    if (answer->address == NULL)
        answer->address = message->internal;
    struct replica_leader_info *info = &answer->leader_info;
    info->locations = r->locations;
    info->locations_count = replica_locations_list(r, message->from);
    info->role = r->role;
    info->unhealthy = replica_log_is_unhealthy(r);
    info->durable = r->durable;
    info->in_sync = replica_in_sync_own(r);
    if (r->role == REPLICA_MASTER) {
        info->leader = replica_own_leader(r);
    } else if (replica_sees_master(r)) {
        info->leader = replica_own_leader(r);
        if (suspected == r->master.id)
            replica_ping(r); /* test the connection to the suspected master */
    }
}

void replica_receive_leader_query(struct replica *r, const struct replica_message *message)
{
    uint16_t suspect = message->leader_query.suspect;
    if (replica_is_following(r) && suspect == r->master.id)
        replica_role_suspect_silence(r, true);
    replica_answer_leader(r, message, suspect);
}

void replica_receive_leader_info(struct replica *r, const struct replica_message *message)
{
    const struct replica_leader_info *info = &message->leader_info;
    const struct replica_leader *leader = &info->leader;
    bool sees_master = leader->id != 0 && leader->id != r->options.id;
    struct peer *peer = replica_peer_find(r, message->from);
    if (peer != NULL && replica_has_cluster(message->cluster)) {
        peer->answered_ms = r->now_ms;
        peer->role = info->role;
        peer->unhealthy = info->unhealthy;
        peer->has_data = info->durable.seq > 0;
        peer->sees_master = sees_master;
        replica_in_sync_update(&r->poll.in_sync, &info->in_sync);
    }
    for (size_t i = 0; i < info->locations_count; i++)
        replica_location_learn(r, info->locations[i].id, info->locations[i].address);
    if (sees_master)
        replica_location_learn(r, leader->id, leader->address);
    bool is_looking = r->role == REPLICA_LOOKING || r->role == REPLICA_SUSPECTING;
    bool is_above = r->role == REPLICA_MASTER && leader->epoch > r->epoch;
    if (sees_master && (is_looking || is_above))
        replica_ask_to_join(r, leader->id, leader->address, false);
    if (is_looking)
        replica_poll_evaluate(r);
}

static bool is_fresh(const struct replica *r, const struct peer *peer)
{
    return peer->answered_ms >= r->poll.since_ms && peer->answered_ms != 0 &&
           r->now_ms - peer->answered_ms <= FRESH_MS && peer->disconnected_ms == 0;
}

/* Whether this node knows no other member, but has seeds: a seed's answer may show another cluster. */
static bool is_new_here(const struct replica *r)
{
    for (size_t i = 0; i < r->members.count; i++)
        if (r->members.items[i].id != r->options.id && !r->members.items[i].left)
            return false;
    return r->seeds_count > 0;
}

/* Whether each member has answered from which an answer can be expected. */
static bool poll_is_complete(struct replica *r)
{
    if (r->poll.needs_all && is_new_here(r))
        return false;
    for (size_t i = 0; i < r->members.count; i++) {
        const struct replica_member *member = &r->members.items[i];
        const struct peer *peer = replica_peer_find(r, member->id);
        if (peer == NULL || member->left || is_fresh(r, peer))
            continue;
        bool is_gone = peer->disconnected_ms != 0 || member->id == r->poll.suspect;
        if (r->poll.needs_all || !is_gone)
            return false;
    }
    return true;
}

/* Whether a node sees a master, or is about to become one. */
static bool master_is_known(struct replica *r)
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

/* Whether another node has lost the master, too, or the master is silent for so long that none is needed. */
static bool is_loss_confirmed(const struct replica *r)
{
    if (!r->poll.is_silence || r->now_ms - r->master.last_seen_ms > r->options.ping_timeout_ms)
        return true;
    for (size_t i = 0; i < REPLICA_MEMBERS_MAX; i++) {
        const struct peer *peer = &r->peers[i];
        if (peer->id != 0 && peer->id != r->poll.suspect && is_fresh(r, peer) &&
            peer->role == REPLICA_SUSPECTING)
            return true;
    }
    return false;
}

static struct replica_in_sync_set newest_in_sync_set(const struct replica *r)
{
    struct replica_in_sync_set newest = r->poll.in_sync;
    struct replica_in_sync_set own = replica_in_sync_own(r);
    replica_in_sync_update(&newest, &own);
    return newest;
}

static bool may_succeed(struct replica *r)
{
    struct replica_in_sync_set in_sync = newest_in_sync_set(r);
    size_t voters = 0;
    bool has_in_sync = false;
    for (size_t i = 0; i < r->members.count; i++) {
        const struct replica_member *member = &r->members.items[i];
        const struct peer *peer = replica_peer_find(r, member->id);
        bool is_here = member->id == r->options.id || (peer != NULL && is_fresh(r, peer));
        if (member->left || !is_here)
            continue;
        voters += member->voter;
        has_in_sync = has_in_sync || replica_in_sync_has(&in_sync, member->id);
    }
    if (r->options.policy == REPLICA_QUORUM)
        return voters >= replica_voters_count(r) / 2 + 1;
    return r->options.policy == REPLICA_LOCAL || has_in_sync;
}

/* Returns how many of the nodes that answered have their turn before this node. */
static uint64_t rank_of_self(struct replica *r)
{
    uint64_t rank = 0;
    for (size_t i = 0; i < r->members.count; i++) {
        const struct replica_member *member = &r->members.items[i];
        if (member->id == r->options.id)
            break;
        const struct peer *peer = replica_peer_find(r, member->id);
        rank += !member->left && member->voter && peer != NULL && is_fresh(r, peer) &&
                !peer->unhealthy && peer->has_data;
    }
    return rank;
}

static void start_election(struct replica *r)
{
    replica_role_stand(r);
    replica_election_check(r);
}

void replica_poll_evaluate(struct replica *r)
{
    const struct replica_member *self = replica_member_find(r, r->options.id);
    bool is_free = self != NULL && !self->left && self->voter && !replica_log_is_unhealthy(r) &&
                   !is_refused(r) && !master_is_known(r) && is_loss_confirmed(r) &&
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

void replica_renew_epoch(struct replica *r)
{
    if (replica_log_is_unhealthy(r))
        replica_role_step_down(r);
    else
        start_election(r);
}

static void grant(struct replica *r, const struct replica_message *ask)
{
    struct replica_message *answer = replica_send(r, REPLICA_PROMISE, ask->from);
    answer->epoch = ask->epoch;
    answer->promise.granted = true;
    answer->promise.durable = r->durable;
    answer->promise.in_sync = replica_in_sync_own(r);
}

static void refuse(struct replica *r, const struct replica_message *ask)
{
    struct replica_message *answer = replica_send(r, REPLICA_PROMISE, ask->from);
    answer->epoch = ask->epoch;
    if (replica_sees_master(r))
        answer->promise.leader = replica_own_leader(r);
}

void replica_receive_prepare(struct replica *r, const struct replica_message *message)
{
    if (is_refused(r))
        return;
    bool is_again = message->epoch == r->promised && r->role == REPLICA_LOOKING;
    if (is_again) {
        grant(r, message);
        return;
    }
    bool has_other = replica_sees_master(r) && r->master.id != message->from;
    if (message->epoch <= r->promised || has_other || (message->epoch & 0xffffu) != message->from) {
        refuse(r, message);
        return;
    }
    replica_raise_promise(r, message->epoch);
    grant(r, message);
    replica_role_look(r, TURN_MS, false);
}

void replica_receive_promise(struct replica *r, const struct replica_message *message)
{
    struct peer *peer = replica_peer_find(r, message->from);
    if (r->role != REPLICA_CANDIDATE || message->epoch != r->epoch || peer == NULL)
        return;
    const struct replica_promise *promise = &message->promise;
    if (!promise->granted) {
        replica_role_step_down(r);
        if (promise->leader.id != 0 && promise->leader.id != r->options.id)
            replica_ask_to_join(r, promise->leader.id, promise->leader.address, false);
        return;
    }
    peer->promised = true;
    peer->promised_position = promise->durable;
    replica_in_sync_update(&r->poll.in_sync, &promise->in_sync);
    replica_election_check(r);
}

/* ---- deciding ---- */

static bool has_majority(struct replica *r)
{
    size_t count = 0;
    for (size_t i = 0; i < r->members.count; i++) {
        const struct replica_member *member = &r->members.items[i];
        count += member->voter && !member->left && replica_member_has_promised(r, member);
    }
    return count >= replica_voters_count(r) / 2 + 1;
}

static bool has_one_in_sync(struct replica *r)
{
    struct replica_in_sync_set in_sync = newest_in_sync_set(r);
    for (size_t i = 0; i < r->members.count; i++)
        if (replica_member_has_promised(r, &r->members.items[i]) &&
            replica_in_sync_has(&in_sync, r->members.items[i].id))
            return true;
    return false;
}

static bool has_enough(struct replica *r)
{
    if (r->options.policy == REPLICA_QUORUM)
        return has_majority(r);
    return r->options.policy == REPLICA_LOCAL || has_one_in_sync(r);
}

static bool are_all_members_asked(struct replica *r)
{
    for (size_t i = 0; i < r->members.count; i++) {
        const struct replica_member *member = &r->members.items[i];
        const struct peer *peer = replica_peer_find(r, member->id);
        if (peer != NULL && !member->left && !peer->promised && peer->disconnected_ms == 0 &&
            member->id != r->poll.suspect)
            return false;
    }
    return true;
}

void replica_election_check(struct replica *r)
{
    bool is_late = r->now_ms - r->role_since_ms >= PROMISE_WAIT_MS;
    if (!is_late && !are_all_members_asked(r))
        return;
    if (!has_enough(r)) {
        if (is_late)
            replica_role_step_down(r);
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
        replica_role_lead(r);
    else
        replica_role_recover_log(r, best->id, position);
}

void replica_election_tick(struct replica *r)
{
    if (r->now_ms >= r->poll.next_ms)
        replica_ask_for_promises(r);
    replica_election_check(r);
}

void replica_election_log_recovered(struct replica *r)
{
    if (replica_is_member(r) && has_enough(r))
        replica_role_lead(r);
    else
        replica_role_step_down(r);
}
