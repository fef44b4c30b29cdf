/* SPDX-License-Identifier: MIT */
/* Lines against a server: what they do, in which order, and what the JSON screen prints of it. */
#include "app/app.h"
#include "base/clock.h"
#include "cli/json_values.h"
#include "cli/text_output.h"
#include "cli/ui_list.h"
#include "client_fixture.h"
#include "support/folder.h"
#include "support/test.h"

#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TOLD_MAX 1000

/* What the screen was told: "sent text", "failed text STATUS", "join STATUS", "event text". */
static char *told[TOLD_MAX];
static size_t told_count;
static bool recording = true;

static void tell(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void tell(const char *format, ...)
{
    va_list arguments;
    if (!recording)
        return;
    assert_true(told_count < TOLD_MAX);
    va_start(arguments, format);
    assert_true(vasprintf(&told[told_count++], format, arguments) >= 0);
    va_end(arguments);
}

static void tell_event(struct app *app, const Jackdaw__Event *event)
{
    (void)app;
    tell("event %s", event->text);
}

static void tell_sent(struct app *app, const struct outcome *outcome)
{
    (void)app;
    const char *text = outcome->invocation == NULL ? "" : outcome->invocation->text;
    tell(outcome->status == STATUS_OK ? "sent %s%s" : "failed %s %s", text,
         outcome->status == STATUS_OK ? "" : status_name(outcome->status));
}

static void tell_result(struct app *app, const struct outcome *outcome)
{
    (void)app;
    tell("%s %s", outcome->word, status_name(outcome->status));
}

static void tell_status(struct app *app, const char *server, const char *text)
{
    (void)app, (void)server, (void)text;
}

static void tell_session_ended(struct app *app, enum status status, const char *text)
{
    (void)app, (void)text;
    tell("ended %s", status_name(status));
}

static void tell_retry(struct app *app, const struct client_result *result)
{
    (void)app;
    tell("retry %s %u", status_name(result->status), (unsigned)result->retry_ms);
}

static const struct ui recorder = {.password_words = true,
                                   .event = tell_event,
                                   .sent = tell_sent,
                                   .result = tell_result,
                                   .status = tell_status,
                                   .retry = tell_retry,
                                   .session_ended = tell_session_ended};

struct app_fixture {
    struct client_fixture *fixture;
    struct settings settings;
    struct app app;
    uint64_t line;
    char kept[4096]; /* what the screen of open_text printed */
};

static void start(struct app_fixture *f)
{
    struct error_text why;
    assert_int_equal(app_init(&f->app, &f->settings, &recorder, &why), OK);
}

static void start_again(struct app_fixture *f)
{
    app_release(&f->app);
    start(f);
}

static void forget_told(void)
{
    while (told_count > 0)
        free(told[--told_count]);
}

static struct app_fixture *app_fixture_new(void)
{
    struct app_fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->fixture = client_fixture_new(1);
    f->settings.addresses.items = &f->fixture->servers[0].address;
    f->settings.addresses.count = 1;
    f->settings.timeout_s = 30;
    start(f);
    return f;
}

static void app_fixture_free(struct app_fixture *f)
{
    app_release(&f->app);
    client_fixture_free(f->fixture);
    free(f);
    forget_told();
}

#define APP_TEST(name) TEST_OPEN(name, struct app_fixture, app_fixture_new(), app_fixture_free)

static void turn(struct app_fixture *f)
{
    struct pollfd entries[2] = {
        {.fd = task_queue_descriptor(f->fixture->cluster.queue), .events = POLLIN},
        {.fd = app_descriptor(&f->app), .events = POLLIN},
    };
    int wait_ms = app_timeout_ms(&f->app);
    (void)poll(entries, 2, wait_ms < 0 || wait_ms > 5 ? 5 : wait_ms);
    fake_cluster_turn(&f->fixture->cluster, f->fixture->servers, CLIENT_FIXTURE_SERVERS);
    app_process(&f->app);
}

#define APP_WAIT(f, condition)                              \
    for (uint64_t since_ = 0; !(condition);) {              \
        turn(f);                                            \
        client_fixture_check_patience(&since_, #condition); \
    }

/* Starts lines as the loop for pipes does, and waits until all have ended. */
static void run(struct app_fixture *f, const char *const *lines)
{
    for (; *lines != NULL; lines++) {
        APP_WAIT(f, app_may_start(&f->app, *lines, strlen(*lines), true));
        app_start_line(&f->app, *lines, strlen(*lines), ++f->line);
    }
    APP_WAIT(f, !app_is_busy(&f->app));
}

static void assert_told(const char *const *expected)
{
    size_t at = 0;
    for (size_t i = 0; i < told_count; i++) {
        if (strncmp(told[i], "event ", 6) == 0)
            continue; /* come when they like */
        assert_non_null(expected[at]);
        assert_string_equal(told[i], expected[at]);
        at++;
    }
    assert_null(expected[at]);
}

#define LINES(...) ((const char *const[]){__VA_ARGS__, NULL})

APP_TEST(test_lines__a_whole_session)
{
    run(f,
        LINES("too early", "/join lobby", "/register ann secret", "/join lobby", "hi", "//slash"));
    run(f, LINES("/switch nowhere", "/switch @bob", "to bob", "/msg bob too", "/users"));
    run(f, LINES("/switch LOBBY", "back", "/leave", "nowhere", "/members", "/logout",
                 "/login ann wrong", "/login ann secret", "/typo", "/join", "", "/quit"));
    assert_told(LINES("failed too early FAILED_PRECONDITION", "join UNAUTHENTICATED", "register OK",
                      "join OK", "sent hi", "sent /slash", "switch NOT_FOUND", "switch OK",
                      "sent to bob", "sent too", "users OK", "switch OK", "sent back", "leave OK",
                      "failed nowhere FAILED_PRECONDITION", "members FAILED_PRECONDITION",
                      "logout OK", "login UNAUTHENTICATED", "login OK", "typo INVALID_ARGUMENT",
                      "join INVALID_ARGUMENT", "quit OK"));
    static const char *const rooms[] = {"lobby", "lobby", "@bob", "@bob", "lobby"};
    assert_int_equal(f->fixture->cluster.message_count, 5);
    for (size_t i = 0; i < 5; i++)
        assert_string_equal(f->fixture->cluster.messages[i].room, rooms[i]);
    assert_true(f->app.quitting);
    assert_int_equal(f->app.commands_failed, 8);
}

APP_TEST(test_lines__bad_input)
{
    run(f, LINES("/register ann secret", "/join lobby"));
    app_start_line(&f->app, "a\0b", 3, 3);
    app_start_line(&f->app, "\xFF", 1, 4);
    app_start_line(&f->app, "/topic \xFF", 8, 5);
    app_refuse_line(&f->app, "much too long", 13, 6);
    app_refuse_line(&f->app, "/topic much too long", 20, 7);
    app_refuse_line(&f->app, "/msg bob much too long", 22, 8);
    run(f, LINES("still here"));
    assert_told(LINES("register OK", "join OK", "failed  INVALID_ARGUMENT",
                      "failed  INVALID_ARGUMENT", "topic INVALID_ARGUMENT",
                      "failed  INVALID_ARGUMENT", "topic INVALID_ARGUMENT",
                      "failed  INVALID_ARGUMENT", "sent still here"));
}

/* Whatever may hold a password stays here; the outcome does not repeat it. */
APP_TEST(test_lines__passwords_are_not_published)
{
    run(f, LINES("/register ann secret", "/join lobby"));
    run(f, LINES(" /login ann secret", "\xEF\xBB\xBF/login ann secret", "> /login ann secret",
                 "!login ann secret"));
    /* Nobody can be asked for it here: the next line may be it. */
    run(f, LINES("/join lobby", "/login ann", "", "secret", "hello", "/login ann", "/say secret",
                 "hello", "/say > /login ann secret"));
    assert_told(LINES("register OK", "join OK", "login OK", "login OK", "failed  INVALID_ARGUMENT",
                      "failed  INVALID_ARGUMENT", "join OK", "login INVALID_ARGUMENT",
                      "failed  INVALID_ARGUMENT", "sent hello", "login INVALID_ARGUMENT",
                      "sent secret", "sent hello", "sent > /login ann secret"));
    assert_int_equal(f->fixture->cluster.message_count, 4);
}

static bool may_start(struct app_fixture *f, const char *line, bool patient)
{
    return app_may_start(&f->app, line, strlen(line), patient);
}

APP_TEST(test_may_start__order)
{
    run(f, LINES("/register ann secret", "/join lobby"));
    fake_order(&f->fixture->cluster, "Send", FAKE_LOSE);
    app_start_line(&f->app, "pending", 7, 3);
    turn(f);
    /* A message waits: others follow it, commands do not, but for those that are early. */
    assert_true(may_start(f, "more", true));
    assert_true(may_start(f, "/msg bob more", true));
    assert_true(may_start(f, "/switch lobby", true));
    assert_false(may_start(f, "/topic x", true));
    assert_false(may_start(f, "/quit", true));
    assert_false(may_start(f, "/stats", true));
    assert_true(may_start(f, "/topic x", false)); /* a person may */
    assert_true(may_start(f, "/quit", false));
    app_start_line(&f->app, "/topic x", 8, 4);
    assert_false(may_start(f, "                                        /topic x", true));
    /* A command waits: everything waits, but for what a person asks of the program. */
    assert_false(may_start(f, "more", true));
    assert_false(may_start(f, "/switch lobby", true));
    assert_false(may_start(f, "more", false));
    assert_false(may_start(f, "/join x", false));
    assert_true(may_start(f, "/status", false));
    assert_true(may_start(f, "/quit", false));
    app_give_up(&f->app, "enough");
    assert_told(LINES("register OK", "join OK", "failed pending UNAVAILABLE", "topic UNAVAILABLE"));
    run(f, LINES("hopeless"));
    assert_string_equal(told[told_count - 1], "failed hopeless UNAVAILABLE");
}

static bool has_server(struct app_fixture *f)
{
    struct client_view view;
    client_inspect(f->app.client, &view);
    return view.server != NULL;
}

/* A script that asks how things stand wants to know of the server, if there is one. */
APP_TEST(test_may_start__once_a_server_answers)
{
    assert_false(may_start(f, "/status", true));
    assert_true(may_start(f, "/status", false));
    assert_true(may_start(f, "/stats", true));
    APP_WAIT(f, may_start(f, "/status", true));
    assert_true(has_server(f));
}

APP_TEST(test_may_start__once_no_server_answers)
{
    fake_order(&f->fixture->cluster, NULL, FAKE_LOSE);
    APP_WAIT(f, may_start(f, "/status", true));
    assert_false(has_server(f));
}

APP_TEST(test_may_start__waits_while_the_queue_is_full)
{
    run(f, LINES("/register ann secret", "/join lobby"));
    fake_order(&f->fixture->cluster, "Send", FAKE_LOSE);
    size_t started = 0;
    for (; may_start(f, "message", true); started++)
        app_start_line(&f->app, "message", 7, started);
    assert_int_equal(started, CLIENT_QUEUE_REQUESTS);
    assert_int_equal(f->app.commands_failed, 0);
    recording = false;
    client_give_up(f->app.client, STATUS_UNAVAILABLE, "enough");
    assert_int_equal(f->app.commands_failed, CLIENT_QUEUE_REQUESTS);
    assert_true(may_start(f, "message", true));
    recording = true;
}

APP_TEST(test_rooms__follow_events)
{
    run(f, LINES("/register ann secret", "/join a", "/join b", "/join c", "/switch a"));
    assert_string_equal(f->app.current, "a");
    run(f, LINES("/leave a"));
    assert_string_equal(f->app.current, "c"); /* the one used before */
    run(f, LINES("/leave b", "/leave c"));
    assert_null(f->app.current);
}

/* With a state file alone it ends and leaves the lines to the next run; otherwise lines log in. */
TEST(test_session__ended_under_a_state_file)
{
    for (int has_file = 0; has_file <= 1; has_file++) {
        struct app_fixture *f = app_fixture_new();
        run(f, LINES("/register ann secret"));
        f->settings.state = has_file ? "ann.state" : NULL;
        f->fixture->cluster.sessions[0].ended = true;
        run(f, LINES("/users"));
        APP_WAIT(f, strcmp(told[told_count - 1], "ended UNAUTHENTICATED") == 0 ||
                        strcmp(told[told_count - 2], "ended UNAUTHENTICATED") == 0);
        assert_int_equal(f->app.quitting, has_file);
        assert_int_equal(app_exit_status(&f->app), has_file ? APP_EXIT_LOGIN : APP_EXIT_FAILED);
        f->settings.state = NULL;
        app_fixture_free(f);
    }
}

APP_TEST(test_leave__waits_for_the_echo_and_logs_out)
{
    run(f, LINES("/register ann secret", "/join lobby", "bye"));
    /* The servers run on this thread: app_leave alone would wait for them in vain. */
    APP_WAIT(f, strcmp(told[told_count - 1], "event bye") == 0);
    assert_false(f->fixture->cluster.sessions[0].ended);
    app_leave(&f->app);
    CLIENT_FIXTURE_WAIT(f->fixture, f->fixture->cluster.sessions[0].ended);
}

/* A program that logs in by its options, as ann in a cluster that has so many places, all taken. */
static struct app_fixture *app_fixture_locked_out(size_t locations)
{
    struct app_fixture *f = app_fixture_new();
    run(f, LINES("/register ann secret", "/logout"));
    for (size_t i = 0; i < locations; i++) {
        run(f, LINES("/login ann secret"));
        start_again(f);
    }
    forget_told();
    f->fixture->cluster.locations = locations;
    f->settings.user = "ann";
    static char *rooms[] = {(char *)"lobby"};
    f->settings.rooms.items = rooms;
    f->settings.rooms.count = 1;
    (void)snprintf(f->app.password, sizeof f->app.password, "secret");
    return f;
}

#define LOCKED_OUT_TEST(name, locations) \
    TEST_OPEN(name, struct app_fixture, app_fixture_locked_out(locations), app_fixture_free)

LOCKED_OUT_TEST(test_login__is_tried_again_when_there_may_be_place, 2)
{
    app_start_session(&f->app);
    APP_WAIT(f, told_count == 1);
    assert_string_equal(told[0], "retry RESOURCE_EXHAUSTED 40000");
    assert_in_range(f->app.login_due_us - clock_monotonic_us(), 38000000, 40100000);
    assert_false(may_start(f, "hello", true));
    f->app.login_due_us = 0;
    APP_WAIT(f, told_count == 2);
    assert_string_equal(told[1], "retry RESOURCE_EXHAUSTED 40000");
    f->fixture->cluster.sessions[1].ended = true;
    f->app.login_due_us = 0;
    APP_WAIT(f, !app_is_busy(&f->app));
    run(f, LINES("hello"));
    assert_told(LINES("retry RESOURCE_EXHAUSTED 40000", "retry RESOURCE_EXHAUSTED 40000",
                      "login OK", "join OK", "sent hello"));
    assert_int_equal(app_exit_status(&f->app), APP_EXIT_OK);
}

/* Without more input to come it does not go on for ever. */
LOCKED_OUT_TEST(test_login__is_tried_three_times_after_the_end_of_the_input, 1)
{
    f->app.input_ended = true;
    app_start_session(&f->app);
    for (size_t i = 1; i <= 3; i++) {
        APP_WAIT(f, told_count == i);
        f->app.login_due_us = 0;
    }
    APP_WAIT(f, !app_is_busy(&f->app));
    assert_string_equal(told[3], "login RESOURCE_EXHAUSTED");
    assert_true(f->app.quitting);
    assert_int_equal(app_exit_status(&f->app), APP_EXIT_LOGIN);
}

LOCKED_OUT_TEST(test_login__that_is_refused_ends_a_program, 2)
{
    (void)snprintf(f->app.password, sizeof f->app.password, "wrong");
    app_start_session(&f->app);
    APP_WAIT(f, !app_is_busy(&f->app));
    assert_told(LINES("login UNAUTHENTICATED"));
    assert_true(f->app.quitting);
    assert_int_equal(app_exit_status(&f->app), APP_EXIT_LOGIN);
}

/* Nobody can be asked for it. */
LOCKED_OUT_TEST(test_login__without_a_password_ends_a_program, 2)
{
    f->app.password[0] = '\0';
    app_start_session(&f->app);
    assert_false(app_is_busy(&f->app));
    assert_told(LINES("login INVALID_ARGUMENT"));
    assert_true(f->app.quitting);
    assert_int_equal(app_exit_status(&f->app), APP_EXIT_LOGIN);
}

LOCKED_OUT_TEST(test_login__that_is_stopped_while_it_waits, 2)
{
    app_start_session(&f->app);
    APP_WAIT(f, told_count == 1);
    app_stop_login(&f->app);
    assert_false(app_is_busy(&f->app));
    assert_string_equal(told[1], "login CANCELLED");
    assert_int_equal(app_exit_status(&f->app), APP_EXIT_LOGIN);
}

/* --replace ends the device that was silent for longest, and no second one. */
LOCKED_OUT_TEST(test_login__replaces_a_device_once, 2)
{
    const struct fake_session *sessions = f->fixture->cluster.sessions;
    f->settings.replace = true;
    app_start_session(&f->app);
    APP_WAIT(f, told_count > 0 && !app_is_busy(&f->app));
    assert_told(LINES("login OK", "join OK"));
    size_t count = f->fixture->cluster.session_count;
    assert_true(sessions[count - 2].ended);
    assert_false(sessions[count - 3].ended);
    /* Another one took the place: that one is not put out again. */
    f->fixture->cluster.sessions[count - 1].ended = true;
    f->fixture->cluster.locations = 1;
    APP_WAIT(f, strcmp(told[told_count - 1], "retry RESOURCE_EXHAUSTED 40000") == 0);
    assert_false(sessions[count - 3].ended);
}

LOCKED_OUT_TEST(test_login__replaces_no_second_device_after_a_refusal, 2)
{
    f->fixture->cluster.locations = 1; /* as if another device took the place that becomes free */
    f->settings.replace = true;
    app_start_session(&f->app);
    APP_WAIT(f, told_count == 1);
    f->fixture->cluster.locations = 2;
    f->app.login_due_us = 0;
    APP_WAIT(f, told_count == 2);
    assert_told(LINES("retry RESOURCE_EXHAUSTED 40000", "retry RESOURCE_EXHAUSTED 40000"));
}

LOCKED_OUT_TEST(test_replace__takes_the_place_of_the_device_chosen, 2)
{
    run(f, LINES("/replace 1", "/login ann secret", "/replace 0", "/replace 3", "/replace x",
                 "/replace 1", "/replace 1"));
    assert_told(LINES("replace FAILED_PRECONDITION", "login RESOURCE_EXHAUSTED",
                      "replace INVALID_ARGUMENT", "replace INVALID_ARGUMENT",
                      "replace INVALID_ARGUMENT", "replace OK", "join OK",
                      "replace FAILED_PRECONDITION"));
    size_t count = f->fixture->cluster.session_count;
    assert_true(f->fixture->cluster.sessions[count - 3].ended);
    assert_false(f->fixture->cluster.sessions[count - 2].ended);
}

static void assert_json(json_t *value, const char *expected)
{
    char *text = json_dumps(value, JSON_COMPACT);
    assert_string_equal(text, expected);
    free(text);
    json_decref(value);
}

static Jackdaw__Event event_of(Jackdaw__Event__Kind kind)
{
    Jackdaw__Event event = JACKDAW__EVENT__INIT;
    event.kind = kind;
    event.epoch = 65537;
    event.seq = 40;
    event.time_ms = UINT64_C(1790000000000);
    event.room = (char *)"lobby";
    event.from = (char *)"ann";
    return event;
}

TEST(test_json_event__every_kind)
{
    Jackdaw__Event event = event_of(JACKDAW__EVENT__KIND__MESSAGE);
    event.text = (char *)"hi \"\x1b\xC3\xA4";
    event.session = 0xAB;
    event.request = 7;
    event.number = 12;
    assert_json(json_event(&event),
                "{\"type\":\"message\",\"room\":\"lobby\",\"from\":\"ann\","
                "\"text\":\"hi \\\"\\u001B\xC3\xA4\",\"uid\":\"00000000000000ab:7\",\"number\":12,"
                "\"epoch\":65537,\"seq\":40,\"time_ms\":1790000000000}");
    event = event_of(JACKDAW__EVENT__KIND__LEFT);
    event.subject = (char *)"bob";
    event.text = (char *)"kicked";
    assert_json(json_event(&event),
                "{\"type\":\"left\",\"room\":\"lobby\",\"from\":\"ann\",\"subject\":\"bob\","
                "\"reason\":\"kicked\",\"epoch\":65537,\"seq\":40,\"time_ms\":1790000000000}");
    event = event_of(JACKDAW__EVENT__KIND__PRESENCE);
    event.room = (char *)"";
    event.seq = event.epoch = 0;
    event.active = true;
    assert_json(json_event(&event), "{\"type\":\"presence\",\"from\":\"ann\",\"active\":true,"
                                    "\"time_ms\":1790000000000}");
    event = event_of(JACKDAW__EVENT__KIND__NOTICE);
    event.room = event.from = (char *)"";
    event.text = (char *)"\xFF";
    event.seq = 0;
    assert_json(json_event(&event), "{\"type\":\"notice\",\"text\":\"\xEF\xBF\xBD\","
                                    "\"time_ms\":1790000000000}");
    static const struct {
        Jackdaw__Event__Kind kind;
        const char *type;
    } types[] = {
        {JACKDAW__EVENT__KIND__JOINED, "joined"},   {JACKDAW__EVENT__KIND__REMOVED, "left"},
        {JACKDAW__EVENT__KIND__TOPIC, "topic"},     {JACKDAW__EVENT__KIND__INVITED, "invited"},
        {JACKDAW__EVENT__KIND__TYPING, "typing"},   {JACKDAW__EVENT__KIND__OWNER, "owner"},
        {JACKDAW__EVENT__KIND__UNKNOWN, "unknown"}, {(Jackdaw__Event__Kind)99, "unknown"},
    };
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        event = event_of(types[i].kind);
        json_t *object = json_event(&event);
        assert_string_equal(json_string_value(json_object_get(object, "type")), types[i].type);
        json_decref(object);
    }
}

static void keep(void *context, const char *text)
{
    struct app_fixture *f = context;
    assert_true(strlen(f->kept) + strlen(text) < sizeof f->kept);
    strcat(f->kept, text);
}

/* Opens the screen for lines of text, whose lines f->kept collects. */
static void open_text(struct app_fixture *f)
{
    f->kept[0] = '\0';
    f->app.ui = &text_ui;
    assert_true(text_ui.open(&f->app));
    f->app.lines->put = keep;
    f->app.lines->put_context = f;
}

static void close_text(struct app_fixture *f)
{
    text_ui.close(&f->app);
    f->app.ui = &recorder;
}

APP_TEST(test_lines__peers_cannot_drive_the_terminal)
{
    open_text(f);
    const char *evil = "\x1b]0;owned\x07\r\x9b"
                       "2J\nlobby> fake\x7f";
    for (int kind = JACKDAW__EVENT__KIND__UNKNOWN; kind <= JACKDAW__EVENT__KIND__REMOVED; kind++) {
        Jackdaw__Event event = event_of((Jackdaw__Event__Kind)kind);
        event.room = event.from = event.subject = event.text = (char *)evil;
        text_ui.event(&f->app, &event);
    }
    const struct outcome outcome = {.word = evil, .status = STATUS_NOT_FOUND, .error = evil};
    text_ui.sent(&f->app, &outcome);
    text_ui.session_ended(&f->app, STATUS_UNAUTHENTICATED, evil);
    text_ui.status(&f->app, NULL, evil); /* a server's sentence may be in it */
    const struct command command = {.name = "switch", .run = command_run_switch};
    const struct outcome outcome_of_switch = {
        .command = &command, .word = "switch", .status = STATUS_OK, .error = ""};
    f->app.current = (char *)evil;
    text_ui.result(&f->app, &outcome_of_switch);
    text_output_status(&f->app, NULL);
    f->app.current = NULL;
    assert_true(strlen(f->kept) > 200);
    for (const char *at = f->kept; *at != '\0'; at++) {
        assert_true((unsigned char)*at >= 0x20 || *at == '\n');
        assert_true(*at != 0x7f);
    }
    /* A line break in a message does not look like the beginning of a line. */
    assert_null(strstr(f->kept, "\nlobby> fake"));
    assert_non_null(strstr(f->kept, "\n      lobby> fake"));
    close_text(f);
}

/* What could not be printed is printed by the next run. */
TEST(test_state__output_that_fails)
{
    struct app_fixture *f = app_fixture_new();
    char *folder = folder_new();
    char path[512];
    FILE *real = stdout;
    (void)snprintf(path, sizeof path, "%s/state", folder);
    f->settings.state = path;
    start_again(f);
    run(f, LINES("/register ann secret", "/join lobby"));
    size_t before = told_count;
    stdout = fopen("/dev/full", "w");
    assert_non_null(stdout);
    (void)fputc('x', stdout);
    assert_int_not_equal(fflush(stdout), 0);
    fake_say(&f->fixture->cluster, "lobby", "bob", "new");
    APP_WAIT(f, told_count > before);
    app_start_line(&f->app, "mine", 4, ++f->line);
    turn(f);
    (void)fclose(stdout);
    stdout = real;
    before = told_count;
    start_again(f);
    assert_int_equal(f->app.first_line, 2); /* "mine" is to be given again */
    app_start_session(&f->app);
    APP_WAIT(f, told_count == before + 2);
    bool resumed = strcmp(told[before], "resume OK") == 0;
    assert_string_equal(told[before + resumed], "event new");
    assert_string_equal(told[before + !resumed], "resume OK");
    assert_int_equal(f->fixture->cluster.sends_seen, 0);
    app_fixture_free(f);
    folder_remove(folder);
}

/* Prints the status into f->kept. */
static void print_status(struct app_fixture *f)
{
    open_text(f);
    run(f, LINES("/status"));
    close_text(f);
}

static bool is_connected(const struct app_fixture *f)
{
    struct client_view view;
    client_inspect(f->app.client, &view);
    return view.server != NULL;
}

static void list_servers(struct app_fixture *f)
{
    struct fake_cluster *cluster = &f->fixture->cluster;
    address_format(&f->fixture->servers[0].address, cluster->servers[0]);
    (void)strcpy(cluster->servers[1], "10.0.0.2:2625");
    (void)strcpy(cluster->servers[2], "10.0.0.3:2625");
    (void)strcpy(cluster->servers[3], "10.0.0.4:2625");
    cluster->server_count = 4; /* the last one has left */
}

APP_TEST(test_status__in_lines)
{
    list_servers(f);
    run(f, LINES("/register ann secret"));
    print_status(f);
    assert_non_null(strstr(f->kept, "server 1 is the master of epoch 1"));
    assert_non_null(strstr(f->kept, "; 2 of 3 servers in sync, durability all\n"));
    assert_non_null(strstr(f->kept, " in sync  10.0.0.2:2625 "));
    assert_non_null(strstr(f->kept, "1:1042    0  its clock differs: -31536000 s\n"));
    assert_non_null(strstr(f->kept, " left     10.0.0.4:2625 "));
    assert_non_null(strstr(f->kept, "1:1042   42  not reachable from server 1\n"));
    assert_non_null(strstr(f->kept, "server 1: fake 1.0, up 0 s, 0 clients, committed 1:1042 of "));
    assert_non_null(strstr(f->kept, " answered in "));
    assert_non_null(strstr(f->kept, "pending   0 not sent"));
    assert_null(strstr(f->kept, "known")); /* all of them are members */
    fake_server_kill(&f->fixture->servers[0]);
    APP_WAIT(f, !is_connected(f));
    print_status(f);
    assert_non_null(strstr(f->kept, "server    none answers"));
    assert_non_null(strstr(f->kept, "known     10.0.0.3:2625"));
    assert_int_equal(f->app.commands_failed, 0);
}

static json_t *last_status;

static void keep_status(struct app *app, const struct outcome *outcome)
{
    json_decref(last_status);
    last_status = json_object();
    if (outcome->command->run == command_run_status)
        json_put_result(last_status, app, outcome);
}

APP_TEST(test_status__in_json)
{
    static const struct ui keeper = {.password_words = true,
                                     .event = tell_event,
                                     .sent = tell_sent,
                                     .result = keep_status,
                                     .status = tell_status,
                                     .session_ended = tell_session_ended};
    list_servers(f);
    f->app.ui = &keeper;
    run(f, LINES("/register ann secret", "/status"));
    const json_t *cluster = json_object_get(last_status, "cluster");
    const json_t *third = json_array_get(json_object_get(cluster, "members"), 2);
    assert_string_equal(json_string_value(json_object_get(cluster, "role")), "master");
    assert_string_equal(json_string_value(json_object_get(cluster, "durability")), "all");
    assert_int_equal(json_integer_value(json_object_get(cluster, "master")), 1);
    assert_string_equal(json_string_value(json_object_get(third, "state")), "behind");
    assert_int_equal(json_integer_value(json_object_get(third, "lag")), 42);
    assert_true(json_is_null(json_object_get(third, "clock_ms")));
    const json_t *second = json_array_get(json_object_get(cluster, "members"), 1);
    assert_int_equal(json_integer_value(json_object_get(second, "clock_ms")), -31536000000);
    const json_t *fourth = json_array_get(json_object_get(cluster, "members"), 3);
    assert_string_equal(json_string_value(json_object_get(fourth, "state")), "left");
    assert_true(json_is_null(json_object_get(fourth, "lag")));
    assert_int_equal(json_integer_value(json_object_get(cluster, "id")), 1);
    assert_string_equal(json_string_value(json_object_get(cluster, "server")), "fake 1.0");
    assert_int_equal(json_integer_value(json_object_get(cluster, "servers")), 3);
    assert_int_equal(json_integer_value(json_object_get(cluster, "in_sync")), 2);
    assert_true(json_is_true(json_object_get(last_status, "master")));
    assert_true(json_is_true(json_object_get(last_status, "connected")));
    json_decref(last_status);
    last_status = NULL;
    f->app.ui = &recorder;
}

#define HISTORY_SIZE 4

/* A screen, and a lobby of four messages: <1> to <4>. */
struct lobby {
    struct app_fixture *app_fixture;
    char texts[HISTORY_SIZE][8];
    Jackdaw__Event events[HISTORY_SIZE];
};

static void open_lobby(struct lobby *lobby)
{
    lobby->app_fixture = app_fixture_new();
    open_text(lobby->app_fixture);
    for (size_t i = 0; i < HISTORY_SIZE; i++) {
        (void)snprintf(lobby->texts[i], sizeof lobby->texts[i], "<%zu>", i + 1);
        lobby->events[i] = event_of(JACKDAW__EVENT__KIND__MESSAGE);
        lobby->events[i].number = i + 1;
        lobby->events[i].text = lobby->texts[i];
    }
}

static void close_lobby(struct lobby *lobby)
{
    close_text(lobby->app_fixture);
    app_fixture_free(lobby->app_fixture);
}

#define LOBBY_TEST(name) TEST_ON(name, struct lobby, open_lobby, close_lobby)

/* Whoever joined is told of the first count messages; the messages that are shown, in their order. */
static const char *shown_at_join(struct lobby *lobby, size_t count)
{
    static char shown[64];
    Jackdaw__Event *history[HISTORY_SIZE];
    for (size_t i = 0; i < count; i++)
        history[i] = &lobby->events[i];
    Jackdaw__JoinRoomReply reply = JACKDAW__JOIN_ROOM_REPLY__INIT;
    reply.room = (char *)"lobby";
    reply.history = history;
    reply.n_history = count;
    reply.last_number = HISTORY_SIZE;
    const struct client_result result = {.call = CLIENT_JOIN, .reply.join = &reply};
    const struct outcome outcome = {.command = command_named("join", 4), .result = &result};
    lobby->app_fixture->kept[0] = '\0';
    text_output_result(&lobby->app_fixture->app, &outcome);
    size_t used = 0;
    for (const char *at = lobby->app_fixture->kept; (at = strchr(at, '<')) != NULL; at++)
        shown[used++] = at[1];
    shown[used] = '\0';
    return shown;
}

static void live(struct lobby *lobby, size_t number)
{
    text_ui.event(&lobby->app_fixture->app, &lobby->events[number - 1]);
}

/* After a login: what is undelivered comes by itself, and is not shown as history before that. */
LOBBY_TEST(test_lines__nothing_is_shown_twice)
{
    text_output_room(&f->app_fixture->app, "lobby")->undelivered = 2;
    assert_string_equal(shown_at_join(f, 4), "12");
    live(f, 3);
    live(f, 4);
    assert_string_equal(shown_at_join(f, 4), "");
}

/* The history is read beside what is sent meanwhile, so that may come first. */
LOBBY_TEST(test_lines__others_were_faster_than_the_history)
{
    live(f, 3);
    assert_string_equal(shown_at_join(f, 2), "12");
    live(f, 4);
    assert_string_equal(shown_at_join(f, 4), "");
}

LOBBY_TEST(test_lines__what_was_missed_is_shown)
{
    live(f, 1);
    assert_string_equal(shown_at_join(f, 3), "23");
    live(f, 4);
    assert_string_equal(shown_at_join(f, 4), "");
}

LOBBY_TEST(test_lines__what_was_missed_between_others_is_shown)
{
    live(f, 1);
    live(f, 4);
    assert_string_equal(shown_at_join(f, 3), "123");
    assert_string_equal(shown_at_join(f, 4), "");
}
