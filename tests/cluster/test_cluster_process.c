/* SPDX-License-Identifier: MIT */
/* What a server and a client are started with, and what the system does to them: descriptors that
 * nobody reads or that are closed, signals, limits. */
#include "harness/cluster_fixture.h"
#include "harness/raw_chat.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define LONG_LINES 1200 /* of 2 KB in the log: more than its buffer and a pipe hold together */
#define LONG_NAME_BYTES 1900

/* The server runs when its body ends, and is stopped then. */
#define STOPPED_TEST(name) CLUSTER_TEST_ON(name, NULL, cluster_fixture_stop)

/* Two ends of a pipe: the server's standard error or output. Used between fork and exec. */
static int pipe_ends[2] = {-1, -1};
static int reader = -1; /* of the pipe that the server writes to */

static void close_reader(void *unused)
{
    (void)unused;
    (void)close(reader);
}

static void write_errors_to_pipe(void *unused)
{
    (void)unused;
    (void)dup2(pipe_ends[1], STDERR_FILENO);
}

static void write_output_to_pipe(void *unused)
{
    (void)unused;
    (void)dup2(pipe_ends[1], STDOUT_FILENO);
}

static void launch_with_pipe(struct cluster_fixture *fixture, void (*prepare)(void *unused))
{
    fixture->node.prepare = prepare;
    node_launch(&fixture->node);
    (void)close(pipe_ends[1]);
    reader = pipe_ends[0];
    process_group_defer(fixture->group, close_reader, NULL);
}

static void make_pipe(void)
{
    assert_int_equal(pipe2(pipe_ends, O_CLOEXEC | O_NONBLOCK), 0);
    /* Only the reading end: the server's is as usual. */
    assert_int_equal(fcntl(pipe_ends[1], F_SETFL, 0), 0);
}

static void fill_pipe(void)
{
    static const char zeros[4096];
    assert_int_equal(fcntl(pipe_ends[1], F_SETFL, O_NONBLOCK), 0);
    while (write(pipe_ends[1], zeros, sizeof zeros) > 0)
        continue;
    assert_int_equal(errno, EAGAIN);
    assert_int_equal(fcntl(pipe_ends[1], F_SETFL, 0), 0);
}

/* Tells whether a line of `said` with `text` is complete. */
static bool has_line_with(const char *said, const char *text)
{
    const char *line = strstr(said, text);
    return line != NULL && strchr(line, '\n') != NULL;
}

/* Everything that comes until a complete line with `text` does, or until the end. malloc. */
static char *read_pipe_until(const char *text)
{
    size_t used = 0;
    size_t room = 8u << 20;
    char *said = malloc(room);
    uint64_t until_ms = process_group_now_ms() + PROCESS_GROUP_PATIENCE_MS;
    said[0] = '\0';
    while (!has_line_with(said, text) && process_group_now_ms() < until_ms && used + 1 < room) {
        struct pollfd entry = {.fd = reader, .events = POLLIN};
        (void)poll(&entry, 1, 100);
        ssize_t got = read(reader, said + used, room - used - 1);
        if (got == 0)
            break;
        for (ssize_t i = 0; i < got; i++)
            if (said[used + (size_t)i] == '\0')
                said[used + (size_t)i] = ' '; /* what filled it */
        used += got > 0 ? (size_t)got : 0;
        said[used] = '\0';
    }
    return said;
}

/* Asks the server something that makes a long line in its log. */
static bool ask_long(struct sp_peer *peer)
{
    char name[LONG_NAME_BYTES + 1];
    memset(name, 'n', LONG_NAME_BYTES);
    name[LONG_NAME_BYTES] = '\0';
    Jackdaw__InfoRequest request = JACKDAW__INFO_REQUEST__INIT;
    request.client = name;
    struct raw_reply reply;
    const struct raw_call call = {.method = "Info", .message = &request.base};
    if (!raw_chat(peer, &call, &reply))
        return false;
    free(reply.payload);
    return reply.status == STATUS_OK;
}

