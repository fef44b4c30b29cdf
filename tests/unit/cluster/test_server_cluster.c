/* SPDX-License-Identifier: MIT */
/* Several whole servers in one process, each with a thread of its own, which end and come back as
 * they are told. What kills and cuts do is for tests/cluster. */
#include "cluster/cluster_internal.h"

#include "base/clock.h"
#include "base/log.h"
#include "rpc/protocol.h"
#include "store/store.h"
#include "support/folder.h"
#include "support/live_server.h"
#include "support/test.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define SERVERS 3
#define MANY 1500 /* more than a log keeps that shall keep 1000 entries */
#define LONG 16000
#define ORPHANS 100

/* A check of a snapshot takes as long as the test says, as if the database were large. */
static struct {
    pthread_mutex_t held; /* by the test */
    atomic_uint begun;
    atomic_uint bad;   /* so many more find something */
    atomic_uint asked; /* chunks of any master, that is by who checks, too */
} checks = {.held = PTHREAD_MUTEX_INITIALIZER};

enum error __real_store_check(struct store *store, struct error_text *why);
enum error __wrap_store_check(struct store *store, struct error_text *why);
bool __real_snapshots_send(struct snapshots *snapshots, struct replica_snapshot_chunk *chunk,
                           uint64_t now_ms);
bool __wrap_snapshots_send(struct snapshots *snapshots, struct replica_snapshot_chunk *chunk,
                           uint64_t now_ms);

enum error __wrap_store_check(struct store *store, struct error_text *why)
{
    atomic_fetch_add(&checks.begun, 1);
    (void)pthread_mutex_lock(&checks.held);
    (void)pthread_mutex_unlock(&checks.held);
    if (atomic_load(&checks.bad) == 0)
        return __real_store_check(store, why);
    atomic_fetch_sub(&checks.bad, 1);
    return error_set(why, ERROR_CORRUPT, "a bad copy");
}

bool __wrap_snapshots_send(struct snapshots *snapshots, struct replica_snapshot_chunk *chunk,
                           uint64_t now_ms)
{
    atomic_fetch_add(&checks.asked, 1);
    return __real_snapshots_send(snapshots, chunk, now_ms);
}

struct fixture {
    char *folder;
    struct live_server *servers[SERVERS + 1]; /* by id; NULL: not running */
    char internal[SERVERS + 1][ADDRESS_TEXT_SIZE];
    struct device ann;
    struct answer stream;
    char notices[16][128];
    size_t notices_count;
    char last[64]; /* message */
    unsigned messages;
};

/* Starts the server; one that joins is told of all that run. */
static void start(struct fixture *fixture, unsigned id, const char *more)
{
    char number[16];
    char members[32 + SERVERS * ADDRESS_TEXT_SIZE] = "--master_address=";
    (void)snprintf(number, sizeof number, "--id=%u", id);
    size_t count = 0;
    for (unsigned i = 1; i <= SERVERS; i++) {
        if (fixture->servers[i] == NULL)
            continue;
        size_t used = strlen(members);
        (void)snprintf(members + used, sizeof members - used, "%s%s", count++ == 0 ? "" : ",",
                       fixture->internal[i]);
    }
    const char *words[] = {number,
                           count == 0 ? "--role=master" : "--role=slave",
                           more == NULL ? "--log_keep=200000" : more,
                           "--replay_bytes=65536",
                           LIVE_SERVER_PATIENT,
                           count == 0 ? NULL : members,
                           NULL};
    fixture->servers[id] = live_server_start(fixture->folder, words);
    address_format(live_server_internal_address(fixture->servers[id]), fixture->internal[id]);
}

static void stop(struct fixture *fixture, unsigned id)
{
    live_server_stop(fixture->servers[id]);
    fixture->servers[id] = NULL;
}

static void note_events(struct answer *answer, const ProtobufCMessage *reply)
{
    const Jackdaw__ReceiveReply *page = (const Jackdaw__ReceiveReply *)reply;
    struct fixture *fixture = answer->context;
    rpc_channel_credit(fixture->ann.channel, answer->call, 1);
    for (size_t i = 0; i < page->n_events; i++) {
        const Jackdaw__Event *event = page->events[i];
        if (event->kind == JACKDAW__EVENT__KIND__MESSAGE) {
            (void)snprintf(fixture->last, sizeof fixture->last, "%s", event->text);
            fixture->messages++;
        }
        if (event->kind == JACKDAW__EVENT__KIND__NOTICE && fixture->notices_count < 16) {
            assert_int_equal(event->seq, 0);
            assert_int_not_equal(event->time_ms, 0);
            (void)snprintf(fixture->notices[fixture->notices_count++], sizeof fixture->notices[0],
                           "%s", event->text);
        }
    }
}

