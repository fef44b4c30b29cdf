/* SPDX-License-Identifier: MIT */
#include "replication/replica.h"

#include "replication/commit.h"
#include "replication/contact.h"
#include "replication/election.h"
#include "replication/founding.h"
#include "replication/heal.h"
#include "replication/join.h"
#include "replication/locations.h"
#include "replication/log.h"
#include "replication/members.h"
#include "replication/messages.h"
#include "replication/requests.h"
#include "replication/role.h"
#include "replication/send.h"
#include "replication/state.h"
#include "replication/stream.h"

#include <stdlib.h>
#include <string.h>

const char *replica_policy_name(enum replica_policy policy)
{
    static const char *const names[] = {
        [REPLICA_ALL] = "all", [REPLICA_QUORUM] = "quorum", [REPLICA_LOCAL] = "local"};
    return policy <= REPLICA_LOCAL ? names[policy] : "?";
}

/* ---- events ---- */

static void start(struct replica *r, const struct replica_state *state)
{
    memcpy(r->cluster, state->cluster, sizeof r->cluster);
    r->promised = state->promised;
    r->highest = state->promised > state->last.epoch ? state->promised : state->last.epoch;
    replica_log_load(r, state);
    bool may_found = !replica_has_cluster(r->cluster) && r->options.is_first;
    if (may_found && r->options.founding_wait_ms == 0) {
        replica_found(r);
        return;
    }
    r->founding = (struct founding){.is_due = may_found};
    replica_role_look(r, r->options.look_ms, true);
    replica_role_report(r);
}

/* This process was suspended, so the silence of others proves nothing. Other nodes may have elected a master,
 * and closed connections that are opened again soon. */
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
    replica_role_poll_again(r);
}

/* This process was late by lag_ms: in that time it could hear nothing. */
static void excuse_silence(struct replica *r, uint64_t lag_ms)
{
    r->master.last_seen_ms += lag_ms;
    if (r->append_since_ms != 0 && !r->has_persisted)
        r->append_since_ms += lag_ms;
    for (size_t i = 0; i < REPLICA_MEMBERS_MAX; i++) {
        r->peers[i].last_seen_ms += lag_ms;
        r->peers[i].progress_ms += lag_ms;
    }
}

/* Sets the time. A TICK is due between two events: a longer time was no silence of others. */
static void set_time(struct replica *r, uint64_t now_ms)
{
    uint64_t before_ms = r->now_ms;
    uint64_t tick_ms = replica_deadline(r);
    uint64_t due_ms = tick_ms + LAG_MS;
    if (now_ms <= before_ms)
        return;
    if (r->role == REPLICA_SLAVE && !r->has_persisted)
        silence_learn(&r->lag, &r->master_bounds,
                      r->master_bounds.due_ms + (now_ms > tick_ms ? now_ms - tick_ms : 0), now_ms);
    r->now_ms = now_ms;
    if (before_ms != 0 && now_ms > due_ms)
        excuse_silence(r, now_ms - due_ms);
    if (before_ms != 0 && now_ms > before_ms + PAUSE_MS)
        forgive_silence(r);
    r->has_persisted = false;
}

static void durable(struct replica *r, struct log_position position)
{
    /* The event may be about an entry that was rolled back or replaced meanwhile. */
    if (position.seq <= r->durable.seq || !replica_log_has(r, position))
        return;
    replica_log_note_durable(r, position);
    if (r->role == REPLICA_MASTER)
        replica_commit_advance(r);
    else
        replica_send_ack(r);
}

static void failed(struct replica *r, const struct replica_state *state)
{
    r->failed_ms = r->now_ms;
    if (r->role != REPLICA_LOOKING)
        replica_role_step_down(r);
    /* The node sent no message with a promise that is not on the disk. */
    r->promised = state->promised;
    memcpy(r->cluster, state->cluster, sizeof r->cluster);
    replica_log_load(r, state);
}

typedef void receiver(struct replica *r, const struct replica_message *message);

enum { FROM_EMPTY = 1, TO_EMPTY = 2, QUESTION = 4 };

struct message_rule {
    const char *name;
    receiver *receive;
    unsigned flags; /* FROM_EMPTY, TO_EMPTY: a node without a cluster sends it, or receives it;
                       QUESTION: a node that it is not meant for answers with a LEADER_INFO */
};

