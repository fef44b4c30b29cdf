/* SPDX-License-Identifier: MIT */
#include "cluster/cluster.h"
#include "cluster/cluster_internal.h"

#include "base/log_pace.h"
#include "base/protobuf.h"
#include "cluster/advertise.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define SERVER_PEERS_MAX 128
#define SERVER_IDLE_MS 60000
#define ARENA_BYTES (16u * 1024u * 1024u)
#define SEEKING_MS 10000 /* without a master, before the log says so, and again */
#define CLOCKS_CHECK_MS 1000
#define SILENCE_FACTOR 2 /* ping timeouts without an answer: the connection is made anew */

/* ---- messages ---- */

/* Drops log messages while the queue is full; the replica requests them again. */
static void step_message(struct cluster *cluster, const struct replica_message *message,
                         const char *address)
{
    bool is_log = message->kind == REPLICA_APPEND || message->kind == REPLICA_ENTRIES;
    if (is_log && commit_log_is_full(cluster->commit_log))
        return;
    (void)cluster_loop(
        cluster,
        &(struct replica_event){.kind = REPLICA_RECEIVE, .message = message, .address = address});
}

/* ---- the feed of the master ---- */

static void on_published(void *context, const uint8_t *bytes, size_t size)
{
    struct cluster *cluster = context;
    struct arena arena;
    arena_init(&arena, size * CLUSTER_UNPACK_FACTOR + CLUSTER_UNPACK_FLOOR);
    struct replica_message message;
    const Jackdaw__ClusterMessage *in =
        protobuf_unpack(&jackdaw__cluster_message__descriptor, &arena, bytes, size);
    if (in != NULL && in->kind == JACKDAW__CLUSTER_MESSAGE__KIND__NEWS)
        cluster_receive_news(cluster, in);
    else if (in != NULL && cluster_wire_decode(in, &arena, &message, NULL) == OK &&
             (message.kind == REPLICA_APPEND || message.kind == REPLICA_COMMITTED))
        step_message(cluster, &message, NULL);
    arena_clear(&arena);
}

static void leave_feed(struct cluster *cluster)
{
    struct rpc_follower *follower = cluster->follower;
    cluster->follower = NULL;
    cluster->followed[0] = '\0';
    rpc_follower_close(follower);
}

static void follow_feed(struct cluster *cluster, const char *feed)
{
    if (strcmp(cluster->followed, feed) == 0)
        return;
    leave_feed(cluster);
    struct rpc_follower_options options = {
        .queue = cluster->options.queue,
        .reconnect_min_ms = 20,
        .reconnect_max_ms = 200,
        .context = cluster,
        .message = on_published,
    };
    struct error_text why;
    enum error error = address_parse(feed, &options.address, &why);
    if (error == OK)
        error = rpc_follower_open(&cluster->follower, &options, &why);
    if (error != OK) /* all is fetched then */
        log_error_paced(feed, "cluster", "cannot_follow", log_string("feed", feed),
                        log_string("reason", why.text));
    else
        memcpy(cluster->followed, feed, strlen(feed) + 1);
}

/* ---- the others ---- */

static bool is_on_loopback(const char *text)
{
    struct address address;
    return address_parse(text, &address, NULL) == OK && advertise_is_loopback(address.host);
}

/* A master that knows no other address of its own than loopback tells us one that leads to ourselves. */
static void compare_addresses(struct cluster *cluster, uint16_t master, const char *feed)
{
    const char *reached = peer_connections_address(cluster->peer_connections, master);
    if (reached == NULL || is_on_loopback(reached) || !is_on_loopback(feed))
        return;
    log_warning_paced(reached, "cluster", "master_on_loopback", log_number("master", master),
                      log_string("reached", reached), log_string("told", feed),
                      log_string("hint", "the master announces addresses that only its own "
                                         "machine reaches: give it --advertise_host"));
}