static void listen_to(struct fixture *fixture)
{
    answer_clear(&fixture->stream);
    fixture->stream = (struct answer){.context = fixture, .each = note_events};
    Jackdaw__ReceiveRequest request = JACKDAW__RECEIVE_REQUEST__INIT;
    ask_start(&fixture->ann, &fixture->stream, "Receive", &request.base, 16);
}

static bool is_told(const struct fixture *fixture, const char *sentence)
{
    size_t count = 0;
    for (size_t i = 0; i < fixture->notices_count; i++)
        count += strcmp(fixture->notices[i], sentence) == 0;
    assert_true(count <= 1);
    return count == 1;
}

static void wait_until_told(struct fixture *fixture, const char *sentence)
{
    DEVICE_WAIT(&fixture->ann, is_told(fixture, sentence));
}

static bool is_master(struct fixture *fixture)
{
    struct answer answer;
    ASK(&fixture->ann, &answer, "Info", Info, INFO, r.client = (char *)"test");
    assert_int_equal(answer.status, STATUS_OK);
    const Jackdaw__InfoReply *reply = (const Jackdaw__InfoReply *)answer.reply;
    bool is_it = reply->leader == reply->server_id; /* a slave takes every request, too */
    answer_clear(&answer);
    return is_it;
}

/* Goes to whichever of the servers is the master, and listens there. */
static unsigned go_to_master(struct fixture *fixture)
{
    uint64_t until_ms = clock_monotonic_ms() + LIVE_SERVER_PATIENCE_MS;
    for (unsigned id = 1;; id = id % SERVERS + 1) {
        assert_true(clock_monotonic_ms() < until_ms);
        if (fixture->servers[id] == NULL)
            continue;
        device_reopen(&fixture->ann, fixture->servers[id]);
        if (!is_master(fixture))
            continue;
        listen_to(fixture);
        return id;
    }
}

/* Stops the master, and waits until ann's stream has ended. */
static void stop_master(struct fixture *fixture, unsigned id)
{
    stop(fixture, id);
    DEVICE_WAIT(&fixture->ann, fixture->stream.ended);
}

static void begin_with(struct fixture *fixture, unsigned count, const char *more)
{
    *fixture = (struct fixture){.folder = folder_new()};
    for (unsigned id = 1; id <= count; id++)
        start(fixture, id, more);
    device_enter(&fixture->ann, fixture->servers[1], "ann", "lobby");
    listen_to(fixture);
}

static void begin(struct fixture *fixture)
{
    begin_with(fixture, 1, NULL);
}

static void end(struct fixture *fixture)
{
    device_close(&fixture->ann);
    for (unsigned id = 1; id <= SERVERS; id++)
        if (fixture->servers[id] != NULL)
            stop(fixture, id);
    answer_clear(&fixture->stream);
    folder_remove(fixture->folder);
}

static void say(struct fixture *fixture, const char *text)
{
    assert_int_equal(device_send(&fixture->ann, "lobby", text), STATUS_OK);
    DEVICE_WAIT(&fixture->ann, strcmp(fixture->last, text) == 0);
}

static void send_many(struct fixture *fixture)
{
    for (int i = 0; i < MANY; i++)
        assert_int_equal(device_send(&fixture->ann, "lobby", "x"), STATUS_OK);
}

/* How many messages the room has, and that the last one is text. */
static uint64_t count_messages(struct fixture *fixture, const char *text)
{
    struct answer answer;
    ASK(&fixture->ann, &answer, "History", History, HISTORY, r.room = (char *)"lobby");
    assert_int_equal(answer.status, STATUS_OK);
    const Jackdaw__HistoryReply *history = (const Jackdaw__HistoryReply *)answer.reply;
    assert_true(history->n_events > 0);
    const Jackdaw__Event *last = history->events[history->n_events - 1];
    assert_string_equal(last->text, text);
    uint64_t number = last->number;
    answer_clear(&answer);
    return number;
}

