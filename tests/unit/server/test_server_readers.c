/* SPDX-License-Identifier: MIT */
/* Two whole servers: what the slave answers by itself, and what its clients learn of those at the master. */
#include "base/clock.h"
#include "server/core.h"
#include "support/core_fixture.h"
#include "support/folder.h"
#include "support/live_server.h"
#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct readers {
    char *folder;
    struct live_server *master;
    struct live_server *slave;
    struct device ann; /* at the slave */
    struct device bob; /* at the master */
};

struct counters {
    uint64_t reads;
    uint64_t forwarded;
    char role[32];
};

static void on_status(const Jackdaw__StatusReply *reply, void *context)
{
    struct answer *answer = context;
    struct counters *counters = answer->context;
    assert_int_equal(answer->result.status, STATUS_OK);
    *counters = (struct counters){.reads = reply->reads, .forwarded = reply->forwarded};
    (void)snprintf(counters->role, sizeof counters->role, "%s", reply->role);
    answer->ended = true;
}

static struct counters counters_at(struct device *device)
{
    struct counters counters;
    struct answer answer = {.context = &counters};
    struct rpc_stub stub;
    Jackdaw__StatusRequest request = JACKDAW__STATUS_REQUEST__INIT;
    rpc_stub_init(&stub, device->channel, &jackdaw__operator__descriptor);
    stub.timeout_ms = device->timeout_ms;
    jackdaw__operator__status(&stub.service, &request, on_status, &answer);
    answer_wait(device, &answer);
    return counters;
}

static enum status list_rooms(struct device *device)
{
    struct answer answer;
    ASK(device, &answer, "ListRooms", ListRooms, LIST_ROOMS, r.limit = 10);
    enum status status = answer.status;
    answer_clear(&answer);
    return status;
}

/* Until the slave answers reads by itself. */
static void wait_until_here(struct device *device)
{
    uint64_t until_ms = clock_monotonic_ms() + LIVE_SERVER_PATIENCE_MS;
    uint64_t before = counters_at(device).reads;
    while (counters_at(device).reads == before) {
        assert_true(clock_monotonic_ms() < until_ms);
        (void)list_rooms(device);
    }
}

static void readers_open_with(struct readers *readers, const char *const options[static 5])
{
    char address[ADDRESS_TEXT_SIZE];
    char masters[ADDRESS_TEXT_SIZE + 20];
    readers->folder = folder_new();
    readers->master = live_server_start(readers->folder, options);
    address_format(live_server_internal_address(readers->master), address);
    (void)snprintf(masters, sizeof masters, "--master_address=%s", address);
    readers->slave = live_server_start(
        readers->folder, (const char *[]){"--id=2", "--role=slave", masters, options[0], options[1],
                                          options[2], options[3], NULL});
    device_enter(&readers->bob, readers->master, "bob", "lobby");
    device_enter(&readers->ann, readers->master, "ann", "lobby");
    device_reopen(&readers->ann, readers->slave);
    wait_until_here(&readers->ann);
}

/* On a busy machine, too, the slave stays in sync. option: one more, or NULL. */
static void readers_open(struct readers *readers, const char *option)
{
    readers_open_with(readers, (const char *[5]){LIVE_SERVER_PATIENT, option});
}

static void readers_begin(struct readers *readers)
{
    readers_open(readers, NULL);
}

static void readers_end(struct readers *readers)
{
    device_close(&readers->ann);
    device_close(&readers->bob);
    live_server_stop(readers->slave);
    if (readers->master != NULL)
        live_server_stop(readers->master);
    folder_remove(readers->folder);
}

#define READERS_TEST(name) TEST_ON(name, struct readers, readers_begin, readers_end)

/* ---- what is answered here ---- */

