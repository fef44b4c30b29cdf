/* SPDX-License-Identifier: MIT */
#include "server/options.h"
#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WORDS_MAX 16

/* Parses "server" and the words; why has the sentence. */
static enum error parse(const char *const *words, struct server_options *out,
                        struct error_text *why)
{
    char *argv[WORDS_MAX + 2] = {(char *)"server"};
    int argc = 1;
    for (; *words != NULL; words++) {
        assert_true(argc <= WORDS_MAX);
        argv[argc++] = (char *)*words;
    }
    why->text[0] = '\0';
    return server_options_parse(argc, argv, out, why);
}

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

static struct server_options options; /* what expect_ok has parsed last */

static void expect_ok(const char *const *words)
{
    struct server_options parsed;
    struct error_text why;
    if (parse(words, &parsed, &why) != OK)
        fail_msg("%s", why.text);
    server_options_release(&options);
    options = parsed;
}

/* A mistake is a sentence that names what is wrong. */
static void expect_mistake(const char *const *words, const char *hint)
{
    struct server_options refused;
    struct error_text why;
    assert_int_equal(parse(words, &refused, &why), ERROR_INVALID);
    if (strstr(why.text, hint) == NULL || strchr(why.text, ' ') == NULL)
        fail_msg("\"%s\" does not tell of \"%s\"", why.text, hint);
}

struct number {
    const char *name;
    const char *variable;
    uint64_t fallback;
    uint64_t min;
    uint64_t max;
    size_t offset;
    size_t size;
};

#define NUMBER(option, capitals, field, fallback_, min_, max_)                                   \
    {                                                                                            \
        .name = option, .variable = "JACKDAW_" capitals, .fallback = (fallback_), .min = (min_), \
        .max = (max_), .offset = offsetof(struct server_options, field),                         \
        .size = sizeof(((struct server_options *)0)->field)                                      \
    }

static const struct number numbers[] = {
    NUMBER("id", "ID", cluster.id, 1, 1, 65535),
    NUMBER("log_keep", "LOG_KEEP", cluster.log_keep, 200000, 1000, 1000000000),
    NUMBER("log_keep_bytes", "LOG_KEEP_BYTES", cluster.log_keep_bytes, 4294967296, 1048576,
           1099511627776),
    NUMBER("log_segment_bytes", "LOG_SEGMENT_BYTES", log_segment_bytes, 4194304, 65536, 1073741824),
    NUMBER("replay_bytes", "REPLAY_BYTES", replay_bytes, 16777216, 65536, 1099511627776),
    NUMBER("max_sessions", "MAX_SESSIONS", limits.sessions_per_account, 2, 1, 64),
    NUMBER("max_message_bytes", "MAX_MESSAGE_BYTES", limits.message_bytes, 16384, 1, 131072),
    NUMBER("history", "HISTORY", limits.history_on_join, 10, 0, CHAT_PAGE_EVENTS),
    NUMBER("max_user_rooms", "MAX_USER_ROOMS", limits.rooms_per_account, 256, 1, 4096),
    NUMBER("max_room_members", "MAX_ROOM_MEMBERS", limits.members_per_room, 1024, 2, 65536),
    NUMBER("rate_limit", "RATE_LIMIT", limits.requests_per_second, 1000, 0, 10000000),
    NUMBER("max_clients", "MAX_CLIENTS", clients_max, 10000, 1, 1000000),
    NUMBER("session_timeout", "SESSION_TIMEOUT", limits.session_silence_ms, 60000, 100, 86400000),
    NUMBER("idle_timeout", "IDLE_TIMEOUT", idle_timeout_ms, 90000, 1000, 86400000),
};

#define NUMBERS (sizeof numbers / sizeof *numbers)

static uint64_t value_of(const struct number *number)
{
    const char *field = (const char *)&options + number->offset;
    if (number->size == sizeof(uint64_t))
        return *(const uint64_t *)(const void *)field;
    return *(const uint32_t *)(const void *)field;
}

static void expect_number(const struct number *number, uint64_t value)
{
    char word[100];
    (void)snprintf(word, sizeof word, "--%s=%llu", number->name, (unsigned long long)value);
    expect_ok(WORDS(word));
    assert_int_equal(value_of(number), value);
}

