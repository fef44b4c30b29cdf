/* SPDX-License-Identifier: MIT */
#include "client/client_internal.h"

#include "base/clock.h"

#include <limits.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define TASKS_A_TURN 4096

static uint64_t real_clock_us(void *source)
{
    (void)source;
    return clock_monotonic_us();
}

static void real_random(void *source, void *bytes, size_t size)
{
    (void)source;
    randombytes_buf(bytes, size);
}

/* ---- making ---- */

static enum error copy_string(char **out, const char *text)
{
    *out = text == NULL ? NULL : strdup(text);
    return text != NULL && *out == NULL ? ERROR_NO_MEMORY : OK;
}

static enum error copy_options(struct client *client, const struct client_options *options)
{
    if (options->observer != NULL)
        client->observer = *options->observer;
    client->context = options->context;
    client->requests_max =
        options->queue_requests_max == 0 ? CLIENT_QUEUE_REQUESTS : options->queue_requests_max;
    client->bytes_max =
        options->queue_bytes_max == 0 ? CLIENT_QUEUE_BYTES : options->queue_bytes_max;
    client->clock_us = options->clock_us == NULL ? real_clock_us : options->clock_us;
    client->random = options->random == NULL ? real_random : options->random;
    client->source = options->source;
    enum error error = copy_string(&client->tls_authority, options->tls_authority);
    if (error == OK)
        error =
            copy_string(&client->program, options->program == NULL ? "jackdaw" : options->program);
    if (error == OK)
        error = copy_string(&client->device, options->device == NULL ? "" : options->device);
    client->servers.tls_only = options->address_count > 0;
    for (size_t i = 0; i < options->address_count && error == OK; i++) {
        error = servers_give(&client->servers, &options->addresses[i]);
        if (!options->addresses[i].tls)
            client->servers.tls_only = false;
    }
    return error;
}

static void on_selected(struct client *client, bool is_new)
{
    client->resend_us = client->now_us;
    client->wake_us = 0;
    if (is_new) {
        client->heartbeat.due_us = client->now_us + (uint64_t)CLIENT_HEARTBEAT_MS * 1000;
        stream_restart(client);
    } else {
        stream_hurry(client);
    }
}

static enum error start(struct client *client, struct error_text *why)
{
    enum error error = task_queue_new(&client->queue);
    if (error != OK)
        return error_set(why, error, "cannot make a queue: %s", error_name(error));
    client->now_us = client->clock_us(client->source);
    return server_selection_start(client, why);
}

enum error client_new(struct client **out, const struct client_options *options,
                      struct error_text *why)
{
    if (options->address_count == 0)
        return error_set(why, ERROR_INVALID, "a client needs the address of a server");
    if (sodium_init() < 0)
        return error_set(why, ERROR_INTERNAL, "this machine has no source of random numbers");
    struct client *client = calloc(1, sizeof *client);
    if (client == NULL)
        return error_set(why, ERROR_NO_MEMORY, "out of memory");
    client->retry.least_ms = CLIENT_RETRY_MIN_MS;
    client->retry.most_ms = CLIENT_RETRY_MAX_MS;
    client->window = CLIENT_WINDOW;
    client->stream.backoff = client->retry;
    client->on_selected = on_selected;
    client->stream.client = client;
    client->heartbeat.client = client;
    enum error error = copy_options(client, options);
    if (error == ERROR_NO_MEMORY)
        (void)error_set(why, error, "out of memory");
    if (error == OK)
        error = start(client, why);
    if (error != OK) {
        client_free(client);
        return error;
    }
    *out = client;
    return OK;
}

void client_free(struct client *client)
{
    if (client == NULL)
        return;
    client->observer = (struct client_observer){.event = NULL};
    persist_close(client); /* requests that end from here on stay open in the state file */
    client_give_up(client, STATUS_CANCELLED, "the client is leaving");
    stream_stop(client);
    server_selection_stop(client);
    if (client->queue != NULL)
        while (task_queue_run(client->queue, TASKS_A_TURN) > 0)
            continue;
    task_queue_free(client->queue);
    session_release(client);
    dedup_clear(&client->stream.dedup);
    servers_release(&client->servers);
    free(client->tls_authority);
    free(client->program);
    free(client->device);
    free(client);
}

/* ---- driving ---- */

int client_descriptor(const struct client *client)
{
    return task_queue_descriptor(client->queue);
}

int client_timeout_ms(struct client *client)
{
    if (client->wake_us == UINT64_MAX)
        return -1;
    uint64_t now_us = client->clock_us(client->source);
    if (client->wake_us <= now_us)
        return 0;
    uint64_t wait_ms = (client->wake_us - now_us + 999) / 1000;
    return wait_ms > INT_MAX ? INT_MAX : (int)wait_ms;
}

void client_wake(struct client *client)
{
    task_queue_wake(client->queue);
}

static void tick_channels(struct client *client)
{
    for (size_t i = 0; i < client->connection_count; i++)
        rpc_channel_tick(client->connections[i]->channel, client->now_us / 1000);
}

static void flush_channels(struct client *client)
{
    for (size_t i = 0; i < client->connection_count; i++) {
        struct rpc_channel *channel = client->connections[i]->channel;
        rpc_channel_flush(channel);
        uint64_t tick_ms = rpc_channel_next_tick(channel);
        if (tick_ms != UINT64_MAX)
            client_wake_at(client, tick_ms * 1000);
    }
}

void client_process(struct client *client)
{
    client->now_us = client->clock_us(client->source);
    (void)task_queue_run(client->queue, TASKS_A_TURN);
    client->now_us = client->clock_us(client->source);
    client->wake_us = UINT64_MAX;
    health_check(client);
    tick_channels(client);
    server_selection_tick(client);
    session_tick(client);
    client_stream_tick(client);
    sender_pump(client);
    flush_channels(client);
    persist_flush(client);
}

/* ---- looking ---- */

void client_inspect(const struct client *client, struct client_view *view)
{
    *view = (struct client_view){
        .server = client->selection.current == NULL ? NULL : client->selection.current->text,
        .starting = !client->selection.had_server && !client->reported_lost,
        .name = client->session.active ? client->session.name : NULL,
        .session = client->session.active ? client->session.id : 0,
        .epoch = client->stream.cursor.at.epoch,
        .seq = client->stream.cursor.at.seq,
        .sent_epoch = client->sent.epoch,
        .sent_seq = client->sent.seq,
        .highest_epoch = client->highest_epoch,
        .message_bytes = client->message_bytes,
        .server_id = client->selection.current == NULL ? 0 : client->selection.current->server_id,
        .round_trip_us =
            client->selection.current == NULL ? 0 : client->selection.current->round_trip_us,
        .servers = client->servers.count,
        .tag = client->persist.tag,
        .note = client->persist.note,
        .account = client->session.name,
        .waiting = client->count - client->under_way,
        .under_way = client->under_way,
    };
}

bool client_server(const struct client *client, size_t i, char text[static ADDRESS_TEXT_SIZE])
{
    if (i >= client->servers.count)
        return false;
    address_format(&client->servers.items[i].address, text);
    return true;
}

void client_stats(const struct client *client, struct client_stats *out)
{
    *out = client->stats;
    uint64_t took_us = client->last_acknowledged_us - client->first_sent_us;
    if (out->sent > 0 && took_us > 0)
        out->sent_per_second = (double)out->sent * 1e6 / (double)took_us;
    out->p50_us = histogram_percentile(&client->latency, 500);
    out->p99_us = histogram_percentile(&client->latency, 990);
    out->max_us = client->latency.largest;
}
