/* SPDX-License-Identifier: MIT */
/* Starting and stopping: what stands in the way of a start, and what a stop leaves behind. */
#include "harness/cluster_fixture.h"
#include "harness/raw_chat.h"
#include "store/store.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Runs a program with words, in the environment "NAME=VALUE" if given, until it ends. */
struct run {
    struct process *process;
    int status;
    char *log; /* stderr */
};

static void set_variable(void *context)
{
    if (context != NULL)
        (void)putenv(context);
}

static struct run run_with(struct cluster_fixture *fixture, const char *program,
                           const char *variable, const char *const *words)
{
    const struct process_options options = {.name = "program",
                                            .program = program,
                                            .arguments = words,
                                            .prepare = set_variable,
                                            .context = (char *)variable};
    struct run run = {.process = process_start(fixture->group, &options)};
    process_end_input(run.process);
    run.status = process_wait(run.process, PROCESS_GROUP_PATIENCE_MS);
    run.log = process_log(run.process);
    return run;
}

/* Status 1 of the server and 2 of the client, nothing on stdout, and one sentence on stderr that names
 * what is wrong. */
static void assert_refused(struct cluster_fixture *fixture, const char *program,
                           const char *variable, const char *const *words, const char *naming)
{
    struct run run = run_with(fixture, program, variable, words);
    bool prefixed = strncmp(run.log, "jackdaw", 7) == 0;
    int expected = strcmp(program, TEST_CLIENT) == 0 ? 2 : 1;
    if (run.status != expected || process_lines(run.process) > 0 ||
        strstr(run.log, naming) == NULL || !prefixed || strlen(run.log) < 20 ||
        strstr(run.log, "assert") != NULL)
        process_group_fail(fixture->group, "status %d, %zu lines on stdout, no '%s' in: %s",
                           run.status, process_lines(run.process), naming, run.log);
    free(run.log);
}

struct mistake {
    const char *words[8];
    const char *naming; /* what the sentence has to name */
};

#define ADDRESSES "127.0.0.1:0", "127.0.0.1:0"

CLUSTER_TEST(test_server__mistakes_on_the_command_line)
{
    static const struct mistake mistakes[] = {
        {{"--nonsense"}, "nonsense"},
        {{"-z"}, "-z"},
        {{"0"}, "0"},
        {{"65536"}, "65536"},
        {{"-1"}, "-1"},
        {{"one"}, "one"},
        {{"1x"}, "1x"},
        {{""}, "id"},
        {{"1", "boss"}, "boss"},
        {{"1", "master", "nonsense"}, "nonsense"},
        {{"1", "master", "127.0.0.1:99999"}, "99999"},
        {{"1", "master", "127.0.0.1:"}, "127.0.0.1:"},
        {{"1", "master", "127.0.0.1:-5"}, "-5"},
        {{"1", "master", "[::1:5"}, "[::1:5"},
        {{"1", "master", "127.0.0.1:0", "elsewhere"}, "elsewhere"},
        {{"1", "master", ADDRESSES, "more"}, "more"},
        {{"1", "master", "127.0.0.1:2625", "127.0.0.1:2625"}, "differ"},
        {{"1", "master", "tls+tcp://127.0.0.1:0"}, "tls_cert"},
        {{"1", "master", ADDRESSES, "--tls_cert=a.pem", "--tls_key=b.pem"}, "tls"},
        {{"1", "master", ADDRESSES, "--max_sessions=0"}, "max_sessions"},
        {{"1", "master", ADDRESSES, "--max_sessions"}, "max_sessions"},
        {{"1", "master", ADDRESSES, "--rate-limit=fast"}, "rate"},
        {{"1", "master", ADDRESSES, "--log_level=loud"}, "loud"},
        {{"1", "master", ADDRESSES, "--log_keep=99999999999999999999"}, "log_keep"},
        {{"1", "master", "203.0.113.77:0"}, "203.0.113.77"},
    };
    for (size_t i = 0; i < sizeof mistakes / sizeof mistakes[0]; i++)
        assert_refused(fixture, TEST_SERVER, NULL, mistakes[i].words, mistakes[i].naming);
}

CLUSTER_TEST(test_server__mistake_in_the_environment)
{
    static const char *const words[] = {"1", "master", ADDRESSES, NULL};
    assert_refused(fixture, TEST_SERVER, "JACKDAW_MAX_SESSIONS=many", words,
                   "JACKDAW_MAX_SESSIONS");
}