static void refuse_number(const struct number *number, const char *value)
{
    char word[100];
    char hint[100];
    (void)snprintf(word, sizeof word, "--%s=%s", number->name, value);
    (void)snprintf(hint, sizeof hint, "--%s", number->name);
    expect_mistake(WORDS(word), hint);
}

TEST(test_options__numbers_from_both_sides)
{
    char text[32];
    for (size_t i = 0; i < NUMBERS; i++) {
        expect_ok(WORDS("--log_level=info"));
        assert_int_equal(value_of(&numbers[i]), numbers[i].fallback);
        expect_number(&numbers[i], numbers[i].min);
        expect_number(&numbers[i], numbers[i].max);
        (void)snprintf(text, sizeof text, "%llu", (unsigned long long)numbers[i].max + 1);
        refuse_number(&numbers[i], text);
        if (numbers[i].min > 0) {
            (void)snprintf(text, sizeof text, "%llu", (unsigned long long)numbers[i].min - 1);
            refuse_number(&numbers[i], text);
        }
        refuse_number(&numbers[i], "-1");
        refuse_number(&numbers[i], "");
        refuse_number(&numbers[i], "1e3");
        refuse_number(&numbers[i], "ten");
        refuse_number(&numbers[i], "18446744073709551617");
    }
}

TEST(test_options__numbers_from_the_environment)
{
    char text[32];
    for (size_t i = 0; i < NUMBERS; i++) {
        (void)snprintf(text, sizeof text, "%llu", (unsigned long long)numbers[i].max);
        assert_int_equal(setenv(numbers[i].variable, text, 1), 0);
        expect_ok(WORDS("--log_level=info"));
        assert_int_equal(value_of(&numbers[i]), numbers[i].max);
        expect_number(&numbers[i], numbers[i].min); /* the command line wins */
        assert_int_equal(setenv(numbers[i].variable, "many", 1), 0);
        expect_mistake(WORDS("--log_level=info"), numbers[i].variable);
        assert_int_equal(setenv(numbers[i].variable, "", 1), 0); /* as if not set */
        expect_ok(WORDS("--log_level=info"));
        assert_int_equal(value_of(&numbers[i]), numbers[i].fallback);
        assert_int_equal(unsetenv(numbers[i].variable), 0);
    }
}

TEST(test_options__defaults)
{
    expect_ok(WORDS(NULL));
    assert_int_equal(options.cluster.is_first, true);
    assert_string_equal(options.client_address.host, "");
    assert_int_equal(options.client_address.port, 2625);
    assert_int_equal(options.cluster.internal_address.port, 2626);
    assert_string_equal(options.data_dir, "data");
    assert_null(options.cluster.advertise_host);
    assert_null(options.tls_cert);
    assert_int_equal(options.password_cost, PASSWORD_COST_INTERACTIVE);
    assert_int_equal(options.log_level, LOG_INFO);
    assert_int_equal(options.log_format, LOG_TEXT);
    assert_null(options.log_file);
    assert_false(options.help);
    assert_false(options.version);
}

TEST(test_options__all_shorter_forms)
{
    static const char *const forms[] = {"7", "slave", "host:1", ":2"};
    const char *words[5] = {NULL};
    for (size_t count = 0; count <= 4; count++) {
        for (size_t i = 0; i < count; i++)
            words[i] = forms[i];
        words[count] = NULL;
        expect_ok(words);
        assert_int_equal(options.cluster.id, count > 0 ? 7 : 1);
        assert_int_equal(options.cluster.is_first, count <= 1);
        assert_int_equal(options.client_address.port, count > 2 ? 1 : 2625);
        assert_int_equal(options.cluster.internal_address.port, count > 3 ? 2 : 2626);
    }
    expect_mistake(WORDS("1", "master", ":1", ":2", "more"), "more");
    expect_mistake(WORDS("0"), "0");
    expect_mistake(WORDS("one"), "one");
    expect_mistake(WORDS("1", "king"), "king");
    expect_mistake(WORDS("1", "master", "nowhere"), "nowhere");
    expect_mistake(WORDS("1", "master", ":1", ":65536"), "65536");
}