READERS_TEST(test_reads__are_answered_without_the_master)
{
    struct answer answer;
    assert_int_equal(device_send(&f->bob, "lobby", "one"), STATUS_OK);
    struct counters before = counters_at(&f->ann);
    ASK(&f->ann, &answer, "History", History, HISTORY, r.room = (char *)"lobby");
    assert_int_equal(answer.status, STATUS_OK);
    const Jackdaw__HistoryReply *history = (const Jackdaw__HistoryReply *)answer.reply;
    assert_int_equal(history->n_events, 1);
    assert_string_equal(history->events[0]->text, "one");
    answer_clear(&answer);
    ASK(&f->ann, &answer, "ListMembers", ListMembers, LIST_MEMBERS, r.room = (char *)"lobby");
    assert_int_equal(((const Jackdaw__ListMembersReply *)answer.reply)->n_members, 2);
    answer_clear(&answer);
    ASK(&f->ann, &answer, "ListAccounts", ListAccounts, LIST_ACCOUNTS, r.limit = 5);
    assert_int_equal(((const Jackdaw__ListAccountsReply *)answer.reply)->n_accounts, 2);
    answer_clear(&answer);
    ASK(&f->ann, &answer, "Heartbeat", Heartbeat, HEARTBEAT, r.of_master = false);
    assert_int_equal(answer.status, STATUS_OK);
    answer_clear(&answer);
    ASK(&f->ann, &answer, "Receive", Receive, RECEIVE, r.after = NULL); /* a long poll */
    assert_int_equal(answer.status, STATUS_OK);
    answer_clear(&answer);
    struct counters after = counters_at(&f->ann);
    assert_int_equal(after.reads - before.reads, 5);
    assert_int_equal(after.forwarded, before.forwarded);
    ASK(&f->ann, &answer, "Heartbeat", Heartbeat, HEARTBEAT, r.of_master = true);
    assert_int_equal(answer.status, STATUS_OK);
    answer_clear(&answer);
    assert_int_equal(device_send(&f->ann, "lobby", "two"), STATUS_OK);
    assert_int_equal(counters_at(&f->ann).forwarded - before.forwarded, 2);
}

/* A session that the slave does not know: only the master knows for certain. */
READERS_TEST(test_reads__of_an_unknown_session_are_the_masters)
{
    struct counters before = counters_at(&f->ann);
    f->ann.token[0] ^= 1;
    assert_int_equal(list_rooms(&f->ann), STATUS_UNAUTHENTICATED);
    assert_int_equal(counters_at(&f->ann).forwarded - before.forwarded, 1);
}

/* Of an older client, or after a restart: nobody but the master knows what its session has seen. */
READERS_TEST(test_reads__without_a_position_are_the_masters)
{
    struct answer answer;
    assert_int_equal(device_send(&f->bob, "lobby", "one"), STATUS_OK);
    struct counters before = counters_at(&f->ann);
    f->ann.position = (struct log_position){.epoch = 0};
    assert_int_equal(list_rooms(&f->ann), STATUS_OK);
    assert_int_equal(counters_at(&f->ann).forwarded - before.forwarded, 1);
    assert_int_equal(list_rooms(&f->ann), STATUS_OK);
    f->ann.position = (struct log_position){.epoch = 0};
    ASK(&f->ann, &answer, "Receive", Receive, RECEIVE, r.after = NULL); /* it has a cursor */
    assert_int_equal(answer.status, STATUS_OK);
    answer_clear(&answer);
    assert_int_equal(counters_at(&f->ann).forwarded - before.forwarded, 1);
    assert_int_equal(counters_at(&f->ann).reads - before.reads, 2);
}

/* A slave forwards to a server that is a slave, too: the request goes no further. */
READERS_TEST(test_reads__a_forwarded_request_is_not_forwarded_again)
{
    struct counters before = counters_at(&f->ann);
    f->ann.peer = "192.0.2.7:50100";
    assert_int_equal(device_send(&f->ann, "lobby", "one"), STATUS_UNAVAILABLE);
    assert_int_equal(list_rooms(&f->ann), STATUS_UNAVAILABLE);
    assert_int_equal(counters_at(&f->ann).forwarded, before.forwarded);
}

/* ---- which state ---- */

/* Each answer names its state, and a later one of the slave contains it. */
READERS_TEST(test_position__a_session_sees_its_own_writes)
{
    struct answer answer;
    char text[32];
    for (unsigned i = 0; i < 200; i++) {
        (void)snprintf(text, sizeof text, "number %u", i);
        ASK(&f->ann, &answer, "Send", Send, SEND,
            (r.request = ++f->ann.request, r.to = (char *)"lobby", r.text = text));
        assert_int_equal(answer.status, STATUS_OK);
        assert_true(answer.result.position.seq >=
                    ((const Jackdaw__SendReply *)answer.reply)->position->seq);
        f->ann.position = answer.result.position;
        answer_clear(&answer);
        ASK(&f->ann, &answer, "History", History, HISTORY, (r.room = (char *)"lobby", r.limit = 1));
        assert_int_equal(answer.status, STATUS_OK);
        assert_true(log_position_compare(answer.result.position, f->ann.position) >= 0);
        const Jackdaw__HistoryReply *history = (const Jackdaw__HistoryReply *)answer.reply;
        assert_string_equal(history->events[0]->text, text);
        answer_clear(&answer);
    }
}

