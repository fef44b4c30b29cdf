/* SPDX-License-Identifier: MIT */
/* What deposed masters hand over, on its way into the log of the master: waits until the ledger is
 * free, is proposed delta by delta where the chat does not know it, and is told to be done once the
 * batch is in the log. */
#include "server/cluster_internal.h"

#include "base/log.h"

#include <string.h>

#define TAKE_FACTOR 64u /* memory for an entry, unpacked and made into deltas of this reign */
#define TAKE_FLOOR (1024u * 1024u)
#define TAKEN_AT_ONCE (1024u * 1024u) /* bytes of a batch that takes no further handover */

static void forget(struct cluster *cluster, size_t index)
{
    entries_clear(&cluster->handovers[index].entries);
    cluster->handovers_count--;
    memmove(&cluster->handovers[index], &cluster->handovers[index + 1],
            (cluster->handovers_count - index) * sizeof cluster->handovers[0]);
}

void cluster_forget_handovers(struct cluster *cluster)
{
    while (cluster->handovers_count > 0)
        forget(cluster, cluster->handovers_count - 1);
}

void cluster_undo_handovers(struct cluster *cluster)
{
    for (size_t i = 0; i < cluster->handovers_count; i++)
        cluster->handovers[i].is_done = false;
    cluster->drop_orphans = cluster->handed_over; /* that may have been in it, too */
}

/* One of a node at a time: it sends the same again until it is told. */
static struct handover *place_for(struct cluster *cluster, uint16_t node)
{
    for (size_t i = 0; i < cluster->handovers_count; i++)
        if (cluster->handovers[i].node == node)
            return NULL;
    if (cluster->handovers_count == HANDOVERS_MAX)
        return NULL;
    struct handover *handover = &cluster->handovers[cluster->handovers_count++];
    *handover = (struct handover){.node = node};
    return handover;
}

void cluster_note_handover(struct cluster *cluster, const struct replica_message *message)
{
    struct replica_message own = {.from = (uint16_t)cluster->options.options->id};
    if (message == NULL && !cluster_fill_handover(cluster, &own))
        return;
    const struct replica_message *from = message == NULL ? &own : message;
    struct handover *handover = place_for(cluster, from->from);
    if (handover == NULL)
        return;
    handover->orphan = from->orphan;
    for (size_t i = 0; i < from->batches_count; i++) {
        const struct replica_batch *batch = &from->batches[i];
        struct ledger_entry entry = {
            .kind = LOG_CHAT,
            .first = {.epoch = batch->epoch, .seq = batch->first_seq},
            .last_seq = batch->last_seq,
            .bytes = batch->bytes,
            .size = batch->size,
        };
        if (entries_push(&handover->entries, &entry) != OK) {
            forget(cluster, cluster->handovers_count - 1); /* it comes again */
            return;
        }
    }
}

/* ---- taking over ---- */

struct tally {
    uint64_t taken;
    uint64_t known;
    uint64_t waiting;
    uint64_t dropped;
};

/* false: the batch was rolled back. */
static bool take_delta(struct cluster *cluster, const Jackdaw__Delta *delta, struct arena *arena,
                       struct tally *tally)
{
    struct chat_call call = {
        .time_ms = cluster->wall_ms, .monotonic_ms = cluster->now_ms, .arena = arena};
    switch (chat_take_over(cluster->chat, &call, delta)) {
    case CHAT_KNOWN:
        tally->known++;
        return true;
    case CHAT_APPLY:
        tally->taken++;
        return ledger_propose(cluster->ledger, call.delta) == OK;
    case CHAT_WAIT:
        tally->waiting++;
        return true;
    case CHAT_DROP:
    default:
        tally->dropped++;
        log_warning("cluster", "orphan_dropped",
                    log_string("reason", call.text == NULL ? "" : call.text));
        return true;
    }
}

static void *allocate(void *arena, size_t size)
{
    return arena_alloc(arena, size);
}

static void give_back(void *arena, void *pointer)
{
    (void)arena;
    (void)pointer;
}

static bool take_entry(struct cluster *cluster, const struct ledger_entry *entry,
                       struct tally *tally)
{
    struct arena arena;
    arena_init(&arena, entry->size * TAKE_FACTOR + TAKE_FLOOR);
    ProtobufCAllocator allocator = {.alloc = allocate, .free = give_back, .allocator_data = &arena};
    const Jackdaw__Batch *batch = jackdaw__batch__unpack(&allocator, entry->size, entry->bytes);
    bool goes_on = true;
    if (batch == NULL) { /* for want of memory, more likely than not: it comes again */
        log_error("cluster", "orphan_unreadable", log_number("seq", entry->first.seq));
        tally->waiting++;
    }
    for (size_t i = 0; batch != NULL && goes_on && i < batch->n_deltas; i++)
        goes_on = take_delta(cluster, batch->deltas[i], &arena, tally);
    arena_clear(&arena);
    return goes_on;
}

static bool take_handover(struct cluster *cluster, struct handover *handover)
{
    struct tally tally = {0};
    for (const struct waiting_entry *each = handover->entries.first; each != NULL;
         each = each->next)
        if (!take_entry(cluster, &each->entry, &tally))
            return false; /* and the handover may be gone, with the reign */
    handover->is_done = tally.waiting == 0;
    log_info("cluster", "healed", log_number("from", handover->node),
             log_number("taken", tally.taken), log_number("known", tally.known),
             log_number("waiting", tally.waiting), log_number("dropped", tally.dropped));
    return true;
}

void cluster_work(struct cluster *cluster)
{
    if (cluster->drop_orphans != 0) {
        enum error error = store_drop_orphans(cluster->store, cluster->drop_orphans);
        cluster->drop_orphans = 0;
        if (error != OK) {
            cluster->handed_over = 0; /* they are handed over again */
            log_warning("cluster", "cannot_drop_orphans", log_string("error", error_name(error)));
        }
    }
    if (!ledger_is_master(cluster->ledger))
        return;
    for (size_t i = 0; i < cluster->handovers_count; i++)
        if (ledger_batch_bytes(cluster->ledger) >= TAKEN_AT_ONCE ||
            !take_handover(cluster, &cluster->handovers[i]))
            return; /* what is left comes again */
}

bool cluster_has_work(const struct cluster *cluster)
{
    return cluster->handovers_count > 0;
}

void cluster_finish_work(struct cluster *cluster)
{
    while (cluster->handovers_count > 0) {
        struct handover done = cluster->handovers[0];
        cluster->handovers[0].entries = (struct entries){0};
        forget(cluster, 0);
        entries_clear(&done.entries);
        if (done.is_done && ledger_is_master(cluster->ledger))
            cluster_step(cluster,
                         &(struct replica_event){.kind = REPLICA_TAKEN_OVER,
                                                 .node = done.node,
                                                 .orphan = done.orphan,
                                                 .position = replica_last(cluster->replica)});
    }
}
