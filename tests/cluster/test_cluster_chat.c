/* SPDX-License-Identifier: MIT */
/* What people do with each other, from terminal to terminal, through a real server. */
#include "harness/cluster_fixture.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void begin(struct cluster_fixture *fixture)
{
    node_start(&fixture->node);
}

#define CHAT_TEST(name) CLUSTER_TEST_ON(name, begin, cluster_fixture_stop)

/* A client that has not logged in yet. */
static struct json_client *device(struct cluster_fixture *fixture, const char *label,
                                  const char *account)
{
    const struct json_client_options options = {
        .label = label, .account = account, .addresses = {fixture->node.clients}};
    return json_client_start(fixture->group, &options);
}

/* A new account, logged in. Its password is "secret of NAME". */
static struct json_client *person(struct cluster_fixture *fixture, const char *name)
{
    struct json_client *client = device(fixture, name, name);
    (void)json_client_command(client, "/register %s secret of %s", name, name);
    return client;
}

/* The same in a room. */
static struct json_client *member(struct cluster_fixture *fixture, const char *name,
                                  const char *room)
{
    struct json_client *client = person(fixture, name);
    (void)json_client_command(client, "/join %s", room);
    return client;
}

static json_t *expect_message(struct json_client *client, const char *room, const char *from,
                              const char *text)
{
    return json_client_expect(client, 0, "{s:s, s:s, s:s, s:s}", "type", "message", "room", room,
                              "from", from, "text", text);
}

/* Something that somebody did in a room. */
static void expect_event(struct json_client *client, const char *type, const char *room,
                         const char *from)
{
    (void)json_client_expect(client, 0, "{s:s, s:s, s:s}", "type", type, "room", room, "from",
                             from);
}

/* A message of the client's, from an index on, that failed. */
static json_t *expect_failed(struct json_client *client, size_t from, const char *status)
{
    return json_client_expect(client, from, "{s:s, s:s}", "type", "failed", "status", status);
}

/* Waits until the client has everything that was acknowledged to another before now: a message
 * from that one is behind it. */
static void catch_up(struct json_client *client, struct json_client *other)
{
    static unsigned count;
    char text[32];
    (void)snprintf(text, sizeof text, "sync %u", ++count);
    json_client_tell(other, json_client_account(client), "%s", text);
    char room[64];
    (void)snprintf(room, sizeof room, "@%s", json_client_account(other));
    (void)expect_message(client, room, json_client_account(other), text);
}

/* The entry of a list with this name, or that is this name; NULL: there is none. */
static const json_t *find_name(const json_t *list, const char *name)
{
    size_t i;
    const json_t *entry;
    json_array_foreach(list, i, entry)
    {
        const json_t *own = json_is_object(entry) ? json_object_get(entry, "name") : entry;
        if (json_is_string(own) && strcmp(json_string_value(own), name) == 0)
            return entry;
    }
    return NULL;
}

static bool has_name(const json_t *list, const char *name)
{
    return find_name(list, name) != NULL;
}

static const json_t *entry_of(const json_t *list, const char *name)
{
    const json_t *entry = find_name(list, name);
    if (entry == NULL)
        fail_msg("no entry of %s", name);
    return entry;
}

static bool is_true(const json_t *object, const char *member_name)
{
    const json_t *value = json_object_get(object, member_name);
    if (!json_is_boolean(value))
        fail_msg("no yes or no '%s'", member_name);
    return json_is_true(value);
}