READERS_TEST(test_position__a_server_that_is_behind_says_so)
{
    struct answer answer;
    ASK(&f->ann, &answer, "ListRooms", ListRooms, LIST_ROOMS, r.limit = 1);
    struct log_position now = answer.result.position;
    answer_clear(&answer);
    const struct log_position later[] = {{now.epoch, now.seq + 1000}, {now.epoch + 65536, 1}};
    for (size_t i = 0; i < 2; i++) {
        f->ann.position = later[i];
        assert_int_equal(list_rooms(&f->ann), STATUS_UNAVAILABLE);
    }
    Jackdaw__Position after = JACKDAW__POSITION__INIT;
    after.epoch = now.epoch;
    after.seq = now.seq + 1000;
    f->ann.position = (struct log_position){.epoch = 0};
    ASK(&f->ann, &answer, "Receive", Receive, RECEIVE, r.after = &after); /* no cursor is reset */
    assert_int_equal(answer.status, STATUS_UNAVAILABLE);
    answer_clear(&answer);
    f->ann.position = now;
    assert_int_equal(list_rooms(&f->ann), STATUS_OK);
}

/* It was replaced, and does not know it yet. */
READERS_TEST(test_position__a_master_of_an_earlier_epoch_refuses)
{
    struct log_position now = f->bob.position;
    f->bob.position = (struct log_position){now.epoch + 65536, 1};
    assert_int_equal(list_rooms(&f->bob), STATUS_UNAVAILABLE);
    f->bob.position = now;
    assert_int_equal(list_rooms(&f->bob), STATUS_OK);
}

/* ---- how many may wait ---- */

enum {
    SESSIONS = READS_WAITING_MAX / READS_WAITING_EACH + 1,
    ASKED_MAX = SESSIONS * READS_WAITING_EACH,
};

/* Devices whose requests name a state that the slave will not have. */
struct crowd {
    struct device devices[SESSIONS];
    struct answer answers[ASKED_MAX];
    size_t asked;
};

static void crowd_open(struct crowd *crowd, struct readers *readers, size_t sessions)
{
    char name[32];
    crowd->asked = 0;
    for (size_t i = 0; i < sessions; i++) {
        struct device *device = &crowd->devices[i];
        (void)snprintf(name, sizeof name, "one%zu", i);
        device_open(device, readers->master);
        assert_int_equal(device_register(device, name), STATUS_OK);
        assert_int_equal(device_login_as_class(device, name, (uint8_t)i), STATUS_OK);
        device_reopen(device, readers->slave);
        wait_until_here(device);
        device->position.seq += 1000;
    }
}

static void crowd_close(struct crowd *crowd, size_t sessions)
{
    for (size_t i = 0; i < sessions; i++)
        device_close(&crowd->devices[i]);
}

static void crowd_ask(struct crowd *crowd, size_t session, size_t count)
{
    Jackdaw__ListRoomsRequest request = JACKDAW__LIST_ROOMS_REQUEST__INIT;
    for (size_t i = 0; i < count; i++) {
        assert_true(crowd->asked < ASKED_MAX);
        ask_start(&crowd->devices[session], &crowd->answers[crowd->asked++], "ListRooms",
                  &request.base, 0);
    }
}

/* Returns how many of the requests were refused because too many wait. */
static size_t crowd_refused(struct crowd *crowd, size_t sessions)
{
    size_t refused = 0;
    for (size_t i = 0; i < crowd->asked; i++) {
        while (!crowd->answers[i].ended)
            for (size_t k = 0; k < sessions; k++)
                device_turn(&crowd->devices[k], 1);
        bool is_refused = crowd->answers[i].status == STATUS_RESOURCE_EXHAUSTED;
        assert_true(is_refused || crowd->answers[i].status == STATUS_UNAVAILABLE);
        assert_true(crowd->answers[i].retry_ms > 0);
        refused += strstr(crowd->answers[i].message, "for this server to catch up") != NULL;
    }
    crowd->asked = 0;
    return refused;
}

