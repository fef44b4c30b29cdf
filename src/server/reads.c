/* SPDX-License-Identifier: MIT */
#include "server/reads.h"

#include "server/core.h"

#include <string.h>
#include <utlist.h>

#define RETRY_MS 50u
#define RETRY_WHEN_FULL_MS 200u
#define WAITING_BYTES 256u                            /* of a call's arena */
#define READERS_MS 2000u                              /* a read counts as a reader for so long */
#define STRANGERS_WAITING_MAX (READS_WAITING_MAX / 4) /* others beyond that are forwarded */
#define PART_OF_DEADLINE 2u /* a read waits for this part of its caller's time, at most */

static const char no_master_text[] = "this server has heard no master of late; ask another server";
static const char behind_text[] = "this server is behind the state that the request names";

/* A request that waits; in the call's arena. */
struct read_wait {
    struct read_wait *prev, *next;
    struct rpc_call *call;
    const ProtobufCService *service;
    unsigned method;
    const ProtobufCMessage *input;
    uint64_t until_ms;
};

/* ---- where ---- */

enum place { HERE, LATER, ELSEWHERE, NOWHERE };

static bool hears_master(const struct core *core)
{
    uint64_t seen_ms = replica_master_seen_ms(cluster_replica(core->cluster));
    return core->now_ms <= seen_ms + core->options->cluster.ping_timeout_ms;
}

static bool is_here(const struct core *core)
{
    bool follows = core->role == REPLICA_SLAVE || core->role == REPLICA_SUSPECTING;
    return follows && core->reports.state == REPORTS_ACCEPTED && hears_master(core);
}

static enum place place_of(const struct core *core)
{
    if (is_here(core))
        return HERE;
    bool is_catching_up = core->role == REPLICA_JOINING;
    bool is_old = core->role == REPLICA_SLAVE && core->reports.state == REPORTS_UNKNOWN;
    if ((is_catching_up || is_old) && forward_has_master(core->forward))
        return ELSEWHERE;
    bool is_new = core->role == REPLICA_SLAVE && hears_master(core);
    bool was_here = core->now_ms <= core->reads.here_ms + core->options->cluster.ping_timeout_ms;
    return is_new || was_here ? LATER : NOWHERE;
}

/* ---- which state ---- */

/* The methods that change nothing. */
static bool is_read(const char *method, const ProtobufCMessage *input)
{
    static const char *const names[] = {"ListAccounts", "ListRooms", "ListMembers", "History",
                                        "Receive"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(method, names[i]) == 0)
            return true;
    return strcmp(method, "Heartbeat") == 0 &&
           !((const Jackdaw__HeartbeatRequest *)input)->of_master;
}

static struct log_position later_of(struct log_position position, const Jackdaw__Position *after)
{
    if (after == NULL)
        return position;
    struct log_position other = {.epoch = after->epoch, .seq = after->seq};
    return log_position_compare(other, position) > 0 ? other : position;
}

/* A stream must not begin before its cursor. */
static struct log_position wanted_position(const struct rpc_call *call,
                                           const ProtobufCMessage *input)
{
    struct log_position position = rpc_call_position(call);
    if (strcmp(rpc_call_method(call), "Receive") == 0)
        return later_of(position, ((const Jackdaw__ReceiveRequest *)input)->after);
    if (strcmp(rpc_call_method(call), "Heartbeat") == 0)
        return later_of(position, ((const Jackdaw__HeartbeatRequest *)input)->after);
    return position;
}

/* Whether the committed state contains the position, or never will: it lies in a part of an earlier epoch
 * that this log does not have. */
static bool contains(const struct core *core, struct log_position position)
{
    struct log_position last = commit_log_applied(core->commit_log);
    if (position.seq == 0)
        return true;
    if (position.epoch > last.epoch)
        return false;
    uint64_t seq =
        position.epoch == last.epoch ? position.seq : chat_common_seq(core->chat, &position, 1);
    return seq <= commit_log_committed(core->commit_log).seq;
}

/* ---- taking ---- */

static bool is_known(const struct core *core, struct rpc_call *call)
{
    size_t size;
    const uint8_t *token = rpc_call_token(call, &size);
    return chat_authenticate(core->chat, token, size) != NULL;
}

/* Returns whether the call is still open and waits for nothing here: the handler is to run. */
static bool answers(struct core *core, struct rpc_call *call, const ProtobufCService *service,
                    unsigned method, const ProtobufCMessage *input)
{
    if (is_known(core, call)) {
        core->reads.read_ms = core->now_ms;
        core->reads.taken++;
        return true;
    }
    forward_call(core->forward, call, service, method, input); /* the master knows for certain */
    return false;
}

static uint64_t wait_until(const struct core *core, const struct rpc_call *call)
{
    uint32_t timeout_ms = rpc_call_timeout_ms(call);
    uint32_t wait_ms = READS_WAIT_MS;
    if (timeout_ms != 0 && timeout_ms / PART_OF_DEADLINE < wait_ms)
        wait_ms = timeout_ms / PART_OF_DEADLINE;
    return core->now_ms + wait_ms;
}

