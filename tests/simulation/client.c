/* SPDX-License-Identifier: MIT */
/* People at their devices: each session numbers its requests, has a few in flight, sends again what
 * is not answered, follows redirects, and reads on from a position.
 *
 * What was acknowledged is remembered for a while, too: a master that lacks it (it was written in
 * another half, and is not handed over yet) says which request it expects, and gets it again. */
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RESEND_AFTER (60 * MS)
#define SILENT_AFTER (150 * MS)
#define EXTRA_EVERY (1500 * MS)

static struct request_record *sent_of(struct client *client, uint64_t request)
{
    return &client->sent[request - client->first];
}

void clients_begin(struct world *world)
{
    for (unsigned i = 0; i < world->clients_count; i++) {
        struct client *client = &world->clients[i];
        client->first = client->next = client->base = SETUP_REQUESTS + 1;
        client->target = (uint16_t)(1 + below(world, world->nodes_count));
        at(world, world->now + below(world, 50 * MS), AT_CLIENT, (int)i, 0, NULL);
    }
}

static void try_another(struct world *world, struct client *client)
{
    client->target = (uint16_t)(client->target % world->nodes_count + 1);
    client->heard_at = world->now;
}

static const char *name_of_target(struct world *world, const struct request_record *sent)
{
    switch (sent->kind) {
    case SENT_ROOM:
        return keep_text(world, "room%u", sent->target);
    case SENT_PERSON:
        return keep_text(world, "@person%u", sent->target);
    case SENT_JOIN:
    case SENT_EXTRA:
        return keep_text(world, "extra%u", sent->target);
    default:
        return "nowhere";
    }
}

static void send_request(struct world *world, struct client *client, uint64_t request)
{
    const struct request_record *sent = sent_of(client, request);
    struct packet *packet = make(world, sizeof *packet);
    packet->kind = PACKET_SEND;
    packet->from = -1 - client->index;
    packet->to = client->target;
    packet->request = request;
    packet->room = name_of_target(world, sent);
    packet->is_join = sent->kind == SENT_JOIN;
    packet->is_private = sent->target % 2 == 0;
    packet->text = keep_text(world, "%d:%llu", client->index, (unsigned long long)request);
    transmit(world, packet, 0, false);
}

static void resend(struct world *world, struct client *client, uint64_t from)
{
    client->resend_at = world->now + RESEND_AFTER + below(world, RESEND_AFTER);
    for (uint64_t request = from; request < client->next; request++)
        send_request(world, client, request);
}

/* Rooms are made by whoever comes first, in every half of the cluster: their names follow the clock,
 * so that several hit upon one. */
static void choose_target(struct world *world, struct client *client, struct request_record *sent)
{
    unsigned dice = (unsigned)below(world, 1000);
    if (dice < 50) {
        sent->kind = SENT_NOWHERE;
    } else if (dice < 150) {
        sent->kind = SENT_PERSON;
        sent->target = (unsigned)below(world, world->clients_count);
    } else if (dice < 200) {
        sent->kind = SENT_JOIN;
        sent->target = client->extra = 1 + (unsigned)(world->now / EXTRA_EVERY);
    } else if (dice < 350 && client->extra != 0) {
        sent->kind = SENT_EXTRA;
        sent->target = client->extra;
    } else {
        sent->kind = SENT_ROOM;
        sent->target = (unsigned)below(world, ROOMS);
    }
}

static void begin_request(struct world *world, struct client *client)
{
    size_t index = client->next - client->first;
    if (index == client->sent_capacity) {
        client->sent_capacity = client->sent_capacity * 2 + 64;
        client->sent = realloc(client->sent, client->sent_capacity * sizeof *client->sent);
        ASSERT(client->sent != NULL);
    }
    struct request_record *sent = &client->sent[index];
    *sent = (struct request_record){.request = client->next};
    choose_target(world, client, sent);
    if (sent->kind == SENT_ROOM)
        sent->floor = world->acked_number[sent->target];
    send_request(world, client, client->next++);
}

static void begin_reading(struct world *world, struct client *client)
{
    client->read_at = world->now + 100 * MS + below(world, 100 * MS);
    struct packet *packet = make(world, sizeof *packet);
    packet->kind = PACKET_READ;
    packet->from = -1 - client->index;
    packet->to = client->target;
    packet->position = client->cursor;
    packet->cursor_history_count = client->cursor_history_count;
    memcpy(packet->cursor_history, client->cursor_history, sizeof packet->cursor_history);
    packet->read_id = ++client->read_id;
    transmit(world, packet, 0, false);
}

void client_wake(struct world *world, struct client *client)
{
    if (client->base < client->next && world->now >= client->resend_at) {
        if (world->now - client->heard_at > SILENT_AFTER)
            try_another(world, client);
        resend(world, client, client->base);
    }
    uint64_t wait = chance(world, 100) ? 200 * MS : 45 * MS;
    if (!world->is_finishing && client->next - client->base < PIPELINE &&
        client->next - client->first < 4096) {
        if (client->base == client->next)
            client->resend_at = world->now + RESEND_AFTER;
        size_t count = 1 + below(world, PIPELINE);
        while (count-- > 0 && client->next - client->base < PIPELINE)
            begin_request(world, client);
    }
    if (world->now >= client->read_at)
        begin_reading(world, client);
    at(world, world->now + 5 * MS + below(world, wait), AT_CLIENT, client->index, 0, NULL);
}

static void receive_reply(struct world *world, struct client *client, struct packet *reply)
{
    if (reply->status == STATUS_ABORTED) {
        if (reply->expected < client->first)
            broken(world, "acked_is_kept", "client %d is asked for request %llu of the set-up",
                   client->index, (unsigned long long)reply->expected);
        if (world->now + RESEND_AFTER - 8 * MS > client->resend_at ||
            reply->expected < client->base)
            if (world->now >= client->resend_from) {
                client->resend_from = world->now + 8 * MS;
                resend(world, client,
                       reply->expected < client->base ? reply->expected : client->base);
            }
        return;
    }
    check_ack(world, client, reply);
    while (client->base < client->next && sent_of(client, client->base)->acked)
        client->base++;
}

void client_receive(struct world *world, struct client *client, struct packet *packet)
{
    if (packet->redirect) {
        if (packet->from != client->target)
            return;
        if (packet->master != 0 && packet->master <= world->nodes_count &&
            packet->master != packet->from) {
            client->target = packet->master;
            client->resend_at = world->now;
        } else {
            try_another(world, client);
            client->resend_at = world->now + 10 * MS;
        }
        return;
    }
    client->heard_at = world->now;
    if (packet->kind == PACKET_REPLY) {
        receive_reply(world, client, packet);
        return;
    }
    if (packet->read_id != client->read_id)
        return;
    check_page(world, client, packet);
    client->read_id++;
}

bool clients_done(const struct world *world)
{
    for (unsigned i = 0; i < world->clients_count; i++)
        if (world->clients[i].base < world->clients[i].next)
            return false;
    return true;
}
