/* SPDX-License-Identifier: MIT */
/* The database behind the log: the replay when the commit log is attached, the projector's thread, and
 * trials beside it. */
#include "base/log.h"
#include "commit/commit_log.h"
#include "commit/trial.h"
#include "support/core_fixture.h"
#include "support/faulty_vfs.h"
#include "support/folder.h"
#include "support/test.h"

#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BEHIND 10 /* messages that the database of an image lacks */

static unsigned begun; /* transactions */

enum error __real_store_begin(struct store *store);
enum error __wrap_store_begin(struct store *store);

enum error __wrap_store_begin(struct store *store)
{
    begun++;
    return __real_store_begin(store);
}

struct fixture {
    struct core_fixture core;
    char *folder;
    char *image; /* what a crash left: the log is ahead of the database */
    uint64_t ann;
    uint64_t last_seq;   /* of the image's log */
    uint64_t behind_seq; /* of its database */
};

/* Runs a command with the folders in $F and $I. */
static void run(const struct fixture *f, const char *command)
{
    assert_int_equal(setenv("F", f->folder, 1), 0);
    assert_int_equal(setenv("I", f->image, 1), 0);
    assert_int_equal(system(command), 0);
}

static void say(struct fixture *f, const char *text)
{
    assert_true(core_fixture_send(&f->core, f->ann, "lobby", text));
    assert_int_equal(core_fixture_commit(&f->core), OK);
}

static void begin(struct fixture *f)
{
    f->folder = folder_new();
    f->image = folder_new();
    core_fixture_init(&f->core, f->folder);
    core_fixture_open(&f->core);
    f->ann = core_fixture_person(&f->core, "ann");
    assert_int_equal(core_fixture_turn(&f->core), OK);
    say(f, "before");
    f->behind_seq = commit_log_applied(f->core.commit_log).seq;
    run(f, "cp $F/jackdaw.db $F/jackdaw.db-wal $I");
    for (int i = 0; i < BEHIND; i++)
        say(f, "behind");
    run(f, "cp -r $F/log $F/node $I");
    f->last_seq = commit_log_applied(f->core.commit_log).seq;
}

static void end(struct fixture *f)
{
    core_fixture_close(&f->core);
    faulty_vfs_reset();
    folder_remove(f->folder);
    folder_remove(f->image);
}

static enum error count_row(void *context, const struct timeline_row *row)
{
    (void)row;
    ++*(size_t *)context;
    return OK;
}

static size_t count_messages(struct core_fixture *core, uint64_t session)
{
    struct chat_outcome outcome;
    size_t count = 0;
    assert_int_equal(chat_outcome_of(core->chat, chat_find_session(core->chat, session), 1,
                                     &core->arena, &outcome),
                     OK);
    assert_int_equal(store_messages_before(core->store, outcome.room, JACKDAW__EVENT__KIND__MESSAGE,
                                           0, 1000, count_row, &count),
                     OK);
    return count;
}

TEST_F(test_commit_log_attach__replays_what_the_database_lacks)
{
    struct core_fixture core;
    uint8_t here[LOG_DIGEST_BYTES], there[LOG_DIGEST_BYTES];
    core_fixture_init(&core, f->image);
    core.follows = true;
    core_fixture_open(&core);
    assert_int_equal(commit_log_applied(core.commit_log).seq, f->last_seq);
    assert_int_equal(store_position(core.store).seq, f->last_seq);
    store_digest(core.store, here);
    store_digest(f->core.store, there);
    assert_memory_equal(here, there, sizeof here);
    assert_int_equal(count_messages(&core, f->ann), BEHIND + 1);
    assert_int_equal(chat_session_last_request(chat_find_session(core.chat, f->ann)),
                     chat_session_last_request(chat_find_session(f->core.chat, f->ann)));
    core_fixture_close(&core);
    core_fixture_init(&core, f->image); /* and goes on from there */
    core_fixture_open(&core);
    assert_true(core_fixture_send(&core, f->ann, "lobby", "after"));
    assert_int_equal(core_fixture_commit(&core), OK);
    assert_int_equal(count_messages(&core, f->ann), BEHIND + 2);
    core_fixture_close(&core);
}

/* A commit log on the image, without the rest of a core. */
struct attached {
    struct task_queue *queue;
    struct store *store;
    struct chat *chat;
    struct commit_log *commit_log;
    struct crash_note *note;
    enum error error;
    struct error_text why;
};

static void ignore_event(void *context, const struct chat_event *event)
{
    (void)context;
    (void)event;
}

static void ignore_end(void *context, struct chat_session *session)
{
    (void)context;
    (void)session;
}

static void ignore_reload(void *context, struct log_position position)
{
    (void)context;
    (void)position;
}

static struct crash_note *open_note(const char *folder, struct log_position last)
{
    struct crash_note *note = NULL;
    struct error_text why;
    assert_int_equal(crash_note_open(&note, folder, CRASH_NOTE_APPLYING, last, &why), OK);
    return note;
}

