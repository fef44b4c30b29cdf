/* SPDX-License-Identifier: MIT */
#include "replication/replica_internal.h"

#include <stdlib.h>
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

const char *replica_policy_name(enum replica_policy policy)
{
    static const char *const names[] = {
        [REPLICA_ALL] = "all", [REPLICA_QUORUM] = "quorum", [REPLICA_LOCAL] = "local"};
    return policy <= REPLICA_LOCAL ? names[policy] : "?";
}

/* ---- roles ---- */

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

/* What holds in a role, checked on every move and after every step. */
static void check_role(const struct replica *r)
{
    ASSERT(r->durable.seq <= r->last.seq);
    ASSERT(r->committed <= r->last.seq);
    ASSERT(r->promised >= r->last.epoch || r->role == REPLICA_LOOKING);
    switch (r->role) {
    case REPLICA_SLAVE:
        ASSERT(r->follows && member_is_in_sync(r, r->options.id));
        ASSERT(r->master.epoch >= r->promised);
        break;
    case REPLICA_JOINING:
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

void tell_role(struct replica *r)
{
    struct replica_action *action = act(r, REPLICA_DO_ROLE);
    action->role.role = r->role;
    action->role.master = r->master.id;
    action->role.epoch = r->role == REPLICA_MASTER ? r->epoch : r->master.epoch;
}

static void forget_epoch_start(struct replica *r)
{
    r->members_changed = false;
    for (size_t i = 0; i < REPLICA_MEMBERS_MAX; i++) {
        r->peers[i].follows = false;
        r->peers[i].acked = (struct log_position){0, 0};
        r->peers[i].orphan_transfer = 0;
    }
}

void become(struct replica *r, enum replica_role role)
{
    if (role == r->role)
        return;
    ASSERT(role == REPLICA_REMOVED || (allowed_moves[r->role] & TO(role)) != 0);
    if (r->role == REPLICA_MASTER)
        forget_epoch_start(r);
    if (role == REPLICA_LOOKING || role == REPLICA_CANDIDATE || role == REPLICA_REMOVED) {
        r->master.id = 0;
        r->follows = false;
        r->catch_up = (struct catch_up){0};
    }
    r->role = role;
    r->role_since_ms = r->now_ms;
    tell_role(r);
}

bool is_following(const struct replica *r)
{
    return r->role == REPLICA_JOINING || r->role == REPLICA_SLAVE || r->role == REPLICA_SUSPECTING;
}

bool is_unhealthy(const struct replica *r)
{
    if (r->failed_ms != 0 && r->now_ms - r->failed_ms < r->options.ack_timeout_ms)
        return true;
    return r->append_since_ms != 0 && r->now_ms - r->append_since_ms > r->options.disk_timeout_ms;
}

void step_down(struct replica *r)
{
    become(r, REPLICA_LOOKING);
    poll_begin(r, LEADER_INFO_WAIT_MS, false, 0);
}

void renew_epoch(struct replica *r)
{
    if (is_unhealthy(r))
        step_down(r);
    else
        start_election(r);
}

void suspect(struct replica *r)
{
    if (r->role != REPLICA_JOINING && r->role != REPLICA_SLAVE)
        return;
    become(r, REPLICA_SUSPECTING);
    poll_begin(r, LEADER_INFO_WAIT_MS, false, r->master.id);
}

/* ---- actions ---- */

struct replica_action *act(struct replica *r, enum replica_action_kind kind)
{
    ASSERT(r->out->count < REPLICA_ACTIONS_MAX);
    struct replica_action *action = &r->out->items[r->out->count++];
    memset(action, 0, sizeof *action);
    action->kind = kind;
    return action;
}

void persist(struct replica *r)
{
    struct replica_action *action = act(r, REPLICA_DO_PERSIST);
    action->persist.promised = r->promised;
    memcpy(action->persist.cluster, r->cluster, sizeof action->persist.cluster);
}

void promise(struct replica *r, uint64_t epoch)
{
    ASSERT(epoch >= r->promised);
    if (epoch > r->highest)
        r->highest = epoch;
    if (epoch == r->promised)
        return;
    r->promised = epoch;
    persist(r);
}

/* ---- events ---- */

static void start(struct replica *r, const struct replica_state *state)
{
    memcpy(r->cluster, state->cluster, sizeof r->cluster);
    r->promised = state->promised;
    r->highest = state->promised > state->last.epoch ? state->promised : state->last.epoch;
    log_load(r, state);
    bool may_found = !has_cluster(r->cluster) && r->options.is_first;
    if (may_found && r->options.founding_wait_ms == 0) {
        found(r);
        return;
    }
    r->founding = (struct founding){.is_due = may_found};
    poll_begin(r, r->options.look_ms, true, 0);
    tell_role(r);
}

/* This process was stopped for a while: that nobody was heard meanwhile means nothing. The others may
 * have elected a master, and closed connections that are made again in a moment. */
static void forgive_silence(struct replica *r)
{
    r->master.last_seen_ms = r->now_ms;
    r->ping_ms = 0;
    for (size_t i = 0; i < REPLICA_MEMBERS_MAX; i++) {
        r->peers[i].last_seen_ms = r->now_ms;
        r->peers[i].spoke_ms = r->peers[i].spoke_ms == 0 ? 0 : r->now_ms;
        r->peers[i].progress_ms = r->now_ms;
        r->peers[i].answered_ms = 0;
    }
    if (r->role == REPLICA_CANDIDATE || r->role == REPLICA_RECOVERING_LOG)
        become(r, REPLICA_LOOKING);
    if (r->role == REPLICA_LOOKING || r->role == REPLICA_SUSPECTING)
        poll_begin(r, LEADER_INFO_WAIT_MS, true, r->poll.suspect);
}

static void durable(struct replica *r, struct log_position position)
{
    /* What the log no longer holds (rolled back, replaced) may still be told. */
    if (position.seq <= r->durable.seq || !log_has(r, position))
        return;
    r->durable = position;
    r->append_since_ms = r->durable.seq == r->last.seq ? 0 : r->now_ms;
    r->failed_ms = 0;
    if (r->role == REPLICA_MASTER)
        commit_advance(r);
    else
        send_ack(r);
}

static void failed(struct replica *r, const struct replica_state *state)
{
    r->failed_ms = r->now_ms;
    if (r->role != REPLICA_LOOKING)
        step_down(r);
    /* A promise that did not reach the disk was sent to nobody: it must be made again. */
    r->promised = state->promised;
    memcpy(r->cluster, state->cluster, sizeof r->cluster);
    log_load(r, state);
}

void peer_lost(struct replica *r, struct peer *peer)
{
    peer->disconnected_ms = r->now_ms == 0 ? 1 : r->now_ms;
    if (is_following(r) && peer->id == r->master.id)
        suspect(r);
    if (r->role == REPLICA_MASTER)
        in_sync_leave(r, peer->id);
    else if (r->role == REPLICA_LOOKING || r->role == REPLICA_SUSPECTING)
        poll_evaluate(r);
    else if (r->role == REPLICA_CANDIDATE)
        election_check(r);
    else if (r->role == REPLICA_RECOVERING_LOG && peer->id == r->catch_up.source)
        step_down(r);
}

bool is_refused(const struct replica *r)
{
    return r->refused_ms != 0 && r->now_ms - r->refused_ms < QUIET_MS;
}

typedef void receiver(struct replica *r, const struct replica_message *message);

enum { FROM_EMPTY = 1, TO_EMPTY = 2, QUESTION = 4 };

struct message_rule {
    const char *name;
    receiver *receive;
    unsigned flags; /* FROM_EMPTY, TO_EMPTY: a node without a cluster says it, or may be told;
                       QUESTION: another node than it is meant for answers in its own name */
};

static const struct message_rule rules[REPLICA_MESSAGE_KINDS] = {
    [REPLICA_PING] = {"ping", receive_ping, QUESTION},
    [REPLICA_PONG] = {"pong", receive_pong, 0},
    [REPLICA_APPEND] = {"append", receive_append, 0},
    [REPLICA_ACK] = {"ack", receive_ack, 0},
    [REPLICA_FETCH] = {"fetch", receive_fetch, QUESTION},
    [REPLICA_ENTRIES] = {"entries", receive_entries, 0},
    [REPLICA_JOIN] = {"join", receive_join, FROM_EMPTY | QUESTION},
    [REPLICA_JOIN_REPLY] = {"join_reply", receive_join_reply, TO_EMPTY},
    [REPLICA_JOIN_REJECTED] = {"join_rejected", receive_join_rejected, TO_EMPTY},
    [REPLICA_SNAPSHOT_REQUEST] = {"snapshot_request", receive_snapshot_request, QUESTION},
    [REPLICA_SNAPSHOT_CHUNK] = {"snapshot_chunk", receive_snapshot_chunk, 0},
    [REPLICA_LEADER_QUERY] = {"leader_query", receive_leader_query, FROM_EMPTY | TO_EMPTY},
    [REPLICA_LEADER_INFO] = {"leader_info", receive_leader_info, FROM_EMPTY | TO_EMPTY},
    [REPLICA_PREPARE] = {"prepare", receive_prepare, QUESTION},
    [REPLICA_PROMISE] = {"promise", receive_promise, 0},
    [REPLICA_ANNOUNCE] = {"announce", receive_announce, TO_EMPTY | QUESTION},
    [REPLICA_ORPHAN_TRANSFER] = {"orphan_transfer", receive_orphan_transfer, QUESTION},
    [REPLICA_ORPHAN_TRANSFER_DONE] = {"orphan_transfer_done", receive_orphan_transfer_done, 0},
    [REPLICA_LEAVE] = {"leave", receive_leave, QUESTION},
};

const char *replica_message_name(enum replica_message_kind kind)
{
    return kind < REPLICA_MESSAGE_KINDS ? rules[kind].name : "?";
}

/* Another node has our id, or we spoke to ourselves: our own address may be among the seeds, or have
 * been that of a member that is gone. The one that would begin is told by the one that takes part. */
static void receive_from_own_id(struct replica *r, const struct replica_message *message)
{
    if (message->kind == REPLICA_JOIN_REJECTED) {
        if (message->join_rejected.rejection == REPLICA_REJECTED_ID && r->role == REPLICA_LOOKING)
            refused(r, message);
        return;
    }
    bool begins = message->kind == REPLICA_JOIN || message->kind == REPLICA_LEADER_QUERY;
    if (!begins || !is_member(r) || r->role == REPLICA_LOOKING ||
        strcmp(message->internal, r->internal) == 0)
        return;
    struct replica_message *answer = message_to(r, REPLICA_JOIN_REJECTED, message->from);
    answer->address = message->internal;
    answer->join_rejected.rejection = REPLICA_REJECTED_ID;
    answer->epoch = r->epoch;
}

/* What is meant for another node has come here: this one has the address now. */
static bool is_misdirected(const struct replica *r, const struct replica_message *message)
{
    return message->to != 0 && message->to != r->options.id &&
           message->kind != REPLICA_LEADER_QUERY;
}

static void receive(struct replica *r, const struct replica_message *message, const char *address)
{
    unsigned flags = rules[message->kind].flags;
    bool is_empty = !has_cluster(r->cluster);
    bool is_from_empty = !has_cluster(message->cluster);
    if (!is_empty && !is_from_empty &&
        memcmp(message->cluster, r->cluster, sizeof r->cluster) != 0) {
        receive_stranger(r, message, address);
        return;
    }
    if (message->from == r->options.id) {
        receive_from_own_id(r, message);
        return;
    }
    if ((is_from_empty && (flags & FROM_EMPTY) == 0) || (is_empty && (flags & TO_EMPTY) == 0))
        return;
    if (is_empty)
        found_note(r, message, address);
    if (is_from_empty && !is_empty && address != NULL)
        receive_stranger(r, message, address);
    struct peer *peer = is_from_empty ? NULL : peer_of(r, message->from);
    if (peer != NULL)
        (void)location_note(r, peer, message, address);
    if (message->promised > r->highest)
        r->highest = message->promised;
    if (!is_misdirected(r, message))
        rules[message->kind].receive(r, message);
    else if ((flags & QUESTION) != 0)
        send_leader_info(r, message, 0);
}

static void tick(struct replica *r)
{
    if (r->role == REPLICA_LOOKING)
        found_tick(r);
    if (r->role == REPLICA_LOOKING || r->role == REPLICA_SUSPECTING)
        poll_tick(r);
    if (is_following(r))
        stream_tick(r);
    if (is_following(r) || r->role == REPLICA_RECOVERING_LOG)
        join_tick(r);
    if (r->role == REPLICA_CANDIDATE)
        election_tick(r);
    if (r->role == REPLICA_MASTER)
        commit_tick(r);
    heal_tick(r);
    leave_tick(r);
}

static enum error dispatch(struct replica *r, const struct replica_event *event)
{
    if (r->role == REPLICA_REMOVED)
        return event->kind == REPLICA_PROPOSE ? ERROR_REFUSED : OK;
    switch (event->kind) {
    case REPLICA_START:
        start(r, event->state);
        return OK;
    case REPLICA_TICK:
        tick(r);
        return OK;
    case REPLICA_RECEIVE:
        receive(r, event->message, event->address);
        return OK;
    case REPLICA_DISCONNECTED:
        if (event->address != NULL)
            location_lost(r, event->address, 0);
        return OK;
    case REPLICA_PROPOSE:
        return propose(r, event);
    case REPLICA_DURABLE:
        durable(r, event->position);
        return OK;
    case REPLICA_FAILED:
        failed(r, event->state);
        return OK;
    case REPLICA_CHECKED:
        checked(r);
        return OK;
    case REPLICA_INSTALLED:
        installed(r, event->state);
        return OK;
    case REPLICA_ORPHANS_MERGED:
        orphans_merged(r, event);
        return OK;
    case REPLICA_PRUNED:
        r->first_seq = event->position.seq;
        return OK;
    case REPLICA_LEAVE_NODE:
        return leave_node(r, event->node);
    default:
        return ERROR_INVALID;
    }
}

enum error replica_step(struct replica *r, const struct replica_event *event,
                        struct replica_actions *out)
{
    out->count = 0;
    if (event->kind == REPLICA_RECEIVE && !message_is_sound(r, event->message))
        return ERROR_INVALID;
    r->out = out;
    bool was_stopped = r->now_ms != 0 && event->now_ms > r->now_ms + PAUSE_MS;
    if (event->now_ms > r->now_ms)
        r->now_ms = event->now_ms;
    if (was_stopped)
        forgive_silence(r);
    enum error error = dispatch(r, event);
    members_flush(r);
    if (r->role == REPLICA_JOINING || r->role == REPLICA_SLAVE)
        update_follower_role(r);
    check_role(r);
    r->out = NULL;
    return error;
}

/* ---- life ---- */

static uint32_t or_default(uint32_t value, uint32_t fallback)
{
    return value == 0 ? fallback : value;
}

static bool copy_address(char out[static ADDRESS_TEXT_SIZE], const char *text)
{
    if (text == NULL || strlen(text) >= ADDRESS_TEXT_SIZE)
        return false;
    memcpy(out, text, strlen(text) + 1);
    return true;
}

static bool copy_options(struct replica *r, const struct replica_options *options)
{
    r->options = *options;
    r->options.ping_ms = or_default(options->ping_ms, 100);
    r->options.ping_timeout_ms = or_default(options->ping_timeout_ms, 500);
    r->options.ack_timeout_ms = or_default(options->ack_timeout_ms, 1000);
    r->options.disk_timeout_ms = or_default(options->disk_timeout_ms, 2000);
    r->options.look_ms = or_default(options->look_ms, 1500);
    if (options->id == 0 || options->seeds_count > REPLICA_SEEDS_MAX ||
        !copy_address(r->internal, options->internal) || !copy_address(r->client, options->client))
        return false;
    for (size_t i = 0; i < options->seeds_count; i++)
        if (!copy_address(r->seeds[i], options->seeds[i]))
            return false;
    r->seeds_count = options->seeds_count;
    r->options.internal = r->internal;
    r->options.client = r->client;
    r->options.seeds = NULL;
    return true;
}

enum error replica_new(struct replica **out, const struct replica_options *options)
{
    struct replica *r = calloc(1, sizeof *r);
    if (r == NULL)
        return ERROR_NO_MEMORY;
    if (!copy_options(r, options)) {
        free(r);
        return ERROR_INVALID;
    }
    *out = r;
    return OK;
}

void replica_free(struct replica *replica)
{
    free(replica);
}

/* ---- looking in ---- */

uint64_t replica_deadline(const struct replica *r)
{
    uint64_t step = r->options.ping_ms / 2;
    if (r->role == REPLICA_LOOKING || r->role == REPLICA_SUSPECTING ||
        r->role == REPLICA_CANDIDATE || r->catch_up.source != 0)
        step = POLL_MS / 4;
    return r->now_ms + (step == 0 ? 1 : step);
}

enum replica_role replica_role(const struct replica *r)
{
    return r->role;
}

uint16_t replica_master(const struct replica *r)
{
    return r->master.id;
}

const char *replica_master_client(const struct replica *r)
{
    const struct replica_member *member = member_find(r, r->master.id);
    return member == NULL ? NULL : member->client;
}

uint64_t replica_epoch(const struct replica *r)
{
    return r->role == REPLICA_MASTER ? r->epoch : r->master.id != 0 ? r->master.epoch : 0;
}

uint64_t replica_promised(const struct replica *r)
{
    return r->promised;
}

struct log_position replica_last(const struct replica *r)
{
    return r->last;
}

struct log_position replica_durable(const struct replica *r)
{
    return r->durable;
}

uint64_t replica_committed(const struct replica *r)
{
    return r->committed;
}

const uint8_t *replica_cluster(const struct replica *r)
{
    return r->cluster;
}

/* Whether the log is kept for the member. A node that was never in sync has nothing of its own: it is
 * not elected, and gets a snapshot. */
static bool is_needy(const struct replica *r, const struct replica_member *member)
{
    return member->id != r->options.id && member->voter && !member->left;
}

uint64_t replica_needed_seq(const struct replica *r)
{
    if (r->role != REPLICA_MASTER)
        return r->needed < r->committed ? r->needed : r->committed;
    /* What is committed elsewhere need not be on this disk, and can be lost from here. */
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
        const struct replica_member *member = member_find(r, peer->id);
        bool is_joining = r->role == REPLICA_MASTER && member != NULL && !member->voter &&
                          !member->left && peer->follows && peer->acked.seq > 0 &&
                          r->now_ms - peer->last_seen_ms <= r->options.ack_timeout_ms;
        if (is_joining && peer->acked.seq < least)
            least = peer->acked.seq;
    }
    return least;
}

size_t replica_members(const struct replica *r, const struct replica_member **members)
{
    *members = r->members.items;
    return r->members.count;
}

struct log_position replica_acked(const struct replica *r, uint16_t node)
{
    for (size_t i = 0; i < REPLICA_MEMBERS_MAX; i++)
        if (r->peers[i].id == node && node != 0)
            return r->peers[i].acked;
    return (struct log_position){0, 0};
}
