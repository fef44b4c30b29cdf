/* SPDX-License-Identifier: MIT */
#include "client/client_internal.h"

#include "client/text.h"

#include <stdio.h>
#include <string.h>

#define ORPHAN_TRANSFER_WAIT_US 120000000u

/* ---- answers ---- */

/* The number of requests that a server took before its rate limit or a full queue made it refuse
 * one. Sending more at once is useless. */
static void narrow_window(struct client *client)
{
    client->window = client->accepted < client->window ? client->accepted : client->window;
    if (client->window < CLIENT_WINDOW_LEAST)
        client->window = CLIENT_WINDOW_LEAST;
    client->accepted = 0;
}

/* A window that was taken whole grows by a quarter. */
static void widen_window(struct client *client)
{
    if (++client->accepted < client->window)
        return;
    client->window += client->window / 4;
    if (client->window > CLIENT_WINDOW)
        client->window = CLIENT_WINDOW;
    client->accepted = 0;
}

/* No request is sent before the pause is over. Failures that belong to the same round of attempts,
 * as when one request of a pipeline is refused and all after it skip a number, make one pause. */
static void pause_before_retry(struct request *request, uint32_t retry_ms)
{
    struct client *client = request->client;
    if (request->sent_us < client->retry_set_us)
        return;
    if (request->result.status == STATUS_RESOURCE_EXHAUSTED)
        narrow_window(client);
    client->retry_set_us = client->now_us + 1;
    client->resend_us =
        client->now_us + backoff_next_us(&client->retry, retry_ms, client_random32(client));
}

/* A logout that was sent before has most likely been carried out. */
static bool is_session_late(const struct request *request)
{
    if (!call_kind_of(request->call)->session || request->session != request->client->session.id ||
        (request->call == CLIENT_LOGOUT && request->attempts > 1))
        return false;
    return session_may_be_late(request->client);
}

static bool is_for_later(const struct request *request)
{
    const struct rpc_result *result = &request->result;
    if (call_kind_of(request->call)->once) /* another server was taken: it knows more */
        return result->status == STATUS_CANCELLED;
    if (request->call == CLIENT_LOGIN && result->retry_ms > CLIENT_ANSWER_MS)
        return false; /* too many devices, say: the user should know rather than wait */
    switch (result->status) {
    case STATUS_CANCELLED:
    case STATUS_DEADLINE_EXCEEDED:
    case STATUS_ABORTED:
    case STATUS_UNAVAILABLE:
        return true;
    case STATUS_UNAUTHENTICATED:
        return is_session_late(request);
    default:
        return result->status != STATUS_OK && result->retry_ms > 0;
    }
}

/* The server misses a request before this one: it, and all between, go out again, too. */
static void go_back(struct request *request)
{
    struct request *earlier = request->client->requests;
    for (; earlier != request; earlier = earlier->next)
        if (earlier->number != 0 && earlier->sent_us <= request->sent_us)
            request_abandon(earlier);
}

/* Two sides of a partition have met, and the requests acknowledged by the other side are being
 * merged: none is lost yet. */
static bool may_be_handed_over(struct client *client)
{
    if (client->gap_since_us == 0)
        client->gap_since_us = client->now_us;
    return client->now_us - client->gap_since_us < ORPHAN_TRANSFER_WAIT_US;
}

/* The session's numbers do not go on where this request stands. */
static void handle_skip(struct request *request)
{
    struct client *client = request->client;
    uint64_t expected = request->result.next_request;
    bool possible = true;
    if (expected != 0 && expected < request->number)
        possible = replay_buffer_resend(client, expected);
    go_back(request);
    if (!possible && !may_be_handed_over(client))
        session_lost(client, STATUS_ABORTED,
                     "the servers have lost more of this session than can be sent again");
}

/* Whether the request may have ended the server that had it. A forwarding server answers
 * UNAVAILABLE when its master is gone. A server that names another master has not executed the
 * request. */
static bool is_unanswered(const struct request *request)
{
    const struct rpc_result *result = &request->result;
    return result->status == STATUS_CANCELLED || result->status == STATUS_DEADLINE_EXCEEDED ||
           (result->status == STATUS_UNAVAILABLE && *result->master == '\0');
}

static void retry_later(struct request *request)
{
    struct client *client = request->client;
    const struct rpc_result *result = &request->result;
    if (is_unanswered(request))
        request->unanswered++;
    pause_before_retry(request, result->retry_ms);
    if (result->status == STATUS_ABORTED && request->number != 0)
        handle_skip(request);
    if (result->status != STATUS_CANCELLED && result->status != STATUS_DEADLINE_EXCEEDED)
        client->last_seen_us = client->now_us;
    if (result->status == STATUS_UNAUTHENTICATED)
        request->attempts--; /* certainly not carried out */
    if (result->status == STATUS_UNAVAILABLE || *result->master != '\0')
        connection_reject(client, result);
}