TEST(test_options__words_of_each_kind)
{
    expect_ok(WORDS("--data-dir", "/var/lib/x", "--advertise_host=chat.example",
                    "--password_cost=minimal", "--log_level=debug", "--log_format=json",
                    "--log_file=a.log", "--client_address=tls+tcp://[::1]:5", "--tls_cert=c.pem",
                    "--tls_key=k.pem"));
    assert_string_equal(options.data_dir, "/var/lib/x");
    assert_string_equal(options.cluster.advertise_host, "chat.example");
    assert_int_equal(options.password_cost, PASSWORD_COST_MINIMAL);
    assert_int_equal(options.log_level, LOG_DEBUG);
    assert_int_equal(options.log_format, LOG_JSON);
    assert_string_equal(options.log_file, "a.log");
    assert_true(options.client_address.tls);
    assert_string_equal(options.client_address.host, "::1");
    assert_string_equal(options.tls_cert, "c.pem");
    assert_string_equal(options.tls_key, "k.pem");
}

struct variable {
    const char *name;
    const char *value;
};

/* Parses no words, with these variables in the environment. */
static void expect_ok_in(const struct variable *variables, size_t count)
{
    for (size_t i = 0; i < count; i++)
        assert_int_equal(setenv(variables[i].name, variables[i].value, 1), 0);
    expect_ok(WORDS(NULL));
    for (size_t i = 0; i < count; i++)
        assert_int_equal(unsetenv(variables[i].name), 0);
}

TEST(test_options__words_from_the_environment)
{
    static const struct variable variables[] = {
        {"JACKDAW_DATA_DIR", "elsewhere"},    {"JACKDAW_ADVERTISE_HOST", "10.0.0.1"},
        {"JACKDAW_PASSWORD_COST", "minimal"}, {"JACKDAW_LOG_LEVEL", "silent"},
        {"JACKDAW_LOG_FORMAT", "json"},       {"JACKDAW_ROLE", "slave"},
        {"JACKDAW_LOG_FILE", "b.log"},        {"JACKDAW_CLIENT_ADDRESS", "a:3"},
        {"JACKDAW_INTERNAL_ADDRESS", "b:4"},
    };
    expect_ok_in(variables, sizeof variables / sizeof *variables);
    assert_string_equal(options.data_dir, "elsewhere");
    assert_string_equal(options.cluster.advertise_host, "10.0.0.1");
    assert_int_equal(options.password_cost, PASSWORD_COST_MINIMAL);
    assert_int_equal(options.log_level, LOG_SILENT);
    assert_int_equal(options.log_format, LOG_JSON);
    assert_int_equal(options.cluster.is_first, false);
    assert_string_equal(options.log_file, "b.log");
    assert_string_equal(options.client_address.host, "a");
    assert_int_equal(options.cluster.internal_address.port, 4);
}

TEST(test_options__mistakes_are_sentences)
{
    char long_host[400];
    char long_word[440];
    memset(long_host, 'h', sizeof long_host - 1);
    long_host[sizeof long_host - 1] = '\0';
    (void)snprintf(long_word, sizeof long_word, "--advertise_host=%s", long_host);
    expect_mistake(WORDS("--colour=red"), "--colour");
    expect_mistake(WORDS("-x"), "-x");
    expect_mistake(WORDS("--history"), "--history");
    expect_mistake(WORDS("--password_cost=cheap"), "interactive|minimal");
    expect_mistake(WORDS("--log_level=loud"), "loud");
    expect_mistake(WORDS("--log_format=xml"), "text|json");
    expect_mistake(WORDS("--log_file="), "--log_file");
    expect_mistake(WORDS("--data_dir="), "--data_dir");
    expect_mistake(WORDS("--advertise_host="), "--advertise_host");
    expect_mistake(WORDS("--advertise_host=a b"), "a b");
    expect_mistake(WORDS("--advertise_host=host:1"), "host:1");
    expect_mistake(WORDS("--advertise_host=tcp://host"), "tcp://host");
    expect_mistake(WORDS(long_word), "--advertise_host");
    expect_mistake(WORDS("--client_address=:1", "--internal_address=:1"), "differ");
    expect_mistake(WORDS("--client_address=tls+tcp://:1"), "--tls_cert");
    expect_mistake(WORDS("--client_address=tls+tcp://:1", "--tls_cert=c"), "--tls_key");
    expect_mistake(WORDS("--tls_cert=c", "--tls_key=k"), "tls+tcp://");
    expect_mistake(WORDS("--internal_address=tls+tcp://:1"), "internal address");
}

