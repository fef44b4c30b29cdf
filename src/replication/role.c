/* SPDX-License-Identifier: MIT */
#include "replication/role.h"

#include "replication/actions.h"
#include "replication/log.h"
#include "replication/members.h"
#include "replication/messages.h"
#include "replication/requests.h"

#include <string.h>

const char *replica_role_name(enum replica_role role)
{
    static const char *const names[REPLICA_ROLES] = {
        [REPLICA_LOOKING] = "looking",     [REPLICA_JOINING] = "joining",
        [REPLICA_SLAVE] = "slave",         [REPLICA_SUSPECTING] = "suspecting",
        [REPLICA_CANDIDATE] = "candidate", [REPLICA_RECOVERING_LOG] = "recovering_log",
        [REPLICA_MASTER] = "master",       [REPLICA_REMOVED] = "removed",
    };
    return role < REPLICA_ROLES ? names[role] : "?";
}

/* ---- the moves ---- */

/* From any role a node may enter REMOVED. */
#define TO(role) (1u << (role))
static const unsigned allowed_moves[REPLICA_ROLES] = {
    [REPLICA_LOOKING] = TO(REPLICA_JOINING) | TO(REPLICA_CANDIDATE) | TO(REPLICA_MASTER),
    [REPLICA_JOINING] = TO(REPLICA_SLAVE) | TO(REPLICA_SUSPECTING) | TO(REPLICA_LOOKING),
    [REPLICA_SLAVE] = TO(REPLICA_JOINING) | TO(REPLICA_SUSPECTING) | TO(REPLICA_LOOKING),
    [REPLICA_SUSPECTING] =
        TO(REPLICA_JOINING) | TO(REPLICA_SLAVE) | TO(REPLICA_CANDIDATE) | TO(REPLICA_LOOKING),
    [REPLICA_CANDIDATE] = TO(REPLICA_RECOVERING_LOG) | TO(REPLICA_MASTER) | TO(REPLICA_LOOKING),
    [REPLICA_RECOVERING_LOG] = TO(REPLICA_MASTER) | TO(REPLICA_LOOKING),
    [REPLICA_MASTER] = TO(REPLICA_CANDIDATE) | TO(REPLICA_LOOKING),
    [REPLICA_REMOVED] = 0,
};

void replica_role_report(struct replica *r)
{
    struct replica_action *action = replica_act(r, REPLICA_DO_ROLE);
    action->role.role = r->role;
    action->role.master = r->master.id;
    action->role.epoch = r->role == REPLICA_MASTER ? r->epoch : r->master.epoch;
}

/* Forgets the followers of the epoch that ends. */
static void leave_master(struct replica *r)
{
    r->members_changed = false;
    for (size_t i = 0; i < REPLICA_MEMBERS_MAX; i++) {
        r->peers[i].follows = false;
        r->peers[i].acked = (struct log_position){0, 0};
        r->peers[i].orphan_transfer = 0;
    }
}

static void enter(struct replica *r, enum replica_role role)
{
    if (role == r->role)
        return;
    ASSERT(role == REPLICA_REMOVED || (allowed_moves[r->role] & TO(role)) != 0);
    if (r->role == REPLICA_MASTER)
        leave_master(r);
    if (role == REPLICA_LOOKING || role == REPLICA_CANDIDATE || role == REPLICA_REMOVED) {
        r->master.id = 0;
        r->follows = false;
        r->catch_up = (struct catch_up){0};
    }
    r->role = role;
    r->role_since_ms = r->now_ms;
    replica_role_report(r);
}

void replica_role_check(const struct replica *r)
{
    ASSERT(r->durable.seq <= r->last.seq);
    ASSERT(r->committed <= r->last.seq);
    ASSERT(r->promised >= r->last.epoch || r->role == REPLICA_LOOKING);
    switch (r->role) {
    case REPLICA_SLAVE:
        ASSERT(r->follows && replica_member_is_in_sync(r, r->options.id));
        ASSERT(r->master.epoch >= r->promised);
        break;
    case REPLICA_JOINING:
    case REPLICA_SUSPECTING:
        ASSERT(r->master.id != 0 && r->master.id != r->options.id);
        ASSERT(r->master.epoch >= r->promised);
        break;
    case REPLICA_CANDIDATE:
    case REPLICA_RECOVERING_LOG:
        ASSERT(r->epoch == r->promised && !r->follows);
        break;
    case REPLICA_MASTER:
        ASSERT(r->epoch == r->promised && (r->epoch & 0xffffu) == r->options.id);
        ASSERT(r->master.id == r->options.id && !r->follows);
        break;
    default:
        break;
    }
}

