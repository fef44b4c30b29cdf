/* SPDX-License-Identifier: MIT */
#include "server/core.h"

#include "base/clock.h"
#include "base/log_pace.h"
#include "rpc/feed.h"
#include "rpc/protocol.h"
#include "server/answer.h"
#include "server/handlers.h"
#include "server/repair.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define TASKS_PER_TURN 1024
#define TASKS_AT_ONCE 16 /* each a frame of a client */
#define RESIGN_MS 300
#define TICK_MS 100
#define ENDING_TICK_MS 20
#define SECOND_MS 1000
#define HANDSHAKE_MS 15000    /* of sessions that come here because of a failover */
#define KEEP_UNREAD_MS 30000  /* events for a session whose stream has gone */
#define SHUTDOWN_MS 300       /* the longest that answers get to leave when stopping */
#define SHUTDOWN_BUSY_MS 3000 /* while a worker has what will be answered */

_Static_assert(CORE_BATCH_BYTES + TASKS_AT_ONCE * RPC_FRAME_BYTES_DEFAULT < RPC_FEED_BYTES_DEFAULT,
               "the requests of a turn fit into an entry that can be published");

static const char stopping_text[] = "the server is shutting down";

/* ---- the cluster's news ---- */

static void note_epoch(struct core *core)
{
    uint64_t epoch = replica_epoch(cluster_replica(core->cluster));
    if (epoch == 0 || epoch == core->epoch)
        return;
    core->epoch = epoch;
    news_restart(&core->news);
    reports_restart(&core->reports);
}

static void on_role(void *context, enum replica_role role)
{
    struct core *core = context;
    const struct replica *replica = cluster_replica(core->cluster);
    bool was_master = core->role == REPLICA_MASTER;
    core->role = role;
    note_epoch(core);
    if (core->forward != NULL) /* the calls outlast a suspicion, which may be wrong */
        forward_to(core->forward, role != REPLICA_MASTER ? replica_master_client(replica) : NULL,
                   replica_cluster(replica));
    if (was_master && role != REPLICA_MASTER)
        subscriptions_close_all(core->subscriptions, "another server is the master now",
                                core->forward == NULL ? replica_master_client(replica) : NULL);
}

static void on_replacing(void *context)
{
    struct core *core = context;
    scrub_stop(core->scrub);
    core->health.next_scrub_ms = 0;
    worker_stop(core->reader); /* its open readings end, and their results are dropped */
    core->reader = NULL;
    store_close(core->reader_store);
    core->reader_store = NULL;
}

static void on_replaced(void *context, struct store *store, struct log_position position)
{
    struct core *core = context;
    core->store = store;
    core->health.is_damaged = false; /* of the one before */
    core->health.damage.text[0] = '\0';
    struct error_text why = {""};
    enum error error = store_open_reader(&core->reader_store, core->store, &why);
    if (error == OK)
        error = worker_start(&core->reader);
    if (error != OK) {
        core->has_failed = true;
        (void)error_set(&core->problem, error, "open the database again: %s", why.text);
        atomic_store(&core->stopping, true);
        return;
    }
    subscriptions_set_store(core->subscriptions, core->store, core->reader_store, core->reader);
    subscriptions_rolled_back(core->subscriptions, position);
    reports_want_presence(&core->reports);
}

void core_take_failover_notice(struct core *core, const char *text, uint64_t time_ms)
{
    (void)snprintf(core->failover_notice, sizeof core->failover_notice, "%s", text);
    subscriptions_notice(core->subscriptions, core->failover_notice, time_ms);
    subscriptions_set_failover_notice(core->subscriptions, core->failover_notice, time_ms);
    core->failover_notice_until_ms = core->now_ms + HANDSHAKE_MS;
}

static void on_notice(void *context, const char *sentence, bool has_begun)
{
    struct core *core = context;
    if (has_begun) {
        core_take_failover_notice(core, sentence, core->wall_ms);
        return;
    }
    subscriptions_notice(core->subscriptions, sentence, core->wall_ms);
    news_add_notice(core, sentence);
}

