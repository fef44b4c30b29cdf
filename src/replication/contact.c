/* SPDX-License-Identifier: MIT */
#include "replication/contact.h"

#include "replication/actions.h"
#include "replication/commit.h"
#include "replication/election.h"
#include "replication/founding.h"
#include "replication/locations.h"
#include "replication/members.h"
#include "replication/role.h"
#include "replication/send.h"

#include <string.h>

/* ---- a member is lost ---- */

static void peer_lost(struct replica *r, struct peer *peer)
{
    peer->disconnected_ms = r->now_ms == 0 ? 1 : r->now_ms;
    if (replica_is_following(r) && peer->id == r->master.id)
        replica_role_suspect(r);
    if (r->role == REPLICA_MASTER)
        replica_in_sync_remove(r, peer->id);
    else if (r->role == REPLICA_LOOKING || r->role == REPLICA_SUSPECTING)
        replica_poll_evaluate(r);
    else if (r->role == REPLICA_CANDIDATE)
        replica_election_check(r);
    else if (r->role == REPLICA_RECOVERING_LOG && peer->id == r->catch_up.source)
        replica_role_step_down(r);
}

void replica_contact_lost(struct replica *r, const char *address, uint16_t by)
{
    for (size_t i = 0; i < REPLICA_MEMBERS_MAX; i++) {
        struct peer *peer = &r->peers[i];
        if (peer->id != 0 && peer->id != by && replica_location_forget(r, peer, address, by != 0))
            peer_lost(r, peer);
    }
    bool is_unlisted_master = replica_is_following(r) && replica_peer_find(r, r->master.id) == NULL;
    if (by == 0 && is_unlisted_master && strcmp(r->master.address, address) == 0)
        replica_role_suspect(r);
}

/* ---- a member speaks ---- */

void replica_contact_note(struct replica *r, struct peer *peer,
                          const struct replica_message *message, const char *address)
{
    if (!replica_location_take_name(r, peer, message))
        return;
    if (address != NULL) {
        replica_contact_lost(r, address, peer->id);
        replica_location_take_answer(r, peer, address);
    }
    peer->last_seen_ms = r->now_ms;
    peer->spoke_ms = r->now_ms == 0 ? 1 : r->now_ms;
    peer->disconnected_ms = 0;
}

/* ---- strangers ---- */

static bool is_question(enum replica_message_kind kind)
{
    return kind == REPLICA_LEADER_QUERY || kind == REPLICA_JOIN || kind == REPLICA_PING ||
           kind == REPLICA_ANNOUNCE || kind == REPLICA_PREPARE;
}

static void reject(struct replica *r, const struct replica_message *message)
{
    const struct replica_member *member = replica_member_find(r, message->from);
    bool is_listed = member != NULL && !member->left && message->internal != NULL &&
                     strcmp(member->internal, message->internal) == 0;
    struct replica_message *rejected = replica_send(r, REPLICA_JOIN_REJECTED, message->from);
    rejected->address = message->internal;
    rejected->join_rejected = (struct replica_join_rejected){.rejection = REPLICA_REJECTED_CLUSTER,
                                                             .is_listed = is_listed,
                                                             .in_sync = replica_in_sync_own(r)};
}

void replica_contact_stranger(struct replica *r, const struct replica_message *message,
                              const char *address)
{
    bool is_empty = !replica_has_cluster(message->cluster);
    if (!is_empty && replica_founding_yield(r, message, address))
        return;
    if (!is_empty || replica_location_is_listed(r, address))
        replica_report(r, REPLICA_FOREIGN_NODE, message, address);
    if (address != NULL)
        replica_contact_lost(r, address, 0);
    if (!is_empty && is_question(message->kind))
        reject(r, message);
}