void cluster_receive(struct cluster *cluster, const Jackdaw__ClusterMessage *in,
                     const char *address)
{
    struct arena arena;
    arena_init(&arena, 1024 * 1024);
    struct replica_message message;
    const char *feed = NULL;
    enum error error = cluster_wire_decode(in, &arena, &message, &feed);
    if (error != OK)
        log_warning_paced(NULL, "cluster", "malformed_message", log_number("from", in->from));
    else
        step_message(cluster, &message, address);
    bool is_our_master = error == OK && message.kind == REPLICA_JOIN_REPLY && feed != NULL &&
                         strlen(feed) < ADDRESS_TEXT_SIZE && !message.join_reply.recovering_log &&
                         replica_master(cluster->replica) == message.from;
    if (is_our_master) {
        compare_addresses(cluster, message.from, feed);
        follow_feed(cluster, feed);
    }
    arena_clear(&arena);
}

static bool is_ours(const struct cluster *cluster, const Jackdaw__ClusterMessage *message)
{
    return message->cluster.len == REPLICA_CLUSTER_BYTES &&
           memcmp(message->cluster.data, replica_cluster(cluster->replica),
                  REPLICA_CLUSTER_BYTES) == 0;
}

static bool on_answered(void *context, const Jackdaw__ClusterMessage *message, const char *address)
{
    struct cluster *cluster = context;
    cluster_receive(cluster, message, address);
    return is_ours(cluster, message) ||
           (message->cluster.len == REPLICA_CLUSTER_BYTES &&
            sodium_is_zero(replica_cluster(cluster->replica), REPLICA_CLUSTER_BYTES));
}

static void on_disconnected(void *context, const char *address)
{
    struct cluster *cluster = context;
    (void)cluster_loop(cluster,
                       &(struct replica_event){.kind = REPLICA_DISCONNECTED, .address = address});
}

enum error cluster_leave(struct cluster *cluster, uint16_t node)
{
    uint16_t own = (uint16_t)cluster->options.settings->id;
    return cluster_loop(cluster, &(struct replica_event){.kind = REPLICA_LEAVE_NODE,
                                                         .node = node == 0 ? own : node});
}

/* ---- clocks ---- */

static bool is_member(const struct cluster *cluster, uint32_t node)
{
    const struct replica_member *members;
    size_t count = replica_members(cluster->replica, &members);
    for (size_t i = 0; i < count; i++)
        if (members[i].id == node)
            return !members[i].left;
    return false;
}

void cluster_note_clock(struct cluster *cluster, const Jackdaw__ClusterFrame *frame)
{
    if (frame->n_messages > 0 && is_ours(cluster, frame->messages[0]) &&
        is_member(cluster, frame->messages[0]->from))
        clocks_note(&cluster->clocks, (uint16_t)frame->messages[0]->from, frame->wall_ms);
}

static void on_clock(void *context, const Jackdaw__ClusterFrame *frame)
{
    cluster_note_clock(context, frame);
}

static uint64_t own_wall_ms(void *context)
{
    const struct cluster *cluster = context;
    return clocks_own(&cluster->clocks);
}

static void on_difference(void *context, uint16_t node, int64_t difference_ms)
{
    const struct cluster *cluster = context;
    bool is_own = node == cluster->options.settings->id;
    log_warning("cluster", "clock_differs", log_number("id", node),
                log_integer("difference_ms", difference_ms),
                log_string("hint", is_own ? "this machine's clock differs from those of the other "
                                            "servers, or was set just now: let NTP set it"
                                          : "the clock of that machine differs: let NTP set it"));
}

static void check_clocks(struct cluster *cluster)
{
    if (cluster->now_ms - cluster->clocks_checked_ms < CLOCKS_CHECK_MS)
        return;
    cluster->clocks_checked_ms = cluster->now_ms;
    clocks_check(&cluster->clocks, on_difference, cluster);
}

bool cluster_clock(const struct cluster *cluster, uint16_t node, int64_t *difference_ms)
{
    return clocks_difference(&cluster->clocks, node, difference_ms);
}

/* ---- the snapshots' thread ---- */

/* The roles may have changed meanwhile: the replica knows whether it is still to be installed. */
static void on_checked(void *context)
{
    struct cluster *cluster = context;
    if (!cluster->has_resigned)
        (void)cluster_loop(cluster, &(struct replica_event){.kind = REPLICA_CHECKED});
}