static void on_news(void *context, const Jackdaw__News *news)
{
    struct core *core = context;
    if (!news_take(core, news))
        reports_want_presence(&core->reports);
}

static void on_report(void *context, const Jackdaw__ReportRequest *request, struct arena *arena,
                      Jackdaw__ReportReply *reply)
{
    reports_take(context, request, arena, reply);
}

/* ---- the chat's events ---- */

static void on_event(void *context, const struct chat_event *event)
{
    struct core *core = context;
    subscriptions_event(core->subscriptions, event);
    if (event->kind == JACKDAW__EVENT__KIND__TYPING && commit_log_is_master(core->commit_log))
        news_add_typing(core, event);
}

static void on_presence(void *context, struct chat_session *session, bool is_present)
{
    struct core *core = context;
    if (commit_log_is_master(core->commit_log))
        news_add_presence(core, chat_session_id(session), is_present);
}

static void on_session_ended(void *context, struct chat_session *session)
{
    struct core *core = context;
    if (commit_log_is_master(core->commit_log))
        subscriptions_session_ended(core->subscriptions, session);
    else
        subscriptions_session_gone(core->subscriptions, session);
}

static void on_reloaded(void *context, struct log_position position)
{
    struct core *core = context;
    subscriptions_rolled_back(core->subscriptions, position);
}

static void on_ended(void *context, const char *sentence)
{
    struct core *core = context;
    if (sentence != NULL && !core->has_failed) {
        core->has_failed = true;
        (void)error_set(&core->problem, ERROR_REFUSED, "%s", sentence);
    }
    atomic_store(&core->stopping, true);
}

/* ---- the operator's questions ---- */

static bool is_reachable(void *context, uint16_t id)
{
    const struct core *core = context;
    return cluster_reaches(core->cluster, id);
}

static bool look_at_clock(void *context, uint16_t id, int64_t *difference_ms)
{
    const struct core *core = context;
    return cluster_clock(core->cluster, id, difference_ms);
}

static void fill_status(void *context, struct operator_view *view)
{
    const struct core *core = context;
    struct rpc_server_stats stats;
    rpc_server_stats(core->clients, &stats);
    struct log_position committed = commit_log_committed(core->commit_log);
    struct cluster_log_use log;
    cluster_log_use(core->cluster, &log);
    *view = (struct operator_view){
        .replica = cluster_replica(core->cluster),
        .id = (uint16_t)core->options->cluster.id,
        .durability = core->options->cluster.durability,
        .committed = {.epoch = committed.epoch, .seq = committed.seq},
        .orphans = store_orphan_count(core->store),
        .log_bytes = log.bytes,
        .log_keep_bytes = log.limit_bytes,
        .log_member = log.member,
        .clients = (uint32_t)stats.peers,
        .reads = core->reads.taken,
        .forwarded = core->forward == NULL ? 0 : forward_calls(core->forward),
        .uptime_ms = core->now_ms - core->started_ms,
        .poison_requests = core->suspects.refused + cluster_refused(core->cluster),
        .poison_entries = cluster_has_poison_entry(core->cluster),
        .checked_ms = core->health.checked_ms,
        .is_checking = scrub_is_running(core->scrub),
        .damage = core->health.damage.text,
        .is_reachable = is_reachable,
        .clock = look_at_clock,
    };
}

/* ---- opening ---- */

/* If no other member has the data, the start is refused with the sentence about the damage. */
static enum error repair(struct core *core, const struct store_options *options,
                         struct error_text *why)
{
    struct error_text reason = {""};
    log_error("server", "data_damaged", log_string("folder", core->folder),
              log_string("reason", why->text));
    enum error error = repair_begin(core->folder, &core->settings, &reason);
    if (error == ERROR_REFUSED)
        return ERROR_CORRUPT;
    if (error != OK)
        return error_set(why, error, "%s", reason.text);
    core->is_repaired = true;
    return store_open(&core->store, options, why);
}

