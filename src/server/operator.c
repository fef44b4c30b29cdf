/* SPDX-License-Identifier: MIT */
#include "server/operator.h"

#include "base/clock.h"
#include "base/task_queue.h"
#include "rpc/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- is anybody there? ---- */

static int connect_within(const struct addrinfo *to, int timeout_ms)
{
    int fd = socket(to->ai_family, to->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, to->ai_protocol);
    if (fd < 0)
        return errno;
    int result = 0;
    if (connect(fd, to->ai_addr, to->ai_addrlen) != 0)
        result = errno;
    if (result == EINPROGRESS) {
        struct pollfd waiting = {.fd = fd, .events = POLLOUT};
        socklen_t size = sizeof result;
        if (poll(&waiting, 1, timeout_ms) != 1)
            result = ETIMEDOUT;
        else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &result, &size) != 0)
            result = errno;
    }
    (void)close(fd);
    return result;
}

/* A channel tries until its deadline and cannot tell why it failed. This can, and at once. */
static enum error probe_tcp(const struct address *address, const char *name, struct error_text *why)
{
    char port[8];
    (void)snprintf(port, sizeof port, "%u", (unsigned)address->port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_family = AF_UNSPEC};
    struct addrinfo *found = NULL;
    const char *host = address->host[0] == '\0' ? "127.0.0.1" : address->host;
    int result = getaddrinfo(host, port, &hints, &found);
    if (result != 0)
        return error_set(why, ERROR_REFUSED, "no server answers at %s: %s: %s", name, host,
                         gai_strerror(result));
    result = ETIMEDOUT;
    for (const struct addrinfo *one = found; one != NULL && result != 0; one = one->ai_next)
        result = connect_within(one, OPERATOR_TIMEOUT_MS);
    freeaddrinfo(found);
    if (result == 0)
        return OK;
    return error_set(why, result == ETIMEDOUT ? ERROR_TIMEOUT : ERROR_REFUSED,
                     "no server answers at %s: %s", name, strerror(result));
}

/* ---- one question ---- */

struct question {
    struct rpc_result result; /* first: the channel fills it */
    const struct address *address;
    const char *tls_authority;
    const ProtobufCServiceDescriptor *service;
    const char *method;
    const ProtobufCMessage *request;
    bool was_connected;
    bool has_ended;
    enum status status;
    char text[ERROR_TEXT_SIZE / 2];
    char problem[ERROR_TEXT_SIZE / 2]; /* of the connection; "": none */
    ProtobufCMessage *reply;           /* the asker's */
};

static void on_connected(void *context, struct rpc_channel *channel)
{
    (void)channel;
    struct question *question = context;
    question->was_connected = true;
}

/* Asking again does not help against what is known to be wrong with the connection. */
static void on_refused(void *context, struct rpc_channel *channel, enum error error)
{
    struct question *question = context;
    const char *problem = rpc_channel_problem(channel);
    (void)error;
    if (problem == NULL || question->was_connected)
        return;
    (void)snprintf(question->problem, sizeof question->problem, "%s", problem);
    question->has_ended = true;
}

static ProtobufCMessage *copy_of(const ProtobufCMessage *message)
{
    size_t size = protobuf_c_message_get_packed_size(message);
    uint8_t *bytes = malloc(size + 1);
    if (bytes == NULL)
        return NULL;
    (void)protobuf_c_message_pack(message, bytes);
    ProtobufCMessage *copy = protobuf_c_message_unpack(message->descriptor, NULL, size, bytes);
    free(bytes);
    return copy;
}

static void on_reply(const ProtobufCMessage *reply, void *context)
{
    struct question *question = context;
    question->has_ended = true;
    question->status = question->result.status;
    (void)snprintf(question->text, sizeof question->text, "%s", question->result.message);
    if (reply != NULL)
        question->reply = copy_of(reply);
}

static void invoke(struct question *question, struct rpc_channel *channel)
{
    struct rpc_stub stub;
    rpc_stub_init(&stub, channel, question->service);
    stub.timeout_ms = OPERATOR_TIMEOUT_MS;
    const ProtobufCMethodDescriptor *method =
        protobuf_c_service_descriptor_get_method_by_name(question->service, question->method);
    ASSERT(method != NULL);
    stub.service.invoke(&stub.service, (unsigned)(method - question->service->methods),
                        question->request, on_reply, question);
}

