/* SPDX-License-Identifier: MIT */
/* replica_fixture.h - a few replicas on a table: messages arrive at once and in order, disks sync
 * when told, time moves when told. For cases that are about one rule; what chance can do to all of
 * them together is tests/simulation's. */
#ifndef JACKDAW_TESTS_REPLICA_REPLICA_FIXTURE_H
#define JACKDAW_TESTS_REPLICA_REPLICA_FIXTURE_H

#include "replication/replica.h"

#define REPLICA_FIXTURE_LEVEL 7 /* feature level of every node but an old one */
#define REPLICA_FIXTURE_NODES 5
#define REPLICA_FIXTURE_ROWS 512

struct replica_fixture_node {
    struct replica *replica; /* NULL: not running */
    bool cut;                /* neither sends nor receives */
    bool holds_sync;         /* appends stay unsynced until replica_fixture_sync */
    /* the disk */
    struct log_entry rows[REPLICA_FIXTURE_ROWS];
    size_t rows_count;
    size_t synced;
    uint64_t promised;
    uint8_t cluster[REPLICA_CLUSTER_BYTES];
    struct log_entry orphans[REPLICA_FIXTURE_ROWS];
    size_t orphans_count;
    /* what was told */
    uint64_t committed;
    enum replica_rejection refusal;
    size_t told[REPLICA_NEWS]; /* by kind */
    size_t installs;
    size_t orphans_merged;
    const struct log_entry *kept;
    size_t kept_count;
    bool holds_install;        /* does not install yet: has to look first */
    size_t holds;              /* how often INSTALL was said to it */
    struct log_position avoid; /* of its state */
};

struct replica_fixture {
    uint16_t old_node; /* has the level before; 0: no node */
    struct replica_fixture_node nodes[REPLICA_FIXTURE_NODES + 1]; /* by id */
    unsigned count;
    enum replica_policy policy;
    uint64_t now_ms;
    uint32_t founding_wait_ms; /* not 0: those that are first have all others as seeds */
    unsigned hosts[REPLICA_FIXTURE_NODES + 1]; /* by id: of its address; 0: its id */
    uint16_t answering; /* whom the step that is being made has heard; 0: nobody */
    struct replica_actions actions;
    struct replica_fixture_message *first;
    struct replica_fixture_message **last;
    void *memory; /* freed at the end */
    /* Messages of this kind are counted. */
    size_t sent[REPLICA_MESSAGE_KINDS];
};

/* Nodes 1..count; node 1 starts a cluster and the others join. Addresses ascend with the ids. */
void replica_fixture_open(struct replica_fixture *fixture, unsigned count,
                          enum replica_policy policy);
void replica_fixture_close(struct replica_fixture *fixture);
/* The same on the heap. */
struct replica_fixture *replica_fixture_new(unsigned count, enum replica_policy policy);
void replica_fixture_free(struct replica_fixture *fixture);

/* The head of a test on the fixture `f`: the expression `open` makes the fixture. REPLICA_TEST makes one
 * with `count` nodes and the policy. */
#define REPLICA_TEST_OPEN(name, open) \
    TEST_OPEN(name, struct replica_fixture, open, replica_fixture_free)
#define REPLICA_TEST(name, count, policy) \
    REPLICA_TEST_OPEN(name, replica_fixture_new(count, policy))

void replica_fixture_address(const struct replica_fixture *fixture, uint16_t id,
                             char text[static 32]);
void replica_fixture_start(struct replica_fixture *fixture, uint16_t id, bool is_first);
/* The process ends; what was not synced is lost. Others are told that the link is down. */
void replica_fixture_kill(struct replica_fixture *fixture, uint16_t id);
void replica_fixture_kill_all(struct replica_fixture *fixture);
void replica_fixture_sync(struct replica_fixture *fixture, uint16_t id);
enum error replica_fixture_step(struct replica_fixture *fixture, uint16_t id,
                                const struct replica_event *event);
enum error replica_fixture_receive(struct replica_fixture *fixture, uint16_t id,
                                   const struct replica_message *message);
/* Node `to` receives the message as the answer to what it asked at the address of node `at`. */
enum error replica_fixture_answer(struct replica_fixture *fixture, uint16_t to, uint16_t at,
                                  const struct replica_message *message);
/* The link of node `id` to the address of node `other` is down. */
void replica_fixture_disconnect(struct replica_fixture *fixture, uint16_t id, uint16_t other);
/* Node `id` is asked to remove node `leaver`. */
enum error replica_fixture_leave(struct replica_fixture *fixture, uint16_t id, uint16_t leaver);
enum error replica_fixture_propose(struct replica_fixture *fixture, uint16_t id, uint64_t count);
/* Proposes, which must succeed, and delivers what is under way. */
void replica_fixture_write(struct replica_fixture *fixture, uint16_t id, uint64_t count);

/* Delivers what is under way. */
void replica_fixture_settle(struct replica_fixture *fixture);
/* Lets time pass in steps of 10 ms, with ticks. */
void replica_fixture_pass(struct replica_fixture *fixture, uint64_t ms);

enum replica_role replica_fixture_role(const struct replica_fixture *fixture, uint16_t id);
uint64_t replica_fixture_last(const struct replica_fixture *fixture, uint16_t id);
/* The one master, 0 if there is none or several. */
uint16_t replica_fixture_master(const struct replica_fixture *fixture);
/* The node is the one master, and all others that run are slaves. */
void replica_fixture_check_master(const struct replica_fixture *fixture, uint16_t master);

#endif