/* On a slow machine the first ones no longer wait when the last ones come: then they ask again. */
READERS_TEST(test_waiting__has_a_bound)
{
    static struct crowd crowd;
    uint64_t until_ms = clock_monotonic_ms() + LIVE_SERVER_PATIENCE_MS;
    crowd_open(&crowd, f, SESSIONS);
    do {
        assert_true(clock_monotonic_ms() < until_ms);
        for (size_t i = 0; i < SESSIONS; i++)
            crowd_ask(&crowd, i, READS_WAITING_EACH);
    } while (crowd_refused(&crowd, SESSIONS) == 0);
    crowd_close(&crowd, SESSIONS);
}

/* One session has its part, and another one still finds room. */
READERS_TEST(test_waiting__has_a_bound_for_each_session)
{
    static struct crowd crowd;
    uint64_t until_ms = clock_monotonic_ms() + LIVE_SERVER_PATIENCE_MS;
    size_t refused;
    crowd_open(&crowd, f, 2);
    do {
        assert_true(clock_monotonic_ms() < until_ms);
        crowd_ask(&crowd, 0, READS_WAITING_EACH + 1);
        crowd_ask(&crowd, 1, READS_WAITING_EACH);
        refused = crowd_refused(&crowd, 2);
    } while (refused == 0);
    assert_int_equal(refused, 1);
    crowd_close(&crowd, 2);
}

/* A request that its caller has given up makes room at once. */
READERS_TEST(test_waiting__ends_with_its_caller)
{
    static struct crowd crowd;
    struct answer info;
    crowd_open(&crowd, f, 1);
    crowd_ask(&crowd, 0, READS_WAITING_EACH);
    for (size_t i = 0; i < READS_WAITING_EACH; i++)
        rpc_channel_cancel(crowd.devices[0].channel, crowd.answers[i].call);
    struct log_position wanted = crowd.devices[0].position;
    ASK(&crowd.devices[0], &info, "Info", Info, INFO, r.client = (char *)"test"); /* a turn later */
    answer_clear(&info);
    crowd.asked = 0;
    crowd.devices[0].position = wanted;
    crowd_ask(&crowd, 0, READS_WAITING_EACH);
    assert_int_equal(crowd_refused(&crowd, 1), 0);
    crowd_close(&crowd, 1);
}

/* ---- what the feed brings ---- */

struct event_count {
    unsigned typing;
    unsigned online;
    unsigned offline;
    char last[64];
    char notice[256]; /* the last one */
};

static void note_events(struct answer *answer, const ProtobufCMessage *reply)
{
    const Jackdaw__ReceiveReply *page = (const Jackdaw__ReceiveReply *)reply;
    struct event_count *seen = answer->context;
    for (size_t i = 0; i < page->n_events; i++) {
        const Jackdaw__Event *event = page->events[i];
        bool is_bobs = strcmp(event->from, "bob") == 0;
        seen->typing += is_bobs && event->kind == JACKDAW__EVENT__KIND__TYPING;
        seen->online += is_bobs && event->kind == JACKDAW__EVENT__KIND__PRESENCE && event->active;
        seen->offline += is_bobs && event->kind == JACKDAW__EVENT__KIND__PRESENCE && !event->active;
        if (event->kind == JACKDAW__EVENT__KIND__MESSAGE)
            (void)snprintf(seen->last, sizeof seen->last, "%s", event->text);
        if (event->kind == JACKDAW__EVENT__KIND__NOTICE)
            (void)snprintf(seen->notice, sizeof seen->notice, "%s", event->text);
    }
}

static void set_typing(struct device *device)
{
    struct answer answer;
    ASK(device, &answer, "SetTyping", SetTyping, SET_TYPING,
        (r.room = (char *)"lobby", r.typing = true));
    assert_int_equal(answer.status, STATUS_OK);
    answer_clear(&answer);
}