static void wait(struct core *core, const struct read_wait *read)
{
    core->reads.read_ms = core->now_ms; /* or a quiet master tells no commits (cluster_readers.c) */
    struct rpc_call *call = read->call;
    struct arena *arena = rpc_call_arena(call);
    arena->budget_bytes += WAITING_BYTES;
    uint16_t *of_class = &core->reads.waiting_of_class[session_class_of(call)];
    bool has_place =
        core->reads.waiting_count < READS_WAITING_MAX && *of_class < READS_WAITING_EACH;
    struct read_wait *copy = has_place ? arena_copy(arena, read, sizeof *read) : NULL;
    if (copy == NULL) {
        rpc_call_fail(call, STATUS_RESOURCE_EXHAUSTED, RETRY_WHEN_FULL_MS,
                      "too many requests wait for this server to catch up; try again in a moment");
        return;
    }
    copy->until_ms = wait_until(core, call);
    DL_APPEND(core->reads.waiting, copy);
    core->reads.waiting_count++;
    ++*of_class;
}

static void end_wait(struct core *core, struct read_wait *read)
{
    DL_DELETE(core->reads.waiting, read);
    core->reads.waiting_count--;
    core->reads.waiting_of_class[session_class_of(read->call)]--;
}

/* A read that may have ended a server is the master's, which tries it first (suspects.h). */
static bool may_be_here(const struct rpc_call *call, const ProtobufCMessage *input)
{
    const char *method = rpc_call_method(call);
    bool has_position = rpc_call_position(call).seq != 0;
    return is_read(method, input) &&
           (strcmp(method, "Receive") == 0 || (has_position && rpc_call_resent(call) == 0));
}

bool reads_admit(struct core *core, struct rpc_call *call, const ProtobufCService *service,
                 unsigned method, const ProtobufCMessage *input)
{
    enum place place = may_be_here(call, input) ? place_of(core) : ELSEWHERE;
    /* A cut-off slave may suspect its master for long with `quorum`. */
    bool is_lost = place == ELSEWHERE && core->role == REPLICA_SUSPECTING;
    if (rpc_call_is_forwarded(call) || place == NOWHERE || is_lost) {
        rpc_call_fail(call, STATUS_UNAVAILABLE, RETRY_MS, no_master_text);
        return false;
    }
    if (place == ELSEWHERE) {
        forward_call(core->forward, call, service, method, input);
        return false;
    }
    bool is_ready = place == HERE && contains(core, wanted_position(call, input));
    bool is_full = core->reads.waiting_count >= STRANGERS_WAITING_MAX && !is_known(core, call);
    if (is_ready || is_full)
        return answers(core, call, service, method, input);
    wait(core,
         &(struct read_wait){.call = call, .service = service, .method = method, .input = input});
    return false;
}

/* ---- going on ---- */

/* The call, and with it the read, may end. */
static void go_on(struct core *core, const struct read_wait *waiting, enum place place)
{
    struct read_wait read = *waiting;
    if (rpc_call_is_cancelled(read.call))
        rpc_call_fail(read.call, STATUS_CANCELLED, 0, "the caller has gone");
    else if (commit_log_is_master(core->commit_log))
        rpc_call_hand_over(read.call);
    else if (place == ELSEWHERE)
        forward_call(core->forward, read.call, read.service, read.method, read.input);
    else if (place == NOWHERE)
        rpc_call_fail(read.call, STATUS_UNAVAILABLE, RETRY_MS, no_master_text);
    else if (place == LATER || !contains(core, wanted_position(read.call, read.input)))
        rpc_call_fail(read.call, STATUS_UNAVAILABLE, RETRY_MS, behind_text);
    else if (answers(core, read.call, read.service, read.method, read.input))
        rpc_call_hand_over(read.call);
}

void reads_work(struct core *core)
{
    struct read_wait *read, *next;
    if (core->reads.waiting == NULL)
        return;
    bool is_master = commit_log_is_master(core->commit_log);
    enum place place = place_of(core);
    DL_FOREACH_SAFE(core->reads.waiting, read, next) {
        bool is_late = core->now_ms >= read->until_ms;
        bool is_due = place == HERE ? contains(core, wanted_position(read->call, read->input))
                                    : place != LATER || is_master;
        if (!is_due && !is_late && !rpc_call_is_cancelled(read->call))
            continue;
        end_wait(core, read);
        go_on(core, read, place);
    }
}

void reads_tick(struct core *core)
{
    struct reads *reads = &core->reads;
    if (core->forward == NULL)
        return;
    bool here = is_here(core);
    if (here && !reads->was_here)
        forward_end_streams(core->forward);
    reads->was_here = here;
    if (here || commit_log_is_master(core->commit_log))
        reads->here_ms = core->now_ms;
    else if (core->now_ms > reads->here_ms + core->options->cluster.ping_timeout_ms) {
        subscriptions_close_all(core->subscriptions, no_master_text, NULL);
        if (place_of(core) == NOWHERE)
            commit_log_give_up(core->commit_log);
    }
}

bool reads_have_readers(const struct core *core)
{
    struct subscriptions_stats stats;
    subscriptions_stats(core->subscriptions, &stats);
    return stats.streams > 0 ||
           (core->reads.read_ms != 0 && core->now_ms - core->reads.read_ms < READERS_MS);
}

void reads_release(struct core *core, const char *text)
{
    while (core->reads.waiting != NULL) {
        struct read_wait *read = core->reads.waiting;
        struct rpc_call *call = read->call;
        end_wait(core, read);
        rpc_call_fail(call, STATUS_UNAVAILABLE, RETRY_MS, text);
    }
}
