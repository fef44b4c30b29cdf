/* SPDX-License-Identifier: MIT */
/* The check of the whole database beside the one who writes it. */
#include "base/clock.h"
#include "base/log.h"
#include "server/scrub.h"
#include "support/core_fixture.h"
#include "support/damage.h"
#include "support/folder.h"
#include "support/test.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PATIENCE_MS 60000
#define AHEAD_S (365 * 24 * 3600)
#define AHEAD_PATIENCE_MS 60000

/* The wall clock that this program reads may be a year ahead of the kernel's, as if it was set back
 * just after it was read. */
static atomic_bool is_ahead;

int __real_clock_gettime(clockid_t id, struct timespec *time);
int __wrap_clock_gettime(clockid_t id, struct timespec *time);

int __wrap_clock_gettime(clockid_t id, struct timespec *time)
{
    int result = __real_clock_gettime(id, time);
    if (id == CLOCK_REALTIME && atomic_load(&is_ahead))
        time->tv_sec += AHEAD_S;
    return result;
}

struct fixture {
    struct core_fixture core;
    struct scrub *scrub;
    char *folder;
    uint64_t ann;
    unsigned ended;
    enum error error;
    char reason[ERROR_TEXT_SIZE];
    uint64_t bytes;
};

static void note_end(void *context, enum error error, const char *reason, uint64_t bytes)
{
    struct fixture *f = context;
    f->ended++;
    f->error = error;
    f->bytes = bytes;
    (void)snprintf(f->reason, sizeof f->reason, "%s", reason);
}

static void begin(struct fixture *f, uint64_t bytes_per_second)
{
    *f = (struct fixture){.folder = folder_new()};
    core_fixture_init(&f->core, f->folder);
    core_fixture_open(&f->core);
    f->ann = core_fixture_person(&f->core, "ann");
    for (int i = 0; i < 3000; i++)
        assert_true(core_fixture_send(&f->core, f->ann, "lobby", "hello"));
    assert_int_equal(core_fixture_commit(&f->core), OK);
    struct scrub_options options = {.queue = f->core.queue,
                                    .bytes_per_second = bytes_per_second,
                                    .context = f,
                                    .ended = note_end};
    assert_int_equal(scrub_new(&f->scrub, &options), OK);
}

static void end(struct fixture *f)
{
    scrub_free(f->scrub);
    core_fixture_close(&f->core);
    folder_remove(f->folder);
}

static void start(struct fixture *f)
{
    struct error_text why = {.text = ""};
    if (scrub_start(f->scrub, f->core.store, &why) != OK)
        fail_msg("%s", why.text);
}

static void wait_for_end_within(struct fixture *f, uint64_t patience_ms)
{
    uint64_t until_ms = clock_monotonic_ms() + patience_ms;
    unsigned before = f->ended;
    while (f->ended == before) {
        assert_true(clock_monotonic_ms() < until_ms);
        task_queue_wait(f->core.queue, 100);
        core_fixture_run(&f->core);
    }
}

static void wait_for_end(struct fixture *f)
{
    wait_for_end_within(f, PATIENCE_MS);
}

TEST(test_scrub__while_more_is_written)
{
    struct fixture f;
    begin(&f, 4 * 1024 * 1024);
    start(&f);
    start(&f); /* one is under way */
    assert_true(scrub_is_running(f.scrub));
    for (int i = 0; i < 500; i++) {
        assert_true(core_fixture_send(&f.core, f.ann, "lobby", "more"));
        assert_int_equal(core_fixture_commit(&f.core), OK);
        commit_log_prune(f.core.commit_log, store_position(f.core.store).seq);
    }
    if (f.ended == 0)
        wait_for_end(&f);
    if (f.error != OK)
        fail_msg("%s", f.reason);
    assert_true(f.bytes > 3000 * 64);
    assert_false(scrub_is_running(f.scrub));
    start(&f);
    wait_for_end(&f);
    assert_int_equal(f.error, OK);
    assert_int_equal(f.ended, 2);
    end(&f);
}

TEST(test_scrub__finds_damage)
{
    struct fixture f;
    char path[512];
    begin(&f, UINT32_MAX);
    (void)snprintf(path, sizeof path, "%s/%s", f.folder, STORE_FILE_NAME);
    damage_execute(path, "DELETE FROM event WHERE id = 1000");
    start(&f);
    wait_for_end(&f);
    assert_int_equal(f.error, ERROR_CORRUPT);
    assert_non_null(strstr(f.reason, "table event"));
    end(&f);
}

/* A pause lasts as long as it should, whatever the wall clock says. */
TEST(test_scrub__the_wall_clock_is_set_back)
{
    struct fixture f;
    begin(&f, 4 * 1024 * 1024);
    atomic_store(&is_ahead, true);
    start(&f);
    wait_for_end_within(&f, AHEAD_PATIENCE_MS);
    atomic_store(&is_ahead, false);
    assert_int_equal(f.error, OK);
    end(&f);
}

/* A pause between two slices does not keep it. */
TEST(test_scrub_stop__in_a_pause)
{
    struct fixture f;
    begin(&f, 1);
    start(&f);
    scrub_stop(f.scrub);
    assert_false(scrub_is_running(f.scrub));
    start(&f); /* the end of the first is still to come */
    assert_false(scrub_is_running(f.scrub));
    core_fixture_run(&f.core);
    start(&f);
    assert_true(scrub_is_running(f.scrub));
    scrub_free(f.scrub);
    f.scrub = NULL;
    assert_int_equal(f.ended, 0);
    end(&f);
}

TEST_PREPARE()
{
    log_configure(LOG_SILENT, LOG_TEXT);
    return 0;
}