static const struct message_rule rules[REPLICA_MESSAGE_KINDS] = {
    [REPLICA_PING] = {"ping", replica_receive_ping, QUESTION},
    [REPLICA_PONG] = {"pong", replica_receive_pong, 0},
    [REPLICA_APPEND] = {"append", replica_receive_append, 0},
    [REPLICA_ACK] = {"ack", replica_receive_ack, 0},
    [REPLICA_FETCH] = {"fetch", replica_receive_fetch, QUESTION},
    [REPLICA_ENTRIES] = {"entries", replica_receive_entries, 0},
    [REPLICA_JOIN] = {"join", replica_receive_join, FROM_EMPTY | QUESTION},
    [REPLICA_JOIN_REPLY] = {"join_reply", replica_receive_join_reply, TO_EMPTY},
    [REPLICA_JOIN_REJECTED] = {"join_rejected", replica_receive_join_rejected, TO_EMPTY},
    [REPLICA_SNAPSHOT_REQUEST] = {"snapshot_request", replica_receive_snapshot_request, QUESTION},
    [REPLICA_SNAPSHOT_CHUNK] = {"snapshot_chunk", replica_receive_snapshot_chunk, 0},
    [REPLICA_LEADER_QUERY] = {"leader_query", replica_receive_leader_query, FROM_EMPTY | TO_EMPTY},
    [REPLICA_LEADER_INFO] = {"leader_info", replica_receive_leader_info, FROM_EMPTY | TO_EMPTY},
    [REPLICA_PREPARE] = {"prepare", replica_receive_prepare, QUESTION},
    [REPLICA_PROMISE] = {"promise", replica_receive_promise, 0},
    [REPLICA_ANNOUNCE] = {"announce", replica_receive_announce, TO_EMPTY | QUESTION},
    [REPLICA_ORPHAN_TRANSFER] = {"orphan_transfer", replica_receive_orphan_transfer, QUESTION},
    [REPLICA_ORPHAN_TRANSFER_DONE] = {"orphan_transfer_done", replica_receive_orphan_transfer_done,
                                      0},
    [REPLICA_LEAVE] = {"leave", replica_receive_leave, QUESTION},
    [REPLICA_COMMITTED] = {"committed", replica_receive_committed, 0},
};

const char *replica_message_name(enum replica_message_kind kind)
{
    return kind < REPLICA_MESSAGE_KINDS ? rules[kind].name : "?";
}

/* Another node has this node's id, or the message is this node's own: its address may be a seed, or the
 * former address of a member. A node that takes part rejects a node that begins. */
static void receive_from_own_id(struct replica *r, const struct replica_message *message)
{
    if (message->kind == REPLICA_JOIN_REJECTED) {
        if (message->join_rejected.rejection == REPLICA_REJECTED_ID && r->role == REPLICA_LOOKING)
            replica_note_rejection(r, message);
        return;
    }
    bool begins = message->kind == REPLICA_JOIN || message->kind == REPLICA_LEADER_QUERY;
    if (!begins || !replica_is_member(r) || r->role == REPLICA_LOOKING ||
        strcmp(message->internal, r->internal) == 0)
        return;
    struct replica_message *answer = replica_send(r, REPLICA_JOIN_REJECTED, message->from);
    answer->address = message->internal;
    answer->join_rejected.rejection = REPLICA_REJECTED_ID;
    answer->epoch = r->epoch;
}

/* Whether the message is meant for another node, whose former address this node has. */
static bool is_misdirected(const struct replica *r, const struct replica_message *message)
{
    return message->to != 0 && message->to != r->options.id &&
           message->kind != REPLICA_LEADER_QUERY;
}

static void receive(struct replica *r, const struct replica_message *message, const char *address)
{
    unsigned flags = rules[message->kind].flags;
    bool is_empty = !replica_has_cluster(r->cluster);
    bool is_from_empty = !replica_has_cluster(message->cluster);
    if (!is_empty && !is_from_empty &&
        memcmp(message->cluster, r->cluster, sizeof r->cluster) != 0) {
        replica_contact_stranger(r, message, address);
        return;
    }
    if (message->from == r->options.id) {
        receive_from_own_id(r, message);
        return;
    }
    if ((is_from_empty && (flags & FROM_EMPTY) == 0) || (is_empty && (flags & TO_EMPTY) == 0))
        return;
    if (is_empty)
        replica_founding_note(r, message, address);
    if (is_from_empty && !is_empty && address != NULL)
        replica_contact_stranger(r, message, address);
    struct peer *peer = is_from_empty ? NULL : replica_peer_find(r, message->from);
    if (peer != NULL)
        replica_contact_note(r, peer, message, address);
    if (message->promised > r->highest)
        r->highest = message->promised;
    if (!is_misdirected(r, message))
        rules[message->kind].receive(r, message);
    else if ((flags & QUESTION) != 0)
        replica_answer_leader(r, message, 0);
}

