/* SPDX-License-Identifier: MIT */
/* sim.h - what the files of the simulator share. docs/simulation.md describes the whole.
 *
 * A run is one world: hosts with a disk each, processes on the hosts, and a network between them. The
 * processes are the shipping server (src/server's core) and the shipping client library. Everything runs
 * on one thread and one virtual clock; one seed decides all that is left to chance.
 *
 *   engine.c   events, processes, time and randomness
 *   threads.c  base/task_queue.h, commit/worker.h, commit/trial.h and commit/fatal.h, without threads
 *   network.c  nng and the dialling part of src/rpc
 *   disk.c     files, and SQLite's VFS
 *   world.c    servers and clients as programs; faults.c, people.c and check.c use them */
#ifndef JACKDAW_SIMULATION_SIM_H
#define JACKDAW_SIMULATION_SIM_H

#include "base/task_queue.h"
#include "client/client.h"
#include "server/core.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SERVERS_MAX 5
#define PEOPLE_MAX 3 /* those whose messages are checked; the guests follow */
#define GUESTS_MAX 2
#define HOSTS_MAX \
    (SERVERS_MAX + PEOPLE_MAX + GUESTS_MAX + 1) /* servers, people, guests, a stranger */
#define ROOMS 2
#define GUEST_TEXT "a guest says something"
#define MS UINT64_C(1000) /* virtual time counts in microseconds */
#define SECOND UINT64_C(1000000)

/* ---- engine.c ---- */

/* A process on a host. Its program is a server or a person; turn does what is due for it. */
struct process {
    unsigned host; /* 0 .. HOSTS_MAX - 1 */
    void *program;
    void (*turn)(struct process *process);
    bool (*is_due)(const struct process *process); /* whether a turn would do anything now */
    void (*reap)(
        struct process *process); /* releases what a cut process had; sets is_cut to false */
    bool is_cut;                  /* killed: it has no effect on others any more */
    bool loses_power;             /* where it is cut, its host loses power with it */
    uint64_t effects_left;        /* it is cut when so many effects have happened; 0: no limit */
    uint64_t spent_us;            /* time that the current activity took so far */
    uint64_t busy_until;          /* the activity before takes until then */
    uint64_t paused_until;        /* stopped, as by SIGSTOP */
    uint64_t wakes_at;            /* UINT64_MAX: nothing is scheduled */
    uint64_t deadline;            /* the turn is due then, whatever happens */
    int64_t wall_offset_us;
    uint64_t id; /* counts processes; 0: it is over */
    uint64_t random;
};

void engine_reset(uint64_t seed);
uint64_t sim_now(void); /* us; includes what the current activity has spent */
uint64_t sim_steps(void);
uint64_t sim_draw(void);                /* of the world */
uint64_t sim_below(uint64_t bound);     /* 0 .. bound - 1 */
bool sim_chance(unsigned per_thousand); /* true in so many of 1,000 cases */

/* Runs run(context, id) at the time; of equal times the first one scheduled comes first. Whatever id
 * names may be gone by then: run looks. */
void sim_at(uint64_t at, void (*run)(void *context, uint64_t id), void *context, uint64_t id);
/* Runs the next event. false: there is none. */
bool sim_next(void);

/* Starts and ends what a process does. Between them sim_current is the process. */
void process_init(struct process *process, unsigned host);
void process_enter(struct process *process);
void process_leave(struct process *process);
struct process *sim_current(void);
/* Schedules a turn, not before `at`. */
void process_wake(struct process *process, uint64_t at);
bool process_is_stopped(const struct process *process); /* paused now */
/* The process is about to have an effect on the disk or the network. false: it is dead, and has none. */
bool process_may_act(void);
/* Cuts it now. The owner releases its memory afterwards. */
void process_cut(struct process *process);

