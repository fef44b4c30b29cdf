/* SPDX-License-Identifier: MIT */
/* People: programs around the shipping client library. Each logs in, joins the two rooms, and sends; its
 * client is killed now and then, and goes on from its state file or begins anew. */
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OPEN_MAX 4 /* requests that have not ended */

static const char *room_names[ROOMS] = {"lobby", "attic"};

static bool is_guest(const struct person *person)
{
    return person->number >= PEOPLE_MAX;
}

static bool has_state(const struct person *person)
{
    return person->number <= PEOPLE_MAX; /* also the first guest */
}

static void state_path(const struct person *person, char path[static 64])
{
    (void)snprintf(path, 64, "/sim/%u/state", SERVERS_MAX + person->number + 1);
}

/* ---- requests ---- */

static struct request_record *new_sent(struct person *person)
{
    if (person->sent_count == person->sent_capacity) {
        person->sent_capacity = person->sent_capacity == 0 ? 64 : person->sent_capacity * 2;
        person->sent =
            realloc(person->sent, person->sent_capacity * sizeof(struct request_record *));
        ASSERT(person->sent != NULL);
    }
    struct request_record *sent = calloc(1, sizeof *sent);
    ASSERT(sent != NULL);
    sent->person = person;
    sent->number = person->sent_count + 1;
    person->sent[person->sent_count++] = sent;
    return sent;
}

static void on_ended(void *context, const struct client_result *result)
{
    struct request_record *sent = context;
    struct person *person = sent->person;
    person->open--;
    if (result->status == STATUS_CANCELLED && person->process.is_cut)
        return; /* the process is being released */
    if (result->session != 0 && result->session != person->session)
        broken("sessions_survive", "person %u has session %llx, and %llx before", person->number,
               (unsigned long long)result->session, (unsigned long long)person->session);
    sent->is_ended = true;
    sent->status = result->status;
    sent->session = result->session;
    sent->request = result->request;
    person->answers++;
    if (result->call == CLIENT_SEND && result->status == STATUS_OK) {
        sent->is_acked = true;
        sent->room_number = result->reply.send->number;
    }
    if (sent->kind == SENT_HISTORY && result->status == STATUS_OK)
        check_history(sent, result->reply.history);
    trace("p%u: %llu ended: %s %s", person->number, (unsigned long long)sent->number,
          status_name(result->status), result->error);
    world.stats.acks++;
    check_acked(sent);
}

static void ask(struct person *person)
{
    struct request_record *sent = new_sent(person);
    unsigned dice = (unsigned)sim_below(100);
    char text[64];
    char room[32];
    struct client_request request = {
        .call = CLIENT_SEND, .text = text, .room = room, .tag = sent->number};
    (void)snprintf(text, sizeof text, "%u:%llu", person->number, (unsigned long long)sent->number);
    sent->target = (unsigned)sim_below(ROOMS);
    (void)snprintf(room, sizeof room, "%s", room_names[sent->target]);
    if (dice < 12) {
        sent->kind = SENT_PERSON;
        sent->target = (person->number + 1 + (unsigned)sim_below(PEOPLE_MAX - 1)) % PEOPLE_MAX;
        (void)snprintf(room, sizeof room, "@p%u", sent->target);
    } else if (dice < 16) {
        sent->kind = SENT_NOWHERE;
        (void)snprintf(room, sizeof room, "nowhere");
    } else if (dice < 24) { /* a room that others may make, too, also in another half */
        sent->kind = SENT_JOIN;
        request.call = CLIENT_JOIN;
        sent->target = (unsigned)(sim_now() / (2 * SECOND));
        (void)snprintf(room, sizeof room, "extra%u", sent->target);
        request.private_room = sent->target % 2 == 0;
    } else if (dice < 40) {
        static const enum client_call calls[] = {CLIENT_TOPIC,    CLIENT_INVITE,  CLIENT_TYPING,
                                                 CLIENT_HISTORY,  CLIENT_MEMBERS, CLIENT_ROOMS,
                                                 CLIENT_ACCOUNTS, CLIENT_LEAVE};
        sent->kind = SENT_OTHER;
        request.call = calls[sim_below(sizeof calls / sizeof *calls)];
        request.name = request.call == CLIENT_INVITE ? "p0" : NULL;
        if (request.call == CLIENT_INVITE || request.call == CLIENT_LEAVE)
            (void)snprintf(room, sizeof room, "extra%u", (unsigned)(sim_now() / (2 * SECOND)));
    } else if (dice < 55) {
        request.call = CLIENT_HISTORY;
    }
    if (request.call == CLIENT_HISTORY)
        sent->kind = SENT_HISTORY;
    sent->floor = sent->kind == SENT_ROOM      ? world.acked_number[sent->target]
                  : sent->kind == SENT_HISTORY ? person->seen_number[sent->target]
                                               : 0;
    struct error_text why;
    person->open++;
    if (client_ask(person->client, &request, on_ended, sent, &why) != OK) {
        person->open--;
        sent->is_ended = true;
        sent->status = STATUS_INVALID_ARGUMENT;
    }
}

