/* SPDX-License-Identifier: MIT */
#include "replication/commit.h"

#include "replication/actions.h"
#include "replication/log.h"
#include "replication/members.h"
#include "replication/role.h"

static uint64_t durable_on(struct replica *r, const struct replica_member *member)
{
    if (member->id == r->options.id)
        return r->durable.seq;
    const struct peer *peer = replica_peer_find(r, member->id);
    return peer != NULL && peer->follows ? peer->acked.seq : 0;
}

/* Returns the seq that is durable on this node and all members in sync. A master that leaves does not
 * count: without another member in sync it commits nothing. */
static uint64_t durable_on_all(struct replica *r)
{
    uint64_t seq = r->durable.seq;
    bool is_kept = false;
    for (size_t i = 0; i < r->members.count; i++) {
        const struct replica_member *member = &r->members.items[i];
        uint64_t there = durable_on(r, member);
        is_kept = is_kept || (member->in_sync && !member->left);
        if (member->in_sync && !member->left && there < seq)
            seq = there;
    }
    return is_kept ? seq : 0;
}

static uint64_t durable_on_majority(struct replica *r)
{
    uint64_t best = 0;
    size_t majority = replica_voters_count(r) / 2 + 1;
    for (size_t i = 0; i < r->members.count; i++) {
        uint64_t seq = durable_on(r, &r->members.items[i]);
        size_t count = 0;
        for (size_t k = 0; k < r->members.count; k++) {
            const struct replica_member *voter = &r->members.items[k];
            count += voter->voter && !voter->left && durable_on(r, voter) >= seq;
        }
        if (count >= majority && seq > best)
            best = seq;
    }
    return best;
}

static uint64_t durable_enough(struct replica *r)
{
    switch (r->options.policy) {
    case REPLICA_QUORUM:
        return durable_on_majority(r);
    case REPLICA_LOCAL:
        return replica_is_member(r) ? r->durable.seq : durable_on_all(r);
    default: {
        /* The list that decides must itself be durable on all of its members in sync. */
        uint64_t seq = durable_on_all(r);
        return seq >= r->members_position.seq ? seq : 0;
    }
    }
}

static void commit_to(struct replica *r, uint64_t seq)
{
    if (seq <= r->committed)
        return;
    r->committed = seq;
    replica_act(r, REPLICA_DO_COMMITTED)->committed = seq;
}

void replica_commit_advance(struct replica *r)
{
    if (r->role != REPLICA_MASTER)
        return;
    uint64_t seq = durable_enough(r);
    if (seq < r->epoch_first_seq)
        return;
    commit_to(r, seq);
}

void replica_commit_learn(struct replica *r, uint64_t seq)
{
    if (r->follows)
        commit_to(r, seq < r->last.seq ? seq : r->last.seq);
}

/* ---- who is in sync ---- */

bool replica_may_change_voters(const struct replica *r)
{
    return r->options.policy != REPLICA_QUORUM ||
           (r->committed >= r->members_position.seq && !r->members_changed);
}

static void in_sync_add(struct replica *r, const struct peer *peer)
{
    const struct replica_member *member = replica_member_find(r, peer->id);
    if (member == NULL || member->left || member->in_sync || !peer->follows ||
        peer->acked.seq < r->committed || peer->acked.seq < r->epoch_first_seq ||
        (!member->voter && !replica_may_change_voters(r)))
        return;
    struct replica_member *edit = replica_members_edit(r, peer->id);
    edit->in_sync = true;
    edit->voter = true;
}

void replica_receive_ack(struct replica *r, const struct replica_message *message)
{
    struct peer *peer = replica_peer_find(r, message->from);
    struct log_position durable =
        message->kind == REPLICA_PING ? message->ping.durable : message->ack.durable;
    if (r->role != REPLICA_MASTER || message->epoch != r->epoch || peer == NULL ||
        !replica_log_has(r, durable))
        return;
    peer->follows = true; /* a node acks only if its log is a prefix of its master's */
    if (durable.seq > peer->acked.seq) {
        peer->acked = durable;
        peer->progress_ms = r->now_ms;
    }
    replica_commit_advance(r);
    in_sync_add(r, peer);
}

void replica_in_sync_remove(struct replica *r, uint16_t id)
{
    if (replica_member_is_in_sync(r, id) && id != r->options.id)
        replica_members_edit(r, id)->in_sync = false;
}