/* ---- turns ---- */

void cluster_set_time(struct cluster *cluster, uint64_t now_ms, uint64_t wall_ms)
{
    cluster->now_ms = now_ms;
    clocks_set(&cluster->clocks, now_ms, wall_ms);
    cluster->wall_ms = clocks_time(&cluster->clocks);
}

uint64_t cluster_time(const struct cluster *cluster)
{
    return cluster->wall_ms;
}

uint64_t cluster_deadline(const struct cluster *cluster)
{
    return cluster->has_resigned ? UINT64_MAX : cluster->deadline_ms;
}

/* Logs now and then that no master is found, with a hint for the operator. */
static void warn_no_master(struct cluster *cluster)
{
    bool seeks = replica_role(cluster->replica) == REPLICA_LOOKING;
    if (!seeks || cluster->seeks_since_ms == 0)
        cluster->seeks_since_ms = seeks ? cluster->now_ms : 0;
    if (!seeks || cluster->now_ms - cluster->seeks_since_ms < SEEKING_MS)
        return;
    cluster->seeks_since_ms = cluster->now_ms;
    peer_connections_log_unreachable(cluster->peer_connections);
    bool knows_somebody =
        cluster->members_count > 0 || cluster->options.settings->masters.count > 0;
    log_warning(
        "cluster", "no_master_found",
        log_string("hint", knows_somebody
                               ? "no reachable server is a master, follows one, or may become one"
                               : "give --master_address, the internal address of another server"));
}

void cluster_tick(struct cluster *cluster)
{
    (void)cluster_loop(cluster, NULL);
    if (cluster->now_ms < cluster->deadline_ms || cluster->has_resigned)
        return;
    peer_connections_tick(cluster->peer_connections, cluster->now_ms);
    rpc_server_tick(cluster->server, cluster->now_ms);
    snapshots_tick(cluster->snapshots, cluster->now_ms);
    warn_no_master(cluster);
    check_clocks(cluster);
    cluster->deadline_ms = UINT64_MAX;
    (void)cluster_loop(cluster, &(struct replica_event){.kind = REPLICA_TICK});
}

void cluster_commit(struct cluster *cluster, uint64_t now_us)
{
    bool has_orphans = cluster->orphan_transfers_count > 0;
    cluster->commit_is_due = !commit_log_may_grow(cluster->commit_log, now_us) || has_orphans;
    (void)cluster_loop(cluster, NULL);
    struct replica_event event;
    while (cluster_next_merged(cluster, &event))
        (void)cluster_loop(cluster, &event);
}

void cluster_flush(struct cluster *cluster)
{
    arena_clear(&cluster->arena);
    if (cluster->has_resigned)
        return;
    peer_connections_flush(cluster->peer_connections);
    rpc_server_flush(cluster->server);
}

/* ---- looking in ---- */

struct commit_log *cluster_commit_log(const struct cluster *cluster)
{
    return cluster->commit_log;
}

const struct replica *cluster_replica(const struct cluster *cluster)
{
    return cluster->replica;
}

bool cluster_has_poison_entry(const struct cluster *cluster)
{
    return cluster->has_poison_entry;
}

bool cluster_reaches(const struct cluster *cluster, uint16_t node)
{
    return node == cluster->options.settings->id ||
           (!cluster->has_resigned &&
            peer_connections_is_connected(cluster->peer_connections, node));
}

struct rpc_server *cluster_server(const struct cluster *cluster)
{
    return cluster->server;
}

void cluster_set_damaged(struct cluster *cluster)
{
    snapshots_set_damaged(cluster->snapshots);
}

const char *cluster_own_client(const struct cluster *cluster)
{
    return cluster->client;
}

/* ---- life ---- */

static enum error open_server(struct cluster *cluster, struct error_text *why)
{
    struct rpc_server_options options = {
        .address = cluster->options.settings->internal_address,
        .queue = cluster->options.queue,
        .frame_bytes_max = INTERNAL_FRAME_BYTES,
        .peers_max = SERVER_PEERS_MAX,
        .idle_ms = SERVER_IDLE_MS,
    };
    return rpc_server_new(&cluster->server, &options, why);
}

