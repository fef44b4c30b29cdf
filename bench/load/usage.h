/* SPDX-License-Identifier: MIT */
/* usage.h - what the kernel says of processes and of the machine: time and memory. Any thread. */
#ifndef JACKDAW_BENCH_USAGE_H
#define JACKDAW_BENCH_USAGE_H

#include <stdint.h>
#include <sys/types.h>

struct cpu_times {
    uint64_t user_us;
    uint64_t system_us;
};
/* Of another process, in the kernel's ticks of 10 ms; zero when it has gone. */
struct cpu_times usage_of(pid_t id);
struct cpu_times usage_own(void);

/* Time that all processors together spent on anything but waiting, stolen time included. */
uint64_t usage_machine_us(void);
unsigned usage_processors(void);

/* Resident memory of another process, all of it and without what maps files; 0: unknown. */
struct memory {
    uint64_t resident_bytes;
    uint64_t anonymous_bytes;
};
struct memory usage_memory(pid_t id);

#endif