CHAT_TEST(test_chat__two_people)
{
    struct json_client *ann = person(fixture, "ann");
    struct json_client *bob = person(fixture, "bob");
    const json_t *joined = json_client_command(ann, "/join lobby");
    assert_string_equal(json_text(joined, "room"), "lobby");
    assert_true(is_true(joined, "created"));
    assert_string_equal(json_text(joined, "owner"), "ann");
    assert_int_equal(json_number(joined, "members"), 1);
    joined = json_client_command(bob, "/join Lobby"); /* names are the same in any case */
    assert_string_equal(json_text(joined, "room"), "lobby");
    assert_false(is_true(joined, "created"));
    assert_int_equal(json_number(joined, "members"), 2);
    expect_event(ann, "joined", "lobby", "bob");

    json_client_say(ann, "hi");
    json_client_say(bob, "hello \"ann\" \\ \xc3\xa4\xe2\x82\xac\xf0\x9f\x90\xa6");
    const json_t *to_bob = expect_message(bob, "lobby", "ann", "hi");
    const json_t *to_ann = expect_message(ann, "lobby", "ann", "hi");
    assert_true(json_equal((json_t *)to_bob, (json_t *)to_ann)); /* every member sees the same */
    assert_true(json_number(to_bob, "time_ms") > 1500000000000);
    (void)expect_message(ann, "lobby", "bob",
                         "hello \"ann\" \\ \xc3\xa4\xe2\x82\xac\xf0\x9f\x90\xa6");
    const json_t *sent =
        json_client_expect(ann, 0, "{s:s, s:s}", "type", "sent", "uid", json_text(to_bob, "uid"));
    assert_string_equal(json_text(sent, "room"), "lobby");
    assert_int_equal(json_number(sent, "number"), json_number(to_bob, "number"));
    assert_int_equal(json_number(sent, "epoch"), json_number(to_bob, "epoch"));
    assert_int_equal(json_number(sent, "seq"), json_number(to_bob, "seq"));
    json_client_type(ann, "//slash");
    (void)expect_message(bob, "lobby", "ann", "/slash");
    assert_int_equal(json_client_leave(ann), 0);
    (void)json_client_expect(ann, 0, "{s:s, s:i, s:i}", "type", "stats", "sent", 2, "failed", 0);
    assert_int_equal(json_client_leave(bob), 0);
}

CHAT_TEST(test_chat__many_lines_at_once_keep_their_order)
{
    struct json_client *ann = member(fixture, "ann", "lobby");
    struct json_client *bob = member(fixture, "bob", "lobby");
    for (unsigned i = 0; i < 1000; i++) {
        json_client_say(ann, "ann's %u", i);
        json_client_say(bob, "bob's %u", i);
    }
    PROCESS_GROUP_WAIT(fixture->group,
                       json_client_messages(ann) == 2000 && json_client_messages(bob) == 2000);
    PROCESS_GROUP_WAIT(fixture->group,
                       json_client_sent(ann) == 1000 && json_client_sent(bob) == 1000);
    struct checker *checker = checker_new();
    checker_was_in(json_client_report(ann, checker), "lobby", 1, UINT64_MAX);
    checker_was_in(json_client_report(bob, checker), "lobby", 1, UINT64_MAX);
    checker_verify(checker, CHECK_ALL);
    checker_free(checker);
}

/* A message that cannot be sent says so, and the next one goes. */
CHAT_TEST(test_chat__messages_that_fail)
{
    struct json_client *ann = person(fixture, "ann");
    json_client_type(ann, "nowhere");
    (void)expect_failed(ann, 0, "FAILED_PRECONDITION");
    (void)json_client_command(ann, "/join lobby");
    json_client_type(ann, "/msg nobody hello");
    const json_t *failed = expect_failed(ann, 0, "NOT_FOUND");
    assert_non_null(strchr(json_text(failed, "uid"), ':'));
    assert_true(strlen(json_text(failed, "error")) > 8);
    char *large = calloc(1, 16386);
    memset(large, 'x', 16385);
    json_client_type(ann, "%s", large);
    (void)expect_failed(ann, 0, "INVALID_ARGUMENT");
    large[16384] = '\0';
    json_client_type(ann, "%s", large);
    (void)expect_message(ann, "lobby", "ann", large);
    free(large);
    size_t mark = json_client_count(ann);
    json_client_type(ann, "no \xff\xfe text");
    (void)expect_failed(ann, mark, "INVALID_ARGUMENT");
    (void)json_client_command(ann, "/leave");
    json_client_type(ann, "left");
    (void)expect_failed(ann, mark, "FAILED_PRECONDITION");
    assert_int_equal(json_client_leave(ann), 1); /* not every command succeeded */
}

