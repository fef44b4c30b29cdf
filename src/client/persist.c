/* SPDX-License-Identifier: MIT */
/* persist.c - what a client keeps in its state file: StateRecord in proto/spec.proto.
 *
 * The order of writing is what makes it safe. A request is in the file before its number, the
 * number is on the disk before the request is sent, and its end is written after its callback.
 * Events are reported before the cursor is written. A kill loses only the newest record: a request
 * that was not sent, or an end or a place, which the next run tells once more. */
#include "client/client_internal.h"

#include "client/state_file.h"
#include "client/text.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

static bool is_recorded(const struct request *request)
{
    const struct call_kind *kind = call_kind_of(request->asked.call);
    return kind->numbered && !kind->barrier;
}

static char *text_of(const char *text)
{
    return (char *)(text == NULL ? "" : text);
}

/* ---- writing ---- */

static void add(struct client *client, Jackdaw__StateRecord__RecordCase which, void *part)
{
    struct state_file *file = client->persist.file;
    if (file == NULL || client->persist.failed)
        return;
    Jackdaw__StateRecord record = JACKDAW__STATE_RECORD__INIT;
    record.record_case = which;
    record.login = part; /* the union's members are pointers all */
    size_t size = jackdaw__state_record__get_packed_size(&record);
    uint8_t *bytes = malloc(size + 1);
    if (bytes == NULL) {
        persist_fail(client, "out of memory");
        return;
    }
    (void)jackdaw__state_record__pack(&record, bytes);
    state_file_add(file, bytes, size);
    sodium_memzero(bytes, size);
    free(bytes);
}

static void add_request(struct client *client, const struct request *request, bool ended)
{
    Jackdaw__StateRecord__Request record = JACKDAW__STATE_RECORD__REQUEST__INIT;
    record.id = request->id;
    record.call = (uint32_t)request->asked.call;
    record.room = text_of(request->asked.room);
    record.name = text_of(request->asked.name);
    record.text = text_of(request->asked.text);
    record.private_ = request->asked.private_room;
    record.ban = request->asked.ban;
    record.tag = request->asked.tag;
    record.number = request->number;
    record.session = request->session;
    record.ended = ended;
    add(client, JACKDAW__STATE_RECORD__RECORD_REQUEST, &record);
}

/* Requests that end the session: where it goes on after all, their numbers are used up. */
static void add_harmless(struct client *client, const struct request *request)
{
    Jackdaw__StateRecord__Request record = JACKDAW__STATE_RECORD__REQUEST__INIT;
    record.id = request->id;
    record.call = CLIENT_LEAVE;
    record.number = request->number;
    record.session = request->session;
    record.ended = true;
    add(client, JACKDAW__STATE_RECORD__RECORD_REQUEST, &record);
}

static void add_number(struct client *client, const struct request *request)
{
    Jackdaw__StateRecord__Number record = JACKDAW__STATE_RECORD__NUMBER__INIT;
    record.id = request->id;
    record.number = request->number;
    add(client, JACKDAW__STATE_RECORD__RECORD_NUMBER, &record);
}

static void add_login(struct client *client)
{
    struct persist *persist = &client->persist;
    Jackdaw__StateRecord__Login record = JACKDAW__STATE_RECORD__LOGIN__INIT;
    record.name = persist->login_name;
    record.token = (ProtobufCBinaryData){.len = sizeof persist->token, .data = persist->token};
    record.nonce = (ProtobufCBinaryData){.len = sizeof persist->nonce, .data = persist->nonce};
    add(client, JACKDAW__STATE_RECORD__RECORD_LOGIN, &record);
}

static void add_session(struct client *client)
{
    struct session *session = &client->session;
    Jackdaw__StateRecord__Session record = JACKDAW__STATE_RECORD__SESSION__INIT;
    record.session = session->id;
    record.name = text_of(session->name);
    record.next_request = session->next_number;
    record.ended = !session->active;
    if (session->active) {
        record.token = (ProtobufCBinaryData){.len = sizeof session->token, .data = session->token};
        record.cluster =
            (ProtobufCBinaryData){.len = sizeof session->cluster, .data = session->cluster};
    }
    add(client, JACKDAW__STATE_RECORD__RECORD_SESSION, &record);
}

static void add_read_position(struct client *client)
{
    struct read_position read_position;
    Jackdaw__StateRecord__ReadPosition record = JACKDAW__STATE_RECORD__READ_POSITION__INIT;
    cursor_write(&client->stream.cursor, &read_position);
    record.after = &read_position.after;
    record.cursor_history = read_position.list;
    record.n_cursor_history = read_position.count;
    add(client, JACKDAW__STATE_RECORD__RECORD_READ_POSITION, &record);
}

