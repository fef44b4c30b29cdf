/* SPDX-License-Identifier: MIT */
/* clock_jump.c - loaded before the C library (LD_PRELOAD): a wall clock that a test sets.
 *
 * The file named in JACKDAW_TEST_CLOCK holds an int64_t, the milliseconds that the wall clock is
 * ahead. The test maps it and writes; all other clocks are as they are. */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *offset_ms;
static int (*real_clock_gettime)(clockid_t clock, struct timespec *out);

__attribute__((constructor)) static void load(void)
{
    const char *path = getenv("JACKDAW_TEST_CLOCK");
    int file = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return;
    void *memory = mmap(NULL, sizeof *offset_ms, PROT_READ, MAP_SHARED, file, 0);
    (void)close(file);
    if (memory != MAP_FAILED)
        offset_ms = memory;
}

int clock_gettime(clockid_t clock, struct timespec *out)
{
    if (real_clock_gettime == NULL)
        *(void **)&real_clock_gettime = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real_clock_gettime(clock, out);
    bool is_wall = clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE;
    if (result != 0 || !is_wall || offset_ms == NULL)
        return result;
    int64_t offset = *offset_ms;
    out->tv_sec += (time_t)(offset / 1000);
    out->tv_nsec += (long)(offset % 1000) * 1000000;
    if (out->tv_nsec < 0) {
        out->tv_nsec += 1000000000;
        out->tv_sec--;
    } else if (out->tv_nsec >= 1000000000) {
        out->tv_nsec -= 1000000000;
        out->tv_sec++;
    }
    return 0;
}

int gettimeofday(struct timeval *restrict out, void *restrict zone)
{
    struct timespec now;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &now) != 0)
        return -1;
    out->tv_sec = now.tv_sec;
    out->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *out)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    if (out != NULL)
        *out = now.tv_sec;
    return now.tv_sec;
}
