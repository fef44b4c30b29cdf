/* SPDX-License-Identifier: MIT */
/* Joining a room and paging its history. Both read the store on the reader's thread after the
 * commit of their state, so that there is no gap between the history and the first event. */
#include "base/log.h"
#include "server/answer.h"
#include "server/handlers.h"

#define RETRY_WHEN_READING_MS 100u

/* A history that is being read; in the call's arena. */
struct history_job {
    struct commit_waiter commit_waiter; /* first: opens it */
    struct task task;
    struct core *core;
    struct rpc_call *call;
    uint64_t session;
    const char *room;
    uint64_t before;
    uint32_t limit;
    bool joining;
    struct chat_outcome outcome; /* joining */
    struct chat_plan *plan;
    struct chat_page page;
    struct arena arena; /* holds the page, because the call's arena belongs to the core thread */
    enum error error;
};

static struct history_job *reading_of(struct task *task)
{
    return (struct history_job *)((char *)task - offsetof(struct history_job, task));
}

static enum error fill_events(struct core *core, struct arena *arena, uint64_t viewer,
                              const struct chat_page *page, Jackdaw__Event ***out)
{
    Jackdaw__Event **events = arena_alloc(arena, (page->count + 1) * sizeof(Jackdaw__Event *));
    Jackdaw__Event *each = arena_alloc(arena, (page->count + 1) * sizeof(Jackdaw__Event));
    if (events == NULL || each == NULL)
        return ERROR_NO_MEMORY;
    for (size_t i = 0; i < page->count; i++) {
        jackdaw__event__init(&each[i]);
        events[i] = &each[i];
        enum error error = chat_event_fill(core->chat, &page->events[i], viewer, arena, &each[i]);
        if (error != OK)
            return error;
    }
    *out = events;
    return OK;
}

static void answer_history(struct history_job *reading, struct chat_call *chat_call)
{
    Jackdaw__HistoryReply reply = JACKDAW__HISTORY_REPLY__INIT;
    reply.n_events = reading->page.count;
    reply.more = reading->page.more;
    enum error error =
        fill_events(reading->core, chat_call->arena, chat_session_account(chat_call->session),
                    &reading->page, &reply.events);
    answer_either(reading->core, reading->call, chat_call, error, &reply.base);
}

static void answer_join(struct history_job *reading, struct chat_call *chat_call)
{
    Jackdaw__JoinRoomReply reply = JACKDAW__JOIN_ROOM_REPLY__INIT;
    enum error error = chat_answer_join(reading->core->chat, chat_call, &reading->outcome, &reply);
    if (error == OK)
        error =
            fill_events(reading->core, chat_call->arena, chat_session_account(chat_call->session),
                        &reading->page, &reply.history);
    reply.n_history = reading->page.count;
    answer_either(reading->core, reading->call, chat_call, error, &reply.base);
}

/* The caller again, or an answer that the session has ended. */
static bool resume(struct history_job *reading, struct chat_call *chat_call)
{
    answer_anonymous(reading->core, reading->call, chat_call);
    chat_call->session = chat_find_session(reading->core->chat, reading->session);
    if (chat_call->session != NULL)
        return true;
    answer_ended(reading->core, reading->call, chat_call, NULL);
    return false;
}

static void back_on_core(struct task *task)
{
    struct history_job *reading = reading_of(task);
    reading->core->reading--;
    struct arena arena = reading->arena; /* reading is gone once the call is answered */
    struct chat_call chat_call;
    if (resume(reading, &chat_call)) {
        if (reading->error != OK)
            answer_error(reading->core, reading->call, reading->error);
        else if (reading->joining)
            answer_join(reading, &chat_call);
        else
            answer_history(reading, &chat_call);
    }
    arena_clear(&arena);
}

static void read_on_worker(struct task *task)
{
    struct history_job *reading = reading_of(task);
    reading->error =
        chat_read(reading->plan, reading->core->reader_store, &reading->arena, &reading->page);
    reading->task.run = back_on_core;
    task_queue_push(reading->core->queue, &reading->task);
}