CHAT_TEST(test_direct__between_two)
{
    struct json_client *ann = person(fixture, "ann");
    struct json_client *bob = person(fixture, "bob");
    struct json_client *cat = person(fixture, "cat");
    json_client_tell(ann, "bob", "psst");
    (void)expect_message(bob, "@ann", "ann", "psst");
    (void)expect_message(ann, "@bob", "ann", "psst");
    (void)json_client_command(bob, "/switch @ann");
    json_client_say(bob, "what?");
    const json_t *message = expect_message(ann, "@bob", "bob", "what?");
    assert_int_equal(json_number(message, "number"), 2);
    catch_up(cat, ann);
    assert_int_equal(json_client_messages(cat), 1); /* nothing of it */
}

static uint64_t undelivered_in(const json_t *result, const char *room)
{
    size_t i;
    const json_t *entry;
    const json_t *list = json_object_get(result, "undelivered");
    json_array_foreach(list, i, entry)
    {
        if (strcmp(json_text(entry, "room"), room) == 0)
            return json_number(entry, "messages");
    }
    return 0;
}

CHAT_TEST(test_direct__kept_for_the_absent)
{
    struct json_client *ann = member(fixture, "ann", "lobby");
    struct json_client *bob = member(fixture, "bob", "lobby");
    json_client_say(ann, "while you are here");
    (void)expect_message(bob, "lobby", "ann", "while you are here");
    (void)json_client_command(bob, "/logout");
    assert_int_equal(json_client_leave(bob), 0);
    for (unsigned i = 1; i <= 3; i++)
        json_client_tell(ann, "bob", "call me %u", i);
    json_client_say(ann, "bob is away");
    json_client_say(ann, "let us wait");
    PROCESS_GROUP_WAIT(fixture->group, json_client_sent(ann) == 6);
    assert_int_equal(node_stop(&fixture->node), 0);
    node_start(&fixture->node);
    bob = device(fixture, "bob again", "bob");
    const json_t *login = json_client_command(bob, "/login bob secret of bob");
    assert_int_equal(undelivered_in(login, "@ann"), 3);
    assert_int_equal(undelivered_in(login, "lobby"), 2);
    assert_true(has_name(json_object_get(login, "rooms"), "lobby"));
    (void)expect_message(bob, "@ann", "ann", "call me 1");
    (void)expect_message(bob, "@ann", "ann", "call me 3");
    (void)expect_message(bob, "lobby", "ann", "let us wait");
    assert_int_equal(json_client_messages(bob), 5);
}

CHAT_TEST(test_history__on_joining_and_paged)
{
    struct json_client *ann = member(fixture, "ann", "lobby");
    for (unsigned i = 1; i <= 25; i++)
        json_client_say(ann, "number %u", i);
    PROCESS_GROUP_WAIT(fixture->group, json_client_sent(ann) == 25);
    struct json_client *bob = person(fixture, "bob");
    const json_t *joined = json_client_command(bob, "/join lobby");
    const json_t *history = json_object_get(joined, "history");
    assert_int_equal(json_array_size(history), 10);
    for (unsigned i = 0; i < 10; i++) {
        char text[32];
        (void)snprintf(text, sizeof text, "number %u", 16 + i);
        assert_int_equal(json_number(json_array_get(history, i), "number"), 16 + i);
        assert_string_equal(json_text(json_array_get(history, i), "text"), text);
    }
    assert_int_equal(json_number(joined, "last_number"), 25);
    const json_t *page = json_client_command(bob, "/history 7 16");
    history = json_object_get(page, "history");
    assert_int_equal(json_array_size(history), 7);
    assert_int_equal(json_number(json_array_get(history, 0), "number"), 9);
    assert_int_equal(json_number(json_array_get(history, 6), "number"), 15);
    assert_true(is_true(page, "more"));
    page = json_client_command(bob, "/history 200 9");
    history = json_object_get(page, "history");
    assert_int_equal(json_array_size(history), 8);
    assert_false(is_true(page, "more"));
    json_client_say(ann, "live");
    const json_t *message = expect_message(bob, "lobby", "ann", "live");
    assert_int_equal(json_number(message, "number"), 26); /* right behind the history */
    assert_int_equal(json_client_messages(bob), 1);
}

