/* SPDX-License-Identifier: MIT */
#include "base/log.h"
#include "support/test.h"
#include "support/unsafe_characters.h"

#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SAID_BYTES (1u << 20)
#define LINE_BYTES_MAX 2048

static int real_stderr;
static int captured;
static char said[SAID_BYTES];

static void capture(void)
{
    captured = memfd_create("stderr", MFD_CLOEXEC);
    assert_true(captured >= 0);
    real_stderr = dup(STDERR_FILENO);
    assert_true(real_stderr >= 0);
    /* Appending, as a log does: concurrent lines must not overwrite each other. */
    assert_int_equal(fcntl(captured, F_SETFL, O_APPEND), 0);
    assert_true(dup2(captured, STDERR_FILENO) >= 0);
}

static const char *captured_text(void)
{
    (void)dup2(real_stderr, STDERR_FILENO);
    (void)close(real_stderr);
    ssize_t size = pread(captured, said, sizeof said - 1, 0);
    (void)close(captured);
    assert_true(size >= 0);
    said[size] = '\0';
    return said;
}

static int teardown(void **state)
{
    (void)state;
    log_configure(LOG_INFO, LOG_TEXT);
    log_identify(0, 0);
    return 0;
}

/* The line without its time stamp, which is checked. */
static const char *after_time(const char *line)
{
    int used = 0;
    int year;
    int month;
    int day;
    int hour;
    int minute;
    int second;
    int micro;
    assert_int_equal(sscanf(line, "%4d-%2d-%2dT%2d:%2d:%2d.%6dZ %n", &year, &month, &day, &hour,
                            &minute, &second, &micro, &used),
                     7);
    assert_true(year >= 2024 && month <= 12 && day <= 31 && hour < 24 && minute < 60);
    assert_int_equal(used, 28);
    return line + used;
}

static json_t *only_json_line(const char *text)
{
    const char *end = strchr(text, '\n');
    assert_non_null(end);
    assert_int_equal(end[1], '\0');
    assert_true((size_t)(end - text) < LINE_BYTES_MAX);
    json_error_t error;
    json_t *object = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    if (object == NULL)
        fail_msg("%s: %s", error.text, text);
    return object;
}

TEST_WITH(test_log_text__line, NULL, teardown)
{
    log_configure(LOG_INFO, LOG_TEXT);
    log_identify(3, 65539);
    capture();
    log_info("rpc", "peer_closed", log_string("address", "192.0.2.7:1"), log_number("pipe", 7),
             log_integer("offset", -5), log_number("most", UINT64_MAX));
    const char *text = captured_text();
    assert_string_equal(after_time(text), "info 3 65539 rpc peer_closed address=192.0.2.7:1 "
                                          "pipe=7 offset=-5 most=18446744073709551615\n");
}

TEST_WITH(test_log_text__unknown_node, NULL, teardown)
{
    log_configure(LOG_DEBUG, LOG_TEXT);
    capture();
    log_debug("base", "x", log_string("a", NULL));
    assert_string_equal(after_time(captured_text()), "debug - - base x a=\"\"\n");
}

TEST_WITH(test_log__levels, NULL, teardown)
{
    for (int level = LOG_DEBUG; level <= LOG_SILENT; level++) {
        log_configure((enum log_level)level, LOG_TEXT);
        capture();
        log_debug("m", "debug", log_number("n", 0));
        log_info("m", "info", log_number("n", 0));
        log_warning("m", "warning", log_number("n", 0));
        log_error("m", "error", log_number("n", 0));
        const char *text = captured_text();
        int lines = 0;
        for (; *text != '\0'; text++)
            lines += *text == '\n';
        assert_int_equal(lines, LOG_SILENT - level);
        assert_false(log_enabled(LOG_SILENT));
    }
}

