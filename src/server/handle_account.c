/* SPDX-License-Identifier: MIT */
/* Accounts and sessions. Registration, login and deletion hash a password on the hasher's thread.
 * The state may have changed by then, so src/chat checks again. */
#include "base/log.h"
#include "chat/password.h"
#include "server/answer.h"
#include "server/handlers.h"

#include <string.h>

#define RETRY_WHEN_HASHING_MS 300u

/* A call that waits for the hasher; in the call's arena. */
struct hash_job {
    struct task task;
    struct suspect held;
    struct core *core;
    struct rpc_call *call;
    uint64_t session; /* the caller's, 0: none */
    uint64_t account; /* account whose password is verified; 0: none */
    const ProtobufCMessage *request;
    const char *password;
    const char *expected; /* to verify against; NULL: make a hash */
    char made[PASSWORD_HASH_SIZE];
    bool verified;
    enum error error;
    void (*done)(struct hash_job *hashing); /* on the core thread */
};

static void go_on(struct core *core, struct suspect *held)
{
    struct hash_job *hashing = (struct hash_job *)((char *)held - offsetof(struct hash_job, held));
    (void)core;
    hashing->done(hashing);
}

static void back_on_core(struct task *task)
{
    struct hash_job *hashing = (struct hash_job *)task;
    hashing->core->hashing--;
    if (hashing->error == ERROR_CLOSED)
        rpc_call_fail(hashing->call, STATUS_UNAVAILABLE, RETRY_WHEN_HASHING_MS,
                      "the server is shutting down");
    else if (hashing->error != OK)
        answer_error(hashing->core, hashing->call, hashing->error);
    else if (!suspects_hold(hashing->core, &hashing->held, hashing->call, hashing->request, go_on))
        hashing->done(hashing);
}

static void hash_on_worker(struct task *task)
{
    struct hash_job *hashing = (struct hash_job *)task;
    if (atomic_load(&hashing->core->stopping))
        hashing->error = ERROR_CLOSED; /* the shutdown must not wait for the queued passwords */
    else if (hashing->expected != NULL)
        hashing->verified = password_verify(hashing->password, hashing->expected);
    else
        hashing->error =
            password_hash(hashing->password, hashing->core->options->password_cost, hashing->made);
    hashing->task.run = back_on_core;
    task_queue_push(hashing->core->queue, &hashing->task);
}

static void start_hashing(struct core *core, struct rpc_call *call, const struct hash_job *what)
{
    if (core->hashing >= HASHING_MAX) {
        rpc_call_fail(call, STATUS_RESOURCE_EXHAUSTED, RETRY_WHEN_HASHING_MS,
                      "too many logins at once; try again in a moment");
        return;
    }
    struct hash_job *hashing = arena_copy(rpc_call_arena(call), what, sizeof *what);
    if (hashing == NULL) {
        answer_error(core, call, ERROR_NO_MEMORY);
        return;
    }
    hashing->core = core;
    hashing->call = call;
    hashing->task.run = hash_on_worker;
    core->hashing++;
    worker_push(core->hasher, &hashing->task);
}

/* The call as it is now, for going on after the hasher. */
static void resume(const struct hash_job *hashing, struct chat_call *out)
{
    answer_anonymous(hashing->core, hashing->call, out);
    out->account = hashing->account;
    if (hashing->session != 0)
        out->session = chat_find_session(hashing->core->chat, hashing->session);
}

static bool resume_session(const struct hash_job *hashing, struct chat_call *out)
{
    resume(hashing, out);
    if (out->session != NULL)
        return true;
    answer_ended(hashing->core, hashing->call, out, NULL);
    return false;
}

/* ---- RegisterAccount ---- */

static void answer_register(struct core *core, struct rpc_call *call, const char *name)
{
    Jackdaw__RegisterReply reply = JACKDAW__REGISTER_REPLY__INIT;
    reply.name = (char *)name;
    answer_message(core, call, &reply.base);
}

static void go_on_registering(struct hash_job *hashing)
{
    struct core *core = hashing->core;
    const Jackdaw__RegisterRequest *request = (const Jackdaw__RegisterRequest *)hashing->request;
    struct chat_call chat_call;
    resume(hashing, &chat_call);
    switch (chat_propose_register(core->chat, &chat_call, request, hashing->made)) {
    case CHAT_PROPOSE:
        if (answer_propose(core, hashing->call, &chat_call)) {
            log_info("server", "account_registered", log_string("name", chat_call.text),
                     log_string("peer", rpc_call_peer(hashing->call)));
            answer_register(core, hashing->call, chat_call.text);
        }
        break;
    case CHAT_ANSWER:
        answer_register(core, hashing->call, chat_call.text);
        break;
    case CHAT_REFUSE:
        answer_refusal(core, hashing->call, &chat_call);
        break;
    }
}

HANDLER(register_account, Register)
{
    (void)closure;
    struct core *core = core_of(service);
    struct rpc_call *call = closure_data;
    struct chat_call chat_call;
    answer_anonymous(core, call, &chat_call);
    switch (chat_check_register(core->chat, &chat_call, request)) {
    case CHAT_PROPOSE:
        start_hashing(core, call,
                      &(struct hash_job){.request = &request->base,
                                         .password = request->password,
                                         .done = go_on_registering});
        break;
    case CHAT_ANSWER:
        answer_register(core, call, chat_call.text);
        break;
    case CHAT_REFUSE:
        answer_refusal(core, call, &chat_call);
        break;
    }
}

/* ---- Login ---- */

