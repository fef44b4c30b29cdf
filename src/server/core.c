/* SPDX-License-Identifier: MIT */
#include "server/core.h"

#include "base/clock.h"
#include "base/log.h"
#include "server/answer.h"
#include "server/handlers.h"

#include <stdio.h>
#include <string.h>

#define TASKS_PER_TURN 1024
#define TICK_MS 100
#define SECOND_MS 1000
#define KEEP_UNREAD_MS 30000  /* events for a session whose stream has gone */
#define FAREWELL_MS 300       /* the longest that answers get to leave when stopping */
#define FAREWELL_BUSY_MS 3000 /* while a worker has what will be answered */

static const char stopping_text[] = "the server is shutting down";

/* ---- observers ---- */

static void on_rolled_back(void *context, struct position position)
{
    struct core *core = context;
    mailroom_rolled_back(core->mailroom, position);
}

/* ---- opening ---- */

static enum error open_store(struct core *core, struct error_text *why)
{
    char folder[4096];
    int length = snprintf(folder, sizeof folder, "%s/%u", core->options->data_dir,
                          (unsigned)core->options->id);
    if (length < 0 || (size_t)length >= sizeof folder)
        return error_set(why, ERROR_INVALID, "the data folder's name is too long");
    struct store_options options = {.folder = folder, .node_id = core->options->id};
    enum error error = store_open(&core->store, &options, why);
    if (error == OK)
        error = store_open_reader(&core->reader_store, core->store, why);
    return error;
}

static enum error open_chat(struct core *core, struct error_text *why)
{
    struct ledger_observer ledger_observer = {.context = core, .rolled_back = on_rolled_back};
    enum error error =
        ledger_open(&core->ledger, core->store, core->options->id, &ledger_observer, why);
    if (error != OK)
        return error;
    struct mailroom_options mailroom_options = {
        .ledger = core->ledger,
        .store = core->store,
        .reader_store = core->reader_store,
        .reader = core->reader,
        .queue = core->queue,
    };
    error = mailroom_new(&core->mailroom, &mailroom_options);
    if (error != OK)
        return error_set(why, error, "out of memory");
    struct chat_observer observer = {.context = core->mailroom,
                                     .event = mailroom_event,
                                     .session_ended = mailroom_session_ended};
    error =
        chat_open(&core->chat, core->store, &core->options->limits, &observer, core->now_ms, why);
    if (error != OK)
        return error;
    mailroom_attach(core->mailroom, core->chat);
    return ledger_attach(core->ledger, core->chat, core->wall_ms, why);
}

static enum error start_workers(struct core *core, struct error_text *why)
{
    enum error error = worker_start(&core->reader);
    if (error == OK)
        error = worker_start(&core->hasher);
    if (error != OK)
        return error_set(why, error, "start a thread: %s", error_name(error));
    return OK;
}

static enum error open_clients(struct core *core, struct error_text *why)
{
    const struct server_options *options = core->options;
    struct rpc_server_options server_options = {
        .address = options->client_address,
        .queue = core->queue,
        .peers_max = options->clients_max,
        .idle_ms = options->idle_timeout_ms,
        .tls_certificate = options->tls_cert,
        .tls_key = options->tls_key,
    };
    enum error error = rpc_server_new(&core->clients, &server_options, why);
    if (error == OK)
        error = handlers_register(core);
    if (error == OK)
        error = rpc_server_listen(core->clients, why);
    return error;
}

static enum error open_internal(struct core *core, struct error_text *why)
{
    struct rpc_server_options server_options = {
        .address = core->options->internal_address,
        .queue = core->queue,
        .peers_max = 64,
        .idle_ms = core->options->idle_timeout_ms,
    };
    enum error error = rpc_server_new(&core->internal, &server_options, why);
    if (error == OK)
        error = rpc_server_listen(core->internal, why);
    return error;
}

static void read_clocks(struct core *core)
{
    core->now_ms = clock_monotonic_ms();
    core->wall_ms = clock_wall_ms();
}

enum error core_open(struct core *core, const struct server_options *options,
                     struct error_text *why)
{
    *core = (struct core){.options = options};
    read_clocks(core);
    core->next_tick_ms = core->now_ms + TICK_MS;
    core->next_second_ms = core->now_ms + SECOND_MS;
    enum error error = task_queue_new(&core->queue);
    if (error != OK)
        return error_set(why, error, "start: %s", error_name(error));
    error = open_store(core, why);
    if (error == OK)
        error = start_workers(core, why);
    if (error == OK)
        error = open_chat(core, why);
    if (error == OK)
        error = open_clients(core, why);
    if (error == OK)
        error = open_internal(core, why);
    if (error != OK)
        core_release(core);
    return error;
}

/* ---- turns ---- */