READERS_TEST(test_news__typing_and_messages_reach_the_slaves_receivers)
{
    static struct event_count seen; /* the stream ends after the body */
    static struct answer stream;
    seen = (struct event_count){.typing = 0};
    stream = (struct answer){.context = &seen, .each = note_events};
    struct counters before = counters_at(&f->ann);
    Jackdaw__ReceiveRequest request = JACKDAW__RECEIVE_REQUEST__INIT;
    ask_start(&f->ann, &stream, "Receive", &request.base, 16);
    assert_int_equal(device_send(&f->bob, "lobby", "hello"), STATUS_OK);
    DEVICE_WAIT(&f->ann, strcmp(seen.last, "hello") == 0);
    set_typing(&f->bob);
    DEVICE_WAIT(&f->ann, seen.typing == 1);
    assert_int_equal(counters_at(&f->ann).forwarded, before.forwarded);
}

READERS_TEST(test_news__notices_reach_the_slaves_receivers)
{
    static struct event_count seen;
    static struct answer stream;
    char address[ADDRESS_TEXT_SIZE];
    char masters[ADDRESS_TEXT_SIZE + 20];
    Jackdaw__ReceiveRequest request = JACKDAW__RECEIVE_REQUEST__INIT;
    stream = (struct answer){.context = &seen, .each = note_events};
    ask_start(&f->ann, &stream, "Receive", &request.base, 16);
    device_turn(&f->ann, 1);
    address_format(live_server_internal_address(f->master), address);
    (void)snprintf(masters, sizeof masters, "--master_address=%s", address);
    struct live_server *third = live_server_start(
        f->folder, (const char *[]){"--id=3", "--role=slave", masters, LIVE_SERVER_PATIENT, NULL});
    DEVICE_WAIT(&f->ann, strstr(seen.notice, "server 3") != NULL);
    live_server_stop(third);
}

/* The next ping is a minute away, and nothing is written after the message. */
static void silent_begin(struct readers *readers)
{
    uint64_t begun_ms = clock_monotonic_ms();
    readers_open_with(readers, (const char *[5]){"--ping_interval=60000", "--ping_timeout=120000",
                                                 "--ack_timeout=120000"});
    assert_true(clock_monotonic_ms() < begun_ms + 20000); /* a read waited, and was no reader */
}

TEST_ON(test_committed__is_told_to_a_slave_on_a_quiet_cluster, struct readers, silent_begin,
        readers_end)
{
    static struct event_count seen;
    static struct answer stream;
    Jackdaw__ReceiveRequest request = JACKDAW__RECEIVE_REQUEST__INIT;
    stream = (struct answer){.context = &seen, .each = note_events};
    ask_start(&f->ann, &stream, "Receive", &request.base, 16);
    uint64_t begun_ms = clock_monotonic_ms();
    assert_int_equal(device_send(&f->bob, "lobby", "hello"), STATUS_OK);
    DEVICE_WAIT(&f->ann, strcmp(seen.last, "hello") == 0);
    assert_true(clock_monotonic_ms() < begun_ms + 20000);
}

static bool is_online(struct device *device, const char *name)
{
    struct answer answer;
    bool online = false;
    ASK(device, &answer, "ListAccounts", ListAccounts, LIST_ACCOUNTS, r.pattern = (char *)name);
    const Jackdaw__ListAccountsReply *reply = (const Jackdaw__ListAccountsReply *)answer.reply;
    if (reply != NULL && reply->n_accounts == 1)
        online = reply->accounts[0]->online;
    answer_clear(&answer);
    return online;
}

#define SILENCE "--session_timeout=1500"

static void quiet_begin(struct readers *readers)
{
    readers_open(readers, SILENCE);
}

/* Ann asks the slave alone, and bob nobody. */
TEST_ON(test_presence__the_master_hears_a_session_at_the_slave, struct readers, quiet_begin,
        readers_end)
{
    static struct event_count seen; /* the stream ends after the body */
    static struct answer stream;
    seen = (struct event_count){.typing = 0};
    stream = (struct answer){.context = &seen, .each = note_events};
    Jackdaw__ReceiveRequest request = JACKDAW__RECEIVE_REQUEST__INIT;
    struct device eve;
    device_enter(&eve, f->master, "eve", NULL);
    ask_start(&f->ann, &stream, "Receive", &request.base, 16);
    uint64_t until_ms = clock_monotonic_ms() + LIVE_SERVER_PATIENCE_MS;
    while (seen.offline == 0) {
        assert_int_equal(list_rooms(&f->ann), STATUS_OK);
        assert_true(clock_monotonic_ms() < until_ms);
    }
    assert_true(is_online(&eve, "ann"));
    assert_false(is_online(&eve, "bob"));
    assert_false(is_online(&f->ann, "bob"));
    assert_int_equal(list_rooms(&f->bob), STATUS_OK);
    DEVICE_WAIT(&f->ann, seen.online == 1);
    assert_true(is_online(&f->ann, "bob"));
    device_close(&eve);
}