/* ---- guests ---- */

static void on_guest(void *context, const struct client_result *result)
{
    struct person *person = context;
    if (person->process.is_cut)
        return;
    person->open--;
    trace("g%u: call %d ended: %s %s", person->number, (int)result->call,
          status_name(result->status), result->error);
    if (result->status == STATUS_INTERNAL || result->status == STATUS_DATA_LOSS)
        broken("right_answer", "a guest's request: %s", result->error);
    world.stats.acks++;
    person->answers++;
}

/* Whatever a client can ask for, in any order: most of it makes sense, some does not. */
static void act_as_guest(struct person *person)
{
    static const enum client_call calls[] = {
        CLIENT_SEND,   CLIENT_SEND,   CLIENT_JOIN,  CLIENT_JOIN,   CLIENT_LEAVE,
        CLIENT_TOPIC,  CLIENT_INVITE, CLIENT_KICK,  CLIENT_TYPING, CLIENT_HISTORY,
        CLIENT_LOGOUT, CLIENT_DELETE, CLIENT_LOGIN, CLIENT_ROOMS};
    char name[16];
    char other[16];
    char room[16];
    (void)snprintf(name, sizeof name, "guest%u", (unsigned)sim_below(3));
    (void)snprintf(other, sizeof other, "guest%u", (unsigned)sim_below(3));
    (void)snprintf(room, sizeof room, "club%u", (unsigned)sim_below(3));
    struct client_view view;
    client_inspect(person->client, &view);
    struct client_request request = {.call = calls[sim_below(sizeof calls / sizeof *calls)]};
    if (view.session == 0)
        request.call = CLIENT_LOGIN;
    request.room = request.call == CLIENT_SEND && sim_chance(300) ? "@p1" : room;
    request.text = GUEST_TEXT;
    request.name = request.call == CLIENT_LOGIN ? name : other;
    request.password = sim_chance(950) ? "correct horse" : "wrong";
    request.manner = CLIENT_ACCOUNT_ENSURED;
    request.private_room = sim_chance(300);
    request.ban = sim_chance(300);
    struct error_text why;
    person->open++;
    if (client_ask(person->client, &request, on_guest, person, &why) != OK)
        person->open--;
}

/* ---- the set-up ---- */

static void on_joined(void *context, const struct client_result *result)
{
    struct person *person = context;
    if (person->process.is_cut)
        return;
    person->waits_for--;
    if (result->status != STATUS_OK)
        broken("right_answer", "person %u's %s: %s", person->number,
               result->call == CLIENT_LOGIN ? "login" : "join", result->error);
    if (result->call == CLIENT_LOGIN)
        person->session = result->reply.login->session;
    person->is_in = person->waits_for == 0;
}

static void log_in(struct person *person)
{
    struct error_text why;
    char name[8];
    (void)snprintf(name, sizeof name, "p%u", person->number);
    person->is_in = false;
    person->waits_for = 1 + ROOMS;
    struct client_request login = {.call = CLIENT_LOGIN,
                                   .name = name,
                                   .password = "correct horse",
                                   .manner = CLIENT_ACCOUNT_ENSURED};
    enum error error = client_ask(person->client, &login, on_joined, person, &why);
    for (unsigned i = 0; i < ROOMS && error == OK; i++)
        error = client_ask(person->client,
                           &(struct client_request){.call = CLIENT_JOIN, .room = room_names[i]},
                           on_joined, person, &why);
    if (error != OK)
        broken("harness", "%s", why.text);
}

/* ---- the client ---- */

static void on_event(void *context, const Jackdaw__Event *event)
{
    struct person *person = context;
    if (!person->process.is_cut && !is_guest(person))
        check_event(person, event);
}

static void on_restored(void *context, const struct client_request *request, client_done **done,
                        void **done_context)
{
    struct person *person = context;
    if (is_guest(person)) {
        *done = on_guest;
        *done_context = person;
        person->open++;
        return;
    }
    if (request->tag == 0) {
        if (request->call == CLIENT_LOGIN || request->call == CLIENT_JOIN) {
            *done = on_joined;
            *done_context = person;
            person->waits_for++;
        }
        return;
    }
    *done = on_ended;
    *done_context = person->sent[request->tag - 1];
    person->open++;
}

static void on_session_ended(void *context, enum status status, const char *text)
{
    struct person *person = context;
    if (!person->process.is_cut && !is_guest(person))
        broken("sessions_survive", "person %u: %s (%s)", person->number, text, status_name(status));
}

static void on_state_failed(void *context, const char *text)
{
    struct person *person = context;
    if (!person->process.is_cut)
        broken("state_survives", "person %u: %s", person->number, text);
}

static bool is_person_due(const struct process *process)
{
    const struct person *person = process->program;
    return person->is_up;
}

static void plan(struct person *person)
{
    struct process *process = &person->process;
    int wait_ms = client_timeout_ms(person->client);
    uint64_t at = wait_ms < 0 ? UINT64_MAX : sim_now() + (uint64_t)wait_ms * MS;
    if (!world.is_finishing && person->acts_at < at)
        at = person->acts_at;
    process->deadline = at;
    if (at != UINT64_MAX)
        process_wake(process, at);
}