TEST_WITH(test_log_parse, NULL, teardown)
{
    enum log_level level = LOG_INFO;
    enum log_format format = LOG_TEXT;
    assert_int_equal(log_level_parse("debug", &level), OK);
    assert_int_equal(level, LOG_DEBUG);
    assert_int_equal(log_level_parse("silent", &level), OK);
    assert_int_equal(level, LOG_SILENT);
    assert_int_equal(log_level_parse("loud", &level), ERROR_INVALID);
    assert_int_equal(level, LOG_SILENT);
    assert_int_equal(log_format_parse("json", &format), OK);
    assert_int_equal(format, LOG_JSON);
    assert_int_equal(log_format_parse("", &format), ERROR_INVALID);
    assert_int_equal(format, LOG_JSON);
}

/* What a peer sends can neither forge a line nor drive a terminal. */
TEST_WITH(test_log_text__escapes, NULL, teardown)
{
    static const struct {
        const char *value;
        const char *printed;
    } cases[] = {
        {"plain", "plain"},
        {"", "\"\""},
        {"two words", "\"two words\""},
        {"a=b", "\"a=b\""},
        {"say \"hi\"", "\"say \\\"hi\\\"\""},
        {"back\\slash", "\"back\\\\slash\""},
        {"x\n2026-01-01T00:00:00.000000Z error 1 1 m forged",
         "\"x\\u000a2026-01-01T00:00:00.000000Z error 1 1 m forged\""},
        {"\x1b[2J", "\"\\u001b[2J\""},
        {"\x7f", "\"\\u007f\""},
        {"caf\xc3\xa9", "\"caf\xc3\xa9\""},
        {"\xf0\x9f\x90\xa6", "\"\xf0\x9f\x90\xa6\""},
        {"\xc2\x9b"
         "2J",
         "\"\\u009b2J\""}, /* the one-character form of ESC [ */
        {"\x9b"
         "2J",
         "\"\\ufffd2J\""},               /* and its bare byte */
        {"\u202Eabc", "\"\\u202eabc\""}, /* writes from right to left */
        {"\xe2\x80\xa8", "\"\\u2028\""}, /* line separator */
        {"\xff\xfe", "\"\\ufffd\\ufffd\""},
        {"\xc3", "\"\\ufffd\""},                                  /* cut short */
        {"\xc0\xaf", "\"\\ufffd\\ufffd\""},                       /* overlong */
        {"\xed\xa0\x80", "\"\\ufffd\\ufffd\\ufffd\""},            /* half of a surrogate pair */
        {"\xf4\x90\x80\x80", "\"\\ufffd\\ufffd\\ufffd\\ufffd\""}, /* above the last character */
        {"\xf8\x90\x80\x80", "\"\\ufffd\\ufffd\\ufffd\\ufffd\""},
        {"\xe2\x82x", "\"\\ufffd\\ufffdx\""},
    };
    log_configure(LOG_INFO, LOG_TEXT);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        capture();
        log_info("m", "e", log_string("v", cases[i].value), log_number("n", 1));
        char expected[256];
        (void)snprintf(expected, sizeof expected, "info - - m e v=%s n=1\n", cases[i].printed);
        assert_string_equal(after_time(captured_text()), expected);
    }
}

TEST_WITH(test_log_json__line, NULL, teardown)
{
    log_configure(LOG_INFO, LOG_JSON);
    log_identify(2, 131074);
    capture();
    log_warning("rpc", "peer_kicked", log_string("peer", "a \"b\" \\ \n \x01 \xc3\xa9 \xff"),
                log_integer("offset", INT64_MIN), log_number("n", 12));
    json_t *line = only_json_line(captured_text());
    assert_string_equal(json_string_value(json_object_get(line, "level")), "warning");
    assert_string_equal(json_string_value(json_object_get(line, "module")), "rpc");
    assert_string_equal(json_string_value(json_object_get(line, "event")), "peer_kicked");
    assert_string_equal(json_string_value(json_object_get(line, "peer")),
                        "a \"b\" \\ \n \x01 \xc3\xa9 \xef\xbf\xbd");
    assert_int_equal(json_integer_value(json_object_get(line, "node")), 2);
    assert_int_equal(json_integer_value(json_object_get(line, "epoch")), 131074);
    assert_true(json_integer_value(json_object_get(line, "offset")) == INT64_MIN);
    assert_int_equal(json_integer_value(json_object_get(line, "n")), 12);
    assert_non_null(json_object_get(line, "time"));
    json_decref(line);
}