static size_t count_lines_with(const char *log, const char *text)
{
    size_t count = 0;
    for (const char *at = log; (at = strstr(at, text)) != NULL; at += strlen(text))
        count++;
    return count;
}

STOPPED_TEST(test_log__a_full_pipe_does_not_stop_the_server)
{
    make_pipe();
    fixture->node.options[0] = "--log_level=debug";
    launch_with_pipe(fixture, write_errors_to_pipe);
    node_wait_ready(&fixture->node);
    struct sp_peer peer = node_open_peer(&fixture->node);
    /* The last line that the server writes unasked: the count of dropped lines has none of it. */
    char *start = read_pipe_until("database_checked");
    assert_true(has_line_with(start, "database_checked"));
    free(start);
    for (size_t i = 0; i < LONG_LINES; i++)
        assert_true(ask_long(&peer));
    /* Now somebody reads. What was dropped is told once, with the count. */
    char *said = read_pipe_until("lines_dropped");
    size_t kept = count_lines_with(said, "server client ");
    const char *report = strstr(said, "log lines_dropped count=");
    unsigned long dropped = 0;
    assert_non_null(report);
    assert_int_equal(sscanf(report, "log lines_dropped count=%lu", &dropped), 1);
    assert_in_range(kept, 400, LONG_LINES - 1);
    assert_int_equal(kept + dropped, LONG_LINES);
    free(said);
    /* Later lines come again, and nothing more is dropped. */
    assert_true(ask_long(&peer));
    said = read_pipe_until("server client ");
    assert_non_null(strstr(said, "server client "));
    assert_null(strstr(said, "lines_dropped"));
    free(said);
    sp_close(&peer);
}

/* The end waits for a reader, but not for ever. */
STOPPED_TEST(test_log__a_full_pipe_does_not_hold_up_the_stop)
{
    make_pipe();
    fill_pipe();
    launch_with_pipe(fixture, write_errors_to_pipe);
    node_wait_ready(&fixture->node);
}

STOPPED_TEST(test_ready_line__waits_for_its_reader_without_stopping_the_server)
{
    make_pipe();
    fill_pipe();
    launch_with_pipe(fixture, write_output_to_pipe);
    PROCESS_GROUP_WAIT(fixture->group,
                       process_logged(fixture->node.process, "server ready clients="));
    char *log = process_log(fixture->node.process);
    struct address address;
    struct sp_peer peer;
    unsigned port = 0;
    assert_int_equal(sscanf(strstr(log, "clients="), "clients=127.0.0.2:%5u", &port), 1);
    free(log);
    assert_int_equal(address_parse("127.0.0.2:1", &address, NULL), OK);
    address.port = (uint16_t)port;
    assert_true(sp_open(&peer, &address));
    assert_true(ask_long(&peer)); /* it serves */
    sp_close(&peer);
    char *said = read_pipe_until("ready: master");
    assert_non_null(strstr(said, "jackdaw server 1 ready: master"));
    free(said);
}

static int terminal_ends[2] = {-1, -1}; /* the test's, the server's */

static void leave_terminal(void *unused)
{
    (void)unused;
    (void)setsid();
}

static void take_terminal(void *unused)
{
    (void)unused;
    (void)setsid();
    (void)ioctl(terminal_ends[1], TIOCSCTTY, 0);
}

static void take_terminal_under_nohup(void *unused)
{
    take_terminal(unused);
    (void)signal(SIGHUP, SIG_IGN);
}