CHAT_TEST(test_topic__set_shown_and_refused)
{
    struct json_client *ann = member(fixture, "ann", "lobby");
    struct json_client *bob = member(fixture, "bob", "lobby");
    (void)json_client_command(ann, "/topic birds, and  what they say");
    (void)json_client_expect(bob, 0, "{s:s, s:s, s:s, s:s}", "type", "topic", "room", "lobby",
                             "from", "ann", "text", "birds, and  what they say");
    assert_string_equal(json_text(json_client_command(bob, "/topic"), "topic"),
                        "birds, and  what they say");
    (void)json_client_command(bob, "/topic crows");
    (void)json_client_expect(ann, 0, "{s:s, s:s}", "type", "topic", "text", "crows");
    struct json_client *cat = person(fixture, "cat");
    assert_string_equal(json_text(json_client_command(cat, "/join lobby"), "topic"), "crows");
    char long_topic[301];
    memset(long_topic, 'x', sizeof long_topic - 1);
    long_topic[300] = '\0';
    (void)json_client_refused(ann, "INVALID_ARGUMENT", "/topic %s", long_topic);
}

CHAT_TEST(test_rooms__private_ones)
{
    struct json_client *ann = person(fixture, "ann");
    struct json_client *bob = person(fixture, "bob");
    assert_true(is_true(json_client_command(ann, "/join den private"), "private"));
    (void)json_client_refused(bob, "PERMISSION_DENIED", "/join den");
    assert_false(has_name(json_object_get(json_client_command(bob, "/rooms"), "rooms"), "den"));
    (void)json_client_command(ann, "/invite bob");
    const json_t *invited =
        json_client_expect(bob, 0, "{s:s, s:s}", "type", "invited", "room", "den");
    assert_string_equal(json_text(invited, "from"), "ann");
    (void)json_client_command(bob, "/join den");
    json_client_say(bob, "cosy");
    (void)expect_message(ann, "den", "bob", "cosy");
    assert_true(has_name(json_object_get(json_client_command(bob, "/rooms d*"), "rooms"), "den"));
    (void)json_client_refused(ann, "NOT_FOUND", "/invite nobody");
}

CHAT_TEST(test_rooms__kick_and_ban)
{
    struct json_client *ann = member(fixture, "ann", "lobby");
    struct json_client *bob = member(fixture, "bob", "lobby");
    (void)json_client_refused(bob, "PERMISSION_DENIED", "/kick ann");
    (void)json_client_command(ann, "/kick bob");
    (void)json_client_expect(bob, 0, "{s:s, s:s, s:s, s:s, s:s}", "type", "left", "room", "lobby",
                             "from", "bob", "subject", "ann", "reason", "kicked");
    json_client_type(bob, "unheard");
    (void)json_client_expect(bob, 0, "{s:s}", "type", "failed");
    (void)json_client_command(bob, "/join lobby"); /* only thrown out, not kept out */
    size_t mark = json_client_count(bob);
    (void)json_client_command(ann, "/ban bob");
    (void)json_client_expect(bob, mark, "{s:s, s:s}", "type", "left", "reason", "banned");
    (void)json_client_refused(bob, "PERMISSION_DENIED", "/join lobby");
    json_client_say(ann, "quiet at last");
    (void)expect_message(ann, "lobby", "ann", "quiet at last");
    (void)json_client_command(ann, "/invite bob"); /* ends the ban */
    (void)json_client_command(bob, "/join lobby");
    json_client_say(ann, "behave");
    (void)expect_message(bob, "lobby", "ann", "behave");
    assert_null(json_client_find(bob, 0, "{s:s, s:s}", "type", "message", "text", "quiet at last"));
}

CHAT_TEST(test_rooms__lists)
{
    struct json_client *ann = member(fixture, "ann", "lobby");
    struct json_client *bob = member(fixture, "bob", "attic");
    (void)json_client_command(bob, "/join lobby");
    (void)json_client_command(ann, "/topic birds");
    const json_t *rooms = json_object_get(json_client_command(ann, "/rooms"), "rooms");
    assert_int_equal(json_array_size(rooms), 2);
    const json_t *lobby = entry_of(rooms, "lobby");
    assert_int_equal(json_number(lobby, "members"), 2);
    assert_string_equal(json_text(lobby, "topic"), "birds");
    assert_true(is_true(lobby, "joined"));
    assert_false(is_true(entry_of(rooms, "attic"), "joined"));
    rooms = json_object_get(json_client_command(ann, "/rooms ?TT*"), "rooms");
    assert_int_equal(json_array_size(rooms), 1);
    const json_t *members = json_object_get(json_client_command(bob, "/members lobby"), "members");
    assert_int_equal(json_array_size(members), 2);
    assert_true(is_true(entry_of(members, "ann"), "owner"));
    assert_false(is_true(entry_of(members, "bob"), "owner"));
    assert_true(is_true(entry_of(members, "bob"), "online"));
    (void)json_client_refused(ann, "NOT_FOUND", "/members nowhere");
    /* The owner leaves: somebody else has the room then. */
    (void)json_client_command(ann, "/leave lobby");
    expect_event(bob, "left", "lobby", "ann");
    expect_event(bob, "owner", "lobby", "bob");
    json_client_say(bob, "alone");
    (void)expect_message(bob, "lobby", "bob", "alone");
    catch_up(ann, bob);
    assert_null(json_client_find(ann, 0, "{s:s, s:s}", "type", "message", "text", "alone"));
}

