/* SPDX-License-Identifier: MIT */
/* Merges orphans of deposed masters into the log of the master. Orphans wait until the commit log
 * is free. Then each delta that the chat does not know is proposed, and the owner gets
 * ORPHAN_TRANSFER_DONE when the batch is in the log. An orphan may have ended its master, so a
 * child process tries it first (trial.h). A delta that ends two children is refused. */
#include "cluster/cluster_internal.h"

#include "base/log_pace.h"
#include "base/protobuf.h"
#include "commit/trial.h"

#include <string.h>

#define MERGE_FACTOR 64u /* memory for an entry, unpacked and made into deltas of this epoch */
#define MERGE_FLOOR (1024u * 1024u)
#define MERGED_AT_ONCE (1024u * 1024u) /* bytes of a batch that takes no further orphan transfer */

struct tally {
    uint64_t taken;
    uint64_t known;
    uint64_t waiting;
    uint64_t dropped;
};

static void forget(struct cluster *cluster, size_t index)
{
    entry_queue_clear(&cluster->orphan_transfers[index].entries);
    cluster->orphan_transfers_count--;
    memmove(&cluster->orphan_transfers[index], &cluster->orphan_transfers[index + 1],
            (cluster->orphan_transfers_count - index) * sizeof cluster->orphan_transfers[0]);
}

void cluster_forget_orphan_transfers(struct cluster *cluster)
{
    while (cluster->orphan_transfers_count > 0)
        forget(cluster, cluster->orphan_transfers_count - 1);
}

void cluster_undo_orphan_transfers(struct cluster *cluster)
{
    for (size_t i = 0; i < cluster->orphan_transfers_count; i++)
        cluster->orphan_transfers[i].is_done = false;
}

/* One transfer of a node at a time: the node repeats it until ORPHAN_TRANSFER_DONE. */
static struct orphan_transfer *place_for(struct cluster *cluster, uint16_t node)
{
    for (size_t i = 0; i < cluster->orphan_transfers_count; i++)
        if (cluster->orphan_transfers[i].node == node)
            return NULL;
    if (cluster->orphan_transfers_count == ORPHAN_TRANSFERS_MAX)
        return NULL;
    struct orphan_transfer *orphan_transfer =
        &cluster->orphan_transfers[cluster->orphan_transfers_count++];
    *orphan_transfer = (struct orphan_transfer){.node = node};
    return orphan_transfer;
}

void cluster_note_orphan_transfer(struct cluster *cluster, const struct replica_message *message,
                                  uint64_t after)
{
    struct replica_orphan_transfer own = {.orphan = after};
    if (message == NULL && !cluster_fill_orphans(cluster, &own))
        return;
    const struct replica_orphan_transfer *orphans =
        message == NULL ? &own : &message->orphan_transfer;
    uint16_t node = message == NULL ? (uint16_t)cluster->options.settings->id : message->from;
    struct orphan_transfer *orphan_transfer = place_for(cluster, node);
    if (orphan_transfer == NULL)
        return;
    orphan_transfer->orphan = orphans->orphan;
    for (size_t i = 0; i < orphans->count; i++)
        if (entry_queue_push(&orphan_transfer->entries, &orphans->entries[i]) != OK) {
            forget(cluster, cluster->orphan_transfers_count - 1); /* the node repeats it */
            return;
        }
}

/* ---- orphans that end a process ---- */

#define DEATHS_TO_REFUSE 2
#define UNKNOWNS_MAX \
    5 /* then the master merges a transfer without a trial, so that it does not wait for ever */

static struct poison *poison_at(struct cluster *cluster, struct log_position at)
{
    for (size_t i = 0; i < POISONS_MAX; i++) {
        struct poison *poison = &cluster->poisons[i];
        if (poison->deaths > 0 && poison->at.epoch == at.epoch && poison->at.seq == at.seq)
            return poison;
    }
    return NULL;
}