/* Heard at the slave after a silence: those at the master learn it. */
TEST_ON(test_presence__back_at_the_slave, struct readers, quiet_begin, readers_end)
{
    uint64_t until_ms = clock_monotonic_ms() + LIVE_SERVER_PATIENCE_MS;
    while (is_online(&f->bob, "ann"))
        assert_true(clock_monotonic_ms() < until_ms);
    assert_int_equal(list_rooms(&f->ann), STATUS_OK);
    while (!is_online(&f->bob, "ann"))
        assert_true(clock_monotonic_ms() < until_ms);
}

/* More sessions than one message of news has fall silent in one second. */
TEST_ON(test_presence__of_many_at_once, struct readers, quiet_begin, readers_end)
{
    enum { MANY = NEWS_ITEMS_MAX + 50 };
    static uint8_t tokens[MANY][CHAT_TOKEN_BYTES];
    static struct answer answers[MANY];
    struct device many;
    Jackdaw__ListRoomsRequest request = JACKDAW__LIST_ROOMS_REQUEST__INIT;
    char name[16];
    device_open(&many, f->master);
    for (unsigned i = 0; i < MANY; i++) {
        (void)snprintf(name, sizeof name, "many%u", i);
        assert_int_equal(device_register(&many, name), STATUS_OK);
        assert_int_equal(device_login(&many, name), STATUS_OK);
        memcpy(tokens[i], many.token, sizeof tokens[i]);
    }
    for (unsigned i = 0; i < MANY; i++) {
        memcpy(many.token, tokens[i], sizeof tokens[i]);
        ask_start(&many, &answers[i], "ListRooms", &request.base, 0);
    }
    for (unsigned i = 0; i < MANY; i++) {
        answer_wait(&many, &answers[i]);
        answer_clear(&answers[i]);
    }
    uint64_t until_ms = clock_monotonic_ms() + LIVE_SERVER_PATIENCE_MS;
    for (unsigned i = 0; i < MANY; i++) {
        (void)snprintf(name, sizeof name, "many%u", i);
        while (is_online(&f->ann, name))
            assert_true(clock_monotonic_ms() < until_ms);
    }
    device_close(&many);
}

/* A slave takes the news in their order, and notices which are missing. */
TEST(test_news_take__a_gap_is_noticed)
{
    static struct core core;
    uint64_t session = 7;
    Jackdaw__News news = JACKDAW__NEWS__INIT;
    news.present = &session;
    news.n_present = 1;
    for (news.number = 1; news.number <= NEWS_ITEMS_MAX; news.number++)
        assert_true(news_take(&core, &news));
    assert_false(news_take(&core, &news)); /* no room: as if it were missing */
    assert_int_equal(core.news.presence_count, NEWS_ITEMS_MAX);
    news_restart(&core.news);
    news.number = 1;
    assert_true(news_take(&core, &news));
    assert_true(news_take(&core, &news)); /* doubled */
    assert_int_equal(core.news.presence_count, 1);
    news.number = 3;
    assert_false(news_take(&core, &news));
    news.number = 4;
    assert_true(news_take(&core, &news)); /* the list that is asked for now has what was missed */
    assert_int_equal(core.news.presence_count, 3);
}

/* A slave's view of ann and bob, who are present at first; news 1 to 4 have come. */
struct view {
    struct core core;
    struct core_fixture fixture;
    uint64_t ann, bob;
};

