/* SPDX-License-Identifier: MIT */
#include "replication/heal.h"

#include "replication/actions.h"
#include "replication/members.h"
#include "replication/requests.h"
#include "replication/role.h"
#include "replication/send.h"

/* ---- probing ---- */

static bool is_lost(const struct replica *r, const struct peer *peer)
{
    return peer->disconnected_ms != 0 ||
           r->now_ms - peer->last_seen_ms > r->options.ping_timeout_ms;
}

/* A lost member may have another address by now, and be the master there. The seeds of a blank cluster may
 * belong to an older cluster that returns. */
static void look_for_lost(struct replica *r)
{
    if (r->now_ms - r->probe_ms < PROBE_MS)
        return;
    r->probe_ms = r->now_ms;
    if (r->is_blank && r->seeds_count > 0) {
        replica_ask_for_leader(r);
        return;
    }
    for (size_t i = 0; i < r->members.count; i++) {
        const struct peer *peer = replica_peer_find(r, r->members.items[i].id);
        if (peer == NULL || r->members.items[i].left || !is_lost(r, peer))
            continue;
        replica_ask_for_leader(r);
        return;
    }
}

static void probe(struct replica *r)
{
    look_for_lost(r);
    if (r->now_ms - r->announce_ms < ANNOUNCE_MS)
        return;
    r->announce_ms = r->now_ms;
    for (size_t i = 0; i < r->members.count; i++) {
        const struct peer *peer = replica_peer_find(r, r->members.items[i].id);
        if (peer != NULL && !r->members.items[i].left &&
            (!peer->follows || r->now_ms - peer->last_seen_ms > r->options.ping_timeout_ms))
            replica_announce(r, peer->id);
    }
}

/* The sender is a master. This node leaves its own master only after the sender has answered a JOIN: a
 * master that sends but receives nothing would otherwise stop the whole cluster. */
void replica_receive_announce(struct replica *r, const struct replica_message *message)
{
    bool is_mine = replica_is_following(r) && r->master.id == message->from &&
                   r->master.epoch == message->epoch;
    if (is_mine) {
        replica_role_note_master(r);
        if (!r->follows && r->catch_up.source == 0)
            replica_ask_to_join(r, message->from, message->internal, false);
        return;
    }
    if (r->role == REPLICA_MASTER && message->epoch < r->epoch) {
        replica_announce(r, message->from);
        return;
    }
    bool is_below =
        message->epoch < r->promised ||
        (replica_is_following(r) && replica_sees_master(r) && message->epoch < r->master.epoch);
    if (!is_below || r->role == REPLICA_LOOKING) {
        replica_ask_to_join(
            r, message->from, message->internal,
            false); /* a master below this node's promise learns of it by the JOIN */
        return;
    }
    if (!replica_sees_master(r) || r->master.epoch < message->epoch)
        return;
    replica_send(r, REPLICA_LEADER_INFO, message->from)->leader_info =
        (struct replica_leader_info){.role = r->role,
                                     .durable = r->durable,
                                     .leader = replica_own_leader(r),
                                     .in_sync = replica_in_sync_own(r)};
}

/* ---- orphans ---- */

/* Whether the master has merged all orphans of this node. */
static bool are_all_merged(const struct replica *r)
{
    return r->merged_orphan >= r->last_orphan;
}

static void offer_orphans(struct replica *r)
{
    r->orphan_transfer_ms = r->now_ms + 2 * RESEND_MS;
    struct replica_message *message =
        replica_send_with(r, REPLICA_DO_SEND_ORPHANS, REPLICA_ORPHAN_TRANSFER, r->master.id);
    message->epoch = r->master.epoch;
    message->orphan_transfer.orphan = r->merged_orphan;
}

static void merge_own_orphans(struct replica *r)
{
    r->orphan_transfer_ms = r->now_ms + 2 * RESEND_MS;
    replica_act(r, REPLICA_DO_MERGE_ORPHANS)->merge.orphan = r->merged_orphan;
}

/* Drops merged orphans when the entries that they became are in this node's own log, durably. If the
 * master's epoch is lost, these entries become orphans again, before those that remain. */
static void drop_orphans(struct replica *r)
{
    bool has_masters_log = r->role == REPLICA_MASTER || (replica_is_following(r) && r->follows);
    if (!has_masters_log || r->merged_seq == 0 || r->durable.seq < r->merged_seq)
        return;
    replica_act(r, REPLICA_DO_DROP_ORPHANS)->drop_orphans = r->merged_orphan;
    r->merged_seq = 0;
    if (are_all_merged(r))
        r->last_orphan = r->merged_orphan = 0;
}

