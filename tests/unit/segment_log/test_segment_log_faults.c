/* SPDX-License-Identifier: MIT */
/* One script of all operations, again and again: with each call of the system failing, each being the
 * last one of its process or of its machine, and the disk full at each size. Afterwards the log holds
 * what was acknowledged, nothing that was refused, and goes on. */
#include "segment_log/segment_internal.h"

#include "memory_disk.h"
#include "test_segment_log_support.h"

#include <errno.h>
#include <string.h>

#define POWER_SEEDS 12

struct run {
    struct segment_log *log;
    struct model model; /* acknowledged entries, and behind them those that may be there */
    size_t certain;     /* how many are acknowledged */
    uint64_t salt;      /* so that a later entry with the same seq differs */
    bool may_be_reset;  /* a reset failed without an undo */
    struct segment_log_end reset_base;
};

static struct log_position acked(const struct run *run)
{
    return model_end(&run->model, run->certain).position;
}

static bool is_over(const struct run *run)
{
    return run->log == NULL || run->log->is_poisoned;
}

/* ---- the script ---- */

static void step_open(struct run *run)
{
    if (try_open(&run->log, acked(run)) == OK)
        return;
    assert_true(memory_disk_has_failed());
    run->log = NULL;
    if (try_open(&run->log, acked(run)) != OK)
        run->log = NULL;
}

/* A batch that is refused, and not on the disk for certain, is not in the model. */
static void step_write(struct run *run, size_t size, size_t count)
{
    if (is_over(run))
        return;
    for (size_t i = 0; i < count; i++)
        assert_ok(segment_log_append(run->log, model_add(&run->model, size, run->salt)));
    enum error written = segment_log_write(run->log);
    assert_int_equal(segment_log_finish(run->log, written), written);
    run->salt++;
    if (written == OK) {
        run->certain = run->model.count;
        return;
    }
    assert_true(memory_disk_has_failed());
    assert_true(segment_log_problem(run->log)[0] != '\0');
    assert_end(segment_log_end(run->log), model_end(&run->model, run->certain));
    if (!run->log->is_poisoned)
        model_drop_to(&run->model, run->certain);
}

static void step_spare(struct run *run)
{
    if (is_over(run))
        return;
    if (segment_log_make_spare(run->log, &why) != OK)
        assert_true(memory_disk_has_failed());
}

static void step_prune(struct run *run)
{
    if (!is_over(run))
        segment_log_prune(run->log, acked(run).seq / 2);
}

static void step_reset(struct run *run)
{
    if (is_over(run))
        return;
    struct segment_log_end base = {
        .position = {.epoch = acked(run).epoch + 2, .seq = acked(run).seq + 9},
        .bytes = 777,
        .digest = {9, 8}};
    if (segment_log_reset(run->log, &base, &why) == OK) {
        model_reset(&run->model, &base);
        run->certain = 0;
        return;
    }
    assert_true(memory_disk_has_failed());
    run->reset_base = base;
    run->may_be_reset = run->log->is_poisoned;
}

static void step_read(struct run *run)
{
    size_t read;
    if (is_over(run))
        return;
    assert_end(segment_log_durable(run->log), model_end(&run->model, run->certain));
    if (model_read(&run->model, run->log, &read) != OK || scan_all(run->log, 1000) != OK)
        assert_true(memory_disk_has_failed());
}

static void step_reopen(struct run *run)
{
    if (is_over(run))
        return;
    segment_log_close(run->log);
    step_open(run);
}

static void play(struct run *run)
{
    step_open(run);
    step_write(run, 100, 1);
    step_write(run, 200, 3);
    step_spare(run);
    for (unsigned i = 0; i < 7; i++)
        step_write(run, 300 + 130 * i, 2);
    step_spare(run);
    step_write(run, 700, 2);
    step_read(run);
    step_write(run, 9000, 2);
    step_spare(run);
    step_write(run, 800, 1);
    step_reopen(run);
    step_prune(run);
    step_spare(run);
    step_write(run, 10, 2);
    step_reset(run);
    step_write(run, 500, 2);
    step_spare(run);
    step_read(run);
    for (unsigned i = 0; i < 4; i++)
        step_write(run, 900, 2);
    step_reopen(run);
    step_write(run, 0, 1);
    step_spare(run);
    step_read(run);
}

