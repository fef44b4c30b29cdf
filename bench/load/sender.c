/* SPDX-License-Identifier: MIT */
#include "sender.h"

#include "base/status.h"

#include <stdlib.h>

#define SEND_TIMEOUT_MS 5000u
#define LOST_AFTER_NS UINT64_C(3000000000) /* no answer for so long: the reply was lost */
#define NS_PER_MS UINT64_C(1000000)

bool sender_init(struct sender *sender, struct pool *pool, struct client *client,
                 struct measure *measure, struct sequence_set *sequence_set, const char *text,
                 size_t depth)
{
    size_t slots = 1;
    while (slots < depth)
        slots *= 2;
    *sender = (struct sender){.pool = pool,
                              .client = client,
                              .measure = measure,
                              .sequence_set = sequence_set,
                              .slot_mask = slots - 1,
                              .depth = depth,
                              .first = client->next_request,
                              .oldest = client->next_request,
                              .next = client->next_request,
                              .last.number = client->room_number};
    sender->slots = calloc(slots, sizeof *sender->slots);
    return sender->slots != NULL && send_template_init(&sender->template, client->token,
                                                       client->room, text, SEND_TIMEOUT_MS);
}

void sender_release(struct sender *sender)
{
    free(sender->slots);
    sender->slots = NULL;
    send_template_release(&sender->template);
}

static struct slot *slot_of(struct sender *sender, uint64_t request)
{
    return &sender->slots[request & sender->slot_mask];
}

static void put(struct sender *sender, uint64_t request)
{
    struct connection *connection = &sender->client->connection;
    uint8_t *bytes = sp_connection_append(connection, send_template_size_max(&sender->template));
    if (bytes == NULL) {
        client_pool_fail(sender->pool, "client %zu: cannot send", sender->client->index);
        return;
    }
    connection_keep(connection, send_template_write(&sender->template, request, request, bytes));
    slot_of(sender, request)->sent_ns = sender->pool->loop.now_ns;
}

bool sender_send(struct sender *sender)
{
    if (sender->next - sender->oldest >= sender->depth)
        return false;
    struct slot *slot = slot_of(sender, sender->next);
    *slot = (struct slot){.state = SLOT_OPEN, .begun_ns = sender->pool->loop.now_ns};
    put(sender, sender->next++);
    sender->open++;
    return true;
}

void sender_fill(struct sender *sender)
{
    while (sender_send(sender))
        ;
}

static void close_slot(struct sender *sender, struct slot *slot)
{
    slot->state = SLOT_FREE;
    sender->open--;
    while (sender->oldest < sender->next && slot_of(sender, sender->oldest)->state == SLOT_FREE)
        sender->oldest++;
}

static void report_error(struct sender *sender, const char *what, uint64_t request, uint64_t number)
{
    if (sender->measure->errors++ == 0)
        client_pool_fail(sender->pool, "client %zu, request %llu, number %llu: %s",
                         sender->client->index, (unsigned long long)request,
                         (unsigned long long)number, what);
}

/* A later request has the later number and position; each number is seen once. Alone in a room,
 * the numbers therefore have no holes, which sequence_set_missing tells at the end. */
static void check(struct sender *sender, uint64_t request, const struct parse_send_reply *reply)
{
    const struct parse_send_reply *last = &sender->last;
    bool later = request > sender->last_request;
    if ((reply->number > last->number) != later ||
        (reply->position.seq > last->position.seq) != later)
        report_error(sender, "the order of the numbers is not that of the requests", request,
                     reply->number);
    else if (!sequence_set_add(sender->sequence_set, reply->number))
        report_error(sender, "this number was given before", request, reply->number);
    if (later) {
        sender->last = *reply;
        sender->last_request = request;
    }
}

static void wait_to_retry(struct sender *sender, struct slot *slot, uint32_t retry_ms)
{
    uint64_t at_ns = sender->pool->loop.now_ns + retry_ms * NS_PER_MS;
    slot->state = SLOT_WAITING;
    if (sender->retry_at_ns == 0 || at_ns > sender->retry_at_ns)
        sender->retry_at_ns = at_ns;
}

static void refuse(struct sender *sender, struct slot *slot, const struct parse_envelope *envelope)
{
    if (envelope->retry_ms != 0) {
        wait_to_retry(sender, slot, envelope->retry_ms);
        return;
    }
    sender->measure->errors++;
    client_pool_fail(sender->pool, "client %zu: Send was refused: %s (%.*s)", sender->client->index,
                     status_name((enum status)envelope->status), (int)envelope->message.size,
                     (const char *)envelope->message.at);
    close_slot(sender, slot);
}

bool sender_take(struct sender *sender, const struct parse_envelope *envelope,
                 struct parse_send_reply *out)
{
    uint64_t request = envelope->call;
    struct slot *slot = slot_of(sender, request);
    if (request < sender->oldest || request >= sender->next || slot->state != SLOT_OPEN) {
        /* Whoever sends twice may be answered twice. */
        if (sender->measure->retries == 0)
            report_error(sender, "a reply that nobody waits for", request, 0);
        return false;
    }
    if (envelope->status != STATUS_OK) {
        refuse(sender, slot, envelope);
        return false;
    }
    if (!parse_send_reply(envelope->payload, out)) {
        report_error(sender, "the reply is no SendReply", request, 0);
        return false;
    }
    check(sender, request, out);
    measure_count(sender->measure, 1);
    measure_latency(sender->measure, slot->begun_ns, sender->pool->loop.now_ns);
    close_slot(sender, slot);
    return true;
}

static bool is_due(const struct slot *slot, uint64_t now_ns)
{
    return slot->state == SLOT_WAITING ||
           (slot->state == SLOT_OPEN && now_ns - slot->sent_ns > LOST_AFTER_NS);
}

/* In the order of the numbers: the server carries them out in no other. */
static void send_again(struct sender *sender, uint64_t now_ns)
{
    for (uint64_t request = sender->oldest; request < sender->next; request++) {
        struct slot *slot = slot_of(sender, request);
        if (!is_due(slot, now_ns))
            continue;
        slot->state = SLOT_OPEN;
        sender->measure->retries++;
        put(sender, request);
    }
}

void sender_tick(struct sender *sender)
{
    uint64_t now_ns = sender->pool->loop.now_ns;
    if (sender->retry_at_ns != 0 && now_ns >= sender->retry_at_ns) {
        sender->retry_at_ns = 0;
        send_again(sender, now_ns);
    } else if (sender->open > 0 && sender->retry_at_ns == 0) {
        const struct slot *oldest = slot_of(sender, sender->oldest);
        if (oldest->state == SLOT_OPEN && now_ns - oldest->sent_ns > LOST_AFTER_NS)
            send_again(sender, now_ns);
    }
}