static enum error open_feed(struct cluster *cluster, struct error_text *why)
{
    const struct cluster_settings *given = cluster->options.settings;
    struct rpc_feed_options options = {.address = given->feed_address.address};
    if (!given->feed_address.is_given) {
        options.address = given->internal_address;
        options.address.port = 0;
    }
    return rpc_feed_open(&cluster->feed, &options, why);
}

static enum error open_parts(struct cluster *cluster, struct error_text *why)
{
    const struct cluster_options *options = &cluster->options;
    struct log_position last = store_position(cluster->store);
    enum error error =
        crash_note_open(&cluster->note, options->folder, CRASH_NOTE_APPLYING, last, why);
    if (error == OK)
        error = crash_note_open(&cluster->projecting, options->folder, CRASH_NOTE_PROJECTING, last,
                                why);
    if (error != OK) /* it helps only where this program has a bug */
        log_warning("cluster", "no_crash_note", log_string("reason", why->text));
    struct commit_log_options commit_log = {
        .store = cluster->store,
        .note = cluster->note,
        .projecting = cluster->projecting,
        .queue = options->queue,
        .disk = options->disk,
        .projector = options->projector,
    };
    struct peer_connections_options peer_connections = {
        .durability = replica_policy_name(options->settings->durability),
        .queue = options->queue,
        .process = cluster->process,
        .silence_ms = SILENCE_FACTOR * options->settings->ping_timeout_ms,
        .context = cluster,
        .wall_ms = own_wall_ms,
        .clock = on_clock,
        .received = on_answered,
        .down = on_disconnected,
    };
    error = commit_log_new(&cluster->commit_log, &commit_log);
    if (error == OK)
        error = peer_connections_new(&cluster->peer_connections, &peer_connections);
    if (error != OK)
        return error_set(why, error, "out of memory");
    error = snapshots_new(&cluster->snapshots,
                          &(struct snapshots_options){.folder = options->folder,
                                                      .store = cluster->store,
                                                      .queue = options->queue,
                                                      .context = cluster,
                                                      .checked = on_checked},
                          why);
    if (error == OK)
        error = store_open_reader(&cluster->orphan_reader, cluster->store, why);
    if (error == OK)
        error = open_server(cluster, why);
    return error == OK ? open_feed(cluster, why) : error;
}

enum error cluster_new(struct cluster **out, const struct cluster_options *options,
                       struct error_text *why)
{
    struct cluster *cluster = calloc(1, sizeof *cluster);
    struct replica_actions *actions = malloc(sizeof *actions);
    if (cluster == NULL || actions == NULL) {
        free(cluster);
        free(actions);
        return error_set(why, ERROR_NO_MEMORY, "out of memory");
    }
    cluster->options = *options;
    cluster->actions = actions;
    cluster->store = options->store;
    randombytes_buf(&cluster->process, sizeof cluster->process);
    clocks_init(&cluster->clocks, (uint16_t)options->settings->id);
    arena_init(&cluster->arena, ARENA_BYTES);
    enum error error = open_parts(cluster, why);
    if (error == OK)
        error = cluster_register(cluster);
    if (error != OK) {
        cluster_free(cluster);
        return error;
    }
    *out = cluster;
    return OK;
}

static void find_addresses(struct cluster *cluster)
{
    const struct cluster_settings *settings = cluster->options.settings;
    struct address internal;
    struct address client;
    struct address feed;
    rpc_server_address(cluster->server, &internal);
    rpc_server_address(cluster->options.clients, &client);
    rpc_feed_address(cluster->feed, &feed);
    struct advertise_hosts hosts;
    advertise_find(settings, &hosts);
    advertise_to_servers(&hosts, &internal, cluster->internal);
    advertise_to_clients(&hosts, &client, cluster->client);
    advertise_to_servers(&hosts, &feed, cluster->feed_address);
    if (advertise_hides(&hosts, &internal) || advertise_hides(&hosts, &client))
        log_warning("cluster", "only_loopback", log_string("internal", cluster->internal),
                    log_string("client", cluster->client),
                    log_string("hint", "servers and clients on other machines cannot use these "
                                       "addresses: give --advertise_host"));
}

