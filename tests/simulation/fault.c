/* SPDX-License-Identifier: MIT */
/* What goes wrong, and when. */
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void fault_next(struct world *world)
{
    at(world, world->now + 5 * MS + below(world, 2 * world->fault_every), AT_FAULT, 0, 0, NULL);
}

static struct node *any_node(struct world *world)
{
    return &world->nodes[below(world, world->nodes_count)];
}

/* The master is the most interesting victim. */
static struct node *victim(struct world *world)
{
    if (chance(world, 400))
        for (unsigned i = 0; i < world->nodes_count; i++)
            if (world->nodes[i].alive && replica_role(world->nodes[i].replica) == REPLICA_MASTER)
                return &world->nodes[i];
    return any_node(world);
}

static bool has_everything_acked(const struct world *world, const struct node *node)
{
    for (unsigned i = 0; i < world->clients_count; i++) {
        const struct client *client = &world->clients[i];
        struct chat_session *session = chat_find_session(node->chat, client->session);
        uint64_t acked = client->base - 1;
        for (uint64_t request = client->base; request < client->next; request++)
            if (client->sent[request - client->first].acked)
                acked = request;
        if (session == NULL || chat_session_last_request(session) < acked)
            return false;
    }
    enum replica_role role = replica_role(node->replica);
    return role == REPLICA_MASTER || role == REPLICA_SLAVE;
}

/* By the last list of members in its log, whether it runs or not. */
static bool knows_itself_behind(const struct node *node)
{
    static struct replica_member members[REPLICA_MEMBERS_MAX];
    size_t count = 0;
    for (size_t i = node->durable; i > 0 && count == 0; i--)
        if (node->rows.items[i - 1].kind == LOG_ENTRY_MEMBERS)
            (void)replica_members_unpack(node->rows.items[i - 1].bytes,
                                         node->rows.items[i - 1].size, members, &count);
    for (size_t i = 0; i < count; i++)
        if (members[i].id == node->id)
            return !members[i].in_sync && node->durable == node->rows.count;
    return true;
}

/* Without it, and without those that have lost theirs already, a majority has its data. */
static bool is_minority(const struct world *world, const struct node *node)
{
    unsigned members = 0;
    unsigned whole = 0;
    for (unsigned i = 0; i < world->nodes_count; i++) {
        members += !world->nodes[i].left;
        whole +=
            !world->nodes[i].left && !world->nodes[i].is_recovering && &world->nodes[i] != node;
    }
    return whole * 2 > members;
}

/* Somebody else has all of its log on the disk, and may be the master with it. */
bool fault_may_empty(const struct world *world, const struct node *node)
{
    size_t end = node->durable;
    if (world->options.policy == REPLICA_QUORUM && !is_minority(world, node))
        return false;
    for (unsigned i = 0; i < world->nodes_count && node->orphans_count == 0; i++) {
        const struct node *other = &world->nodes[i];
        bool may_epoch_start = world->options.policy != REPLICA_ALL || !knows_itself_behind(other);
        if (other == node || other->left || node_is_elsewhere(other) || other->durable < end ||
            !may_epoch_start)
            continue;
        if (end == 0 || other->rows.items[end - 1].digest == node->rows.items[end - 1].digest)
            return true;
    }
    return false;
}

static bool others_know_themselves_behind(const struct world *world, const struct node *node)
{
    for (unsigned i = 0; i < world->nodes_count; i++) {
        const struct node *other = &world->nodes[i];
        if (other != node && !other->left && !knows_itself_behind(other))
            return false;
    }
    return true;
}

/* N servers survive N-1 crashes: one of those that the master waits for must stay. */
static bool may_crash(const struct world *world, const struct node *node)
{
    if (!world->is_gentle)
        return true;
    for (unsigned i = 0; i < world->nodes_count; i++) {
        const struct node *other = &world->nodes[i];
        if (other != node && other->alive && has_everything_acked(world, other))
            return true;
    }
    /* Nobody has everything, but nobody thinks so either: they wait. */
    return others_know_themselves_behind(world, node);
}