void trace(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Ends the run: says what is broken and how to replay it. */
_Noreturn void broken(const char *invariant, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* ---- threads.c ---- */

void threads_reset(void);
bool task_queue_has_work(const struct task_queue *queue);

/* ---- network.c ---- */

void network_reset(void);
/* Ends all connections and listeners of a process that was cut. is_silent: the peers are not told. */
void network_drop(const struct process *process, bool is_silent);
void network_cut(unsigned from, unsigned to, bool is_cut); /* hosts, one direction */
void network_heal(void);
void network_set_loss(unsigned per_thousand); /* of feed messages and replies; others come late */
void network_set_delay(uint64_t us);          /* each message takes up to that longer */
/* Breaks some connections. */
void network_break(unsigned per_thousand);
void network_host_is_off(unsigned host, bool is_off);
uint64_t network_messages(void);

/* ---- disk.c ---- */

void disk_start(void); /* once a process */
void disk_reset(void);
void disk_stall(unsigned host, uint64_t until);
void disk_fail(unsigned host, uint64_t until, int number); /* EIO or ENOSPC */
bool disk_fails_now(unsigned host);
/* After so many more writes the disk is full for `count` writes. One of libc may write its beginning. */
void disk_fill(unsigned host, uint64_t after, uint64_t count);
uint64_t disk_refused(unsigned host); /* writes, so far */
/* Turns one bit of a file over, also of what was synced. name: as in the data folder. */
void disk_flip(unsigned host, const char *name, uint64_t offset, unsigned bit);
void disk_lose_power(unsigned host); /* what was not synced is lost, whole or in part */
void disk_empty(unsigned host);
uint64_t disk_stalled_until(unsigned host);
/* Around the release of a cut process: the memory that it mapped is the file's as it was. */
void disk_keep_mapped(unsigned host);
void disk_restore_mapped(unsigned host);

/* ---- world.c ---- */

enum fault_bits {
    FAULT_CRASH = 1,
    FAULT_LOSS = 2,
    FAULT_PARTITION = 4,
    FAULT_PAUSE = 8,
    FAULT_DISK = 16,
    FAULT_LEAVE = 32,
    FAULT_BREAK = 64,      /* connections end */
    FAULT_CLIENT = 128,    /* clients are killed, with and without their state */
    FAULT_MOVE = 256,      /* servers come back at other addresses */
    FAULT_PRUNE = 512,     /* logs are short: --log_keep is small */
    FAULT_EMPTY = 1024,    /* servers come back without data */
    FAULT_CLOCK = 2048,    /* wall clocks differ and jump */
    FAULT_GUESTS = 4096,   /* no fault: guests come, do whatever a client can ask for, and go */
    FAULT_STRANGER = 8192, /* a server of another cluster comes to the addresses of a dead one */
    FAULT_DELAY = 16384,   /* no fault: delays grow and shrink, and no server may suspect another */
    FAULT_FLIP = 32768,    /* bits of the log turn over, if others have all of it */
    FAULT_FULL = 65536,    /* a disk is full for a few writes */
    FAULT_LIE = 131072     /* a test of the checks: syncs of the log do nothing */
};

struct options {
    uint64_t seed;
    uint64_t steps; /* events under faults */
    unsigned servers;
    enum replica_policy policy;
    unsigned faults;
    bool trace;
    bool logs; /* prints the logs of the servers, too */
    const char
        *end; /* a test of the simulator: the run ends after the set-up, by abort or by fatal */
};

struct server {
    struct process process;
    struct core core;
    struct server_options options;
    unsigned number; /* 0 ..; the id is number + 1 */
    bool is_up;
    bool has_left;
    bool may_leave; /* was told to, and may do so at any time */
    bool is_stopping;
    bool forwards;             /* --forward */
    bool was_emptied;          /* once a run */
    bool is_to_be_emptied;     /* its next death takes the disk along */
    bool is_to_be_flipped;     /* its next death turns a bit of its log over */
    bool is_flipped;           /* since its last start */
    uint64_t proven;           /* seq that its log says was durable; 0: not to be checked */
    const struct store *store; /* the one at the last look: another one means a snapshot */
    uint64_t orphans;          /* at the last look */
    uint64_t reads;            /* the same: that it answered as a slave */
    uint64_t restart_at;       /* UINT64_MAX: none scheduled */
    char internal[32];
    char client[32];
    struct log_position committed; /* seen so far in this life */
    bool was_master;
    unsigned voters;   /* bit for each by its id, when it committed last as a master */
    uint64_t promised; /* the highest that was seen, in any life */
};

struct person;
enum request_kind { SENT_ROOM, SENT_PERSON, SENT_NOWHERE, SENT_JOIN, SENT_HISTORY, SENT_OTHER };
struct request_record {
    struct person *person;
    uint64_t number; /* of the person's messages, from 1 */
    enum request_kind kind;
    unsigned target; /* room, or person */
    bool is_acked;
    bool is_ended;
    bool is_lost; /* of a client that was killed without its state before it was acked */
    enum status status;
    uint64_t session, request;
    uint64_t room_number; /* of the message in its room */
    unsigned told;        /* bit for each person who was told it */
    bool was_told_status;
    enum status told_status;
    uint64_t floor; /* highest acked room_number of the room when it was asked; of a history: the
                       highest that the session had seen */
    unsigned found; /* at the end, on one server */
};

struct person {
    struct process process;
    struct client *client;
    unsigned number;
    bool is_up;
    bool is_in;         /* logged in, in the rooms */
    unsigned waits_for; /* requests of the set-up that are under way */
    uint64_t session;
    uint64_t acts_at;
    uint64_t restart_at;
    struct request_record **sent;
    size_t sent_count;
    size_t sent_capacity;
    size_t open;                 /* requests under way */
    uint64_t answers;            /* for good */
    uint64_t last_number[ROOMS]; /* read */
    uint64_t seen_number[ROOMS]; /* the highest that its session has seen in any way */
    bool was_killed;
    bool may_repeat; /* its client was killed and is told a last few events again */
    bool was_blank;  /* its client has begun without a state file since the set-up */
};

#define DELTA_KINDS 32 /* the numbers of Delta's fields are less */

struct stats {
    uint64_t runs, steps, us, acks, events, crashes, powers, kills, faults, epoch_starts, snapshots,
        orphans, restarts, messages, emptied, blanks, strangers, splits, reads, histories, flips,
        repairs, refused;
    uint64_t deltas[DELTA_KINDS]; /* in the logs at the end, by kind */
};

struct world {
    struct options options;
    struct server servers[SERVERS_MAX];
    struct server stranger;
    uint8_t cluster[REPLICA_CLUSTER_BYTES]; /* of the servers, from the set-up on */
    struct person people[PEOPLE_MAX + GUESTS_MAX];
    unsigned guests;
    bool is_strict;
    bool is_gentle;
    bool is_set_up;
    bool is_quiet;
    bool is_finishing;
    bool is_busy; /* people ask without a pause, and the log keeps little */
    bool may_leave;
    uint64_t fault_every;
    bool asks_once;        /* people stop when they are served */
    uint64_t silent_until; /* people ask for nothing */
    bool is_over;
    uint64_t heal_id;
    uint64_t acked_number[ROOMS]; /* the highest */
    uint64_t delay_us;            /* of now; see FAULT_DELAY */
    uint64_t delay_goal_us;
    struct stats stats;
};
extern struct world world;

void world_run(const struct options *options, struct stats *totals);
void server_start(struct server *server, bool is_first);
void server_kill(struct server *server, bool loses_power);
void server_stop(struct server *server);
struct server *server_master(void);
/* A blank server that was started as the first founds a cluster, and gives it up when it meets ours. */
bool server_is_of_cluster(const struct server *server);
void stranger_start(const struct server *absent);
void stranger_stop(void);

/* ---- people.c ---- */
void person_start(struct person *person);
void person_kill(struct person *person, bool keeps_state);
void person_stop(struct person *person);
bool people_are_in(void);
bool people_are_done(void);

/* ---- faults.c ---- */
void faults_begin(void);
void faults_end(void);
void delays_begin(void);
/* Turns a bit of the newest segment of the server's log over. The server is dead. */
void faults_flip(struct server *server);
void faults_cut(const bool side[static HOSTS_MAX], bool is_one_way); /* between two sides */

/* ---- check.c ---- */
void check_reset(void);
void check_start(struct server *server);  /* when it has opened its data */
void check_server(struct server *server); /* after each of its turns */
void check_acked(struct request_record *sent);
void check_event(struct person *person, const Jackdaw__Event *event);
void check_history(struct request_record *sent, const Jackdaw__HistoryReply *reply);
void check_note_seen(struct person *person, unsigned room, uint64_t number);
bool check_everything_told(void);
bool check_converged(const char **why);
void check_final(void);

#endif