/* A process that dies while it applies the entries from first to last. */
static void die_at(struct fixture *f, uint64_t first, uint64_t last)
{
    struct crash_note *note =
        open_note(f->image, (struct log_position){f->core.epoch, f->behind_seq});
    crash_note_begin(note, (struct log_position){f->core.epoch, last}, first);
    crash_note_close(note);
}

static void attach(struct fixture *f, struct attached *attached)
{
    struct store_options options = {.folder = f->image, .node_id = 1};
    struct chat_observer observer = {
        .event = ignore_event, .session_ended = ignore_end, .reloaded = ignore_reload};
    struct chat_limits limits;
    *attached = (struct attached){.error = OK};
    chat_limits_default(&limits);
    assert_int_equal(task_queue_new(&attached->queue), OK);
    assert_int_equal(store_open(&attached->store, &options, &attached->why), OK);
    assert_int_equal(store_position(attached->store).seq, f->behind_seq);
    attached->note = open_note(f->image, store_position(attached->store));
    struct commit_log_options commit_log_options = {
        .store = attached->store, .queue = attached->queue, .note = attached->note};
    assert_int_equal(commit_log_new(&attached->commit_log, &commit_log_options), OK);
    assert_int_equal(
        chat_open(&attached->chat, attached->store, &limits, &observer, 1000, &attached->why), OK);
    begun = 0;
    attached->error = commit_log_attach(attached->commit_log, attached->chat, &attached->why);
}

static void detach(struct attached *attached)
{
    commit_log_free(attached->commit_log);
    chat_close(attached->chat);
    crash_note_close(attached->note);
    store_close(attached->store);
    task_queue_free(attached->queue);
}

TEST_F(test_commit_log_attach__replays_many_entries_at_once)
{
    struct attached attached;
    attach(f, &attached);
    assert_int_equal(attached.error, OK);
    assert_int_equal(begun, 1);
    assert_int_equal(commit_log_applied(attached.commit_log).seq, f->last_seq);
    detach(&attached);
}

/* After a death each of the entries that it may have been is applied alone. */
TEST_F(test_commit_log_attach__after_a_death)
{
    struct attached attached;
    die_at(f, f->behind_seq + 1, f->behind_seq + 4);
    attach(f, &attached);
    assert_int_equal(attached.error, OK);
    assert_in_range(begun, 5, 6); /* four alone, the rest together */
    assert_int_equal(commit_log_applied(attached.commit_log).seq, f->last_seq);
    detach(&attached);
}

TEST_F(test_commit_log_attach__refuses_an_entry_that_ended_two_processes)
{
    struct attached attached;
    char number[32];
    uint64_t poison = f->behind_seq + 3;
    for (int i = 0; i < CRASH_NOTE_DEATHS_MAX; i++)
        die_at(f, poison, poison);
    attach(f, &attached);
    assert_int_equal(attached.error, ERROR_CORRUPT);
    (void)snprintf(number, sizeof number, "seq %u", (unsigned)(poison - 1));
    assert_non_null(strstr(attached.why.text, "ended two processes"));
    assert_non_null(strstr(attached.why.text, "keep the data folder"));
    assert_true(store_position(attached.store).seq < poison);
    detach(&attached);
}

/* ---- the projector ---- */

struct hold {
    struct task task;
    sem_t released;
};

static void wait_for_release(struct task *task)
{
    struct hold *hold = (struct hold *)task;
    while (sem_wait(&hold->released) != 0)
        ;
}

/* A commit log of its own on the core's store, so that a worker can be its projector. */
struct behind {
    struct fixture fixture;
    struct worker *projector;
    struct hold hold;
};

static void begin_behind(struct behind *b)
{
    b->fixture.folder = folder_new();
    b->fixture.image = folder_new();
    assert_int_equal(worker_start(&b->projector), OK);
    core_fixture_init(&b->fixture.core, b->fixture.folder);
    b->fixture.core.projector = b->projector;
    core_fixture_open(&b->fixture.core);
    b->fixture.ann = core_fixture_person(&b->fixture.core, "ann");
    assert_int_equal(core_fixture_turn(&b->fixture.core), OK);
    (void)sem_init(&b->hold.released, 0, 0);
    b->hold.task.run = wait_for_release;
}

static void end_behind(struct behind *b)
{
    commit_log_wait_for_projection(b->fixture.core.commit_log);
    worker_stop(b->projector);
    end(&b->fixture);
}

#define BEHIND_TEST(name) TEST_ON(name, struct behind, begin_behind, end_behind)

/* Lets the projector work once more, or end what it has begun. There is something for it. */
static void project(struct behind *b)
{
    struct core_fixture *core = &b->fixture.core;
    commit_log_tick(core->commit_log);
    commit_log_wait_for_projection(core->commit_log);
    task_queue_wait(core->queue, 30000);
    core_fixture_run(core);
}

static size_t unprojected(const struct behind *b)
{
    return store_unprojected_bytes(b->fixture.core.store);
}