static void answer_login(struct core *core, struct rpc_call *call, struct chat_call *chat_call)
{
    Jackdaw__LoginReply reply = JACKDAW__LOGIN_REPLY__INIT;
    enum error error = chat_call->session == NULL
                           ? chat_answer_devices(core->chat, chat_call, &reply)
                           : chat_answer_login(core->chat, chat_call, &reply);
    answer_either(core, call, chat_call, error, &reply.base);
}

static void go_on_logging_in(struct hash_job *hashing)
{
    struct core *core = hashing->core;
    const Jackdaw__LoginRequest *request = (const Jackdaw__LoginRequest *)hashing->request;
    struct chat_call chat_call;
    resume(hashing, &chat_call);
    switch (chat_propose_login(core->chat, &chat_call, request, hashing->verified)) {
    case CHAT_PROPOSE:
        if (!answer_propose(core, hashing->call, &chat_call))
            return;
        chat_call.session =
            chat_find_session(core->chat, chat_call.delta->session_started->session);
        ASSERT(chat_call.session != NULL);
        chat_touch(core->chat, chat_call.session, core->now_ms, core->wall_ms);
        log_info("server", "login", log_string("name", chat_session_name(chat_call.session)),
                 log_string("device", request->device),
                 log_string("peer", rpc_call_peer(hashing->call)));
        answer_login(core, hashing->call, &chat_call);
        break;
    case CHAT_ANSWER:
        answer_login(core, hashing->call, &chat_call);
        break;
    case CHAT_REFUSE:
        log_info("server", "login_refused", log_string("name", request->name),
                 log_string("status", status_name(chat_call.status)),
                 log_string("peer", rpc_call_peer(hashing->call)));
        answer_refusal(core, hashing->call, &chat_call);
        break;
    }
}

HANDLER(login, Login)
{
    (void)closure;
    struct core *core = core_of(service);
    struct rpc_call *call = closure_data;
    struct chat_call chat_call;
    answer_anonymous(core, call, &chat_call);
    const char *hash = NULL;
    if (chat_check_login(core->chat, &chat_call, request, &hash) != CHAT_PROPOSE)
        answer_refusal(core, call, &chat_call);
    else
        start_hashing(core, call,
                      &(struct hash_job){.account = chat_call.account,
                                         .request = &request->base,
                                         .password = request->password,
                                         .expected = hash,
                                         .done = go_on_logging_in});
}

/* ---- Logout ---- */

static void answer_logout(struct core *core, struct rpc_call *call)
{
    Jackdaw__LogoutReply reply = JACKDAW__LOGOUT_REPLY__INIT;
    answer_message(core, call, &reply.base);
}

HANDLER(logout, Logout)
{
    (void)closure;
    struct core *core = core_of(service);
    struct rpc_call *call = closure_data;
    struct chat_call chat_call;
    if (!answer_begin(core, call, &chat_call))
        return;
    enum chat_decision decision = chat_propose_logout(core->chat, &chat_call, request);
    if (decision != CHAT_PROPOSE)
        answer_numbered(core, call, &chat_call, request->request, decision, NULL);
    else if (answer_propose(core, call, &chat_call))
        answer_logout(core, call);
}

/* ---- DeleteAccount ---- */

/* Reads the undelivered messages and the name while the account still exists. */
static void delete (struct core *core, struct rpc_call *call, struct chat_call *chat_call,
                    const Jackdaw__DeleteAccountRequest *request)
{
    Jackdaw__DeleteAccountReply reply = JACKDAW__DELETE_ACCOUNT_REPLY__INIT;
    enum error error = chat_answer_delete(core->chat, chat_call, request, &reply);
    size_t size = jackdaw__delete_account_reply__get_packed_size(&reply);
    uint8_t *bytes = arena_alloc(chat_call->arena, size);
    const char *name = arena_strdup(chat_call->arena, chat_session_name(chat_call->session));
    if (error == OK && (bytes == NULL || name == NULL))
        error = ERROR_NO_MEMORY;
    if (error != OK) {
        answer_error(core, call, error);
        return;
    }
    (void)jackdaw__delete_account_reply__pack(&reply, bytes);
    if (!answer_propose(core, call, chat_call))
        return;
    log_info("server", "account_deleted", log_string("name", name),
             log_string("peer", rpc_call_peer(call)));
    answer_packed(core, call, bytes, size);
}

static void go_on_deleting(struct hash_job *hashing)
{
    struct core *core = hashing->core;
    const Jackdaw__DeleteAccountRequest *request =
        (const Jackdaw__DeleteAccountRequest *)hashing->request;
    struct chat_call chat_call;
    if (!resume_session(hashing, &chat_call))
        return;
    enum chat_decision decision =
        chat_propose_delete(core->chat, &chat_call, request, hashing->verified);
    if (decision == CHAT_PROPOSE)
        delete (core, hashing->call, &chat_call, request);
    else
        answer_numbered(core, hashing->call, &chat_call, request->request, decision, NULL);
}

HANDLER(delete_account, DeleteAccount)
{
    (void)closure;
    struct core *core = core_of(service);
    struct rpc_call *call = closure_data;
    struct chat_call chat_call;
    if (!answer_begin(core, call, &chat_call))
        return;
    const char *hash = NULL;
    enum chat_decision decision = chat_check_delete(core->chat, &chat_call, request, &hash);
    if (decision == CHAT_PROPOSE)
        start_hashing(core, call,
                      &(struct hash_job){.session = chat_session_id(chat_call.session),
                                         .account = chat_call.account,
                                         .request = &request->base,
                                         .password = request->password,
                                         .expected = hash,
                                         .done = go_on_deleting});
    else
        answer_numbered(core, call, &chat_call, request->request, decision, NULL);
}
