/* SPDX-License-Identifier: MIT */
#include "cluster/links.h"

#include "base/arena.h"
#include "base/log_pace.h"
#include "cluster/cluster_wire.h"
#include "cluster/link_log.h"
#include "rpc/channel.h"

#include <stdlib.h>
#include <string.h>

#define CALL_TIMEOUT_MS 1000
#define BULK_TIMEOUT_MS 5000 /* where much is on its way, here or there, and the way may be slow */
#define WAIT_FOR_CONNECTION_MS 300 /* messages are soon stale */
#define RECONNECT_MIN_MS 20
#define RECONNECT_MAX_MS 200
#define FRAME_BYTES_MAX (16u * 1024u * 1024u)
#define UNUSED_MS 30000
#define CLOSED_DIALS_TOLD 3
#define NEXT_ADDRESS_MS 300 /* at least between two addresses of one name */
#define QUIET_MS 20000 /* the other side throws out who says nothing for longer than it likes */
#define ARENA_BYTES (256u * 1024u) /* heads only: bytes are borrowed */

struct link {
    struct links *links;
    struct rpc_channel *channel; /* NULL: a free place */
    char address[ADDRESS_TEXT_SIZE];
    uint16_t listed;  /* the member that is listed there; 0: none */
    uint16_t node;    /* that answered since it was connected; 0: none yet */
    bool is_stranger; /* of another cluster, or none: is what answered */
    bool has_bulk;    /* a call that carries much is not answered yet */
    uint64_t used_ms;
    uint64_t waiting_since_ms; /* for an answer; 0: for none */
    uint64_t dialled_ms;       /* while there is no connection */
    bool is_renewed;           /* by us: its loss tells nothing of the other side */
    bool was_refused;          /* since it was connected last */
    enum error dial_error;     /* of the last attempt that failed; OK: of none */
    unsigned closed_dials;     /* in a row */
    bool has_answered;         /* on this connection */
    struct rpc_stub stub;
};

/* One call; in the heap until its closure has run. */
struct exchange {
    struct rpc_result result; /* first: the channel fills it */
    struct link *link;
    bool is_bulk;
};

struct links {
    struct links_options options;
    uint64_t now_ms;
    struct arena arena;
    struct link items[LINKS_MAX];
};

/* ---- finding ---- */

static bool is_to(const struct link *link, uint16_t node)
{
    uint16_t there = link->node != 0 ? link->node : link->listed;
    return node != 0 && there == node && !link->is_stranger;
}

static struct link *find(struct links *links, uint16_t node, const char *address)
{
    if (node == 0 && address == NULL)
        return NULL;
    for (size_t i = 0; i < LINKS_MAX; i++) {
        struct link *link = &links->items[i];
        if (link->channel == NULL)
            continue;
        bool is_it = address != NULL ? strcmp(link->address, address) == 0 : is_to(link, node);
        if (is_it)
            return link;
    }
    return NULL;
}

/* NULL: there is no connection to it. */
static struct link *find_connected(struct links *links, uint16_t node)
{
    for (size_t i = 0; i < LINKS_MAX; i++) {
        struct link *link = &links->items[i];
        if (link->channel != NULL && is_to(link, node) && rpc_channel_is_connected(link->channel))
            return link;
    }
    return NULL;
}

/* ---- connections ---- */

static void on_disconnected(void *context, struct rpc_channel *channel)
{
    (void)channel;
    struct link *link = context;
    link->waiting_since_ms = 0;
    link->dialled_ms = link->links->now_ms;
    bool was_lost = !link->is_renewed;
    link->is_renewed = false;
    link->node = 0;
    link->is_stranger = false;
    if (was_lost)
        link->links->options.down(link->links->options.context, link->address);
}

static void on_connected(void *context, struct rpc_channel *channel)
{
    (void)channel;
    struct link *link = context;
    link->is_renewed = false;
    link->was_refused = false;
    link->dial_error = OK;
    link->closed_dials = 0;
    link->has_answered = false;
}

static void note_failed_dial(struct link *link, enum error error)
{
    /* A server that is killed closes what nobody has accepted. The next attempt is then refused. */
    link->closed_dials = error == ERROR_CLOSED ? link->closed_dials + 1 : 0;
    link->dial_error = error;
    if (error != ERROR_CLOSED || link->closed_dials >= CLOSED_DIALS_TOLD)
        link_log_failed(link->address, error);
}

/* Nobody listens there. Once is enough: whoever cannot be reached from here may well reach us. */
static void on_refused(void *context, struct rpc_channel *channel, enum error error)
{
    (void)channel;
    struct link *link = context;
    note_failed_dial(link, error);
    bool is_news = error == ERROR_REFUSED && !link->was_refused;
    link->was_refused = link->was_refused || is_news;
    if (is_news)
        link->links->options.down(link->links->options.context, link->address);
}

static void close_link(struct link *link)
{
    link->is_renewed = true; /* its end tells nothing */
    struct rpc_channel *channel = link->channel;
    link->channel = NULL;
    rpc_channel_close(channel);
}

