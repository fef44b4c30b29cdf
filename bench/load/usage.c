/* SPDX-License-Identifier: MIT */
#include "usage.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static uint64_t ticks_to_us(uint64_t ticks)
{
    return ticks * 1000000u / (uint64_t)sysconf(_SC_CLK_TCK);
}

static bool read_file(const char *path, char *text, size_t size)
{
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0)
        return false;
    ssize_t got = read(descriptor, text, size - 1);
    (void)close(descriptor);
    if (got <= 0)
        return false;
    text[got] = '\0';
    return true;
}

/* The number that is the word with this index, counted from 0; 0: there is none. */
static uint64_t read_word(const char *text, unsigned index)
{
    text += strspn(text, " ");
    for (unsigned i = 0; i < index; i++) {
        text += strcspn(text, " \n");
        text += strspn(text, " ");
    }
    return strtoull(text, NULL, 10);
}

/* Words of /proc/PID/stat after the name, and of the first line of /proc/stat. */
enum { STAT_USER = 11, STAT_SYSTEM = 12 };
enum { ALL_FIRST = 1, ALL_IDLE = 4, ALL_IO_WAIT = 5, ALL_LAST = 8 };

struct cpu_times usage_of(pid_t id)
{
    char path[64];
    char text[1024];
    (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)id);
    if (!read_file(path, text, sizeof text))
        return (struct cpu_times){0};
    /* The name, in brackets, may hold anything. */
    const char *after_name = strrchr(text, ')');
    if (after_name == NULL)
        return (struct cpu_times){0};
    return (struct cpu_times){ticks_to_us(read_word(after_name + 1, STAT_USER)),
                              ticks_to_us(read_word(after_name + 1, STAT_SYSTEM))};
}

static uint64_t from_timeval(struct timeval value)
{
    return (uint64_t)value.tv_sec * 1000000u + (uint64_t)value.tv_usec;
}

struct cpu_times usage_own(void)
{
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage);
    return (struct cpu_times){from_timeval(usage.ru_utime), from_timeval(usage.ru_stime)};
}

uint64_t usage_machine_us(void)
{
    char text[4096];
    uint64_t ticks = 0;
    if (!read_file("/proc/stat", text, sizeof text))
        return 0;
    for (unsigned i = ALL_FIRST; i <= ALL_LAST; i++)
        if (i != ALL_IDLE && i != ALL_IO_WAIT)
            ticks += read_word(text, i);
    return ticks_to_us(ticks);
}

unsigned usage_processors(void)
{
    long count = sysconf(_SC_NPROCESSORS_ONLN);
    return count > 0 ? (unsigned)count : 1;
}

static uint64_t read_kilobytes(const char *text, const char *word)
{
    const char *at = strstr(text, word);
    return at == NULL ? 0 : strtoull(at + strlen(word), NULL, 10) * 1024u;
}

struct memory usage_memory(pid_t id)
{
    char path[64];
    char text[8192];
    (void)snprintf(path, sizeof path, "/proc/%d/status", (int)id);
    if (!read_file(path, text, sizeof text))
        return (struct memory){0};
    return (struct memory){.resident_bytes = read_kilobytes(text, "VmRSS:"),
                           .anonymous_bytes = read_kilobytes(text, "RssAnon:")};
}