static void start_on_terminal(struct cluster_fixture *fixture, void (*prepare)(void *unused))
{
    terminal_ends[0] = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_true(terminal_ends[0] >= 0);
    assert_int_equal(grantpt(terminal_ends[0]), 0);
    assert_int_equal(unlockpt(terminal_ends[0]), 0);
    terminal_ends[1] = open(ptsname(terminal_ends[0]), O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_true(terminal_ends[1] >= 0);
    fixture->node.prepare = prepare;
    node_start(&fixture->node);
    (void)close(terminal_ends[1]);
}

static bool serves(const struct node *node)
{
    struct address address = node_address(node);
    struct sp_peer peer;
    bool is_open = sp_open(&peer, &address);
    bool is_answered = is_open && ask_long(&peer);
    if (is_open)
        sp_close(&peer);
    return is_answered;
}

static void assert_stops_cleanly(struct cluster_fixture *fixture)
{
    assert_int_equal(process_wait(fixture->node.process, NODE_STOP_MS), 0);
    assert_true(process_logged(fixture->node.process, "server stopped"));
}

CLUSTER_TEST(test_hangup__of_a_terminal_stops_the_server)
{
    start_on_terminal(fixture, take_terminal);
    (void)close(terminal_ends[0]); /* as a window that is closed */
    assert_stops_cleanly(fixture);
}

CLUSTER_TEST(test_hangup__signal_with_a_terminal_stops_the_server)
{
    start_on_terminal(fixture, take_terminal);
    process_signal(fixture->node.process, SIGHUP);
    assert_stops_cleanly(fixture);
    (void)close(terminal_ends[0]);
}

static bool file_has(const char *path, const char *text)
{
    char *bytes = calloc(1, 1u << 20);
    FILE *file = fopen(path, "re");
    if (file != NULL)
        (void)!fread(bytes, 1, (1u << 20) - 1, file);
    bool has = strstr(bytes, text) != NULL;
    if (file != NULL)
        (void)fclose(file);
    free(bytes);
    return has;
}

/* Tells the node to log into server.log, and returns the path of that. */
static const char *use_log_file(struct node *node)
{
    static char option[PROCESS_GROUP_PATH_SIZE + 16];
    const char *path = process_group_path(node->group, "server.log");
    (void)snprintf(option, sizeof option, "--log_file=%s", path);
    node->options[0] = option;
    return path;
}

static const char *start_with_log_file(struct cluster_fixture *fixture)
{
    fixture->node.prepare = leave_terminal;
    const char *path = use_log_file(&fixture->node);
    node_start(&fixture->node);
    return path;
}

CLUSTER_TEST(test_hangup__without_a_terminal_opens_the_log_file_anew)
{
    const char *path = start_with_log_file(fixture);
    const char *moved = process_group_path(fixture->group, "server.log.1");
    PROCESS_GROUP_WAIT(fixture->group, file_has(path, "server ready"));
    assert_int_equal(rename(path, moved), 0);
    process_signal(fixture->node.process, SIGHUP);
    PROCESS_GROUP_WAIT(fixture->group, file_has(path, "log reopened"));
    assert_true(serves(&fixture->node));
    assert_int_equal(node_stop(&fixture->node), 0);
    assert_true(file_has(path, "server stopped"));
    assert_false(file_has(moved, "server stopped"));
    char *log = process_log(fixture->node.process);
    assert_string_equal(log, ""); /* standard error */
    free(log);
}

/* What cannot be opened does not end the server, nor its log. */
CLUSTER_TEST(test_hangup__log_file_that_cannot_be_opened)
{
    const char *path = start_with_log_file(fixture);
    const char *moved = process_group_path(fixture->group, "server.log.1");
    assert_int_equal(rename(path, moved), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    process_signal(fixture->node.process, SIGHUP);
    PROCESS_GROUP_WAIT(fixture->group, file_has(moved, "log cannot_reopen"));
    assert_true(serves(&fixture->node));
    assert_int_equal(node_stop(&fixture->node), 0);
    assert_true(file_has(moved, "server stopped"));
}

/* The hangup of the terminal must not stop it. */
STOPPED_TEST(test_hangup__under_nohup)
{
    const char *path = use_log_file(&fixture->node);
    start_on_terminal(fixture, take_terminal_under_nohup);
    (void)close(terminal_ends[0]);
    PROCESS_GROUP_WAIT(fixture->group, file_has(path, "log reopened"));
    assert_true(serves(&fixture->node));
}

CLUSTER_TEST(test_log_file__has_the_reason_of_the_end)
{
    node_start(&fixture->node);
    struct node second = fixture->node;
    const char *path = use_log_file(&second);
    second.clients[0] = '\0';
    second.internal[0] = '\0';
    node_launch(&second);
    assert_int_equal(process_wait(second.process, PROCESS_GROUP_PATIENCE_MS), 1);
    assert_true(process_logged(second.process, "jackdaw-server: "));
    assert_true(file_has(path, "process ends reason=\"jackdaw-server: "));
}

static void close_standard(void *unused)
{
    (void)unused;
    (void)close(STDIN_FILENO);
    (void)close(STDOUT_FILENO);
    (void)close(STDERR_FILENO);
}

static void close_input(void *unused)
{
    (void)unused;
    (void)close(STDIN_FILENO);
}

CLUSTER_TEST(test_descriptors__closed_at_the_start_of_a_server)
{
    node_start(&fixture->node); /* the kernel picks its ports */
    assert_int_equal(node_stop(&fixture->node), 0);
    fixture->node.prepare = close_standard;
    node_launch(&fixture->node);
    PROCESS_GROUP_WAIT(fixture->group, serves(&fixture->node));
    for (int number = 0; number <= 2; number++) {
        char name[64];
        char target[PROCESS_GROUP_PATH_SIZE];
        (void)snprintf(name, sizeof name, "/proc/%d/fd/%d", (int)process_id(fixture->node.process),
                       number);
        ssize_t size = readlink(name, target, sizeof target - 1);
        assert_true(size > 0);
        target[size] = '\0';
        assert_string_equal(target, "/dev/null");
    }
    assert_int_equal(node_stop(&fixture->node), 0);
    const char *lock = process_group_path(fixture->group, "data/1/lock");
    assert_true(file_has(lock, "\n"));
    assert_false(file_has(lock, "role")); /* no log in it */
}

static struct process *start_client(struct cluster_fixture *fixture, void (*prepare)(void *unused))
{
    const char *const words[] = {"--json", "-a", fixture->node.clients, NULL};
    const struct process_options options = {
        .name = "client", .program = TEST_CLIENT, .arguments = words, .prepare = prepare};
    return process_start(fixture->group, &options);
}

STOPPED_TEST(test_descriptors__closed_input_of_a_client_is_its_end)
{
    node_start(&fixture->node);
    struct process *client = start_client(fixture, close_input);
    assert_int_equal(process_wait(client, PROCESS_GROUP_PATIENCE_MS), 0);
    assert_non_null(process_wait_line(client, 0, "{\"type\":\"stats\"", PROCESS_GROUP_PATIENCE_MS));
}

#define TALK_LINES 2000 /* more objects than a pipe holds */

/* Its output is the pipe; the test keeps both ends, to see when the pipe is full. */
static struct process *talk_into_pipe(struct cluster_fixture *fixture)
{
    node_start(&fixture->node);
    make_pipe();
    reader = pipe_ends[0];
    process_group_defer(fixture->group, close_reader, NULL);
    struct process *client = start_client(fixture, write_output_to_pipe);
    static const char hello[] = "/register ann secret\n/join lobby\n";
    process_write(client, hello, sizeof hello - 1);
    for (size_t i = 0; i < TALK_LINES; i++)
        process_write(client, "hello\n", 6);
    return client;
}

static bool pipe_is_full(void)
{
    struct pollfd entry = {.fd = pipe_ends[1], .events = POLLOUT};
    return poll(&entry, 1, 0) == 0;
}

STOPPED_TEST(test_order_to_end__waits_for_a_slow_reader)
{
    struct process *client = talk_into_pipe(fixture);
    PROCESS_GROUP_WAIT(fixture->group, pipe_is_full());
    process_signal(client, SIGTERM);
    (void)close(pipe_ends[1]);
    char *said = read_pipe_until("{\"type\":\"stats\"");
    assert_null(strstr(said, "{\"type\":\"failed\""));
    assert_non_null(strstr(said, "{\"type\":\"stats\""));
    free(said);
    assert_int_equal(process_wait(client, PROCESS_GROUP_PATIENCE_MS), 0);
}

/* Two signals, for of one that comes twice before it is delivered the kernel keeps one. */
STOPPED_TEST(test_order_to_end__the_second_needs_no_reader)
{
    struct process *client = talk_into_pipe(fixture);
    PROCESS_GROUP_WAIT(fixture->group, pipe_is_full());
    process_signal(client, SIGTERM);
    process_signal(client, SIGINT);
    assert_int_equal(process_wait(client, PROCESS_GROUP_PATIENCE_MS), 1);
    (void)close(pipe_ends[1]);
}

CLUSTER_TEST(test_order_to_end__the_second_needs_no_server)
{
    node_start(&fixture->node);
    const struct json_client_options options = {.label = "ann",
                                                .account = "ann",
                                                .addresses = {fixture->node.clients},
                                                .arguments = {"--timeout=3600"}};
    struct json_client *ann = json_client_start(fixture->group, &options);
    (void)json_client_command(ann, "/register ann secret");
    (void)json_client_command(ann, "/join lobby");
    process_kill(fixture->node.process);
    json_client_type(ann, "is anybody there?");
    (void)json_client_expect(ann, 0, "{s:s, s:b}", "type", "status", "connected", 0);
    process_signal(json_client_process(ann), SIGTERM);
    process_signal(json_client_process(ann), SIGHUP);
    assert_int_equal(process_wait(json_client_process(ann), PROCESS_GROUP_PATIENCE_MS), 1);
}

#define FEW_DESCRIPTORS 64
#define PEERS 100

static struct rlimit descriptor_limit;

static void limit_descriptors(void *unused)
{
    (void)unused;
    (void)setrlimit(RLIMIT_NOFILE, &descriptor_limit);
}

static rlim_t soft_limit(const struct node *node)
{
    struct rlimit limit;
    assert_int_equal(prlimit(process_id(node->process), RLIMIT_NOFILE, NULL, &limit), 0);
    return limit.rlim_cur;
}

static void close_many(struct sp_peer *peers, size_t count)
{
    for (size_t i = 0; i < count; i++)
        sp_close(&peers[i]);
}

STOPPED_TEST(test_limits__descriptors_used_up)
{
    struct sp_peer peers[PEERS];
    descriptor_limit = (struct rlimit){FEW_DESCRIPTORS, FEW_DESCRIPTORS};
    fixture->node.prepare = limit_descriptors;
    fixture->node.options[0] = "--max_clients=1000";
    node_start(&fixture->node);
    struct process *server = fixture->node.process;
    PROCESS_GROUP_WAIT(fixture->group,
                       process_logged(server, "server few_descriptors limit=64 needed="));
    struct address address = node_address(&fixture->node);
    for (size_t i = 0; i < PEERS; i++) /* no handshake: the kernel takes what the server does not */
        assert_true(sp_connect(&peers[i], &address, 0));
    PROCESS_GROUP_WAIT(fixture->group,
                       process_logged(server, "server descriptors_used_up clients="));
    close_many(peers, PEERS);
    PROCESS_GROUP_WAIT(fixture->group, serves(&fixture->node)); /* and it has recovered */
}

CLUSTER_TEST(test_limits__soft_limit_is_raised)
{
    struct rlimit own;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &own), 0);
    if (own.rlim_max < 2000)
        skip();
    descriptor_limit = (struct rlimit){FEW_DESCRIPTORS, own.rlim_max};
    fixture->node.prepare = limit_descriptors;
    fixture->node.options[0] = "--max_clients=1000";
    node_start(&fixture->node);
    assert_in_range(soft_limit(&fixture->node), 1000 + FEW_DESCRIPTORS, own.rlim_max);
    assert_int_equal(node_stop(&fixture->node), 0);
    assert_false(process_logged(fixture->node.process, "few_descriptors"));
}

