/* SPDX-License-Identifier: MIT */
/* Servers and clients that are given names with several addresses. The test has a network and an
 * /etc/hosts of its own: localhost is ::1 first there, and chat is three servers. */
#include "harness/cluster_fixture.h"

#include <fcntl.h>
#include <netdb.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#define SKIPPED 77
static const char hosts[] = "::1 localhost\n127.0.0.1 localhost\n"
                            "127.0.0.2 chat\n127.0.0.3 chat\n127.0.0.4 chat\n";

static struct process *start_server(struct cluster_fixture *fixture, const char *id,
                                    const char *role, const char *clients, const char *internal,
                                    const char *seeds)
{
    char data[PROCESS_GROUP_PATH_SIZE + 16];
    char name[32];
    (void)snprintf(data, sizeof data, "--data_dir=%s", process_group_path(fixture->group, "data"));
    (void)snprintf(name, sizeof name, "server%s", id);
    const char *arguments[] = {id, role, clients, internal, data, seeds, NULL};
    struct process *process = process_start(
        fixture->group,
        &(struct process_options){.name = name, .program = TEST_SERVER, .arguments = arguments});
    char ready[64];
    (void)snprintf(ready, sizeof ready, "jackdaw server %s ready: ", id);
    assert_non_null(process_wait_line(process, 0, ready, PROCESS_GROUP_PATIENCE_MS));
    return process;
}

static void talk(struct cluster_fixture *fixture, const char *address)
{
    fixture->ann = json_client_visit(fixture->group, address, "ann", "lobby");
    size_t from = json_client_count(fixture->ann);
    json_client_say(fixture->ann, "one");
    (void)json_client_expect(fixture->ann, from, "{s:s}", "type", "sent");
}

/* The server listens on IPv4 only, as it was told; the name is IPv6 first. */
CLUSTER_TEST(test_names__localhost)
{
    (void)start_server(fixture, "1", "master", "127.0.0.1:2625", "127.0.0.1:2626", NULL);
    (void)start_server(fixture, "2", "slave", "127.0.0.1:2627", "127.0.0.1:2628",
                       "--master_address=localhost:2626");
    talk(fixture, "localhost:2625");
}

/* The master is at the last of the addresses; then it is killed. */
CLUSTER_TEST(test_names__one_for_all_servers)
{
    static const char seeds[] = "--master_address=chat:2626";
    struct process *master =
        start_server(fixture, "1", "master", "127.0.0.4:2625", "127.0.0.4:2626", NULL);
    (void)start_server(fixture, "2", "slave", "127.0.0.2:2625", "127.0.0.2:2626", seeds);
    (void)start_server(fixture, "3", "slave", "127.0.0.3:2625", "127.0.0.3:2626", seeds);
    talk(fixture, "chat:2625");
    process_kill(master);
    size_t from = json_client_count(fixture->ann);
    json_client_say(fixture->ann, "two");
    (void)json_client_expect(fixture->ann, from, "{s:s}", "type", "sent");
}

static void map_user(const char *path, unsigned id)
{
    char text[64];
    int size = snprintf(text, sizeof text, "0 %u 1", id);
    int file = open(path, O_WRONLY | O_CLOEXEC);
    if (file < 0)
        return;
    ssize_t wrote = write(file, text, (size_t)size);
    (void)wrote; /* what is missing shows later */
    (void)close(file);
}

static bool be_alone(void)
{
    unsigned user = geteuid();
    unsigned group = getegid();
    if (unshare(CLONE_NEWNET | CLONE_NEWNS | (user == 0 ? 0 : CLONE_NEWUSER)) != 0)
        return false;
    if (user != 0) {
        int file = open("/proc/self/setgroups", O_WRONLY | O_CLOEXEC);
        ssize_t wrote = file < 0 ? 0 : write(file, "deny", 4);
        (void)wrote;
        (void)close(file);
        map_user("/proc/self/uid_map", user);
        map_user("/proc/self/gid_map", group);
    }
    char path[] = "/tmp/jackdaw_hosts_XXXXXX";
    int file = mkstemp(path);
    if (file < 0)
        return false;
    bool good = write(file, hosts, sizeof hosts - 1) == (ssize_t)(sizeof hosts - 1) &&
                mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
                mount(path, "/etc/hosts", NULL, MS_BIND, NULL) == 0 &&
                system("PATH=$PATH:/usr/sbin:/sbin ip link set lo up") == 0;
    (void)close(file);
    (void)unlink(path);
    return good;
}

/* Whether the resolver tells all addresses of a name, in the order of the file. */
static bool names_work(void)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    if (getaddrinfo("chat", NULL, &hints, &list) != 0)
        return false;
    size_t count = 0;
    for (const struct addrinfo *item = list; item != NULL; item = item->ai_next)
        count++;
    freeaddrinfo(list);
    return count == 3;
}

TEST_PREPARE()
{
    if (!be_alone() || !names_work()) {
        (void)puts("skipped: no namespaces, no program ip, or no names from /etc/hosts");
        return SKIPPED;
    }
    return 0;
}
