/* SPDX-License-Identifier: MIT */
#include "server/suspects.h"

#include "base/clock.h"
#include "base/log.h"
#include "commit/trial.h"
#include "server/answer.h"
#include "server/core.h"
#include "server/handlers.h"

#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <utlist.h>

#define DEATHS_TO_REFUSE 2
#define UNKNOWNS_MAX 5
#define RETRY_WHEN_FULL_MS 200u
#define RETRY_ELSEWHERE_MS 50u
#define HELD_BYTES 256u /* of a call's arena */

static const char refusal_text[] =
    "this request ended a server process, so it was not carried out; tell the operator";

/* ---- holding ---- */

static bool is_suspect(const struct core *core, const struct rpc_call *call)
{
    return rpc_call_resent(call) > 0 || core->suspects.classes[session_class_of(call)] > 0;
}

static void push(struct suspects *suspects, struct suspect *suspect)
{
    DL_APPEND(suspects->first, suspect);
    suspects->classes[suspect->session_class]++;
    suspects->count++;
    suspects->bytes += suspect->bytes;
}

static struct suspect *pop(struct suspects *suspects)
{
    struct suspect *first = suspects->first;
    DL_DELETE(suspects->first, first);
    suspects->classes[first->session_class]--;
    suspects->count--;
    suspects->bytes -= first->bytes;
    return first;
}

bool suspects_hold(struct core *core, struct suspect *suspect, struct rpc_call *call,
                   const ProtobufCMessage *input,
                   void (*run)(struct core *core, struct suspect *suspect))
{
    if (trial_in_child() || !is_suspect(core, call))
        return false;
    *suspect = (struct suspect){
        .call = call,
        .input = input,
        .run = run,
        .bytes = arena_held_bytes(rpc_call_arena(call)),
        .session_class = session_class_of(call),
    };
    push(&core->suspects, suspect);
    return true;
}

/* The request may have waited until after the end of this server's epoch. */
static void run_handler(struct core *core, struct suspect *suspect)
{
    if (commit_log_is_master(core->commit_log))
        rpc_call_hand_over(suspect->call);
    else
        rpc_call_fail(suspect->call, STATUS_UNAVAILABLE, RETRY_ELSEWHERE_MS,
                      "this server is no longer the master and changed nothing; try again");
}

bool suspects_take(struct core *core, struct rpc_call *call, const ProtobufCMessage *input)
{
    const char *method = rpc_call_method(call);
    if (!is_suspect(core, call) || strcmp(method, "Info") == 0 || strcmp(method, "Receive") == 0)
        return false;
    struct arena *arena = rpc_call_arena(call);
    arena->budget_bytes += HELD_BYTES;
    struct suspect *suspect = NULL;
    if (core->suspects.count < SUSPECTS_MAX && core->suspects.bytes < SUSPECTS_BYTES_MAX)
        suspect = arena_zalloc(arena, sizeof *suspect);
    if (suspect == NULL)
        rpc_call_fail(call, STATUS_RESOURCE_EXHAUSTED, RETRY_WHEN_FULL_MS,
                      "too many requests wait after a failover; try again in a moment");
    else
        (void)suspects_hold(core, suspect, call, input, run_handler);
    return true;
}

/* ---- trying ---- */

/* How many fit into the batch that is open. */
static size_t count_for_batch(const struct core *core)
{
    size_t bytes = commit_log_batch_bytes(core->commit_log);
    size_t count = 0;
    for (const struct suspect *each = core->suspects.first;
         each != NULL && count < SUSPECTS_AT_ONCE && bytes < CORE_BATCH_BYTES; each = each->next) {
        bytes += HELD_BYTES + protobuf_c_message_get_packed_size(each->input);
        count++;
    }
    return count;
}

/* Executes the request including its rows, as the child did. */
static void carry_out(struct core *core, struct suspect *suspect)
{
    suspect->run(core, suspect);
    commit_log_flush(core->commit_log);
}

struct attempt {
    struct core *core;
    size_t count;
};

static void run_in_child(void *context)
{
    const struct attempt *attempt = context;
    struct core *core = attempt->core;
    rpc_server_mute(core->clients);
    store_isolate(core->store);
    struct suspect *suspect = core->suspects.first;
    for (size_t i = 0; i < attempt->count; i++) {
        struct suspect *next = suspect->next; /* the call, and suspect with it, may end */
        trial_mark((struct log_position){.seq = i});
        carry_out(core, suspect);
        suspect = next;
    }
}

/* How many of them the child has come through. */
static size_t passed_of(const struct trial_report *report)
{
    if (!report->has_begun)
        return 0;
    return (size_t)report->at.seq + (report->end == TRIAL_PASSED ? 1 : 0);
}

/* ---- refusing ---- */

