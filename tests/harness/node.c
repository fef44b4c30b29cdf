/* SPDX-License-Identifier: MIT */
#include "harness/node.h"

#include "support/test.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Clients connect from ports of 127.0.0.1: none of theirs is in the way of a server that starts again. */
#define ANY_PORT "127.0.0.2:0"

struct words {
    const char *list[3 * NODE_OPTIONS_MAX];
    size_t count;
    char id[16];
    char injection[128];
    char data_dir[PROCESS_GROUP_PATH_SIZE + 16];
};

static void add(struct words *words, const char *word)
{
    words->list[words->count++] = word;
}

/* What all tests want: cheap passwords, no limit on a client that sends as fast as it can. */
static void add_usual(struct words *words, const struct node *node)
{
    (void)snprintf(words->id, sizeof words->id, "%u", node->id);
    (void)snprintf(words->data_dir, sizeof words->data_dir, "--data_dir=%s",
                   node->data_dir != NULL ? node->data_dir
                                          : process_group_path(node->group, "data"));
    add(words, words->id);
    add(words, node->role != NULL ? node->role : "master");
    add(words, node->clients[0] != '\0' ? node->clients : ANY_PORT);
    add(words, node->internal[0] != '\0' ? node->internal : ANY_PORT);
    add(words, words->data_dir);
    add(words, "--password_cost=minimal");
    add(words, "--rate_limit=0");
    add(words, "--founding_wait=0");
    add(words, "--log_level=info");
}

/* The tracer is the server's child, not its parent: signals and exit status are the server's. */
static void add_tracer(struct words *words, const char *injection)
{
    (void)snprintf(words->injection, sizeof words->injection, "inject=%s", injection);
    add(words, "strace");
    add(words, "-D");
    add(words, "-f");
    add(words, "--seccomp-bpf");
    add(words, "-qq");
    add(words, "-e");
    add(words, words->injection);
    add(words, "-o");
    add(words, "/dev/null");
}

/* The leak checker of the sanitizers cannot run in a process that is traced. */
static void forget_leaks(void *context)
{
    (void)context;
    (void)setenv("ASAN_OPTIONS", "detect_leaks=0", 1);
}

bool node_can_inject(struct process_group *group)
{
    struct words words = {.count = 0};
    add_tracer(&words, "fdatasync:error=EIO:when=1");
    add(&words, "true");
    const struct process_options options = {
        .name = "strace", .program = words.list[0], .arguments = words.list + 1};
    return process_wait(process_start(group, &options), PROCESS_GROUP_PATIENCE_MS) == 0;
}

void node_inject(struct node *node, const char *injection)
{
    node->injection = injection;
}

void node_launch(struct node *node)
{
    struct words words = {.count = 0};
    if (node->injection != NULL)
        add_tracer(&words, node->injection);
    add(&words, node->program != NULL ? node->program : TEST_SERVER);
    add_usual(&words, node);
    for (size_t i = 0; node->options[i] != NULL; i++)
        add(&words, node->options[i]);
    char name[32];
    (void)snprintf(name, sizeof name, "server%u", node->id);
    const struct process_options options = {
        .name = name,
        .program = words.list[0],
        .arguments = words.list + 1,
        .prepare = node->injection != NULL ? forget_leaks : node->prepare,
        .context = node->context,
    };
    node->process = process_start(node->group, &options);
    node->starts++;
}

/* Copies what follows word in line, up to a comma. */
static void read_field(const char *line, const char *word, char out[static ADDRESS_TEXT_SIZE])
{
    const char *at = strstr(line, word);
    if (at == NULL)
        fail_msg("not a readiness line: %s", line);
    at += strlen(word);
    size_t size = strcspn(at, ", ");
    if (size == 0 || size >= ADDRESS_TEXT_SIZE)
        fail_msg("not a readiness line: %s", line);
    memcpy(out, at, size);
    out[size] = '\0';
}

bool node_is_ready(struct node *node)
{
    char prefix[64];
    (void)snprintf(prefix, sizeof prefix, "jackdaw server %u ready: ", node->id);
    for (size_t i = 0; i < process_lines(node->process); i++) {
        const char *line = process_line(node->process, i);
        if (strncmp(line, prefix, strlen(prefix)) != 0)
            continue;
        read_field(line, "clients ", node->clients);
        read_field(line, "internal ", node->internal);
        return true;
    }
    return false;
}

void node_wait_ready(struct node *node)
{
    PROCESS_GROUP_WAIT(node->group, node_is_ready(node) || process_ended(node->process));
    if (node_is_ready(node))
        return;
    char *log = process_log(node->process);
    process_group_note(node->group, "server %u did not start: %s", node->id, log);
    free(log);
    process_group_fail(node->group, "server %u ended before it was ready", node->id);
}

void node_start(struct node *node)
{
    node_launch(node);
    node_wait_ready(node);
}

struct address node_address(const struct node *node)
{
    struct address address;
    if (address_parse(node->clients, &address, NULL) != OK)
        fail_msg("not an address: %s", node->clients);
    return address;
}

struct sp_peer node_open_peer(const struct node *node)
{
    struct sp_peer peer;
    struct address address = node_address(node);
    if (!sp_open(&peer, &address))
        process_group_fail(node->group, "server %u does not take a connection", node->id);
    return peer;
}

void node_kill(struct node *node)
{
    process_kill(node->process);
}

int node_stop(struct node *node)
{
    process_signal(node->process, SIGTERM);
    return process_wait(node->process, PROCESS_GROUP_PATIENCE_MS);
}
