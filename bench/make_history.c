/* SPDX-License-Identifier: MIT */
/* make_history - writes a database with a long history, to measure what a start takes.
 *
 * usage: make_history FOLDER [messages [accounts [rooms]]]
 *
 * FOLDER: of a server's data with its id at the end, such as data/1; it is made. Writes accounts (1000),
 * a session for each, rooms (100) with every account in one of them, and messages (1000000) of 100
 * bytes with their outcomes, spread over rooms and sessions. The accounts write in turns, 100 at a time.
 * The server starts with it as the master of a cluster of its own. */
#include "store/store.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MESSAGE_KIND 1u
#define TEXT_BYTES 100
#define BATCH 5000
#define WRITERS_AT_ONCE 100 /* accounts that write during one batch: few pages change in a commit */
#define LOG_BATCHES_KEPT 40
#define EPOCH 65537
#define TIME_MS 1700000000000u

struct history {
    struct store *store;
    uint64_t messages;
    uint64_t accounts;
    uint64_t rooms;
    uint64_t seq;
    uint64_t *sequence_set; /* of each room's last message */
    uint64_t *requests;     /* of each session's last request */
    uint64_t random;
    uint8_t batch[BATCH * (TEXT_BYTES + 48)];
};

static void must(const struct history *history, enum error error)
{
    if (error == OK)
        return;
    (void)fprintf(stderr, "make_history: %s\n", store_last_problem(history->store));
    exit(1);
}

static uint64_t draw(struct history *history)
{
    history->random ^= history->random << 13;
    history->random ^= history->random >> 7;
    history->random ^= history->random << 17;
    return history->random;
}

/* Ids as chat draws them: spread over all 64 bits. */
static uint64_t id_of(uint64_t index, uint64_t kind)
{
    uint64_t id = (index * 4 + kind + 1) * 0x9E3779B97F4A7C15u;
    id = (id ^ id >> 30) * 0xBF58476D1CE4E5B9u;
    id = (id ^ id >> 27) * 0x94D049BB133111EBu;
    return id ^ id >> 31;
}

static void add_person(struct history *history, uint64_t index)
{
    static const char hash[] = "$argon2id$v=19$m=65536,t=2,p=1$"
                               "c29tZXNhbHRzb21lc2FsdA$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g";
    char name[32];
    (void)snprintf(name, sizeof name, "user%" PRIu64, index);
    struct account_row account = {.id = id_of(index, 0),
                                  .name = name,
                                  .folded = name,
                                  .password_hash = hash,
                                  .created_ms = TIME_MS};
    struct session_row session = {
        .id = id_of(index, 1), .account = account.id, .device = "bench", .started_ms = TIME_MS};
    for (size_t i = 0; i < sizeof session.token_hash; i++) /* as hashes are */
        session.token_hash[i] = (uint8_t)draw(history);
    struct member_row member = {.room = id_of(index % history->rooms, 2),
                                .account = account.id,
                                .state = MEMBER_IN,
                                .since_seq = 1};
    must(history, store_put_account(history->store, &account));
    must(history, store_put_session(history->store, &session));
    must(history, store_put_member(history->store, &member));
}

static void add_room(struct history *history, uint64_t index)
{
    char name[32];
    (void)snprintf(name, sizeof name, "room%" PRIu64, index);
    must(history, store_put_room(history->store, &(struct room_row){.id = id_of(index, 2),
                                                                    .name = name,
                                                                    .folded = name,
                                                                    .topic = "",
                                                                    .created_ms = TIME_MS}));
}

static void add_message(struct history *history)
{
    static const char text[TEXT_BYTES] = {'x'};
    uint64_t first = history->seq / BATCH * WRITERS_AT_ONCE;
    uint64_t person = (first + draw(history) % WRITERS_AT_ONCE) % history->accounts;
    uint64_t room = person % history->rooms;
    struct timeline_row event = {.room = id_of(room, 2),
                                 .number = ++history->sequence_set[room],
                                 .seq = ++history->seq,
                                 .kind = MESSAGE_KIND,
                                 .account = id_of(person, 0),
                                 .session = id_of(person, 1),
                                 .request = ++history->requests[person],
                                 .time_ms = TIME_MS + history->seq,
                                 .text = text,
                                 .text_size = sizeof text};
    must(history, store_add_event(history->store, &event));
    must(history, store_put_outcome(history->store, &(struct outcome_row){.session = event.session,
                                                                          .request = event.request,
                                                                          .room = event.room,
                                                                          .number = event.number,
                                                                          .seq = event.seq,
                                                                          .time_ms = event.time_ms,
                                                                          .text = ""}));
}

static void add_batch(struct history *history)
{
    struct log_entry row = {.epoch = EPOCH,
                            .first_seq = history->seq + 1,
                            .last_seq = history->seq + BATCH,
                            .bytes = history->batch,
                            .size = sizeof history->batch};
    must(history, store_begin(history->store));
    if (row.first_seq == 1)
        must(history, store_add_epoch(history->store, (struct epoch_start){EPOCH, 1}));
    for (int i = 0; i < BATCH; i++)
        add_message(history);
    must(history, store_log_append(history->store, &row));
    must(history, store_commit(history->store));
    if (history->seq > (uint64_t)LOG_BATCHES_KEPT * BATCH)
        store_log_prune(history->store, history->seq - (uint64_t)LOG_BATCHES_KEPT * BATCH);
}

static void add_people(struct history *history)
{
    must(history, store_begin(history->store));
    for (uint64_t i = 0; i < history->rooms; i++)
        add_room(history, i);
    for (uint64_t i = 0; i < history->accounts; i++)
        add_person(history, i);
    must(history, store_commit(history->store));
}

static uint64_t argument(int count, char **values, int index, uint64_t otherwise)
{
    uint64_t value = index < count ? strtoull(values[index], NULL, 10) : otherwise;
    return value == 0 ? otherwise : value;
}

int main(int count, char **values)
{
    static struct history history = {.random = 88172645463325252u};
    struct error_text why;
    if (count < 2) {
        (void)fprintf(stderr, "usage: make_history FOLDER [messages [accounts [rooms]]]\n");
        return 1;
    }
    history.messages = argument(count, values, 2, 1000000);
    history.accounts = argument(count, values, 3, 1000);
    history.rooms = argument(count, values, 4, 100);
    history.sequence_set = calloc(history.rooms, sizeof *history.sequence_set);
    history.requests = calloc(history.accounts, sizeof *history.requests);
    const char *slash = strrchr(values[1], '/');
    uint64_t id = strtoull(slash == NULL ? values[1] : slash + 1, NULL, 10);
    struct store_options options = {.folder = values[1], .node_id = id};
    if (history.sequence_set == NULL || history.requests == NULL || id == 0 || id > UINT16_MAX ||
        store_open(&history.store, &options, &why) != OK) {
        (void)fprintf(stderr, "make_history: %s cannot be used; its name ends with an id\n",
                      values[1]);
        return 1;
    }
    add_people(&history);
    while (history.seq < history.messages)
        add_batch(&history);
    (void)printf("%" PRIu64 " messages of %" PRIu64 " accounts in %" PRIu64 " rooms\n", history.seq,
                 history.accounts, history.rooms);
    store_close(history.store);
    free(history.sequence_set);
    free(history.requests);
    return 0;
}