/* ---- LOOKING and SUSPECTING ---- */

static void poll(struct replica *r, uint64_t wait_ms, bool needs_all, uint16_t suspect)
{
    r->poll = (struct poll){
        .since_ms = r->now_ms,
        .next_ms = r->now_ms + POLL_MS,
        .elect_after_ms = r->now_ms + wait_ms,
        .needs_all = needs_all,
        .suspect = suspect,
    };
    for (size_t i = 0; i < REPLICA_MEMBERS_MAX; i++)
        r->peers[i].answered_ms = 0;
    replica_ask_for_leader(r);
}

void replica_role_look(struct replica *r, uint64_t wait_ms, bool needs_all)
{
    enter(r, REPLICA_LOOKING);
    poll(r, wait_ms, needs_all, 0);
}

void replica_role_step_down(struct replica *r)
{
    replica_role_look(r, LEADER_INFO_WAIT_MS, false);
}

void replica_role_suspect(struct replica *r)
{
    if (r->role == REPLICA_SUSPECTING)
        r->poll.is_silence = false;
    if (r->role != REPLICA_JOINING && r->role != REPLICA_SLAVE)
        return;
    enter(r, REPLICA_SUSPECTING);
    poll(r, LEADER_INFO_WAIT_MS, false, r->master.id);
}

/* A machine on which this process comes late may be that of the master, or as busy. */
bool replica_role_learned(const struct replica *r, struct silence *out)
{
    const struct peer *peer = replica_peer_look(r, r->master.id);
    if (peer == NULL)
        return false;
    *out = peer->silence;
    if (r->lag.longest_us > out->longest_us)
        out->longest_us = r->lag.longest_us;
    return true;
}

static uint64_t silence_of_master(const struct replica *r)
{
    return r->now_ms - r->master.last_seen_ms;
}

void replica_role_suspect_silence(struct replica *r, bool is_suspected)
{
    struct silence learned;
    bool is_follower = r->role == REPLICA_JOINING || r->role == REPLICA_SLAVE;
    bool is_confirmed = is_suspected && replica_role_learned(r, &learned) &&
                        silence_of_master(r) > silence_confirmation_ms(&learned, &r->master_bounds);
    if (!is_follower || (replica_sees_master(r) && !is_confirmed))
        return;
    replica_role_suspect(r);
    r->poll.is_silence = true;
}

void replica_role_poll_again(struct replica *r)
{
    if (r->role == REPLICA_CANDIDATE || r->role == REPLICA_RECOVERING_LOG)
        enter(r, REPLICA_LOOKING);
    if (r->role != REPLICA_LOOKING && r->role != REPLICA_SUSPECTING)
        return;
    bool is_silence = r->role == REPLICA_SUSPECTING && r->poll.is_silence;
    poll(r, LEADER_INFO_WAIT_MS, true, r->poll.suspect);
    r->poll.is_silence = is_silence;
}

/* ---- JOINING and SLAVE ---- */

/* The member list of a node that joins may be old, or lack the master. */
static void take_master_address(struct replica *r, const struct replica_message *reply)
{
    const char *address = reply->join_reply.leader.address;
    const struct replica_member *member = replica_member_find(r, reply->from);
    if (replica_address_is_sound(address))
        memcpy(r->master.address, address, strlen(address) + 1);
    else if (member != NULL)
        memcpy(r->master.address, member->internal, sizeof r->master.address);
}

void replica_role_follow(struct replica *r, const struct replica_message *reply)
{
    bool is_new = memcmp(r->cluster, reply->cluster, sizeof r->cluster) != 0;
    memcpy(r->cluster, reply->cluster, sizeof r->cluster);
    if (reply->epoch > r->promised)
        replica_raise_promise(r, reply->epoch);
    else if (is_new)
        replica_persist(r);
    r->master.id = reply->from;
    r->master.epoch = reply->epoch;
    r->master.last_seen_ms = r->master.heard_ms = r->now_ms;
    take_master_address(r, reply);
    r->merged_orphan = r->merged_seq = 0;
    r->follows = reply->join_reply.answer == REPLICA_DELTAS;
    if (r->role == REPLICA_JOINING)
        replica_role_report(r); /* of the new master */
    enter(r, REPLICA_JOINING);
}

