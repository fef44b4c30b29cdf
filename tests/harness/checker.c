/* SPDX-License-Identifier: MIT */
#include "harness/checker.h"

#include "support/test.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#define KEPT_VIOLATIONS 64
#define SHOWN_VIOLATIONS 12
#define CLIENTS_MAX 64
#define NAME_BYTES 256

/* A string that occurs many times; the same text is the same pointer. */
struct word {
    UT_hash_handle hh;
    char text[];
};

/* What is in an observation, ready to be compared. */
struct item {
    enum observation_kind kind;
    uint64_t time_us;
    const struct checker_client *client;
    size_t place;     /* in the client's history */
    const char *room; /* canonical */
    const char *from;
    const char *uid;
    const char *session;
    uint64_t request;
    const char *text;
    uint64_t number, epoch, seq;
};

struct stay {
    const char *room;
    uint64_t first, last;
};

struct checker_client {
    struct checker *checker;
    const char *account;
    const char *label;
    struct item *items;
    size_t count, capacity;
    struct stay *stays;
    size_t stay_count;
};

struct checker {
    struct word *words;
    struct checker_client *clients[CLIENTS_MAX];
    size_t client_count;
    struct checker_violation kept[KEPT_VIOLATIONS];
    size_t violations;
};

/* Pointers to items, in an order that a rule needs. */
struct view {
    const struct item **items;
    size_t count;
};

static void *need(void *memory)
{
    if (memory == NULL)
        fail_msg("out of memory");
    return memory;
}

static const char *intern(struct checker *checker, const char *text)
{
    if (text == NULL)
        return NULL;
    struct word *word = NULL;
    HASH_FIND_STR(checker->words, text, word);
    if (word == NULL) {
        size_t size = strlen(text) + 1;
        word = need(malloc(sizeof *word + size));
        memcpy(word->text, text, size);
        HASH_ADD_STR(checker->words, text, word);
    }
    return word->text;
}

struct checker *checker_new(void)
{
    return need(calloc(1, sizeof(struct checker)));
}

void checker_free(struct checker *checker)
{
    if (checker == NULL)
        return;
    for (size_t i = 0; i < checker->client_count; i++) {
        free(checker->clients[i]->items);
        free(checker->clients[i]->stays);
        free(checker->clients[i]);
    }
    struct word *word;
    struct word *next;
    HASH_ITER(hh, checker->words, word, next) {
        HASH_DEL(checker->words, word);
        free(word);
    }
    free(checker);
}

struct checker_client *checker_add(struct checker *checker, const char *account, const char *label)
{
    if (checker->client_count == CLIENTS_MAX)
        fail_msg("too many clients for one checker");
    struct checker_client *client = need(calloc(1, sizeof *client));
    client->checker = checker;
    client->account = intern(checker, account);
    client->label = intern(checker, label);
    checker->clients[checker->client_count++] = client;
    return client;
}

/* One name for a conversation, whoever calls it what. */
static const char *canonical_room(const struct checker_client *client, const char *room)
{
    if (room == NULL || room[0] != '@')
        return intern(client->checker, room);
    const char *other = room + 1;
    bool first = strcmp(client->account, other) < 0;
    char name[2 * NAME_BYTES];
    (void)snprintf(name, sizeof name, "@%s+%s", first ? client->account : other,
                   first ? other : client->account);
    return intern(client->checker, name);
}

static void split_uid(struct checker *checker, struct item *item)
{
    const char *colon = item->uid == NULL ? NULL : strrchr(item->uid, ':');
    char *end = NULL;
    if (colon == NULL || colon == item->uid)
        return;
    uint64_t request = strtoull(colon + 1, &end, 10);
    if (end == colon + 1 || *end != '\0')
        return;
    char session[NAME_BYTES];
    (void)snprintf(session, sizeof session, "%.*s", (int)(colon - item->uid), item->uid);
    item->session = intern(checker, session);
    item->request = request;
}

