/* SPDX-License-Identifier: MIT */
#include "base/output.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct late_line {
    int descriptor;
    size_t size;
    char text[];
};

void output_open_standard(void)
{
    for (int number = STDIN_FILENO; number <= STDERR_FILENO; number++) {
        if (fcntl(number, F_GETFD) >= 0)
            continue;
        /* The lowest free number is this one. Programs that are started inherit it. */
        if (open("/dev/null", O_RDWR) != number)
            _exit(1);
    }
}

static bool wait_writable(int descriptor, uint64_t until_ms)
{
    for (;;) {
        uint64_t now_ms = clock_monotonic_ms();
        struct pollfd entry = {.fd = descriptor, .events = POLLOUT};
        int result = poll(&entry, 1, now_ms < until_ms ? (int)(until_ms - now_ms) : 0);
        if (result > 0)
            return true; /* or broken: the write tells */
        if (result == 0 || errno != EINTR)
            return false;
    }
}

/* Returns how many bytes the descriptor took. */
static size_t write_within(int descriptor, const char *bytes, size_t size, uint32_t timeout_ms)
{
    uint64_t until_ms = clock_monotonic_ms() + timeout_ms;
    size_t done = 0;
    while (done < size && wait_writable(descriptor, until_ms)) {
        /* A pipe that is writable takes this many bytes without blocking (pipe(7)). */
        size_t part = size - done < PIPE_BUF ? size - done : PIPE_BUF;
        ssize_t written = write(descriptor, bytes + done, part);
        if (written < 0 && errno != EINTR && errno != EAGAIN)
            break;
        done += written > 0 ? (size_t)written : 0;
    }
    return done;
}

bool output_within(int descriptor, const char *bytes, size_t size, uint32_t timeout_ms)
{
    return write_within(descriptor, bytes, size, timeout_ms) == size;
}

static void *write_late(void *argument)
{
    struct late_line *line = argument;
    size_t done = 0;
    while (done < line->size) {
        struct pollfd entry = {.fd = line->descriptor, .events = POLLOUT};
        (void)poll(&entry, 1, -1);
        ssize_t written = write(line->descriptor, line->text + done, line->size - done);
        if (written < 0 && errno != EINTR && errno != EAGAIN)
            break;
        done += written > 0 ? (size_t)written : 0;
    }
    free(line);
    return NULL;
}

/* Signals are for the program's own threads. */
static bool start_late(struct late_line *line)
{
    sigset_t all;
    sigset_t before;
    pthread_t thread;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    bool is_started = pthread_create(&thread, NULL, write_late, line) == 0;
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (is_started)
        (void)pthread_detach(thread);
    return is_started;
}

void output_later(int descriptor, const char *text)
{
    size_t size = strlen(text);
    size_t done = write_within(descriptor, text, size, 0);
    if (done == size)
        return;
    text += done;
    size -= done;
    struct late_line *line = malloc(sizeof *line + size);
    if (line == NULL)
        return;
    line->descriptor = descriptor;
    line->size = size;
    memcpy(line->text, text, size);
    if (!start_late(line))
        free(line);
}