/* What this program says on standard error while it runs function in a child, which may abort. */
static const char *said_by_child(void (*function)(void), bool *has_aborted)
{
    static char said[4096];
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)dup2(ends[1], STDERR_FILENO);
        log_configure(LOG_INFO, LOG_TEXT);
        function();
        _exit(0);
    }
    (void)close(ends[1]);
    size_t used = 0;
    ssize_t size;
    while ((size = read(ends[0], said + used, sizeof said - 1 - used)) > 0)
        used += (size_t)size;
    said[used] = '\0';
    (void)close(ends[0]);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    *has_aborted = WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
    return said;
}

static void step_while_looping(void)
{
    static struct cluster cluster = {.is_looping = true};
    (void)cluster_loop(&cluster, &(struct replica_event){.kind = REPLICA_TICK});
}

static void leave_while_looping(void)
{
    static const struct cluster_settings settings = {.id = 1};
    static struct cluster cluster = {.is_looping = true, .options = {.settings = &settings}};
    (void)cluster_leave(&cluster, 2);
}

/* This test forks, so it comes before there are threads. */
TEST(test_loop__is_not_entered_again)
{
    bool has_aborted;
    assert_non_null(strstr(said_by_child(step_while_looping, &has_aborted), "is_looping"));
    assert_true(has_aborted);
    assert_non_null(strstr(said_by_child(leave_while_looping, &has_aborted), "is_looping"));
    assert_true(has_aborted);
}

TEST_F(test_cluster__people_are_told)
{
    say(f, "alone");
    assert_int_equal(f->notices_count, 0); /* nothing has happened */
    start(f, 2, NULL);
    wait_until_told(f, "server 2 has joined; 2 of 2 servers have everything");
    start(f, 3, NULL);
    wait_until_told(f, "server 3 has joined; 3 of 3 servers have everything");
    stop(f, 3);
    wait_until_told(f, "server 3 is away; 2 of 3 servers have everything");
    start(f, 3, NULL);
    wait_until_told(f, "server 3 is back; 3 of 3 servers have everything");
    assert_int_equal(f->notices_count, 4);
}

TEST_F(test_cluster__the_master_goes_and_comes_back)
{
    start(f, 2, NULL);
    start(f, 3, NULL);
    say(f, "before");
    stop_master(f, 1);
    f->notices_count = 0;
    unsigned master = go_to_master(f);
    char sentence[64];
    (void)snprintf(sentence, sizeof sentence, "server %u is the master now", master);
    wait_until_told(f, sentence);
    assert_int_equal(count_messages(f, "before"), 1);
    say(f, "meanwhile");
    start(f, 1, NULL);
    wait_until_told(f, "server 1 is back; 3 of 3 servers have everything");
    assert_true(is_master(f)); /* still: nobody takes it away */
    assert_int_equal(count_messages(f, "meanwhile"), 2);
}

/* Where the log of a server that has ended begins. */
static uint64_t first_of_log(const struct fixture *fixture, unsigned id)
{
    char folder[512];
    struct store *store;
    struct error_text why = {.text = ""};
    (void)snprintf(folder, sizeof folder, "%s/%u", fixture->folder, id);
    struct store_options options = {.folder = folder, .node_id = id};
    if (store_open(&store, &options, &why) != OK)
        fail_msg("%s", why.text);
    uint64_t first = store_log_first(store);
    store_close(store);
    return first;
}

/* The others no longer have the log from its beginning. */
TEST(test_cluster__one_joins_by_snapshot)
{
    struct fixture fixture;
    begin_with(&fixture, 1, "--log_keep=1000");
    send_many(&fixture);
    start(&fixture, 2, NULL);
    wait_until_told(&fixture, "server 2 has joined; 2 of 2 servers have everything");
    say(&fixture, "last");
    stop_master(&fixture, 1);
    assert_int_equal(go_to_master(&fixture), 2);
    assert_int_equal(count_messages(&fixture, "last"), MANY + 1);
    say(&fixture, "and on");
    start(&fixture, 1, NULL);
    wait_until_told(&fixture, "server 1 is back; 2 of 2 servers have everything");
    stop(&fixture, 2);
    assert_true(first_of_log(&fixture, 2) > 1);
    end(&fixture);
}