static enum error carry(struct question *question, struct task_queue *queue, struct error_text *why)
{
    struct rpc_channel *channel;
    struct rpc_channel_options options = {
        .address = *question->address,
        .queue = queue,
        .tls_authority = question->tls_authority,
        .context = question,
        .connected = on_connected,
        .refused = on_refused,
    };
    enum error error = rpc_channel_open(&channel, &options, why);
    if (error != OK)
        return error;
    invoke(question, channel);
    while (!question->has_ended) {
        rpc_channel_flush(channel);
        task_queue_wait(queue, 50);
        (void)task_queue_run(queue, SIZE_MAX);
        rpc_channel_tick(channel, clock_monotonic_ms());
    }
    rpc_channel_close(channel);
    (void)task_queue_run(queue, SIZE_MAX);
    return OK;
}

/* What the end of a question means, as a sentence. */
static enum error judge(const struct question *question, const char *name, struct error_text *why)
{
    if (question->problem[0] != '\0')
        return error_set(why, ERROR_DENIED, "the server at %s: %s", name, question->problem);
    switch (question->status) {
    case STATUS_OK:
        return question->reply != NULL ? OK : error_set(why, ERROR_NO_MEMORY, "out of memory");
    case STATUS_DEADLINE_EXCEEDED:
    case STATUS_UNAVAILABLE:
        if (!question->was_connected)
            return error_set(why, ERROR_TIMEOUT,
                             "what listens at %s is no Jackdaw server, or one that hangs", name);
        if (question->status == STATUS_DEADLINE_EXCEEDED)
            return error_set(why, ERROR_TIMEOUT,
                             "the server at %s did not answer within %d seconds", name,
                             OPERATOR_TIMEOUT_MS / 1000);
        return error_set(why, ERROR_REFUSED, "the server at %s: %s", name, question->text);
    case STATUS_UNIMPLEMENTED:
        return error_set(why, ERROR_VERSION,
                         "the server at %s does not know what it was asked: %sit is of another "
                         "version (%s)",
                         name,
                         question->service == &jackdaw__cluster__descriptor
                             ? "give its internal address, if this is its client address; or "
                             : "",
                         question->text);
    default:
        return error_set(why, ERROR_DENIED, "the server at %s refuses: %s", name, question->text);
    }
}

/* OK: question->reply is the caller's, ended with protobuf_c_message_free_unpacked. */
static enum error ask(struct question *question, struct error_text *why)
{
    char name[ADDRESS_TEXT_SIZE];
    address_format(question->address, name);
    enum error error = probe_tcp(question->address, name, why);
    if (error != OK)
        return error;
    struct task_queue *queue;
    error = task_queue_new(&queue);
    if (error != OK)
        return error_set(why, error, "ask the server: %s", error_name(error));
    error = carry(question, queue, why);
    task_queue_free(queue);
    return error != OK ? error : judge(question, name, why);
}

static enum error ask_status(const struct address *address, const char *tls_authority,
                             Jackdaw__StatusReply **out, struct error_text *why)
{
    Jackdaw__StatusRequest request = JACKDAW__STATUS_REQUEST__INIT;
    struct question question = {.address = address,
                                .tls_authority = tls_authority,
                                .service = &jackdaw__operator__descriptor,
                                .method = "Status",
                                .request = &request.base};
    enum error error = ask(&question, why);
    if (error == OK)
        *out = (Jackdaw__StatusReply *)question.reply;
    return error;
}

static enum error ask_leave(const struct address *address, uint32_t id, struct error_text *why)
{
    Jackdaw__LeaveRequest request = JACKDAW__LEAVE_REQUEST__INIT;
    request.id = id;
    struct question question = {.address = address,
                                .service = &jackdaw__cluster__descriptor,
                                .method = "Leave",
                                .request = &request.base};
    enum error error = ask(&question, why);
    if (error == OK)
        protobuf_c_message_free_unpacked(question.reply, NULL);
    return error;
}