BEHIND_TEST(test_commit_log_tick__commits_do_not_wait_for_the_projector)
{
    struct commit_log *commit_log = f->fixture.core.commit_log;
    worker_push(f->projector, &f->hold.task);
    commit_log_tick(commit_log);
    for (int i = 0; i < 20; i++)
        say(&f->fixture, "x");
    assert_int_equal(commit_log_committed(commit_log).seq, commit_log_applied(commit_log).seq);
    assert_true(unprojected(f) > 0);
    commit_log_tick(commit_log); /* it is at work */
    (void)sem_post(&f->hold.released);
    commit_log_wait_for_projection(commit_log);
    project(f);
    assert_int_equal(unprojected(f), 0);
    say(&f->fixture, "y");
    assert_true(unprojected(f) > 0);
    project(f);
    assert_int_equal(unprojected(f), 0);
    assert_int_equal(count_messages(&f->fixture.core, f->fixture.ann), 21);
}

BEHIND_TEST(test_commit_log_tick__the_database_cannot_follow)
{
    project(f);
    say(&f->fixture, "x");
    faulty_vfs_fail(FAULTY_FULL, 1, true);
    for (int i = 0; i < 3; i++) {
        project(f);
        assert_true(unprojected(f) > 0);
        say(&f->fixture, "y"); /* commits go on */
    }
    assert_int_equal(f->fixture.core.failures, 0);
    faulty_vfs_fail(FAULTY_NONE, 0, false);
    project(f);
    assert_int_equal(unprojected(f), 0);
    assert_int_equal(count_messages(&f->fixture.core, f->fixture.ann), 4);
}

static void add_orphan(struct behind *b)
{
    struct log_entry entry = {.epoch = 1u << 16, .first_seq = 1, .last_seq = 1};
    assert_int_equal(store_add_orphan(b->fixture.core.store, &entry), OK);
}

static void drop_orphan(struct behind *b)
{
    commit_log_drop_orphans(b->fixture.core.commit_log, store_last_orphan(b->fixture.core.store));
}

BEHIND_TEST(test_commit_log_drop_orphans__does_not_wait_for_the_database)
{
    add_orphan(f);
    assert_int_equal(commit_log_last_orphan(f->fixture.core.commit_log), 1);
    worker_push(f->projector, &f->hold.task);
    drop_orphan(f);
    assert_int_equal(store_orphan_count(f->fixture.core.store), 1);
    assert_int_equal(commit_log_last_orphan(f->fixture.core.commit_log), 0);
    (void)sem_post(&f->hold.released);
    commit_log_wait_for_projection(f->fixture.core.commit_log);
    assert_int_equal(store_orphan_count(f->fixture.core.store), 0);
}

BEHIND_TEST(test_commit_log_drop_orphans__tries_again)
{
    project(f);
    add_orphan(f);
    faulty_vfs_fail(FAULTY_IO, 1, true);
    drop_orphan(f);
    project(f);
    assert_int_equal(store_orphan_count(f->fixture.core.store), 1);
    faulty_vfs_fail(FAULTY_NONE, 0, false);
    project(f);
    assert_int_equal(store_orphan_count(f->fixture.core.store), 0);
    uint64_t calls = faulty_vfs_count();
    commit_log_tick(f->fixture.core.commit_log); /* there is nothing to do any more */
    commit_log_wait_for_projection(f->fixture.core.commit_log);
    assert_int_equal(faulty_vfs_count(), calls);
}

/* ---- trials ---- */

static void die(void *context)
{
    struct behind *b = context;
    trial_mark((struct log_position){.seq = 7});
    store_isolate(b->fixture.core.store);
    if (count_messages(&b->fixture.core, b->fixture.ann) == 2)
        (void)raise(SIGABRT);
}

/* The child has the rows that were behind, and its death is its own. */
BEHIND_TEST(test_trial_run_on__beside_the_projector)
{
    struct trial trial = {.run = die, .context = f, .bound_ms = 60000};
    struct trial_report report = {.took_us = 0};
    say(&f->fixture, "x");
    say(&f->fixture, "y");
    assert_true(unprojected(f) > 0);
    for (int i = 0; i < 100 && report.took_us == 0; i++)
        trial_run_on(f->fixture.core.store, &trial, &report);
    assert_int_equal(report.end, TRIAL_DIED);
    assert_int_equal(report.at.seq, 7);
    assert_int_equal(unprojected(f), 0);
    say(&f->fixture, "z");
    project(f);
    assert_int_equal(unprojected(f), 0);
    assert_int_equal(count_messages(&f->fixture.core, f->fixture.ann), 3);
}

static void pause_again(void *context)
{
    const struct behind *b = context;
    if (store_pause(b->fixture.core.store) != ERROR_IN_USE)
        (void)raise(SIGABRT);
}

/* The child gets the database while no other thread can write it. */
BEHIND_TEST(test_trial_run_on__holds_the_database)
{
    struct trial trial = {.run = pause_again, .context = f, .bound_ms = 60000};
    struct trial_report report = {.took_us = 0};
    say(&f->fixture, "x");
    for (int i = 0; i < 100 && report.took_us == 0; i++)
        trial_run_on(f->fixture.core.store, &trial, &report);
    assert_int_equal(report.end, TRIAL_PASSED);
}

TEST_PREPARE()
{
    log_configure(LOG_SILENT, LOG_TEXT);
    faulty_vfs_install();
    return 0;
}
