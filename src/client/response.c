/* SPDX-License-Identifier: MIT */
#include "client/client_internal.h"

/* By status. All others: RESPONSE_FAIL, or RESPONSE_RETRY if the answer has retry_ms. */
static const struct {
    enum response_action action;
    bool is_of_channel; /* no server has sent it */
} responses[STATUS_COUNT] = {
    [STATUS_OK] = {RESPONSE_ACCEPT, false},
    [STATUS_CANCELLED] = {RESPONSE_RETRY, true},         /* the channel was closed */
    [STATUS_DEADLINE_EXCEEDED] = {RESPONSE_RETRY, true}, /* no answer in time */
    [STATUS_UNAVAILABLE] = {RESPONSE_REDIRECT, false},   /* not the master; or connection lost */
    [STATUS_ABORTED] = {RESPONSE_RESEND, false},         /* an earlier number is missing */
    [STATUS_UNAUTHENTICATED] = {RESPONSE_END_SESSION, false},
};

void response_note_position(struct client *client, struct log_position position)
{
    if (log_position_compare(position, client->seen) > 0)
        client->seen = position;
    if (position.epoch > client->highest_epoch) {
        client->highest_epoch = position.epoch;
        client->selection.connected.session_confirmed_us = 0;
    }
}

enum response_action response_action(const struct rpc_result *result)
{
    enum response_action action = responses[result->status].action;
    return action == RESPONSE_FAIL && result->retry_ms > 0 ? RESPONSE_RETRY : action;
}

bool response_is_from_server(const struct rpc_result *result)
{
    return !responses[result->status].is_of_channel;
}