static void write_delivered(struct core *core)
{
    struct arena arena;
    arena_init(&arena, 65536);
    struct chat_call call = {
        .time_ms = core->wall_ms, .monotonic_ms = core->now_ms, .arena = &arena};
    while (chat_propose_delivered(core->chat, &call)) {
        if (ledger_propose(core->ledger, call.delta) != OK)
            break;
        arena_clear(&arena);
    }
    arena_clear(&arena);
}

static void every_second(struct core *core)
{
    chat_expire(core->chat, core->now_ms, core->wall_ms);
    write_delivered(core);
    uint64_t before_ms = core->now_ms > KEEP_UNREAD_MS ? core->now_ms - KEEP_UNREAD_MS : 0;
    mailroom_tidy(core->mailroom, before_ms, core->now_ms);
}

static void tick(struct core *core)
{
    if (core->now_ms < core->next_tick_ms)
        return;
    core->next_tick_ms = core->now_ms + TICK_MS;
    rpc_server_tick(core->clients, core->now_ms);
    rpc_server_tick(core->internal, core->now_ms);
    if (core->now_ms >= core->next_second_ms) {
        core->next_second_ms = core->now_ms + SECOND_MS;
        every_second(core);
    }
    core->prune_is_due = true;
}

/* Between two batches, and often enough to keep pace with them: each is a row. */
static void prune(struct core *core)
{
    if (!core->prune_is_due)
        return;
    core->prune_is_due = false;
    (void)ledger_prune(core->ledger, core->options->log_keep);
}

static void turn(struct core *core, int wait_ms)
{
    task_queue_wait(core->queue, wait_ms);
    read_clocks(core);
    (void)task_queue_run(core->queue, TASKS_PER_TURN);
    tick(core);
    (void)ledger_commit(core->ledger); /* logged and answered where it fails */
    mailroom_deliver(core->mailroom);
    rpc_server_flush(core->clients);
    rpc_server_flush(core->internal);
}

static void say_farewell(struct core *core)
{
    rpc_server_drain(core->clients, stopping_text);
    rpc_server_drain(core->internal, stopping_text);
    mailroom_hang_up(core->mailroom, stopping_text);
    /* Peers leave when they have read it; those that do not are cut off. */
    uint64_t start_ms = clock_monotonic_ms();
    uint64_t until_ms = start_ms + FAREWELL_MS;
    struct rpc_server_figures figures;
    do {
        turn(core, 20);
        bool is_busy = core->hashing + core->reading > 0;
        if (is_busy && core->now_ms < start_ms + FAREWELL_BUSY_MS)
            until_ms = core->now_ms + FAREWELL_MS;
        rpc_server_figures(core->clients, &figures);
    } while (figures.peers > 0 && core->now_ms < until_ms);
}

void core_run(struct core *core)
{
    while (!atomic_load(&core->stopping)) {
        turn(core, TICK_MS);
        prune(core);
    }
    say_farewell(core);
}

void core_stop(struct core *core)
{
    /* The flag last: once it is set, the core may be gone. The wake-up is only for haste. */
    task_queue_wake(core->queue);
    atomic_store(&core->stopping, true);
}

/* ---- what the server is called ---- */

void core_advertised_address(const struct core *core, char text[static ADDRESS_TEXT_SIZE])
{
    struct address address;
    rpc_server_address(core->clients, &address);
    const char *host = core->options->advertise_host;
    if (host != NULL)
        (void)snprintf(address.host, sizeof address.host, "%s", host);
    else if (strcmp(address.host, "0.0.0.0") == 0 || strcmp(address.host, "::") == 0)
        address.host[0] = '\0'; /* every interface: no address to dial */
    text[0] = '\0';
    if (address.host[0] != '\0') /* a client keeps the address that it dialled */
        address_format(&address, text);
}

/* ---- closing ---- */

/* From here on no handler runs: what they start needs the workers. */
static void stop_requests(struct core *core)
{
    if (core->clients != NULL)
        rpc_server_drain(core->clients, stopping_text);
    if (core->internal != NULL)
        rpc_server_drain(core->internal, stopping_text);
}

/* What the hasher finished last may be committed and then read history. */
static void stop_workers(struct core *core)
{
    worker_stop(core->hasher);
    if (core->queue != NULL)
        (void)task_queue_run(core->queue, SIZE_MAX);
    if (core->ledger != NULL && core->chat != NULL)
        (void)ledger_commit(core->ledger);
    worker_stop(core->reader);
    if (core->queue != NULL)
        (void)task_queue_run(core->queue, SIZE_MAX);
}

void core_release(struct core *core)
{
    stop_requests(core);
    stop_workers(core);
    if (core->clients != NULL)
        rpc_server_cancel_all(core->clients);
    ledger_close(core->ledger);
    mailroom_free(core->mailroom);
    rpc_server_free(core->clients);
    rpc_server_free(core->internal);
    chat_close(core->chat);
    store_close(core->reader_store);
    store_close(core->store);
    task_queue_free(core->queue);
}