static void start_reading(struct commit_waiter *commit_waiter, bool committed)
{
    struct history_job *reading = (struct history_job *)commit_waiter;
    struct core *core = reading->core;
    struct chat_call chat_call;
    core->reading--;
    if (!committed) {
        rpc_call_fail(reading->call, STATUS_UNAVAILABLE, RETRY_WHEN_READING_MS,
                      "the server could not write the request and changed nothing; try again");
        return;
    }
    if (!resume(reading, &chat_call))
        return;
    chat_call.committed_seq = commit_log_committed(core->commit_log).seq;
    /* Later messages come as events, also after a repeated request. */
    if (reading->joining && chat_call.committed_seq > reading->outcome.position.seq)
        chat_call.committed_seq = reading->outcome.position.seq;
    enum error error = chat_plan_history(core->chat, &chat_call, reading->room, reading->before,
                                         reading->limit, &reading->plan);
    if (error != OK) {
        answer_error(core, reading->call, error);
    } else if (chat_call.status != STATUS_OK && reading->joining) {
        answer_join(reading, &chat_call); /* left since: it was joined, but there is no history */
    } else if (chat_call.status != STATUS_OK) {
        answer_refusal(core, reading->call, &chat_call);
    } else {
        arena_init(&reading->arena, READING_ARENA_BYTES);
        reading->task.run = read_on_worker;
        core->reading++;
        worker_push(core->reader, &reading->task);
    }
}

static void wait_for_reading(struct core *core, struct rpc_call *call,
                             const struct chat_call *chat_call, const struct history_job *what)
{
    if (core->reading >= HISTORY_READS_MAX) {
        rpc_call_fail(call, STATUS_RESOURCE_EXHAUSTED, RETRY_WHEN_READING_MS,
                      "too many readers of history at once; try again in a moment");
        return;
    }
    struct history_job *reading = arena_copy(chat_call->arena, what, sizeof *what);
    if (reading == NULL) {
        answer_error(core, call, ERROR_NO_MEMORY);
        return;
    }
    reading->commit_waiter.open = start_reading;
    reading->core = core;
    reading->call = call;
    reading->session = chat_session_id(chat_call->session);
    core->reading++;
    commit_log_wait(core->commit_log, &reading->commit_waiter);
}

HANDLER(history, History)
{
    (void)closure;
    struct core *core = core_of(service);
    struct rpc_call *call = closure_data;
    struct chat_call chat_call;
    if (answer_begin(core, call, &chat_call))
        wait_for_reading(core, call, &chat_call,
                         &(struct history_job){.room = request->room,
                                               .before = request->before,
                                               .limit = request->limit});
}

/* The room's name is not in the outcome; the reply has it, and chat_plan_history wants it. */
static void reply_join(struct core *core, struct rpc_call *call, struct chat_call *chat_call,
                       const struct chat_outcome *outcome)
{
    Jackdaw__JoinRoomReply reply = JACKDAW__JOIN_ROOM_REPLY__INIT;
    enum error error = chat_answer_join(core->chat, chat_call, outcome, &reply);
    bool plain =
        error != OK || chat_call->status != STATUS_OK || core->options->limits.history_on_join == 0;
    const char *room = plain ? NULL : arena_strdup(chat_call->arena, reply.room);
    if (room == NULL)
        answer_either(core, call, chat_call, error, &reply.base);
    else
        wait_for_reading(core, call, chat_call,
                         &(struct history_job){.room = room, .joining = true, .outcome = *outcome});
}

HANDLER(join_room, JoinRoom)
{
    (void)closure;
    struct core *core = core_of(service);
    struct rpc_call *call = closure_data;
    struct chat_call chat_call;
    if (!answer_begin(core, call, &chat_call))
        return;
    enum chat_decision decision = chat_propose_join(core->chat, &chat_call, request);
    answer_numbered(core, call, &chat_call, request->request, decision, reply_join);
}