static void tick(struct replica *r)
{
    if (r->role == REPLICA_LOOKING)
        replica_founding_tick(r);
    if (r->role == REPLICA_LOOKING || r->role == REPLICA_SUSPECTING)
        replica_poll_tick(r);
    if (replica_is_following(r))
        replica_stream_tick(r);
    if (replica_is_following(r) || r->role == REPLICA_RECOVERING_LOG)
        replica_join_tick(r);
    if (r->role == REPLICA_CANDIDATE)
        replica_election_tick(r);
    if (r->role == REPLICA_MASTER)
        replica_commit_tick(r);
    replica_heal_tick(r);
    replica_leave_tick(r);
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
            replica_contact_lost(r, event->address, 0);
        return OK;
    case REPLICA_PROPOSE:
        return replica_propose(r, event);
    case REPLICA_DURABLE:
        durable(r, event->position);
        return OK;
    case REPLICA_FAILED:
        failed(r, event->state);
        return OK;
    case REPLICA_CHECKED:
        replica_checked(r);
        return OK;
    case REPLICA_INSTALLED:
        replica_installed(r, event->state);
        return OK;
    case REPLICA_ORPHANS_MERGED:
        replica_orphans_merged(r, event);
        return OK;
    case REPLICA_PRUNED:
        r->first_seq = event->position.seq;
        return OK;
    case REPLICA_LEAVE_NODE:
        return replica_leave_node(r, event->node);
    default:
        return ERROR_INVALID;
    }
}

enum error replica_step(struct replica *r, const struct replica_event *event,
                        struct replica_actions *out)
{
    out->count = 0;
    if (event->kind == REPLICA_RECEIVE && !replica_message_is_sound(event->message, r->options.id))
        return ERROR_INVALID;
    r->out = out;
    set_time(r, event->now_ms);
    enum error error = dispatch(r, event);
    replica_log_append_members(r);
    replica_role_update(r);
    replica_role_check(r);
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
    r->options.ping_ms = or_default(options->ping_ms, 40);
    r->options.ping_timeout_ms = or_default(options->ping_timeout_ms, 500);
    r->options.ping_timeout_min_ms = or_default(options->ping_timeout_min_ms, 180);
    r->options.ack_timeout_ms = or_default(options->ack_timeout_ms, 1000);
    r->options.disk_timeout_ms = or_default(options->disk_timeout_ms, 2000);
    r->options.disk_timeout_min_ms = or_default(options->disk_timeout_min_ms, 400);
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

static struct silence_bounds bounds_of(uint32_t due_ms, uint32_t min_ms, uint32_t max_ms)
{
    return (struct silence_bounds){
        .due_ms = due_ms, .min_ms = min_ms < max_ms ? min_ms : max_ms, .max_ms = max_ms};
}

static void set_bounds(struct replica *r)
{
    const struct replica_options *options = &r->options;
    r->master_bounds =
        bounds_of(options->ping_ms, options->ping_timeout_min_ms, options->ping_timeout_ms);
    r->disk_bounds = bounds_of(0, options->disk_timeout_min_ms, options->disk_timeout_ms);
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
    set_bounds(r);
    *out = r;
    return OK;
}

void replica_free(struct replica *replica)
{
    free(replica);
}

/* ---- queries ---- */

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

uint64_t replica_master_seen_ms(const struct replica *r)
{
    return r->master.heard_ms;
}

uint16_t replica_master(const struct replica *r)
{
    return r->master.id;
}

const char *replica_master_client(const struct replica *r)
{
    const struct replica_member *member = replica_member_find(r, r->master.id);
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

size_t replica_members(const struct replica *r, const struct replica_member **members)
{
    *members = r->members.items;
    return r->members.count;
}

bool replica_silence(const struct replica *r, uint16_t node, struct replica_silence *out)
{
    bool is_own = node == r->options.id;
    if (!is_own && (!replica_is_following(r) || node != r->master.id))
        return false;
    struct silence silence = r->disk;
    if (!is_own && !replica_role_learned(r, &silence))
        return false;
    const struct silence_bounds *bounds = is_own ? &r->disk_bounds : &r->master_bounds;
    *out = (struct replica_silence){.longest_ms = (silence.longest_us + 999) / 1000,
                                    .limit_ms = silence_limit_ms(&silence, bounds)};
    return true;
}