static struct link *free_place(struct links *links)
{
    for (size_t i = 0; i < LINKS_MAX; i++)
        if (links->items[i].channel == NULL)
            return &links->items[i];
    return NULL;
}

/* NULL: there is no place for another one, or it is no address. */
static struct link *open_link(struct links *links, const char *address)
{
    struct link *link = free_place(links);
    if (link == NULL || strlen(address) >= sizeof link->address)
        return NULL;
    *link = (struct link){.links = links, .used_ms = links->now_ms, .dialled_ms = links->now_ms};
    memcpy(link->address, address, strlen(address) + 1);
    struct rpc_channel_options options = {
        .queue = links->options.queue,
        .frame_bytes_max = FRAME_BYTES_MAX,
        .request_bytes_max = FRAME_BYTES_MAX, /* what is handed over is a page of the log */
        .reconnect_min_ms = RECONNECT_MIN_MS,
        .reconnect_max_ms = RECONNECT_MAX_MS,
        .context = link,
        .connected = on_connected,
        .disconnected = on_disconnected,
        .refused = on_refused,
    };
    struct error_text why;
    enum error error = address_parse(address, &options.address, &why);
    if (error == OK)
        error = rpc_channel_open(&link->channel, &options, &why);
    if (error != OK) {
        log_warning_paced(address, "cluster", "cannot_dial", log_string("address", address),
                          log_string("reason", why.text));
        return NULL;
    }
    rpc_stub_init(&link->stub, link->channel, &jackdaw__cluster__descriptor);
    return link;
}

void links_set_members(struct links *links, const struct replica_member *members, size_t count,
                       uint16_t own)
{
    for (size_t i = 0; i < LINKS_MAX; i++)
        links->items[i].listed = 0;
    for (size_t i = 0; i < count; i++) {
        const struct replica_member *member = &members[i];
        if (member->id == own || member->left)
            continue;
        struct link *link = find(links, member->id, member->internal);
        if (link == NULL)
            link = open_link(links, member->internal);
        if (link == NULL)
            continue;
        link->listed = member->id;
        link->is_stranger = link->is_stranger && !member->in_sync;
    }
}

/* ---- sending ---- */

static void on_answer(const Jackdaw__ClusterFrame *frame, void *data)
{
    struct exchange *exchange = data;
    struct link *link = exchange->link;
    struct links *links = link->links;
    enum status status = exchange->result.status;
    bool is_answered = status == STATUS_OK;
    link_log_refused(link->address, status);
    link->has_bulk = link->has_bulk && !exchange->is_bulk;
    if (is_answered && frame != NULL && links->options.process != 0 &&
        frame->process == links->options.process)
        link_log_self(link->address);
    free(exchange);
    if (status == STATUS_UNIMPLEMENTED) /* a server of something else */
        links->options.down(links->options.context, link->address);
    if (!is_answered || frame == NULL)
        return;
    link->waiting_since_ms = 0;
    link->has_answered = true;
    for (size_t i = 0; i < frame->n_messages; i++) {
        const Jackdaw__ClusterMessage *message = frame->messages[i];
        bool is_ours = links->options.received(links->options.context, message, link->address);
        link->is_stranger = !is_ours;
        link->node = is_ours && message->from <= UINT16_MAX ? (uint16_t)message->from : 0;
    }
    if (links->options.clock != NULL && !link->is_stranger)
        links->options.clock(links->options.context, frame);
}

/* Whether the receiver has something to say to it at once. */
static bool is_answered(enum replica_message_kind kind)
{
    return kind != REPLICA_ACK && kind != REPLICA_HANDOVER_DONE;
}

/* Whether it is large, or its answer. */
static bool is_bulk(enum replica_message_kind kind)
{
    return kind == REPLICA_FETCH || kind == REPLICA_SNAPSHOT_ASK || kind == REPLICA_HANDOVER;
}

/* Acks are many: an answer to each would cost more than what it is an answer to. */
static void tell(struct link *link, const struct cluster_frame *frame)
{
    link->used_ms = link->links->now_ms;
    link->stub.one_way = true;
    jackdaw__cluster__exchange(&link->stub.service, &frame->frame, NULL, NULL);
    link->stub.one_way = false;
}

static void call(struct link *link, const struct cluster_frame *frame, bool is_bulk)
{
    struct links *links = link->links;
    struct exchange *exchange = calloc(1, sizeof *exchange);
    if (exchange == NULL)
        return;
    exchange->link = link;
    exchange->is_bulk = is_bulk;
    link->has_bulk = link->has_bulk || is_bulk;
    bool is_connected = rpc_channel_is_connected(link->channel);
    if (is_connected && link->waiting_since_ms == 0)
        link->waiting_since_ms = links->now_ms;
    link->used_ms = links->now_ms;
    uint32_t timeout_ms = is_bulk ? BULK_TIMEOUT_MS : CALL_TIMEOUT_MS;
    link->stub.timeout_ms = is_connected ? timeout_ms : WAIT_FOR_CONNECTION_MS;
    jackdaw__cluster__exchange(&link->stub.service, &frame->frame, on_answer, exchange);
}

