/* SPDX-License-Identifier: MIT */
/* No memory: the k-th allocation fails, for every k until all goes through. Whatever was committed
 * is received, once and in order; streams that were ended for it may be opened again.
 *
 * Linked with --wrap for malloc, calloc, realloc and reallocarray. */
#include "base/log.h"
#include "support/desk.h"
#include "support/fake_call.h"
#include "support/inbox.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static uint64_t countdown; /* 0: nothing fails */
static bool has_failed;

static bool fails(void)
{
    if (countdown == 0 || --countdown > 0)
        return false;
    has_failed = true;
    return true;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *pointer, size_t size);
void *__real_reallocarray(void *pointer, size_t count, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *pointer, size_t size);
void *__wrap_reallocarray(void *pointer, size_t count, size_t size);

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *pointer, size_t size)
{
    return fails() ? NULL : __real_realloc(pointer, size);
}

void *__wrap_reallocarray(void *pointer, size_t count, size_t size)
{
    return fails() ? NULL : __real_reallocarray(pointer, count, size);
}

#define MESSAGES 40

struct fixture {
    struct desk desk;
    uint64_t ann;
    uint64_t bob;
    struct inbox of_bob;
    struct position start;
    unsigned sent[MESSAGES * 2]; /* those that were committed */
    size_t sent_count;
};

static void begin(struct fixture *f)
{
    *f = (struct fixture){.ann = 0};
    desk_init(&f->desk, NULL);
    desk_open(&f->desk);
    assert_true(desk_register(&f->desk, "ann"));
    assert_true(desk_register(&f->desk, "bob"));
    f->ann = desk_login(&f->desk, "ann");
    f->bob = desk_login(&f->desk, "bob");
    assert_true(desk_join(&f->desk, f->ann, "lobby"));
    assert_true(desk_join(&f->desk, f->bob, "lobby"));
    assert_int_equal(desk_turn(&f->desk), OK);
    inbox_init(&f->of_bob, &f->desk, f->bob);
    f->start = ledger_committed(f->desk.ledger);
}

static void send_some(struct fixture *f, unsigned first, unsigned count)
{
    for (unsigned i = first; i < first + count; i++) {
        char text[16];
        (void)snprintf(text, sizeof text, "%u", i);
        bool proposed = desk_send(&f->desk, f->ann, i % 7 == 3 ? "@bob" : "lobby", text);
        desk_run(&f->desk);
        bool committed = desk_commit(&f->desk) == OK && proposed;
        mailroom_deliver(f->desk.mailroom);
        if (committed)
            f->sent[f->sent_count++] = i;
    }
}

static void open_again(struct fixture *f)
{
    if (!inbox_is_open(&f->of_bob))
        inbox_open(&f->of_bob, 1000);
}

/* Reads from the store, overtaken by what is sent meanwhile; then live; then behind again. */
static void play(struct fixture *f)
{
    send_some(f, 0, MESSAGES / 2);
    inbox_open_at(&f->of_bob, f->start, 1000);
    mailroom_deliver(f->desk.mailroom);
    send_some(f, MESSAGES / 2, MESSAGES / 4);
    open_again(f);
    desk_typing(&f->desk, f->ann, "lobby");
    send_some(f, MESSAGES * 3 / 4, MESSAGES / 4);
    desk_settle(&f->desk);
}

static void check(const struct fixture *f)
{
    size_t at = 0;
    for (size_t i = 0; i < f->of_bob.count; i++) {
        const struct got *got = &f->of_bob.got[i];
        if (got->kind != JACKDAW__EVENT__KIND__MESSAGE)
            continue;
        assert_true(at < f->sent_count);
        assert_int_equal(strtoul(got->text, NULL, 10), f->sent[at]);
        at++;
    }
    assert_int_equal(at, f->sent_count);
}

static bool play_with_fault(uint64_t k)
{
    struct fixture f;
    begin(&f);
    has_failed = false;
    countdown = k;
    play(&f);
    countdown = 0;
    open_again(&f);
    desk_settle(&f.desk);
    send_some(&f, MESSAGES, 3);
    desk_settle(&f.desk);
    check(&f);
    assert_true(desk_logout(&f.desk, f.bob));
    assert_int_equal(desk_turn(&f.desk), OK);
    assert_int_equal(inbox_take_end(&f.of_bob), STATUS_UNAUTHENTICATED);
    desk_close(&f.desk);
    inbox_release(&f.of_bob);
    return has_failed;
}

static void test_memory__fails_at_every_place(void **state)
{
    (void)state;
    uint64_t k = 1;
    while (play_with_fault(k))
        k++;
    assert_true(k > 100);
}

int main(void)
{
    log_configure(LOG_SILENT, LOG_TEXT);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_memory__fails_at_every_place)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
