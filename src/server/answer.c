/* SPDX-License-Identifier: MIT */
#include "server/answer.h"

#include "base/log_pace.h"

#define RETRY_AFTER_ROLLBACK_MS 100u
#define RETRY_ELSEWHERE_MS 50u
#define RETRY_WHEN_LOG_FULL_MS 1000u
#define RETRY_AFTER_UPGRADE_MS 1000u

/* An answer that waits for its position to be committed; in the call's arena. */
struct pending_answer {
    struct commit_waiter commit_waiter;
    struct rpc_call *call;
    enum status status; /* STATUS_OK: bytes; else text */
    const char *text;
    uint32_t retry_ms;
    uint64_t next_request;
    struct rpc_chunk bytes;
    struct log_position position; /* of the state that the answer was made from */
};

static void send_pending_answer(struct commit_waiter *commit_waiter, bool committed)
{
    struct pending_answer *pending_answer = (struct pending_answer *)commit_waiter;
    if (committed)
        rpc_call_show(pending_answer->call, pending_answer->position);
    if (!committed) {
        rpc_call_fail(pending_answer->call, STATUS_UNAVAILABLE, RETRY_AFTER_ROLLBACK_MS,
                      "the server cannot tell whether this was carried out; try again");
    } else if (pending_answer->status != STATUS_OK) {
        if (pending_answer->next_request != 0)
            rpc_call_expect(pending_answer->call, pending_answer->next_request);
        rpc_call_fail(pending_answer->call, pending_answer->status, pending_answer->retry_ms,
                      pending_answer->text);
    } else {
        rpc_call_finish(pending_answer->call, &pending_answer->bytes, 1);
    }
}

static void fail_without_memory(struct rpc_call *call)
{
    rpc_call_fail(call, STATUS_RESOURCE_EXHAUSTED, 0, "the request needs more memory than it may");
}

static struct pending_answer *new_pending_answer(struct core *core, struct rpc_call *call)
{
    struct pending_answer *pending_answer =
        arena_zalloc(rpc_call_arena(call), sizeof *pending_answer);
    if (pending_answer == NULL) {
        fail_without_memory(call);
        return NULL;
    }
    pending_answer->commit_waiter.open = send_pending_answer;
    pending_answer->call = call;
    pending_answer->position = commit_log_applied(core->commit_log);
    return pending_answer;
}

void answer_packed(struct core *core, struct rpc_call *call, const uint8_t *bytes, size_t size)
{
    struct pending_answer *pending_answer = new_pending_answer(core, call);
    if (pending_answer == NULL)
        return;
    pending_answer->bytes = (struct rpc_chunk){.bytes = bytes, .size = size};
    commit_log_wait(core->commit_log, &pending_answer->commit_waiter);
}

void answer_message(struct core *core, struct rpc_call *call, const ProtobufCMessage *reply)
{
    size_t size = protobuf_c_message_get_packed_size(reply);
    uint8_t *bytes = arena_alloc(rpc_call_arena(call), size);
    if (bytes == NULL) {
        fail_without_memory(call);
        return;
    }
    (void)protobuf_c_message_pack(reply, bytes);
    answer_packed(core, call, bytes, size);
}

void answer_refusal(struct core *core, struct rpc_call *call, const struct chat_call *refused)
{
    struct pending_answer *pending_answer = new_pending_answer(core, call);
    if (pending_answer == NULL)
        return;
    pending_answer->status = refused->status;
    pending_answer->text = refused->text == NULL ? "" : refused->text;
    pending_answer->retry_ms = refused->retry_ms;
    pending_answer->next_request = refused->next_request;
    commit_log_wait(core->commit_log, &pending_answer->commit_waiter);
}

void answer_ended(struct core *core, struct rpc_call *call, struct chat_call *chat_call,
                  const char *text)
{
    chat_call->status = STATUS_UNAUTHENTICATED;
    chat_call->text = text == NULL ? "the session has ended; log in again" : text;
    chat_call->retry_ms = 0;
    answer_refusal(core, call, chat_call);
}

void answer_error(struct core *core, struct rpc_call *call, enum error error)
{
    if (error == ERROR_CLOSED) {
        rpc_call_fail(call, STATUS_UNAVAILABLE, RETRY_ELSEWHERE_MS,
                      "this server is no longer the master and changed nothing; try again");
        return;
    }
    if (error == ERROR_VERSION) {
        rpc_call_fail(call, STATUS_UNAVAILABLE, RETRY_AFTER_UPGRADE_MS,
                      "some server of the cluster has a version without this; "
                      "try again when all servers are upgraded");
        return;
    }
    const char *problem = commit_log_problem(core->commit_log);
    log_warning_paced(error_name(error), "server", "request_failed",
                      log_string("peer", rpc_call_peer(call)),
                      log_string("error", error_name(error)), log_string("problem", problem));
    rpc_call_fail(call, status_from_error(error), RETRY_AFTER_ROLLBACK_MS,
                  problem[0] == '\0' ? error_name(error) : problem);
}

