/* SPDX-License-Identifier: MIT */
/* Links to servers that are no more than the Cluster service, on the test's own thread. Their clock
 * is the test's. */
#include "base/clock.h"
#include "base/log.h"
#include "cluster/cluster_wire.h"
#include "cluster/peer_connections.h"
#include "rpc/protocol.h"
#include "rpc/server.h"
#include "support/test.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PATIENCE_MS 60000
#define SILENCE_MS 500
#define CALLS_MAX 16
#define FRAME_BYTES (16u * 1024u * 1024u)

/* A server of the cluster; not open while `server` is NULL. */
struct other {
    Jackdaw__Cluster_Service service; /* first */
    struct rpc_server *server;
    uint16_t id;
    char address[ADDRESS_TEXT_SIZE];
    bool is_mute;
    struct rpc_call *unanswered[CALLS_MAX];
    size_t unanswered_count;
    unsigned frames;
    unsigned messages;
    unsigned empty;
};

struct world {
    struct task_queue *queue;
    struct peer_connections *peer_connections;
    struct other other;
    struct other second;
    uint64_t ahead_ms; /* of the real clock */
    unsigned received;
    uint16_t last_from;
    unsigned down;
    char last_down[ADDRESS_TEXT_SIZE];
    char last_address[ADDRESS_TEXT_SIZE];
    bool meets_strangers;
};

static void answer(struct rpc_call *call, uint16_t id)
{
    struct cluster_frame frame;
    struct arena arena;
    cluster_frame_init(&frame);
    arena_init(&arena, 65536);
    struct replica_message pong = {.kind = REPLICA_PONG, .from = id, .to = 1};
    assert_int_equal(cluster_frame_add(&frame, &pong, NULL, &arena), OK);
    rpc_call_reply(call, &frame.frame.base);
    arena_clear(&arena);
}

static void handle_exchange(Jackdaw__Cluster_Service *service, const Jackdaw__ClusterFrame *request,
                            Jackdaw__ClusterFrame_Closure closure, void *call)
{
    (void)closure;
    struct other *other = (struct other *)service;
    other->frames++;
    other->messages += (unsigned)request->n_messages;
    other->empty += request->n_messages == 0;
    if (other->is_mute && other->unanswered_count < CALLS_MAX)
        other->unanswered[other->unanswered_count++] = call;
    else
        answer(call, other->id);
}

static void other_open(struct other *other, struct world *world, uint16_t id,
                       const struct address *address)
{
    *other = (struct other){
        .service = {.base = {.descriptor = &jackdaw__cluster__descriptor,
                             .invoke = protobuf_c_service_invoke_internal},
                    .exchange = handle_exchange},
        .id = id,
    };
    /* As the real one: see cluster_register. */
    static const struct rpc_method_limit limits[] = {
        {.method = "Exchange", .request_bytes = FRAME_BYTES},
        {.method = NULL},
    };
    struct rpc_server_options options = {.queue = world->queue, .frame_bytes_max = FRAME_BYTES};
    struct error_text why = {.text = ""};
    if (address != NULL)
        options.address = *address;
    else
        assert_int_equal(address_parse("127.0.0.1:0", &options.address, &why), OK);
    assert_int_equal(rpc_server_new(&other->server, &options, &why), OK);
    assert_int_equal(rpc_server_add(other->server, &other->service.base, limits), OK);
    if (rpc_server_listen(other->server, &why) != OK)
        fail_msg("%s", why.text);
    struct address bound;
    rpc_server_address(other->server, &bound);
    address_format(&bound, other->address);
}

static void other_close(struct other *other)
{
    if (other->server == NULL)
        return;
    rpc_server_free(other->server);
    other->server = NULL;
    for (size_t i = 0; i < other->unanswered_count; i++)
        rpc_call_fail(other->unanswered[i], STATUS_UNAVAILABLE, 0, "");
    other->unanswered_count = 0;
}

static size_t connections(const struct other *other)
{
    struct rpc_server_stats stats;
    rpc_server_stats(other->server, &stats);
    return stats.peers;
}

static bool on_received(void *context, const Jackdaw__ClusterMessage *message, const char *address)
{
    struct world *world = context;
    world->received++;
    world->last_from = (uint16_t)message->from;
    (void)snprintf(world->last_address, sizeof world->last_address, "%s", address);
    return !world->meets_strangers;
}

static void on_down(void *context, const char *address)
{
    struct world *world = context;
    world->down++;
    (void)snprintf(world->last_down, sizeof world->last_down, "%s", address);
}

static uint64_t now(const struct world *world)
{
    return clock_monotonic_ms() + world->ahead_ms;
}