static void add_note(struct client *client)
{
    Jackdaw__StateRecord__Note record = JACKDAW__STATE_RECORD__NOTE__INIT;
    record.tag = client->persist.tag;
    record.text = text_of(client->persist.note);
    add(client, JACKDAW__STATE_RECORD__RECORD_NOTE, &record);
}

/* All that counts now. */
static void rewrite(struct client *client)
{
    struct persist *persist = &client->persist;
    const struct request *request;
    state_file_begin_rewrite(persist->file);
    if (client->session.name != NULL)
        add_session(client);
    if (client->session.active)
        add_read_position(client);
    if (persist->login_name != NULL)
        add_login(client);
    add_note(client);
    DL_FOREACH(client->replay_buffer, request) {
        add_request(client, request, true);
    }
    DL_FOREACH(client->requests, request) {
        if (request->id != 0 && is_recorded(request))
            add_request(client, request, request->answered);
        else if (request->id != 0)
            add_harmless(client, request);
    }
    state_file_end_rewrite(persist->file);
}

/* ---- what happens ---- */

void persist_request(struct request *request)
{
    struct client *client = request->client;
    if (client->persist.file == NULL || !is_recorded(request))
        return;
    request->id = ++client->persist.last_id;
    if (request->asked.tag > client->persist.tag)
        client->persist.tag = request->asked.tag;
    add_request(client, request, false);
    client->persist.unsynced = true;
}

void persist_number(struct request *request)
{
    struct client *client = request->client;
    if (client->persist.file == NULL)
        return;
    if (request->id == 0)
        request->id = ++client->persist.last_id;
    if (is_recorded(request))
        add_number(client, request);
    else
        add_harmless(client, request);
    client->persist.unsynced = true;
}

void persist_end(struct request *request, bool done)
{
    struct client *client = request->client;
    if (client->persist.file == NULL || request->id == 0 || !is_recorded(request))
        return;
    Jackdaw__StateRecord__End record = JACKDAW__STATE_RECORD__END__INIT;
    record.id = request->id;
    record.refused = !done && !request->answered;
    add(client, JACKDAW__STATE_RECORD__RECORD_END, &record);
}

static void forget_login(struct persist *persist)
{
    free(persist->login_name);
    persist->login_name = NULL;
    persist->login_unanswered = false;
    sodium_memzero(persist->token, sizeof persist->token);
}

void persist_login(struct request *request)
{
    struct client *client = request->client;
    struct persist *persist = &client->persist;
    if (persist->file == NULL)
        return;
    if (persist->login_name != NULL && text_same_name(persist->login_name, request->asked.name)) {
        memcpy(request->secret, persist->token, sizeof request->secret);
        memcpy(request->nonce, persist->nonce, sizeof request->nonce);
        return;
    }
    forget_login(persist);
    persist->login_name = strdup(request->asked.name);
    memcpy(persist->token, request->secret, sizeof persist->token);
    memcpy(persist->nonce, request->nonce, sizeof persist->nonce);
    if (persist->login_name == NULL) {
        persist_fail(client, "out of memory");
        return;
    }
    add_login(client);
    persist->unsynced = true;
}

void persist_session(struct client *client)
{
    if (client->persist.file == NULL)
        return;
    if (client->session.active)
        forget_login(&client->persist);
    add_session(client);
    if (client->session.active)
        add_read_position(client);
    client->persist.unsynced = true;
}

void persist_cluster(struct client *client)
{
    if (client->persist.file == NULL)
        return;
    add_session(client);
    client->persist.unsynced = true;
}

void persist_read_position(struct client *client)
{
    if (client->persist.file == NULL)
        return;
    add_read_position(client);
    state_file_flush(
        client->persist.file); /* or the next client would report one more page again */
}

void client_note(struct client *client, uint64_t tag, const char *text)
{
    struct persist *persist = &client->persist;
    const char *old = text_of(persist->note);
    if (persist->file == NULL || (tag <= persist->tag && strcmp(old, text_of(text)) == 0))
        return;
    char *copy = strdup(text_of(text));
    if (copy == NULL)
        return;
    free(persist->note);
    persist->note = copy;
    if (tag > persist->tag)
        persist->tag = tag;
    add_note(client);
}

/* ---- to the disk ---- */

static void tell_failed(struct client *client, const char *text)
{
    if (client->persist.failed)
        return;
    client->persist.failed = true;
    if (client->observer.state_failed != NULL)
        client->observer.state_failed(client->context, text);
}

