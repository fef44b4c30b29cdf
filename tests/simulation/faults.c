/* SPDX-License-Identifier: MIT */
/* What goes wrong, and when. */
#include "segment_log/segment_log.h"
#include "sim.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define DELAY_MIN_US (1 * MS)
#define DELAY_MAX_US \
    (250 * MS) /* with the interval of pings, and its answer, below --ping_timeout */
#define DELAY_STEP_US (50 * MS)
#define TAIL_RECORDS_MAX 64 /* of one segment: see log_segment_bytes in world.c */
#define VISIT_US \
    (9 * SECOND) /* a client gives a session up after five, if it does not see a stranger */

static struct server *any_server(void)
{
    return &world.servers[sim_below(world.options.servers)];
}

/* The master is the most interesting victim. */
static struct server *victim(void)
{
    struct server *master = sim_chance(400) ? server_master() : NULL;
    return master != NULL ? master : any_server();
}

/* In `all`, one of those that have everything stays. */
static bool may_crash(const struct server *server)
{
    if (!world.is_gentle)
        return true;
    const struct server *master = server_master();
    if (master == NULL)
        return false;
    const struct replica *replica = cluster_replica(master->core.cluster);
    const struct replica_member *members;
    size_t count = replica_members(replica, &members);
    for (size_t i = 0; i < count; i++) {
        const struct server *other = &world.servers[members[i].id - 1];
        if (other != server && other->is_up && !other->is_stopping && members[i].in_sync &&
            !members[i].left && other->process.effects_left == 0 &&
            (other->core.role == REPLICA_MASTER || other->core.role == REPLICA_SLAVE))
            return true;
    }
    return false;
}

/* Between two effects of whatever it does next, or now. */
static void crash_one(struct server *server)
{
    if (!server->is_up || server->process.effects_left > 0 || !may_crash(server))
        return;
    bool loses_power = sim_chance(300);
    if (sim_chance(200)) {
        server_stop(server);
    } else if (sim_chance(700)) {
        server->process.loses_power = loses_power;
        server->process.effects_left = 1 + sim_below(sim_chance(500) ? 12 : 60);
        trace("s%u will die after %llu effects", server->number + 1,
              (unsigned long long)server->process.effects_left);
    } else {
        server_kill(server, loses_power);
    }
}

static void move(struct server *server)
{
    unsigned host = 100 + (unsigned)sim_below(100);
    (void)snprintf(server->internal, sizeof server->internal, "10.0.%u.%u:2626", 1 + server->number,
                   host);
    trace("s%u moves to %s", server->number + 1, server->internal);
}

static void heal(void *context, uint64_t id)
{
    (void)context;
    if (id != world.heal_id)
        return;
    trace("cuts heal");
    network_heal();
}

static void heal_later(uint64_t after)
{
    sim_at(sim_now() + after, heal, NULL, ++world.heal_id);
}

void faults_cut(const bool side[static HOSTS_MAX], bool is_one_way)
{
    network_heal();
    for (unsigned from = 0; from < HOSTS_MAX; from++)
        for (unsigned to = 0; to < HOSTS_MAX; to++)
            network_cut(from, to, side[from] != side[to] && (!is_one_way || side[from]));
}

/* Others have all that it has: everybody is in sync, and it has nothing of its own. */
static bool may_be_emptied(const struct server *server)
{
    const char *why;
    unsigned members = 0;
    for (unsigned i = 0; i < world.options.servers; i++) {
        members += !world.servers[i].has_left;
        if (world.servers[i].process.effects_left > 0 || world.servers[i].is_to_be_emptied ||
            world.servers[i].was_emptied)
            return false;
    }
    bool is_enough = world.options.policy == REPLICA_QUORUM ? members >= 3 : members >= 2;
    return server->is_up && is_enough && check_converged(&why);
}