static void begin(struct world *world)
{
    *world = (struct world){.queue = NULL};
    assert_int_equal(task_queue_new(&world->queue), OK);
    struct peer_connections_options options = {.queue = world->queue,
                                               .silence_ms = SILENCE_MS,
                                               .context = world,
                                               .received = on_received,
                                               .down = on_down};
    assert_int_equal(peer_connections_new(&world->peer_connections, &options), OK);
    peer_connections_tick(world->peer_connections, now(world));
}

static void end(struct world *world)
{
    other_close(&world->other);
    other_close(&world->second);
    peer_connections_free(world->peer_connections);
    (void)task_queue_run(world->queue, SIZE_MAX);
    task_queue_free(world->queue);
}

static void turn(struct world *world)
{
    peer_connections_tick(world->peer_connections, now(world));
    peer_connections_flush(world->peer_connections);
    task_queue_wait(world->queue, 5);
    (void)task_queue_run(world->queue, SIZE_MAX);
    if (world->other.server != NULL)
        rpc_server_flush(world->other.server);
    if (world->second.server != NULL)
        rpc_server_flush(world->second.server);
}

static void turns(struct world *world, int count)
{
    for (int i = 0; i < count; i++)
        turn(world);
}

#define WAIT(world, condition)                                       \
    do {                                                             \
        uint64_t wait_until_ms = clock_monotonic_ms() + PATIENCE_MS; \
        while (!(condition)) {                                       \
            if (clock_monotonic_ms() > wait_until_ms)                \
                fail_msg("waited in vain for: %s", #condition);      \
            turn(world);                                             \
        }                                                            \
    } while (0)

static bool is_connected(const struct world *world, uint16_t id)
{
    return peer_connections_is_connected(world->peer_connections, id);
}

static void send(struct world *world, enum replica_message_kind kind, uint16_t to,
                 const char *address)
{
    struct replica_message message = {.kind = kind, .from = 1, .to = to, .address = address};
    peer_connections_send(world->peer_connections, &message, NULL);
}

static void set_member(struct world *world, uint16_t id, const char *internal)
{
    struct replica_member members[2] = {{.id = 1, .internal = "127.0.0.1:1"}, {.id = id}};
    (void)snprintf(members[1].internal, sizeof members[1].internal, "%s", internal);
    peer_connections_set_members(world->peer_connections, members, 2, 1);
}

static void begin_seed(struct world *world)
{
    begin(world);
    other_open(&world->other, world, 2, NULL);
}

static void begin_member(struct world *world)
{
    begin_seed(world);
    set_member(world, 2, world->other.address);
    WAIT(world, is_connected(world, 2));
}

static void begin_two(struct world *world)
{
    begin_seed(world);
    other_open(&world->second, world, 2, NULL);
}

#define SEED_TEST(name) TEST_ON(name, struct world, begin_seed, end)
#define MEMBER_TEST(name) TEST_ON(name, struct world, begin_member, end)
#define TWO_TEST(name) TEST_ON(name, struct world, begin_two, end)

SEED_TEST(test_peer_connections_send__a_seed_tells_who_it_is)
{
    send(f, REPLICA_LEADER_QUERY, 0, f->other.address);
    WAIT(f, f->received == 1);
    assert_int_equal(f->last_from, 2);
    assert_true(is_connected(f, 2));
    send(f, REPLICA_PING, 2, NULL);
    WAIT(f, f->received == 2);
    assert_int_equal(connections(&f->other), 1);
}

SEED_TEST(test_peer_connections_send__nobody_known_is_nobody)
{
    f->other.is_mute = true; /* there is a connection to nobody knows whom */
    send(f, REPLICA_LEADER_QUERY, 0, f->other.address);
    WAIT(f, f->other.messages == 1);
    send(f, REPLICA_PING, 0, NULL);
    send(f, REPLICA_PING, 0, "");
    send(f, REPLICA_PING, 9, NULL);
    send(f, REPLICA_PING, 9, "no address");
    send(f, REPLICA_LEADER_QUERY, 0, f->other.address);
    WAIT(f, f->other.messages == 2);
    assert_false(is_connected(f, 0));
    assert_false(is_connected(f, 9));
}

MEMBER_TEST(test_peer_connections_send__acks_are_not_answered)
{
    send(f, REPLICA_ACK, 2, NULL);
    send(f, REPLICA_PING, 2, NULL);
    WAIT(f, f->received == 1);
    assert_int_equal(f->other.messages, 2);
    turns(f, 10);
    assert_int_equal(f->received, 1);
}

/* A page of orphans that ends with a large batch. */
MEMBER_TEST(test_peer_connections_send__what_is_handed_over_is_large)
{
    static uint8_t bytes[2 * REPLICA_ENTRIES_BYTES];
    struct log_entry batch = {
        .epoch = 1u << 16 | 1, .first_seq = 1, .last_seq = 1, .bytes = bytes, .size = sizeof bytes};
    struct replica_message orphan_transfer = {
        .kind = REPLICA_ORPHAN_TRANSFER, .from = 1, .to = 2, .orphan_transfer = {1, &batch, 1}};
    peer_connections_send(f->peer_connections, &orphan_transfer, NULL);
    WAIT(f, f->other.messages == 1);
}

/* A slow way would carry nothing but repetitions. */
MEMBER_TEST(test_peer_connections_send__what_is_large_is_sent_once_at_a_time)
{
    static const enum replica_message_kind kinds[] = {REPLICA_FETCH, REPLICA_SNAPSHOT_REQUEST,
                                                      REPLICA_ORPHAN_TRANSFER};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        unsigned before = f->other.messages;
        f->other.is_mute = true;
        send(f, kinds[i], 2, NULL);
        send(f, kinds[i], 2, NULL);
        send(f, REPLICA_PING, 2, NULL);
        WAIT(f, f->other.messages == before + 2);
        f->other.is_mute = false;
        while (f->other.unanswered_count > 0)
            answer(f->other.unanswered[--f->other.unanswered_count], 2);
        WAIT(f, f->received == before + 2);
        send(f, kinds[i], 2, NULL);
        WAIT(f, f->received == before + 3);
        assert_int_equal(f->other.messages, before + 3);
    }
}

