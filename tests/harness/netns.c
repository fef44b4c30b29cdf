/* SPDX-License-Identifier: MIT */
#include "harness/netns.h"

#include "support/test.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define IP_COMMAND "PATH=$PATH:/usr/sbin:/sbin ip -batch - >/dev/null 2>&1"

struct netns {
    int home;   /* where the test itself was before */
    int bridge; /* the namespace that all cables end in */
    int places[NETNS_PLACES_MAX];
    char hosts[NETNS_PLACES_MAX][NETNS_HOST_SIZE];
    bool cut[NETNS_PLACES_MAX][NETNS_PLACES_MAX];
    size_t count;
};

static int open_own(void)
{
    return open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
}

/* An empty namespace, which this thread is in then; -1 where that is not allowed. */
static int make_namespace(void)
{
    return unshare(CLONE_NEWNET) == 0 ? open_own() : -1;
}

static void write_file(const char *path, const char *text)
{
    int file = open(path, O_WRONLY | O_CLOEXEC);
    if (file < 0)
        return;
    ssize_t wrote = write(file, text, strlen(text));
    (void)wrote; /* what is missing shows when the network is made */
    (void)close(file);
}

/* Who is not root may be, in a world of users of its own. */
static void become_root(void)
{
    char map[64];
    unsigned user = geteuid();
    unsigned group = getegid();
    if (user == 0 || unshare(CLONE_NEWUSER) != 0)
        return;
    write_file("/proc/self/setgroups", "deny");
    (void)snprintf(map, sizeof map, "0 %u 1", user);
    write_file("/proc/self/uid_map", map);
    (void)snprintf(map, sizeof map, "0 %u 1", group);
    write_file("/proc/self/gid_map", map);
}

static void go_to(int namespace)
{
    if (setns(namespace, CLONE_NEWNET) == 0)
        return;
    (void)fprintf(stderr, "cannot enter a network namespace: %s\n", strerror(errno));
    abort(); /* wherever the thread is now, nothing that it does means what it should */
}

struct script {
    char text[8192];
    size_t used;
};

