/* SPDX-License-Identifier: MIT */
#include "support/stream_recorder.h"

#include "support/test.h"

#include <stdio.h>
#include <string.h>

#define RECORDER_FIRST 64

void recorder_init(struct stream_recorder *recorder, struct core_fixture *core, uint64_t session)
{
    *recorder = (struct stream_recorder){.core = core, .session = session};
    recorder->page_ends = test_calloc(RECORDER_PAGE_ENDS, sizeof *recorder->page_ends);
    recorder->capacity = RECORDER_FIRST;
    recorder->got = test_calloc(recorder->capacity, sizeof *recorder->got);
}

void recorder_release(struct stream_recorder *recorder)
{
    fake_call_free(recorder->call);
    test_free(recorder->got);
    test_free(recorder->page_ends);
    *recorder = (struct stream_recorder){.core = NULL};
}

static void add_event(struct stream_recorder *recorder, const Jackdaw__Event *event)
{
    if (recorder->count == recorder->capacity) {
        recorder->capacity *= 2;
        recorder->got = test_realloc(recorder->got, recorder->capacity * sizeof *recorder->got);
    }
    struct event_record *got = &recorder->got[recorder->count++];
    *got = (struct event_record){.kind = event->kind,
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
    struct stream_recorder *recorder = call->context;
    if (recorder->losing)
        return;
    assert_non_null(page->after);
    assert_non_null(page->next);
    if (page->cursor_reset) {
        assert_true(recorder->fresh);
        recorder->rewinds++;
        recorder->cursor = (struct log_position){page->after->epoch, page->after->seq};
    }
    assert_int_equal(page->after->seq, recorder->cursor.seq);
    assert_int_equal(page->after->epoch, recorder->cursor.epoch);
    assert_true(page->n_events > 0 || page->cursor_reset);
    assert_true(page->next->seq <= commit_log_committed(recorder->core->commit_log).seq);
    check_page(page);
    for (size_t i = 0; i < page->n_events; i++)
        add_event(recorder, page->events[i]);
    recorder->cursor = (struct log_position){page->next->epoch, page->next->seq};
    recorder->fresh = false;
    if (recorder->pages < RECORDER_PAGE_ENDS)
        recorder->page_ends[recorder->pages] = recorder->count;
    recorder->pages++;
    if (page->n_events > recorder->largest_page)
        recorder->largest_page = page->n_events;
}

void recorder_open_at(struct stream_recorder *recorder, struct log_position after, uint32_t credits)
{
    struct rpc_call *before = recorder->call;
    recorder->cursor = after;
    recorder->fresh = true;
    recorder->losing = false;
    recorder->call = fake_call_new(credits);
    recorder->call->context = recorder;
    recorder->call->replied = take;
    struct chat_session *session = chat_find_session(recorder->core->chat, recorder->session);
    assert_non_null(session);
    Jackdaw__Position position = JACKDAW__POSITION__INIT;
    position.epoch = after.epoch;
    position.seq = after.seq;
    Jackdaw__ReceiveRequest request = JACKDAW__RECEIVE_REQUEST__INIT;
    request.after = &position;
    subscriptions_receive(recorder->core->subscriptions, session, recorder->call, &request);
    fake_call_free(before);
}

void recorder_open(struct stream_recorder *recorder, uint32_t credits)
{
    recorder_open_at(recorder, recorder->cursor, credits);
}

bool recorder_is_open(const struct stream_recorder *recorder)
{
    return recorder->call != NULL && !recorder->call->ended;
}

enum status recorder_take_end(struct stream_recorder *recorder)
{
    assert_non_null(recorder->call);
    assert_true(recorder->call->ended);
    enum status status = recorder->call->status;
    fake_call_free(recorder->call);
    recorder->call = NULL;
    return status;
}

void recorder_disconnect(struct stream_recorder *recorder)
{
    if (recorder->call == NULL)
        return;
    fake_call_cancel(recorder->call);
    /* Where the session has ended, its end is told when it is committed. */
    if (recorder->call->ended) {
        fake_call_free(recorder->call);
        recorder->call = NULL;
    }
}

void recorder_clear(struct stream_recorder *recorder)
{
    recorder->count = 0;
    recorder->pages = 0;
    recorder->rewinds = 0;
    recorder->largest_page = 0;
}

size_t recorder_kept(const struct stream_recorder *recorder)
{
    size_t count = 0;
    for (size_t i = 0; i < recorder->count; i++)
        count += recorder->got[i].seq != 0;
    return count;
}
