/* SPDX-License-Identifier: MIT */
/* No memory: the k-th allocation fails, for every k until all goes through. Whatever was committed
 * is received, once and in order; streams that were ended for it may be opened again. */
#include "base/log.h"
#include "support/core_fixture.h"
#include "support/fake_call.h"
#include "support/faulty_alloc.h"
#include "support/stream_recorder.h"
#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MESSAGES 40

struct fixture {
    struct core_fixture core;
    uint64_t ann;
    uint64_t bob;
    struct stream_recorder of_bob;
    struct log_position start;
    unsigned sent[MESSAGES * 2]; /* those that were committed */
    size_t sent_count;
};

static void begin(struct fixture *f)
{
    *f = (struct fixture){.ann = 0};
    core_fixture_init(&f->core, NULL);
    core_fixture_open(&f->core);
    f->ann = core_fixture_person(&f->core, "ann");
    f->bob = core_fixture_person(&f->core, "bob");
    assert_int_equal(core_fixture_turn(&f->core), OK);
    recorder_init(&f->of_bob, &f->core, f->bob);
    f->start = commit_log_committed(f->core.commit_log);
}

static void send_some(struct fixture *f, unsigned first, unsigned count)
{
    for (unsigned i = first; i < first + count; i++) {
        char text[16];
        (void)snprintf(text, sizeof text, "%u", i);
        bool proposed = core_fixture_send(&f->core, f->ann, i % 7 == 3 ? "@bob" : "lobby", text);
        core_fixture_run(&f->core);
        bool committed = core_fixture_commit(&f->core) == OK && proposed;
        subscriptions_deliver(f->core.subscriptions);
        if (committed)
            f->sent[f->sent_count++] = i;
    }
}

static void open_again(struct fixture *f)
{
    if (!recorder_is_open(&f->of_bob))
        recorder_open(&f->of_bob, 1000);
}

/* Reads from the store, overtaken by what is sent meanwhile; then live; then behind again. */
static void play(struct fixture *f)
{
    send_some(f, 0, MESSAGES / 2);
    recorder_open_at(&f->of_bob, f->start, 1000);
    subscriptions_deliver(f->core.subscriptions);
    send_some(f, MESSAGES / 2, MESSAGES / 4);
    open_again(f);
    core_fixture_typing(&f->core, f->ann, "lobby");
    send_some(f, MESSAGES * 3 / 4, MESSAGES / 4);
    core_fixture_settle(&f->core);
}

static void check(const struct fixture *f)
{
    size_t at = 0;
    for (size_t i = 0; i < f->of_bob.count; i++) {
        const struct event_record *got = &f->of_bob.got[i];
        if (got->kind != JACKDAW__EVENT__KIND__MESSAGE)
            continue;
        assert_true(at < f->sent_count);
        assert_int_equal(strtoul(got->text, NULL, 10), f->sent[at]);
        at++;
    }
    assert_int_equal(at, f->sent_count);
}

static bool play_with_fault(unsigned long k)
{
    struct fixture f;
    begin(&f);
    faulty_alloc_arm(k);
    play(&f);
    bool has_failed = faulty_alloc_disarm();
    open_again(&f);
    core_fixture_settle(&f.core);
    send_some(&f, MESSAGES, 3);
    core_fixture_settle(&f.core);
    check(&f);
    assert_true(core_fixture_logout(&f.core, f.bob));
    assert_int_equal(core_fixture_turn(&f.core), OK);
    assert_int_equal(recorder_take_end(&f.of_bob), STATUS_UNAUTHENTICATED);
    core_fixture_close(&f.core);
    recorder_release(&f.of_bob);
    return has_failed;
}

TEST(test_memory__fails_at_every_place)
{
    unsigned long k = 1;
    while (play_with_fault(k))
        k++;
    assert_true(k > 100);
}

TEST_PREPARE()
{
    log_configure(LOG_SILENT, LOG_TEXT);
    return 0;
}
