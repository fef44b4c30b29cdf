/* SPDX-License-Identifier: MIT */
#include "support/inbox.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define INBOX_FIRST 64

void inbox_init(struct inbox *inbox, struct desk *desk, uint64_t session)
{
    *inbox = (struct inbox){.desk = desk, .session = session};
    inbox->page_ends = test_calloc(INBOX_PAGE_ENDS, sizeof *inbox->page_ends);
    inbox->capacity = INBOX_FIRST;
    inbox->got = test_calloc(inbox->capacity, sizeof *inbox->got);
}

void inbox_release(struct inbox *inbox)
{
    fake_call_free(inbox->call);
    test_free(inbox->got);
    test_free(inbox->page_ends);
    *inbox = (struct inbox){.desk = NULL};
}

static void add_event(struct inbox *inbox, const Jackdaw__Event *event)
{
    if (inbox->count == inbox->capacity) {
        inbox->capacity *= 2;
        inbox->got = test_realloc(inbox->got, inbox->capacity * sizeof *inbox->got);
    }
    struct got *got = &inbox->got[inbox->count++];
    *got = (struct got){.kind = event->kind,
                        .seq = event->seq,
                        .epoch = event->epoch,
                        .number = event->number,
                        .text_size = strlen(event->text)};
    (void)snprintf(got->room, sizeof got->room, "%s", event->room);
    (void)snprintf(got->from, sizeof got->from, "%s", event->from);
    (void)snprintf(got->subject, sizeof got->subject, "%s", event->subject);
    (void)snprintf(got->text, sizeof got->text, "%.31s", event->text);
}

/* Events ascend within (after, next]; a page over its bounds could not have been shorter. */
static void check_page(const Jackdaw__ReceiveReply *page)
{
    uint64_t last = page->after->seq;
    size_t before_last = 0; /* events before those of the last position */
    size_t bytes_before_last = 0;
    size_t bytes = 0;
    for (size_t i = 0; i < page->n_events; i++) {
        const Jackdaw__Event *event = page->events[i];
        bool same = event->seq != 0 && event->seq == last && i > 0;
        if (event->seq != 0) {
            assert_true(same || event->seq > last);
            assert_int_not_equal(event->epoch, 0);
            last = event->seq;
        } else {
            assert_int_equal(event->epoch, 0);
        }
        if (!same) {
            before_last = i;
            bytes_before_last = bytes;
        }
        bytes += strlen(event->text);
    }
    assert_true(last <= page->next->seq || page->n_events == 0);
    assert_true(page->next->seq >= page->after->seq);
    assert_true(before_last < CHAT_PAGE_EVENTS);
    assert_true(bytes_before_last < CHAT_PAGE_BYTES);
}

static void take(struct rpc_call *call, const Jackdaw__ReceiveReply *page, size_t size)
{
    (void)size;
    struct inbox *inbox = call->context;
    if (inbox->losing)
        return;
    assert_non_null(page->after);
    assert_non_null(page->next);
    if (page->rewound) {
        assert_true(inbox->fresh);
        inbox->rewinds++;
        inbox->cursor = (struct position){page->after->epoch, page->after->seq};
    }
    assert_int_equal(page->after->seq, inbox->cursor.seq);
    assert_int_equal(page->after->epoch, inbox->cursor.epoch);
    assert_true(page->n_events > 0 || page->rewound);
    assert_true(page->next->seq <= ledger_committed(inbox->desk->ledger).seq);
    check_page(page);
    for (size_t i = 0; i < page->n_events; i++)
        add_event(inbox, page->events[i]);
    inbox->cursor = (struct position){page->next->epoch, page->next->seq};
    inbox->fresh = false;
    if (inbox->pages < INBOX_PAGE_ENDS)
        inbox->page_ends[inbox->pages] = inbox->count;
    inbox->pages++;
    if (page->n_events > inbox->largest_page)
        inbox->largest_page = page->n_events;
}

void inbox_open_at(struct inbox *inbox, struct position after, uint32_t credits)
{
    struct rpc_call *before = inbox->call;
    inbox->cursor = after;
    inbox->fresh = true;
    inbox->losing = false;
    inbox->call = fake_call_new(credits);
    inbox->call->context = inbox;
    inbox->call->replied = take;
    struct chat_session *session = chat_find_session(inbox->desk->chat, inbox->session);
    assert_non_null(session);
    Jackdaw__Position position = JACKDAW__POSITION__INIT;
    position.epoch = after.epoch;
    position.seq = after.seq;
    Jackdaw__ReceiveRequest request = JACKDAW__RECEIVE_REQUEST__INIT;
    request.after = &position;
    mailroom_receive(inbox->desk->mailroom, session, inbox->call, &request);
    fake_call_free(before);
}

void inbox_open(struct inbox *inbox, uint32_t credits)
{
    inbox_open_at(inbox, inbox->cursor, credits);
}

bool inbox_is_open(const struct inbox *inbox)
{
    return inbox->call != NULL && !inbox->call->ended;
}

enum status inbox_take_end(struct inbox *inbox)
{
    assert_non_null(inbox->call);
    assert_true(inbox->call->ended);
    enum status status = inbox->call->status;
    fake_call_free(inbox->call);
    inbox->call = NULL;
    return status;
}

void inbox_disconnect(struct inbox *inbox)
{
    if (inbox->call == NULL)
        return;
    fake_call_cancel(inbox->call);
    /* Where the session has ended, its end is told when it is committed. */
    if (inbox->call->ended) {
        fake_call_free(inbox->call);
        inbox->call = NULL;
    }
}

void inbox_clear(struct inbox *inbox)
{
    inbox->count = 0;
    inbox->pages = 0;
    inbox->rewinds = 0;
    inbox->largest_page = 0;
}

size_t inbox_kept(const struct inbox *inbox)
{
    size_t count = 0;
    for (size_t i = 0; i < inbox->count; i++)
        count += inbox->got[i].seq != 0;
    return count;
}
