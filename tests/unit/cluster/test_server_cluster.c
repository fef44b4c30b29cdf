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

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

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
bool __real_snapshots_send(struct snapshots *snapshots, struct replica_message *chunk,
                           uint64_t now_ms);
bool __wrap_snapshots_send(struct snapshots *snapshots, struct replica_message *chunk,
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

bool __wrap_snapshots_send(struct snapshots *snapshots, struct replica_message *chunk,
                           uint64_t now_ms)
{
    atomic_fetch_add(&checks.asked, 1);
    return __real_snapshots_send(snapshots, chunk, now_ms);
}

struct trio {
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
static void start(struct trio *trio, unsigned id, const char *more)
{
    char number[16];
    char members[32 + SERVERS * ADDRESS_TEXT_SIZE] = "--master_address=";
    (void)snprintf(number, sizeof number, "--id=%u", id);
    size_t count = 0;
    for (unsigned i = 1; i <= SERVERS; i++) {
        if (trio->servers[i] == NULL)
            continue;
        size_t used = strlen(members);
        (void)snprintf(members + used, sizeof members - used, "%s%s", count++ == 0 ? "" : ",",
                       trio->internal[i]);
    }
    const char *words[] = {number, count == 0 ? "--role=master" : "--role=slave",
                           more == NULL ? "--log_keep=200000" : more, count == 0 ? NULL : members,
                           NULL};
    trio->servers[id] = live_server_start(trio->folder, words);
    address_format(live_server_internal_address(trio->servers[id]), trio->internal[id]);
}

static void stop(struct trio *trio, unsigned id)
{
    live_server_stop(trio->servers[id]);
    trio->servers[id] = NULL;
}

static void note_events(struct answer *answer, const ProtobufCMessage *reply)
{
    const Jackdaw__ReceiveReply *page = (const Jackdaw__ReceiveReply *)reply;
    struct trio *trio = answer->context;
    rpc_channel_credit(trio->ann.channel, answer->call, 1);
    for (size_t i = 0; i < page->n_events; i++) {
        const Jackdaw__Event *event = page->events[i];
        if (event->kind == JACKDAW__EVENT__KIND__MESSAGE) {
            (void)snprintf(trio->last, sizeof trio->last, "%s", event->text);
            trio->messages++;
        }
        if (event->kind == JACKDAW__EVENT__KIND__NOTICE && trio->notices_count < 16) {
            assert_int_equal(event->seq, 0);
            assert_int_not_equal(event->time_ms, 0);
            (void)snprintf(trio->notices[trio->notices_count++], sizeof trio->notices[0], "%s",
                           event->text);
        }
    }
}

static void listen_to(struct trio *trio)
{
    answer_clear(&trio->stream);
    trio->stream = (struct answer){.context = trio, .each = note_events};
    Jackdaw__ReceiveRequest request = JACKDAW__RECEIVE_REQUEST__INIT;
    ask_start(&trio->ann, &trio->stream, "Receive", &request.base, 16);
}

static bool is_told(const struct trio *trio, const char *sentence)
{
    size_t count = 0;
    for (size_t i = 0; i < trio->notices_count; i++)
        count += strcmp(trio->notices[i], sentence) == 0;
    assert_true(count <= 1);
    return count == 1;
}

static bool is_master(struct trio *trio)
{
    struct answer answer;
    ASK(&trio->ann, &answer, "Info", Info, INFO, r.client = (char *)"test");
    assert_int_equal(answer.status, STATUS_OK);
    bool is_it = ((const Jackdaw__InfoReply *)answer.reply)->master;
    answer_clear(&answer);
    return is_it;
}

/* Goes to whichever of the servers is the master, and listens there. */
static unsigned go_to_master(struct trio *trio)
{
    uint64_t until_ms = clock_monotonic_ms() + LIVE_SERVER_PATIENCE_MS;
    for (unsigned id = 1;; id = id % SERVERS + 1) {
        assert_true(clock_monotonic_ms() < until_ms);
        if (trio->servers[id] == NULL)
            continue;
        device_reopen(&trio->ann, trio->servers[id]);
        if (!is_master(trio))
            continue;
        listen_to(trio);
        return id;
    }
}

static void begin(struct trio *trio, unsigned count, const char *more)
{
    *trio = (struct trio){.folder = folder_new()};
    for (unsigned id = 1; id <= count; id++)
        start(trio, id, more);
    device_open(&trio->ann, trio->servers[1]);
    assert_int_equal(device_register(&trio->ann, "ann"), STATUS_OK);
    assert_int_equal(device_login(&trio->ann, "ann"), STATUS_OK);
    assert_int_equal(device_join(&trio->ann, "lobby"), STATUS_OK);
    listen_to(trio);
}

static void end(struct trio *trio)
{
    device_close(&trio->ann);
    for (unsigned id = 1; id <= SERVERS; id++)
        if (trio->servers[id] != NULL)
            stop(trio, id);
    answer_clear(&trio->stream);
    folder_remove(trio->folder);
}

static void say(struct trio *trio, const char *text)
{
    assert_int_equal(device_send(&trio->ann, "lobby", text), STATUS_OK);
    DEVICE_WAIT(&trio->ann, strcmp(trio->last, text) == 0);
}

/* How many messages the room has, and that the last one is text. */
static uint64_t count_messages(struct trio *trio, const char *text)
{
    struct answer answer;
    ASK(&trio->ann, &answer, "History", History, HISTORY, r.room = (char *)"lobby");
    assert_int_equal(answer.status, STATUS_OK);
    const Jackdaw__HistoryReply *history = (const Jackdaw__HistoryReply *)answer.reply;
    assert_true(history->n_events > 0);
    const Jackdaw__Event *last = history->events[history->n_events - 1];
    assert_string_equal(last->text, text);
    uint64_t number = last->number;
    answer_clear(&answer);
    return number;
}

static void test_cluster__people_are_told(void **state)
{
    (void)state;
    struct trio trio;
    begin(&trio, 1, NULL);
    say(&trio, "alone");
    assert_int_equal(trio.notices_count, 0); /* nothing has happened */
    start(&trio, 2, NULL);
    DEVICE_WAIT(&trio.ann, is_told(&trio, "server 2 has joined; 2 of 2 servers have everything"));
    start(&trio, 3, NULL);
    DEVICE_WAIT(&trio.ann, is_told(&trio, "server 3 has joined; 3 of 3 servers have everything"));
    stop(&trio, 3);
    DEVICE_WAIT(&trio.ann, is_told(&trio, "server 3 is away; 2 of 3 servers have everything"));
    start(&trio, 3, NULL);
    DEVICE_WAIT(&trio.ann, is_told(&trio, "server 3 is back; 3 of 3 servers have everything"));
    assert_int_equal(trio.notices_count, 4);
    end(&trio);
}

static void test_cluster__the_master_goes_and_comes_back(void **state)
{
    (void)state;
    struct trio trio;
    begin(&trio, 3, NULL);
    say(&trio, "before");
    stop(&trio, 1);
    DEVICE_WAIT(&trio.ann, trio.stream.ended);
    trio.notices_count = 0;
    unsigned master = go_to_master(&trio);
    char sentence[64];
    (void)snprintf(sentence, sizeof sentence, "server %u is the master now", master);
    DEVICE_WAIT(&trio.ann, is_told(&trio, sentence));
    assert_int_equal(count_messages(&trio, "before"), 1);
    say(&trio, "meanwhile");
    start(&trio, 1, NULL);
    DEVICE_WAIT(&trio.ann, is_told(&trio, "server 1 is back; 3 of 3 servers have everything"));
    assert_true(is_master(&trio)); /* still: nobody takes it away */
    assert_int_equal(count_messages(&trio, "meanwhile"), 2);
    end(&trio);
}

/* Where the log of a server that has ended begins. */
static uint64_t first_of_log(const struct trio *trio, unsigned id)
{
    char folder[512];
    struct store *store;
    struct error_text why = {.text = ""};
    (void)snprintf(folder, sizeof folder, "%s/%u", trio->folder, id);
    struct store_options options = {.folder = folder, .node_id = id};
    if (store_open(&store, &options, &why) != OK)
        fail_msg("%s", why.text);
    uint64_t first = store_log_first(store);
    store_close(store);
    return first;
}

/* The others no longer have the log from its beginning. */
static void test_cluster__one_joins_by_snapshot(void **state)
{
    (void)state;
    struct trio trio;
    begin(&trio, 1, "--log_keep=1000");
    for (int i = 0; i < MANY; i++)
        assert_int_equal(device_send(&trio.ann, "lobby", "x"), STATUS_OK);
    start(&trio, 2, NULL);
    DEVICE_WAIT(&trio.ann, is_told(&trio, "server 2 has joined; 2 of 2 servers have everything"));
    say(&trio, "last");
    stop(&trio, 1);
    DEVICE_WAIT(&trio.ann, trio.stream.ended);
    assert_int_equal(go_to_master(&trio), 2);
    assert_int_equal(count_messages(&trio, "last"), MANY + 1);
    say(&trio, "and on");
    start(&trio, 1, NULL);
    DEVICE_WAIT(&trio.ann, is_told(&trio, "server 1 is back; 2 of 2 servers have everything"));
    stop(&trio, 2);
    assert_true(first_of_log(&trio, 2) > 1);
    end(&trio);
}

static void *start_second(void *argument)
{
    start(argument, 2, NULL);
    return NULL;
}

/* The log of the first is too short for who joins; server 2 has all of a snapshot, and checks it. It
 * is ready when the thread ends. */
static void begin_check(struct trio *trio, bool with_third, pthread_t *starting)
{
    atomic_store(&checks.begun, 0);
    (void)pthread_mutex_lock(&checks.held);
    begin(trio, 1, "--log_keep=1000");
    if (with_third)
        start(trio, 3, "--log_keep=1000");
    for (int i = 0; i < MANY; i++)
        assert_int_equal(device_send(&trio->ann, "lobby", "x"), STATUS_OK);
    assert_int_equal(pthread_create(starting, NULL, start_second, trio), 0);
    DEVICE_WAIT(&trio->ann, atomic_load(&checks.begun) == 1);
}

static void end_check(pthread_t starting)
{
    (void)pthread_mutex_unlock(&checks.held);
    assert_int_equal(pthread_join(starting, NULL), 0);
}

/* It goes on meanwhile, and asks, so that the copy and the log after it are kept for it. */
static void test_cluster__one_checks_a_snapshot(void **state)
{
    (void)state;
    struct trio trio;
    pthread_t starting;
    begin_check(&trio, false, &starting);
    unsigned asked = atomic_load(&checks.asked);
    DEVICE_WAIT(&trio.ann, atomic_load(&checks.asked) >= asked + 5);
    say(&trio, "last");
    end_check(starting);
    DEVICE_WAIT(&trio.ann, is_told(&trio, "server 2 has joined; 2 of 2 servers have everything"));
    assert_int_equal(atomic_load(&checks.begun), 1);
    stop(&trio, 1);
    DEVICE_WAIT(&trio.ann, trio.stream.ended);
    assert_int_equal(go_to_master(&trio), 2);
    assert_int_equal(count_messages(&trio, "last"), MANY + 1);
    end(&trio);
}

static void test_cluster__the_master_goes_while_one_checks(void **state)
{
    (void)state;
    struct trio trio;
    pthread_t starting;
    begin_check(&trio, true, &starting);
    stop(&trio, 1);
    DEVICE_WAIT(&trio.ann, trio.stream.ended);
    assert_int_equal(go_to_master(&trio), 3);
    end_check(starting);
    stop(&trio, 3);
    DEVICE_WAIT(&trio.ann, trio.stream.ended);
    assert_int_equal(go_to_master(&trio), 2);
    assert_int_equal(count_messages(&trio, "x"), MANY);
    end(&trio);
}

static void test_cluster__a_bad_snapshot_is_fetched_again(void **state)
{
    (void)state;
    struct trio trio;
    pthread_t starting;
    atomic_store(&checks.bad, 1);
    begin_check(&trio, false, &starting);
    uint64_t since_ms = clock_monotonic_ms();
    end_check(starting);
    assert_int_equal(atomic_load(&checks.begun), 2);
    assert_true(clock_monotonic_ms() - since_ms >= 4500); /* not at once, or that were all it did */
    end(&trio);
}

/* What one server took while it was alone is more than a client may send at once. */
static void test_cluster__much_is_handed_over(void **state)
{
    (void)state;
    struct trio trio;
    static char text[LONG + 1];
    memset(text, 'x', LONG);
    begin(&trio, 1, NULL);
    say(&trio, "before");
    start(&trio, 2, NULL);
    DEVICE_WAIT(&trio.ann, is_told(&trio, "server 2 has joined; 2 of 2 servers have everything"));
    stop(&trio, 2);
    for (int i = 0; i < ORPHANS; i++)
        assert_int_equal(device_send(&trio.ann, "lobby", text), STATUS_OK);
    stop(&trio, 1);
    DEVICE_WAIT(&trio.ann, trio.stream.ended);
    start(&trio, 2, NULL);
    assert_int_equal(go_to_master(&trio), 2); /* which has heard of none of them */
    trio.messages = 0;
    start(&trio, 1, NULL);
    DEVICE_WAIT(&trio.ann, trio.messages >= ORPHANS);
    assert_int_equal(count_messages(&trio, text), 1 + ORPHANS);
    end(&trio);
}

/* ---- how much of the log is kept ---- */

static void check_prune(uint64_t before, struct cluster_log_needs kept)
{
    assert_int_equal(cluster_prune_before(&kept), before);
}

static void test_prune__for_those_who_are_there(void **state)
{
    (void)state;
    check_prune(0, (struct cluster_log_needs){500, 1000, 500, UINT64_MAX});
    check_prune(4000, (struct cluster_log_needs){5000, 1000, 5000, UINT64_MAX});
    check_prune(4000, (struct cluster_log_needs){5000, 1000, 4900, UINT64_MAX});
}

static void test_prune__for_those_who_are_away(void **state)
{
    (void)state;
    check_prune(7, (struct cluster_log_needs){5000, 1000, 7, UINT64_MAX});
    check_prune(7, (struct cluster_log_needs){10007, 1000, 7, UINT64_MAX});
    check_prune(8, (struct cluster_log_needs){10008, 1000, 7, UINT64_MAX});
    check_prune(40000, (struct cluster_log_needs){50000, 1000, 0, UINT64_MAX});
}

/* A million went into the copy: so many more may follow until it is made anew. */
static void test_prune__for_who_gets_a_copy(void **state)
{
    (void)state;
    const uint64_t copy = 1000000;
    check_prune(copy, (struct cluster_log_needs){copy + 5000, 1000, copy + 5000, copy});
    check_prune(copy, (struct cluster_log_needs){copy + 90000, 1000, copy + 90000, copy});
    check_prune(copy, (struct cluster_log_needs){copy + copy, 1000, copy + copy, copy});
    check_prune(copy + 1, (struct cluster_log_needs){copy + copy + 1, 1000, copy + copy + 1, copy});
    check_prune(copy - 8, (struct cluster_log_needs){copy + 90000, 1000, copy - 8, copy});
    /* A small one: as for those who are away. */
    check_prune(20, (struct cluster_log_needs){9000, 1000, 9000, 20});
    check_prune(40000, (struct cluster_log_needs){50000, 1000, 50000, 20});
}

/* ---- steps ---- */

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

static void test_loop__is_not_entered_again(void **state)
{
    (void)state;
    bool has_aborted;
    assert_non_null(strstr(said_by_child(step_while_looping, &has_aborted), "is_looping"));
    assert_true(has_aborted);
    assert_non_null(strstr(said_by_child(leave_while_looping, &has_aborted), "is_looping"));
    assert_true(has_aborted);
}

/* A status may be asked for in the turn in which a server resigns. */
static void test_reaches__nobody_after_resigning(void **state)
{
    (void)state;
    struct cluster_settings settings = {.id = 1};
    static struct cluster cluster = {.has_resigned = true};
    cluster.options.settings = &settings;
    assert_true(cluster_reaches(&cluster, 1));
    assert_false(cluster_reaches(&cluster, 2));
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

static void test_step__tells_which_event_was_refused(void **state)
{
    (void)state;
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

int main(void)
{
    log_configure(LOG_SILENT, LOG_TEXT);
    rpc_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_loop__is_not_entered_again), /* forks: before there are threads */
        cmocka_unit_test(test_step__tells_which_event_was_refused),
        cmocka_unit_test(test_reaches__nobody_after_resigning),
        cmocka_unit_test(test_prune__for_those_who_are_there),
        cmocka_unit_test(test_prune__for_those_who_are_away),
        cmocka_unit_test(test_prune__for_who_gets_a_copy),
        cmocka_unit_test(test_cluster__people_are_told),
        cmocka_unit_test(test_cluster__the_master_goes_and_comes_back),
        cmocka_unit_test(test_cluster__one_joins_by_snapshot),
        cmocka_unit_test(test_cluster__one_checks_a_snapshot),
        cmocka_unit_test(test_cluster__the_master_goes_while_one_checks),
        cmocka_unit_test(test_cluster__a_bad_snapshot_is_fetched_again),
        cmocka_unit_test(test_cluster__much_is_handed_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
