/* SPDX-License-Identifier: MIT */
/* limits.c - what the disk gives, by itself and through src/store. */
#include "base/clock.h"
#include "bench.h"
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BLOCK_BYTES 4096u
#define REWRITTEN_BLOCKS 1000u /* as many pages as SQLite's log has before it starts over */
#define TURNS_MAX 1000000u

static uint64_t now_ns(void)
{
    struct loop clock;
    return loop_read_clock(&clock);
}

/* Writes blocks one after the other, each flushed; with blocks > 0 over and over the same ones. */
static bool flush_blocks(int file, uint64_t blocks, struct measure *measure)
{
    static uint8_t block[BLOCK_BYTES];
    memset(block, 0x5a, sizeof block);
    for (uint64_t i = 0; i < TURNS_MAX; i++) {
        uint64_t begun_ns = now_ns();
        if (measure_step(measure, begun_ns) >= PHASE_DRAINING)
            break;
        off_t at = (off_t)((blocks == 0 ? i : i % blocks) * BLOCK_BYTES);
        if (pwrite(file, block, sizeof block, at) != (ssize_t)sizeof block || fdatasync(file) != 0)
            return false;
        measure_latency(measure, begun_ns, now_ns());
        measure_count(measure, 1);
    }
    if (measure->phase == PHASE_MEASURED) { /* very fast: ended by count */
        measure->next_ns = 0;
        (void)measure_step(measure, now_ns());
    }
    return true;
}

static bool fill_blocks(int file)
{
    static const uint8_t block[BLOCK_BYTES];
    for (unsigned i = 0; i < REWRITTEN_BLOCKS; i++)
        if (pwrite(file, block, sizeof block, (off_t)i * BLOCK_BYTES) != (ssize_t)sizeof block)
            return false;
    return fdatasync(file) == 0;
}

static void measure_disk(struct bench *bench, const char *name, bool append)
{
    struct process_group *group = process_group_open_in(bench->settings->folder);
    const char *path = process_group_path(group, "blocks");
    int file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    struct measure measure;
    if (file >= 0 && (append || fill_blocks(file))) {
        measure_begin(&measure, &bench->limit_times, 0, now_ns());
        if (flush_blocks(file, append ? 0 : REWRITTEN_BLOCKS, &measure)) {
            bench_add_measured(bench, &measure, name, "flushes/s");
        } else {
            bench_complain(bench, name, strerror(errno));
        }
    } else {
        bench_complain(bench, name, strerror(errno));
    }
    if (file >= 0)
        (void)close(file);
    process_group_pass(group);
    process_group_close(group);
}

void limit_disk(struct bench *bench)
{
    measure_disk(bench, DISK_ROW, true);
    measure_disk(bench, "limit fdatasync again", false);
}

#define SESSIONS 64u
#define ROOMS 64u
#define EPOCH (UINT64_C(1) << 16 | 1u)
#define DELTA_BYTES 48u /* of a packed delta besides the text */

struct store_run {
    struct store *store;
    const char *text;
    size_t text_bytes;
    uint8_t *batch;
    uint64_t seq;
    uint64_t requests[SESSIONS];
    uint64_t sequence_set[ROOMS];
};

/* Writes what the server writes for one message. */
static enum error put_message(struct store_run *run)
{
    size_t who = (size_t)(run->seq % SESSIONS);
    size_t room = (size_t)(run->seq % ROOMS);
    uint64_t session = UINT64_C(0x9e3779b97f4a7c15) * (who + 1);
    uint64_t room_id = UINT64_C(0xc2b2ae3d27d4eb4f) * (room + 1);
    run->seq++;
    run->requests[who]++;
    run->sequence_set[room]++;
    enum error error =
        store_add_event(run->store, &(struct timeline_row){.room = room_id,
                                                           .number = run->sequence_set[room],
                                                           .seq = run->seq,
                                                           .kind = 1,
                                                           .account = session ^ 1,
                                                           .session = session,
                                                           .request = run->requests[who],
                                                           .time_ms = clock_wall_ms(),
                                                           .text = run->text,
                                                           .text_size = run->text_bytes});
    if (error != OK)
        return error;
    return store_put_outcome(run->store, &(struct outcome_row){.session = session,
                                                               .request = run->requests[who],
                                                               .room = room_id,
                                                               .number = run->sequence_set[room],
                                                               .seq = run->seq,
                                                               .time_ms = clock_wall_ms(),
                                                               .text = ""});
}

static enum error put_batch(struct store_run *run, size_t rows)
{
    uint64_t first = run->seq + 1;
    enum error error = store_begin(run->store);
    for (size_t i = 0; i < rows && error == OK; i++)
        error = put_message(run);
    if (error == OK)
        error = store_log_append(
            run->store, &(struct log_entry){.epoch = EPOCH,
                                            .first_seq = first,
                                            .last_seq = run->seq,
                                            .bytes = run->batch,
                                            .size = rows * (run->text_bytes + DELTA_BYTES)});
    if (error == OK)
        error = store_commit(run->store);
    return error;
}

static enum error commit_batches(struct store_run *run, size_t rows, struct measure *measure)
{
    for (;;) {
        uint64_t begun_ns = now_ns();
        if (measure_step(measure, begun_ns) >= PHASE_DRAINING)
            return OK;
        enum error error = put_batch(run, rows);
        if (error != OK)
            return error;
        measure_latency(measure, begun_ns, now_ns());
        measure_count(measure, rows);
    }
}

static enum error run_store(struct bench *bench, const char *folder, size_t rows,
                            struct measure *measure, struct error_text *why)
{
    struct store_run run = {.text = bench->text, .text_bytes = strlen(bench->text)};
    enum error error =
        store_open(&run.store, &(struct store_options){.folder = folder, .node_id = 1}, why);
    if (error != OK)
        return error;
    run.batch = calloc(rows, run.text_bytes + DELTA_BYTES);
    error = run.batch == NULL ? ERROR_NO_MEMORY : store_begin(run.store);
    if (error == OK)
        error = store_add_epoch(run.store, (struct epoch_start){.epoch = EPOCH, .first_seq = 1});
    if (error == OK)
        error = store_commit(run.store);
    measure_begin(measure, &bench->limit_times, 0, now_ns());
    if (error == OK)
        error = commit_batches(&run, rows, measure);
    if (error != OK)
        (void)error_set(why, error, "%s: %s", error_name(error), store_last_problem(run.store));
    store_close(run.store);
    free(run.batch);
    return error;
}

void limit_store(struct bench *bench, size_t rows_per_commit)
{
    char name[REPORT_NAME_SIZE];
    (void)snprintf(name, sizeof name, "limit store %zu/commit", rows_per_commit);
    struct process_group *group = process_group_open_in(bench->settings->folder);
    const char *folder = process_group_path(group, "store");
    struct measure measure;
    struct error_text why;
    if (run_store(bench, folder, rows_per_commit, &measure, &why) == OK) {
        bench_add_measured(bench, &measure, name, "messages/s");
    } else {
        bench_complain(bench, name, why.text);
    }
    process_group_pass(group);
    process_group_close(group);
}
