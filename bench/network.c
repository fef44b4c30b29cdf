/* SPDX-License-Identifier: MIT */
#include "network.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define BRIDGE "jackdaw"
#define ARGUMENTS_MAX 16

/* Runs `ip` with the words of line; in namespace `in` unless that is negative. */
static bool run_ip(int in, const char *format, ...) __attribute__((format(printf, 2, 3)));
static bool run_ip(int in, const char *format, ...)
{
    char line[256];
    va_list values;
    va_start(values, format);
    (void)vsnprintf(line, sizeof line, format, values);
    va_end(values);
    char *words[ARGUMENTS_MAX] = {(char *)"ip"};
    size_t count = 1;
    char *rest = line;
    for (char *word; count < ARGUMENTS_MAX - 1 && (word = strsep(&rest, " ")) != NULL;)
        words[count++] = word;
    pid_t child = fork();
    if (child == 0) {
        int nothing = open("/dev/null", O_WRONLY);
        (void)dup2(nothing, 1);
        if (in < 0 || setns(in, CLONE_NEWNET) == 0)
            (void)execvp("ip", words);
        _exit(127);
    }
    int status = -1;
    return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) &&
           WEXITSTATUS(status) == 0;
}

/* ---- this program's own ---- */

static bool write_text(const char *path, const char *text)
{
    int file = open(path, O_WRONLY | O_CLOEXEC);
    bool written = file >= 0 && write(file, text, strlen(text)) == (ssize_t)strlen(text);
    if (file >= 0)
        (void)close(file);
    return written;
}

/* As somebody who may do in there what root may, and who is still the same outside. */
static bool enter_as_user(void)
{
    char users[64];
    char groups[64];
    (void)snprintf(users, sizeof users, "0 %u 1", (unsigned)geteuid());
    (void)snprintf(groups, sizeof groups, "0 %u 1", (unsigned)getegid());
    return unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0 && write_text("/proc/self/uid_map", users) &&
           write_text("/proc/self/setgroups", "deny") && write_text("/proc/self/gid_map", groups);
}

enum error network_enter(struct error_text *why)
{
    if (!run_ip(-1, "-V"))
        return error_set(why, ERROR_REFUSED, "there is no program `ip` here");
    if (unshare(CLONE_NEWNET) != 0 && !enter_as_user())
        return error_set(why, ERROR_REFUSED, "no network namespace is to be had here: %s",
                         strerror(errno));
    if (!run_ip(-1, "link set lo up"))
        return error_set(why, ERROR_REFUSED, "`ip` cannot start the loopback in a namespace");
    return OK;
}

/* ---- the servers' ---- */

/* A process that makes a namespace and lives until the pipe is closed. */
static pid_t fork_holder(int ready, int until)
{
    pid_t holder = fork();
    if (holder != 0)
        return holder;
    char byte = 0;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (unshare(CLONE_NEWNET) == 0 && write(ready, &byte, 1) == 1)
        (void)!read(until, &byte, 1);
    _exit(0);
}

static bool equip(size_t i, pid_t holder, int plug)
{
    char host[ADDRESS_HOST_SIZE];
    network_host(i, host);
    return run_ip(-1, "link add plug%zu type veth peer name eth0 netns %d", i, (int)holder) &&
           run_ip(-1, "link set plug%zu master " BRIDGE " up", i) &&
           run_ip(plug, "link set lo up") && run_ip(plug, "addr add %s/24 dev eth0", host) &&
           run_ip(plug, "link set eth0 up");
}

static bool add_plug(struct network *network)
{
    int ready[2];
    int until[2];
    if (pipe2(ready, O_CLOEXEC) != 0)
        return false;
    if (pipe2(until, O_CLOEXEC) != 0) {
        (void)close(ready[0]);
        (void)close(ready[1]);
        return false;
    }
    pid_t holder = fork_holder(ready[1], until[0]);
    (void)close(ready[1]);
    (void)close(until[0]);
    char byte;
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/%d/ns/net", (int)holder);
    int plug = holder > 0 && read(ready[0], &byte, 1) == 1 ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    bool made = plug >= 0 && equip(network->count, holder, plug);
    if (plug >= 0)
        network->plugs[network->count++] = plug;
    (void)close(ready[0]);
    (void)close(until[1]);
    if (holder > 0) {
        (void)kill(holder, SIGKILL);
        (void)waitpid(holder, NULL, 0);
    }
    return made;
}

enum error network_open(struct network *network, size_t count, struct error_text *why)
{
    *network = (struct network){.count = 0};
    bool made = run_ip(-1, "link add " BRIDGE " type bridge") &&
                run_ip(-1, "addr add 10.77.0.254/24 dev " BRIDGE) &&
                run_ip(-1, "link set " BRIDGE " up");
    while (made && network->count < count)
        made = add_plug(network);
    return made ? OK : error_set(why, ERROR_REFUSED, "`ip` cannot make a bridge in a namespace");
}

void network_close(struct network *network)
{
    for (size_t i = 0; i < network->count; i++) {
        (void)run_ip(-1, "link del plug%zu", i); /* now: else the kernel does it some time later */
        (void)close(network->plugs[i]);
    }
    if (network->count > 0)
        (void)run_ip(-1, "link del " BRIDGE);
    network->count = 0;
}

void network_host(size_t i, char host[static ADDRESS_HOST_SIZE])
{
    (void)snprintf(host, ADDRESS_HOST_SIZE, "10.77.0.%zu", i + 1);
}

bool network_plug(size_t i, bool in)
{
    return in ? run_ip(-1, "link set plug%zu master " BRIDGE, i)
              : run_ip(-1, "link set plug%zu nomaster", i);
}
