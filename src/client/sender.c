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
static bool may_learn_session(const struct request *request)
{
    if (!call_kind_of(request->asked.call)->session ||
        request->session != request->client->session.id ||
        (request->asked.call == CLIENT_LOGOUT && request->attempts > 1))
        return false;
    return server_selection_may_learn_session(request->client, request->sent_us);
}

/* Returns the action of response.c, with the exceptions of single calls. */
static enum response_action action_of(const struct request *request)
{
    const struct rpc_result *result = &request->result;
    enum response_action action = response_action(result);
    if (action == RESPONSE_ACCEPT)
        return action;
    if (call_kind_of(request->asked.call)->once) /* only another server may know more */
        return result->status == STATUS_CANCELLED ? RESPONSE_RETRY : RESPONSE_FAIL;
    /* Too many devices, for example: the user should know, and not wait. */
    if (request->asked.call == CLIENT_LOGIN && result->retry_ms > CLIENT_ANSWER_MS)
        return RESPONSE_FAIL;
    if (action == RESPONSE_END_SESSION && may_learn_session(request))
        return RESPONSE_RETRY;
    if (action == RESPONSE_END_SESSION && !call_kind_of(request->asked.call)->session)
        return RESPONSE_FAIL;
    return action;
}

/* The server misses a request before this one: it, and all between, go out again, too. */
static void go_back(struct request *request)
{
    struct request *earlier = request->client->requests;
    for (; earlier != request; earlier = earlier->next)
        if (earlier->number != 0 && earlier->sent_us <= request->sent_us)
            queue_abandon(earlier);
}

/* Two sides of a partition have met, and the requests acknowledged by the other side are being
 * merged: none is lost yet. */
static bool may_be_transferred(struct client *client)
{
    if (client->gap_since_us == 0)
        client->gap_since_us = client->now_us;
    return client->now_us - client->gap_since_us < ORPHAN_TRANSFER_WAIT_US;
}

/* The server expects an earlier number of the session: sends that request and all after it again. */
static void resend_from(struct request *request)
{
    struct client *client = request->client;
    uint64_t expected = request->result.next_request;
    bool possible = true;
    if (expected != 0 && expected < request->number)
        possible = replay_buffer_resend(client, expected);
    go_back(request);
    if (!possible && !may_be_transferred(client))
        session_lost(client, STATUS_ABORTED,
                     "the servers have lost more of this session than can be sent again");
}

/* Whether the request may have ended the server that had it. A forwarding server answers UNAVAILABLE
 * without retry_ms if its master had the request and is gone. A server that sets retry_ms, or names
 * another master, has refused the request itself. */
static bool is_unanswered(const struct request *request)
{
    const struct rpc_result *result = &request->result;
    return !response_is_from_server(result) || (result->status == STATUS_UNAVAILABLE &&
                                                result->retry_ms == 0 && *result->master == '\0');
}

static void retry_later(struct request *request, enum response_action action)
{
    struct client *client = request->client;
    const struct rpc_result *result = &request->result;
    if (is_unanswered(request))
        request->unanswered++;
    pause_before_retry(request, result->retry_ms);
    if (action == RESPONSE_RESEND && request->number != 0)
        resend_from(request);
    if (response_is_from_server(result))
        server_selection_seen(client);
    if (result->status == STATUS_UNAUTHENTICATED)
        request->attempts--; /* certainly not carried out */
    if (action == RESPONSE_REDIRECT)
        server_selection_reject(client, result);
}

/* The first half of a login that makes the account. */
static bool goes_on_to_login(struct request *request)
{
    if (request->asked.call != CLIENT_LOGIN || request->asked.manner == CLIENT_ACCOUNT_EXISTS ||
        request->registered)
        return false;
    enum status status = request->result.status;
    bool exists =
        status == STATUS_ALREADY_EXISTS && request->asked.manner == CLIENT_ACCOUNT_ENSURED;
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
    bool ends_it = request->asked.call == CLIENT_LOGOUT || request->asked.call == CLIENT_DELETE;
    if (ends_it) {
        /* Repeated: an earlier attempt did it, and its answer was lost. */
        session_over(client);
        if (request->attempts > 1)
            queue_finish(request, STATUS_OK, "", NULL);
        else
            queue_finish(request, STATUS_UNAUTHENTICATED, request->result.message, NULL);
        return;
    }
    if (client->session.active && request->session == client->session.id)
        session_lost(client, STATUS_UNAUTHENTICATED, request->result.message);
    bool logs_in = client->requests->asked.call == CLIENT_LOGIN && request->number != 0;
    if (request->attempts == 1 && (client->session.login_name != NULL || logs_in)) {
        /* Certainly not carried out: it may go out in the next session. */
        request->number = 0;
        request->session = 0;
        persist_number(request);
        return;
    }
    queue_finish(request, STATUS_UNAUTHENTICATED, request->result.message, NULL);
}

static void note_positions(struct request *request, const ProtobufCMessage *reply)
{
    struct client *client = request->client;
    if (request->asked.call != CLIENT_SEND || request->answered)
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
    queue_finish(request, STATUS_RESOURCE_EXHAUSTED, why.text, reply);
}