static void *start_second(void *argument)
{
    start(argument, 2, NULL);
    return NULL;
}

/* The log of the first is too short for who joins; server 2 has all of a snapshot, and checks it. It
 * is ready when the thread ends. */
static void begin_check(struct fixture *fixture, bool with_third, pthread_t *starting)
{
    atomic_store(&checks.begun, 0);
    (void)pthread_mutex_lock(&checks.held);
    begin_with(fixture, 1, "--log_keep=1000");
    if (with_third)
        start(fixture, 3, "--log_keep=1000");
    send_many(fixture);
    assert_int_equal(pthread_create(starting, NULL, start_second, fixture), 0);
    DEVICE_WAIT(&fixture->ann, atomic_load(&checks.begun) == 1);
}

static void end_check(pthread_t starting)
{
    (void)pthread_mutex_unlock(&checks.held);
    assert_int_equal(pthread_join(starting, NULL), 0);
}

/* It goes on meanwhile, and asks, so that the copy and the log after it are kept for it. */
TEST(test_cluster__one_checks_a_snapshot)
{
    struct fixture fixture;
    pthread_t starting;
    begin_check(&fixture, false, &starting);
    unsigned asked = atomic_load(&checks.asked);
    DEVICE_WAIT(&fixture.ann, atomic_load(&checks.asked) >= asked + 5);
    say(&fixture, "last");
    end_check(starting);
    wait_until_told(&fixture, "server 2 has joined; 2 of 2 servers have everything");
    assert_int_equal(atomic_load(&checks.begun), 1);
    stop_master(&fixture, 1);
    assert_int_equal(go_to_master(&fixture), 2);
    assert_int_equal(count_messages(&fixture, "last"), MANY + 1);
    end(&fixture);
}

TEST(test_cluster__the_master_goes_while_one_checks)
{
    struct fixture fixture;
    pthread_t starting;
    begin_check(&fixture, true, &starting);
    stop_master(&fixture, 1);
    assert_int_equal(go_to_master(&fixture), 3);
    end_check(starting);
    stop_master(&fixture, 3);
    assert_int_equal(go_to_master(&fixture), 2);
    assert_int_equal(count_messages(&fixture, "x"), MANY);
    end(&fixture);
}

TEST(test_cluster__a_bad_snapshot_is_fetched_again)
{
    struct fixture fixture;
    pthread_t starting;
    atomic_store(&checks.bad, 1);
    begin_check(&fixture, false, &starting);
    uint64_t since_ms = clock_monotonic_ms();
    end_check(starting);
    assert_int_equal(atomic_load(&checks.begun), 2);
    assert_true(clock_monotonic_ms() - since_ms >= 4500); /* not at once, or that were all it did */
    end(&fixture);
}

/* What one server took while it was alone is more than a client may send at once. */
TEST_F(test_cluster__much_is_handed_over)
{
    static char text[LONG + 1];
    memset(text, 'x', LONG);
    say(f, "before");
    start(f, 2, NULL);
    wait_until_told(f, "server 2 has joined; 2 of 2 servers have everything");
    stop(f, 2);
    for (int i = 0; i < ORPHANS; i++)
        assert_int_equal(device_send(&f->ann, "lobby", text), STATUS_OK);
    stop_master(f, 1);
    start(f, 2, NULL);
    assert_int_equal(go_to_master(f), 2); /* which has heard of none of them */
    f->messages = 0;
    start(f, 1, NULL);
    DEVICE_WAIT(&f->ann, f->messages >= ORPHANS);
    assert_int_equal(count_messages(f, text), 1 + ORPHANS);
}