/* Every length around the bound, with further fields behind: the line is cut but stays an object,
 * and ends at a character. */
TEST_WITH(test_log_json__long_lines_stay_valid, NULL, teardown)
{
    static const char *const units[] = {"x", "\n", "\"", "\xc3\xa9", "\xf0\x9f\x90\xa6", "\xff"};
    log_configure(LOG_INFO, LOG_JSON);
    for (size_t u = 0; u < sizeof units / sizeof units[0]; u++) {
        size_t width = strlen(units[u]);
        for (size_t count = 1; count < 2600; count += count < 250 || count > 1700 ? 1 : 37) {
            char *value = malloc(count * width + 1);
            for (size_t i = 0; i < count; i++)
                memcpy(value + i * width, units[u], width);
            value[count * width] = '\0';
            capture();
            log_info("module", "event", log_string("value", value),
                     log_string("a_key_of_some_length", "and a value of some length as well"),
                     log_number("number", INT64_MAX), log_integer("last", INT64_MIN));
            json_t *line = only_json_line(captured_text());
            json_decref(line);
            free(value);
        }
    }
}

TEST_WITH(test_log__unsafe_characters_never_appear, NULL, teardown)
{
    static const enum log_format formats[] = {LOG_TEXT, LOG_JSON};
    for (size_t f = 0; f < 2; f++) {
        log_configure(LOG_INFO, formats[f]);
        for (size_t i = 0; unsafe_characters[i] != 0; i++) {
            char character[5];
            char value[8] = "a";
            (void)unsafe_encode(unsafe_characters[i], character);
            (void)strcat(value, character);
            (void)strcat(value, "b");
            capture();
            log_info("m", "e", log_string("value", value));
            char *line = strdup(captured_text());
            line[strlen(line) - 1] = '\0'; /* its end */
            assert_null(strstr(line, character));
            free(line);
        }
    }
}

TEST_WITH(test_log_text__long_lines_are_cut, NULL, teardown)
{
    char value[5000];
    memset(value, 'v', sizeof value - 1);
    value[sizeof value - 1] = '\0';
    log_configure(LOG_INFO, LOG_TEXT);
    capture();
    log_info("m", "plain", log_string("value", value), log_string("next", "n"));
    value[10] = ' ';
    log_info("m", "quoted", log_string("value", value), log_string("next", "n"));
    char *text = strdup(captured_text());
    char *rest = text;
    for (int i = 0; i < 2; i++) {
        char *end = strchr(rest, '\n');
        assert_non_null(end);
        assert_in_range(end - rest, 1000, LINE_BYTES_MAX);
        *end = '\0';
        assert_non_null(strstr(after_time(rest), "value="));
        rest = end + 1;
    }
    assert_string_equal(rest, "");
    free(text);
}

static void *write_lines(void *argument)
{
    for (int i = 0; i < 200; i++)
        log_info("m", "line", log_string("text", argument), log_integer("i", i));
    return NULL;
}

TEST_WITH(test_log__lines_of_threads_stay_whole, NULL, teardown)
{
    log_configure(LOG_INFO, LOG_JSON);
    capture();
    pthread_t threads[4];
    char texts[4][200];
    for (int i = 0; i < 4; i++) {
        memset(texts[i], 'a' + i, sizeof texts[i]);
        texts[i][sizeof texts[i] - 1] = '\0';
        assert_int_equal(pthread_create(&threads[i], NULL, write_lines, texts[i]), 0);
    }
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    char *text = strdup(captured_text());
    int lines = 0;
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        json_t *object = json_loads(line, 0, NULL);
        assert_non_null(object);
        assert_int_equal(strlen(json_string_value(json_object_get(object, "text"))), 199);
        json_decref(object);
        lines++;
    }
    assert_int_equal(lines, 800);
    free(text);
}