static void accept(struct request *request, const ProtobufCMessage *reply)
{
    struct client *client = request->client;
    const Jackdaw__LoginReply *login = (const Jackdaw__LoginReply *)reply;
    enum client_call call = request->asked.call;
    if (call_kind_of(call)->session)
        server_selection_confirm_session(client);
    if (call == CLIENT_LOGIN && login->session == 0) {
        refuse_device(request, login);
        return;
    }
    note_positions(request, reply);
    if (call == CLIENT_LOGIN)
        session_began(client, request, login);
    else if (call == CLIENT_LOGOUT || call == CLIENT_DELETE)
        session_over(client);
    queue_finish(request, STATUS_OK, "", reply);
}

/* The server has answered for good. */
static void end_request(struct request *request, enum response_action action,
                        const ProtobufCMessage *reply)
{
    struct client *client = request->client;
    const struct rpc_result *result = &request->result;
    if (call_kind_of(request->asked.call)->once) {
        queue_finish(request, result->status, result->message, reply);
        return;
    }
    if (request->asked.call != CLIENT_INFO)
        server_selection_confirm(client);
    if (!call_kind_of(request->asked.call)->slow)
        server_selection_learn_answer(client, client->now_us - request->sent_us);
    backoff_clear(&client->retry);
    widen_window(client);
    if (goes_on_to_login(request))
        return;
    if (request->number != 0 && action != RESPONSE_END_SESSION)
        client->gap_since_us = 0;
    if (action == RESPONSE_END_SESSION)
        handle_no_session(request);
    else if (action == RESPONSE_ACCEPT)
        accept(request, reply);
    else
        queue_finish(request, result->status, result->message, reply);
}

static void on_reply(const ProtobufCMessage *reply, void *closure_data)
{
    struct request *request = closure_data;
    if (request->ignored)
        return;
    if (request->session == request->client->session.id)
        response_note_position(request->client, request->result.position);
    enum response_action action = action_of(request);
    request->state = REQUEST_WAITING;
    request->client->under_way--;
    switch (action) {
    case RESPONSE_RETRY:
    case RESPONSE_REDIRECT:
    case RESPONSE_RESEND:
        retry_later(request, action);
        break;
    case RESPONSE_ACCEPT:
    case RESPONSE_FAIL:
    case RESPONSE_END_SESSION:
        end_request(request, action, reply);
        break;
    }
}

/* ---- sending ---- */

/* Why a request cannot be sent at all: a status other than OK, with a sentence. */
static enum status check_before_sending(const struct request *request, struct error_text *why)
{
    const struct client *client = request->client;
    const struct session *session = &client->session;
    if (request->asked.call == CLIENT_LOGIN && session->active &&
        !text_same_name(request->asked.name, session->name)) {
        (void)error_set(why, OK, "you are logged in as %s: log out first", session->name);
        return STATUS_FAILED_PRECONDITION;
    }
    if (call_kind_of(request->asked.call)->session && !session->active) {
        (void)error_set(why, OK, "you are not logged in: log in first");
        return STATUS_UNAUTHENTICATED;
    }
    if (request->number != 0 && request->session != session->id && request->attempts > 0) {
        (void)error_set(why, OK,
                        "the session ended before the server answered: "
                        "whether this was carried out is not known");
        return STATUS_UNAUTHENTICATED;
    }
    size_t size = strlen(request->asked.text);
    if (request->asked.call == CLIENT_SEND && client->message_bytes > 0 &&
        size > client->message_bytes) {
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
    if (call_kind_of(request->asked.call)->barrier)
        return client->requests == request;
    if (request->number != 0 || !call_kind_of(request->asked.call)->numbered)
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
    if (call_kind_of(request->asked.call)->session)
        request->session = session->id;
    if (call_kind_of(request->asked.call)->numbered && !is_numbered) {
        request->number = session->next_number++;
        persist_number(request);
    }
    /* Logging in again under the same name: the password is checked, the session stays. */
    if (request->asked.call == CLIENT_LOGIN && session->active)
        memcpy(request->secret, session->token, sizeof request->secret);
}

static uint32_t answer_timeout_ms(const struct call_kind *kind)
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
        if (call_kind_of(request->asked.call)->numbered)
            give_number(request);
        if (call_kind_of(request->asked.call)->barrier)
            return;
    }
}

/* Whether what must be on the disk before the request is sent is there. */
static bool is_durable(struct request *request)
{
    struct client *client = request->client;
    bool is_numbered = request->number != 0 && request->session == client->session.id;
    if (call_kind_of(request->asked.call)->numbered && !is_numbered)
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
    server_selection_init_stub(client, &stub, answer_timeout_ms(call_kind_of(request->asked.call)));
    stub.resent = request->unanswered;
    if (request->asked.call == CLIENT_LOGIN && client->persist.login_unanswered)
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
    const struct call_kind *kind = call_kind_of(request->asked.call);
    enum verdict after = kind->barrier ? STOP : LOOK_AT_NEXT;
    if (request->state == REQUEST_UNDER_WAY)
        return after;
    if (!is_in_turn(request))
        return STOP;
    struct error_text why;
    enum status status = check_before_sending(request, &why);
    if (status != STATUS_OK) {
        queue_finish(request, status, why.text, NULL);
        return LOOK_AGAIN;
    }
    if (client->selection.state == SELECTION_SEARCHING && kind->once) {
        queue_finish(request, STATUS_UNAVAILABLE, "no server answers", NULL);
        return LOOK_AGAIN;
    }
    if (client->selection.state == SELECTION_SEARCHING ||
        (kind->session && client->session.unverified))
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