/* The server has not copied the database of a cluster, and has founded none. */
static bool has_no_members(struct store *store)
{
    struct log_position position;
    size_t used;
    return store_get_members(store, &position, NULL, 0, &used) == ERROR_NOT_FOUND;
}

static enum error open_store(struct core *core, struct error_text *why)
{
    int length = snprintf(core->folder, sizeof core->folder, "%s/%u", core->options->data_dir,
                          (unsigned)core->options->cluster.id);
    if (length < 0 || (size_t)length >= sizeof core->folder)
        return error_set(why, ERROR_INVALID, "the data folder's name is too long");
    struct store_options options = {
        .folder = core->folder,
        .node_id = core->options->cluster.id,
        .segment_bytes = core->options->log_segment_bytes,
        .replay_bytes = core->options->replay_bytes,
    };
    enum error error = store_open(&core->store, &options, why);
    if (error == ERROR_CORRUPT)
        error = repair(core, &options, why);
    else if (error == OK && has_no_members(core->store))
        error = repair_resume(core->folder, &core->settings, &core->is_repaired, why);
    if (error == OK)
        error = store_open_reader(&core->reader_store, core->store, why);
    return error;
}

static enum error open_forward(struct core *core, struct error_text *why)
{
    if (!core->options->forward)
        return OK;
    struct forward_options options = {.queue = core->cluster_queue,
                                      .tls_authority = core->options->tls_ca};
    enum error error = forward_new(&core->forward, &options);
    return error == OK ? OK : error_set(why, error, "forward calls: %s", error_name(error));
}

static enum error open_cluster(struct core *core, struct error_text *why)
{
    struct cluster_options options = {
        .settings = &core->settings,
        .folder = core->folder,
        .store = core->store,
        .queue = core->cluster_queue,
        .disk = core->disk,
        .projector = core->projector,
        .clients = core->clients,
        .observer = {.context = core,
                     .role = on_role,
                     .replacing = on_replacing,
                     .replaced = on_replaced,
                     .notice = on_notice,
                     .news = on_news,
                     .report = on_report,
                     .ended = on_ended},
    };
    enum error error = cluster_new(&core->cluster, &options, why);
    if (error != OK)
        return error;
    core->commit_log = cluster_commit_log(core->cluster);
    return operator_service_register(&core->operator_service, cluster_server(core->cluster));
}

static enum error open_chat(struct core *core, struct error_text *why)
{
    struct subscriptions_options subscriptions_options = {
        .commit_log = core->commit_log,
        .store = core->store,
        .reader_store = core->reader_store,
        .reader = core->reader,
        .queue = core->queue,
    };
    enum error error = subscriptions_new(&core->subscriptions, &subscriptions_options);
    if (error != OK)
        return error_set(why, error, "out of memory");
    struct chat_observer observer = {.context = core,
                                     .event = on_event,
                                     .session_ended = on_session_ended,
                                     .presence = on_presence,
                                     .reloaded = on_reloaded};
    error =
        chat_open(&core->chat, core->store, &core->options->limits, &observer, core->now_ms, why);
    if (error == OK)
        subscriptions_attach(core->subscriptions, core->chat);
    return error;
}

static enum error start_workers(struct core *core, struct error_text *why)
{
    struct scrub_options scrub = {
        .queue = core->cluster_queue,
        .bytes_per_second = SCRUB_BYTES_PER_SECOND,
        .context = core,
        .ended = core_health_scrubbed,
    };
    enum error error = scrub_new(&core->scrub, &scrub);
    if (error == OK)
        error = worker_start(&core->reader);
    if (error == OK)
        error = worker_start(&core->hasher);
    if (error == OK)
        error = worker_start(&core->disk);
    if (error == OK)
        error = worker_start(&core->projector);
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
        .admit_context = core,
        .admit = handlers_admit,
    };
    enum error error = rpc_server_new(&core->clients, &server_options, why);
    if (error == OK)
        error = handlers_register(core);
    if (error == OK)
        error = operator_service_register(&core->operator_service, core->clients);
    if (error == OK)
        error = rpc_server_listen(core->clients, why);
    return error;
}

