/* SPDX-License-Identifier: MIT */
/* jitter.c - linked into a test: threads lose the processor after unlocking a mutex, at random. What
 * depends on the order in which threads run then fails in seconds instead of once in a hundred runs
 * on a busy machine. With ThreadSanitizer, which has its own pthread_mutex_unlock, it does nothing. */
#include "jitter.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#define PAUSE_EACH 16u /* on average, one unlocking in so many is followed by a pause */
#define PAUSE_NS_MAX 1000000u

static atomic_bool is_on;
static atomic_uint_fast64_t state;

void jitter_begin(uint64_t seed)
{
    atomic_store(&state, seed);
    atomic_store(&is_on, true);
}

#if !defined(__SANITIZE_THREAD__)

/* SplitMix64. */
static uint64_t next_random(void)
{
    uint64_t x = atomic_fetch_add(&state, 0x9e3779b97f4a7c15u) + 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

int pthread_mutex_unlock(pthread_mutex_t *mutex)
{
    static int (*_Atomic real)(pthread_mutex_t *);
    int (*unlock)(pthread_mutex_t *) = atomic_load(&real);
    if (unlock == NULL) {
        *(void **)&unlock = dlsym(RTLD_NEXT, "pthread_mutex_unlock");
        atomic_store(&real, unlock);
    }
    int result = unlock(mutex);
    if (!atomic_load(&is_on))
        return result;
    uint64_t random = next_random();
    if (random % PAUSE_EACH == 0)
        (void)nanosleep(&(struct timespec){.tv_nsec = (long)((random >> 8) % PAUSE_NS_MAX)}, NULL);
    return result;
}

#endif