static void add(struct script *script, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void add(struct script *script, const char *format, ...)
{
    size_t room = sizeof script->text - script->used;
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(script->text + script->used, room, format, arguments);
    va_end(arguments);
    if (length < 0 || (size_t)length >= room)
        abort(); /* too many places for one text */
    script->used += (size_t)length;
}

/* Runs the lines in a namespace. */
static bool run(int namespace, const struct script *script)
{
    go_to(namespace);
    FILE *ip = popen(IP_COMMAND, "we");
    bool good = ip != NULL && fwrite(script->text, 1, script->used, ip) == script->used;
    return ip != NULL && pclose(ip) == 0 && good;
}

/* The same, and returns to the test's place; fails the test where that is not possible. */
static void must_run(struct netns *netns, int namespace, const struct script *script,
                     const char *what, const char *where)
{
    bool good = run(namespace, script);
    netns_return(netns);
    if (!good)
        fail_msg("cannot %s %s", what, where);
}

/* Every place knows where the others are: nothing is asked for on the wire. Who is cut off is sent
 * to an address that no card has. */
static void add_neighbour(struct script *script, const struct netns *netns, size_t from, size_t to)
{
    add(script, "neigh replace %s lladdr 02:00:00:00:%02x:%02x dev eth0 nud permanent\n",
        netns->hosts[to], netns->cut[from][to] ? 0xffu : 0u, (unsigned)to + 1);
}

static bool set_up_bridge(const struct netns *netns)
{
    struct script script = {.used = 0};
    add(&script, "link add bridge0 type bridge\nlink set bridge0 up\n");
    for (size_t i = 0; i < netns->count; i++) {
        add(&script, "link add port%zu type veth peer name eth0 netns /proc/%d/fd/%d\n", i,
            (int)getpid(), netns->places[i]);
        add(&script, "link set port%zu master bridge0 up\n", i);
    }
    return run(netns->bridge, &script);
}

static bool set_up_place(const struct netns *netns, size_t place)
{
    struct script script = {.used = 0};
    add(&script, "link set lo up\n");
    add(&script, "link set eth0 address 02:00:00:00:00:%02x\n", (unsigned)place + 1);
    add(&script, "address add %s/24 dev eth0\nlink set eth0 up\n", netns->hosts[place]);
    for (size_t i = 0; i < netns->count; i++)
        if (i != place)
            add_neighbour(&script, netns, place, i);
    return run(netns->places[place], &script);
}

static bool make_namespaces(struct netns *netns)
{
    netns->home = open_own();
    become_root();
    netns->bridge = make_namespace();
    bool good = netns->home >= 0 && netns->bridge >= 0;
    for (size_t i = 0; i < netns->count && good; i++) {
        (void)snprintf(netns->hosts[i], NETNS_HOST_SIZE, "10.99.0.%zu", i + 1);
        netns->places[i] = make_namespace();
        good = netns->places[i] >= 0;
    }
    return good;
}

static bool set_up(const struct netns *netns)
{
    bool good = set_up_bridge(netns);
    for (size_t i = 0; i < netns->count && good; i++)
        good = set_up_place(netns, i);
    return good;
}

struct netns *netns_new(size_t places, char why[static 128])
{
    struct netns *netns = calloc(1, sizeof *netns);
    if (netns == NULL || places > NETNS_PLACES_MAX)
        abort();
    netns->count = places;
    netns->home = netns->bridge = -1;
    for (size_t i = 0; i < NETNS_PLACES_MAX; i++)
        netns->places[i] = -1;
    bool made = make_namespaces(netns);
    (void)snprintf(why, 128, "network namespaces cannot be made here: %s", strerror(errno));
    if (made) {
        (void)snprintf(why, 128, "'ip' is missing, or cannot make bridges and cables here");
        made = set_up(netns);
    }
    netns_return(netns);
    if (made)
        return netns;
    netns_free(netns);
    return NULL;
}

bool netns_is_possible(void)
{
    char why[128];
    struct netns *netns = netns_new(2, why);
    if (netns == NULL)
        (void)fprintf(stderr, "skipped: %s\n", why);
    netns_free(netns);
    return netns != NULL;
}

void netns_free(struct netns *netns)
{
    if (netns == NULL)
        return;
    for (size_t i = 0; i < NETNS_PLACES_MAX; i++)
        if (netns->places[i] >= 0)
            (void)close(netns->places[i]);
    if (netns->bridge >= 0)
        (void)close(netns->bridge);
    if (netns->home >= 0)
        (void)close(netns->home);
    free(netns);
}

const char *netns_host(const struct netns *netns, size_t place)
{
    return netns->hosts[place];
}

void netns_enter(struct netns *netns, size_t place)
{
    if (netns != NULL)
        go_to(netns->places[place]);
}

void netns_return(struct netns *netns)
{
    /* Who became root in a world of its own has no rights outside: any place will do then. */
    if (netns != NULL && netns->home >= 0 && setns(netns->home, CLONE_NEWNET) != 0 &&
        netns->bridge >= 0)
        go_to(netns->bridge);
}

void netns_stay(struct netns *netns, size_t place)
{
    (void)close(netns->home);
    netns->home = fcntl(netns->places[place], F_DUPFD_CLOEXEC, 0);
    go_to(netns->home);
}

void netns_impersonate(struct netns *netns, size_t place, size_t other)
{
    struct script script = {.used = 0};
    add(&script, "address add %s/32 dev lo\n", netns->hosts[other]);
    must_run(netns, netns->places[place], &script, "stand in for", netns->hosts[other]);
}

const char *netns_use_ipv6(struct netns *netns, size_t place)
{
    struct script script = {.used = 0};
    add(&script, "address del %s/24 dev eth0\n", netns->hosts[place]);
    (void)snprintf(netns->hosts[place], NETNS_HOST_SIZE, "fd99::%zu", place + 1);
    add(&script, "address add %s/64 dev eth0 nodad\n", netns->hosts[place]);
    must_run(netns, netns->places[place], &script, "give an address:", netns->hosts[place]);
    return netns->hosts[place];
}

void netns_plug(struct netns *netns, size_t place, bool in)
{
    struct script script = {.used = 0};
    add(&script, "link set port%zu %s\n", place, in ? "master bridge0" : "nomaster");
    must_run(netns, netns->bridge, &script, in ? "plug in" : "unplug", netns->hosts[place]);
}

static void tell(struct netns *netns, size_t from, size_t to)
{
    struct script script = {.used = 0};
    add_neighbour(&script, netns, from, to);
    must_run(netns, netns->places[from], &script, "change the way to", netns->hosts[to]);
}

void netns_cut(struct netns *netns, size_t from, size_t to)
{
    netns->cut[from][to] = true;
    tell(netns, from, to);
}

void netns_part(struct netns *netns, size_t left, size_t right)
{
    netns_cut(netns, left, right);
    netns_cut(netns, right, left);
}

void netns_heal(struct netns *netns)
{
    for (size_t i = 0; i < netns->count; i++) {
        for (size_t j = 0; j < netns->count; j++) {
            if (!netns->cut[i][j])
                continue;
            netns->cut[i][j] = false;
            tell(netns, i, j);
        }
    }
}