static void flip_one(void *context, uint64_t id)
{
    (void)context;
    (void)id;
    struct server *server = any_server();
    if (world.is_quiet || !may_be_emptied(server))
        return;
    server->is_to_be_flipped = server->was_emptied = true;
    server_kill(server, sim_chance(300));
}

static void empty_one(void *context, uint64_t id)
{
    (void)context;
    (void)id;
    struct server *server = any_server();
    if (world.is_quiet || !may_be_emptied(server))
        return;
    server->is_to_be_emptied = server->was_emptied = true;
    server_kill(server, sim_chance(300));
    if (server->number > 0)
        return;
    /* The first one, alone and blank, founds a cluster. */
    faults_cut((const bool[HOSTS_MAX]){true}, false);
    heal_later(3 * SECOND + sim_below(SECOND));
}

struct tail {
    uint64_t number; /* of the newest segment with a record */
    uint64_t end;    /* of its last record */
    struct segment_log_item records[TAIL_RECORDS_MAX];
    size_t count;
};

static enum error note_record(void *context, const struct segment_log_item *item)
{
    struct tail *tail = context;
    if (item->kind != SEGMENT_LOG_ITEM_ENTRY)
        return OK;
    if (item->number != tail->number)
        tail->count = 0;
    ASSERT(tail->count < TAIL_RECORDS_MAX);
    tail->number = item->number;
    tail->end = item->offset + item->size;
    tail->records[tail->count++] = *item;
    return OK;
}

/* Each record says what was durable when it was written. So a log that ends before that has lost it. */
void faults_flip(struct server *server)
{
    static struct tail tail;
    char folder[32];
    char name[32];
    struct error_text why;
    tail.number = tail.count = 0;
    (void)snprintf(folder, sizeof folder, "/sim/%u", server->number + 1);
    enum error error = segment_log_inspect(folder, NULL, note_record, &tail, &why);
    if (error != OK || tail.count == 0)
        return;
    uint64_t from = sim_chance(400) ? tail.records[tail.count - 1].offset : 0;
    uint64_t offset = from + sim_below(tail.end + (sim_chance(200) ? 64 : 0) - from);
    for (size_t i = 0; i < tail.count; i++) {
        const struct segment_log_item *record = &tail.records[i];
        bool is_hit = offset >= record->offset && offset < record->offset + record->size;
        if (!is_hit && record->synced_seq > server->proven)
            server->proven = record->synced_seq;
    }
    (void)snprintf(name, sizeof name, "log/%016llu.log", (unsigned long long)tail.number);
    server->is_flipped = true;
    disk_flip(server->process.host, name, offset, (unsigned)sim_below(8));
    trace("a bit of s%u turns over in %s at byte %llu; %llu was durable", server->number + 1, name,
          (unsigned long long)offset, (unsigned long long)server->proven);
}

static void crash(void)
{
    struct server *server = victim();
    crash_one(server);
    if (!server->is_up && (world.options.faults & FAULT_MOVE) != 0 && sim_chance(300))
        move(server);
    for (unsigned i = 0; i < world.options.servers && !world.is_gentle; i++)
        if (sim_chance(60))
            crash_one(&world.servers[i]);
}

static void partition(void)
{
    bool side[HOSTS_MAX];
    bool is_one_way = sim_chance(300);
    bool is_single = sim_chance(400);
    unsigned alone = victim()->number;
    for (unsigned i = 0; i < HOSTS_MAX; i++)
        side[i] = is_single ? i == alone || (i >= SERVERS_MAX && sim_chance(300)) : sim_chance(500);
    faults_cut(side, is_one_way);
    trace("partition%s", is_one_way ? ", one way" : "");
    heal_later(50 * MS + sim_below(4 * SECOND));
}

static void pause_one(void)
{
    bool is_person = sim_chance(200);
    struct process *process =
        is_person ? &world.people[sim_below(PEOPLE_MAX)].process : &victim()->process;
    process->paused_until = sim_now() + 20 * MS + sim_below(2500 * MS);
    trace("host %u pauses until %.3f", process->host, (double)process->paused_until / 1000.0);
}

