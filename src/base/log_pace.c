/* SPDX-License-Identifier: MIT */
#include "base/log_pace.h"

#include "base/clock.h"

#include <pthread.h>

struct place {
    uint64_t hash; /* of event and key */
    uint64_t until_ms;
    uint64_t left_out;
    bool is_used;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* protects the places */
static struct place places[LOG_PACE_KEYS];
static struct place shared; /* by the keys that have no place */

/* FNV-1a. Two keys with the same hash share a pace, which is harmless. */
static uint64_t hash_text(uint64_t hash, const char *text)
{
    for (const unsigned char *at = (const unsigned char *)text; *at != '\0'; at++)
        hash = (hash ^ *at) * 0x100000001B3u;
    return hash * 0x100000001B3u; /* the end counts, too: "ab","c" is not "a","bc" */
}

/* The place of the hash, or one whose time is over, or the shared one. */
static struct place *find_place(uint64_t hash, uint64_t now_ms)
{
    struct place *free_place = NULL;
    for (size_t i = 0; i < LOG_PACE_KEYS; i++) {
        struct place *place = &places[i];
        if (place->is_used && place->hash == hash)
            return place;
        bool is_free = !place->is_used || (now_ms >= place->until_ms && place->left_out == 0);
        if (is_free && free_place == NULL)
            free_place = place;
    }
    for (size_t i = 0; i < LOG_PACE_KEYS && free_place == NULL; i++)
        if (now_ms >= places[i].until_ms)
            free_place = &places[i];
    if (free_place == NULL)
        return &shared;
    *free_place = (struct place){.hash = hash, .is_used = true};
    return free_place;
}

bool log_pace_allows_at(const char *event, const char *key, uint64_t now_ms, uint64_t *left_out)
{
    uint64_t hash = hash_text(hash_text(0xCBF29CE484222325u, event), key == NULL ? "" : key);
    (void)pthread_mutex_lock(&mutex);
    struct place *place = find_place(hash, now_ms);
    bool is_allowed = now_ms >= place->until_ms;
    if (is_allowed) {
        *left_out = place->left_out;
        place->left_out = 0;
        place->until_ms = now_ms + LOG_PACE_MS;
    } else {
        place->left_out++;
    }
    (void)pthread_mutex_unlock(&mutex);
    return is_allowed;
}

bool log_pace_allows(const char *event, const char *key, uint64_t *left_out)
{
    return log_pace_allows_at(event, key, clock_monotonic_ms(), left_out);
}