void persist_fail(struct client *client, const char *text)
{
    struct error_text why;
    (void)error_set(&why, OK, "the state file cannot be kept: %s", text);
    tell_failed(client, why.text);
}

void persist_refuse(struct client *client, uint64_t last_request)
{
    struct error_text why;
    (void)error_set(
        &why, OK,
        "the state file is older than its session (truncated, or an old copy): it ends before "
        "request %llu, and the servers have seen request %llu. Remove it to log in again",
        (unsigned long long)client->session.next_number, (unsigned long long)last_request);
    tell_failed(client, why.text);
}

void client_stop_keeping(struct client *client)
{
    client->persist.failed = client->persist.failed || client->persist.file != NULL;
}

void persist_flush(struct client *client)
{
    struct state_file *file = client->persist.file;
    if (file == NULL || client->persist.failed)
        return;
    state_file_flush(file);
    if (state_file_is_long(file))
        rewrite(client);
    if (state_file_problem(file) != NULL)
        tell_failed(client, state_file_problem(file));
}

bool persist_sync(struct client *client)
{
    struct persist *persist = &client->persist;
    if (persist->failed)
        return false;
    if (persist->file == NULL || !persist->unsynced)
        return true;
    persist->unsynced = false;
    if (state_file_sync(persist->file))
        return true;
    tell_failed(client, state_file_problem(persist->file));
    return false;
}

void persist_close(struct client *client)
{
    struct persist *persist = &client->persist;
    state_file_close(persist->file);
    persist->file = NULL;
    forget_login(persist);
    free(persist->note);
    persist->note = NULL;
}

/* ---- reading ---- */

static bool is_text(const char *text)
{
    return text_is_valid(text, strlen(text));
}

static struct request *find(struct client *client, uint64_t id)
{
    struct request *request = client->requests;
    while (request != NULL && request->id != id)
        request = request->next;
    return request;
}

static void take_off(struct request *request)
{
    struct client *client = request->client;
    DL_DELETE(client->requests, request);
    client->count--;
    client->bytes -= request_cost(request);
}

static enum error read_login(struct client *client, const Jackdaw__StateRecord__Login *record)
{
    struct persist *persist = &client->persist;
    if (record->token.len != sizeof persist->token || record->nonce.len != sizeof persist->nonce ||
        !is_text(record->name))
        return ERROR_CORRUPT;
    free(persist->login_name);
    persist->login_name = strdup(record->name);
    memcpy(persist->token, record->token.data, sizeof persist->token);
    memcpy(persist->nonce, record->nonce.data, sizeof persist->nonce);
    persist->login_unanswered = true;
    return persist->login_name == NULL ? ERROR_NO_MEMORY : OK;
}

static enum error read_session(struct client *client, const Jackdaw__StateRecord__Session *record)
{
    struct session *session = &client->session;
    bool is_whole = record->token.len == sizeof session->token && record->session != 0 &&
                    record->cluster.len == sizeof session->cluster && record->next_request != 0;
    if ((!record->ended && !is_whole) || !is_text(record->name))
        return ERROR_CORRUPT;
    bool is_known = session->active && !record->ended && session->id == record->session;
    if (!is_known) /* else the record tells the cluster: persist_cluster */
        replay_buffer_clear(client);
    free(session->name);
    session->name = strdup(record->name);
    if (session->name == NULL)
        return ERROR_NO_MEMORY;
    session->active = !record->ended;
    session->unverified = session->active;
    session->id = record->session;
    session->next_number = record->next_request;
    if (session->active) {
        memcpy(session->token, record->token.data, sizeof session->token);
        memcpy(session->cluster, record->cluster.data, sizeof session->cluster);
    }
    if (session->active && !is_known)
        forget_login(&client->persist);
    return OK;
}

/* number 0: none after all. A request with a number may have been sent, and may have ended the
 * server that had it. So the next server must know (Envelope.resent). */
static void set_number(struct request *request, uint64_t number, uint64_t session_id)
{
    struct session *session = &request->client->session;
    request->number = number;
    request->session = number == 0 ? 0 : session_id;
    request->attempts = request->unanswered = number == 0 ? 0 : 1;
    if (request->session == session->id && number >= session->next_number)
        session->next_number = number + 1;
}