void checker_observe(struct checker_client *client, const struct observation *observation)
{
    struct checker *checker = client->checker;
    if (client->count == client->capacity) {
        client->capacity = client->capacity == 0 ? 256 : client->capacity * 2;
        client->items = need(realloc(client->items, client->capacity * sizeof *client->items));
    }
    struct item *item = &client->items[client->count];
    *item = (struct item){
        .kind = observation->kind,
        .time_us = observation->time_us,
        .client = client,
        .place = client->count,
        .room = canonical_room(client, observation->room),
        .from = intern(checker, observation->from),
        .uid = intern(checker, observation->uid),
        .text = intern(checker, observation->text),
        .number = observation->number,
        .epoch = observation->epoch,
        .seq = observation->seq,
    };
    split_uid(checker, item);
    client->count++;
}

void checker_was_in(struct checker_client *client, const char *room, uint64_t first, uint64_t last)
{
    client->stays = need(realloc(client->stays, (client->stay_count + 1) * sizeof *client->stays));
    client->stays[client->stay_count++] =
        (struct stay){.room = canonical_room(client, room), .first = first, .last = last};
}

size_t checker_observations(const struct checker *checker)
{
    size_t count = 0;
    for (size_t i = 0; i < checker->client_count; i++)
        count += checker->clients[i]->count;
    return count;
}

size_t checker_acknowledged(const struct checker *checker)
{
    size_t count = 0;
    for (size_t i = 0; i < checker->client_count; i++)
        for (size_t j = 0; j < checker->clients[i]->count; j++)
            count += checker->clients[i]->items[j].kind == OBSERVED_SENT;
    return count;
}

