/* SPDX-License-Identifier: MIT */
#include "base/log_writer.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define FILE_MODE 0640

_Static_assert(LOG_LINE_BYTES <= PIPE_BUF, "a line is one write that a pipe does not split");

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* protects all below but the atomics */
static pthread_cond_t filled = PTHREAD_COND_INITIALIZER;
static pthread_cond_t drained;        /* on the monotonic clock */
static char buffer[LOG_BUFFER_BYTES]; /* a ring of whole lines */
static size_t start, used;
static uint64_t dropped; /* since the last report; while it is not 0, all lines are dropped */
static bool is_writing;
static bool has_given_up; /* a flush waited in vain, and no line has come since */
static bool is_to_reopen;
static void (*on_reopened)(const char *file, const char *reason);
static size_t (*make_report)(uint64_t dropped, char line[static LOG_LINE_BYTES]);
static const char *log_file;
static int descriptor = STDERR_FILENO;
static atomic_bool has_thread;

/* ---- the descriptor ---- */

/* false: it does not take them, for another reason than being full. */
static bool write_all(const char *bytes, size_t size)
{
    while (size > 0) {
        ssize_t written = write(descriptor, bytes, size);
        if (written >= 0) {
            bytes += written;
            size -= (size_t)written;
        } else if (errno == EAGAIN) { /* another process made it non-blocking */
            struct pollfd entry = {.fd = descriptor, .events = POLLOUT};
            (void)poll(&entry, 1, -1);
        } else if (errno != EINTR) {
            return false;
        }
    }
    return true;
}

/* Non-blocking, so that a FIFO without a reader is an error and not a wait. */
static int open_file(const char *file)
{
    return open(file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, FILE_MODE);
}

/* The new file takes the number of the old one, so no other thread ever sees a closed descriptor. */
static void reopen(void)
{
    int fresh = open_file(log_file);
    bool is_done = fresh >= 0 && dup3(fresh, descriptor, O_CLOEXEC) >= 0;
    const char *reason = is_done ? NULL : strerror(errno);
    if (fresh >= 0)
        (void)close(fresh);
    on_reopened(log_file, reason);
}

/* ---- the ring; the mutex is locked ---- */

static void append(const char *line, size_t size)
{
    size_t at = (start + used) % sizeof buffer;
    size_t first = size < sizeof buffer - at ? size : sizeof buffer - at;
    memcpy(buffer + at, line, first);
    memcpy(buffer, line + first, size - first);
    used += size;
}

/* Moves as many whole lines as a pipe takes in one write; returns their bytes. */
static size_t take_lines(char chunk[static PIPE_BUF], uint64_t *lines)
{
    size_t size = 0;
    *lines = 0;
    for (size_t i = 0; i < used && i < PIPE_BUF; i++) {
        chunk[i] = buffer[(start + i) % sizeof buffer];
        if (chunk[i] == '\n') {
            size = i + 1;
            (*lines)++;
        }
    }
    used -= size;
    start = used == 0 ? 0 : (start + size) % sizeof buffer; /* few pages of it are ever touched */
    return size;
}

/* ---- the thread ---- */

/* false: the descriptor refused the lines. */
static bool write_some(void)
{
    char chunk[PIPE_BUF];
    uint64_t lines = 0;
    uint64_t told = 0;
    size_t size = take_lines(chunk, &lines);
    if (size == 0) {
        told = dropped;
        dropped = 0; /* lines fit again, behind the report */
        size = make_report(told, chunk);
    }
    is_writing = true;
    (void)pthread_mutex_unlock(&mutex);
    bool is_written = write_all(chunk, size);
    (void)pthread_mutex_lock(&mutex);
    is_writing = false;
    if (!is_written)
        dropped += told + lines;
    return is_written;
}

