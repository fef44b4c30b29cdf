/* SPDX-License-Identifier: MIT */
#include "replication/founding.h"

#include "replication/actions.h"
#include "replication/locations.h"
#include "replication/log.h"
#include "replication/messages.h"
#include "replication/role.h"

#include <string.h>

/* ---- founding ---- */

void replica_found(struct replica *r)
{
    r->founding = (struct founding){.is_due = false};
    memcpy(r->cluster, r->options.new_cluster, sizeof r->cluster);
    replica_report(r, REPLICA_FOUNDING_CLUSTER, NULL, r->internal);
    replica_role_draw_epoch(r);
    replica_role_lead(r);
}

static bool are_seeds_empty(const struct replica *r)
{
    for (size_t i = 0; i < r->seeds_count; i++)
        if (r->founding.empty_ms[i] == 0)
            return false;
    return true;
}

void replica_founding_tick(struct replica *r)
{
    struct founding *founding = &r->founding;
    if (!founding->is_due)
        return;
    if (founding->since_ms == 0)
        founding->since_ms = r->now_ms; /* the node listens from its first tick on */
    uint64_t waited_ms = r->now_ms - founding->since_ms;
    bool is_over =
        waited_ms >= r->options.founding_wait_ms || (waited_ms >= LISTEN_MS && are_seeds_empty(r));
    bool is_others_turn = founding->other_ms != 0 && r->now_ms - founding->other_ms <= FRESH_MS;
    if (is_over && !is_others_turn)
        replica_found(r);
}

static void note_empty(struct replica *r, const struct replica_message *message,
                       const char *address)
{
    uint64_t now_ms = r->now_ms == 0 ? 1 : r->now_ms;
    for (size_t i = 0; address != NULL && i < r->seeds_count; i++)
        if (strcmp(r->seeds[i], address) == 0)
            r->founding.empty_ms[i] = now_ms;
    if (message->founding && message->from < r->options.id)
        r->founding.other_ms = now_ms; /* of two founders the smaller id goes first */
}

static void keep_caller(struct replica *r, const struct replica_message *message,
                        const char *address)
{
    if (address == NULL)
        address = message->internal;
    memset(r->caller, 0, sizeof r->caller);
    if (replica_address_is_sound(address) && strcmp(address, r->internal) != 0)
        memcpy(r->caller, address, strlen(address));
}

void replica_founding_note(struct replica *r, const struct replica_message *message,
                           const char *address)
{
    if (!replica_has_cluster(message->cluster)) {
        note_empty(r, message, address);
        return;
    }
    keep_caller(r, message, address);
    if (r->founding.is_due)
        replica_report(r, REPLICA_CLUSTER_FOUND, message, address);
    r->founding.is_due = false;
}

/* ---- giving up a blank cluster ---- */

static bool is_seed(const struct replica *r, const char *address)
{
    for (size_t i = 0; address != NULL && i < r->seeds_count; i++)
        if (strcmp(r->seeds[i], address) == 0)
            return true;
    return false;
}

/* Of two blank clusters the one with more members stays, or the one with the smaller id. */
static bool has_more(const struct replica *r, const struct replica_message *message)
{
    size_t own = 0;
    for (size_t i = 0; i < r->members.count; i++)
        own += r->members.items[i].in_sync && !r->members.items[i].left;
    size_t theirs = message->kind == REPLICA_LEADER_QUERY ? message->leader_query.in_sync.count
                                                          : message->join_rejected.in_sync.count;
    if (theirs != own)
        return theirs > own;
    return memcmp(message->cluster, r->cluster, sizeof r->cluster) < 0;
}

static void forget_cluster(struct replica *r)
{
    static const struct replica_state nothing;
    memset(r->cluster, 0, sizeof r->cluster);
    r->promised = 0;
    r->highest = 0;
    r->epoch = 0;
    r->needed = 0;
    replica_log_load(r, &nothing);
    r->master = (struct leader){.id = 0};
}

bool replica_founding_yield(struct replica *r, const struct replica_message *message,
                            const char *address)
{
    bool is_call = message->kind == REPLICA_LEADER_QUERY &&
                   (message->to == r->options.id || message->leader_query.is_seed);
    bool is_answer = message->kind == REPLICA_JOIN_REJECTED && address != NULL;
    bool is_listed = is_call || (is_answer && message->join_rejected.is_listed);
    /* A member of this cluster that is listed there has only lost its address to the other node. */
    bool is_told = is_answer && is_seed(r, address) && !replica_location_is_listed(r, address);
    if (!r->is_blank || (!is_listed && !is_told) || (message->blank && !has_more(r, message)))
        return false;
    replica_report(r, REPLICA_CLUSTER_GIVEN_UP, message, address);
    keep_caller(r, message, address);
    forget_cluster(r);
    replica_role_look(r, r->options.look_ms, true);
    replica_act(r, REPLICA_DO_RESET);
    return true;
}