/* A node needs the whole log to become a slave. A slave that misses an entry remains one. */
static void enter_follower(struct replica *r)
{
    bool is_slave = r->follows && replica_member_is_in_sync(r, r->options.id) &&
                    (r->role == REPLICA_SLAVE || r->catch_up.source == 0);
    enter(r, is_slave ? REPLICA_SLAVE : REPLICA_JOINING);
}

void replica_role_update(struct replica *r)
{
    if (r->role == REPLICA_JOINING || r->role == REPLICA_SLAVE)
        enter_follower(r);
}

void replica_role_note_master(struct replica *r)
{
    struct peer *peer = replica_peer_find(r, r->master.id);
    if (peer != NULL && r->role != REPLICA_JOINING) /* a log or snapshot delays messages */
        silence_learn(&peer->silence, &r->master_bounds, silence_of_master(r), r->now_ms);
    r->master.last_seen_ms = r->master.heard_ms = r->now_ms;
    if (r->role == REPLICA_SUSPECTING)
        enter_follower(r);
}

bool replica_sees_master(const struct replica *r)
{
    if (r->role == REPLICA_MASTER)
        return true;
    struct silence learned;
    uint32_t limit_ms = replica_role_learned(r, &learned)
                            ? silence_limit_ms(&learned, &r->master_bounds)
                            : r->options.ping_timeout_ms;
    return (r->role == REPLICA_JOINING || r->role == REPLICA_SLAVE) &&
           silence_of_master(r) <= limit_ms;
}

/* ---- CANDIDATE and RECOVERING_LOG ---- */

void replica_role_draw_epoch(struct replica *r)
{
    uint64_t highest = r->highest > r->promised ? r->highest : r->promised;
    r->epoch = ((highest >> 16) + 1) << 16 | r->options.id;
    replica_raise_promise(r, r->epoch);
}

void replica_role_stand(struct replica *r)
{
    for (size_t i = 0; i < REPLICA_MEMBERS_MAX; i++)
        r->peers[i].promised = false;
    if (r->role == REPLICA_MASTER)
        r->poll = (struct poll){0}; /* no poll came before: a member has promised a higher epoch */
    replica_role_draw_epoch(r);
    enter(r, REPLICA_CANDIDATE);
    replica_ask_for_promises(r);
}

void replica_role_recover_log(struct replica *r, uint16_t source, struct log_position want)
{
    enter(r, REPLICA_RECOVERING_LOG);
    r->catch_up = (struct catch_up){.source = source, .want = want, .progress_ms = r->now_ms};
    replica_ask_for_log(r);
}

/* ---- MASTER ---- */

/* The list has the master's own address even if it is an old one: the master may have moved. */
static void begin_members(struct replica *r)
{
    struct replica_member *self = replica_members_add(r, r->options.id, r->internal, r->client);
    self->level = r->options.level;
    for (size_t i = 0; i < r->next_members.count; i++) {
        struct replica_member *member = &r->next_members.items[i];
        member->in_sync = member->in_sync && replica_member_has_promised(r, member);
    }
    self->in_sync = true;
    self->voter = true;
}

void replica_role_lead(struct replica *r)
{
    r->master = (struct leader){.id = r->options.id, .epoch = r->epoch, .last_seen_ms = r->now_ms};
    memcpy(r->master.address, r->internal, sizeof r->master.address);
    r->catch_up = (struct catch_up){0};
    r->merged_orphan = r->merged_seq = 0;
    enter(r, REPLICA_MASTER);
    for (size_t i = 0; i < REPLICA_MEMBERS_MAX; i++) {
        r->peers[i].last_seen_ms = r->now_ms;
        r->peers[i].progress_ms = r->now_ms;
    }
    r->epoch_first_seq = r->last.seq + 1;
    begin_members(r);
    replica_log_append_members(r);
    for (size_t i = 0; i < r->members.count; i++)
        if (r->members.items[i].id != r->options.id && !r->members.items[i].left)
            replica_announce(r, r->members.items[i].id);
    r->announce_ms = r->now_ms;
}

/* ---- REMOVED ---- */

void replica_role_remove(struct replica *r)
{
    enter(r, REPLICA_REMOVED);
}
