/* SPDX-License-Identifier: MIT */
/* People who come and go: the master asks for them, and nobody waits for an answer. They do
 * everything that a delta can be about. Each batch of a master begins with one of theirs, so that the
 * first delta after a start, a snapshot or a rollback is of any kind. */
#include "sim.h"

#include <stdio.h>
#include <string.h>

#define DENS 3

static uint64_t roll(struct world *world, uint64_t bound)
{
    uint64_t z = (world->guest_random += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (z ^ (z >> 31)) % bound;
}

/* One guest asks on one node. */
struct guest_call {
    struct world *world;
    struct node *node;
    struct guest *guest;
    struct chat_call *call;
    uint64_t request;
    char name[16];
    char den[16];
};

/* Whether the guest is logged in, as far as this node knows. */
static bool has_session(struct guest_call *asking)
{
    asking->call->session = chat_find_session(asking->node->chat, asking->guest->session);
    if (asking->call->session == NULL)
        return false;
    asking->request = chat_session_last_request(asking->call->session) + 1;
    return true;
}

static enum chat_decision register_account(struct guest_call *asking)
{
    Jackdaw__RegisterRequest request = JACKDAW__REGISTER_REQUEST__INIT;
    uint8_t nonce[STORE_NONCE_BYTES];
    for (size_t i = 0; i < sizeof nonce; i++)
        nonce[i] = (uint8_t)roll(asking->world, 256);
    request.name = asking->name;
    request.password = "password";
    request.nonce = (ProtobufCBinaryData){sizeof nonce, nonce};
    return chat_propose_register(asking->node->chat, asking->call, &request, "hash");
}

static enum chat_decision log_in(struct guest_call *asking)
{
    if (has_session(asking))
        return CHAT_REFUSE; /* with two devices an account cannot be deleted */
    Jackdaw__LoginRequest request = JACKDAW__LOGIN_REQUEST__INIT;
    uint8_t token[CHAT_TOKEN_BYTES];
    for (size_t i = 0; i < sizeof token; i++)
        token[i] = (uint8_t)roll(asking->world, 256);
    request.name = asking->name;
    request.password = "password";
    request.token = (ProtobufCBinaryData){sizeof token, token};
    request.device = "";
    const char *hash;
    if (chat_check_login(asking->node->chat, asking->call, &request, &hash) != CHAT_PROPOSE)
        return CHAT_REFUSE;
    enum chat_decision decision =
        chat_propose_login(asking->node->chat, asking->call, &request, true);
    if (decision == CHAT_PROPOSE)
        asking->guest->session = asking->call->delta->session_started->session;
    return decision;
}

static enum chat_decision log_out(struct guest_call *asking)
{
    Jackdaw__LogoutRequest request = JACKDAW__LOGOUT_REQUEST__INIT;
    request.request = asking->request;
    return chat_propose_logout(asking->node->chat, asking->call, &request);
}

static enum chat_decision delete_account(struct guest_call *asking)
{
    Jackdaw__DeleteAccountRequest request = JACKDAW__DELETE_ACCOUNT_REQUEST__INIT;
    request.request = asking->request;
    return chat_propose_delete(asking->node->chat, asking->call, &request, true);
}

static enum chat_decision join(struct guest_call *asking)
{
    Jackdaw__JoinRoomRequest request = JACKDAW__JOIN_ROOM_REQUEST__INIT;
    request.request = asking->request;
    request.room = asking->den;
    request.private_ = asking->den[strlen(asking->den) - 1] == '0';
    return chat_propose_join(asking->node->chat, asking->call, &request);
}

static enum chat_decision leave(struct guest_call *asking)
{
    Jackdaw__LeaveRoomRequest request = JACKDAW__LEAVE_ROOM_REQUEST__INIT;
    request.request = asking->request;
    request.room = asking->den;
    return chat_propose_leave(asking->node->chat, asking->call, &request);
}

static enum chat_decision set_topic(struct guest_call *asking)
{
    char topic[16];
    (void)snprintf(topic, sizeof topic, "%u", (unsigned)roll(asking->world, 1000));
    Jackdaw__SetTopicRequest request = JACKDAW__SET_TOPIC_REQUEST__INIT;
    request.request = asking->request;
    request.room = asking->den;
    request.topic = topic;
    return chat_propose_topic(asking->node->chat, asking->call, &request);
}

static enum chat_decision invite(struct guest_call *asking)
{
    char name[16];
    (void)snprintf(name, sizeof name, "guest%u", (unsigned)roll(asking->world, GUESTS));
    Jackdaw__InviteRequest request = JACKDAW__INVITE_REQUEST__INIT;
    request.request = asking->request;
    request.room = asking->den;
    request.name = name;
    return chat_propose_invite(asking->node->chat, asking->call, &request);
}

static enum chat_decision say(struct guest_call *asking)
{
    Jackdaw__SendRequest request = JACKDAW__SEND_REQUEST__INIT;
    request.request = asking->request;
    request.to = asking->den;
    request.text = "hello";
    return chat_propose_send(asking->node->chat, asking->call, &request);
}

static enum chat_decision deliver(struct guest_call *asking)
{
    chat_note_delivered(asking->node->chat, asking->call->session, UINT64_MAX);
    return chat_propose_delivered(asking->node->chat, asking->call) ? CHAT_PROPOSE : CHAT_REFUSE;
}

static enum chat_decision be_refused(struct guest_call *asking)
{
    Jackdaw__SendRequest request = JACKDAW__SEND_REQUEST__INIT;
    request.request = asking->request;
    request.to = "nowhere";
    request.text = "hello";
    if (chat_propose_send(asking->node->chat, asking->call, &request) != CHAT_REFUSE)
        return CHAT_REFUSE;
    return chat_propose_refusal(asking->node->chat, asking->call, asking->request);
}

static const struct act {
    Jackdaw__Delta__ChangeCase kind;
    bool needs_session;
    enum chat_decision (*propose)(struct guest_call *asking);
} acts[GUEST_ACTS] = {
    {JACKDAW__DELTA__CHANGE_ACCOUNT_REGISTERED, false, register_account},
    {JACKDAW__DELTA__CHANGE_SESSION_STARTED, false, log_in},
    {JACKDAW__DELTA__CHANGE_ROOM_JOINED, true, join},
    {JACKDAW__DELTA__CHANGE_INVITED, true, invite},
    {JACKDAW__DELTA__CHANGE_MESSAGE_SENT, true, say},
    {JACKDAW__DELTA__CHANGE_TOPIC_SET, true, set_topic},
    {JACKDAW__DELTA__CHANGE_UNCHANGED, true, join},
    {JACKDAW__DELTA__CHANGE_DELIVERED, true, deliver},
    {JACKDAW__DELTA__CHANGE_REFUSED, true, be_refused},
    {JACKDAW__DELTA__CHANGE_ROOM_LEFT, true, leave},
    {JACKDAW__DELTA__CHANGE_SESSION_ENDED, true, log_out},
    {JACKDAW__DELTA__CHANGE_ACCOUNT_DELETED, true, delete_account},
};

/* Whether it makes a delta of the act's own kind now. */
static bool try_act(struct world *world, struct node *node, const struct act *act,
                    struct chat_call *call)
{
    unsigned first = (unsigned)roll(world, GUESTS);
    for (unsigned i = 0; i < GUESTS * DENS; i++) {
        unsigned index = (first + i) % GUESTS;
        struct guest_call asking = {
            .world = world, .node = node, .guest = &world->guests[index], .call = call};
        (void)snprintf(asking.name, sizeof asking.name, "guest%u", index);
        (void)snprintf(asking.den, sizeof asking.den, "den%u", (index + i / GUESTS) % DENS);
        call->session = NULL;
        if (act->needs_session && !has_session(&asking))
            continue;
        if (act->propose(&asking) == CHAT_PROPOSE && call->delta->change_case == act->kind)
            return true;
    }
    return false;
}

bool guest_acts(struct world *world, struct node *node, struct chat_call *call)
{
    if ((world->options.faults & FAULT_GUESTS) == 0 || !world->is_set_up || world->is_finishing)
        return false;
    uint64_t first = roll(world, GUEST_ACTS);
    for (uint64_t i = 0; i < GUEST_ACTS; i++)
        if (try_act(world, node, &acts[(first + i) % GUEST_ACTS], call))
            return true;
    return false;
}
