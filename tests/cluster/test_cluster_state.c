/* SPDX-License-Identifier: MIT */
/* A bot with a state file that is killed again and again, at any moment, as is its server: every line
 * that it was given is sent exactly once, in order, and it is told everything. */
#include "harness/cluster_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS 40
#define ROUNDS_MAX 16
#define AHEAD_LINES 400 /* given and not taken, or not acknowledged */
#define OTHER_AHEAD 50
#define SERVER_EVERY 5 /* the server is killed in one round of so many */
#define QUIET_MS 60000

/* What is known of the bot over all its lives. */
struct bot {
    struct process_group *group;
    struct process *process;
    char state_path[PROCESS_GROUP_PATH_SIZE], password_path[PROCESS_GROUP_PATH_SIZE];
    char server[ADDRESS_TEXT_SIZE];
    unsigned lives;
    unsigned ends;    /* lives that ended before the test killed them */
    bool is_in;       /* the room: from here on it sees what others say */
    bool is_told;     /* this life has said where it goes on */
    uint64_t given;   /* lines, over all lives: line i is "line i" */
    uint64_t lines;   /* the last given line, if no more are wanted; 0: go on */
    uint64_t printed; /* objects in this life */
    json_t *seen;     /* uids and positions of what was told, and of what was acknowledged */
    size_t sent, messages, again;
    char session[32];
    struct checker *checker;
    struct checker_client *judged;
};

static struct bot the_bot;
static unsigned other_typed;

static const char *text_of(const json_t *object, const char *member)
{
    return json_string_value(json_object_get(object, member));
}

/* The first time that it is seen. */
static bool is_new(struct bot *bot, const char *kind, const char *uid)
{
    char key[128];
    (void)snprintf(key, sizeof key, "%s %s", kind, uid);
    if (json_object_get(bot->seen, key) != NULL) {
        bot->again++;
        return false;
    }
    (void)json_object_set_new(bot->seen, key, json_true());
    return true;
}

static void observe(struct bot *bot, const json_t *object, enum observation_kind kind,
                    uint64_t time_us)
{
    const struct observation observation = json_observation(object, kind, time_us);
    checker_observe(bot->judged, &observation);
}

/* Lines that were taken before are not given again: the number of those that were is told first. */
static void note_state(struct bot *bot, const json_t *object)
{
    bot->is_told = true;
    uint64_t taken = json_number(object, "lines");
    if (taken > bot->given)
        process_group_fail(bot->group, "%u lines were taken, and %u given", (unsigned)taken,
                           (unsigned)bot->given);
    bot->given = taken;
}

static void note_result(struct bot *bot, const json_t *object)
{
    if (strcmp(text_of(object, "status"), "OK") != 0)
        process_group_fail(bot->group, "%s got %s", text_of(object, "command"),
                           text_of(object, "status"));
    bot->is_in = bot->is_in || strcmp(text_of(object, "command"), "join") == 0;
    const char *session = text_of(object, "session");
    if (session == NULL)
        return;
    if (bot->session[0] == '\0')
        (void)snprintf(bot->session, sizeof bot->session, "%s", session);
    if (strcmp(session, bot->session) != 0)
        process_group_fail(bot->group, "another session than before");
}

static void take_line(void *context, const char *line, uint64_t time_us)
{
    struct bot *bot = context;
    json_t *object = json_loads(line, 0, NULL);
    if (object == NULL)
        process_group_fail(bot->group, "not JSON: %.200s", line);
    const char *type = text_of(object, "type");
    bot->printed++;
    if (strcmp(type, "state") == 0) {
        note_state(bot, object);
    } else if (strcmp(type, "result") == 0) {
        note_result(bot, object);
    } else if (strcmp(type, "sent") == 0) {
        if (is_new(bot, type, text_of(object, "uid"))) {
            observe(bot, object, OBSERVED_SENT, time_us);
            bot->sent++;
        }
    } else if (strcmp(type, "message") == 0) {
        if (is_new(bot, type, text_of(object, "uid"))) {
            observe(bot, object, OBSERVED_MESSAGE, time_us);
            bot->messages++;
        }
    } else if (strcmp(type, "failed") == 0) {
        process_group_fail(bot->group, "failed: %.300s", line);
    }
    json_decref(object);
}

static void start_bot(struct bot *bot)
{
    char label[32];
    const char *const arguments[] = {"--json", "-a",         bot->server,       "-u",
                                     "bot",    "--register", "--password_file", bot->password_path,
                                     "-r",     "lobby",      "--state",         bot->state_path,
                                     NULL};
    (void)snprintf(label, sizeof label, "bot%u", bot->lives++);
    bot->is_told = false;
    bot->printed = 0;
    bot->process = process_start(bot->group, &(struct process_options){.name = label,
                                                                       .program = TEST_CLIENT,
                                                                       .arguments = arguments,
                                                                       .on_line = take_line,
                                                                       .context = bot});
}