TEST(test_options__what_is_no_mistake)
{
    static const char *const fine[] = {
        "--advertise_host=::1",
        "--advertise_host=192.0.2.7",
        "--advertise_host=a-b.example",
        "--client_address=h:2626",
        "--client_address=:0",
        "--help",
        "-h",
        "--version",
        "-V",
    };
    for (size_t i = 0; i < sizeof fine / sizeof *fine; i++)
        expect_ok(WORDS(fine[i]));
    /* Both free ones: the kernel makes them differ. */
    expect_ok(WORDS("1", "master", ":0", ":0"));
    /* Whoever asks for help is not told of mistakes that options make together. */
    expect_ok(WORDS("--help", "--tls_cert=c"));
    assert_true(options.help);
}

TEST(test_options__cluster_defaults)
{
    expect_ok(WORDS(NULL));
    assert_int_equal(options.cluster.masters.count, 0);
    assert_int_equal(options.cluster.founding_wait_ms, 1000);
    assert_int_equal(options.cluster.durability, REPLICA_ALL);
    assert_false(options.cluster.feed_address.is_given);
    assert_int_equal(options.cluster.ping_interval_ms, 40);
    assert_int_equal(options.cluster.ping_timeout_min_ms, 180);
    assert_int_equal(options.cluster.ping_timeout_ms, 500);
    assert_int_equal(options.cluster.ack_timeout_ms, 1000);
    assert_int_equal(options.cluster.disk_timeout_min_ms, 400);
    assert_int_equal(options.cluster.disk_timeout_ms, 2000);
    assert_true(options.forward);
    assert_false(server_options_are_operators(&options));
}

TEST(test_options__cluster_words)
{
    expect_ok(WORDS("2", "slave", "--master_address=a:1,[::1]:2", "--master-address", "c:3",
                    "--durability=quorum", "--feed_address=:0", "--forward"));
    assert_int_equal(options.cluster.masters.count, 3);
    assert_string_equal(options.cluster.masters.items[1].host, "::1");
    assert_int_equal(options.cluster.masters.items[2].port, 3);
    assert_int_equal(options.cluster.durability, REPLICA_QUORUM);
    assert_true(options.cluster.feed_address.is_given);
    assert_int_equal(options.cluster.feed_address.address.port, 0);
    assert_true(options.forward);
    expect_ok(WORDS("--durability=local", "--feed_address=h:9", "--forward=no"));
    assert_int_equal(options.cluster.durability, REPLICA_LOCAL);
    assert_string_equal(options.cluster.feed_address.address.host, "h");
    assert_false(options.forward);
}

TEST(test_options__cluster_words_from_the_environment)
{
    static const struct variable variables[] = {
        {"JACKDAW_MASTER_ADDRESS", "a:1,b:2"},
        {"JACKDAW_FEED_ADDRESS", "f:3"},
        {"JACKDAW_DURABILITY", "local"},
        {"JACKDAW_PING_INTERVAL", "200"},
        {"JACKDAW_PING_TIMEOUT", "400"},
        {"JACKDAW_ACK_TIMEOUT", "600"},
        {"JACKDAW_DISK_TIMEOUT", "800"},
        {"JACKDAW_FORWARD", "yes"},
        {"JACKDAW_STATUS", "a:1"},
        {"JACKDAW_LEAVE", "a:1"},
        {"JACKDAW_REMOVE", "1"},
        {"JACKDAW_JSON", "yes"},
    };
    expect_ok_in(variables, sizeof variables / sizeof *variables);
    assert_int_equal(options.cluster.masters.count, 2);
    assert_int_equal(options.cluster.feed_address.address.port, 3);
    assert_int_equal(options.cluster.durability, REPLICA_LOCAL);
    assert_int_equal(options.cluster.ping_interval_ms, 200);
    assert_int_equal(options.cluster.ping_timeout_ms, 400);
    assert_int_equal(options.cluster.ack_timeout_ms, 600);
    assert_int_equal(options.cluster.disk_timeout_ms, 800);
    assert_true(options.forward);
    assert_false(server_options_are_operators(&options)); /* these are for the command line alone */
    assert_false(options.json);
}