static struct view *view_new(void)
{
    struct view *view = calloc(1, sizeof *view);
    assert_non_null(view);
    core_fixture_init(&view->fixture, NULL);
    core_fixture_open(&view->fixture);
    view->ann = core_fixture_person(&view->fixture, "ann");
    view->bob = core_fixture_person(&view->fixture, "bob");
    view->core.chat = view->fixture.chat;
    view->core.now_ms = view->fixture.now_ms;
    view->core.news.number = 4;
    reports_init(&view->core.reports, &view->core);
    view->core.reports.state = REPORTS_ACCEPTED;
    return view;
}

static void view_free(struct view *view)
{
    core_fixture_close(&view->fixture);
    free(view);
}

#define VIEW_TEST(name) TEST_OPEN(name, struct view, view_new(), view_free)

static void view_ask(struct view *view)
{
    view->core.reports.wants_presence = false;
    view->core.reports.asked_presence = true;
    chat_ask_presence(view->core.chat);
}

/* The list of those present, which the master made after that news. */
static void view_answer(struct view *view, uint64_t news, uint64_t *sessions, size_t count)
{
    Jackdaw__ReportReply reply = JACKDAW__REPORT_REPLY__INIT;
    reply.news = news;
    reply.has_presence = reply.are_present = true;
    reply.sessions = sessions;
    reply.n_sessions = count;
    reports_take_reply(&view->core.reports, &reply);
}

static bool view_take_silent(struct view *view, uint64_t number, uint64_t session)
{
    Jackdaw__News news = JACKDAW__NEWS__INIT;
    news.number = number;
    news.silent = &session;
    news.n_silent = 1;
    bool is_next = news_take(&view->core, &news);
    news_tell(&view->core);
    return is_next;
}

static bool is_present(struct view *view, uint64_t session)
{
    return chat_session_is_present(chat_find_session(view->core.chat, session));
}

VIEW_TEST(test_presence_list__comes_before_older_news)
{
    view_ask(f);
    view_answer(f, 6, &f->ann, 1);
    assert_false(is_present(f, f->bob));
    assert_true(view_take_silent(f, 5, f->ann));
    assert_true(is_present(f, f->ann));
    assert_true(view_take_silent(f, 7, f->ann));
    assert_false(is_present(f, f->ann));
}

VIEW_TEST(test_presence_list__comes_after_newer_news)
{
    view_ask(f);
    assert_true(view_take_silent(f, 5, f->bob));
    view_answer(f, 4, (uint64_t[]){f->bob}, 1);
    assert_false(is_present(f, f->bob)); /* by the news */
    assert_false(is_present(f, f->ann)); /* by the list */
    assert_true(view_take_silent(f, 6, f->bob));
}

/* The list has what was missed in a gap. */
VIEW_TEST(test_presence_list__is_the_newest)
{
    view_ask(f);
    assert_true(view_take_silent(f, 5, f->bob));
    view_answer(f, 5, (uint64_t[]){f->ann, f->bob}, 2);
    assert_true(is_present(f, f->bob));
}

VIEW_TEST(test_presence_list__does_not_know_a_later_session)
{
    view_ask(f);
    uint64_t cat = core_fixture_person(&f->fixture, "cat");
    view_answer(f, 4, &f->ann, 1);
    assert_true(is_present(f, cat));
    view_ask(f);
    view_answer(f, 4, &f->ann, 1);
    assert_false(is_present(f, cat));
}

/* A gap is noticed while a report is under way: the list that it brings may be older. */
VIEW_TEST(test_presence_list__is_asked_for_again)
{
    view_ask(f);
    reports_want_presence(&f->core.reports);
    view_answer(f, 4, &f->ann, 1);
    assert_true(f->core.reports.wants_presence);
}

/* The other devices of an account do not receive again an event that a device at the slave has received. */
READERS_TEST(test_delivered__at_the_slave_counts_everywhere)
{
    struct answer answer;
    struct device phone;
    assert_int_equal(device_send(&f->bob, "lobby", "hello"), STATUS_OK);
    ASK(&f->ann, &answer, "Receive", Receive, RECEIVE, r.after = NULL);
    Jackdaw__Position cursor = *((const Jackdaw__ReceiveReply *)answer.reply)->next;
    answer_clear(&answer);
    ASK(&f->ann, &answer, "Heartbeat", Heartbeat, HEARTBEAT, r.after = &cursor);
    assert_int_equal(answer.status, STATUS_OK);
    answer_clear(&answer);
    device_open(&phone, f->master);
    memcpy(phone.token, f->ann.token, sizeof phone.token);
    phone.token_size = f->ann.token_size;
    size_t undelivered = 1;
    uint64_t until_ms = clock_monotonic_ms() + LIVE_SERVER_PATIENCE_MS;
    while (undelivered > 0) {
        assert_true(clock_monotonic_ms() < until_ms);
        ASK(&phone, &answer, "Heartbeat", Heartbeat, HEARTBEAT, r.after = NULL);
        undelivered = ((const Jackdaw__HeartbeatReply *)answer.reply)->n_undelivered;
        answer_clear(&answer);
    }
    device_close(&phone);
}

