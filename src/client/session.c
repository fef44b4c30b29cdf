/* SPDX-License-Identifier: MIT */
#include "client/client_internal.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

static void wipe(char **text)
{
    if (*text != NULL)
        sodium_memzero(*text, strlen(*text));
    free(*text);
    *text = NULL;
}

static void forget_password(struct session *session)
{
    wipe(&session->login_name);
    wipe(&session->login_password);
}

static void remember_password(struct session *session, const struct request *request)
{
    forget_password(session);
    if (!request->asked.again)
        return;
    session->login_name = strdup(request->asked.name);
    session->login_password = strdup(request->asked.password);
    if (session->login_name == NULL || session->login_password == NULL)
        forget_password(session);
}

static void set_name(struct session *session, const char *name)
{
    char *copy = strdup(name);
    if (copy == NULL)
        return; /* the old one will do */
    free(session->name);
    session->name = copy;
}

static bool is_cluster_known(const struct session *session)
{
    return !sodium_is_zero(session->cluster, sizeof session->cluster);
}

/* A server that was asked for Info before it had a cluster may be the master of one by now. */
static void ask_for_cluster(struct client *client)
{
    if (client->selection.current != NULL && !is_cluster_known(&client->session))
        connection_ask(client->selection.current);
}

void session_learn_cluster(struct client *client)
{
    struct session *session = &client->session;
    if (!session->active || is_cluster_known(session) ||
        client->selection.connected.session_confirmed_us == 0)
        return;
    memcpy(session->cluster, client->selection.current->cluster, sizeof session->cluster);
    if (is_cluster_known(session))
        persist_cluster(client);
}

void session_began(struct client *client, const struct request *request,
                   const Jackdaw__LoginReply *reply)
{
    struct session *session = &client->session;
    remember_password(session, request);
    if (session->active && session->id == reply->session)
        return;
    session->active = true;
    server_selection_confirm_session(client);
    session->id = reply->session;
    session->next_number = 1;
    memcpy(session->token, request->secret, sizeof session->token);
    memset(session->cluster, 0, sizeof session->cluster);
    if (client->selection.current != NULL)
        memcpy(session->cluster, client->selection.current->cluster, sizeof session->cluster);
    if (session->name != NULL && strcmp(session->name, reply->name) != 0)
        dedup_clear(&client->stream.dedup); /* reported to another account */
    set_name(session, reply->name);
    client->sent = (struct log_position){.epoch = 0};
    client->seen = request->result.position;
    client->heartbeat.stuck = false;
    client->heartbeat.due_us = client->now_us + (uint64_t)CLIENT_HEARTBEAT_MS * 1000;
    stream_start(client, proto_position(reply->position));
    persist_session(client);
    ask_for_cluster(client);
}

static void end(struct client *client)
{
    client->session.active = false;
    client->session.id = 0;
    client->session.unverified = false;
    client->seen = (struct log_position){.epoch = 0};
    replay_buffer_clear(client);
    persist_session(client);
    sodium_memzero(client->session.token, sizeof client->session.token);
    stream_stop(client);
}

void session_over(struct client *client)
{
    if (!client->session.active)
        return;
    end(client);
    forget_password(&client->session);
}

void session_release(struct client *client)
{
    replay_buffer_clear(client);
    forget_password(&client->session);
    wipe(&client->session.name);
    sodium_memzero(&client->session, sizeof client->session);
}

/* ---- losing it ---- */

static void tell_end(struct client *client, enum status status, const char *text)
{
    forget_password(&client->session);
    if (client->observer.session_ended != NULL)
        client->observer.session_ended(client->context, status, text);
}

static void on_logged_in_again(void *context, const struct client_result *result)
{
    if (result->status != STATUS_OK)
        tell_end(context, result->status, result->error);
}

/* Returns whether the owner has asked for the end: the answer to that is on its way, or lost. Only
 * requests that never wait may stand before it. */
static bool is_ending(const struct client *client)
{
    const struct request *first = client->requests;
    while (first != NULL && call_kind_of(first->asked.call)->once)
        first = first->next;
    return first != NULL && first->attempts > 0 &&
           (first->asked.call == CLIENT_LOGOUT || first->asked.call == CLIENT_DELETE);
}