static void turn_person(struct process *process)
{
    struct person *person = process->program;
    process_enter(process);
    client_process(person->client);
    bool is_done = world.asks_once && person->answers > 0;
    bool may_ask =
        !is_done && person->is_in && world.is_set_up && !world.is_finishing && !process->is_cut;
    if (sim_now() >= person->acts_at) {
        person->acts_at =
            sim_now() + (world.is_busy ? sim_below(3 * MS) : 3 * MS + sim_below(60 * MS));
        if (may_ask && sim_now() >= world.silent_until && person->open < OPEN_MAX) {
            if (is_guest(person))
                act_as_guest(person);
            else
                ask(person);
            client_process(person->client);
        }
    }
    if (!process->is_cut)
        plan(person);
    process_leave(process);
}

static void release(struct person *person)
{
    struct process *process = &person->process;
    process->is_cut = true;
    network_drop(process, false);
    process_enter(process);
    client_free(person->client);
    process->is_cut = false;
    process_leave(process);
    process->is_cut = true;
    person->client = NULL;
    person->is_up = false;
    person->may_repeat = person->was_killed = true;
    person->open = 0;
    process->id = 0;
}

static void reap_person(struct process *process)
{
    struct person *person = process->program;
    release(person);
    process->is_cut = false;
    person->restart_at = sim_now() + sim_below(500 * MS);
}

/* What is not acked when the state goes may have been carried out, or not. */
static void forget_state(struct person *person)
{
    disk_empty(SERVERS_MAX + person->number);
    for (size_t i = 0; i < person->sent_count; i++)
        if (!person->sent[i]->is_ended)
            person->sent[i]->is_lost = true;
    memset(person->last_number, 0, sizeof person->last_number);
    memset(person->seen_number, 0, sizeof person->seen_number);
    for (unsigned i = 0; i < PEOPLE_MAX; i++)
        for (size_t k = 0; k < world.people[i].sent_count; k++)
            world.people[i].sent[k]->told &= ~(1u << person->number);
    person->was_blank = true;
}

void person_kill(struct person *person, bool keeps_state)
{
    if (!person->is_up || !person->is_in)
        return;
    trace("p%u is killed%s", person->number, keeps_state ? "" : ", and its state is lost");
    world.stats.kills++;
    process_cut(&person->process);
    release(person);
    person->process.is_cut = false;
    if (!keeps_state)
        forget_state(person);
    person->restart_at = sim_now() + sim_below(500 * MS);
}

void person_stop(struct person *person)
{
    if (person->is_up)
        release(person);
    person->process.is_cut = false;
    person->restart_at = UINT64_MAX;
    for (size_t i = 0; i < person->sent_count; i++)
        free(person->sent[i]);
    free(person->sent);
    person->sent = NULL;
    person->sent_count = person->sent_capacity = 0;
}

void person_start(struct person *person)
{
    static const struct client_observer observer = {.event = on_event,
                                                    .restored = on_restored,
                                                    .session_ended = on_session_ended,
                                                    .state_failed = on_state_failed};
    struct process *process = &person->process;
    process_init(process, SERVERS_MAX + person->number);
    process->program = person;
    process->turn = turn_person;
    process->reap = reap_person;
    process->is_due = is_person_due;
    person->restart_at = UINT64_MAX;
    struct address addresses[SERVERS_MAX];
    for (unsigned i = 0; i < world.options.servers; i++)
        (void)address_parse(world.servers[i].client, &addresses[i], NULL);
    process_enter(process);
    struct client_options options = {.addresses = addresses,
                                     .address_count = world.options.servers,
                                     .observer = &observer,
                                     .context = person};
    struct error_text why;
    char path[64];
    state_path(person, path);
    person->waits_for = 0;
    enum error error = client_new(&person->client, &options, &why);
    if (error == OK && has_state(person))
        error = client_restore(person->client, path, &why);
    if (error != OK)
        broken("state_survives", "person %u: %s", person->number, why.text);
    person->is_up = true;
    struct client_view view;
    client_inspect(person->client, &view);
    trace("p%u starts%s", person->number, view.session != 0 ? ", with its session" : "");
    if (is_guest(person))
        person->is_in = true;
    else if (view.session == 0 && person->waits_for == 0)
        log_in(person);
    else
        person->is_in = person->waits_for == 0;
    client_process(person->client);
    person->acts_at = sim_now() + sim_below(20 * MS);
    process->spent_us = 0;
    plan(person);
    process_leave(process);
}

bool people_are_in(void)
{
    for (unsigned i = 0; i < PEOPLE_MAX; i++)
        if (!world.people[i].is_in)
            return false;
    return true;
}

bool people_are_done(void)
{
    for (unsigned i = 0; i < PEOPLE_MAX + world.guests; i++) {
        const struct person *person = &world.people[i];
        if (!person->is_up || !person->is_in || person->open > 0)
            return false;
    }
    return check_everything_told();
}