static void read_clocks(struct core *core)
{
    core->now_ms = clock_monotonic_ms();
    core->wall_ms = clock_wall_ms();
}

static enum error open_queues(struct core *core, struct error_text *why)
{
    enum error error = task_queue_new(&core->queue);
    if (error == OK)
        error = task_queue_new(&core->cluster_queue);
    if (error != OK)
        return error_set(why, error, "start: %s", error_name(error));
    return OK;
}

static enum error open_parts(struct core *core, struct error_text *why)
{
    enum error error = open_queues(core, why);
    if (error == OK)
        error = open_store(core, why);
    if (error == OK)
        error = start_workers(core, why);
    if (error == OK)
        error = open_forward(core, why);
    if (error == OK)
        error = open_clients(core, why);
    if (error == OK)
        error = open_cluster(core, why);
    if (error == OK)
        error = open_chat(core, why);
    if (error == OK)
        error = cluster_start(core->cluster, core->chat, core->now_ms, why);
    return error;
}

enum error core_open(struct core *core, const struct server_options *options,
                     struct error_text *why)
{
    *core = (struct core){.options = options, .settings = options->cluster};
    read_clocks(core);
    core->started_ms = core->now_ms;
    reports_init(&core->reports, core);
    operator_service_init(&core->operator_service, fill_status, core);
    core->next_tick_ms = core->now_ms + TICK_MS;
    core->next_second_ms = core->now_ms + SECOND_MS;
    enum error error = open_parts(core, why);
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
    while (cluster_may_write(core->cluster, false) && chat_propose_delivered(core->chat, &call)) {
        if (commit_log_propose(core->commit_log, call.delta) != OK)
            break;
        arena_clear(&arena);
    }
    arena_clear(&arena);
}

static void every_second(struct core *core)
{
    core->second_is_due = false;
    uint64_t before_ms = core->now_ms > KEEP_UNREAD_MS ? core->now_ms - KEEP_UNREAD_MS : 0;
    subscriptions_tidy(core->subscriptions, before_ms, core->now_ms);
    if (core->failover_notice_until_ms != 0 && core->now_ms >= core->failover_notice_until_ms) {
        core->failover_notice_until_ms = 0;
        subscriptions_set_failover_notice(core->subscriptions, NULL, 0);
    }
    if (!commit_log_is_master(core->commit_log))
        return;
    chat_expire(core->chat, core->now_ms, core->wall_ms);
    write_delivered(core);
}

/* nng does not report that it cannot accept: new connections wait silently. */
static void watch_descriptors(const struct core *core)
{
    int probe = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (probe >= 0)
        (void)close(probe);
    else if (errno == EMFILE || errno == ENFILE) {
        struct rpc_server_stats stats;
        rpc_server_stats(core->clients, &stats);
        log_error_paced(NULL, "server", "descriptors_used_up", log_number("clients", stats.peers),
                        log_string("reason", errno == EMFILE ? "of this process" : "of the system"),
                        log_string("hint", "new connections wait: raise the limit (ulimit -Hn, "
                                           "LimitNOFILE) or lower --max_clients"));
    }
}

static void tick(struct core *core)
{
    if (core->now_ms < core->next_tick_ms)
        return;
    core->next_tick_ms = core->now_ms + TICK_MS;
    rpc_server_tick(core->clients, core->now_ms);
    commit_log_tick(core->commit_log);
    if (core->forward != NULL)
        forward_tick(core->forward, core->now_ms);
    if (core->now_ms >= core->next_second_ms) {
        core->next_second_ms = core->now_ms + SECOND_MS;
        core->second_is_due = true;
        watch_descriptors(core);
        core_health_tick(core);
    }
}