/* The words of the older group commands. */
static size_t type_and_wait(struct json_client *client, size_t from, const char *line,
                            const char *command)
{
    json_client_type(client, "%s", line);
    const json_t *result =
        json_client_expect(client, from, "{s:s, s:s}", "type", "result", "command", command);
    assert_string_equal(json_text(result, "status"), "OK");
    return json_client_count(client);
}

CHAT_TEST(test_synonyms__mean_the_same)
{
    struct json_client *ann = person(fixture, "ann");
    size_t mark = json_client_count(ann);
    mark = type_and_wait(ann, mark, "!j lobby", "join");
    mark = type_and_wait(ann, mark, "!j attic", "join");
    mark = type_and_wait(ann, mark, "!w lobby", "switch");
    json_client_say(ann, "down here");
    (void)expect_message(ann, "lobby", "ann", "down here");
    mark = type_and_wait(ann, mark, "!g", "rooms");
    mark = type_and_wait(ann, mark, "!lm lobby", "members");
    mark = type_and_wait(ann, mark, "!e attic", "leave");
    mark = type_and_wait(ann, mark, "!q", "quit");
    assert_int_equal(process_wait(json_client_process(ann), PROCESS_GROUP_PATIENCE_MS), 0);
}

CHAT_TEST(test_users__by_pattern)
{
    static const char *const names[] = {"ann", "anna", "bob", "Bert"};
    struct json_client *people[4];
    for (size_t i = 0; i < 4; i++)
        people[i] = person(fixture, names[i]);
    struct json_client *ann = people[0];
    (void)json_client_leave(people[2]);
    const json_t *all = json_object_get(json_client_command(ann, "/users"), "users");
    assert_int_equal(json_array_size(all), 4);
    assert_true(is_true(entry_of(all, "anna"), "online"));
    assert_false(is_true(entry_of(all, "bob"), "online"));
    static const struct {
        const char *pattern;
        size_t count;
        const char *one; /* of them; NULL: any */
    } rows[] = {{"AN*", 2, NULL}, {"b??", 1, "bob"}, {"*e*", 1, "Bert"}, {"z*", 0, NULL}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const json_t *some =
            json_object_get(json_client_command(ann, "/users %s", rows[i].pattern), "users");
        if (json_array_size(some) != rows[i].count ||
            (rows[i].one != NULL && !has_name(some, rows[i].one)))
            fail_msg("%s: %zu users, not %zu with %s", rows[i].pattern, json_array_size(some),
                     rows[i].count, rows[i].one == NULL ? "any name" : rows[i].one);
    }
}

CHAT_TEST(test_accounts__names_and_passwords)
{
    (void)json_client_leave(person(fixture, "ann"));
    struct json_client *client = device(fixture, "client", "ann");
    (void)json_client_refused(client, "ALREADY_EXISTS", "/register ann another secret");
    (void)json_client_refused(client, "ALREADY_EXISTS", "/register Ann another secret");
    (void)json_client_refused(client, "UNAUTHENTICATED", "/login ann wrong secret");
    (void)json_client_refused(client, "UNAUTHENTICATED", "/login nobody secret");
    (void)json_client_refused(client, "UNAUTHENTICATED", "/join lobby");
    (void)json_client_refused(client, "INVALID_ARGUMENT", "/register %s secret",
                              "a-name-of-more-than-thirty-two-characters");
    (void)json_client_refused(client, "INVALID_ARGUMENT", "/join");
    const json_t *login = json_client_command(client, "/login ANN secret of ann");
    assert_string_equal(json_text(login, "name"), "ann");
    (void)json_client_refused(client, "FAILED_PRECONDITION", "/login bob secret");
    (void)json_client_command(client, "/logout");
    (void)json_client_refused(client, "UNAUTHENTICATED", "/rooms");
    assert_int_equal(json_client_leave(client), 1);
}