static bool is_silent(const struct replica *r, const struct peer *peer)
{
    if (r->now_ms - peer->last_seen_ms > r->options.ack_timeout_ms)
        return true;
    return peer->acked.seq < r->last.seq &&
           r->now_ms - peer->progress_ms > r->options.ack_timeout_ms;
}

static bool sees_majority(struct replica *r)
{
    size_t count = 0;
    for (size_t i = 0; i < r->members.count; i++) {
        const struct replica_member *member = &r->members.items[i];
        const struct peer *peer = replica_peer_find(r, member->id);
        bool is_heard = member->id == r->options.id ||
                        (peer != NULL && peer->disconnected_ms == 0 &&
                         r->now_ms - peer->last_seen_ms <= r->options.ack_timeout_ms);
        count += member->voter && !member->left && is_heard;
    }
    return count >= replica_voters_count(r) / 2 + 1;
}

/* Whether another member in sync could be the master. While the own disk takes longer than usual, that is a
 * member whose disk has the entry for which the own disk is waiting: the others may wait as well. */
static bool has_successor(struct replica *r)
{
    uint64_t least_seq = replica_log_is_hung(r) ? 0 : r->durable.seq + 1;
    for (size_t i = 0; i < r->members.count; i++) {
        const struct replica_member *member = &r->members.items[i];
        if (member->id != r->options.id && member->in_sync && !member->left &&
            durable_on(r, member) >= least_seq)
            return true;
    }
    return false;
}

void replica_commit_tick(struct replica *r)
{
    bool is_replaceable = replica_log_is_unhealthy(r) && has_successor(r);
    if (is_replaceable || (r->options.policy == REPLICA_QUORUM && !sees_majority(r))) {
        replica_role_step_down(r);
        return;
    }
    for (size_t i = 0; i < REPLICA_MEMBERS_MAX; i++) {
        const struct peer *peer = &r->peers[i];
        if (peer->id != 0 && is_silent(r, peer))
            replica_in_sync_remove(r, peer->id);
    }
}

/* ---- which entries a member needs ---- */

/* Whether the log is kept for the member. A node that was never in sync is not elected, has no entries of
 * its own, and gets a snapshot. */
static bool is_needy(const struct replica *r, const struct replica_member *member)
{
    return member->id != r->options.id && member->voter && !member->left;
}

struct log_position replica_acked(const struct replica *r, uint16_t node)
{
    for (size_t i = 0; i < REPLICA_MEMBERS_MAX; i++)
        if (r->peers[i].id == node && node != 0)
            return r->peers[i].acked;
    return (struct log_position){0, 0};
}

uint64_t replica_needed_seq(const struct replica *r)
{
    if (r->role != REPLICA_MASTER)
        return r->needed < r->committed ? r->needed : r->committed;
    /* A committed entry may be durable on other nodes only, and this node may lose it. */
    uint64_t needed = r->committed < r->durable.seq ? r->committed : r->durable.seq;
    for (size_t i = 0; i < r->members.count; i++) {
        const struct replica_member *member = &r->members.items[i];
        uint64_t acked = replica_acked(r, member->id).seq;
        if (is_needy(r, member) && acked < needed)
            needed = acked;
    }
    return needed;
}

uint16_t replica_slowest_member(const struct replica *r)
{
    uint16_t slowest = 0;
    uint64_t least = r->committed;
    for (size_t i = 0; i < r->members.count; i++) {
        const struct replica_member *member = &r->members.items[i];
        uint64_t acked = replica_acked(r, member->id).seq;
        if (!is_needy(r, member) || acked >= least)
            continue;
        slowest = member->id;
        least = acked;
    }
    return slowest;
}

uint64_t replica_joining_seq(const struct replica *r)
{
    uint64_t least = UINT64_MAX;
    for (size_t i = 0; i < REPLICA_MEMBERS_MAX; i++) {
        const struct peer *peer = &r->peers[i];
        const struct replica_member *member = replica_member_find(r, peer->id);
        bool is_joining = member != NULL && !member->voter && !member->left && peer->follows &&
                          peer->acked.seq > 0 &&
                          r->now_ms - peer->last_seen_ms <= r->options.ack_timeout_ms;
        if (is_joining && peer->acked.seq < least)
            least = peer->acked.seq;
    }
    return least;
}