static void begin(struct run *run)
{
    *run = (struct run){0};
    model_init(&run->model);
}

/* ---- what must hold afterwards ---- */

/* The log has all that is certain, and perhaps a beginning of what is not. */
static void check_content(struct run *run)
{
    struct segment_log_end end = segment_log_durable(run->log);
    if (run->may_be_reset && ends_are_equal(&end, &run->reset_base)) {
        model_reset(&run->model, &run->reset_base);
        run->certain = 0;
    }
    size_t count = model_count_at(&run->model, end.position.seq);
    assert_true(count >= run->certain);
    model_check(&run->model, run->log, count);
    assert_ok(scan_all(run->log, 1000));
    model_drop_to(&run->model, count);
    run->certain = count;
}

static void check_goes_on(struct run *run)
{
    struct inspected found;
    run->salt += 100;
    for (unsigned i = 0; i < 3; i++) {
        step_write(run, 1500, 1);
        step_spare(run);
        assert_int_equal(run->certain, run->model.count);
    }
    check_content(run);
    assert_ok(inspect_all(MEMORY_DISK, &found));
    assert_int_equal(found.kinds[SEGMENT_LOG_ITEM_TORN], 0);
    segment_log_close(run->log);
    assert_int_equal(memory_disk_open_files(), 0);
    run->log = open_log(acked(run));
    check_content(run);
}

/* Opens after the end of a process, checks and goes on. Each entry that the open shows is durable. */
static void check_restart(struct run *run)
{
    run->log = open_log(acked(run));
    check_content(run);
    segment_log_close(run->log);
    memory_disk_lose_power(0);
    run->log = open_log(acked(run));
    assert_end(segment_log_durable(run->log), model_end(&run->model, run->certain));
    check_content(run);
    check_goes_on(run);
    segment_log_close(run->log);
    run->log = NULL;
}

/* Plays with a fault at the k-th call. Returns whether there were so many calls. */
static bool play_with(struct run *run, enum memory_fault fault, uint64_t k, int number)
{
    memory_disk_reset();
    begin(run);
    memory_disk_arm(fault, k, number);
    play(run);
    bool has_failed = memory_disk_has_failed();
    segment_log_close(run->log);
    run->log = NULL;
    return has_failed;
}

static bool play_and_restart(enum memory_fault fault, uint64_t k, int number, bool power,
                             uint64_t seed)
{
    struct run run;
    bool has_failed = play_with(&run, fault, k, number);
    if (power)
        memory_disk_lose_power(seed);
    else
        memory_disk_kill();
    check_restart(&run);
    model_release(&run.model);
    return has_failed;
}

/* ---- tests ---- */

TEST(test_segment_log_faults__none)
{
    assert_false(play_and_restart(MEMORY_FAULT_NONE, 0, 0, false, 0));
    for (uint64_t seed = 0; seed < POWER_SEEDS; seed++)
        assert_false(play_and_restart(MEMORY_FAULT_NONE, 0, 0, true, seed));
}

static void fail_every_call(enum memory_fault fault, int number)
{
    uint64_t k = 1;
    while (play_and_restart(fault, k, number, false, 0)) {
        for (uint64_t seed = 0; seed < POWER_SEEDS; seed++)
            (void)play_and_restart(fault, k, number, true, seed);
        k++;
    }
    assert_true(k > 100);
}

TEST(test_segment_log_faults__every_call_fails_once)
{
    fail_every_call(MEMORY_FAULT_ONCE, EIO);
}

TEST(test_segment_log_faults__no_space_at_every_call)
{
    fail_every_call(MEMORY_FAULT_ONCE, ENOSPC);
}

TEST(test_segment_log_faults__all_calls_fail_from_every_one_on)
{
    fail_every_call(MEMORY_FAULT_LASTING, EIO);
}

/* A process that is killed, and a machine that loses power, at every call. */
TEST(test_segment_log_faults__the_end_at_every_call)
{
    fail_every_call(MEMORY_FAULT_DEAD, EIO);
}

