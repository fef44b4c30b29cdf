/* SPDX-License-Identifier: MIT */
#include "client/client_internal.h"

#include <sodium.h>
#include <utlist.h>

static void drop_first(struct client *client)
{
    struct request *first = client->replay_buffer;
    DL_DELETE(client->replay_buffer, first);
    client->replay_count--;
    client->replay_bytes -= request_cost(first);
    request_dispose(first);
}

/* A refused request must not take effect when it is sent again. Replaces it by a no-op with the same
 * number: LEAVE without a room. */
static void make_harmless(struct request *request)
{
    request->asked.call = CLIENT_LEAVE;
    sodium_memzero(request->strings, request->strings_size);
}

/* Answers can come in another order than requests went out. */
static void insert(struct client *client, struct request *request)
{
    struct request *at = client->replay_buffer == NULL ? NULL : client->replay_buffer->prev;
    while (at != NULL && at->number > request->number)
        at = at == client->replay_buffer ? NULL : at->prev;
    if (at == NULL)
        DL_PREPEND(client->replay_buffer, request);
    else
        DL_APPEND_ELEM(client->replay_buffer, at, request);
}

void replay_buffer_add(struct request *request, bool done)
{
    struct client *client = request->client;
    const struct session *session = &client->session;
    if (request->number == 0 || !session->active || request->session != session->id) {
        request_dispose(request);
        return;
    }
    if (!done && !request->answered)
        make_harmless(request);
    request->answered = true;
    request->unanswered = 0; /* it ended no server */
    request->done = NULL;
    insert(client, request);
    client->replay_count++;
    client->replay_bytes += request_cost(request);
    while (client->replay_count > CLIENT_REPLAY_MAX || client->replay_bytes > CLIENT_REPLAY_BYTES)
        drop_first(client);
}

/* The oldest request of this session that waits or is under way; 0: none. */
static uint64_t first_number(const struct client *client)
{
    const struct request *request = client->requests;
    while (request != NULL && (request->number == 0 || request->session != client->session.id))
        request = request->next;
    return request == NULL ? 0 : request->number;
}

bool replay_buffer_resend(struct client *client, uint64_t from)
{
    while (client->replay_buffer != NULL && client->replay_buffer->prev->number >= from) {
        struct request *last = client->replay_buffer->prev;
        DL_DELETE(client->replay_buffer, last);
        client->replay_count--;
        client->replay_bytes -= request_cost(last);
        DL_PREPEND(client->requests, last);
        client->count++;
        client->bytes += request_cost(last);
    }
    uint64_t first = first_number(client);
    return first != 0 && first <= from;
}

void replay_buffer_clear(struct client *client)
{
    while (client->replay_buffer != NULL)
        drop_first(client);
}