static void *run(void *unused)
{
    (void)unused;
    bool is_refused = false; /* the last write: the next line makes the thread try again */
    (void)pthread_mutex_lock(&mutex);
    for (;;) {
        while (!is_to_reopen && used == 0 && (dropped == 0 || is_refused)) {
            (void)pthread_cond_broadcast(&drained);
            (void)pthread_cond_wait(&filled, &mutex);
            is_refused = false;
        }
        if (is_to_reopen) {
            is_to_reopen = false;
            (void)pthread_mutex_unlock(&mutex);
            reopen();
            (void)pthread_mutex_lock(&mutex);
        } else {
            is_refused = !write_some();
        }
    }
    return NULL;
}

/* ---- fork ---- */

static void before_fork(void)
{
    (void)pthread_mutex_lock(&mutex);
}

static void in_parent(void)
{
    (void)pthread_mutex_unlock(&mutex);
}

static void in_child(void)
{
    atomic_store(&has_thread, false);
    used = 0;
    dropped = 0;
    (void)pthread_mutex_unlock(&mutex);
}

/* ---- for everybody ---- */

/* Signals are for the program's own threads. */
static int start_thread(void)
{
    sigset_t all;
    sigset_t before;
    pthread_t thread;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int result = pthread_create(&thread, NULL, run, NULL);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (result == 0)
        (void)pthread_detach(thread); /* the thread may block in a write for ever */
    return result;
}

static int make_condition(void)
{
    pthread_condattr_t attributes;
    int result = pthread_condattr_init(&attributes);
    if (result == 0)
        result = pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    if (result == 0)
        result = pthread_cond_init(&drained, &attributes);
    (void)pthread_condattr_destroy(&attributes);
    return result;
}

enum error log_writer_start(const char *file,
                            size_t (*report)(uint64_t dropped, char line[static LOG_LINE_BYTES]),
                            struct error_text *why)
{
    int opened = file == NULL ? STDERR_FILENO : open_file(file);
    if (opened < 0)
        return error_set(why, error_from_errno(errno), "cannot open the log file %s: %s", file,
                         strerror(errno));
    log_file = file;
    descriptor = opened;
    make_report = report;
    int result = make_condition();
    if (result == 0)
        result = start_thread();
    if (result == 0)
        result = pthread_atfork(before_fork, in_parent, in_child);
    if (result != 0)
        return error_set(why, error_from_errno(result), "start the thread that writes the log: %s",
                         strerror(result));
    atomic_store(&has_thread, true);
    return OK;
}

bool log_writer_has_file(void)
{
    return log_file != NULL;
}

void log_writer_put(const char *line, size_t size)
{
    if (!atomic_load(&has_thread)) {
        (void)!write(descriptor, line, size); /* no error is reported: the process ends */
        return;
    }
    (void)pthread_mutex_lock(&mutex);
    has_given_up = false;
    if (dropped > 0 || size > sizeof buffer - used)
        dropped++;
    else
        append(line, size);
    (void)pthread_cond_signal(&filled);
    (void)pthread_mutex_unlock(&mutex);
}

void log_writer_reopen(void (*reopened)(const char *file, const char *reason))
{
    (void)pthread_mutex_lock(&mutex);
    on_reopened = reopened;
    is_to_reopen = log_file != NULL && atomic_load(&has_thread);
    (void)pthread_cond_signal(&filled);
    (void)pthread_mutex_unlock(&mutex);
}

static bool is_drained(void)
{
    return used == 0 && !is_writing && dropped == 0 && !is_to_reopen;
}

void log_writer_flush(uint32_t timeout_ms)
{
    if (!atomic_load(&has_thread))
        return;
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    (void)pthread_mutex_lock(&mutex);
    (void)pthread_cond_signal(&filled); /* for what was refused before */
    int result = 0;
    while (!has_given_up && !is_drained() && result != ETIMEDOUT)
        result = pthread_cond_timedwait(&drained, &mutex, &until);
    has_given_up = has_given_up || result == ETIMEDOUT;
    (void)pthread_mutex_unlock(&mutex);
}