/* The first half of a login that makes the account. */
static bool goes_on_to_login(struct request *request)
{
    if (request->call != CLIENT_LOGIN || request->manner == CLIENT_ACCOUNT_EXISTS ||
        request->registered)
        return false;
    enum status status = request->result.status;
    bool exists = status == STATUS_ALREADY_EXISTS && request->manner == CLIENT_ACCOUNT_ENSURED;
    if (status != STATUS_OK && !exists)
        return false;
    request->registered = true;
    request->created = status == STATUS_OK;
    request->attempts = 0;
    request->unanswered = 0;
    request->client->wake_us = 0;
    return true;
}

/* The server does not know the session, or not any more. */
static void handle_no_session(struct request *request)
{
    struct client *client = request->client;
    bool ends_it = request->call == CLIENT_LOGOUT || request->call == CLIENT_DELETE;
    if (ends_it) {
        /* Repeated: an earlier attempt did it, and its answer was lost. */
        session_over(client);
        if (request->attempts > 1)
            request_finish(request, STATUS_OK, "", NULL);
        else
            request_finish(request, STATUS_UNAUTHENTICATED, request->result.message, NULL);
        return;
    }
    if (client->session.active && request->session == client->session.id)
        session_lost(client, STATUS_UNAUTHENTICATED, request->result.message);
    bool logs_in = client->requests->call == CLIENT_LOGIN && request->number != 0;
    if (request->attempts == 1 && (client->session.login_name != NULL || logs_in)) {
        /* Certainly not carried out: it may go out in the next session. */
        request->number = 0;
        request->session = 0;
        persist_number(request);
        return;
    }
    request_finish(request, STATUS_UNAUTHENTICATED, request->result.message, NULL);
}

static void note_positions(struct request *request, const ProtobufCMessage *reply)
{
    struct client *client = request->client;
    if (request->call != CLIENT_SEND || request->answered)
        return;
    client->sent = proto_position(((const Jackdaw__SendReply *)reply)->position);
    if (client->sent.epoch > client->highest_epoch)
        client->highest_epoch = client->sent.epoch;
}

/* All places of the account are taken: the answer tells by whom. */
static void refuse_device(struct request *request, const Jackdaw__LoginReply *reply)
{
    struct error_text why;
    (void)error_set(&why, OK, "%zu %s logged in already: replace one, or log out on it",
                    reply->n_devices, reply->n_devices == 1 ? "device is" : "devices are");
    request_finish(request, STATUS_RESOURCE_EXHAUSTED, why.text, reply);
}

/* The request has its final answer. */
static void handle_outcome(struct request *request, const ProtobufCMessage *reply)
{
    struct client *client = request->client;
    enum status status = request->result.status;
    if (call_kind_of(request->call)->once) {
        request_finish(request, status, request->result.message, reply);
        return;
    }
    if (request->call != CLIENT_INFO)
        connection_confirm(client);
    backoff_clear(&client->retry);
    widen_window(client);
    if (goes_on_to_login(request))
        return;
    if (status == STATUS_UNAUTHENTICATED && call_kind_of(request->call)->session) {
        handle_no_session(request);
        return;
    }
    if (status == STATUS_OK && call_kind_of(request->call)->session)
        session_confirm(client);
    if (request->number != 0)
        client->gap_since_us = 0;
    if (status == STATUS_OK && request->call == CLIENT_LOGIN &&
        ((const Jackdaw__LoginReply *)reply)->session == 0) {
        refuse_device(request, (const Jackdaw__LoginReply *)reply);
        return;
    }
    if (status == STATUS_OK) {
        note_positions(request, reply);
        if (request->call == CLIENT_LOGIN)
            session_began(client, request, (const Jackdaw__LoginReply *)reply);
        else if (request->call == CLIENT_LOGOUT || request->call == CLIENT_DELETE)
            session_over(client);
    }
    request_finish(request, status, request->result.message, reply);
}

static void on_reply(const ProtobufCMessage *reply, void *closure_data)
{
    struct request *request = closure_data;
    struct client *client = request->client;
    if (request->ignored)
        return;
    request->state = REQUEST_WAITING;
    client->under_way--;
    if (is_for_later(request))
        retry_later(request);
    else
        handle_outcome(request, reply);
}

/* ---- sending ---- */

/* Why a request cannot be sent at all: a status other than OK, with a sentence. */
static enum status check_before_sending(const struct request *request, struct error_text *why)
{
    const struct client *client = request->client;
    const struct session *session = &client->session;
    if (request->call == CLIENT_LOGIN && session->active &&
        !text_same_name(request->name, session->name)) {
        (void)error_set(why, OK, "you are logged in as %s: log out first", session->name);
        return STATUS_FAILED_PRECONDITION;
    }
    if (call_kind_of(request->call)->session && !session->active) {
        (void)error_set(why, OK, "you are not logged in: log in first");
        return STATUS_UNAUTHENTICATED;
    }
    if (request->number != 0 && request->session != session->id && request->attempts > 0) {
        (void)error_set(why, OK,
                        "the session ended before the server answered: "
                        "whether this was carried out is not known");
        return STATUS_UNAUTHENTICATED;
    }
    size_t size = strlen(request->text);
    if (request->call == CLIENT_SEND && client->message_bytes > 0 && size > client->message_bytes) {
        (void)error_set(why, OK, "the message has %zu bytes, and this server takes at most %u",
                        size, client->message_bytes);
        return STATUS_INVALID_ARGUMENT;
    }
    return STATUS_OK;
}

