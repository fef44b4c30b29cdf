/* SPDX-License-Identifier: MIT */
#include "client/client_internal.h"

#include "client/text.h"

#include <string.h>
#include <utlist.h>

static enum error check(const struct client_request *asked, struct error_text *why)
{
    const char *strings[] = {asked->room, asked->name, asked->text, asked->password, asked->after};
    for (size_t i = 0; i < sizeof strings / sizeof *strings; i++)
        if (strings[i] != NULL && !text_is_valid(strings[i], strlen(strings[i])))
            return error_set(why, ERROR_INVALID, "this is not text in UTF-8");
    if (asked->call == CLIENT_SEND && (asked->text == NULL || *asked->text == '\0'))
        return error_set(why, ERROR_INVALID, "a message must not be empty");
    return OK;
}

static struct request *make(struct client *client, const struct client_request *asked,
                            client_done *done, void *context)
{
    struct request *request = request_copy(client, asked);
    if (request == NULL)
        return NULL;
    request->done = done;
    request->context = context;
    request->asked_us = client->clock_us(client->source);
    if (asked->call == CLIENT_LOGIN) {
        client->random(client->source, request->secret, sizeof request->secret);
        client->random(client->source, request->nonce, sizeof request->nonce);
        persist_login(request);
    }
    client->count++;
    client->bytes += request_cost(request);
    client->wake_us = 0;
    return request;
}

enum error client_ask(struct client *client, const struct client_request *request,
                      client_done *done, void *context, struct error_text *why)
{
    enum error error = check(request, why);
    if (error != OK)
        return error;
    if (!client_has_room(client, request->text == NULL ? 0 : strlen(request->text)))
        return error_set(why, ERROR_FULL,
                         "%zu requests wait for a server already: wait until some are answered",
                         client->count);
    struct request *made = make(client, request, done, context);
    if (made == NULL)
        return error_set(why, ERROR_NO_MEMORY, "out of memory");
    if (call_kind_of(made->asked.call)->once || request->first)
        DL_PREPEND(client->requests, made);
    else
        DL_APPEND(client->requests, made);
    persist_request(made);
    return OK;
}

enum error queue_put_first(struct client *client, const struct client_request *asked,
                           client_done *done, void *context)
{
    struct request *made = make(client, asked, done, context);
    if (made == NULL)
        return ERROR_NO_MEMORY;
    DL_PREPEND(client->requests, made);
    return OK;
}

bool client_has_room(const struct client *client, size_t text_bytes)
{
    return client->count < client->requests_max &&
           client->bytes + sizeof(struct request) + text_bytes <= client->bytes_max;
}

size_t client_unfinished(const struct client *client)
{
    return client->count;
}

/* ---- finishing ---- */

/* client_ask may be a little later than the start of the turn. */
static uint64_t since(const struct client *client, uint64_t us)
{
    return client->now_us > us ? client->now_us - us : 0;
}

/* Counts how long no message was acknowledged although this one waited. */
static void count_gap(struct client *client, const struct request *request)
{
    uint64_t start_us = request->asked_us > client->last_acknowledged_us
                            ? request->asked_us
                            : client->last_acknowledged_us;
    if (since(client, start_us) > client->stats.longest_gap_us)
        client->stats.longest_gap_us = since(client, start_us);
}

static void count_message(struct client *client, const struct request *request, enum status status,
                          uint64_t latency_us)
{
    if (request->asked.call != CLIENT_SEND)
        return;
    if (status != STATUS_OK) {
        client->stats.failed++;
        return;
    }
    client->stats.sent++;
    count_gap(client, request);
    histogram_add(&client->latency, latency_us);
    if (client->first_sent_us == 0)
        client->first_sent_us = request->first_us;
    client->last_acknowledged_us = client->now_us;
}

void queue_abandon(struct request *request)
{
    struct client *client = request->client;
    if (request->state != REQUEST_UNDER_WAY)
        return;
    request->ignored = true;
    rpc_channel_cancel(client->selection.current->channel, request->call_id);
    request->ignored = false;
    request->state = REQUEST_WAITING;
    client->under_way--;
}

static void add_devices(struct client_result *result, const Jackdaw__LoginReply *reply)
{
    result->devices = reply->devices;
    result->device_count = reply->n_devices;
    result->retry_ms = reply->retry_ms;
}

void queue_finish(struct request *request, enum status status, const char *error, const void *reply)
{
    struct client *client = request->client;
    queue_abandon(request);
    DL_DELETE(client->requests, request);
    client->count--;
    client->finished++;
    client->active_us = client->now_us;
    client->bytes -= request_cost(request);
    client->wake_us = 0;
    struct client_result result = {
        .call = request->asked.call,
        .status = status,
        .error = error,
        .room = request->asked.room,
        .name = request->asked.name,
        .text = request->asked.text,
        .password = request->asked.password,
        .session = request->session,
        .request = request->number,
        .attempts = request->attempts,
        .latency_us = request->attempts == 0 ? 0 : since(client, request->asked_us),
        .created = request->created,
        .reply.any = status == STATUS_OK ? reply : NULL,
    };
    if (request->result.status == status && status != STATUS_OK)
        result.retry_ms = request->result.retry_ms;
    if (request->asked.call == CLIENT_LOGIN && status != STATUS_OK && reply != NULL)
        add_devices(&result, reply);
    if (!request->answered)
        count_message(client, request, status, result.latency_us);
    if (request->done != NULL)
        request->done(request->context, &result);
    persist_end(request, status == STATUS_OK);
    replay_buffer_add(request, status == STATUS_OK);
}

void client_give_up(struct client *client, enum status status, const char *text)
{
    /* Callbacks may ask for more: only as many as wait now are ended. */
    for (size_t left = client->count; left > 0 && client->requests != NULL; left--) {
        struct request *first = client->requests;
        struct error_text why;
        (void)error_set(&why, OK, "%s%s", text,
                        first->number == 0 ? "" : "; it may have been carried out all the same");
        queue_finish(first, status, why.text, NULL);
    }
}
