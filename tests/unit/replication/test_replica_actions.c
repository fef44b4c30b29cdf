/* SPDX-License-Identifier: MIT */
/* How many actions the largest step makes: a cluster as large as can be, in which every member has
 * moved and is down. */
#include "replication/replica.h"
#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EPOCH 65537u
#define LARGEST_STEP 147 /* as measured; REPLICA_ACTIONS_MAX must be above it */

struct world {
    struct replica *replica;
    struct replica_actions actions;
    uint8_t members[REPLICA_MEMBERS_BYTES_MAX];
    uint64_t now_ms;
    size_t largest; /* step so far */
};

/* kind: 1 as listed, 2 where the member has moved to, 3 a seed. */
static const char *address_of(unsigned kind, unsigned id)
{
    static char texts[4][REPLICA_MEMBERS_MAX + 1][32];
    char *text = texts[kind][id];
    (void)snprintf(text, sizeof texts[kind][id], "10.%u.0.%u:1", kind, id);
    return text;
}

static uint8_t *put_text(uint8_t *at, const char *text)
{
    *at++ = 0;
    *at++ = (uint8_t)strlen(text);
    memcpy(at, text, strlen(text));
    return at + strlen(text);
}

/* All are voters in sync. */
static size_t pack_members(uint8_t *bytes)
{
    uint8_t *at = bytes;
    *at++ = 1;
    *at++ = REPLICA_MEMBERS_MAX;
    for (unsigned id = 1; id <= REPLICA_MEMBERS_MAX; id++) {
        const uint8_t head[] = {0, (uint8_t)id, 0, 1, 5};
        memcpy(at, head, sizeof head);
        at = put_text(at + sizeof head, address_of(1, id));
        at = put_text(at, address_of(1, id));
    }
    return (size_t)(at - bytes);
}

static void step(struct world *world, struct replica_event event)
{
    event.now_ms = world->now_ms;
    assert_int_equal(replica_step(world->replica, &event, &world->actions), OK);
    if (world->actions.count > world->largest)
        world->largest = world->actions.count;
}

/* Node 1 of a cluster with data, which has moved like all others. */
static void open_world(struct world *world, enum replica_policy policy)
{
    *world = (struct world){.now_ms = 1000};
    const char *seeds[REPLICA_SEEDS_MAX];
    for (unsigned i = 0; i < REPLICA_SEEDS_MAX; i++)
        seeds[i] = address_of(3, i);
    struct replica_options options = {.id = 1,
                                      .internal = address_of(2, 1),
                                      .client = address_of(2, 1),
                                      .policy = policy,
                                      .seeds = seeds,
                                      .seeds_count = REPLICA_SEEDS_MAX};
    assert_int_equal(replica_new(&world->replica, &options), OK);
    const struct epoch_start epoch = {.epoch = EPOCH, .first_seq = 1};
    struct replica_state state = {.promised = EPOCH,
                                  .last = {EPOCH, 2},
                                  .first_seq = 1,
                                  .epochs = {&epoch, 1},
                                  .members = world->members,
                                  .members_position = {EPOCH, 1},
                                  .last_orphan = 3,
                                  .has_chat = true};
    state.members_size = pack_members(world->members);
    memset(state.cluster, 7, sizeof state.cluster);
    step(world, (struct replica_event){.kind = REPLICA_START, .state = &state});
}

/* Each member calls from its new address; none sees a master. */
static void hear_all(struct world *world)
{
    for (unsigned id = 2; id <= REPLICA_MEMBERS_MAX; id++) {
        struct replica_message query = {
            .kind = REPLICA_LEADER_QUERY, .from = (uint16_t)id, .internal = address_of(2, id)};
        memset(query.cluster, 7, sizeof query.cluster);
        step(world, (struct replica_event){.kind = REPLICA_RECEIVE, .message = &query});
    }
}

static void lose_all(struct world *world)
{
    for (unsigned id = 2; id <= REPLICA_MEMBERS_MAX; id++)
        step(world,
             (struct replica_event){.kind = REPLICA_DISCONNECTED, .address = address_of(2, id)});
}

/* The last tick asks every address, draws an epoch, is the master at once, and looks for the others. */
TEST(test_replica_step__largest_number_of_actions)
{
    struct world *world = malloc(sizeof *world);
    assert_non_null(world);
    size_t largest = 0;
    for (unsigned policy = 0; policy < 3; policy++)
        for (uint64_t tick_ms = 10; tick_ms <= 250; tick_ms += 10) {
            open_world(world, (enum replica_policy)policy);
            hear_all(world);
            lose_all(world);
            for (unsigned i = 0; i < 400; i++) {
                world->now_ms += tick_ms;
                step(world, (struct replica_event){.kind = REPLICA_TICK});
                step(world, (struct replica_event){.kind = REPLICA_DURABLE,
                                                   .position = replica_last(world->replica)});
            }
            largest = world->largest > largest ? world->largest : largest;
            replica_free(world->replica);
        }
    free(world);
    assert_int_equal(largest, LARGEST_STEP);
    assert_true(largest <= REPLICA_ACTIONS_MAX);
}
