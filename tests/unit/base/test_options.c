/* SPDX-License-Identifier: MIT */
#include "base/options.h"
#include "support/test.h"

#include <stdlib.h>
#include <string.h>

enum colour { RED, GREEN };

struct settings {
    uint64_t id;
    const char *role;
    struct address address;
    uint32_t timeout_ms;
    uint16_t port;
    bool forward;
    bool quiet;
    enum colour colour;
    struct option_strings rooms;
    struct option_addresses servers;
};

static enum error parse_colour(const char *text, void *field, struct error_text *why)
{
    (void)why;
    if (strcmp(text, "red") != 0 && strcmp(text, "green") != 0)
        return ERROR_INVALID;
    *(enum colour *)field = strcmp(text, "red") == 0 ? RED : GREEN;
    return OK;
}

static const struct option_spec specs[] = {
    OPTION(UNSIGNED, "Identity", "id", "ID", "1", "this server's number",
           OPTION_FIELD(struct settings, id), .min = 1, .max = 65535, .positional = true),
    OPTION(STRING, "Identity", "role", "master|slave", "master", "what it starts as",
           OPTION_FIELD(struct settings, role), .positional = true),
    OPTION(ADDRESS, "Network", "client_address", "ADDRESS", ":2625", "where clients connect",
           OPTION_FIELD(struct settings, address), .positional = true),
    OPTION(UNSIGNED, "Network", "ack_timeout", "MS", "500",
           "how long an in-sync slave may be silent before the master goes on without it, in "
           "milliseconds",
           OPTION_FIELD(struct settings, timeout_ms), .letter = 't', .min = 10, .max = 60000),
    OPTION(UNSIGNED, "Network", "port", "PORT", NULL, "a port",
           OPTION_FIELD(struct settings, port)),
    OPTION(ADDRESSES, "Network", "servers", "ADDRESS", "127.0.0.1:2625", "servers to ask",
           OPTION_FIELD(struct settings, servers), .letter = 'a', .greedy = true),
    OPTION(STRINGS, "Other", "room", "ROOM", NULL, "rooms to join",
           OPTION_FIELD(struct settings, rooms), .letter = 'r'),
    OPTION(FLAG, "Other", "forward", NULL, NULL, "carry on", OPTION_FIELD(struct settings, forward),
           .letter = 'f'),
    OPTION(FLAG, "Other", "quiet", NULL, NULL, "say less", OPTION_FIELD(struct settings, quiet),
           .letter = 'q', .private_line = true),
    OPTION(CHOICE, "Other", "colour", "red|green", "green", "of the bird",
           OPTION_FIELD(struct settings, colour), .parse = parse_colour),
    {.name = NULL},
};

static const struct option_table table = {.specs = specs,
                                          .prefix = "JACKDAW_TEST_",
                                          .usage = "server [ID [ROLE]] [options]",
                                          .summary = "Tests options.",
                                          .closing = "The end."};

static struct error_text why;

#define PARSE(settings, ...) parse(settings, (char *[]){"server", __VA_ARGS__, NULL})
static enum error parse(struct settings *settings, char **argv)
{
    int count = 0;
    while (argv[count] != NULL)
        count++;
    why.text[0] = '\0';
    memset(settings, 0xA5, sizeof *settings);
    return options_parse(&table, count, argv, settings, &why);
}

#define assert_refused(sentence, ...)                                  \
    do {                                                               \
        struct settings refused;                                       \
        assert_int_equal(PARSE(&refused, __VA_ARGS__), ERROR_INVALID); \
        assert_string_equal(why.text, sentence);                       \
    } while (0)

TEST(test_parse__nothing_given)
{
    struct settings settings;
    assert_int_equal(parse(&settings, (char *[]){"server", NULL}), OK);
    assert_int_equal(settings.id, 1);
    assert_string_equal(settings.role, "master");
    assert_int_equal(settings.address.port, 2625);
    assert_int_equal(settings.timeout_ms, 500);
    assert_int_equal(settings.port, 0);
    assert_false(settings.forward);
    assert_int_equal(settings.colour, GREEN);
    assert_int_equal(settings.rooms.count, 0);
    assert_int_equal(settings.servers.count, 1);
    assert_string_equal(settings.servers.items[0].host, "127.0.0.1");
    options_release(&table, &settings);
}

TEST(test_parse__every_way_of_writing)
{
    struct settings settings;
    assert_int_equal(PARSE(&settings, "--ack-timeout=70", "-fq", "--colour", "red", "-rlobby", "-r",
                           "dev,ops", "--port=65535"),
                     OK);
    assert_int_equal(settings.timeout_ms, 70);
    assert_true(settings.forward);
    assert_true(settings.quiet);
    assert_int_equal(settings.colour, RED);
    assert_int_equal(settings.port, 65535);
    assert_int_equal(settings.rooms.count, 3);
    assert_string_equal(settings.rooms.items[0], "lobby");
    assert_string_equal(settings.rooms.items[2], "ops");
    options_release(&table, &settings);
    assert_int_equal(settings.rooms.count, 0);

    assert_int_equal(PARSE(&settings, "-t", "80", "--ack_timeout=90", "--forward=no"), OK);
    assert_int_equal(settings.timeout_ms, 90);
    assert_false(settings.forward);
    options_release(&table, &settings);
}

TEST(test_parse__positions)
{
    struct settings settings;
    assert_int_equal(PARSE(&settings, "3", "--forward", "slave", "[::1]:9"), OK);
    assert_int_equal(settings.id, 3);
    assert_string_equal(settings.role, "slave");
    assert_string_equal(settings.address.host, "::1");
    assert_true(settings.forward);
    options_release(&table, &settings);

    assert_int_equal(PARSE(&settings, "4", "--", "-odd"), OK);
    assert_string_equal(settings.role, "-odd");
    options_release(&table, &settings);

    assert_refused("\"five\" is one word too many; --help tells what is expected", "1", "master",
                   ":1", "five");
    assert_refused("--id: \"x\" is not a whole number from 1 to 65535", "x");
}