static void disk(void)
{
    unsigned host = victim()->process.host;
    if (sim_chance(500)) {
        disk_stall(host, sim_now() + sim_below(3500 * MS));
        trace("the disk of host %u stalls", host);
    } else {
        disk_fail(host, sim_now() + sim_below(1500 * MS), sim_chance(500) ? ENOSPC : EIO);
        trace("the disk of host %u fails", host);
    }
}

/* Often at once: the writes that undo a failed one may fail, too. */
static void fill(void)
{
    unsigned host = victim()->process.host;
    uint64_t after = sim_below(sim_chance(500) ? 10 : 200);
    uint64_t count = 1 + sim_below(sim_chance(700) ? 3 : 40);
    disk_fill(host, after, count);
    trace("the disk of host %u is full after %llu writes, for %llu", host,
          (unsigned long long)after, (unsigned long long)count);
}

static void leave(void)
{
    struct server *master = server_master();
    struct server *leaver = any_server();
    struct server *asked = sim_chance(500) ? master : leaver;
    if (!world.may_leave || master == NULL || !asked->is_up || !sim_chance(100))
        return;
    world.may_leave = false;
    leaver->may_leave = true;
    trace("s%u is told that s%u shall leave", asked->number + 1, leaver->number + 1);
    process_enter(&asked->process);
    enum error error = cluster_leave(asked->core.cluster, (uint16_t)(leaver->number + 1));
    process_leave(&asked->process);
    (void)error;
    if (!asked->process.is_cut)
        process_wake(&asked->process, sim_now());
}

static void kill_client(void)
{
    struct person *person = &world.people[sim_below(PEOPLE_MAX + world.guests)];
    bool may_log_in = (world.options.faults & FAULT_STRANGER) == 0;
    bool keeps_state = sim_chance(800) || !may_log_in;
    if (keeps_state && person->is_up && person->is_in && sim_chance(700))
        person->process.effects_left = 1 + sim_below(20);
    else
        person_kill(person, keeps_state);
}

static void jump_clock(void)
{
    victim()->process.wall_offset_us += (int64_t)sim_below(40 * SECOND) - (int64_t)(20 * SECOND);
}

/* A dead server stays away for a while, and a server of another cluster has its addresses. */
static void visit(void)
{
    struct server *absent = victim();
    if (world.stranger.is_up)
        return;
    if (absent->is_up && absent->process.effects_left == 0 && may_crash(absent))
        server_kill(absent, false);
    if (absent->is_up || absent->has_left)
        return;
    absent->restart_at = sim_now() + 200 * MS + sim_below(sim_chance(500) ? 3 * SECOND : VISIT_US);
    trace("a stranger has the addresses of s%u", absent->number + 1);
    stranger_start(absent);
}

static void happen(void)
{
    static const unsigned bits[] = {FAULT_CRASH, FAULT_PARTITION, FAULT_PAUSE,  FAULT_DISK,
                                    FAULT_LEAVE, FAULT_BREAK,     FAULT_CLIENT, FAULT_CLOCK,
                                    FAULT_EMPTY, FAULT_STRANGER,  FAULT_FLIP,   FAULT_FULL};
    unsigned kinds[sizeof bits / sizeof *bits];
    size_t count = 0;
    for (size_t i = 0; i < sizeof bits / sizeof *bits; i++)
        if ((world.options.faults & bits[i]) != 0)
            kinds[count++] = bits[i];
    if (count == 0)
        return;
    world.stats.faults++;
    switch (kinds[sim_below(count)]) {
    case FAULT_CRASH:
        crash();
        break;
    case FAULT_PARTITION:
        partition();
        break;
    case FAULT_PAUSE:
        pause_one();
        break;
    case FAULT_DISK:
        disk();
        break;
    case FAULT_LEAVE:
        leave();
        break;
    case FAULT_BREAK:
        network_break(sim_chance(300) ? 1000 : 200);
        break;
    case FAULT_CLIENT:
        kill_client();
        break;
    case FAULT_EMPTY: /* people pause, so that everybody gets everything */
        world.silent_until = sim_now() + 200 * MS;
        sim_at(sim_now() + 150 * MS, empty_one, NULL, 0);
        break;
    case FAULT_FLIP:
        world.silent_until = sim_now() + 200 * MS;
        sim_at(sim_now() + 150 * MS, flip_one, NULL, 0);
        break;
    case FAULT_FULL:
        fill();
        break;
    case FAULT_STRANGER:
        visit();
        break;
    default:
        jump_clock();
    }
}