static enum error new_replica(struct cluster *cluster)
{
    const struct cluster_settings *settings = cluster->options.settings;
    char seeds[REPLICA_SEEDS_MAX][ADDRESS_TEXT_SIZE];
    const char *pointers[REPLICA_SEEDS_MAX];
    for (size_t i = 0; i < settings->masters.count; i++) {
        address_format(&settings->masters.items[i], seeds[i]);
        pointers[i] = seeds[i];
    }
    struct replica_options replica = {
        .id = (uint16_t)settings->id,
        .internal = cluster->internal,
        .client = cluster->client,
        .level = chat_level(),
        .policy = settings->durability,
        .is_first = settings->is_first,
        .founding_wait_ms = settings->founding_wait_ms,
        .seeds = pointers,
        .seeds_count = settings->masters.count,
        .ping_ms = settings->ping_interval_ms,
        .ping_timeout_min_ms = settings->ping_timeout_min_ms,
        .ping_timeout_ms = settings->ping_timeout_ms,
        .ack_timeout_ms = settings->ack_timeout_ms,
        .disk_timeout_min_ms = settings->disk_timeout_min_ms,
        .disk_timeout_ms = settings->disk_timeout_ms,
    };
    randombytes_buf(replica.new_cluster, sizeof replica.new_cluster);
    return replica_new(&cluster->replica, &replica);
}

enum error cluster_start(struct cluster *cluster, struct chat *chat, uint64_t now_ms,
                         struct error_text *why)
{
    cluster->chat = chat;
    cluster->now_ms = now_ms;
    peer_connections_tick(cluster->peer_connections, now_ms);
    struct replica_state state;
    enum error error = commit_log_attach(cluster->commit_log, chat, why);
    if (error == OK)
        error = rpc_server_listen(cluster->server, why);
    if (error != OK)
        return error;
    find_addresses(cluster);
    error = new_replica(cluster);
    if (error != OK)
        return error_set(why, error, "begin as a member: %s", error_name(error));
    error = cluster_describe(cluster, &state, why);
    if (error != OK)
        return error_prefix(why, error, "load the database in %s", cluster->options.folder);
    cluster->first_seq = state.first_seq;
    cluster->members_changed = true;
    return cluster_loop(cluster, &(struct replica_event){.kind = REPLICA_START, .state = &state});
}

void cluster_resign(struct cluster *cluster)
{
    if (cluster == NULL || cluster->has_resigned)
        return;
    cluster->has_resigned = true;
    commit_log_set_epoch(cluster->commit_log, 0);
    leave_feed(cluster);
    rpc_feed_free(cluster->feed);
    cluster->feed = NULL;
    rpc_server_free(cluster->server);
    cluster->server = NULL;
    peer_connections_free(cluster->peer_connections);
    cluster->peer_connections = NULL;
}

void cluster_free(struct cluster *cluster)
{
    if (cluster == NULL)
        return;
    if (cluster->commit_log != NULL) {
        (void)commit_log_wait_for_disk(cluster->commit_log);
        commit_log_wait_for_projection(cluster->commit_log);
    }
    leave_feed(cluster);
    rpc_feed_free(cluster->feed);
    rpc_server_free(cluster->server);
    peer_connections_free(cluster->peer_connections);
    (void)task_queue_run(cluster->options.queue, SIZE_MAX);
    snapshots_free(cluster->snapshots);
    commit_log_free(cluster->commit_log);
    crash_note_close(cluster->note);
    crash_note_close(cluster->projecting);
    cluster_clear_entry_cache(cluster);
    cluster_forget_orphan_transfers(cluster);
    store_close(cluster->orphan_reader);
    arena_clear(&cluster->arena);
    replica_free(cluster->replica);
    free(cluster->actions);
    free(cluster);
}