TWO_TEST(test_peer_connections_set_members__one_that_has_moved)
{
    set_member(f, 2, f->other.address);
    WAIT(f, connections(&f->other) == 1);
    set_member(f, 2, f->second.address);
    WAIT(f, connections(&f->second) == 1 && is_connected(f, 2));
    send(f, REPLICA_PING, 2, NULL);
    WAIT(f, f->received == 1);
    assert_int_equal(f->second.messages, 1);
    assert_string_equal(f->last_address, f->second.address);
    other_close(&f->other);
    send(f, REPLICA_PING, 2, NULL);
    WAIT(f, f->received == 2);
    assert_string_not_equal(f->last_down, f->second.address);
}

/* It answers as a seed, and we have not heard yet that it is no longer where it was. */
TWO_TEST(test_peer_connections_send__to_one_that_is_known_elsewhere)
{
    set_member(f, 2, f->other.address);
    other_close(&f->other);
    send(f, REPLICA_LEADER_QUERY, 0, f->second.address);
    WAIT(f, f->received == 1);
    send(f, REPLICA_JOIN, 2, f->other.address);
    WAIT(f, f->received == 2);
    assert_int_equal(f->second.messages, 2);
}

/* What answers at a member's address is of another cluster: the member is not there. */
TWO_TEST(test_peer_connections_send__a_stranger_at_the_address)
{
    set_member(f, 2, f->other.address);
    WAIT(f, is_connected(f, 2));
    f->meets_strangers = true;
    send(f, REPLICA_LEADER_QUERY, 2, f->other.address);
    WAIT(f, f->received == 1);
    assert_false(is_connected(f, 2));
    f->meets_strangers = false;
    send(f, REPLICA_LEADER_QUERY, 0, f->second.address);
    WAIT(f, f->received == 2);
    assert_true(is_connected(f, 2));
}

MEMBER_TEST(test_peer_connections_down__the_connection_is_closed)
{
    assert_int_equal(f->down, 0);
    struct address address;
    rpc_server_address(f->other.server, &address);
    other_close(&f->other);
    WAIT(f, f->down > 0);
    assert_string_equal(f->last_down, f->other.address);
    assert_false(is_connected(f, 2));
    WAIT(f, f->down == 2); /* nobody listens there, either */
    turns(f, 100);
    assert_int_equal(f->down, 2);          /* which is told once */
    other_open(&f->other, f, 2, &address); /* and is found again */
    WAIT(f, is_connected(f, 2));
    send(f, REPLICA_PING, 2, NULL);
    WAIT(f, f->received == 1);
}

/* Both sides have seen the end of the old connection: the other's second one tells that ours was seen here,
 * and a turn handles it. */
static void wait_for_new_connection(struct world *world)
{
    WAIT(world, rpc_call_is_cancelled(world->other.unanswered[0]));
    WAIT(world, connections(&world->other) == 1);
    turn(world);
    WAIT(world, is_connected(world, 2));
}

