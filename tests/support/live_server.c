/* SPDX-License-Identifier: MIT */
#include "support/live_server.h"

#include "base/clock.h"
#include "server/core.h"
#include "support/test.h"

#include <pthread.h>
#include <semaphore.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OPTIONS_MAX 32

struct live_server {
    pthread_t thread;
    struct core core;
    struct server_options options;
    char *words[OPTIONS_MAX];
    int word_count;
    sem_t opened;
    enum error error;
    struct error_text why;
    struct address address;
    struct address internal;
    bool is_told;     /* that it is open, or never will be */
    bool asked;       /* to stop: from then on the core may be gone */
    struct task hold; /* of the reader */
    sem_t released;
};

static void tell_opened(struct live_server *live)
{
    if (!live->is_told)
        (void)sem_post(&live->opened);
    live->is_told = true;
}

static void on_ready(struct core *core)
{
    tell_opened((struct live_server *)((char *)core - offsetof(struct live_server, core)));
}

static void *run(void *argument)
{
    struct live_server *live = argument;
    live->error = core_open(&live->core, &live->options, &live->why);
    bool open = live->error == OK;
    if (open) {
        rpc_server_address(live->core.clients, &live->address);
        rpc_server_address(cluster_server(live->core.cluster), &live->internal);
    }
    if (open) {
        core_run(&live->core, on_ready);
        core_release(&live->core);
    }
    tell_opened(live);
    return NULL;
}

static void add_word(struct live_server *live, const char *word)
{
    assert_true(live->word_count < OPTIONS_MAX);
    live->words[live->word_count++] = strdup(word);
}

static void free_live(struct live_server *live)
{
    for (int i = 0; i < live->word_count; i++)
        free(live->words[i]);
    (void)sem_destroy(&live->opened);
    (void)sem_destroy(&live->released);
    free(live);
}

static void read_options(struct live_server *live, const char *folder, const char *const *options)
{
    char data[4096];
    (void)snprintf(data, sizeof data, "--data_dir=%s", folder);
    add_word(live, "server");
    add_word(live, "--client_address=127.0.0.1:0");
    add_word(live, "--internal_address=127.0.0.1:0");
    add_word(live, "--password_cost=minimal");
    add_word(live, "--rate_limit=0");
    add_word(live, data);
    for (size_t i = 0; options != NULL && options[i] != NULL; i++)
        add_word(live, options[i]);
    struct error_text why = {.text = ""};
    if (server_options_parse(live->word_count, live->words, &live->options, &why) != OK)
        fail_msg("%s", why.text);
}

struct live_server *live_server_try(const char *folder, const char *const *options,
                                    struct error_text *why)
{
    struct live_server *live = calloc(1, sizeof *live);
    assert_non_null(live);
    assert_true(sodium_init() >= 0);
    (void)sem_init(&live->opened, 0, 0);
    (void)sem_init(&live->released, 0, 0);
    read_options(live, folder, options);
    assert_int_equal(pthread_create(&live->thread, NULL, run, live), 0);
    while (sem_wait(&live->opened) != 0)
        ;
    if (live->error == OK)
        return live;
    *why = live->why;
    (void)pthread_join(live->thread, NULL);
    server_options_release(&live->options);
    free_live(live);
    return NULL;
}

struct live_server *live_server_start(const char *folder, const char *const *options)
{
    struct error_text why = {.text = ""};
    struct live_server *live = live_server_try(folder, options, &why);
    if (live == NULL)
        fail_msg("the server does not start: %s", why.text);
    return live;
}

const struct address *live_server_address(const struct live_server *live)
{
    return &live->address;
}

const struct address *live_server_internal_address(const struct live_server *live)
{
    return &live->internal;
}

void live_server_ask_to_stop(struct live_server *live)
{
    live->asked = true;
    core_stop(&live->core);
}

static struct live_server *live_of_hold(struct task *task)
{
    return (struct live_server *)((char *)task - offsetof(struct live_server, hold));
}

static void hold(struct task *task)
{
    while (sem_wait(&live_of_hold(task)->released) != 0)
        ;
}

static void hold_on_core(struct task *task)
{
    task->run = hold;
    worker_push(live_of_hold(task)->core.reader, task);
}

void live_server_hold_reader(struct live_server *live)
{
    live->hold.run = hold_on_core;
    task_queue_push(live->core.queue, &live->hold);
}

void live_server_hold_core(struct live_server *live)
{
    live->hold.run = hold;
    task_queue_push(live->core.cluster_queue, &live->hold);
}

void live_server_release(struct live_server *live)
{
    (void)sem_post(&live->released);
}

void live_server_stop(struct live_server *live)
{
    if (!live->asked)
        core_stop(&live->core);
    live_server_release(live);
    (void)pthread_join(live->thread, NULL);
    server_options_release(&live->options);
    free_live(live);
}

static void connect(struct device *device, const struct address *address)
{
    struct error_text why = {.text = ""};
    struct rpc_channel_options options = {.address = *address, .queue = device->queue};
    if (rpc_channel_open(&device->channel, &options, &why) != OK)
        fail_msg("%s", why.text);
}

void device_open(struct device *device, const struct live_server *live)
{
    device_open_at(device, live_server_address(live));
}

void device_open_at(struct device *device, const struct address *address)
{
    *device = (struct device){.timeout_ms = LIVE_SERVER_PATIENCE_MS};
    assert_int_equal(task_queue_new(&device->queue), OK);
    connect(device, address);
}

void device_close(struct device *device)
{
    rpc_channel_close(device->channel);
    (void)task_queue_run(device->queue, SIZE_MAX);
    task_queue_free(device->queue);
    device->channel = NULL;
    device->queue = NULL;
}