CLUSTER_TEST(test_server__help_and_version)
{
    static const char *const help[] = {"--help", NULL};
    static const char *const version[] = {"--version", NULL};
    struct run run = run_with(fixture, TEST_SERVER, NULL, help);
    assert_int_equal(run.status, 0);
    assert_string_equal(run.log, "");
    assert_true(process_lines(run.process) > 20);
    free(run.log);
    run = run_with(fixture, TEST_SERVER, NULL, version);
    assert_int_equal(run.status, 0);
    assert_int_equal(process_lines(run.process), 1);
    free(run.log);
}

CLUSTER_TEST(test_client__mistakes_on_the_command_line)
{
    static const struct mistake mistakes[] = {
        {{"--nonsense"}, "nonsense"},
        {{"--json", "-a", "nonsense"}, "nonsense"},
        {{"--json", "-a", "127.0.0.1:99999"}, "99999"},
        {{"--json", "-a"}, "-a"},
        {{"--json", "-a", "127.0.0.1:9", "--password_file=/nowhere/at/all", "-u", "ann"},
         "/nowhere/at/all"},
    };
    for (size_t i = 0; i < sizeof mistakes / sizeof mistakes[0]; i++)
        assert_refused(fixture, TEST_CLIENT, NULL, mistakes[i].words, mistakes[i].naming);
}

/* A second node fails to start, and says why. */
static void assert_does_not_start(struct node *node, const char *naming)
{
    node_launch(node);
    int status = process_wait(node->process, PROCESS_GROUP_PATIENCE_MS);
    char *log = process_log(node->process);
    /* The sentence is the last line, behind the log. */
    const char *sentence = strstr(log, "jackdaw-server: ");
    if (status != 1 || process_lines(node->process) > 0 || sentence == NULL ||
        strstr(sentence, naming) == NULL)
        process_group_fail(node->group, "status %d, no '%s' in: %s", status, naming, log);
    free(log);
}

static void chat(struct cluster_fixture *fixture, const char *text)
{
    json_client_say(fixture->ann, "%s", text);
    struct json_client *const readers[] = {fixture->bob, fixture->ann};
    for (size_t i = 0; i < 2; i++)
        (void)json_client_expect(readers[i], 0, "{s:s, s:s, s:s}", "type", "message", "from", "ann",
                                 "text", text);
}

static void open_with_two(struct cluster_fixture *fixture)
{
    node_start(&fixture->node);
    fixture->ann = cluster_fixture_visit(fixture, "ann");
    fixture->bob = cluster_fixture_visit(fixture, "bob");
    chat(fixture, "before");
}

CLUSTER_TEST_ON(test_start__folder_in_use, open_with_two, NULL)
{
    struct node second = {.group = fixture->group, .id = 1};
    char holder[32];
    (void)snprintf(holder, sizeof holder, "in use by process %d",
                   (int)process_id(fixture->node.process));
    assert_does_not_start(&second, holder);
    chat(fixture, "after");
}

CLUSTER_TEST_ON(test_start__ports_in_use, open_with_two, NULL)
{
    struct node second = {
        .group = fixture->group, .id = 1, .data_dir = process_group_path(fixture->group, "data2")};
    (void)snprintf(second.clients, sizeof second.clients, "%s", fixture->node.clients);
    assert_does_not_start(&second, fixture->node.clients);
    second.clients[0] = '\0';
    (void)snprintf(second.internal, sizeof second.internal, "%s", fixture->node.internal);
    assert_does_not_start(&second, fixture->node.internal);
    second.internal[0] = '\0';
    node_start(&second); /* what failed before left nothing behind */
    assert_int_equal(node_stop(&second), 0);
    chat(fixture, "after");
}

CLUSTER_TEST(test_start__folder_of_another_server)
{
    node_start(&fixture->node);
    assert_int_equal(node_stop(&fixture->node), 0);
    char from[PROCESS_GROUP_PATH_SIZE];
    char to[PROCESS_GROUP_PATH_SIZE];
    (void)snprintf(from, sizeof from, "%s", process_group_path(fixture->group, "data/1"));
    (void)snprintf(to, sizeof to, "%s", process_group_path(fixture->group, "data/2"));
    assert_int_equal(rename(from, to), 0);
    struct node second = {.group = fixture->group, .id = 2};
    assert_does_not_start(&second, "belongs to server 1");
}

static void write_file(const char *path, const char *text)
{
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(file >= 0);
    for (int i = 0; i < 500; i++)
        assert_int_equal(write(file, text, strlen(text)), strlen(text));
    (void)close(file);
}