/* ---- what operators ask for ---- */

static enum error tell_status(const struct server_options *options, FILE *out,
                              struct error_text *why)
{
    Jackdaw__StatusReply *status;
    enum error error = ask_status(&options->status.address, options->tls_ca, &status, why);
    if (error != OK)
        return error;
    if (!options->json)
        operator_print_text(status, out);
    else if (!operator_print_json(status, out))
        error = error_set(why, ERROR_NO_MEMORY, "out of memory");
    jackdaw__status_reply__free_unpacked(status, NULL);
    return error;
}

static enum error leave(const struct server_options *options, FILE *out, struct error_text *why)
{
    char name[ADDRESS_TEXT_SIZE];
    address_format(&options->leave.address, name);
    enum error error = ask_leave(&options->leave.address, 0, why);
    if (error == OK)
        (void)fprintf(out,
                      "the server at %s leaves the cluster for good; it ends when the others have "
                      "all that it has\n",
                      name);
    return error;
}

static const Jackdaw__StatusReply__Member *member_of(const Jackdaw__StatusReply *status,
                                                     uint32_t id)
{
    for (size_t i = 0; i < status->n_members; i++)
        if (status->members[i]->id == id)
            return status->members[i];
    return NULL;
}

/* Where the master is that the server at the address knows. */
static enum error find_master(const struct address *asked, struct address *out,
                              struct error_text *why)
{
    Jackdaw__StatusReply *status;
    enum error error = ask_status(asked, NULL, &status, why);
    if (error != OK)
        return error;
    const Jackdaw__StatusReply__Member *master = member_of(status, status->master);
    if (status->master == status->id)
        *out = *asked;
    else if (status->master == 0 || master == NULL)
        error = error_set(why, ERROR_REFUSED,
                          "server %u knows no master just now, and only a master can remove a "
                          "server: try again when there is one",
                          status->id);
    else
        error = address_parse(master->internal, out, why);
    jackdaw__status_reply__free_unpacked(status, NULL);
    return error;
}

/* Whether there is such a dead server. *done: it was removed before. */
static enum error check_removal(const Jackdaw__StatusReply *status, uint32_t id, bool *done,
                                struct error_text *why)
{
    const Jackdaw__StatusReply__Member *member = member_of(status, id);
    if (member == NULL)
        return error_set(why, ERROR_NOT_FOUND,
                         "the cluster has no server %u; --status lists those it has", id);
    *done = member->left;
    if (!member->left && (member->reachable || member->id == status->master))
        return error_set(why, ERROR_DENIED,
                         "server %u is alive: stop it first, or let it leave with --leave %s", id,
                         member->internal);
    return OK;
}

static enum error remove_through(const struct address *asked, uint32_t id, bool *done,
                                 struct error_text *why)
{
    struct address master;
    enum error error = find_master(asked, &master, why);
    if (error != OK)
        return error;
    Jackdaw__StatusReply *status;
    error = ask_status(&master, NULL, &status, why);
    if (error != OK)
        return error;
    error = check_removal(status, id, done, why);
    jackdaw__status_reply__free_unpacked(status, NULL);
    return error != OK || *done ? error : ask_leave(&master, id, why);
}

/* Asks one after the other, until one gives an answer that counts. */
static enum error remove_member(const struct server_options *options, FILE *out,
                                struct error_text *why)
{
    bool was_done = false;
    enum error error = ERROR_REFUSED;
    for (size_t i = 0; i < options->cluster.masters.count; i++) {
        error = remove_through(&options->cluster.masters.items[i], options->remove, &was_done, why);
        if (error == OK || error == ERROR_NOT_FOUND || error == ERROR_DENIED)
            break;
    }
    if (error == OK)
        (void)fprintf(out, "server %u is %s of the cluster\n", (unsigned)options->remove,
                      was_done ? "already no longer a member" : "no longer a member");
    return error;
}

enum error operator_run(const struct server_options *options, FILE *out, struct error_text *why)
{
    ASSERT(server_options_are_operators(options));
    if (options->status.is_given)
        return tell_status(options, out, why);
    return options->leave.is_given ? leave(options, out, why) : remove_member(options, out, why);
}
