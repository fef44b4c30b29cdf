/* SPDX-License-Identifier: MIT */
#include "writer.h"

#include "base/clock.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PASSWORD "correct horse"
#define PAGE 256u
#define TEXT_SIZE 101
#define NUMBER_FORMAT "%012" PRIu64

static void fail(struct writer *writer, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void fail(struct writer *writer, const char *format, ...)
{
    if (writer->problem.text[0] != '\0')
        return;
    va_list values;
    va_start(values, format);
    (void)vsnprintf(writer->problem.text, sizeof writer->problem.text, format, values);
    va_end(values);
}

static void ask(struct writer *writer, const struct client_request *request, client_done *done)
{
    struct error_text why;
    if (client_ask(writer->client, request, done, writer, &why) != OK)
        fail(writer, "%s cannot ask: %s", writer->name, why.text);
}

static bool is_good(struct writer *writer, const struct client_result *result, const char *what)
{
    if (result->status != STATUS_OK)
        fail(writer, "%s: %s was refused: %s (%s)", writer->name, what, status_name(result->status),
             result->error);
    return result->status == STATUS_OK;
}

static void on_event(void *context, const Jackdaw__Event *event)
{
    struct writer *writer = context;
    if (event->kind != JACKDAW__EVENT__KIND__MESSAGE || strcmp(event->room, writer->room) != 0)
        return;
    uint64_t number = strtoull(event->text, NULL, 10);
    if (number != writer->told + 1)
        fail(writer, "%s: after message %" PRIu64 " came, as an event, %" PRIu64, writer->name,
             writer->told, number);
    writer->told = number;
}

static void on_session_ended(void *context, enum status status, const char *text)
{
    struct writer *writer = context;
    fail(writer, "%s: the session has ended: %s (%s)", writer->name, status_name(status), text);
}

static void on_login(void *context, const struct client_result *result)
{
    (void)is_good(context, result, "the login");
}

enum error writer_init(struct writer *writer, const struct writer_options *options,
                       struct error_text *why)
{
    static const struct client_observer observer = {.event = on_event,
                                                    .session_ended = on_session_ended};
    *writer =
        (struct writer){.every_us = options->every_us, .in_flight_max = options->in_flight_max};
    (void)snprintf(writer->name, sizeof writer->name, "%s", options->name);
    struct client_options client = {.addresses = options->addresses,
                                    .address_count = options->address_count,
                                    .program = "failover",
                                    .observer = &observer,
                                    .context = writer};
    enum error error = client_new(&writer->client, &client, why);
    if (error == OK)
        ask(writer,
            &(struct client_request){.call = CLIENT_LOGIN,
                                     .name = writer->name,
                                     .password = PASSWORD,
                                     .manner = CLIENT_ACCOUNT_ENSURED},
            on_login);
    return error;
}

void writer_release(struct writer *writer)
{
    client_free(writer->client);
    writer->client = NULL;
}

static void on_joined(void *context, const struct client_result *result)
{
    struct writer *writer = context;
    writer->ready = is_good(writer, result, "joining the room");
}

void writer_enter(struct writer *writer, const char *room)
{
    (void)snprintf(writer->room, sizeof writer->room, "%s", room);
    writer->ready = false;
    writer->written = 0;
    writer->acknowledged = 0;
    writer->told = 0;
    writer->marked_number = 0;
    ask(writer, &(struct client_request){.call = CLIENT_JOIN, .room = writer->room}, on_joined);
}

static void on_acknowledged(void *context, const struct client_result *result)
{
    struct writer *writer = context;
    uint64_t now_us = clock_monotonic_us();
    if (!is_good(writer, result, "a message"))
        return;
    writer->acknowledged++;
    if (writer->last_us != 0 && now_us - writer->last_us > writer->gap_us)
        writer->gap_us = now_us - writer->last_us;
    writer->last_us = now_us;
    if (strtoull(result->text, NULL, 10) > writer->marked_number)
        writer->fresh++;
}

static void write_one(struct writer *writer)
{
    char text[TEXT_SIZE];
    (void)snprintf(text, sizeof text,
                   NUMBER_FORMAT
                   " The quick brown fox jumps over the lazy dog. The quick brown fox "
                   "jumps over the lazy do",
                   ++writer->written);
    ask(writer, &(struct client_request){.call = CLIENT_SEND, .room = writer->room, .text = text},
        on_acknowledged);
}

void writer_start(struct writer *writer)
{
    writer->writing = true;
    writer->last_us = 0; /* the pause before is no gap */
    writer->due_us = clock_monotonic_us();
}

void writer_pause(struct writer *writer)
{
    writer->writing = false;
}

bool writer_is_even(const struct writer *writer)
{
    return writer->acknowledged == writer->written && writer->told == writer->written;
}

/* Messages that were due while as many as may be were under way are left out, not made up for. */
static void write_due(struct writer *writer, uint64_t now_us)
{
    size_t under_way = writer->written - writer->acknowledged;
    if (under_way >= writer->in_flight_max || now_us < writer->due_us)
        return;
    write_one(writer);
    writer->due_us += writer->every_us;
    if (writer->due_us < now_us)
        writer->due_us = now_us;
}

uint64_t writer_process(struct writer *writer)
{
    client_process(writer->client);
    uint64_t now_us = clock_monotonic_us();
    if (writer->writing && writer->problem.text[0] == '\0') {
        write_due(writer, now_us);
        client_process(writer->client);
    }
    int timeout_ms = client_timeout_ms(writer->client);
    uint64_t next_us = timeout_ms < 0 ? UINT64_MAX : now_us + (uint64_t)timeout_ms * 1000u;
    bool may_write =
        writer->writing && writer->written - writer->acknowledged < writer->in_flight_max;
    return may_write && writer->due_us < next_us ? writer->due_us : next_us;
}

void writer_mark(struct writer *writer)
{
    writer->gap_us = 0;
    writer->marked_number = writer->written;
    writer->fresh = 0;
}

uint64_t writer_gap_us(const struct writer *writer)
{
    uint64_t open_us = writer->last_us == 0 ? 0 : clock_monotonic_us() - writer->last_us;
    return writer->writing && open_us > writer->gap_us ? open_us : writer->gap_us;
}

static void read_page(struct writer *writer, uint64_t before);

static void on_page(void *context, const struct client_result *result)
{
    struct writer *writer = context;
    writer->reading = false;
    if (!is_good(writer, result, "reading the room"))
        return;
    const Jackdaw__HistoryReply *page = result->reply.history;
    for (size_t i = page->n_events; i-- > 0 && writer->problem.text[0] == '\0';) {
        const Jackdaw__Event *event = page->events[i];
        if (strtoull(event->text, NULL, 10) != writer->expected ||
            event->number != writer->expected)
            fail(writer,
                 "%s: where message %" PRIu64 " should be in the history stands, as number %" PRIu64
                 ": %.12s",
                 writer->name, writer->expected, event->number, event->text);
        writer->expected--;
    }
    if (writer->problem.text[0] != '\0')
        return;
    if (page->more && page->n_events > 0)
        read_page(writer, page->events[0]->number);
    else if (writer->expected != 0)
        fail(writer, "%s: the history begins after message %" PRIu64, writer->name,
             writer->expected);
}

static void read_page(struct writer *writer, uint64_t before)
{
    writer->reading = true;
    ask(writer,
        &(struct client_request){
            .call = CLIENT_HISTORY, .room = writer->room, .before = before, .limit = PAGE},
        on_page);
}

void writer_read(struct writer *writer)
{
    writer->expected = writer->written;
    read_page(writer, 0);
}