static enum error read_request(struct client *client, const Jackdaw__StateRecord__Request *record)
{
    const struct client_request asked = {
        .call = (enum client_call)record->call,
        .room = record->room,
        .name = record->name,
        .text = record->text,
        .private_room = record->private_,
        .ban = record->ban,
        .tag = record->tag,
    };
    bool is_double = record->id <= client->persist.last_id && find(client, record->id) != NULL;
    if (record->call > CLIENT_STATUS || !is_text(record->room) || !is_text(record->name) ||
        !is_text(record->text) || record->id == 0 || is_double ||
        client->count > client->requests_max)
        return ERROR_CORRUPT;
    struct request *request = request_copy(client, &asked);
    if (request == NULL)
        return ERROR_NO_MEMORY;
    if (!is_recorded(request)) {
        request_dispose(request);
        return ERROR_CORRUPT;
    }
    request->id = record->id;
    if (record->id > client->persist.last_id)
        client->persist.last_id = record->id;
    if (record->tag > client->persist.tag)
        client->persist.tag = record->tag;
    set_number(request, record->number, record->session);
    if (record->ended) {
        replay_buffer_add(request, true);
        return OK;
    }
    DL_APPEND(client->requests, request);
    client->count++;
    client->bytes += request_cost(request);
    return OK;
}

static enum error read_number(struct client *client, const Jackdaw__StateRecord__Number *record)
{
    struct request *request = find(client, record->id);
    if (request == NULL)
        return ERROR_CORRUPT;
    set_number(request, record->number, client->session.id);
    return OK;
}

/* A request ends twice if the client sent it again to servers that did not know it. */
static enum error read_end(struct client *client, const Jackdaw__StateRecord__End *record)
{
    struct request *request = find(client, record->id);
    if (request == NULL)
        return OK;
    take_off(request);
    replay_buffer_add(request, !record->refused);
    return OK;
}

static enum error load_read_position(struct client *client,
                                     const Jackdaw__StateRecord__ReadPosition *record)
{
    struct stream *stream = &client->stream;
    if (record->after == NULL || record->n_cursor_history > CLIENT_CURSOR_HISTORY_MAX)
        return ERROR_CORRUPT;
    stream->cursor.at = proto_position(record->after);
    stream->cursor.history_count = record->n_cursor_history;
    for (size_t i = 0; i < record->n_cursor_history; i++)
        stream->cursor.history[i] = proto_position(record->cursor_history[i]);
    if (stream->cursor.at.epoch > client->highest_epoch)
        client->highest_epoch = stream->cursor.at.epoch;
    return OK;
}

static enum error read_note(struct client *client, const Jackdaw__StateRecord__Note *record)
{
    struct persist *persist = &client->persist;
    if (!is_text(record->text))
        return ERROR_CORRUPT;
    free(persist->note);
    persist->note = strdup(record->text);
    if (record->tag > persist->tag)
        persist->tag = record->tag;
    return persist->note == NULL ? ERROR_NO_MEMORY : OK;
}

static enum error read_record(void *context, const void *payload, size_t size)
{
    struct client *client = context;
    Jackdaw__StateRecord *record = jackdaw__state_record__unpack(NULL, size, payload);
    enum error error = ERROR_CORRUPT;
    if (record == NULL)
        return error;
    switch (record->record_case) {
    case JACKDAW__STATE_RECORD__RECORD_LOGIN:
        error = read_login(client, record->login);
        break;
    case JACKDAW__STATE_RECORD__RECORD_SESSION:
        error = read_session(client, record->session);
        break;
    case JACKDAW__STATE_RECORD__RECORD_REQUEST:
        error = read_request(client, record->request);
        break;
    case JACKDAW__STATE_RECORD__RECORD_NUMBER:
        error = read_number(client, record->number);
        break;
    case JACKDAW__STATE_RECORD__RECORD_END:
        error = read_end(client, record->end);
        break;
    case JACKDAW__STATE_RECORD__RECORD_READ_POSITION:
        error = load_read_position(client, record->read_position);
        break;
    case JACKDAW__STATE_RECORD__RECORD_NOTE:
        error = read_note(client, record->note);
        break;
    default:
        break;
    }
    jackdaw__state_record__free_unpacked(record, NULL);
    return error;
}

static void tell_restored(struct client *client)
{
    struct request *request;
    DL_FOREACH(client->requests, request) {
        request->asked_us = client->now_us;
        if (client->observer.restored != NULL)
            client->observer.restored(client->context, &request->asked, &request->done,
                                      &request->context);
    }
}

enum error client_restore(struct client *client, const char *path, struct error_text *why)
{
    enum error error = state_file_open(&client->persist.file, path, read_record, client, why);
    if (error != OK)
        return error;
    if (!client->session.active)
        client->session.id = 0;
    client->wake_us = 0;
    rewrite(client);
    tell_restored(client);
    return OK;
}