STOPPED_TEST(test_limits__clients)
{
    struct sp_peer peers[PEERS];
    char expected[512];
    fixture->node.options[0] = "--max_clients=5";
    node_start(&fixture->node);
    struct address address = node_address(&fixture->node);
    for (size_t i = 0; i < PEERS; i++)
        assert_true(sp_open(&peers[i], &address) || i >= 5);
    (void)snprintf(expected, sizeof expected,
                   "rpc connections_full address=%s peer=127.0.0.1:", fixture->node.clients);
    PROCESS_GROUP_WAIT(fixture->group, process_logged(fixture->node.process, expected));
    char *log = process_log(fixture->node.process);
    assert_int_equal(count_lines_with(log, "connections_full"), 1); /* not 95 */
    free(log);
    close_many(peers, PEERS);
}

/* Starts a slave that looks for its master at address, and waits for the line that tells what is there. */
static void assert_found(struct cluster_fixture *fixture, const char *address, const char *found)
{
    char option[ADDRESS_TEXT_SIZE + 32];
    char expected[ADDRESS_TEXT_SIZE + 128];
    char folder[64];
    (void)snprintf(option, sizeof option, "--master_address=%s", address);
    (void)snprintf(expected, sizeof expected, "cluster no_server_there address=%s found=\"%s",
                   address, found);
    (void)snprintf(folder, sizeof folder, "seeking-%s", found);
    struct node node = {.group = fixture->group,
                        .id = 2,
                        .role = "slave",
                        .data_dir = process_group_path(fixture->group, folder),
                        .options = {option}};
    node_launch(&node);
    PROCESS_GROUP_WAIT(fixture->group, process_logged(node.process, expected));
    char *log = process_log(node.process);
    assert_int_equal(count_lines_with(log, "no_server_there"), 1);
    free(log);
    process_kill(node.process);
}