static void note_death(struct cluster *cluster, const struct trial_report *report)
{
    struct poison *poison = poison_at(cluster, report->at);
    if (poison == NULL) {
        poison = &cluster->poisons[cluster->next_poison++ % POISONS_MAX];
        *poison = (struct poison){.at = report->at};
    }
    poison->deaths++;
    log_warning("cluster", "trial_failed", log_number("epoch", report->at.epoch),
                log_number("seq", report->at.seq), log_string("reason", report->text));
}

static bool is_poison(struct cluster *cluster, struct log_position at)
{
    const struct poison *poison = poison_at(cluster, at);
    return poison != NULL && poison->deaths >= DEATHS_TO_REFUSE;
}

/* The refusal that replaces a request that ends a process. NULL: the orphan is no request, or there
 * is no memory. */
static const Jackdaw__Delta *refusal_of(const Jackdaw__Delta *orphan, struct arena *arena)
{
    static const char text[] = "this request ended a server process, so the servers refuse it";
    Jackdaw__Delta *delta = arena_zalloc(arena, sizeof *delta);
    Jackdaw__Refused *refused = arena_zalloc(arena, sizeof *refused);
    if (orphan->request == 0 || delta == NULL || refused == NULL)
        return NULL;
    jackdaw__delta__init(delta);
    jackdaw__refused__init(refused);
    refused->status = STATUS_INTERNAL;
    refused->message = (char *)(uintptr_t)text;
    delta->time_ms = orphan->time_ms;
    delta->session = orphan->session;
    delta->request = orphan->request;
    delta->change_case = JACKDAW__DELTA__CHANGE_REFUSED;
    delta->refused = refused;
    return delta;
}

/* ---- merging ---- */

/* Returns false if the batch was rolled back. */
static bool merge_delta(struct cluster *cluster, const Jackdaw__Delta *delta, struct arena *arena,
                        struct tally *tally)
{
    struct chat_call call = {
        .time_ms = cluster->wall_ms, .monotonic_ms = cluster->now_ms, .arena = arena};
    if (chat_level_of(delta) > replica_level(cluster->replica)) {
        tally->waiting++; /* until every member can apply it */
        return true;
    }
    switch (chat_merge_orphan(cluster->chat, &call, delta)) {
    case CHAT_KNOWN:
        tally->known++;
        return true;
    case CHAT_APPLY:
        tally->taken++;
        return commit_log_propose(cluster->commit_log, call.delta) == OK;
    case CHAT_WAIT:
        tally->waiting++;
        log_warning_paced(call.text, "cluster", "orphan_waits", log_string("reason", call.text));
        return true;
    case CHAT_DROP:
    default:
        tally->dropped++;
        log_warning("cluster", "orphan_dropped",
                    log_string("reason", call.text == NULL ? "" : call.text));
        return true;
    }
}

/* Writes the rows at once, here as in a child, so that a failure shows in the trial. */
static bool merge_orphan(struct cluster *cluster, const Jackdaw__Delta *delta,
                         struct log_position at, struct arena *arena, struct tally *tally)
{
    trial_mark(at);
    if (is_poison(cluster, at)) {
        log_error("cluster", "poison_refused", log_number("epoch", at.epoch),
                  log_number("seq", at.seq), log_number("kind", (uint64_t)delta->change_case),
                  log_number("session", delta->session), log_number("request", delta->request),
                  log_string("hint", "a bug: this change of a lost epoch ends a server; report it "
                                     "with this line"));
        cluster->refused++;
        delta = refusal_of(delta, arena);
        if (delta == NULL) {
            tally->dropped++;
            return true;
        }
    }
    bool goes_on = merge_delta(cluster, delta, arena, tally);
    commit_log_flush(cluster->commit_log);
    return goes_on && commit_log_is_open(cluster->commit_log);
}