/* Whether it may go out now, given what is under way. */
static bool is_in_turn(const struct request *request)
{
    const struct client *client = request->client;
    if (call_kind_of(request->call)->barrier)
        return client->requests == request;
    if (request->number != 0 || !call_kind_of(request->call)->numbered)
        return true;
    const struct request *oldest = client->requests;
    while (oldest->number == 0 && oldest != request)
        oldest = oldest->next;
    return oldest == request || client->session.next_number - oldest->number < CLIENT_WINDOW;
}

static void give_number(struct request *request)
{
    struct session *session = &request->client->session;
    bool is_numbered = request->number != 0 && request->session == session->id;
    if (call_kind_of(request->call)->session)
        request->session = session->id;
    if (call_kind_of(request->call)->numbered && !is_numbered) {
        request->number = session->next_number++;
        persist_number(request);
    }
    /* Logging in again under the same name: the password is checked, the session stays. */
    if (request->call == CLIENT_LOGIN && session->active)
        memcpy(request->secret, session->token, sizeof request->secret);
}

static uint32_t patience_ms(const struct call_kind *kind)
{
    if (kind->once)
        return CLIENT_STATUS_MS;
    return kind->slow ? CLIENT_SLOW_ANSWER_MS : CLIENT_ANSWER_MS;
}

/* With a state file, numbers are on the disk before any request is sent. The requests that may be
 * sent now get their numbers first, and one sync serves all. */
static void number_ahead(struct client *client)
{
    const struct session *session = &client->session;
    if (client->persist.file == NULL || !session->active)
        return;
    size_t seen = 0;
    for (struct request *request = client->requests; request != NULL && seen < CLIENT_WINDOW;
         request = request->next, seen++) {
        struct error_text why;
        if (!is_in_turn(request) || check_before_sending(request, &why) != STATUS_OK)
            return;
        if (call_kind_of(request->call)->numbered)
            give_number(request);
        if (call_kind_of(request->call)->barrier)
            return;
    }
}

/* Whether what must be on the disk before the request is sent is there. */
static bool is_durable(struct request *request)
{
    struct client *client = request->client;
    bool is_numbered = request->number != 0 && request->session == client->session.id;
    if (call_kind_of(request->call)->numbered && !is_numbered)
        number_ahead(client);
    give_number(request);
    return persist_sync(client);
}

static void send_request(struct request *request)
{
    struct client *client = request->client;
    request->state = REQUEST_UNDER_WAY;
    client->under_way++;
    request->sent_us = client->now_us;
    if (request->attempts == 0)
        request->first_us = client->now_us;
    else
        client->stats.retries++;
    request->attempts++;
    struct rpc_stub stub;
    client_init_stub(client, &stub, patience_ms(call_kind_of(request->call)));
    stub.resent = request->unanswered;
    if (request->call == CLIENT_LOGIN && client->persist.login_unanswered)
        stub.resent++;
    call_invoke(request, &stub, on_reply);
    if (stub.call != 0) /* otherwise it has ended already, and may be gone */
        request->call_id = stub.call;
}

/* The result of a processed request. */
enum verdict { LOOK_AT_NEXT, LOOK_AGAIN, STOP };

static enum verdict consider(struct request *request)
{
    struct client *client = request->client;
    const struct call_kind *kind = call_kind_of(request->call);
    enum verdict after = kind->barrier ? STOP : LOOK_AT_NEXT;
    if (request->state == REQUEST_UNDER_WAY)
        return after;
    if (!is_in_turn(request))
        return STOP;
    struct error_text why;
    enum status status = check_before_sending(request, &why);
    if (status != STATUS_OK) {
        request_finish(request, status, why.text, NULL);
        return LOOK_AGAIN;
    }
    if (client->current == NULL && kind->once) {
        request_finish(request, STATUS_UNAVAILABLE, "no server answers", NULL);
        return LOOK_AGAIN;
    }
    if (client->current == NULL || (kind->numbered && client->session.unverified))
        return STOP;
    if (client->under_way >= client->window && !kind->once)
        return STOP;
    if (client->now_us < client->resend_us && !kind->once) {
        client_wake_at(client, client->resend_us);
        return STOP;
    }
    if (!is_durable(request))
        return STOP;
    uint64_t finished = client->finished;
    send_request(request);
    return client->finished == finished ? after : LOOK_AGAIN;
}

void sender_pump(struct client *client)
{
    struct request *request = client->requests;
    for (size_t seen = 0; request != NULL && seen < CLIENT_WINDOW; seen++) {
        switch (consider(request)) {
        case LOOK_AT_NEXT:
            request = request->next;
            break;
        case LOOK_AGAIN: /* callbacks have run: the queue may be another */
            request = client->requests;
            seen = 0;
            break;
        case STOP:
            return;
        }
    }
}