CLUSTER_TEST(test_start__folder_that_is_none)
{
    const char *file = process_group_path(fixture->group, "file");
    write_file(file, "not a folder");
    fixture->node.data_dir = file;
    assert_does_not_start(&fixture->node, file);
    fixture->node.data_dir = "/proc/nowhere";
    assert_does_not_start(&fixture->node, "/proc/nowhere");
}

CLUSTER_TEST(test_start__database_that_is_none)
{
    assert_int_equal(mkdir(process_group_path(fixture->group, "data"), 0700), 0);
    assert_int_equal(mkdir(process_group_path(fixture->group, "data/1"), 0700), 0);
    const char *file = process_group_path(fixture->group, "data/1/" STORE_FILE_NAME);
    write_file(file, "This is not the database that you are looking for. ");
    assert_does_not_start(&fixture->node, "data/1: corrupt data (file is not a database)");
}

/* Both clients hold a stream open: it must not hold up the stop. */
static void stop_and_go_on(struct cluster_fixture *fixture, int number, const char *text)
{
    size_t mark = json_client_count(fixture->bob);
    uint64_t before_ms = process_group_now_ms();
    process_signal(fixture->node.process, number);
    assert_int_equal(process_wait(fixture->node.process, PROCESS_GROUP_PATIENCE_MS), 0);
    uint64_t took_ms = process_group_now_ms() - before_ms;
    if (took_ms > NODE_STOP_MS)
        process_group_fail(fixture->group, "the server took %u ms to stop", (unsigned)took_ms);
    json_client_say(fixture->ann, "%s", text); /* while it is away */
    node_start(&fixture->node);
    (void)json_client_expect(fixture->bob, mark, "{s:s, s:s}", "type", "message", "text", text);
}

CLUSTER_TEST_ON(test_stop__clients_come_back_to_the_next_server, open_with_two,
                cluster_fixture_stop)
{
    stop_and_go_on(fixture, SIGTERM, "after SIGTERM");
    stop_and_go_on(fixture, SIGINT, "after SIGINT");
    chat(fixture, "and so on");
    assert_int_equal(json_client_leave(fixture->ann), 0);
    assert_int_equal(json_client_leave(fixture->bob), 0);
}

/* Neither do peers that never read, never write, or have not even said hello. */
CLUSTER_TEST_ON(test_stop__idle_peers_do_not_hold_it_up, open_with_two, NULL)
{
    struct address address = node_address(&fixture->node);
    struct sp_peer mute[8];
    struct sp_peer idle[8];
    for (size_t i = 0; i < 8; i++) {
        assert_true(sp_connect(&mute[i], &address, 0));
        assert_true(sp_open(&idle[i], &address));
    }
    stop_and_go_on(fixture, SIGTERM, "after SIGTERM");
    for (size_t i = 0; i < 8; i++) {
        assert_true(sp_wait_closed(&mute[i], NODE_STOP_MS));
        assert_true(sp_wait_closed(&idle[i], NODE_STOP_MS));
        sp_close(&mute[i]);
        sp_close(&idle[i]);
    }
}

/* Somebody who waits for events is told why there will be none, before the connection ends. */
CLUSTER_TEST(test_stop__open_polls_are_answered)
{
    node_start(&fixture->node);
    const uint8_t token[RAW_TOKEN_BYTES] = {3};
    struct sp_peer peer = node_open_peer(&fixture->node);
    assert_true(raw_login(&peer, "eve", token));
    const struct raw_call poll = {.method = "Receive", .token = token};
    assert_true(raw_ask(&peer, &poll));
    struct raw_reply reply;
    /* It is open once another call that came later was answered; and there is nothing to tell. */
    assert_true(raw_ask(&peer, &(struct raw_call){.method = "Info"}));
    assert_true(raw_answer(&peer, &reply));
    assert_int_equal(reply.status, STATUS_OK);
    free(reply.payload);
    process_signal(fixture->node.process, SIGTERM);
    assert_true(raw_answer(&peer, &reply));
    assert_int_equal(reply.status, STATUS_UNAVAILABLE);
    assert_non_null(strstr(reply.text, "shutting down"));
    free(reply.payload);
    sp_close(&peer);
    assert_int_equal(process_wait(fixture->node.process, NODE_STOP_MS), 0);
}

CLUSTER_TEST(test_stop__right_after_the_start)
{
    for (int i = 0; i < 5; i++) {
        node_start(&fixture->node);
        assert_int_equal(node_stop(&fixture->node), 0);
    }
}