/* A connection across a cut that has healed can sleep for as long again as the cut lasted, and so can
 * an attempt to make one: TCP sends again ever more seldom. A new one works at once. */
static void renew(struct link *link, bool is_connected)
{
    link->waiting_since_ms = 0;
    link->dialled_ms = link->links->now_ms;
    link->is_renewed = is_connected;
    rpc_channel_reconnect(link->channel);
}

/* One name may be that of several servers, one of which has answered, and its answer did not suffice.
 * The next question goes to the next address. */
static void go_on_to_next(struct link *link)
{
    uint64_t now_ms = link->links->now_ms;
    if (link->listed != 0 || !link->has_answered || rpc_channel_addresses(link->channel) < 2 ||
        now_ms - link->dialled_ms < NEXT_ADDRESS_MS)
        return;
    link->has_answered = false;
    link->node = 0;
    renew(link, true);
}

void links_send(struct links *links, const struct replica_message *message, const char *feed)
{
    const char *address = message->address;
    if (address != NULL && address[0] == '\0')
        address = NULL;
    struct link *link = find(links, message->to, address);
    if (link == NULL && address != NULL)
        link = open_link(links, address);
    if (link == NULL || !rpc_channel_is_connected(link->channel)) {
        struct link *other = find_connected(links, message->to); /* it has moved */
        link = other != NULL ? other : link;
    }
    /* What is asked again while it is on its way would fill a slow way with the same. */
    if (link == NULL || (is_bulk(message->kind) && link->has_bulk))
        return;
    if (message->to == 0)
        go_on_to_next(link);
    struct cluster_frame frame;
    cluster_frame_init(&frame);
    frame.frame.process = links->options.process;
    if (links->options.durability != NULL)
        frame.frame.durability = (char *)links->options.durability;
    if (links->options.wall_ms != NULL)
        frame.frame.wall_ms = links->options.wall_ms(links->options.context);
    bool is_added = cluster_frame_add(&frame, message, feed, &links->arena) == OK;
    if (is_added && is_answered(message->kind))
        call(link, &frame, is_bulk(message->kind));
    else if (is_added)
        tell(link, &frame);
    arena_clear(&links->arena);
}

bool links_is_connected(struct links *links, uint16_t node)
{
    return find_connected(links, node) != NULL;
}

const char *links_address(struct links *links, uint16_t node)
{
    const struct link *link = find_connected(links, node);
    return link == NULL ? NULL : link->address;
}

void links_flush(struct links *links)
{
    for (size_t i = 0; i < LINKS_MAX; i++)
        if (links->items[i].channel != NULL)
            rpc_channel_flush(links->items[i].channel);
}

static bool is_stuck(const struct link *link, bool is_connected)
{
    uint64_t since_ms = is_connected ? link->waiting_since_ms : link->dialled_ms;
    uint64_t silence_ms = link->links->options.silence_ms;
    if (is_connected && link->has_bulk && silence_ms < BULK_TIMEOUT_MS)
        silence_ms = BULK_TIMEOUT_MS; /* answers may wait behind it */
    return since_ms != 0 && link->links->now_ms - since_ms > silence_ms;
}

/* A master that only listens to a slave must not be taken for one that is gone, nor the other way. */
static void say_nothing(struct link *link)
{
    struct cluster_frame nothing;
    cluster_frame_init(&nothing);
    tell(link, &nothing);
}

static void tick(struct link *link)
{
    uint64_t now_ms = link->links->now_ms;
    rpc_channel_tick(link->channel, now_ms);
    bool is_connected = rpc_channel_is_connected(link->channel);
    if (is_stuck(link, is_connected))
        renew(link, is_connected);
    if (link->listed == 0 && now_ms - link->used_ms > UNUSED_MS)
        close_link(link);
    else if (link->listed != 0 && is_connected && now_ms - link->used_ms > QUIET_MS)
        say_nothing(link);
}

void links_complain(const struct links *links)
{
    for (size_t i = 0; i < LINKS_MAX; i++) {
        const struct link *link = &links->items[i];
        if (link->channel != NULL && !rpc_channel_is_connected(link->channel))
            link_log_silent(link->address, link->dial_error);
    }
}

void links_tick(struct links *links, uint64_t now_ms)
{
    links->now_ms = now_ms;
    for (size_t i = 0; i < LINKS_MAX; i++)
        if (links->items[i].channel != NULL)
            tick(&links->items[i]);
}

/* ---- life ---- */

enum error links_new(struct links **out, const struct links_options *options)
{
    struct links *links = calloc(1, sizeof *links);
    if (links == NULL)
        return ERROR_NO_MEMORY;
    links->options = *options;
    arena_init(&links->arena, ARENA_BYTES);
    *out = links;
    return OK;
}

void links_free(struct links *links)
{
    if (links == NULL)
        return;
    for (size_t i = 0; i < LINKS_MAX; i++)
        if (links->items[i].channel != NULL)
            close_link(&links->items[i]);
    arena_clear(&links->arena);
    free(links);
}