/* A machine that was cut off: the connection stands, and nothing comes. */
MEMBER_TEST(test_peer_connections_tick__silence_makes_a_new_connection)
{
    f->other.is_mute = true;
    send(f, REPLICA_PING, 2, NULL);
    WAIT(f, f->other.messages == 1);
    f->other.is_mute = false;
    f->ahead_ms += SILENCE_MS + 1;
    turn(f);
    wait_for_new_connection(f);
    send(f, REPLICA_PING, 2, NULL);
    WAIT(f, f->received == 1);
    assert_int_equal(f->down, 0); /* we ended the old one ourselves */
}

/* Much is on its way: that takes longer, but not for ever. */
MEMBER_TEST(test_peer_connections_tick__what_is_large_takes_its_time)
{
    f->other.is_mute = true;
    send(f, REPLICA_ORPHAN_TRANSFER, 2, NULL);
    WAIT(f, f->other.messages == 1);
    f->ahead_ms += 4000;
    turns(f, 10);
    assert_true(is_connected(f, 2));
    answer(f->other.unanswered[0], 2);
    f->other.unanswered_count = 0;
    WAIT(f, f->received == 1);
    send(f, REPLICA_ORPHAN_TRANSFER, 2, NULL);
    WAIT(f, f->other.messages == 2);
    f->other.is_mute = false;
    f->ahead_ms += 5001;
    turn(f);
    wait_for_new_connection(f);
    send(f, REPLICA_ORPHAN_TRANSFER, 2, NULL);
    WAIT(f, f->received == 2);
    assert_int_equal(f->down, 0);
}

MEMBER_TEST(test_peer_connections_tick__a_member_hears_that_we_are_there)
{
    assert_int_equal(f->other.frames, 0);
    for (unsigned i = 1; i <= 3; i++) {
        f->ahead_ms += 30000;
        WAIT(f, f->other.empty == i);
    }
    assert_int_equal(f->other.frames, 3);
    assert_int_equal(f->down, 0);
    assert_true(is_connected(f, 2));
}

SEED_TEST(test_peer_connections_tick__a_stranger_is_forgotten)
{
    send(f, REPLICA_LEADER_QUERY, 0, f->other.address);
    WAIT(f, f->received == 1);
    f->ahead_ms += 31000;
    WAIT(f, connections(&f->other) == 0);
    assert_int_equal(f->other.frames, 1);
    assert_int_equal(f->down, 0);
    assert_false(is_connected(f, 2));
}

SEED_TEST(test_peer_connections_send__as_many_as_there_are_places)
{
    char address[ADDRESS_TEXT_SIZE];
    for (unsigned i = 1; i <= PEER_CONNECTIONS_MAX; i++) {
        (void)snprintf(address, sizeof address, "127.0.1.%u:1", i);
        send(f, REPLICA_LEADER_QUERY, 0, address);
    }
    send(f, REPLICA_LEADER_QUERY, 0, f->other.address);
    set_member(f, 2, f->other.address);
    turns(f, 10);
    assert_int_equal(connections(&f->other), 0);
    f->ahead_ms += 31000; /* those that nobody needed make place */
    turn(f);
    set_member(f, 2, f->other.address);
    WAIT(f, is_connected(f, 2));
    send(f, REPLICA_ACK, 2, NULL);
    WAIT(f, f->other.messages == 1);
}

/* The lines that peer_connections_log_unreachable logs. */
static const char *log_of_complaint(struct peer_connections *peer_connections)
{
    static char text[4096];
    int captured = memfd_create("stderr", MFD_CLOEXEC);
    int before = dup(STDERR_FILENO);
    assert_true(captured >= 0 && before >= 0 && dup2(captured, STDERR_FILENO) >= 0);
    log_configure(LOG_INFO, LOG_TEXT);
    peer_connections_log_unreachable(peer_connections);
    log_configure(LOG_SILENT, LOG_TEXT);
    (void)dup2(before, STDERR_FILENO);
    ssize_t size = pread(captured, text, sizeof text - 1, 0);
    assert_true(size >= 0);
    text[size] = '\0';
    (void)close(before);
    (void)close(captured);
    return text;
}

TEST_ON(test_peer_connections_complain__tells_where_nobody_listens, struct world, begin, end)
{
    set_member(f, 2, "127.0.0.1:1");
    WAIT(f, f->down == 1); /* refused */
    const char *log = log_of_complaint(f->peer_connections);
    assert_non_null(strstr(log, "no_server_there address=127.0.0.1:1 "
                                "found=\"nothing that listens\""));
    assert_string_equal(log_of_complaint(f->peer_connections), ""); /* at a bounded pace */
}

TEST_PREPARE()
{
    log_configure(LOG_SILENT, LOG_TEXT);
    rpc_init();
    return 0;
}