/* The part of a turn that uses the store. */
static void work(struct core *core)
{
    core->is_behind = !commit_log_catch_up(core->commit_log);
    if (!core->is_behind) {
        cluster_work(core->cluster);
        if (!commit_log_is_master(core->commit_log))
            news_tell(core);
        reads_work(core);
        size_t count = 0;
        size_t ran = TASKS_AT_ONCE;
        while (ran == TASKS_AT_ONCE && count < TASKS_PER_TURN &&
               commit_log_batch_bytes(core->commit_log) < CORE_BATCH_BYTES) {
            ran = task_queue_run(core->queue, TASKS_AT_ONCE);
            count += ran;
        }
        suspects_work(core);
        if (core->second_is_due)
            every_second(core);
    }
    cluster_commit(core->cluster, clock_monotonic_us());
}

static int64_t wait_for_batch_us(const struct core *core, int64_t most_us)
{
    uint64_t now_us = clock_monotonic_us();
    uint64_t until_us = commit_log_grows_until_us(core->commit_log, now_us);
    if (until_us <= now_us)
        return 0;
    return until_us - now_us < (uint64_t)most_us ? (int64_t)(until_us - now_us) : most_us;
}

void core_look_ahead(const struct core *core, struct core_wait *wait)
{
    uint64_t now_ms = clock_monotonic_ms();
    uint64_t deadline_ms = cluster_deadline(core->cluster);
    uint64_t trial_ms = suspects_deadline_ms(core);
    bool is_free = commit_log_is_free(core->commit_log);
    uint64_t until_ms = now_ms + (core->phase == CORE_RUNS ? TICK_MS : ENDING_TICK_MS);
    if (deadline_ms < until_ms)
        until_ms = deadline_ms;
    if (is_free && core->is_behind)
        until_ms = now_ms;
    if (is_free && trial_ms < until_ms)
        until_ms = trial_ms;
    int64_t most_us = until_ms > now_ms ? (int64_t)(until_ms - now_ms) * 1000 : 0;
    *wait = (struct core_wait){.requests = is_free, .timeout_us = wait_for_batch_us(core, most_us)};
}

static void turn(struct core *core)
{
    read_clocks(core);
    cluster_set_time(core->cluster, core->now_ms, core->wall_ms);
    core->wall_ms = cluster_time(core->cluster);
    (void)task_queue_run(core->cluster_queue, TASKS_PER_TURN);
    cluster_tick(core->cluster);
    tick(core);
    if (commit_log_is_free(core->commit_log))
        work(core);
    cluster_tell_committed(core->cluster);
    reads_tick(core);
    reports_work(&core->reports);
    if (commit_log_is_master(core->commit_log))
        news_publish(core);
    subscriptions_deliver(core->subscriptions);
    if (core->forward != NULL)
        forward_flush(core->forward);
    rpc_server_flush(core->clients);
    cluster_flush(core->cluster);
}

/* ---- ending ---- */

/* Refuses new requests. The other servers get the open entries before this server ends. */
static void begin_to_finish(struct core *core)
{
    rpc_server_drain(core->clients, stopping_text);
    if (core->forward != NULL)
        forward_to(core->forward, NULL, NULL);
    core->phase = CORE_FINISHES;
    core->phase_ms = clock_monotonic_ms();
}

static bool is_finishing(const struct core *core)
{
    return commit_log_is_master(core->commit_log) && commit_log_has_waiters(core->commit_log) &&
           core->now_ms < core->phase_ms + RESIGN_MS;
}

/* Announces the end of this server, so that the others need no timeout. */
static void begin_shutdown(struct core *core)
{
    cluster_resign(core->cluster);
    subscriptions_end_all(core->subscriptions, stopping_text);
    core->phase = CORE_DRAINING;
    core->phase_ms = clock_monotonic_ms();
    core->has_answered = true;
}

/* Clients disconnect when they have read the shutdown reply; the server closes the other
 * connections. The time counts from the step that sent the last answer, for a busy machine may not run
 * the server in between. */
static bool has_clients(struct core *core)
{
    if (core->has_answered)
        core->drain_until_ms = core->now_ms + SHUTDOWN_MS;
    core->has_answered =
        core->hashing + core->reading > 0 && core->now_ms < core->phase_ms + SHUTDOWN_BUSY_MS;
    struct rpc_server_stats stats;
    rpc_server_stats(core->clients, &stats);
    return stats.peers > 0 && core->now_ms < core->drain_until_ms;
}