static uint64_t number_of(const ProtobufCMessage *input)
{
    const ProtobufCFieldDescriptor *field =
        protobuf_c_message_descriptor_get_field_by_name(input->descriptor, "request");
    uint64_t number = 0;
    if (field != NULL && field->type == PROTOBUF_C_TYPE_UINT64)
        memcpy(&number, (const uint8_t *)input + field->offset, sizeof number);
    return number;
}

static void refuse(struct core *core, struct suspect *suspect, const struct trial_report *report)
{
    struct rpc_call *call = suspect->call;
    uint64_t number = number_of(suspect->input);
    struct chat_call chat_call;
    answer_anonymous(core, call, &chat_call);
    size_t size;
    const uint8_t *token = rpc_call_token(call, &size);
    chat_call.session = chat_authenticate(core->chat, token, size);
    char session[17] = "";
    if (chat_call.session != NULL)
        (void)snprintf(session, sizeof session, "%016" PRIx64, chat_session_id(chat_call.session));
    core->suspects.refused++;
    log_error("server", "poison_refused", log_string("method", rpc_call_method(call)),
              log_string("account",
                         chat_call.session == NULL ? "" : chat_session_name(chat_call.session)),
              log_string("session", session), log_number("request", number),
              log_string("signal", report->signal == 0 ? "" : strsignal(report->signal)),
              log_string("reason", report->text),
              log_string("hint", "a bug: this request ends a server; report it with this line"));
    chat_call.status = STATUS_INTERNAL;
    chat_call.text = refusal_text;
    if (chat_call.session == NULL || number == 0)
        rpc_call_fail(call, STATUS_INTERNAL, 0, refusal_text);
    else
        answer_refused(core, call, &chat_call, number);
}

/* ---- a turn ---- */

/* The machine lets no child run: no request is more suspect than another. */
static void carry_out_untried(struct core *core, size_t count)
{
    log_warning("server", "trial_impossible",
                log_string("method", rpc_call_method(core->suspects.first->call)),
                log_number("requests", count),
                log_string("hint", "these requests are carried out untried"));
    for (size_t i = 0; i < count && commit_log_is_open(core->commit_log); i++)
        carry_out(core, pop(&core->suspects));
}

static void judge_first(struct core *core, const struct trial_report *report)
{
    struct suspect *first = core->suspects.first;
    bool is_failure = report->end == TRIAL_DIED || report->end == TRIAL_LOOPED;
    if (is_failure) {
        log_warning("server", "trial_failed", log_string("method", rpc_call_method(first->call)),
                    log_string("signal", report->signal == 0 ? "" : strsignal(report->signal)),
                    log_string("reason", report->text));
        if (++first->deaths >= DEATHS_TO_REFUSE)
            refuse(core, pop(&core->suspects), report);
    } else if (++first->unknowns >= UNKNOWNS_MAX) {
        carry_out_untried(core, 1);
    }
}

static void try_some(struct core *core, size_t count)
{
    struct attempt attempt = {.core = core, .count = count};
    struct trial trial = {.context = &attempt,
                          .run = run_in_child,
                          .bound_ms =
                              trial_bound_ms(cluster_settings_silence_ms(&core->options->cluster))};
    struct trial_report report;
    trial_run_on(core->store, &trial, &report);
    core->suspects.next_ms = clock_monotonic_ms() + SUSPECTS_PAUSE * report.took_us / 1000;
    size_t passed = passed_of(&report);
    log_debug("server", "trial", log_number("count", count), log_number("passed", passed),
              log_number("fork_us", report.fork_us), log_number("took_us", report.took_us));
    for (size_t i = 0; i < passed && commit_log_is_open(core->commit_log); i++)
        carry_out(core, pop(&core->suspects));
    core->suspects.no_child = report.has_begun ? 0 : core->suspects.no_child + 1;
    if (core->suspects.no_child >= UNKNOWNS_MAX)
        carry_out_untried(core, count);
    else if (report.has_begun && report.end != TRIAL_PASSED && commit_log_is_open(core->commit_log))
        judge_first(core, &report);
}

void suspects_work(struct core *core)
{
    if (core->suspects.first == NULL)
        return;
    if (!commit_log_is_master(core->commit_log)) {
        while (core->suspects.first != NULL) {
            struct suspect *first = pop(&core->suspects);
            first->run(core, first);
        }
        return;
    }
    bool is_due = clock_monotonic_ms() >= core->suspects.next_ms;
    size_t count = is_due ? count_for_batch(core) : 0;
    if (count > 0 && commit_log_open(core->commit_log) == OK)
        try_some(core, count);
}

uint64_t suspects_deadline_ms(const struct core *core)
{
    return core->suspects.first == NULL ? UINT64_MAX : core->suspects.next_ms;
}

void suspects_release(struct core *core, const char *text)
{
    while (core->suspects.first != NULL)
        rpc_call_fail(pop(&core->suspects)->call, STATUS_UNAVAILABLE, RETRY_ELSEWHERE_MS, text);
}