/* ---- without a master ---- */

/* The slave cannot be elected: with durability quorum two servers need both. */
TEST(test_reads__end_when_no_master_is_heard)
{
    struct readers readers;
    struct answer stream = {.context = &(struct event_count){.typing = 0}, .each = note_events};
    Jackdaw__ReceiveRequest request = JACKDAW__RECEIVE_REQUEST__INIT;
    readers_open_with(&readers, (const char *[5]){"--durability=quorum"});
    ask_start(&readers.ann, &stream, "Receive", &request.base, 16);
    assert_int_equal(list_rooms(&readers.ann), STATUS_OK);
    live_server_stop(readers.master);
    enum status status = STATUS_OK;
    uint64_t until_ms = clock_monotonic_ms() + LIVE_SERVER_PATIENCE_MS;
    while (status == STATUS_OK) {
        status = list_rooms(&readers.ann);
        assert_true(clock_monotonic_ms() < until_ms);
    }
    assert_int_equal(status, STATUS_UNAVAILABLE);
    DEVICE_WAIT(&readers.ann, stream.ended);
    assert_int_equal(stream.status, STATUS_UNAVAILABLE);
    answer_clear(&stream);
    readers.master = NULL;
    readers_end(&readers);
}

/* With durability quorum the slave cannot be elected, and suspects its master until that speaks again. */
TEST(test_suspicion__ends_no_call)
{
    struct readers readers;
    struct answer answer = {.context = NULL};
    Jackdaw__SetTopicRequest request = JACKDAW__SET_TOPIC_REQUEST__INIT;
    readers_open_with(&readers, (const char *[5]){"--durability=quorum", "--ack_timeout=60000"});
    live_server_hold_core(readers.master);
    request.request = ++readers.ann.request;
    request.room = (char *)"lobby";
    request.topic = (char *)"patience";
    ask_start(&readers.ann, &answer, "SetTopic", &request.base, 0);
    DEVICE_WAIT(&readers.ann, strcmp(counters_at(&readers.ann).role, "suspecting") == 0);
    live_server_release(readers.master);
    answer_wait(&readers.ann, &answer);
    assert_int_equal(answer.status, STATUS_OK);
    answer_clear(&answer);
    readers_end(&readers);
}

/* ---- the option ---- */

TEST(test_forward_no__clients_are_sent_to_the_master)
{
    struct readers readers = {.folder = folder_new()};
    char address[ADDRESS_TEXT_SIZE];
    char masters[ADDRESS_TEXT_SIZE + 20];
    struct answer answer;
    readers.master = live_server_start(readers.folder, (const char *[]){LIVE_SERVER_PATIENT, NULL});
    address_format(live_server_internal_address(readers.master), address);
    (void)snprintf(masters, sizeof masters, "--master_address=%s", address);
    readers.slave =
        live_server_start(readers.folder, (const char *[]){"--id=2", "--role=slave", "--forward=no",
                                                           masters, LIVE_SERVER_PATIENT, NULL});
    device_enter(&readers.ann, readers.master, "ann", "lobby");
    device_reopen(&readers.ann, readers.slave);
    ASK(&readers.ann, &answer, "Info", Info, INFO, r.client = (char *)"test");
    assert_false(((const Jackdaw__InfoReply *)answer.reply)->master);
    answer_clear(&answer);
    ASK(&readers.ann, &answer, "ListRooms", ListRooms, LIST_ROOMS, r.limit = 1);
    assert_int_equal(answer.status, STATUS_UNAVAILABLE);
    answer_clear(&answer);
    device_close(&readers.ann);
    live_server_stop(readers.slave);
    live_server_stop(readers.master);
    folder_remove(readers.folder);
}