void session_lost(struct client *client, enum status status, const char *text)
{
    struct session *session = &client->session;
    if (!session->active || is_ending(client))
        return;
    end(client);
    const struct client_request again = {
        .call = CLIENT_LOGIN,
        .name = session->login_name,
        .password = session->login_password,
        .again = true,
    };
    if (session->login_name == NULL ||
        queue_put_first(client, &again, on_logged_in_again, client) != OK)
        tell_end(client, status, text);
}

/* ---- heartbeats ---- */

/* Undelivered messages wait at the server, and the stream brings none: it may have lost its last page. */
static void compare_cursors(struct client *client, const Jackdaw__HeartbeatReply *reply)
{
    struct heartbeat *heartbeat = &client->heartbeat;
    struct log_position cursor = client->stream.cursor.at;
    bool waiting = reply->n_undelivered > 0;
    if (waiting && heartbeat->stuck && log_position_compare(cursor, heartbeat->cursor) == 0) {
        client->stats.gaps++;
        stream_restart(client);
        waiting = false; /* the new stream has two heartbeats, too */
    }
    heartbeat->stuck = waiting;
    heartbeat->cursor = cursor;
}

/* Under numbers that the servers have seen, new requests would get old answers. */
static void verify(struct client *client, const Jackdaw__HeartbeatReply *reply)
{
    struct session *session = &client->session;
    if (!session->unverified)
        return;
    if (reply->last_request >= session->next_number)
        persist_refuse(client, reply->last_request);
    session->unverified = false;
    client->wake_us = 0;
}

static void on_heartbeat(const ProtobufCMessage *reply, void *closure_data)
{
    struct heartbeat *heartbeat = closure_data;
    struct client *client = heartbeat->client;
    const struct rpc_result *result = &heartbeat->result;
    heartbeat->under_way = false;
    response_note_position(client, result->position);
    switch (response_action(result)) {
    case RESPONSE_ACCEPT:
        server_selection_confirm(client);
        server_selection_confirm_session(client);
        verify(client, (const Jackdaw__HeartbeatReply *)reply);
        compare_cursors(client, (const Jackdaw__HeartbeatReply *)reply);
        break;
    case RESPONSE_END_SESSION:
        if (!server_selection_may_learn_session(client, heartbeat->sent_us))
            session_lost(client, result->status, result->message);
        break;
    case RESPONSE_REDIRECT:
        server_selection_reject(client, result);
        break;
    default: /* the next heartbeat may succeed */
        break;
    }
}

static void send_heartbeat(struct client *client)
{
    struct heartbeat *heartbeat = &client->heartbeat;
    struct read_position read_position;
    Jackdaw__HeartbeatRequest request = JACKDAW__HEARTBEAT_REQUEST__INIT;
    cursor_write(&client->stream.cursor, &read_position);
    request.after = &read_position.after;
    request.cursor_history = read_position.list;
    request.n_cursor_history = read_position.count;
    request.of_master = client->session.unverified;
    struct rpc_stub stub;
    server_selection_init_stub(client, &stub, CLIENT_ANSWER_MS);
    heartbeat->under_way = true;
    heartbeat->sent_us = client->now_us;
    call_method(&stub, "Heartbeat", &request.base, on_heartbeat, heartbeat);
}

static void heartbeat_tick(struct client *client)
{
    struct heartbeat *heartbeat = &client->heartbeat;
    if (client->selection.state == SELECTION_SEARCHING || heartbeat->under_way)
        return;
    bool verifies = client->session.unverified && client->now_us >= client->session.verify_us;
    if (client->now_us >= heartbeat->due_us || verifies) {
        client->session.verify_us = client->now_us + (uint64_t)CLIENT_RETRY_MAX_MS * 1000;
        heartbeat->due_us = client->now_us + (uint64_t)CLIENT_HEARTBEAT_MS * 1000;
        if (client->session.active)
            send_heartbeat(client);
        else
            connection_ask(client->selection.current);
        ask_for_cluster(client);
    }
    client_wake_at(client, heartbeat->due_us);
    if (client->session.unverified)
        client_wake_at(client, client->session.verify_us);
}

void session_tick(struct client *client)
{
    struct stream *stream = &client->stream;
    if (stream->refused_session != 0 && stream->refused_session == client->session.id)
        session_lost(client, STATUS_UNAUTHENTICATED, stream->refusal.text);
    stream->refused_session = 0;
    heartbeat_tick(client);
}