static void violation(struct checker *checker, enum checker_rule rule, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void violation(struct checker *checker, enum checker_rule rule, const char *format, ...)
{
    if (checker->violations < KEPT_VIOLATIONS) {
        struct checker_violation *kept = &checker->kept[checker->violations];
        kept->rule = rule;
        va_list arguments;
        va_start(arguments, format);
        (void)vsnprintf(kept->text, sizeof kept->text, format, arguments);
        va_end(arguments);
    }
    checker->violations++;
}

const struct checker_violation *checker_violation(const struct checker *checker, size_t i)
{
    return i < checker->violations && i < KEPT_VIOLATIONS ? &checker->kept[i] : NULL;
}

static const char *shown(const char *text)
{
    return text == NULL ? "(none)" : text;
}

static struct view select_items(const struct checker *checker, unsigned kinds)
{
    struct view view = {
        .items = need(malloc((checker_observations(checker) + 1) * sizeof(struct item *)))};
    for (size_t i = 0; i < checker->client_count; i++) {
        const struct checker_client *client = checker->clients[i];
        for (size_t j = 0; j < client->count; j++)
            if ((1u << client->items[j].kind & kinds) != 0)
                view.items[view.count++] = &client->items[j];
    }
    return view;
}

static int compare_numbers(uint64_t left, uint64_t right)
{
    return left < right ? -1 : left > right;
}

/* Words are interned: any order of the pointers will do to bring equal ones together. */
static int compare_words(const char *left, const char *right)
{
    return compare_numbers((uintptr_t)left, (uintptr_t)right);
}

static int compare_positions(const struct item *left, const struct item *right)
{
    int order = compare_numbers(left->epoch, right->epoch);
    return order != 0 ? order : compare_numbers(left->seq, right->seq);
}

/* The order in which items were given, as the last resort: results do not depend on qsort. */
static int compare_places(const struct item *left, const struct item *right)
{
    if (left->client != right->client)
        return compare_words((const char *)left->client, (const char *)right->client);
    return compare_numbers(left->place, right->place);
}

static int by_number(const void *left, const void *right)
{
    const struct item *a = *(const struct item *const *)left;
    const struct item *b = *(const struct item *const *)right;
    int order = compare_words(a->room, b->room);
    if (order == 0)
        order = compare_numbers(a->number, b->number);
    return order != 0 ? order : compare_places(a, b);
}

static int by_uid(const void *left, const void *right)
{
    const struct item *a = *(const struct item *const *)left;
    const struct item *b = *(const struct item *const *)right;
    int order = compare_words(a->uid, b->uid);
    return order != 0 ? order : compare_places(a, b);
}

static int by_client_and_text(const void *left, const void *right)
{
    const struct item *a = *(const struct item *const *)left;
    const struct item *b = *(const struct item *const *)right;
    int order = compare_words((const char *)a->client, (const char *)b->client);
    if (order == 0)
        order = compare_words(a->text, b->text);
    return order != 0 ? order : compare_places(a, b);
}

static int by_room_of_client(const void *left, const void *right)
{
    const struct item *a = *(const struct item *const *)left;
    const struct item *b = *(const struct item *const *)right;
    int order = compare_words((const char *)a->client, (const char *)b->client);
    if (order == 0)
        order = compare_words(a->room, b->room);
    return order != 0 ? order : compare_numbers(a->place, b->place);
}

static int by_session_of_client(const void *left, const void *right)
{
    const struct item *a = *(const struct item *const *)left;
    const struct item *b = *(const struct item *const *)right;
    int order = compare_words((const char *)a->client, (const char *)b->client);
    if (order == 0)
        order = compare_words(a->session, b->session);
    return order != 0 ? order : compare_numbers(a->place, b->place);
}

static void sort(struct view *view, int (*compare)(const void *, const void *))
{
    if (view->count > 1)
        qsort(view->items, view->count, sizeof *view->items, compare);
}

#define ABOUT_MESSAGES (1u << OBSERVED_MESSAGE)
#define ABOUT_NUMBERS (1u << OBSERVED_MESSAGE | 1u << OBSERVED_SENT)
#define ABOUT_UIDS (1u << OBSERVED_MESSAGE | 1u << OBSERVED_SENT | 1u << OBSERVED_FAILED)

static void check_form(struct checker *checker)
{
    struct view view = select_items(checker, ABOUT_UIDS);
    for (size_t i = 0; i < view.count; i++) {
        const struct item *item = view.items[i];
        if (item->kind == OBSERVED_FAILED && item->uid == NULL)
            continue; /* refused before it got one */
        if (item->session == NULL)
            violation(checker, CHECK_FORM, "%s: a uid that is none: %s", item->client->label,
                      shown(item->uid));
        if (item->kind == OBSERVED_FAILED)
            continue;
        if (item->room == NULL || item->number == 0 || item->epoch == 0 || item->seq == 0)
            violation(checker, CHECK_FORM,
                      "%s: %s is without room, number or position: room %s number %" PRIu64,
                      item->client->label, shown(item->uid), shown(item->room), item->number);
        if (item->kind == OBSERVED_MESSAGE && (item->from == NULL || item->text == NULL))
            violation(checker, CHECK_FORM, "%s: the message %s is without sender or text",
                      item->client->label, shown(item->uid));
    }
    free(view.items);
}

static bool must_have_seen(const struct checker_client *client, const struct item *message)
{
    for (size_t i = 0; i < client->stay_count; i++)
        if (client->stays[i].room == message->room && client->stays[i].first <= message->number &&
            message->number <= client->stays[i].last)
            return true;
    return false;
}

static void check_lost_group(struct checker *checker, const struct item **items, size_t count)
{
    for (size_t i = 0; i < checker->client_count; i++) {
        const struct checker_client *client = checker->clients[i];
        const struct item *known = NULL;
        bool seen = false;
        for (size_t j = 0; j < count; j++) {
            seen = seen || (items[j]->client == client && items[j]->kind == OBSERVED_MESSAGE);
            if (known == NULL || items[j]->kind == OBSERVED_SENT)
                known = items[j];
        }
        if (!seen && must_have_seen(client, known))
            violation(
                checker, CHECK_LOST, "%s never saw %s, number %" PRIu64 " of %s, which was %s %s",
                client->label, known->uid, known->number, shown(known->room),
                known->kind == OBSERVED_SENT ? "acknowledged to" : "seen by", known->client->label);
    }
}

/* Calls visit for each run of items with one uid. */
static void each_uid(struct checker *checker, unsigned kinds,
                     void (*visit)(struct checker *checker, const struct item **items,
                                   size_t count))
{
    struct view view = select_items(checker, kinds);
    sort(&view, by_uid);
    for (size_t i = 0, end; i < view.count; i = end) {
        for (end = i + 1; end < view.count && view.items[end]->uid == view.items[i]->uid;)
            end++;
        if (view.items[i]->uid != NULL)
            visit(checker, &view.items[i], end - i);
    }
    free(view.items);
}

static void check_doubled_group(struct checker *checker, const struct item **items, size_t count)
{
    /* Items of one client stand together. */
    for (size_t i = 1; i < count; i++) {
        for (size_t j = i; j > 0 && items[j - 1]->client == items[i]->client; j--) {
            bool twice = items[j - 1]->kind == items[i]->kind;
            bool both =
                items[j - 1]->kind != OBSERVED_MESSAGE && items[i]->kind != OBSERVED_MESSAGE;
            if (twice || both)
                violation(checker, CHECK_DOUBLED, "%s: %s was %s", items[i]->client->label,
                          items[i]->uid,
                          !twice                               ? "both acknowledged and given up"
                          : items[i]->kind == OBSERVED_MESSAGE ? "seen twice"
                                                               : "answered twice");
        }
    }
}

static void check_failed_group(struct checker *checker, const struct item **items, size_t count)
{
    const struct item *failed = NULL;
    const struct item *message = NULL;
    for (size_t i = 0; i < count; i++) {
        if (items[i]->kind == OBSERVED_FAILED)
            failed = items[i];
        else if (items[i]->kind == OBSERVED_MESSAGE)
            message = items[i];
    }
    if (failed != NULL && message != NULL)
        violation(checker, CHECK_FAILED, "%s was given up by %s, and yet %s saw it", failed->uid,
                  failed->client->label, message->client->label);
}

/* The same uid is the same message, wherever it is met. */
static void check_one_place_group(struct checker *checker, const struct item **items, size_t count)
{
    for (size_t i = 1; i < count; i++)
        if (items[i]->room != items[0]->room || items[i]->number != items[0]->number)
            violation(checker, CHECK_ORDER,
                      "%s is number %" PRIu64 " of %s for %s, and number %" PRIu64 " of %s for %s",
                      items[0]->uid, items[0]->number, shown(items[0]->room),
                      items[0]->client->label, items[i]->number, shown(items[i]->room),
                      items[i]->client->label);
}

static void check_same_message(struct checker *checker, const struct item *left,
                               const struct item *right)
{
    if (left->uid != right->uid)
        violation(checker, CHECK_ORDER, "number %" PRIu64 " of %s is %s for %s, and %s for %s",
                  left->number, shown(left->room), shown(left->uid), left->client->label,
                  shown(right->uid), right->client->label);
    else if (compare_positions(left, right) != 0)
        violation(checker, CHECK_ORDER,
                  "%s is at %" PRIu64 "/%" PRIu64 " for %s, and at %" PRIu64 "/%" PRIu64 " for %s",
                  shown(left->uid), left->epoch, left->seq, left->client->label, right->epoch,
                  right->seq, right->client->label);
    else if (left->kind == OBSERVED_MESSAGE && right->kind == OBSERVED_MESSAGE &&
             (left->from != right->from || left->text != right->text))
        violation(checker, CHECK_ORDER, "%s is '%s' by %s for %s, and '%s' by %s for %s",
                  shown(left->uid), shown(left->text), shown(left->from), left->client->label,
                  shown(right->text), shown(right->from), right->client->label);
}

static void check_order(struct checker *checker)
{
    struct view view = select_items(checker, ABOUT_NUMBERS);
    sort(&view, by_number);
    const struct item *message = NULL; /* the first with a text of this number */
    for (size_t i = 0; i < view.count; i++) {
        const struct item *item = view.items[i];
        const struct item *before = i == 0 ? NULL : view.items[i - 1];
        bool same_room = before != NULL && before->room == item->room;
        if (same_room && before->number == item->number) {
            check_same_message(checker, before, item);
            if (message != NULL && message != before && item->kind == OBSERVED_MESSAGE)
                check_same_message(checker, message, item);
        } else {
            message = NULL;
            if (same_room && compare_positions(before, item) >= 0)
                violation(checker, CHECK_ORDER,
                          "%s: number %" PRIu64 " is at %" PRIu64 "/%" PRIu64
                          ", behind it number %" PRIu64 " at %" PRIu64 "/%" PRIu64,
                          shown(item->room), before->number, before->epoch, before->seq,
                          item->number, item->epoch, item->seq);
        }
        if (message == NULL && item->kind == OBSERVED_MESSAGE)
            message = item;
    }
    free(view.items);
    each_uid(checker, ABOUT_NUMBERS, check_one_place_group);
}

/* What one reader saw of one room, in the order it did. */
static void check_rooms(struct checker *checker, bool holes, bool order)
{
    struct view view = select_items(checker, ABOUT_MESSAGES | 1u << OBSERVED_AWAY);
    sort(&view, by_room_of_client);
    for (size_t i = 1; i < view.count; i++) {
        const struct item *before = view.items[i - 1];
        const struct item *item = view.items[i];
        if (before->client != item->client || before->room != item->room ||
            item->kind == OBSERVED_AWAY)
            continue;
        if (holes && before->kind == OBSERVED_MESSAGE && item->number != before->number + 1)
            violation(checker, CHECK_HOLES,
                      "%s saw number %" PRIu64 " of %s (%s) after %" PRIu64 " (%s)",
                      item->client->label, item->number, shown(item->room), shown(item->uid),
                      before->number, shown(before->uid));
        if (order && before->kind == OBSERVED_MESSAGE && item->number <= before->number)
            violation(checker, CHECK_ORDER,
                      "%s saw number %" PRIu64 " of %s (%s) only after %" PRIu64 " (%s)",
                      item->client->label, item->number, shown(item->room), shown(item->uid),
                      before->number, shown(before->uid));
    }
    free(view.items);
}

static void check_senders(struct checker *checker)
{
    struct view view = select_items(checker, ABOUT_MESSAGES);
    sort(&view, by_session_of_client);
    for (size_t i = 1; i < view.count; i++) {
        const struct item *before = view.items[i - 1];
        const struct item *item = view.items[i];
        if (item->session == NULL || before->client != item->client ||
            before->session != item->session || item->request > before->request)
            continue;
        violation(checker, CHECK_SENDER, "%s saw %s ('%s') only after %s ('%s')",
                  item->client->label, shown(item->uid), shown(item->text), shown(before->uid),
                  shown(before->text));
    }
    free(view.items);
}

static void check_forward(struct checker *checker)
{
    for (size_t i = 0; i < checker->client_count; i++) {
        const struct checker_client *client = checker->clients[i];
        const struct item *last = NULL;
        for (size_t j = 0; j < client->count; j++) {
            const struct item *item = &client->items[j];
            bool counts = item->kind == OBSERVED_MESSAGE || item->kind == OBSERVED_OTHER;
            if (!counts || item->seq == 0)
                continue;
            /* One change may make several events; of messages each has its own. */
            int order = last == NULL ? -1 : compare_positions(last, item);
            bool messages =
                last != NULL && last->kind == OBSERVED_MESSAGE && item->kind == OBSERVED_MESSAGE;
            if (order > 0 || (order == 0 && messages))
                violation(checker, CHECK_FORWARD,
                          "%s saw %" PRIu64 "/%" PRIu64 " (%s) after %" PRIu64 "/%" PRIu64 " (%s)",
                          client->label, item->epoch, item->seq, shown(item->uid), last->epoch,
                          last->seq, shown(last->uid));
            last = item;
        }
    }
}

/* When the text of a message was typed at the client that got it acknowledged; 0: unknown. Of
 * several with one text the first, which finds fewer violations, never a false one. */
static uint64_t asked_us(const struct view *asked, const struct item *sent, const char *text)
{
    const struct item key = {.client = sent->client, .text = text, .place = 0};
    size_t low = 0;
    size_t high = asked->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        const struct item *pointer = &key;
        if (by_client_and_text(&asked->items[middle], &pointer) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == asked->count || asked->items[low]->client != sent->client ||
        asked->items[low]->text != text)
        return 0;
    return asked->items[low]->time_us;
}

struct interval {
    const char *room;
    const char *uid;
    uint64_t number;
    uint64_t asked_us;
    uint64_t sent_us;
};

static int compare_intervals(const void *left, const void *right)
{
    const struct interval *a = left;
    const struct interval *b = right;
    int order = compare_words(a->room, b->room);
    return order != 0 ? order : compare_numbers(a->number, b->number);
}

/* Of each acknowledged message that somebody saw. */
static size_t find_intervals(struct checker *checker, struct interval *intervals)
{
    struct view asked = select_items(checker, 1u << OBSERVED_ASKED);
    struct view view = select_items(checker, ABOUT_NUMBERS);
    sort(&asked, by_client_and_text);
    sort(&view, by_uid);
    size_t count = 0;
    for (size_t i = 0, end; i < view.count; i = end) {
        const struct item *sent = NULL;
        const struct item *message = NULL;
        for (end = i; end < view.count && view.items[end]->uid == view.items[i]->uid; end++) {
            if (view.items[end]->kind == OBSERVED_SENT)
                sent = view.items[end];
            else
                message = view.items[end];
        }
        if (sent == NULL || message == NULL)
            continue;
        intervals[count++] = (struct interval){
            .room = sent->room,
            .uid = sent->uid,
            .number = sent->number,
            .asked_us = asked_us(&asked, sent, message->text),
            .sent_us = sent->time_us,
        };
    }
    free(asked.items);
    free(view.items);
    return count;
}

static void check_time(struct checker *checker)
{
    struct interval *intervals =
        need(malloc((checker_observations(checker) + 1) * sizeof *intervals));
    size_t count = find_intervals(checker, intervals);
    if (count > 1)
        qsort(intervals, count, sizeof *intervals, compare_intervals);
    const struct interval *earliest = NULL; /* acknowledged, of those with a higher number */
    for (size_t i = count; i > 0; i--) {
        const struct interval *interval = &intervals[i - 1];
        if (earliest != NULL && earliest->room != interval->room)
            earliest = NULL;
        if (earliest != NULL && earliest->sent_us < interval->asked_us)
            violation(checker, CHECK_TIME,
                      "%s, number %" PRIu64 " of %s, was typed %" PRIu64
                      " us after %s, number %" PRIu64 ", had been acknowledged",
                      shown(interval->uid), interval->number, shown(interval->room),
                      interval->asked_us - earliest->sent_us, shown(earliest->uid),
                      earliest->number);
        if (earliest == NULL || interval->sent_us < earliest->sent_us)
            earliest = interval;
    }
    free(intervals);
}

static int by_account_and_text(const void *left, const void *right)
{
    const struct item *a = *(const struct item *const *)left;
    const struct item *b = *(const struct item *const *)right;
    int order = compare_words(a->kind == OBSERVED_ASKED ? a->client->account : a->from,
                              b->kind == OBSERVED_ASKED ? b->client->account : b->from);
    if (order == 0)
        order = compare_words(a->text, b->text);
    if (order == 0)
        order = (b->kind == OBSERVED_ASKED) - (a->kind == OBSERVED_ASKED);
    return order != 0 ? order : compare_places(a, b);
}

static bool is_recorded(const struct checker *checker, const char *account)
{
    for (size_t i = 0; i < checker->client_count; i++)
        if (checker->clients[i]->account == account)
            return true;
    return false;
}

/* Messages with the line that they were typed as; the line is NULL where nobody typed it. Where
 * several lines have one text, it is the first of them, and *unique is false. */
static void each_typed(struct checker *checker,
                       void (*visit)(void *context, const struct item *message,
                                     const struct item *line, bool unique),
                       void *context)
{
    struct view view = select_items(checker, ABOUT_MESSAGES | 1u << OBSERVED_ASKED);
    sort(&view, by_account_and_text);
    const struct item *line = NULL;
    bool unique = true;
    for (size_t i = 0; i < view.count; i++) {
        const struct item *item = view.items[i];
        if (item->kind == OBSERVED_ASKED) {
            unique = line == NULL || line->client->account != item->client->account ||
                     line->text != item->text;
            line = unique ? item : line;
            continue;
        }
        bool typed =
            line != NULL && line->client->account == item->from && line->text == item->text;
        if (is_recorded(checker, item->from))
            visit(context, item, typed ? line : NULL, unique);
    }
    free(view.items);
}

static void judge_invented(void *context, const struct item *message, const struct item *line,
                           bool unique)
{
    (void)unique;
    if (line == NULL)
        violation(context, CHECK_INVENTED, "%s saw %s: '%s', which %s never typed",
                  message->client->label, shown(message->uid), shown(message->text),
                  shown(message->from));
}

/* A message that was seen, and the line it was typed as. */
struct message_line {
    const struct item *message;
    const struct item *line;
};

struct message_lines {
    struct message_line *items;
    size_t count;
};

static void collect_typed(void *context, const struct item *message, const struct item *line,
                          bool unique)
{
    struct message_lines *list = context;
    if (line != NULL && unique)
        list->items[list->count++] = (struct message_line){.message = message, .line = line};
}

/* By reader, then by author, then as the reader saw them. */
static int compare_typed(const void *left, const void *right)
{
    const struct message_line *a = left;
    const struct message_line *b = right;
    int order = compare_words((const char *)a->message->client, (const char *)b->message->client);
    if (order == 0)
        order = compare_words((const char *)a->line->client, (const char *)b->line->client);
    return order != 0 ? order : compare_numbers(a->message->place, b->message->place);
}

static void check_typed(struct checker *checker)
{
    struct message_lines list = {
        .items = need(malloc((checker_observations(checker) + 1) * sizeof(struct message_line)))};
    each_typed(checker, collect_typed, &list);
    if (list.count > 1)
        qsort(list.items, list.count, sizeof *list.items, compare_typed);
    for (size_t i = 1; i < list.count; i++) {
        const struct message_line *before = &list.items[i - 1];
        const struct message_line *typed = &list.items[i];
        if (before->message->client == typed->message->client &&
            before->line->client == typed->line->client && before->line->place > typed->line->place)
            violation(checker, CHECK_TYPED, "%s saw '%s' of %s only after '%s'",
                      typed->message->client->label, shown(typed->message->text),
                      typed->line->client->label, shown(before->message->text));
    }
    free(list.items);
}

size_t checker_run(struct checker *checker, unsigned rules)
{
    checker->violations = 0;
    if (rules & CHECK_FORM)
        check_form(checker);
    if (rules & CHECK_LOST)
        each_uid(checker, ABOUT_NUMBERS, check_lost_group);
    if (rules & CHECK_DOUBLED)
        each_uid(checker, ABOUT_UIDS, check_doubled_group);
    if (rules & CHECK_FAILED)
        each_uid(checker, ABOUT_UIDS, check_failed_group);
    if (rules & (CHECK_HOLES | CHECK_ORDER))
        check_rooms(checker, (rules & CHECK_HOLES) != 0, (rules & CHECK_ORDER) != 0);
    if (rules & CHECK_ORDER)
        check_order(checker);
    if (rules & CHECK_SENDER)
        check_senders(checker);
    if (rules & CHECK_FORWARD)
        check_forward(checker);
    if (rules & CHECK_TIME)
        check_time(checker);
    if (rules & CHECK_INVENTED)
        each_typed(checker, judge_invented, checker);
    if (rules & CHECK_TYPED)
        check_typed(checker);
    return checker->violations;
}

void checker_verify(struct checker *checker, unsigned rules)
{
    size_t count = checker_run(checker, rules);
    for (size_t i = 0; i < count && i < SHOWN_VIOLATIONS; i++)
        print_error("checker: %s\n", checker->kept[i].text);
    if (count > 0)
        fail_msg("%zu violations in %zu observations", count, checker_observations(checker));
}
