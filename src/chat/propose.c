/* SPDX-License-Identifier: MIT */
#include "chat/chat_internal.h"

#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void chat_call_begin(struct chat_call *call)
{
    call->delta = NULL;
    call->status = STATUS_OK;
    call->text = "";
    call->retry_ms = 0;
    call->next_request = 0;
}

enum chat_decision chat_call_refuse(struct chat_call *call, enum status status, const char *format,
                                    ...)
{
    char text[CHAT_REFUSAL_BYTES_MAX];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    call->text = arena_strdup(call->arena, text);
    if (call->text == NULL)
        return chat_call_fail(call, ERROR_NO_MEMORY);
    call->delta = NULL;
    call->status = status;
    call->retry_ms = 0;
    call->next_request = 0;
    return CHAT_REFUSE;
}

enum chat_decision chat_call_fail(struct chat_call *call, enum error error)
{
    call->delta = NULL;
    call->status = status_from_error(error);
    call->text = error == ERROR_NO_MEMORY
                     ? "The server is short of memory; try again in a moment."
                     : "The server cannot read its database; try again, or use another server.";
    call->retry_ms = CHAT_RETRY_MEMORY_MS;
    call->next_request = 0;
    return CHAT_REFUSE;
}

uint64_t chat_call_time(const struct chat *chat, const struct chat_call *call)
{
    uint64_t last_ms = chat->state.last_time_ms;
    bool is_behind = call->time_ms < last_ms && last_ms - call->time_ms <= CHAT_TIME_SLACK_MS;
    return is_behind ? last_ms : call->time_ms;
}

uint64_t chat_now(struct chat *chat, uint64_t monotonic_ms)
{
    if (monotonic_ms > chat->monotonic_ms)
        chat->monotonic_ms = monotonic_ms;
    return chat->monotonic_ms;
}

void *chat_arena_message(struct arena *arena, const ProtobufCMessageDescriptor *descriptor)
{
    ProtobufCMessage *message = arena_alloc(arena, descriptor->sizeof_message);
    if (message != NULL)
        descriptor->message_init(message);
    return message;
}

char *chat_arena_address(struct arena *arena, char sign, const char *name)
{
    size_t size = strlen(name) + 1;
    char *text = arena_alloc(arena, size + 1);
    if (text == NULL)
        return NULL;
    text[0] = sign;
    memcpy(text + 1, name, size);
    return text;
}

enum chat_decision chat_call_propose(struct chat *chat, struct chat_call *call, uint64_t request,
                                     Jackdaw__Delta__ChangeCase change_case, void *change)
{
    Jackdaw__Delta *delta = chat_arena_message(call->arena, &jackdaw__delta__descriptor);
    if (delta == NULL || change == NULL)
        return chat_call_fail(call, ERROR_NO_MEMORY);
    delta->time_ms = chat_call_time(chat, call);
    if (request != 0) {
        delta->session = call->session->id;
        delta->request = request;
    }
    delta->change_case = change_case;
    delta->unchanged = change; /* the union's members are pointers all */
    call->delta = delta;
    return CHAT_PROPOSE;
}

bool chat_call_salt(struct chat *chat, struct chat_call *call, ProtobufCBinaryData *salt)
{
    if (chat->salts_left == 0) {
        randombytes_buf(chat->salts, sizeof chat->salts);
        chat->salts_left = CHAT_SALTS;
    }
    uint8_t *next = chat->salts[chat->salts_left - 1];
    salt->data = arena_copy(call->arena, next, BATCH_SALT_BYTES);
    if (salt->data == NULL)
        return false;
    salt->len = BATCH_SALT_BYTES;
    sodium_memzero(next, BATCH_SALT_BYTES);
    chat->salts_left--;
    return true;
}