TEST(test_prune__for_those_who_are_there_are_away_or_join)
{
    const uint64_t copy = 20, nobody = UINT64_MAX;
    const struct {
        const char *rule;
        uint64_t before;
        struct cluster_log_needs needs;
    } cases[] = {
        {"a short log is kept", 0, {500, 1000, 500, nobody, true}},
        {"a long log is pruned", 4000, {5000, 1000, 5000, nobody, true}},
        {"a member is a little behind", 4000, {5000, 1000, 4900, nobody, true}},
        {"a member is away", 7, {5000, 1000, 7, nobody, true}},
        {"the bound of a member that is away is in bytes", 7, {5000000, 1000, 7, nobody, false}},
        {"nobody needs the log", 49000, {50000, 1000, nobody, nobody, true}},
        {"one joins by a copy", copy, {9000, 1000, 9000, copy, true}},
        {"one joins by an old copy", copy, {5000000, 1000, 5000000, copy, true}},
        {"a member needs more than the copy", copy - 8, {9000, 1000, copy - 8, copy, true}},
        {"nobody waits for the copy", 8000, {9000, 1000, 9000, copy, false}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint64_t before = cluster_prune_before(&cases[i].needs);
        if (before != cases[i].before)
            fail_msg("%s: pruned before %llu, not before %llu", cases[i].rule,
                     (unsigned long long)before, (unsigned long long)cases[i].before);
    }
}

/* A status may be asked for in the turn in which a server resigns. */
TEST(test_reaches__nobody_after_resigning)
{
    struct cluster_settings settings = {.id = 1};
    static struct cluster cluster = {.has_resigned = true};
    cluster.options.settings = &settings;
    assert_true(cluster_reaches(&cluster, 1));
    assert_false(cluster_reaches(&cluster, 2));
}

static void ignore_message(void *context, const uint8_t *bytes, size_t size)
{
    (void)context;
    (void)bytes;
    (void)size;
}

static void remember(struct cluster *cluster, uint64_t seq)
{
    const struct log_entry entry = {.kind = LOG_ENTRY_MEMBERS,
                                    .epoch = 1,
                                    .first_seq = seq,
                                    .last_seq = seq,
                                    .bytes = (const uint8_t *)"x",
                                    .size = 1};
    cluster_remember(cluster, &entry);
}

TEST(test_remember__recent_entries_for_slaves_only)
{
    static struct cluster cluster;
    struct rpc_follower_options slave = {.message = ignore_message};
    struct rpc_follower *follower;
    struct task_queue *queue;
    const struct rpc_feed_options options = {.address = {.host = "127.0.0.1"}};
    assert_int_equal(rpc_feed_open(&cluster.feed, &options, NULL), OK);
    remember(&cluster, 1);
    remember(&cluster, 2);
    assert_int_equal(cluster.entry_cache.count, 1);
    assert_int_equal(cluster.entry_cache.first->entry.first_seq, 2);
    rpc_feed_address(cluster.feed, &slave.address);
    assert_int_equal(task_queue_new(&queue), OK);
    slave.queue = queue;
    assert_int_equal(rpc_follower_open(&follower, &slave, NULL), OK);
    struct rpc_feed_stats stats = {0};
    while (stats.subscribers == 0) {
        task_queue_wait(queue, 10);
        (void)task_queue_run(queue, SIZE_MAX);
        rpc_feed_stats(cluster.feed, &stats);
    }
    remember(&cluster, 3);
    remember(&cluster, 4);
    assert_int_equal(cluster.entry_cache.count, 3);
    rpc_follower_close(follower);
    rpc_feed_free(cluster.feed);
    cluster.feed = NULL; /* as cluster_resign does */
    cluster.has_resigned = true;
    remember(&cluster, 5);
    assert_int_equal(cluster.entry_cache.count, 1);
    (void)task_queue_run(queue, SIZE_MAX);
    task_queue_free(queue);
    cluster_clear_entry_cache(&cluster);
}

static void refuse_each(void)
{
    for (int kind = 0; kind < REPLICA_EVENT_KINDS; kind++) {
        const struct replica_message message = {.kind = REPLICA_JOIN, .from = 7, .epoch = 65537};
        const struct replica_event event = {.kind = (enum replica_event_kind)kind,
                                            .message = &message};
        cluster_log_refused(&event, ERROR_INVALID);
    }
}

TEST(test_step__tells_which_event_was_refused)
{
    bool has_aborted;
    const char *said = said_by_child(refuse_each, &has_aborted);
    assert_false(has_aborted);
    assert_non_null(
        strstr(said, "event_refused event=receive message=join from=7 epoch=65537 error="));
    assert_non_null(strstr(said, "event_refused event=durable error="));
    assert_null(strstr(said, "event=unknown"));
    size_t lines = 0;
    for (const char *at = said; *at != '\0'; at++)
        lines += *at == '\n';
    assert_int_equal(lines, REPLICA_EVENT_KINDS);
}

TEST_PREPARE()
{
    log_configure(LOG_INFO, LOG_TEXT);
    rpc_init();
    return 0;
}