void device_reopen(struct device *device, const struct live_server *live)
{
    rpc_channel_close(device->channel);
    (void)task_queue_run(device->queue, SIZE_MAX);
    connect(device, live_server_address(live));
}

void device_turn(struct device *device, int timeout_ms)
{
    rpc_channel_flush(device->channel);
    task_queue_wait(device->queue, timeout_ms);
    (void)task_queue_run(device->queue, SIZE_MAX);
    rpc_channel_tick(device->channel, clock_monotonic_ms());
    rpc_channel_flush(device->channel);
}

static ProtobufCMessage *copy_message(const ProtobufCMessage *message)
{
    size_t size = protobuf_c_message_get_packed_size(message);
    uint8_t *bytes = malloc(size + 1);
    assert_non_null(bytes);
    (void)protobuf_c_message_pack(message, bytes);
    ProtobufCMessage *copy = protobuf_c_message_unpack(message->descriptor, NULL, size, bytes);
    assert_non_null(copy);
    free(bytes);
    return copy;
}

static void on_reply(const ProtobufCMessage *reply, void *context)
{
    struct answer *answer = context;
    assert_false(answer->ended);
    answer->ended = !answer->result.more;
    answer->status = answer->result.status;
    answer->retry_ms = answer->result.retry_ms;
    (void)snprintf(answer->message, sizeof answer->message, "%s", answer->result.message);
    if (reply == NULL)
        return;
    answer->replies++;
    if (answer->reply != NULL)
        protobuf_c_message_free_unpacked(answer->reply, NULL);
    answer->reply = copy_message(reply);
    if (answer->each != NULL)
        answer->each(answer, reply);
}

void ask_start(struct device *device, struct answer *answer, const char *method,
               const ProtobufCMessage *request, uint32_t credits)
{
    const ProtobufCServiceDescriptor *service = &jackdaw__chat__descriptor;
    const ProtobufCMethodDescriptor *found =
        protobuf_c_service_descriptor_get_method_by_name(service, method);
    assert_non_null(found);
    struct rpc_stub stub;
    rpc_stub_init(&stub, device->channel, service);
    stub.timeout_ms = device->timeout_ms;
    stub.credits = credits;
    stub.token = device->token;
    stub.token_size = device->token_size;
    stub.position = device->position;
    stub.resent = device->resent;
    stub.peer = device->peer;
    *answer = (struct answer){.context = answer->context, .each = answer->each};
    stub.service.invoke(&stub.service, (unsigned)(found - service->methods), request, on_reply,
                        answer);
    answer->call = stub.call;
}

void answer_wait(struct device *device, struct answer *answer)
{
    DEVICE_WAIT(device, answer->ended);
}

void ask(struct device *device, struct answer *answer, const char *method,
         const ProtobufCMessage *request)
{
    *answer = (struct answer){.context = NULL};
    ask_start(device, answer, method, request, 0);
    answer_wait(device, answer);
    if (log_position_compare(answer->result.position, device->position) > 0)
        device->position = answer->result.position;
}

void answer_clear(struct answer *answer)
{
    if (answer->reply != NULL)
        protobuf_c_message_free_unpacked(answer->reply, NULL);
    *answer = (struct answer){.context = NULL};
}

static enum status take_status(struct answer *answer)
{
    enum status status = answer->status;
    answer_clear(answer);
    return status;
}

enum status device_register(struct device *device, const char *name)
{
    struct answer answer;
    uint8_t nonce[STORE_NONCE_BYTES];
    randombytes_buf(nonce, sizeof nonce);
    ASK(device, &answer, "RegisterAccount", Register, REGISTER,
        (r.name = (char *)name, r.password = (char *)DEVICE_PASSWORD, r.nonce.data = nonce,
         r.nonce.len = sizeof nonce));
    return take_status(&answer);
}

static enum status login(struct device *device, const char *name)
{
    struct answer answer;
    device->token_size = 0;
    ASK(device, &answer, "Login", Login, LOGIN,
        (r.name = (char *)name, r.password = (char *)DEVICE_PASSWORD, r.token.data = device->token,
         r.token.len = sizeof device->token, r.device = (char *)"test"));
    if (answer.status == STATUS_OK) {
        device->token_size = sizeof device->token;
        device->request = 0;
        device->session = ((const Jackdaw__LoginReply *)answer.reply)->session;
    }
    return take_status(&answer);
}

enum status device_login(struct device *device, const char *name)
{
    randombytes_buf(device->token, sizeof device->token);
    return login(device, name);
}

enum status device_login_as_class(struct device *device, const char *name, uint8_t session_class)
{
    randombytes_buf(device->token, sizeof device->token);
    device->token[0] = session_class;
    return login(device, name);
}

enum status device_join(struct device *device, const char *room)
{
    struct answer answer;
    ASK(device, &answer, "JoinRoom", JoinRoom, JOIN_ROOM,
        (r.request = ++device->request, r.room = (char *)room));
    return take_status(&answer);
}

enum status device_leave(struct device *device, const char *room)
{
    struct answer answer;
    ASK(device, &answer, "LeaveRoom", LeaveRoom, LEAVE_ROOM,
        (r.request = ++device->request, r.room = (char *)room));
    return take_status(&answer);
}

enum status device_send(struct device *device, const char *to, const char *text)
{
    struct answer answer;
    ASK(device, &answer, "Send", Send, SEND,
        (r.request = ++device->request, r.to = (char *)to, r.text = (char *)text));
    return take_status(&answer);
}

void device_enter(struct device *device, const struct live_server *live, const char *name,
                  const char *room)
{
    device_open(device, live);
    assert_int_equal(device_register(device, name), STATUS_OK);
    assert_int_equal(device_login(device, name), STATUS_OK);
    if (room != NULL)
        assert_int_equal(device_join(device, room), STATUS_OK);
}