CHAT_TEST(test_sessions__two_devices_and_no_third)
{
    struct json_client *first = member(fixture, "ann", "lobby");
    struct json_client *second = device(fixture, "second", "ann");
    struct json_client *third = device(fixture, "third", "ann");
    struct json_client *bob = member(fixture, "bob", "lobby");
    const json_t *login = json_client_command(second, "/login ann secret of ann");
    assert_int_equal(json_number(login, "sessions"), 2);
    (void)json_client_refused(third, "RESOURCE_EXHAUSTED", "/login ann secret of ann");
    /* Both devices see what is said, by others and by each other. */
    json_client_say(bob, "hello");
    (void)expect_message(first, "lobby", "bob", "hello");
    (void)expect_message(second, "lobby", "bob", "hello");
    (void)json_client_command(second, "/switch lobby");
    json_client_say(second, "from the other device");
    (void)expect_message(first, "lobby", "ann", "from the other device");
    (void)json_client_command(first, "/logout");
    (void)json_client_command(third, "/login ann secret of ann");
}

CHAT_TEST(test_delete__only_from_the_last_device)
{
    struct json_client *ann = member(fixture, "ann", "lobby");
    struct json_client *bob = member(fixture, "bob", "lobby");
    struct json_client *other = device(fixture, "other", "ann");
    json_client_say(ann, "remember me");
    (void)expect_message(bob, "lobby", "ann", "remember me");
    (void)json_client_command(other, "/login ann secret of ann");
    (void)json_client_refused(ann, "FAILED_PRECONDITION", "/delete secret of ann");
    (void)json_client_command(other, "/logout");
    (void)json_client_refused(ann, "PERMISSION_DENIED", "/delete wrong secret");
    (void)json_client_command(ann, "/delete secret of ann");
    expect_event(bob, "left", "lobby", "ann");
    (void)json_client_refused(ann, "UNAUTHENTICATED", "/login ann secret of ann");
    const json_t *users = json_object_get(json_client_command(bob, "/users ann*"), "users");
    assert_int_equal(json_array_size(users), 0);
    /* What was said stays, the name is free. */
    const json_t *page = json_client_command(bob, "/history 5");
    const json_t *message = json_array_get(json_object_get(page, "history"), 0);
    assert_string_equal(json_text(message, "text"), "remember me");
    assert_string_not_equal(json_text(message, "from"), "ann");
    (void)json_client_command(ann, "/register ann another secret");
    const json_t *members = json_object_get(json_client_command(bob, "/members lobby"), "members");
    assert_int_equal(json_array_size(members), 1);
}

/* What nobody has received is handed over when the account goes. */
CHAT_TEST(test_delete__hands_over_what_is_undelivered)
{
    struct json_client *ann = person(fixture, "ann");
    struct json_client *bob = person(fixture, "bob");
    json_client_tell(ann, "bob", "received");
    (void)expect_message(bob, "@ann", "ann", "received");
    const json_t *result = json_client_command(bob, "/delete secret of bob");
    assert_int_equal(json_number(result, "undelivered_total"), 0);
    assert_int_equal(json_array_size(json_object_get(result, "undelivered")), 0);
    json_client_type(ann, "/msg bob too late");
    (void)expect_failed(ann, 0, "NOT_FOUND");
}

CHAT_TEST(test_deliver__tells_what_is_undelivered)
{
    struct json_client *ann = person(fixture, "ann");
    struct json_client *bob = person(fixture, "bob");
    json_client_tell(ann, "bob", "one");
    (void)expect_message(bob, "@ann", "ann", "one");
    const json_t *result = json_client_command(bob, "/deliver");
    assert_int_equal(undelivered_in(result, "@ann"), 0);
    const json_t *status = json_client_command(bob, "/status");
    (void)status;
    const json_t *stats = json_client_command(ann, "/stats");
    assert_int_equal(json_number(stats, "sent"), 1);
}

