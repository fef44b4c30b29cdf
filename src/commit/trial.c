/* SPDX-License-Identifier: MIT */
#include "commit/trial.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MOST(bound_us) ((bound_us) / 4 * 3)
#define REAP_MS 50 /* that is waited for a child which was killed; later trials wait, too */

/* The child's report, in memory shared with its parent. */
struct progress {
    bool has_begun;
    struct log_position at;
    uint64_t marked_us;          /* when the part began, */
    uint64_t computed_before_us; /* and what the child had computed by then */
};

static struct progress *progress; /* NULL: no trial was run yet */
static bool is_child;
static pid_t left_over; /* a child that was killed and has not ended yet; 0: none */

uint32_t trial_bound_ms(uint32_t silence_ms)
{
    return silence_ms / 5 * 2 + 1;
}

bool trial_in_child(void)
{
    return is_child;
}

static uint64_t processor_us(clockid_t clock)
{
    struct timespec used = {0};
    (void)clock_gettime(clock, &used);
    return (uint64_t)used.tv_sec * 1000000u + (uint64_t)used.tv_nsec / 1000u;
}

void trial_mark(struct log_position part)
{
    if (!is_child)
        return;
    progress->at = part;
    progress->marked_us = clock_monotonic_us();
    progress->computed_before_us = processor_us(CLOCK_PROCESS_CPUTIME_ID);
    progress->has_begun = true;
}

_Noreturn void trial_leave(void)
{
    _exit(0);
}

/* ---- the child ---- */

/* Signals with a request go to the parent; a signal raised by a fault ends the child. */
static void block_signals(void)
{
    static const int faults[] = {SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS};
    sigset_t all;
    (void)sigfillset(&all);
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
        (void)sigdelset(&all, faults[i]);
    (void)sigprocmask(SIG_SETMASK, &all, NULL);
}

/* No core is written: the first process that died has left one, and writing takes longer than the
 * bound. */
static _Noreturn void be_child(const struct trial *trial, pid_t parent, int output)
{
    is_child = true;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(0);
    (void)prctl(PR_SET_DUMPABLE, 0);
    block_signals();
    log_configure(LOG_SILENT, LOG_TEXT);
    (void)dup2(output, STDERR_FILENO);
    trial->run(trial->context);
    _exit(0);
}

/* ---- the parent ---- */

static bool make_progress(void)
{
    if (progress == NULL) {
        void *memory =
            mmap(NULL, sizeof *progress, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        progress = memory == MAP_FAILED ? NULL : memory;
    }
    if (progress != NULL)
        memset(progress, 0, sizeof *progress);
    return progress != NULL;
}

/* Where SIGCHLD is ignored, which a process inherits from who started it, the kernel keeps no status
 * of a child's end. */
static void keep_status_of_children(void)
{
    struct sigaction action = {.sa_handler = SIG_DFL};
    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(SIGCHLD, &action, NULL);
}

/* Reads what the child writes until it ends, which closes the pipe. false: it has not within the
 * bound. */
static bool listen_until_end(int input, uint64_t until_us, char *text, size_t size)
{
    size_t used = 0;
    for (;;) {
        uint64_t now_us = clock_monotonic_us();
        if (now_us >= until_us)
            return false;
        struct pollfd waiting = {.fd = input, .events = POLLIN};
        int ready = poll(&waiting, 1, (int)((until_us - now_us) / 1000) + 1);
        if (ready <= 0)
            continue; /* the time is over, or a signal came */
        char bytes[512];
        ssize_t count = read(input, bytes, sizeof bytes);
        if (count == 0)
            return true;
        for (ssize_t i = 0; i < count && used + 1 < size; i++)
            text[used++] = bytes[i];
        text[used] = '\0';
    }
}

static bool is_fault(int signal)
{
    return signal == SIGSEGV || signal == SIGABRT || signal == SIGBUS || signal == SIGFPE ||
           signal == SIGILL || signal == SIGTRAP || signal == SIGSYS;
}

/* false: it does not end; it is reaped later. */
static bool reap(pid_t child, int *status)
{
    for (int i = 0; i < REAP_MS; i++) {
        pid_t ended = waitpid(child, status, WNOHANG);
        if (ended == child)
            return true;
        if (ended < 0 && errno != EINTR)
            return false;
        (void)poll(NULL, 0, 1);
    }
    left_over = child;
    return false;
}

/* Whether no child of an earlier trial is there any more. */
static bool reap_left_over(void)
{
    int status;
    pid_t child = left_over;
    left_over = 0;
    if (child != 0)
        (void)reap(child, &status);
    return left_over == 0;
}

/* Before its end: the kernel counts the time that it takes to end a process as computed by it. */
static uint64_t computed_by(pid_t child)
{
    clockid_t clock;
    return clock_getcpuclockid(child, &clock) == 0 ? processor_us(clock) : 0;
}

/* A child that waits for a lock computes nothing, and one that waits for a processor little. A quarter
 * of the bound is hundreds of times what a request takes. The fork, earlier parts, and the time that the
 * kernel takes to end the child do not count: a busy machine would make them the fault of the part. */
static bool has_looped(uint64_t computed_us, uint64_t bound_us, uint64_t killed_us)
{
    return progress->has_begun && killed_us >= progress->marked_us + MOST(bound_us) &&
           computed_us >= progress->computed_before_us + bound_us / 4;
}

static void judge(struct trial_report *report, int status)
{
    if (WIFEXITED(status)) {
        report->end = WEXITSTATUS(status) == 0 ? TRIAL_PASSED : TRIAL_DIED;
    } else if (WIFSIGNALED(status) && is_fault(WTERMSIG(status))) {
        report->end = TRIAL_DIED;
        report->signal = WTERMSIG(status);
    }
}

static void watch(const struct trial *trial, pid_t child, int input, uint64_t begun_us,
                  struct trial_report *report)
{
    uint64_t bound_us = (uint64_t)trial->bound_ms * 1000;
    int status = 0;
    bool has_ended =
        listen_until_end(input, begun_us + bound_us, report->text, sizeof report->text);
    uint64_t killed_us = clock_monotonic_us();
    uint64_t computed_us = has_ended ? 0 : computed_by(child);
    if (!has_ended)
        (void)kill(child, SIGKILL);
    bool is_reaped = reap(child, &status);
    if (is_reaped && has_ended)
        judge(report, status);
    else if (is_reaped && has_looped(computed_us, bound_us, killed_us))
        report->end = TRIAL_LOOPED;
    report->has_begun = progress->has_begun;
    report->at = progress->at;
    report->text[strcspn(report->text, "\n")] = '\0';
}

void trial_run_on(struct store *store, const struct trial *trial, struct trial_report *report)
{
    *report = (struct trial_report){.end = TRIAL_UNKNOWN};
    if (store_pause(store) != OK)
        return;
    trial_run(trial, report);
    store_resume(store);
}

void trial_run(const struct trial *trial, struct trial_report *report)
{
    *report = (struct trial_report){.end = TRIAL_UNKNOWN};
    int ends[2];
    uint64_t begun_us = clock_monotonic_us();
    if (!reap_left_over() || !make_progress() || pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0)
        return;
    keep_status_of_children();
    pid_t parent = getpid();
    pid_t child = fork();
    if (child == 0)
        be_child(trial, parent, ends[1]);
    report->fork_us = clock_monotonic_us() - begun_us;
    (void)close(ends[1]);
    if (child > 0)
        watch(trial, child, ends[0], begun_us, report);
    (void)close(ends[0]);
    report->took_us = clock_monotonic_us() - begun_us;
}