STOPPED_TEST(test_master_address__client_address_of_a_server)
{
    node_start(&fixture->node);
    assert_found(fixture, fixture->node.clients, "the client address of a server");
}

static int listen_somewhere(char address[static ADDRESS_TEXT_SIZE])
{
    struct sockaddr_in own = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof own;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(listener >= 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&own, sizeof own), 0);
    assert_int_equal(listen(listener, 16), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&own, &size), 0);
    (void)snprintf(address, ADDRESS_TEXT_SIZE, "127.0.0.1:%u", (unsigned)ntohs(own.sin_port));
    return listener;
}

/* Greets everybody, until the listener is shut down. */
static void *greet(void *argument)
{
    static const char greeting[] = "SSH-2.0-OpenSSH_9.2\r\n";
    int peer;
    while ((peer = accept(*(int *)argument, NULL, NULL)) >= 0) {
        (void)send(peer, greeting, sizeof greeting - 1, MSG_NOSIGNAL);
        (void)close(peer);
    }
    return NULL;
}

CLUSTER_TEST(test_master_address__another_program)
{
    char address[ADDRESS_TEXT_SIZE];
    pthread_t thread;
    int listener = listen_somewhere(address);
    assert_int_equal(pthread_create(&thread, NULL, greet, &listener), 0);
    assert_found(fixture, address, "another program");
    (void)shutdown(listener, SHUT_RDWR);
    assert_int_equal(pthread_join(thread, NULL), 0);
    (void)close(listener);
}

/* By another name than the one that it listens at. */
CLUSTER_TEST(test_master_address__the_server_itself)
{
    node_start(&fixture->node); /* the kernel picks its ports */
    process_kill(fixture->node.process);
    struct address internal;
    char option[ADDRESS_TEXT_SIZE];
    assert_int_equal(address_parse(fixture->node.internal, &internal, NULL), OK);
    (void)snprintf(option, sizeof option, "--master_address=127.0.0.2:%u", (unsigned)internal.port);
    (void)snprintf(fixture->node.internal, sizeof fixture->node.internal, "0.0.0.0:%u",
                   (unsigned)internal.port);
    fixture->node.role = "slave";
    fixture->node.id = 2;
    fixture->node.options[0] = option;
    fixture->node.options[1] = "--advertise_host=127.0.0.1";
    node_launch(&fixture->node);
    PROCESS_GROUP_WAIT(fixture->group,
                       process_logged(fixture->node.process, "found=\"this server itself\""));
    process_kill(fixture->node.process);
}