enum chat_decision chat_call_name_room(struct chat_call *call, enum chat_decision decision,
                                       const struct room *room)
{
    if (decision != CHAT_PROPOSE || room == NULL || room_is_direct(room))
        return decision;
    call->delta->room_name = arena_strdup(call->arena, room->name);
    return call->delta->room_name == NULL ? chat_call_fail(call, ERROR_NO_MEMORY) : CHAT_PROPOSE;
}

enum chat_decision chat_call_unchanged(struct chat *chat, struct chat_call *call, uint64_t request,
                                       const struct room *room)
{
    Jackdaw__Unchanged *unchanged =
        chat_arena_message(call->arena, &jackdaw__unchanged__descriptor);
    if (unchanged != NULL)
        unchanged->room = room->id;
    return chat_call_propose(chat, call, request, JACKDAW__DELTA__CHANGE_UNCHANGED, unchanged);
}

enum chat_decision chat_check_request(struct chat *chat, struct chat_call *call, uint64_t request)
{
    (void)chat;
    chat_call_begin(call);
    if (call->session == NULL)
        return chat_call_refuse(call, STATUS_UNAUTHENTICATED,
                                "You are not logged in; log in first.");
    uint64_t last = call->session->last_request;
    if (request == 0)
        return chat_call_refuse(call, STATUS_INVALID_ARGUMENT,
                                "The request has no number; a session's requests count from 1.");
    if (request <= last) {
        if (last - request < STORE_OUTCOME_WINDOW)
            return CHAT_ANSWER;
        return chat_call_refuse(call, STATUS_OUT_OF_RANGE,
                                "Request %llu is older than the last %d, whose outcomes are kept.",
                                (unsigned long long)request, STORE_OUTCOME_WINDOW);
    }
    if (request - last == 1)
        return CHAT_PROPOSE;
    chat_call_refuse(call, STATUS_ABORTED,
                     "Request %llu came before request %llu; send that one first.",
                     (unsigned long long)request, (unsigned long long)last + 1);
    call->retry_ms = CHAT_RETRY_MS;
    call->next_request = last + 1;
    return CHAT_REFUSE;
}

enum chat_decision chat_propose_refusal(struct chat *chat, struct chat_call *call, uint64_t request)
{
    enum status status = call->status;
    const char *text = call->text;
    if (call->retry_ms != 0 || status == STATUS_OK || call->session == NULL)
        return CHAT_REFUSE;
    enum chat_decision decision = chat_check_request(chat, call, request);
    if (decision != CHAT_PROPOSE)
        return decision;
    Jackdaw__Refused *refused = chat_arena_message(call->arena, &jackdaw__refused__descriptor);
    if (refused != NULL) {
        refused->status = (uint32_t)status;
        refused->message = (char *)text;
    }
    return chat_call_propose(chat, call, request, JACKDAW__DELTA__CHANGE_REFUSED, refused);
}

/* ---- outcomes ---- */

struct outcome_copy {
    struct arena *arena;
    struct chat_outcome out;
};

static enum error copy_outcome(void *context, const struct outcome_row *row)
{
    struct outcome_copy *copy = context;
    copy->out = (struct chat_outcome){
        .status = (enum status)row->status,
        .text = arena_strdup(copy->arena, row->text),
        .room = row->room,
        .number = row->number,
        .position = {.seq = row->seq},
        .time_ms = row->time_ms,
        .created = (row->flags & OUTCOME_CREATED) != 0,
    };
    return copy->out.text == NULL ? ERROR_NO_MEMORY : OK;
}

enum error chat_outcome_of(struct chat *chat, const struct chat_session *session, uint64_t request,
                           struct arena *arena, struct chat_outcome *out)
{
    struct outcome_copy copy = {.arena = arena};
    const struct outcome_row *last = &chat->last_outcome;
    enum error error =
        last->session == session->id && last->request == request
            ? copy_outcome(&copy, last)
            : store_get_outcome(chat->store, session->id, request, copy_outcome, &copy);
    if (error != OK)
        return error;
    copy.out.position.epoch = store_epoch_at(chat->store, copy.out.position.seq);
    *out = copy.out;
    return OK;
}