void answer_either(struct core *core, struct rpc_call *call, const struct chat_call *chat_call,
                   enum error error, const ProtobufCMessage *reply)
{
    if (error != OK)
        answer_error(core, call, error);
    else if (chat_call->status != STATUS_OK)
        answer_refusal(core, call, chat_call);
    else
        answer_message(core, call, reply);
}

void answer_anonymous(struct core *core, struct rpc_call *call, struct chat_call *out)
{
    /* Budget for validation and answer, in addition to the bytes of the request. */
    struct arena *arena = rpc_call_arena(call);
    arena->budget_bytes += ANSWER_ARENA_BYTES;
    *out =
        (struct chat_call){.time_ms = core->wall_ms, .monotonic_ms = core->now_ms, .arena = arena};
}

bool answer_begin(struct core *core, struct rpc_call *call, struct chat_call *out)
{
    answer_anonymous(core, call, out);
    size_t size;
    const uint8_t *token = rpc_call_token(call, &size);
    out->session = chat_authenticate(core->chat, token, size);
    if (out->session == NULL) {
        answer_ended(core, call, out, size == 0 ? "log in first" : NULL);
        return false;
    }
    uint32_t retry_ms;
    if (!chat_admit(core->chat, out->session, core->now_ms, &retry_ms)) {
        rpc_call_fail(call, STATUS_RESOURCE_EXHAUSTED, retry_ms,
                      "more requests than a session may make; wait a moment");
        return false;
    }
    if (commit_log_is_master(core->commit_log))
        chat_touch(core->chat, out->session, core->now_ms, core->wall_ms);
    else
        reports_note_heard(&core->reports, out->session);
    return true;
}

/* Whether the delta is a login, a logout or the deletion of an account. */
static bool uses_reserve(const Jackdaw__Delta *delta)
{
    return delta->change_case == JACKDAW__DELTA__CHANGE_SESSION_STARTED ||
           delta->change_case == JACKDAW__DELTA__CHANGE_SESSION_ENDED ||
           delta->change_case == JACKDAW__DELTA__CHANGE_ACCOUNT_DELETED;
}

bool answer_propose(struct core *core, struct rpc_call *call, const struct chat_call *chat_call)
{
    if (!cluster_may_write(core->cluster, uses_reserve(chat_call->delta))) {
        char text[CLUSTER_FULL_BYTES];
        cluster_full_text(core->cluster, text);
        rpc_call_fail(call, STATUS_RESOURCE_EXHAUSTED, RETRY_WHEN_LOG_FULL_MS, text);
        return false;
    }
    enum error error = commit_log_propose(core->commit_log, chat_call->delta);
    if (error == OK)
        return true;
    answer_error(core, call, error);
    return false;
}

/* The request was carried out, now or before: its outcome is the answer. */
static void answer_by_outcome(struct core *core, struct rpc_call *call, struct chat_call *chat_call,
                              uint64_t request, answer_outcome *reply)
{
    struct chat_outcome outcome;
    enum error error =
        chat_outcome_of(core->chat, chat_call->session, request, chat_call->arena, &outcome);
    if (error != OK) {
        answer_error(core, call, error);
        return;
    }
    if (outcome.status == STATUS_OK && reply != NULL) {
        reply(core, call, chat_call, &outcome);
        return;
    }
    bool other = outcome.status == STATUS_OK; /* these end the session: it was no earlier one */
    chat_call->status = other ? STATUS_INVALID_ARGUMENT : outcome.status;
    chat_call->text = other ? "this number was another request's: take the next one" : outcome.text;
    chat_call->retry_ms = 0;
    answer_refusal(core, call, chat_call);
}

void answer_refused(struct core *core, struct rpc_call *call, struct chat_call *chat_call,
                    uint64_t request)
{
    struct chat_call refused = *chat_call; /* proposing starts chat_call afresh */
    bool remember = chat_call->retry_ms == 0 &&
                    chat_propose_refusal(core->chat, chat_call, request) == CHAT_PROPOSE;
    if (!remember || answer_propose(core, call, chat_call))
        answer_refusal(core, call, &refused);
}

void answer_numbered(struct core *core, struct rpc_call *call, struct chat_call *chat_call,
                     uint64_t request, enum chat_decision decision, answer_outcome *reply)
{
    switch (decision) {
    case CHAT_PROPOSE:
        if (answer_propose(core, call, chat_call))
            answer_by_outcome(core, call, chat_call, request, reply);
        break;
    case CHAT_ANSWER:
        answer_by_outcome(core, call, chat_call, request, reply);
        break;
    case CHAT_REFUSE:
        answer_refused(core, call, chat_call, request);
        break;
    }
}
