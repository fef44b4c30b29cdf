/* SPDX-License-Identifier: MIT */
#include "chat/chat_internal.h"

#include <sodium.h>

#define DRAWS_MAX 64 /* chance never needs a second one */

static void fill_from_system(void *context, void *bytes, size_t size)
{
    (void)context;
    randombytes_buf(bytes, size);
}

void chat_set_random(struct chat *chat, const struct chat_random *random)
{
    chat->random = random != NULL ? *random : (struct chat_random){.fill = fill_from_system};
}

static uint64_t draw(struct chat *chat)
{
    uint64_t id;
    chat->random.fill(chat->random.context, &id, sizeof id);
    return id;
}

static enum error visit_nothing(void *context, const struct account_row *row)
{
    (void)context;
    (void)row;
    return OK;
}

enum error id_check_account_unused(struct chat *chat, uint64_t id)
{
    enum error error = store_get_account(chat->store, id, visit_nothing, NULL);
    if (error == ERROR_NOT_FOUND)
        return OK;
    return error == OK ? ERROR_EXISTS : error;
}

enum error id_new_account(struct chat *chat, uint64_t *id)
{
    for (int i = 0; i < DRAWS_MAX; i++) {
        *id = draw(chat);
        if (*id == 0)
            continue;
        enum error error = id_check_account_unused(chat, *id);
        if (error != ERROR_EXISTS)
            return error;
    }
    return ERROR_INTERNAL;
}

enum error id_new_session(struct chat *chat, uint64_t *id)
{
    for (int i = 0; i < DRAWS_MAX; i++) {
        *id = draw(chat);
        if (*id != 0 && state_session(&chat->state, *id) == NULL &&
            state_ended_session(&chat->state, *id) == NULL)
            return OK;
    }
    return ERROR_INTERNAL;
}

enum error id_new_room(struct chat *chat, uint64_t *id)
{
    for (int i = 0; i < DRAWS_MAX; i++) {
        *id = draw(chat);
        if (*id != 0 && state_room(&chat->state, *id) == NULL)
            return OK;
    }
    return ERROR_INTERNAL;
}