TEST(test_parse__greedy_list)
{
    struct settings settings;
    assert_int_equal(PARSE(&settings, "-a", "a:1", "b:2,c:3", "-f", "7", "-a", "d:4"), OK);
    assert_int_equal(settings.servers.count, 4);
    assert_string_equal(settings.servers.items[2].host, "c");
    assert_string_equal(settings.servers.items[3].host, "d");
    assert_int_equal(settings.id, 7);
    options_release(&table, &settings);
}

TEST(test_parse__environment)
{
    struct settings settings;
    (void)setenv("JACKDAW_TEST_ACK_TIMEOUT", "123", 1);
    (void)setenv("JACKDAW_TEST_SERVERS", "x:1,y:2", 1);
    (void)setenv("JACKDAW_TEST_FORWARD", "yes", 1);
    (void)setenv("JACKDAW_TEST_QUIET", "yes", 1);
    (void)setenv("JACKDAW_TEST_COLOUR", "", 1);
    assert_int_equal(parse(&settings, (char *[]){"server", NULL}), OK);
    assert_int_equal(settings.timeout_ms, 123);
    assert_int_equal(settings.servers.count, 2);
    assert_true(settings.forward);
    assert_false(settings.quiet);             /* command line only */
    assert_int_equal(settings.colour, GREEN); /* empty is not set */
    options_release(&table, &settings);

    assert_int_equal(PARSE(&settings, "-t", "50", "-a", "z:3", "--forward=off"), OK);
    assert_int_equal(settings.timeout_ms, 50);
    assert_int_equal(settings.servers.count, 1); /* a list given replaces the other */
    assert_string_equal(settings.servers.items[0].host, "z");
    assert_false(settings.forward);
    options_release(&table, &settings);

    (void)setenv("JACKDAW_TEST_ACK_TIMEOUT", "1 s", 1);
    assert_refused("JACKDAW_TEST_ACK_TIMEOUT: \"1 s\" is not a whole number from 10 to 60000",
                   "-f");
    (void)unsetenv("JACKDAW_TEST_ACK_TIMEOUT");
    (void)unsetenv("JACKDAW_TEST_SERVERS");
    (void)unsetenv("JACKDAW_TEST_FORWARD");
    (void)unsetenv("JACKDAW_TEST_QUIET");
    (void)unsetenv("JACKDAW_TEST_COLOUR");
}

TEST(test_parse__mistakes)
{
    assert_refused("there is no option --ack; --help lists those there are", "--ack=1");
    assert_refused("there is no option -x; --help lists those there are", "-fx");
    assert_refused("--ack_timeout needs a value: --ack_timeout=MS", "-t");
    assert_refused("--ack_timeout: \"9\" is not a whole number from 10 to 60000", "-t9");
    assert_refused("--ack_timeout: \"60001\" is not a whole number from 10 to 60000", "-t60001");
    assert_refused("--ack_timeout: \"-10\" is not a whole number from 10 to 60000", "-t", "-10");
    assert_refused("--ack_timeout: \"\" is not a whole number from 10 to 60000", "-t", "");
    assert_refused("--port: \"65536\" is not a whole number from 0 to 65535", "--port=65536");
    assert_refused("--port: \"18446744073709551616\" is not a whole number from 0 to 65535",
                   "--port=18446744073709551616");
    assert_refused("--forward: \"maybe\" is neither yes nor no", "--forward=maybe");
    assert_refused("--colour: \"blue\" is not one of red|green", "--colour=blue");
    assert_refused("--room: an item of the list is empty", "-r", "a,,b");
    struct settings settings;
    assert_int_equal(PARSE(&settings, "-a", "a:1", "nonsense"), ERROR_INVALID);
    assert_non_null(strstr(why.text, "--servers: \"nonsense\" is not an address"));
    assert_int_equal(settings.servers.count, 0); /* nothing to release */
}

TEST(test_parse__list_is_bounded)
{
    char text[2 * (OPTION_LIST_MAX + 1)];
    for (size_t i = 0; i < OPTION_LIST_MAX; i++)
        memcpy(&text[2 * i], "a,", 2);
    text[2 * OPTION_LIST_MAX - 1] = '\0';
    struct settings settings;
    assert_int_equal(PARSE(&settings, "-r", text), OK);
    assert_int_equal(settings.rooms.count, OPTION_LIST_MAX);
    options_release(&table, &settings);
    assert_refused("--room: more than 256 items", "-r", text, "-r", "b");
}

TEST(test_print_help__tells_all)
{
    char *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);
    assert_non_null(stream);
    options_print_help(&table, stream);
    (void)fclose(stream);
    assert_non_null(strstr(text, "usage: server [ID [ROLE]] [options]\nTests options.\n"));
    assert_non_null(strstr(text, "\nNetwork:\n"));
    assert_non_null(strstr(text, "  -t, --ack_timeout MS"));
    assert_non_null(strstr(text, "(default: 500)"));
    assert_non_null(strstr(text, "  -a, --servers ADDRESS ..."));
    assert_non_null(strstr(text, "JACKDAW_TEST_"));
    assert_non_null(strstr(text, "The end.\n"));
    for (const char *line = text; line != NULL && *line != '\0';) {
        const char *end = strchr(line, '\n');
        assert_true(end - line <= 80);
        line = end + 1;
    }
    free(text);
}