static void crash(struct world *world)
{
    struct node *node = victim(world);
    if (node->alive && may_crash(world, node))
        node_crash(world, node, chance(world, 500));
    if (!world->is_gentle && chance(world, 60)) /* a power cut */
        for (unsigned i = 0; i < world->nodes_count; i++)
            if (world->nodes[i].alive)
                node_crash(world, &world->nodes[i], chance(world, 500));
}

static void heal_cuts(struct world *world)
{
    memset(world->cut, 0, sizeof world->cut);
}

static void partition(struct world *world)
{
    size_t ends = NODES_MAX + CLIENTS_MAX;
    bool side[NODES_MAX + CLIENTS_MAX + 1];
    for (size_t i = 0; i < ends; i++)
        side[i] = chance(world, 500);
    bool one_way = chance(world, 300);
    bool single = chance(world, 400);
    size_t alone = (size_t)(victim(world)->id - 1);
    for (size_t i = 0; i < ends && single; i++)
        side[i] = i == alone || (i >= NODES_MAX && chance(world, 300));
    heal_cuts(world);
    for (size_t from = 0; from < ends; from++)
        for (size_t to = 0; to < ends; to++)
            world->cut[from][to] = side[from] != side[to] && (!one_way || side[from]);
    trace(world, "partition%s", one_way ? ", one way" : "");
    world->healed_at = world->now + 50 * MS + below(world, 4 * SECOND);
    at(world, world->healed_at, AT_HEAL, 0, 0, NULL);
}

static void pause_node(struct world *world)
{
    struct node *node = victim(world);
    node->paused_until = world->now + 20 * MS + below(world, 2500 * MS);
    trace(world, "n%u pauses until %.3f", node->id, (double)node->paused_until / 1000.0);
}

static void disk(struct world *world)
{
    struct node *node = victim(world);
    if (chance(world, 500)) {
        node->disk_stalled_until = world->now + below(world, 3500 * MS);
        trace(world, "n%u disk stalls", node->id);
    } else {
        node->disk_fails_until = world->now + below(world, 1500 * MS);
        trace(world, "n%u disk is full", node->id);
    }
}

/* Once in some runs a node leaves: one that asks for itself, or a dead one that the master removes. */
static void leave_for_good(struct world *world)
{
    if (!world->may_leave || world->nodes_count < 3 || !chance(world, 60))
        return;
    struct node *master = NULL;
    for (unsigned i = 0; i < world->nodes_count; i++)
        if (world->nodes[i].alive && replica_role(world->nodes[i].replica) == REPLICA_MASTER)
            master = &world->nodes[i];
    struct node *leaver = any_node(world);
    struct node *asked = chance(world, 500) ? master : leaver;
    if (master == NULL || !asked->alive || asked->paused_until > world->now ||
        asked->busy_until > world->now)
        return;
    trace(world, "n%u is told that n%u shall leave", asked->id, leaver->id);
    world->may_leave = false;
    node_step(world, asked,
              &(struct replica_event){.kind = REPLICA_LEAVE_NODE, .node = leaver->id});
}

/* ---- addresses ---- */

static void give_host(struct node *node, unsigned host)
{
    (void)snprintf(node->internal, sizeof node->internal, "10.0.%u.%u:2626", host / 200,
                   host % 200 + 8);
}

static void swap_addresses(struct world *world, struct node *one, struct node *other)
{
    char kept[sizeof one->internal];
    memcpy(kept, one->internal, sizeof kept);
    memcpy(one->internal, other->internal, sizeof kept);
    memcpy(other->internal, kept, sizeof kept);
    trace(world, "n%u and n%u swap: %s, %s", one->id, other->id, one->internal, other->internal);
}