/* They are no errors: nothing is refused. */
TEST(test_segment_log_faults__short_and_interrupted_calls)
{
    struct run run;
    uint64_t k = 0;
    size_t certain = 0;
    bool has_failed;
    do {
        has_failed = play_with(&run, k == 0 ? MEMORY_FAULT_NONE : MEMORY_FAULT_INTERRUPT, k, EINTR);
        assert_true(k == 0 || run.certain == certain);
        certain = run.certain;
        memory_disk_kill();
        check_restart(&run);
        model_release(&run.model);
    } while (k++ == 0 || has_failed);
    assert_true(k > 100 && certain > 10);
}

/* The disk is full at each size; when it has space again, the same log goes on. */
TEST(test_segment_log_faults__disk_full)
{
    size_t refused = 0;
    for (uint64_t space = 0; space < 20 * TEST_SEGMENT_BYTES; space += 300) {
        struct run run;
        memory_disk_reset();
        begin(&run);
        memory_disk_set_space(space);
        step_open(&run);
        for (unsigned i = 0; i < 20; i++) {
            step_write(&run, 1100, 1);
            step_spare(&run);
        }
        step_reset(&run);
        refused += memory_disk_has_failed();
        assert_true(run.log != NULL && !run.log->is_poisoned);
        if (run.model.count < 20 && run.certain > 0) {
            assert_ok(segment_log_append(run.log, model_add(&run.model, 9000, 0)));
            assert_error(segment_log_write(run.log), ERROR_DISK_FULL);
            assert_int_equal(memory_disk_files(),
                             run.log->segment_count + (run.log->spare.descriptor >= 0));
            assert_error(segment_log_finish(run.log, ERROR_DISK_FULL), ERROR_DISK_FULL);
            model_drop_to(&run.model, run.certain);
        }
        check_content(&run);
        memory_disk_set_space(UINT64_MAX);
        memory_disk_arm(MEMORY_FAULT_NONE, 0, 0);
        check_goes_on(&run);
        segment_log_close(run.log);
        run.log = NULL;
        memory_disk_lose_power(space);
        check_restart(&run);
        model_release(&run.model);
    }
    assert_true(refused > 50);
}

/* A disk that drops writes after it said that they are durable, from some batch on. The log that lacks
 * them is not taken for one whose last batch was torn. */
TEST(test_segment_log_faults__of_a_disk_that_lies)
{
    size_t refused = 0;
    for (unsigned honest = 0; honest < 8; honest++) {
        for (uint64_t seed = 0; seed < 40; seed++) {
            struct run run;
            memory_disk_reset();
            begin(&run);
            step_open(&run);
            for (unsigned i = 0; i < honest; i++)
                step_write(&run, 1100, 1);
            size_t certain = run.certain;
            memory_disk_lie(true);
            for (unsigned i = 0; i < 3; i++)
                step_write(&run, 1100, 1);
            segment_log_close(run.log);
            run.log = NULL;
            memory_disk_lose_power(seed);
            if (try_open(&run.log, acked(&run)) != ERROR_CORRUPT) {
                assert_non_null(run.log);
                check_content(&run);
            } else {
                refused++;
                run.certain = certain;
            }
            segment_log_close(run.log);
            model_release(&run.model);
        }
    }
    assert_true(refused > 200);
}

/* A batch is lost, and a later one proves that it was durable: damage, whatever was acknowledged. */
TEST(test_segment_log_faults__of_a_batch_that_is_lost)
{
    static const struct log_position nothing;
    struct run run;
    memory_disk_reset();
    begin(&run);
    step_open(&run);
    step_write(&run, 100, 1);
    memory_disk_lie(true);
    step_write(&run, 1500, 1);
    memory_disk_lie(false);
    step_write(&run, 100, 1);
    segment_log_close(run.log);
    memory_disk_lose_power(0);
    struct memory_image *image = memory_disk_save();
    assert_error(try_open(&run.log, nothing), ERROR_CORRUPT);
    assert_true(memory_disk_is(image));
    memory_image_free(image);
    model_release(&run.model);
}

/* A sync fails, and undoing it too. The next process finds the batch in the page cache, and may believe
 * it only if it is on the disk after a power failure too. */