static void next_fault(void *context, uint64_t id)
{
    (void)context;
    (void)id;
    if (world.is_quiet)
        return;
    happen();
    sim_at(sim_now() + 5 * MS + sim_below(2 * world.fault_every), next_fault, NULL, 0);
}

void faults_begin(void)
{
    network_set_loss((world.options.faults & FAULT_LOSS) != 0 ? 5 + (unsigned)sim_below(60) : 0);
    sim_at(sim_now() + sim_below(world.fault_every), next_fault, NULL, 0);
}

void faults_end(void)
{
    world.is_quiet = true;
    world.heal_id++;
    network_heal();
    network_set_loss(0);
    network_set_delay(0);
    for (unsigned i = 0; i < HOSTS_MAX; i++) {
        disk_stall(i, 0);
        disk_fail(i, 0, 0);
        disk_fill(i, 0, 0);
    }
    for (unsigned i = 0; i < world.options.servers; i++) {
        struct server *server = &world.servers[i];
        bool is_replaced = strcmp(server->internal, world.stranger.internal) == 0;
        if (!server->is_up && !is_replaced && server->restart_at > sim_now() + SECOND)
            server->restart_at = sim_now() + sim_below(SECOND);
    }
    trace("no more faults");
}

/* ---- delays that are no faults ---- */

/* A busy machine: for up to delay_us a process does not run, or its disk does not write. Two delays in a row
 * could add up to a fault. */
static void be_late(struct server *server)
{
    struct process *process = &server->process;
    uint64_t until = sim_now() + world.delay_us / 2 + sim_below(world.delay_us / 2);
    bool is_disk = sim_chance(300);
    uint64_t late_until = is_disk ? disk_stalled_until(process->host) : process->paused_until;
    if (late_until + world.delay_us > sim_now())
        return;
    world.stats.faults++;
    if (is_disk)
        disk_stall(process->host, until);
    else
        process->paused_until = until;
}

/* In a second the delay doubles, or becomes half, at most. */
static void change_delay(void *context, uint64_t id)
{
    (void)context;
    (void)id;
    if (world.is_quiet)
        return;
    if (sim_chance(30))
        world.delay_goal_us = sim_chance(500) ? DELAY_MAX_US : DELAY_MIN_US;
    uint64_t step_us = world.delay_us / 28;
    bool grows = world.delay_us < world.delay_goal_us;
    world.delay_us += grows ? step_us : world.delay_us > DELAY_MIN_US ? -step_us : 0;
    if (world.delay_us > DELAY_MAX_US)
        world.delay_us = DELAY_MAX_US;
    network_set_delay(world.delay_us / 16);
    if (sim_chance(300))
        be_late(victim());
    sim_at(sim_now() + DELAY_STEP_US, change_delay, NULL, 0);
}

void delays_begin(void)
{
    if ((world.options.faults & FAULT_DELAY) == 0)
        return;
    world.delay_us = DELAY_MIN_US << sim_below(7);
    world.delay_goal_us = world.delay_us;
    sim_at(sim_now() + DELAY_STEP_US, change_delay, NULL, 0);
}
