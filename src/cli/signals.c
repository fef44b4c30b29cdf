/* SPDX-License-Identifier: MIT */
#include "cli/signals.h"

#include "app/app.h"
#include "client/client.h"

#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <unistd.h>

static struct client *_Atomic watched;
static volatile sig_atomic_t interrupted, resized, stopped, continued, ended, leaving;
static bool edits; /* SIGINT drops the line that is being typed */

/* The second order to end. The loop does not see it while it writes what nobody reads. */
static void insist(void)
{
    if (leaving || interrupted || ended > 0)
        (void)alarm(SIGNALS_GRACE_S);
}

static void on_alarm(int number)
{
    (void)number;
    _exit(APP_EXIT_FAILED);
}

static void on_signal(int number)
{
    switch (number) {
    case SIGINT:
        if (!edits)
            insist();
        interrupted = 1;
        break;
    case SIGWINCH:
        resized = 1;
        break;
    case SIGTSTP:
        stopped = 1;
        break;
    case SIGCONT:
        continued = 1;
        break;
    default:
        insist();
        ended = ended + 1;
        break;
    }
    struct client *client = atomic_load(&watched);
    if (client != NULL)
        client_wake(client);
}

static void handle(int number, void (*handler)(int))
{
    /* stdio takes a write that was interrupted for one that failed. poll is never restarted. */
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(number, &action, NULL);
}

/* nohup: the end of the terminal is not the end of the client. */
static bool ignores_hangup(void)
{
    struct sigaction inherited;
    return sigaction(SIGHUP, NULL, &inherited) == 0 && inherited.sa_handler == SIG_IGN;
}

void signals_watch(struct client *client, bool terminal)
{
    edits = terminal;
    atomic_store(&watched, client);
    handle(SIGPIPE, SIG_IGN);
    handle(SIGALRM, on_alarm);
    handle(SIGINT, on_signal);
    handle(SIGTERM, on_signal);
    if (!ignores_hangup())
        handle(SIGHUP, on_signal);
    if (!terminal)
        return;
    handle(SIGWINCH, on_signal);
    handle(SIGTSTP, on_signal);
    handle(SIGCONT, on_signal);
}

void signals_ignore(void)
{
    atomic_store(&watched, NULL);
}

static bool take(volatile sig_atomic_t *flag)
{
    bool was = *flag != 0;
    *flag = 0;
    return was;
}

bool signals_interrupted(void)
{
    return take(&interrupted);
}

bool signals_resized(void)
{
    return take(&resized);
}

bool signals_stopped(void)
{
    return take(&stopped);
}

bool signals_continued(void)
{
    return take(&continued);
}

int signals_ended(void)
{
    return ended;
}

void signals_leave(void)
{
    leaving = 1;
}

void signals_stop_self(void)
{
    sigset_t set;
    sigset_t old;
    handle(SIGTSTP, SIG_DFL);
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTSTP);
    (void)raise(SIGTSTP);
    (void)sigprocmask(SIG_UNBLOCK, &set, &old); /* stops here if it was blocked */
    handle(SIGTSTP, on_signal);
}