TEST(test_segment_log_faults__of_a_sync_that_loses_dirty_pages)
{
    for (uint64_t k = 1; k < 40; k++) {
        struct run run;
        memory_disk_reset();
        begin(&run);
        memory_disk_watch("fdatasync");
        memory_disk_arm(MEMORY_FAULT_LASTING, k, EIO);
        play(&run);
        bool has_failed = memory_disk_has_failed();
        segment_log_close(run.log);
        memory_disk_kill();
        memory_disk_watch(NULL);
        run.log = open_log(acked(&run));
        check_content(&run);
        segment_log_close(run.log);
        memory_disk_lose_power(0);
        check_restart(&run);
        model_release(&run.model);
        assert_true(has_failed || k > 10);
    }
}

/* The large file of a batch that was refused is not used for small ones. */
TEST(test_segment_log_faults__of_a_large_batch)
{
    struct run run;
    memory_disk_reset();
    begin(&run);
    step_open(&run);
    step_write(&run, 100, 1);
    memory_disk_watch("fdatasync");
    memory_disk_arm(MEMORY_FAULT_ONCE, 1, EIO);
    step_write(&run, 400000, 1);
    assert_true(memory_disk_has_failed() && !run.log->is_poisoned);
    segment_log_close(run.log);
    step_open(&run);
    memory_disk_arm(MEMORY_FAULT_ONCE, 1, EIO);
    step_write(&run, 400000, 1);
    for (unsigned i = 0; i < 100; i++)
        step_write(&run, 3000, 1);
    check_content(&run);
    assert_int_equal(segment_log_size(run.log), 100 * TEST_SEGMENT_BYTES);
    segment_log_close(run.log);
    model_release(&run.model);
}

/* Power fails while segments are removed: never are older ones there without newer ones. */
TEST(test_segment_log_faults__the_end_while_segments_are_removed)
{
    bool has_died = true;
    for (uint64_t k = 1; has_died; k++) {
        for (uint64_t seed = 0; seed < 40; seed++) {
            struct run run;
            memory_disk_reset();
            begin(&run);
            step_open(&run);
            for (unsigned i = 0; i < 40; i++)
                step_write(&run, 300, 1);
            segment_log_prune(run.log, run.model.entries[33].entry.first_seq);
            memory_disk_arm(MEMORY_FAULT_DEAD, k, EIO);
            step_spare(&run);
            has_died = memory_disk_has_failed();
            segment_log_close(run.log);
            memory_disk_lose_power(seed);
            check_restart(&run);
            model_release(&run.model);
        }
    }
}

/* Until undoing succeeds, the log refuses to write; then it goes on. */
TEST(test_segment_log_write__after_undoing_failed)
{
    struct run run;
    memory_disk_reset();
    begin(&run);
    step_open(&run);
    step_write(&run, 100, 1);
    memory_disk_arm(MEMORY_FAULT_LASTING, 2, EIO);
    step_write(&run, 100, 1);
    assert_true(run.log->is_poisoned);
    struct segment_log_end base = segment_log_durable(run.log);
    for (int i = 0; i < 2; i++) {
        model_drop_to(&run.model, run.certain);
        assert_ok(segment_log_append(run.log, model_add(&run.model, 10, 1)));
        assert_error(segment_log_write(run.log), ERROR_IO);
        assert_error(segment_log_finish(run.log, ERROR_IO), ERROR_IO);
        assert_non_null(strstr(segment_log_problem(run.log), "cannot be undone"));
        assert_error(segment_log_reset(run.log, &base, &why), ERROR_IO);
    }
    memory_disk_arm(MEMORY_FAULT_NONE, 0, 0);
    model_drop_to(&run.model, run.certain);
    assert_ok(segment_log_append(run.log, model_add(&run.model, 10, 1)));
    assert_ok(segment_log_write(run.log));
    assert_ok(segment_log_finish(run.log, OK));
    assert_false(run.log->is_poisoned);
    model_check(&run.model, run.log, run.certain + 1);
    segment_log_close(run.log);
    memory_disk_lose_power(1);
    step_open(&run); /* the failed batch does not come back */
    model_check(&run.model, run.log, run.certain + 1);
    segment_log_close(run.log);
    model_release(&run.model);
}