CHAT_TEST(test_typing_and_presence)
{
    struct json_client *ann = member(fixture, "ann", "lobby");
    struct json_client *bob = member(fixture, "bob", "lobby");
    (void)json_client_command(bob, "/typing");
    (void)json_client_expect(ann, 0, "{s:s, s:s, s:s, s:b}", "type", "typing", "room", "lobby",
                             "from", "bob", "active", 1);
    (void)json_client_command(bob, "/typing off");
    (void)json_client_expect(ann, 0, "{s:s, s:s, s:b}", "type", "typing", "from", "bob", "active",
                             0);
    size_t mark = json_client_count(ann);
    (void)json_client_leave(bob);
    (void)json_client_expect(ann, mark, "{s:s, s:s, s:b}", "type", "presence", "from", "bob",
                             "active", 0);
    bob = device(fixture, "bob again", "bob");
    (void)json_client_command(bob, "/login bob secret of bob");
    (void)json_client_expect(ann, mark, "{s:s, s:s, s:b}", "type", "presence", "from", "bob",
                             "active", 1);
}

/* As a script would use it: everything on the command line and in a file. */
CHAT_TEST(test_program__from_a_script)
{
    const char *secret = process_group_path(fixture->group, "secret");
    int file = open(secret, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(write(file, "from a file\n", 12), 12);
    (void)close(file);
    char password[PROCESS_GROUP_PATH_SIZE + 32];
    (void)snprintf(password, sizeof password, "--password_file=%s", secret);
    struct json_client *ann = member(fixture, "ann", "attic");
    for (int i = 0; i < 2; i++) { /* the second time the account is there */
        const struct json_client_options options = {
            .label = "bot",
            .addresses = {fixture->node.clients},
            .arguments = {"-u", "bot", "--register", "-r", "attic", "-r", "lobby", password}};
        struct json_client *bot = json_client_start(fixture->group, &options);
        json_client_say(bot, "backup %d done", i);
        assert_int_equal(json_client_leave(bot), 0);
        (void)json_client_expect(bot, 0, "{s:s, s:s}", "type", "sent", "room", "lobby");
        const json_t *last = json_client_find(bot, json_client_count(bot) - 1, "{s:s, s:i}", "type",
                                              "stats", "sent", 1);
        assert_non_null(last);
    }
    expect_event(ann, "joined", "attic", "bot");
    const json_t *page = json_client_command(ann, "/join lobby");
    assert_int_equal(json_number(page, "last_number"), 2);
}

CHAT_TEST(test_restart__remembers_everything)
{
    struct json_client *ann = member(fixture, "ann", "lobby");
    struct json_client *bob = member(fixture, "bob", "lobby");
    struct json_client *cat = member(fixture, "cat", "lobby");
    (void)json_client_command(ann, "/topic birds");
    (void)json_client_command(ann, "/ban cat");
    (void)json_client_command(ann, "/join den private");
    (void)json_client_command(ann, "/invite bob");
    (void)json_client_command(ann, "/switch lobby");
    json_client_say(ann, "before");
    (void)expect_message(bob, "lobby", "ann", "before");
    node_kill(&fixture->node);
    node_start(&fixture->node);
    /* The sessions go on. */
    json_client_say(ann, "after");
    const json_t *message = expect_message(bob, "lobby", "ann", "after");
    assert_int_equal(json_number(message, "number"), 2);
    assert_string_equal(json_text(json_client_command(bob, "/topic"), "topic"), "birds");
    (void)json_client_refused(cat, "PERMISSION_DENIED", "/join lobby");
    (void)json_client_refused(cat, "PERMISSION_DENIED", "/join den");
    (void)json_client_command(bob, "/join den");
    const json_t *members = json_object_get(json_client_command(ann, "/members lobby"), "members");
    assert_int_equal(json_array_size(members), 2);
    assert_true(is_true(entry_of(members, "ann"), "owner"));
    struct json_client *second = device(fixture, "second", "ann");
    struct json_client *third = device(fixture, "third", "ann");
    (void)json_client_command(second, "/login ann secret of ann");
    (void)json_client_refused(third, "RESOURCE_EXHAUSTED", "/login ann secret of ann");
}