/* Each from both sides, with the others so that they go together. */
TEST(test_options__times_from_both_sides)
{
    expect_ok(
        WORDS("--ping_interval=10", "--ping_timeout=20", "--ack_timeout=20", "--disk_timeout=100"));
    assert_int_equal(options.cluster.ack_timeout_ms, 20);
    expect_ok(WORDS("--ping_interval=60000", "--ping_timeout=600000", "--ack_timeout=600000",
                    "--disk_timeout=600000"));
    assert_int_equal(options.cluster.ping_interval_ms, 60000);
    expect_mistake(WORDS("--founding_wait=600001"), "600000");
    expect_mistake(WORDS("--ping_interval=9"), "from 10 to 60000");
    expect_mistake(WORDS("--ping_interval=60001"), "from 10 to 60000");
    expect_mistake(WORDS("--ping_timeout=19"), "from 20 to 600000");
    expect_mistake(WORDS("--ping_timeout=600001"), "from 20 to 600000");
    expect_mistake(WORDS("--ack_timeout=19"), "from 20 to 600000");
    expect_mistake(WORDS("--ack_timeout=600001"), "from 20 to 600000");
    expect_mistake(WORDS("--disk_timeout=99"), "from 100 to 600000");
    expect_mistake(WORDS("--disk_timeout=600001"), "from 100 to 600000");
    expect_mistake(WORDS("--ping_timeout_min=19"), "from 20 to 600000");
    expect_mistake(WORDS("--ping_timeout_min=600001"), "from 20 to 600000");
    expect_mistake(WORDS("--disk_timeout_min=19"), "from 20 to 600000");
    expect_mistake(WORDS("--disk_timeout_min=600001"), "from 20 to 600000");
    expect_mistake(WORDS("--ping_timeout=79"), "at least twice");
    expect_mistake(WORDS("--ping_interval=251"), "--ping_interval of 251 ms");
    expect_mistake(WORDS("--ack_timeout=499"), "--ping_timeout of 500 ms");
    expect_mistake(WORDS("--ping_timeout=1001"), "--ack_timeout");
}

TEST(test_options__cluster_mistakes_are_sentences)
{
    expect_mistake(WORDS("--durability=none"), "all|quorum|local");
    expect_mistake(WORDS("--master_address=tls+tcp://a:1"), "tls+tcp://a:1");
    expect_mistake(WORDS("--master_address=a:0"), "port 0");
    expect_mistake(WORDS("--master_address=a:1,,b:2"), "empty");
    expect_mistake(WORDS("--master_address=nowhere"), "nowhere");
    expect_mistake(WORDS("--master_address=a:1,a:2,a:3,a:4,a:5,a:6,a:7,a:8,a:9,"
                         "a:10,a:11,a:12,a:13,a:14,a:15,a:16,a:17"),
                   "17 addresses");
    expect_mistake(WORDS("--feed_address=tls+tcp://:1"), "--feed_address");
    expect_mistake(WORDS("--feed_address=nowhere"), "--feed_address");
    expect_mistake(WORDS("--feed_address=:2625"), "differ");
    expect_mistake(WORDS("--feed_address=:2626"), "differ");
    expect_ok(WORDS("--master_address=a:1,a:2,a:3,a:4,a:5,a:6,a:7,a:8,a:9,a:10,a:11,a:12,a:13,"
                    "a:14,a:15,a:16"));
    assert_int_equal(options.cluster.masters.count, 16);
    /* Its data folder may know the members. */
    expect_ok(WORDS("2", "slave"));
}

