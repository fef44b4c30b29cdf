/* SPDX-License-Identifier: MIT */
/* Reads entries of the log for other nodes: recent ones from memory, others from its files. And for how long
 * the log is kept. */
#include "cluster/cluster_internal.h"

#include "base/log_pace.h"

#include <stdio.h>
#include <string.h>

#define ORPHAN_TRANSFER_BYTES \
    65536u /* a orphan transfer ends with the batch that passes this: pings wait behind it */
#define ENTRY_CACHE_MAX 512
#define ENTRY_CACHE_BYTES_MAX (8u * 1024u * 1024u)
#define LOG_CHECK_MS 20
#define RESERVE_PART 8 /* of --log_keep_bytes */

/* ---- how much of it is kept ---- */

static uint64_t back_from(uint64_t seq, uint64_t entries)
{
    return seq > entries ? seq - entries : 0;
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

uint64_t cluster_prune_before(const struct cluster_log_needs *kept)
{
    uint64_t before = least(back_from(kept->last_seq, kept->keep), kept->member_seq);
    return kept->has_room ? least(before, kept->copy_seq) : before;
}

/* ---- its bound ---- */

enum { LOG_HAS_ROOM, LOG_HALF_FULL, LOG_FULL };

static bool is_quorum(const struct cluster *cluster)
{
    return cluster->options.settings->durability == REPLICA_QUORUM;
}

static uint64_t needed_bytes(const struct cluster *cluster)
{
    return store_log_bytes(cluster->store) - cluster->needed_from_bytes;
}

void cluster_log_use(const struct cluster *cluster, struct cluster_log_use *out)
{
    *out = (struct cluster_log_use){
        .bytes = needed_bytes(cluster),
        .limit_bytes = cluster->options.settings->log_keep_bytes,
        .member = replica_role(cluster->replica) == REPLICA_MASTER
                      ? replica_slowest_member(cluster->replica)
                      : 0,
    };
}

bool cluster_may_write(const struct cluster *cluster, bool uses_reserve)
{
    uint64_t limit = cluster->options.settings->log_keep_bytes;
    if (uses_reserve)
        limit += limit / RESERVE_PART;
    return is_quorum(cluster) || needed_bytes(cluster) < limit;
}

void cluster_full_text(const struct cluster *cluster, char out[static CLUSTER_FULL_BYTES])
{
    unsigned member = replica_slowest_member(cluster->replica);
    (void)snprintf(
        out, CLUSTER_FULL_BYTES,
        "the log is full, so the request was not carried out: server %u lacks its entries; "
        "an operator must start that server or remove it (jackdaw-admin remove %u)",
        member, member);
}

static void tell_log(struct cluster *cluster, const struct cluster_log_use *use, unsigned level)
{
    if (level == cluster->told_log)
        return;
    cluster->told_log = level;
    if (level == LOG_FULL)
        log_error("cluster", "log_full", log_number("bytes", use->bytes),
                  log_number("limit", use->limit_bytes), log_number("id", use->member),
                  log_string("hint", "writes are refused: start that server, or remove it"));
    else if (level == LOG_HALF_FULL)
        log_warning("cluster", "log_half_full", log_number("bytes", use->bytes),
                    log_number("limit", use->limit_bytes), log_number("id", use->member),
                    log_string("hint", "start that server, or remove it, before the log is full"));
    else
        log_info("cluster", "log_has_room", log_number("bytes", use->bytes),
                 log_number("limit", use->limit_bytes));
}

static void measure(struct cluster *cluster)
{
    enum error error = store_log_bytes_to(cluster->store, replica_needed_seq(cluster->replica),
                                          &cluster->needed_from_bytes);
    if (error != OK) {
        log_error_paced(error_name(error), "cluster", "cannot_read_log",
                        log_string("error", error_name(error)),
                        log_string("reason", store_last_problem(cluster->store)));
        return;
    }
    struct cluster_log_use use;
    cluster_log_use(cluster, &use);
    bool is_bounded = replica_role(cluster->replica) == REPLICA_MASTER && !is_quorum(cluster);
    unsigned level = use.bytes >= use.limit_bytes       ? LOG_FULL
                     : use.bytes >= use.limit_bytes / 2 ? LOG_HALF_FULL
                                                        : LOG_HAS_ROOM;
    tell_log(cluster, &use, is_bounded ? level : LOG_HAS_ROOM);
}

static void prune(struct cluster *cluster)
{
    uint64_t limit = cluster->options.settings->log_keep_bytes;
    bool is_over = needed_bytes(cluster) >= limit;
    struct cluster_log_needs kept = {
        .last_seq = commit_log_committed(cluster->commit_log).seq,
        .keep = cluster->options.settings->log_keep,
        .member_seq =
            is_over && is_quorum(cluster) ? UINT64_MAX : replica_needed_seq(cluster->replica),
        .copy_seq =
            least(snapshots_needed_seq(cluster->snapshots), replica_joining_seq(cluster->replica)),
        .has_room = store_log_bytes(cluster->store) < limit / 2,
    };
    commit_log_prune(cluster->commit_log, cluster_prune_before(&kept));
}

void cluster_check_log(struct cluster *cluster)
{
    if (cluster->now_ms - cluster->log_checked_ms < LOG_CHECK_MS)
        return;
    cluster->log_checked_ms = cluster->now_ms;
    measure(cluster);
    prune(cluster);
}

/* ---- recent entries ---- */

/* Without a slave nobody asks for recent entries. The newest one stays, because a slave may come before it
 * is published. */
static size_t entry_cache_max(const struct cluster *cluster)
{
    return cluster_has_subscribers(cluster) ? ENTRY_CACHE_MAX : 1;
}

void cluster_remember(struct cluster *cluster, const struct log_entry *entry)
{
    struct log_entry copy = *entry;
    if (entry->kind == LOG_ENTRY_CHAT && store_position(cluster->store).seq == entry->last_seq)
        store_digest(cluster->store, copy.digest);
    if (entry_queue_push(&cluster->entry_cache, &copy) != OK) {
        cluster_clear_entry_cache(cluster); /* without a hole */
        return;
    }
    while (cluster->entry_cache.count > entry_cache_max(cluster) ||
           cluster->entry_cache.bytes > ENTRY_CACHE_BYTES_MAX)
        entry_queue_drop_first(&cluster->entry_cache);
}

void cluster_clear_entry_cache(struct cluster *cluster)
{
    entry_queue_clear(&cluster->entry_cache);
}

/* ---- pages ---- */

struct page {
    struct arena *arena;
    struct log_entry *batches; /* REPLICA_ENTRIES_MAX places */
    size_t count;
    size_t bytes;
    size_t most_bytes;
    uint64_t next_seq;
};

static bool is_full(const struct page *page)
{
    return page->count == REPLICA_ENTRIES_MAX || page->bytes >= page->most_bytes;
}

static enum error add_batch(struct page *page, const struct log_entry *batch)
{
    const uint8_t *copy = arena_copy(page->arena, batch->bytes, batch->size);
    if (copy == NULL)
        return ERROR_NO_MEMORY;
    page->batches[page->count] = *batch;
    page->batches[page->count].bytes = copy;
    page->count++;
    page->bytes += batch->size;
    page->next_seq = batch->last_seq + 1;
    return OK;
}

static void add_to_entry_cache(struct cluster *cluster, struct page *page)
{
    for (const struct entry_queue_item *each = cluster->entry_cache.first;
         each != NULL && !is_full(page); each = each->next)
        if (each->entry.first_seq == page->next_seq && add_batch(page, &each->entry) != OK)
            return;
}

static enum error add_row(void *context, const struct log_entry *entry)
{
    struct page *page = context;
    if (is_full(page))
        return ERROR_FULL; /* ends the visit */
    return entry->first_seq == page->next_seq ? add_batch(page, entry) : ERROR_NOT_FOUND;
}

static bool is_in_entry_cache(const struct cluster *cluster, uint64_t seq)
{
    const struct entry_queue_item *first = cluster->entry_cache.first;
    return first != NULL && seq >= first->entry.first_seq;
}

void cluster_fill_entries(struct cluster *cluster, struct replica_entries *out)
{
    struct page page = {.arena = &cluster->arena,
                        .most_bytes = REPLICA_ENTRIES_BYTES,
                        .next_seq = out->after.seq + 1};
    page.batches = arena_zalloc(&cluster->arena, REPLICA_ENTRIES_MAX * sizeof *page.batches);
    if (page.batches == NULL)
        return;
    if (!is_in_entry_cache(cluster, page.next_seq)) {
        enum error error = store_log_read(cluster->store, page.next_seq, add_row, &page);
        if (error != OK && error != ERROR_FULL && error != ERROR_NOT_FOUND)
            log_error_paced(error_name(error), "cluster", "cannot_read_log",
                            log_string("error", error_name(error)),
                            log_string("reason", store_last_problem(cluster->store)));
    }
    add_to_entry_cache(cluster, &page);
    out->entries = page.batches;
    out->count = page.count;
}

/* ---- orphans ---- */

struct orphan_page {
    struct page page;
    uint64_t last;
};

static enum error add_orphan(void *context, uint64_t id, const struct log_entry *entry)
{
    struct orphan_page *offered = context;
    if (is_full(&offered->page))
        return ERROR_FULL;
    enum error error = add_batch(&offered->page, entry);
    if (error == OK)
        offered->last = id;
    return error;
}

bool cluster_fill_orphans(struct cluster *cluster, struct replica_orphan_transfer *out)
{
    struct orphan_page offered = {
        .page = {.arena = &cluster->arena, .most_bytes = ORPHAN_TRANSFER_BYTES}};
    offered.page.batches =
        arena_zalloc(&cluster->arena, REPLICA_ENTRIES_MAX * sizeof *offered.page.batches);
    if (offered.page.batches == NULL || cluster->orphan_reader == NULL)
        return false;
    enum error error = store_each_orphan(cluster->orphan_reader, out->orphan, add_orphan, &offered);
    if ((error != OK && error != ERROR_FULL) || offered.page.count == 0)
        return false;
    out->entries = offered.page.batches;
    out->count = offered.page.count;
    out->orphan = offered.last;
    return true;
}