/* Of the nodes that are dead, and of those that may die, some come back elsewhere. */
static void move(struct world *world)
{
    unsigned per_mille = chance(world, 300) ? 1000 : 500;
    struct node *before = NULL;
    for (unsigned i = 0; i < world->nodes_count; i++) {
        struct node *node = &world->nodes[i];
        if (node->left || !chance(world, per_mille))
            continue;
        if (node->alive && may_crash(world, node))
            node_crash(world, node, chance(world, 500));
        if (node->alive)
            continue;
        world->strangers[i] = NO_STRANGER;
        if (before != NULL && chance(world, 700))
            swap_addresses(world, before, node);
        else if (chance(world, 300)) {
            give_host(node, 200 + world->hosts++);
            trace(world, "n%u moves to %s", node->id, node->internal);
        }
        before = node;
    }
}

static void put_stranger(struct world *world)
{
    struct node *node = victim(world);
    if (node->alive && may_crash(world, node))
        node_crash(world, node, chance(world, 500));
    if (node->alive)
        return;
    world->strangers[node->id - 1] = chance(world, 300) ? EMPTY_STRANGER : OTHER_STRANGER;
    trace(world, "somebody else is at n%u's address", node->id);
}

/* A member of another cluster believes that node is one of its own. */
void fault_stranger_calls(struct world *world, struct node *node)
{
    static const enum replica_message_kind kinds[] = {
        REPLICA_LEADER_QUERY, REPLICA_JOIN, REPLICA_ANNOUNCE, REPLICA_PREPARE, REPLICA_LEADER_INFO};
    struct packet *call = make(world, sizeof *call);
    call->kind = PACKET_REPLICA;
    call->from = NODES_MAX + 1; /* nobody here: its answers go nowhere */
    call->to = node->id;
    call->dialled = keep_address(world, node->internal);
    call->message = (struct replica_message){
        .kind = kinds[below(world, sizeof kinds / sizeof *kinds)],
        .from = (uint16_t)(1 + below(world, 9)),
        .to = (uint16_t)(chance(world, 500) ? node->id : 0),
        .epoch = UINT64_C(99) << 16 | 1,
        .promised = UINT64_C(99) << 16 | 1,
        .position = {UINT64_C(99) << 16 | 1, 5},
        .internal = "10.9.9.9:2626",
        .client = "10.9.9.9:2625",
    };
    memset(call->message.cluster, 0x66, sizeof call->message.cluster);
    at(world, world->now + below(world, MS), AT_PACKET, node->id, 0, call);
}

void fault_happens(struct world *world, bool is_regular)
{
    if (world->is_quiet)
        return;
    if (is_regular)
        fault_next(world);
    struct node *node = any_node(world);
    if (world->may_prune && node->alive && node->paused_until <= world->now &&
        node->busy_until <= world->now)
        node_prune(world, node);
    leave_for_good(world);
    unsigned kinds[10];
    size_t count = 0;
    for (unsigned bit = 1; bit <= FAULT_STRANGER; bit *= 2)
        if ((world->options.faults & bit & ~(unsigned)(FAULT_LEAVE | FAULT_CHECK)) != 0)
            kinds[count++] = bit;
    if (count == 0)
        return;
    switch (kinds[below(world, count)]) {
    case FAULT_CRASH:
        crash(world);
        break;
    case FAULT_PARTITION:
        partition(world);
        break;
    case FAULT_PAUSE:
        pause_node(world);
        break;
    case FAULT_DISK:
        disk(world);
        break;
    case FAULT_MOVE:
        move(world);
        break;
    case FAULT_STRANGER:
        if (chance(world, 500))
            put_stranger(world);
        else
            fault_stranger_calls(world, any_node(world));
        break;
    default:
        break;
    }
}

void faults_end(struct world *world)
{
    world->is_quiet = true;
    heal_cuts(world);
    memset(world->strangers, 0, sizeof world->strangers);
    for (unsigned i = 0; i < world->nodes_count; i++) {
        struct node *node = &world->nodes[i];
        node->disk_stalled_until = 0;
        node->disk_fails_until = 0;
        if (node->paused_until > world->now)
            node->paused_until = world->now;
    }
    trace(world, "no more faults");
}
