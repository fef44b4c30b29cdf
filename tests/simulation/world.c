/* SPDX-License-Identifier: MIT */
/* Chance, time, memory, the network. */
#include "sim.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* splitmix64 */
uint64_t draw(struct world *world)
{
    uint64_t z = (world->random += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

uint64_t below(struct world *world, uint64_t bound)
{
    return draw(world) % bound;
}

bool chance(struct world *world, unsigned per_mille)
{
    return below(world, 1000) < per_mille;
}

/* ---- memory ---- */

void *make(struct world *world, size_t size)
{
    void *memory = arena_zalloc(&world->arena, size);
    ASSERT(memory != NULL);
    return memory;
}

void *keep(struct world *world, const void *bytes, size_t size)
{
    void *memory = arena_copy(&world->arena, bytes, size);
    ASSERT(memory != NULL);
    return memory;
}

const char *keep_text(struct world *world, const char *format, ...)
{
    char text[128];
    va_list list;
    va_start(list, format);
    (void)vsnprintf(text, sizeof text, format, list);
    va_end(list);
    return keep(world, text, strlen(text) + 1);
}

/* ---- what is printed ---- */

void trace(struct world *world, const char *format, ...)
{
    if (!world->options.trace)
        return;
    va_list list;
    va_start(list, format);
    printf("%10.3f ", (double)world->now / 1000.0);
    vprintf(format, list);
    putchar('\n');
    va_end(list);
}

static const char *policy_name(enum replica_policy policy)
{
    return policy == REPLICA_QUORUM ? "quorum" : policy == REPLICA_LOCAL ? "local" : "all";
}

void print_replay(const struct options *options)
{
    fprintf(stderr,
            "tests/simulation/run --seed %llu --steps %llu --nodes %u --durability %s --faults %u "
            "--trace\n",
            (unsigned long long)options->seed, (unsigned long long)options->steps, options->nodes,
            policy_name(options->policy), options->faults);
}

_Noreturn void broken(struct world *world, const char *invariant, const char *format, ...)
{
    fflush(stdout);
    va_list list;
    va_start(list, format);
    fprintf(stderr, "BROKEN %s at %.3f ms: ", invariant, (double)world->now / 1000.0);
    vfprintf(stderr, format, list);
    va_end(list);
    fprintf(stderr, "\nreplay: ");
    print_replay(&world->options);
    fflush(stderr);
    _Exit(1);
}

/* ---- time ---- */

static bool comes_first(const struct entry *left, const struct entry *right)
{
    return left->at != right->at ? left->at < right->at : left->order < right->order;
}

void at(struct world *world, uint64_t time, enum entry_kind kind, int who, uint64_t incarnation,
        void *pointer)
{
    if (world->heap_count == world->heap_capacity) {
        world->heap_capacity = world->heap_capacity == 0 ? 1024 : world->heap_capacity * 2;
        world->heap = realloc(world->heap, world->heap_capacity * sizeof *world->heap);
        ASSERT(world->heap != NULL);
    }
    size_t place = world->heap_count++;
    struct entry entry = {.at = time,
                          .order = world->order++,
                          .kind = (int)kind,
                          .who = who,
                          .incarnation = incarnation,
                          .pointer = pointer};
    while (place > 0 && comes_first(&entry, &world->heap[(place - 1) / 2])) {
        world->heap[place] = world->heap[(place - 1) / 2];
        place = (place - 1) / 2;
    }
    world->heap[place] = entry;
}

bool next_entry(struct world *world, struct entry *out)
{
    if (world->heap_count == 0)
        return false;
    *out = world->heap[0];
    struct entry last = world->heap[--world->heap_count];
    size_t place = 0;
    for (;;) {
        size_t child = 2 * place + 1;
        if (child >= world->heap_count)
            break;
        if (child + 1 < world->heap_count &&
            comes_first(&world->heap[child + 1], &world->heap[child]))
            child++;
        if (!comes_first(&world->heap[child], &last))
            break;
        world->heap[place] = world->heap[child];
        place = child;
    }
    if (world->heap_count > 0)
        world->heap[place] = last;
    return true;
}

/* ---- network ---- */

struct node *node_of(struct world *world, int id)
{
    return id >= 1 && id <= (int)world->nodes_count ? &world->nodes[id - 1] : NULL;
}

static size_t end_of(int who)
{
    return who > 0 ? (size_t)who - 1 : (size_t)(NODES_MAX - 1 - who);
}

bool is_cut(const struct world *world, int from, int to)
{
    return world->cut[end_of(from)][end_of(to)];
}

static uint64_t delay_of(struct world *world)
{
    uint64_t delay = 40 + below(world, 160);
    if ((world->options.faults & FAULT_LOSS) != 0 && !world->is_quiet && chance(world, 60))
        delay += below(world, 80 * MS);
    return delay;
}

static const char *packet_name(enum packet_kind kind)
{
    static const char *const names[] = {"message", "send", "read", "reply", "page"};
    return names[kind];
}

const char *keep_address(struct world *world, const char *address)
{
    for (unsigned i = 0; address != NULL && i < world->nodes_count; i++)
        if (strcmp(world->nodes[i].client, address) == 0)
            return world->nodes[i].client;
    return address == NULL ? NULL : keep(world, address, strlen(address) + 1);
}

void refuse_link(struct world *world, const struct node *from, const char *address, uint64_t after)
{
    at(world, world->now + 100 + after, AT_DISCONNECTED, from->id, from->incarnation,
       (void *)keep_address(world, address));
}

/* Answers in the name of what is at a dead node's address. */
static void answer_as_stranger(struct world *world, const struct packet *packet,
                               enum stranger stranger)
{
    struct node *asker = node_of(world, packet->from);
    struct packet *answer = make(world, sizeof *answer);
    *answer = (struct packet){.kind = PACKET_REPLICA,
                              .from = packet->to,
                              .to = packet->from,
                              .is_answer = true,
                              .life = packet->life,
                              .dialled = packet->dialled};
    answer->message = (struct replica_message){
        .kind = stranger == EMPTY_STRANGER ? REPLICA_LEADER_INFO : REPLICA_JOIN_REJECTED,
        .from = (uint16_t)(chance(world, 500) ? (uint64_t)packet->to : 1 + below(world, 9)),
        .to = asker->id,
        .refusal = REPLICA_REJECTED_CLUSTER,
        .internal = packet->dialled,
    };
    if (stranger == OTHER_STRANGER)
        memset(answer->message.cluster, 0x66, sizeof answer->message.cluster);
    at(world, world->now + delay_of(world), AT_PACKET, asker->id, 0, answer);
}

void transmit(struct world *world, struct packet *packet, uint64_t delay, bool is_feed)
{
    bool is_bad = (world->options.faults & FAULT_LOSS) != 0 && !world->is_quiet;
    if (packet->kind != PACKET_REPLICA)
        trace(world, "%s%d -> %s%d %s request %llu%s status %d master %u",
              packet->from < 0 ? "c" : "n", packet->from < 0 ? -1 - packet->from : packet->from,
              packet->to < 0 ? "c" : "n", packet->to < 0 ? -1 - packet->to : packet->to,
              packet_name(packet->kind), (unsigned long long)packet->request,
              packet->redirect ? " redirect" : "", (int)packet->status, packet->master);
    if (packet->to > NODES_MAX || is_cut(world, packet->from, packet->to))
        return;
    if (is_bad && chance(world, is_feed ? 60 : 25))
        return;
    struct node *node = node_of(world, packet->to);
    if (node != NULL && !node->alive) {
        enum stranger stranger = world->strangers[node->id - 1];
        bool asks = packet->from > 0 && !packet->is_answer && !is_feed;
        /* Refused: whoever dials a dead process is told. */
        if (asks && stranger == NO_STRANGER)
            refuse_link(world, node_of(world, packet->from), packet->dialled,
                        delay + delay_of(world));
        else if (asks)
            answer_as_stranger(world, packet, stranger);
        return;
    }
    at(world, world->now + delay + delay_of(world), AT_PACKET, packet->to, 0, packet);
    if (is_bad && chance(world, 25))
        at(world, world->now + delay + delay_of(world), AT_PACKET, packet->to, 0, packet);
}