TEST(test_options__the_same_list_serves_every_server)
{
    expect_ok(WORDS("2", "slave", ":0", "B:2", "--master_address=a:1,b:2,c:3"));
    assert_int_equal(options.cluster.masters.count, 2);
    assert_string_equal(options.cluster.masters.items[0].host, "a");
    assert_string_equal(options.cluster.masters.items[1].host, "c");
}

TEST(test_options__the_operators_start_no_server)
{
    expect_ok(WORDS("--status", "tls+tcp://h:1", "--json", "--tls_ca=a.pem"));
    assert_true(server_options_are_operators(&options));
    assert_string_equal(options.status, "tls+tcp://h:1");
    assert_true(options.json);
    expect_ok(WORDS("--leave", "h:2"));
    assert_true(server_options_are_operators(&options));
    assert_string_equal(options.leave, "h:2");
    expect_ok(WORDS("--remove=3", "--master_address=:2626,b:2"));
    assert_true(server_options_are_operators(&options));
    assert_int_equal(options.remove, 3);
    assert_int_equal(options.cluster.masters.count, 2); /* this machine's server is one to ask */
    /* What the environment says of a server does not matter. */
    assert_int_equal(setenv("JACKDAW_TLS_CERT", "c.pem", 1), 0);
    expect_ok(WORDS("--status=:2625"));
    assert_int_equal(unsetenv("JACKDAW_TLS_CERT"), 0);
}

TEST(test_options__the_operators_mistakes_are_sentences)
{
    expect_mistake(WORDS("--status"), "--status=ADDRESS");
    expect_mistake(WORDS("--remove=0"), "--remove");
    expect_mistake(WORDS("--remove=65536"), "--remove");
    expect_mistake(WORDS("--remove=2"), "--master_address");
    expect_mistake(WORDS("--remove=2", "--master_address=a:0"), "port 0");
    expect_mistake(WORDS("--status=a:1", "--leave=a:1"), "one at a time");
    expect_mistake(WORDS("--remove=1", "--leave=a:1"), "one at a time");
    expect_mistake(WORDS("--json"), "--status");
    expect_mistake(WORDS("--leave=a:1", "--json"), "--status");
}

static char *help_text(void)
{
    static char text[65536];
    FILE *file = tmpfile();
    assert_non_null(file);
    (void)fflush(stdout);
    int saved = dup(STDOUT_FILENO);
    assert_true(saved >= 0);
    assert_true(dup2(fileno(file), STDOUT_FILENO) >= 0);
    server_options_print_help();
    (void)fflush(stdout);
    assert_true(dup2(saved, STDOUT_FILENO) >= 0);
    (void)close(saved);
    rewind(file);
    size_t size = fread(text, 1, sizeof text - 1, file);
    text[size] = '\0';
    (void)fclose(file);
    return text;
}

TEST(test_options__help_has_each_with_its_default)
{
    static const char *const names[] = {
        "--role",           "--client_address", "--internal_address",
        "--data_dir",       "--advertise_host", "--tls_cert",
        "--tls_key",        "--password_cost",  "--log_level",
        "--log_format",     "--log_file",       "--help",
        "--version",        "--master_address", "--feed_address",
        "--forward",        "--status ADDRESS", "--json",
        "--leave ADDRESS",  "--remove ID",      "JACKDAW_",
        "(default: all)",   "(default: 180)",   "(default: 500)",
        "(default: 1000)",  "(default: 2000)",  "(default: data)",
        "(default: :2625)", "(default: :2626)", "(default: interactive)",
        "(default: info)",  "(default: text)",  "(default: master)",
    };
    const char *help = help_text();
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strstr(help, names[i]) == NULL)
            fail_msg("--help does not tell of %s", names[i]);
    for (size_t i = 0; i < NUMBERS; i++) {
        char name[64];
        char fallback[64];
        (void)snprintf(name, sizeof name, "--%s", numbers[i].name);
        (void)snprintf(fallback, sizeof fallback, "%llu)", (unsigned long long)numbers[i].fallback);
        const char *at = strstr(help, name);
        if (at == NULL || strstr(at, fallback) == NULL)
            fail_msg("--help does not tell of %s or its default", name);
    }
}