/* Returns whether this server can serve clients, itself or by forwarding. */
static bool is_ready(const struct core *core)
{
    return !core->is_behind &&
           (core->role == REPLICA_SLAVE ||
            (core->role == REPLICA_MASTER && commit_log_committed(core->commit_log).seq ==
                                                 commit_log_applied(core->commit_log).seq));
}

static void reload(struct core *core)
{
    struct error_text why;
    log_reopen();
    if (rpc_server_reread_tls(core->clients, &why) != OK)
        log_error("server", "cannot_reread_certificate", log_string("reason", why.text),
                  log_string("hint", "new connections go on with the certificate from before"));
    else if (core->options->client_address.tls)
        log_info("server", "certificate_reread",
                 log_string("certificate", core->options->tls_cert));
}

bool core_step(struct core *core)
{
    turn(core);
    switch (core->phase) {
    case CORE_RUNS:
        if (atomic_exchange(&core->reloading, false))
            reload(core);
        core->was_ready = core->was_ready || is_ready(core);
        if (atomic_load(&core->stopping))
            begin_to_finish(core);
        return true;
    case CORE_FINISHES:
        if (!is_finishing(core))
            begin_shutdown(core);
        return true;
    default:
        return has_clients(core);
    }
}

bool core_run(struct core *core, void (*on_ready)(struct core *core))
{
    bool was_ready = false;
    do {
        struct core_wait wait;
        core_look_ahead(core, &wait);
        if (!atomic_load(&core->stopping) || core->phase != CORE_RUNS)
            task_queue_wait_either(core->cluster_queue, wait.requests ? core->queue : NULL,
                                   wait.timeout_us);
        if (core->was_ready && !was_ready)
            on_ready(core);
        was_ready = core->was_ready;
    } while (core_step(core));
    return !core->has_failed;
}

void core_stop(struct core *core)
{
    /* The flag last: once it is set, the core may be gone. The wake-up is only for haste. */
    task_queue_wake(core->cluster_queue);
    atomic_store(&core->stopping, true);
}

void core_reload(struct core *core)
{
    atomic_store(&core->reloading, true);
    task_queue_wake(core->cluster_queue);
}

/* ---- closing ---- */

/* From here on no handler runs, because handlers need the workers. */
static void stop_requests(struct core *core)
{
    if (core->clients != NULL)
        rpc_server_drain(core->clients, stopping_text);
}

/* The last result of the hasher may still be committed and then read history. */
static void stop_workers(struct core *core)
{
    worker_stop(core->hasher);
    if (core->queue != NULL)
        (void)task_queue_run(core->queue, SIZE_MAX);
    worker_stop(core->reader);
    if (core->queue != NULL)
        (void)task_queue_run(core->queue, SIZE_MAX);
}

void core_release(struct core *core)
{
    stop_requests(core);
    suspects_release(core, stopping_text);
    reads_release(core, stopping_text);
    cluster_resign(core->cluster);
    scrub_free(core->scrub);
    worker_stop(core->disk);
    if (core->cluster_queue != NULL)
        (void)task_queue_run(core->cluster_queue, SIZE_MAX); /* which may give the projector work */
    worker_stop(core->projector);
    if (core->cluster_queue != NULL)
        (void)task_queue_run(core->cluster_queue, SIZE_MAX);
    stop_workers(core);
    forward_free(core->forward);
    if (core->clients != NULL)
        rpc_server_cancel_all(core->clients);
    if (core->subscriptions != NULL)
        subscriptions_close_all(core->subscriptions, stopping_text, NULL);
    cluster_free(core->cluster);
    reports_release(&core->reports);
    subscriptions_free(core->subscriptions);
    rpc_server_free(core->clients);
    chat_close(core->chat);
    store_close(core->reader_store);
    store_close(core->store);
    if (core->is_repaired)
        repair_release(&core->settings);
    task_queue_free(core->cluster_queue);
    task_queue_free(core->queue);
}