/* Gives it lines from the first on that was not taken. True: it stands in conditions. */
static bool feed_bot(struct bot *bot)
{
    if (!bot->is_told || process_ended(bot->process))
        return true;
    while (bot->given < bot->sent + AHEAD_LINES && (bot->lines == 0 || bot->given < bot->lines)) {
        char line[32];
        int size = snprintf(line, sizeof line, "line %u\n", (unsigned)++bot->given);
        process_write(bot->process, line, (size_t)size);
    }
    return true;
}

static bool feed(struct cluster_fixture *fixture)
{
    if (the_bot.is_in && the_bot.lines == 0)
        while (other_typed < json_client_sent(fixture->bob) + OTHER_AHEAD)
            json_client_say(fixture->bob, "other %u", other_typed++);
    return feed_bot(&the_bot);
}

static void kill_bot(struct bot *bot)
{
    bot->ends += process_ended(bot->process);
    process_kill(bot->process);
    process_group_turn(bot->group, process_group_now_ms()); /* what it had printed */
}

static void free_bot(void *object)
{
    struct bot *bot = object;
    checker_free(bot->checker);
    json_decref(bot->seen);
}

static void begin(struct cluster_fixture *fixture)
{
    struct bot *bot = &the_bot;
    bot->group = fixture->group;
    process_group_defer(fixture->group, free_bot, bot);
    node_start(&fixture->node);
    fixture->ann = cluster_fixture_visit(fixture, "reader");
    fixture->bob = cluster_fixture_visit(fixture, "other");
    (void)snprintf(bot->state_path, sizeof bot->state_path, "%s",
                   process_group_path(fixture->group, "bot.state"));
    (void)snprintf(bot->password_path, sizeof bot->password_path, "%s",
                   process_group_path(fixture->group, "bot.password"));
    (void)snprintf(bot->server, sizeof bot->server, "%s", fixture->node.clients);
    FILE *file = fopen(bot->password_path, "w");
    assert_non_null(file);
    (void)fputs("secret\n", file);
    assert_int_equal(fclose(file), 0);
    bot->seen = json_object();
    bot->checker = checker_new();
    bot->judged = checker_add(bot->checker, "bot", "bot");
}

/* The same in every run. */
static unsigned draw(unsigned *random, unsigned below)
{
    *random = *random * 1664525u + 1013904223u;
    return (*random >> 8) % below;
}

/* How often the rounds are gone through: more for a campaign. */
static unsigned rounds(void)
{
    const char *text = getenv("JACKDAW_TEST_ROUNDS");
    unsigned long count = text == NULL ? 1 : strtoul(text, NULL, 10);
    return ROUNDS * (count < 1 ? 1 : count > ROUNDS_MAX / 2 ? ROUNDS_MAX / 2 : (unsigned)count);
}

static void judge(struct cluster_fixture *fixture)
{
    struct bot *bot = &the_bot;
    for (uint64_t i = 1; i <= bot->lines; i++) {
        char text[32];
        (void)snprintf(text, sizeof text, "line %u", (unsigned)i);
        checker_observe(bot->judged, &(struct observation){.kind = OBSERVED_ASKED, .text = text});
    }
    checker_was_in(json_client_report(fixture->ann, bot->checker), "lobby", 1, UINT64_MAX);
    checker_was_in(json_client_report(fixture->bob, bot->checker), "lobby", 1, UINT64_MAX);
    checker_was_in(bot->judged, "lobby", 1, UINT64_MAX);
    /* When a line was given for the first time is not known: no CHECK_TIME. */
    checker_verify(bot->checker, CHECK_ALL & ~(unsigned)CHECK_TIME);
    assert_int_equal(checker_acknowledged(bot->checker), bot->lines + other_typed);
}

CLUSTER_TEST_ON(test_state__a_bot_killed_at_any_moment, begin, NULL)
{
    struct bot *bot = &the_bot;
    unsigned random = 1;
    for (unsigned round = 0; round < rounds(); round++) {
        start_bot(bot);
        /* From before it has said anything to deep in the work. */
        unsigned objects =
            draw(&random, 4) == 0 || round < 6 ? draw(&random, 6) : draw(&random, 700);
        PROCESS_GROUP_WAIT(fixture->group, feed(fixture) && bot->printed >= objects);
        if (round % SERVER_EVERY == SERVER_EVERY - 1)
            node_kill(&fixture->node);
        kill_bot(bot);
        if (round % SERVER_EVERY == SERVER_EVERY - 1)
            node_start(&fixture->node);
    }
    assert_int_equal(bot->ends, 0);
    start_bot(bot);
    PROCESS_GROUP_WAIT(fixture->group, feed(fixture) && bot->is_told && bot->given > 0);
    bot->lines = bot->given;
    size_t all = (size_t)bot->lines + other_typed;
    PROCESS_GROUP_SETTLE(fixture->group, QUIET_MS,
                         feed(fixture) && bot->sent == bot->lines && bot->messages == all &&
                             json_client_messages(fixture->ann) == all &&
                             json_client_messages(fixture->bob) == all);
    process_end_input(bot->process);
    assert_int_equal(process_wait(bot->process, PROCESS_GROUP_PATIENCE_MS), 0);
    judge(fixture);
    assert_true(bot->lines > 1000);
    print_message("%u lines in %u lives; told again %zu times\n", (unsigned)bot->lines, bot->lives,
                  bot->again);
}