static bool merge_entry(struct cluster *cluster, const struct log_entry *entry, struct tally *tally)
{
    struct arena arena;
    arena_init(&arena, entry->size * MERGE_FACTOR + MERGE_FLOOR);
    const Jackdaw__Batch *batch =
        protobuf_unpack(&jackdaw__batch__descriptor, &arena, entry->bytes, entry->size);
    bool goes_on = true;
    if (batch == NULL) { /* probably for lack of memory: the node repeats it */
        log_error("cluster", "orphan_unreadable", log_number("seq", entry->first_seq));
        tally->waiting++;
    }
    /* In order: an orphan that waits delays those behind it. */
    for (size_t i = 0; goes_on && tally->waiting == 0 && i < batch->n_deltas; i++)
        goes_on =
            merge_orphan(cluster, batch->deltas[i],
                         (struct log_position){.epoch = entry->epoch, .seq = entry->first_seq + i},
                         &arena, tally);
    arena_clear(&arena);
    return goes_on;
}

static bool merge_orphan_transfer(struct cluster *cluster, struct orphan_transfer *orphan_transfer)
{
    struct tally tally = {0};
    for (const struct entry_queue_item *each = orphan_transfer->entries.first;
         each != NULL && tally.waiting == 0; each = each->next)
        if (!merge_entry(cluster, &each->entry, &tally))
            return false; /* the end of the epoch may have freed the transfer */
    orphan_transfer->is_done = tally.waiting == 0;
    if (tally.taken > 0 || tally.dropped > 0) /* a transfer without news may be repeated often */
        log_info("cluster", "healed", log_number("from", orphan_transfer->node),
                 log_number("taken", tally.taken), log_number("known", tally.known),
                 log_number("waiting", tally.waiting), log_number("dropped", tally.dropped));
    return true;
}

struct attempt {
    struct cluster *cluster;
    struct orphan_transfer *orphan_transfer;
};

static void merge_in_child(void *context)
{
    const struct attempt *attempt = context;
    store_isolate(attempt->cluster->store);
    (void)merge_orphan_transfer(attempt->cluster, attempt->orphan_transfer);
}

/* Returns whether the orphan transfer may be merged. If not, the node repeats it. */
static bool try_orphan_transfer(struct cluster *cluster, struct orphan_transfer *orphan_transfer)
{
    struct attempt attempt = {.cluster = cluster, .orphan_transfer = orphan_transfer};
    struct trial trial = {
        .context = &attempt,
        .run = merge_in_child,
        .bound_ms = trial_bound_ms(cluster_settings_silence_ms(cluster->options.settings)),
    };
    struct trial_report report;
    if (commit_log_open(cluster->commit_log) != OK)
        return false;
    trial_run_on(cluster->store, &trial, &report);
    bool is_failure = report.end == TRIAL_DIED || report.end == TRIAL_LOOPED;
    if (is_failure && report.has_begun)
        note_death(cluster, &report);
    cluster->unknowns = report.end == TRIAL_UNKNOWN ? cluster->unknowns + 1 : 0;
    return report.end == TRIAL_PASSED || cluster->unknowns >= UNKNOWNS_MAX;
}

uint64_t cluster_refused(const struct cluster *cluster)
{
    return cluster->refused;
}

void cluster_work(struct cluster *cluster)
{
    cluster_check_log(cluster);
    if (!commit_log_is_master(cluster->commit_log) || !cluster_may_write(cluster, true))
        return;
    for (size_t i = 0; i < cluster->orphan_transfers_count; i++)
        if (commit_log_batch_bytes(cluster->commit_log) >= MERGED_AT_ONCE ||
            !try_orphan_transfer(cluster, &cluster->orphan_transfers[i]) ||
            !merge_orphan_transfer(cluster, &cluster->orphan_transfers[i]))
            return; /* the nodes repeat the remaining transfers */
}

bool cluster_next_merged(struct cluster *cluster, struct replica_event *event)
{
    while (cluster->orphan_transfers_count > 0) {
        struct orphan_transfer *first = &cluster->orphan_transfers[0];
        *event = (struct replica_event){.kind = REPLICA_ORPHANS_MERGED,
                                        .node = first->node,
                                        .orphan = first->orphan,
                                        .position = replica_last(cluster->replica)};
        bool is_done = first->is_done;
        forget(cluster, 0);
        if (is_done && commit_log_is_master(cluster->commit_log))
            return true;
    }
    return false;
}
