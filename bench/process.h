/* SPDX-License-Identifier: MIT */
/* process.h - a server that this program starts, measures and ends; and the folder it may fill.
 *
 * A server's stdout is read up to its readiness line, its stderr goes to a file in its folder. It
 * dies with this program, however that ends. Only processes started here are ever signalled. */
#ifndef JACKDAW_BENCH_PROCESS_H
#define JACKDAW_BENCH_PROCESS_H

#include "base/address.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define PROCESS_PATH_SIZE 4096
#define PROCESS_EXTRA_MAX 32

/* Makes a folder of a name of its own below parent; scratch_remove deletes it with all in it. */
enum error scratch_make(char path[static PROCESS_PATH_SIZE], const char *parent,
                        struct error_text *why);
void scratch_remove(const char *path);
/* Whether a folder lies in memory, where a flush to disk costs nothing. */
bool scratch_is_volatile(const char *path);

struct process {
    pid_t id;   /* 0: none */
    int output; /* its stdout; -1: none */
    struct address clients;
    struct address internal;
};

/* What to start. Strings are borrowed for the call. */
struct process_options {
    const char *program;
    unsigned server_id;
    const char *master_address; /* internal addresses of members: a slave; NULL: a master */
    const char *folder;         /* exists; the server's data and its log are made in it */
    const char *const *extra;   /* further arguments, NULL-terminated, at most PROCESS_EXTRA_MAX */
    const char *const *environment; /* NAME=value, added to ours, NULL-terminated; NULL: nothing */
    const struct address *clients;  /* where it listens; NULL: loopback, a port of the kernel's */
    const struct address *internal;
    int network; /* descriptor of the network namespace to run in; 0: ours */
};

/* Starts a server and waits until it is ready. On any error nothing is left running; why has the
 * end of what it wrote to stderr. */
enum error process_start(struct process *process, const struct process_options *options,
                         struct error_text *why);

/* The same without waiting: for one whose addresses are given. */
enum error process_spawn(struct process *process, const struct process_options *options,
                         struct error_text *why);

/* Whether one that was spawned has got ready since; its addresses are known from then on. *failed: it
 * ended, or said something else. */
bool process_is_ready(struct process *process, bool *failed);

/* Asks it to end, waits a bounded time, kills it. False: it had ended before, or ended badly. */
bool process_stop(struct process *process);

/* kill -9, and waits until it has gone. Nothing if there is none. */
void process_kill(struct process *process);

/* Runs body(context, port_pipe) in a child process; what it writes to port_pipe (a port number, as
 * uint16_t) becomes clients.port on 127.0.0.1. For the servers of limits.c. */
enum error process_fork(struct process *process, void (*body)(void *context, int port_pipe),
                        void *context, struct error_text *why);

/* ---- measuring ---- */

struct cpu_times {
    uint64_t user_us;
    uint64_t system_us;
};
/* Of another process, in the kernel's ticks of 10 ms; zero when it has gone. */
struct cpu_times process_cpu(pid_t id);
struct cpu_times process_own_cpu(void);

/* Time that all processors together spent on anything but waiting, stolen time included. */
uint64_t machine_busy_us(void);
unsigned machine_processors(void);

/* Resident memory of another process, all of it and without what maps files; 0: unknown. */
struct memory {
    uint64_t resident_bytes;
    uint64_t anonymous_bytes;
};
struct memory process_memory(pid_t id);

#endif