void replica_heal_tick(struct replica *r)
{
    if (r->role == REPLICA_MASTER)
        probe(r);
    drop_orphans(r);
    if (are_all_merged(r) || r->now_ms < r->orphan_transfer_ms)
        return;
    if (r->role == REPLICA_MASTER)
        merge_own_orphans(r);
    else if (replica_is_following(r) && r->follows)
        offer_orphans(r);
}

static void tell_merged(struct replica *r, const struct peer *peer)
{
    struct replica_message *done = replica_send(r, REPLICA_ORPHAN_TRANSFER_DONE, peer->id);
    done->epoch = r->epoch;
    done->orphan_transfer_done = (struct replica_orphan_transfer_done){
        .orphan = peer->orphan_transfer,
        .merged = {.epoch = r->epoch, .seq = peer->orphan_transfer_seq}};
}

void replica_receive_orphan_transfer(struct replica *r, const struct replica_message *message)
{
    struct peer *peer = replica_peer_find(r, message->from);
    if (r->role != REPLICA_MASTER || message->epoch != r->epoch || peer == NULL)
        return;
    if (peer->orphan_transfer == message->orphan_transfer.orphan) /* DONE was lost */
        tell_merged(r, peer);
    else
        replica_act(r, REPLICA_DO_MERGE_ORPHANS)->merge.received = message;
}

static void note_merged(struct replica *r, uint64_t orphan, uint64_t seq)
{
    r->merged_orphan = orphan;
    r->merged_seq = seq;
    r->orphan_transfer_ms = r->now_ms;
}

void replica_orphans_merged(struct replica *r, const struct replica_event *event)
{
    if (r->role != REPLICA_MASTER)
        return;
    if (event->node == r->options.id) {
        note_merged(r, event->orphan, event->position.seq);
        return;
    }
    struct peer *peer = replica_peer_find(r, event->node);
    if (peer == NULL)
        return;
    peer->orphan_transfer = event->orphan;
    peer->orphan_transfer_seq = event->position.seq;
    tell_merged(r, peer);
}

void replica_receive_orphan_transfer_done(struct replica *r, const struct replica_message *message)
{
    const struct replica_orphan_transfer_done *done = &message->orphan_transfer_done;
    if (!replica_is_following(r) || message->from != r->master.id ||
        message->epoch != r->master.epoch || done->orphan <= r->merged_orphan)
        return;
    note_merged(r, done->orphan, done->merged.seq);
    if (!are_all_merged(r))
        offer_orphans(r);
}

/* ---- leaving for good ---- */

/* Whether another member in sync has this master's log up to the list in which this master leaves. */
static bool has_successor(struct replica *r)
{
    for (size_t i = 0; i < r->members.count; i++) {
        const struct replica_member *member = &r->members.items[i];
        const struct peer *peer = replica_peer_find(r, member->id);
        if (peer != NULL && member->in_sync && !member->left && peer->follows &&
            peer->acked.seq >= r->members_position.seq)
            return true;
    }
    return false;
}

enum error replica_leave_node(struct replica *r, uint16_t node)
{
    if (node == r->options.id && r->role != REPLICA_MASTER) {
        r->wants_to_leave = true;
        return OK;
    }
    if (r->role != REPLICA_MASTER)
        return ERROR_REFUSED;
    const struct replica_member *member = replica_member_find(r, node);
    if (member == NULL)
        return ERROR_NOT_FOUND;
    if (member->left)
        return OK;
    if (node == r->options.id && !has_successor(r))
        return ERROR_REFUSED; /* no other member has the whole log */
    bool is_pending = r->committed < r->members_position.seq || r->members_changed;
    if (r->options.policy == REPLICA_QUORUM && is_pending)
        return ERROR_FULL; /* the voters change one at a time */
    struct replica_member *edit = replica_members_edit(r, node);
    edit->left = true;
    edit->in_sync = false;
    return OK;
}

void replica_receive_leave(struct replica *r, const struct replica_message *message)
{
    if (r->role == REPLICA_MASTER)
        (void)replica_leave_node(r, message->leave.node);
}

void replica_leave_tick(struct replica *r)
{
    const struct replica_member *self = replica_member_find(r, r->options.id);
    if (self == NULL)
        return;
    bool is_known = r->committed >= r->members_position.seq &&
                    (r->role == REPLICA_MASTER ? has_successor(r) : replica_is_following(r));
    if (self->left && is_known) {
        replica_role_remove(r);
        return;
    }
    bool is_merged = are_all_merged(r) && r->committed >= r->merged_seq;
    if (r->wants_to_leave && !self->left && is_merged && replica_is_following(r) &&
        r->now_ms - r->leave_ms >= 2 * RESEND_MS) {
        r->leave_ms = r->now_ms;
        replica_send(r, REPLICA_LEAVE, r->master.id)->leave.node = r->options.id;
    }
}
