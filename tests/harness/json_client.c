/* SPDX-License-Identifier: MIT */
#include "harness/json_client.h"

#include "base/clock.h"
#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_MAX_BYTES 262144
#define WORD_BYTES 32

/* What is known of each line of its output without reading it again. */
enum object_kind { OBJECT_OTHER, OBJECT_MESSAGE, OBJECT_SENT, OBJECT_FAILED, OBJECT_KINDS };

struct request_line {
    uint64_t time_us;
    char *text;
};

struct json_client {
    struct process_group *group;
    struct process *process;
    char label[64];
    char account[64];
    struct request_line *asked;
    size_t asked_count, asked_capacity;
    uint64_t *times_us; /* when each object was read */
    size_t time_count, time_capacity;
    size_t counts[OBJECT_KINDS];
    json_t *kept; /* array: objects that were given out */
};

static void *need(void *memory)
{
    if (memory == NULL)
        fail_msg("out of memory");
    return memory;
}

static json_t *parse(const struct json_client *client, const char *line)
{
    json_error_t error;
    json_t *object = json_loads(line, JSON_REJECT_DUPLICATES, &error);
    if (!json_is_object(object))
        process_group_fail(client->group, "%s printed no JSON object (%s): %.200s", client->label,
                           object == NULL ? error.text : "another value", line);
    if (!json_is_string(json_object_get(object, "type")))
        process_group_fail(client->group, "%s printed an object without a type: %.200s",
                           client->label, line);
    return object;
}

static enum object_kind kind_of(const json_t *object)
{
    const char *type = json_string_value(json_object_get(object, "type"));
    return strcmp(type, "message") == 0  ? OBJECT_MESSAGE
           : strcmp(type, "sent") == 0   ? OBJECT_SENT
           : strcmp(type, "failed") == 0 ? OBJECT_FAILED
                                         : OBJECT_OTHER;
}

static void take_line(void *context, const char *line, uint64_t time_us)
{
    struct json_client *client = context;
    json_t *object = parse(client, line);
    client->counts[kind_of(object)]++;
    json_decref(object);
    if (client->time_count == client->time_capacity) {
        client->time_capacity = client->time_capacity == 0 ? 256 : client->time_capacity * 2;
        client->times_us =
            need(realloc(client->times_us, client->time_capacity * sizeof *client->times_us));
    }
    client->times_us[client->time_count++] = time_us;
}

static void free_client(void *object)
{
    struct json_client *client = object;
    for (size_t i = 0; i < client->asked_count; i++)
        free(client->asked[i].text);
    free(client->asked);
    free(client->times_us);
    json_decref(client->kept);
    free(client);
}

struct json_client *json_client_start(struct process_group *group,
                                      const struct json_client_options *options)
{
    struct json_client *client = need(calloc(1, sizeof *client));
    const char *words[2 + 8 + JSON_CLIENT_ARGUMENTS_MAX + 1] = {"--json", "-a"};
    size_t count = 2;
    for (size_t i = 0; i < 8 && options->addresses[i] != NULL; i++)
        words[count++] = options->addresses[i];
    for (size_t i = 0; i < JSON_CLIENT_ARGUMENTS_MAX && options->arguments[i] != NULL; i++)
        words[count++] = options->arguments[i];
    (void)snprintf(client->label, sizeof client->label, "%s", options->label);
    (void)snprintf(client->account, sizeof client->account, "%s",
                   options->account != NULL ? options->account : options->label);
    client->group = group;
    client->kept = need(json_array());
    process_group_defer(group, free_client, client);
    const struct process_options process_options = {
        .name = client->label,
        .program = TEST_CLIENT,
        .arguments = words,
        .on_line = take_line,
        .context = client,
    };
    client->process = process_start(group, &process_options);
    return client;
}

struct json_client *json_client_visit(struct process_group *group, const char *address,
                                      const char *name, const char *room)
{
    const struct json_client_options options = {.label = name, .addresses = {address}};
    struct json_client *client = json_client_start(group, &options);
    (void)json_client_command(client, "/register %s secret", name);
    (void)json_client_command(client, "/join %s", room);
    return client;
}

struct process *json_client_process(const struct json_client *client)
{
    return client->process;
}

const char *json_client_account(const struct json_client *client)
{
    return client->account;
}

static void type_line(struct json_client *client, const char *prefix, const char *format,
                      va_list arguments)
{
    size_t before = strlen(prefix);
    char *line = need(malloc(LINE_MAX_BYTES));
    (void)snprintf(line, LINE_MAX_BYTES, "%s", prefix);
    int length = vsnprintf(line + before, LINE_MAX_BYTES - before - 1, format, arguments);
    if (length < 0 || (size_t)length >= LINE_MAX_BYTES - before - 1)
        fail_msg("the line is too long");
    size_t size = before + (size_t)length;
    line[size++] = '\n';
    process_write(client->process, line, size);
    free(line);
}

void json_client_type(struct json_client *client, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    type_line(client, "", format, arguments);
    va_end(arguments);
}

static void remember_asked(struct json_client *client, const char *format, va_list arguments)
{
    if (client->asked_count == client->asked_capacity) {
        client->asked_capacity = client->asked_capacity == 0 ? 64 : client->asked_capacity * 2;
        client->asked =
            need(realloc(client->asked, client->asked_capacity * sizeof *client->asked));
    }
    char *text = NULL;
    if (vasprintf(&text, format, arguments) < 0)
        fail_msg("out of memory");
    client->asked[client->asked_count++] =
        (struct request_line){.time_us = clock_monotonic_us(), .text = text};
}

void json_client_say(struct json_client *client, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    remember_asked(client, format, arguments);
    va_end(arguments);
    va_start(arguments, format);
    type_line(client, "", format, arguments);
    va_end(arguments);
}

void json_client_tell(struct json_client *client, const char *name, const char *format, ...)
{
    char prefix[128];
    va_list arguments;
    (void)snprintf(prefix, sizeof prefix, "/msg %s ", name);
    va_start(arguments, format);
    remember_asked(client, format, arguments);
    va_end(arguments);
    va_start(arguments, format);
    type_line(client, prefix, format, arguments);
    va_end(arguments);
}

/* The word behind the slash. */
static void command_word(const char *format, char word[static WORD_BYTES])
{
    size_t size = strcspn(format + 1, " ");
    (void)snprintf(word, WORD_BYTES, "%.*s", (int)(size < WORD_BYTES ? size : WORD_BYTES - 1),
                   format + 1);
}

static json_t *wait_for_result(struct json_client *client, const char *format, va_list arguments)
{
    char word[WORD_BYTES];
    command_word(format, word);
    size_t from = json_client_count(client);
    type_line(client, "", format, arguments);
    return json_client_expect(client, from, "{s:s, s:s}", "type", "result", "command", word);
}

json_t *json_client_command(struct json_client *client, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    json_t *result = wait_for_result(client, format, arguments);
    va_end(arguments);
    const char *status = json_text(result, "status");
    if (strcmp(status, "OK") != 0)
        process_group_fail(client->group, "%s: '%s' got %s: %s", client->label, format, status,
                           json_text(result, "error"));
    return result;
}

json_t *json_client_refused(struct json_client *client, const char *status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    json_t *result = wait_for_result(client, format, arguments);
    va_end(arguments);
    const char *got = json_text(result, "status");
    if (strcmp(got, status) != 0)
        process_group_fail(client->group, "%s: '%s' got %s instead of %s", client->label, format,
                           got, status);
    if (strlen(json_text(result, "error")) < 8)
        process_group_fail(client->group, "%s: '%s' was refused without a sentence", client->label,
                           format);
    return result;
}

int json_client_leave(struct json_client *client)
{
    process_end_input(client->process);
    return process_wait(client->process, PROCESS_GROUP_PATIENCE_MS);
}

size_t json_client_count(const struct json_client *client)
{
    return process_lines(client->process);
}

size_t json_client_messages(const struct json_client *client)
{
    return client->counts[OBJECT_MESSAGE];
}

size_t json_client_sent(const struct json_client *client)
{
    return client->counts[OBJECT_SENT];
}

size_t json_client_failed(const struct json_client *client)
{
    return client->counts[OBJECT_FAILED];
}

static bool matches(const json_t *object, json_t *pattern)
{
    const char *member;
    json_t *value;
    json_object_foreach(pattern, member, value)
    {
        if (!json_equal(json_object_get(object, member), value))
            return false;
    }
    return true;
}

/* *from: moved behind what was looked at. */
static json_t *find(struct json_client *client, size_t *from, json_t *pattern)
{
    for (; *from < json_client_count(client); (*from)++) {
        json_t *object = parse(client, process_line(client->process, *from));
        if (matches(object, pattern)) {
            (void)json_array_append(client->kept, object);
            json_decref(object);
            return object;
        }
        json_decref(object);
    }
    return NULL;
}

static json_t *pattern_of(const char *format, va_list arguments)
{
    json_error_t error;
    json_t *pattern = json_vpack_ex(&error, 0, format, arguments);
    if (pattern == NULL)
        fail_msg("bad pattern '%s': %s", format, error.text);
    return pattern;
}

json_t *json_client_expect(struct json_client *client, size_t from, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    json_t *pattern = pattern_of(format, arguments);
    va_end(arguments);
    json_t *object = NULL;
    uint64_t until_ms = process_group_now_ms() + PROCESS_GROUP_PATIENCE_MS;
    while ((object = find(client, &from, pattern)) == NULL) {
        bool ended = process_ended(client->process);
        if (ended || process_group_now_ms() >= until_ms) {
            char *text = json_dumps(pattern, JSON_SORT_KEYS);
            process_group_note(client->group, "%s was to print %s", client->label, text);
            print_error("%s was to print %s\n", client->label, text);
            free(text);
            process_group_fail(client->group, "%s %s", client->label,
                               ended ? "ended without printing it" : "did not print it in time");
        }
        process_group_turn(client->group, until_ms);
    }
    json_decref(pattern);
    return object;
}

json_t *json_client_find(struct json_client *client, size_t from, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    json_t *pattern = pattern_of(format, arguments);
    va_end(arguments);
    json_t *object = find(client, &from, pattern);
    json_decref(pattern);
    return object;
}

static _Noreturn void fail_without(const json_t *object, const char *what, const char *member)
{
    char *dump = json_dumps(object, 0);
    print_error("%s\n", dump);
    free(dump);
    fail_msg("the object above has no %s '%s'", what, member);
    abort(); /* not reached */
}

const char *json_text(const json_t *object, const char *member)
{
    const char *text = json_string_value(json_object_get(object, member));
    if (text == NULL)
        fail_without(object, "text", member);
    return text;
}

uint64_t json_number(const json_t *object, const char *member)
{
    const json_t *value = json_object_get(object, member);
    if (!json_is_integer(value))
        fail_without(object, "number", member);
    return (uint64_t)json_integer_value(value);
}

static uint64_t number_or_zero(const json_t *object, const char *member)
{
    return (uint64_t)json_integer_value(json_object_get(object, member));
}

struct observation json_observation(const json_t *object, enum observation_kind kind,
                                    uint64_t time_us)
{
    return (struct observation){
        .kind = kind,
        .time_us = time_us,
        .room = json_string_value(json_object_get(object, "room")),
        .from = json_string_value(json_object_get(object, "from")),
        .uid = json_string_value(json_object_get(object, "uid")),
        .text = json_string_value(json_object_get(object, "text")),
        .number = number_or_zero(object, "number"),
        .epoch = number_or_zero(object, "epoch"),
        .seq = number_or_zero(object, "seq"),
    };
}

static bool is_type(const json_t *object, const char *type)
{
    return strcmp(json_string_value(json_object_get(object, "type")), type) == 0;
}

static bool is_event(const json_t *object)
{
    static const char *const types[] = {"joined", "left",   "topic",  "invited",
                                        "owner",  "notice", "removed"};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (is_type(object, types[i]))
            return true;
    return false;
}

static void report_object(const struct json_client *client, struct checker_client *to,
                          const json_t *object, uint64_t time_us)
{
    static const enum observation_kind kinds[] = {[OBJECT_OTHER] = OBSERVED_OTHER,
                                                  [OBJECT_MESSAGE] = OBSERVED_MESSAGE,
                                                  [OBJECT_SENT] = OBSERVED_SENT,
                                                  [OBJECT_FAILED] = OBSERVED_FAILED};
    enum object_kind kind = kind_of(object);
    if (kind == OBJECT_OTHER && !is_event(object))
        return;
    struct observation observation = json_observation(object, kinds[kind], time_us);
    checker_observe(to, &observation);
    if (is_type(object, "left") && observation.from != NULL &&
        strcmp(observation.from, client->account) == 0) {
        observation.kind = OBSERVED_AWAY;
        checker_observe(to, &observation);
    }
}

struct checker_client *json_client_report(const struct json_client *client, struct checker *checker)
{
    struct checker_client *to = checker_add(checker, client->account, client->label);
    for (size_t i = 0; i < client->asked_count; i++)
        checker_observe(to, &(struct observation){.kind = OBSERVED_ASKED,
                                                  .time_us = client->asked[i].time_us,
                                                  .text = client->asked[i].text});
    for (size_t i = 0; i < json_client_count(client); i++) {
        json_t *object = parse(client, process_line(client->process, i));
        report_object(client, to, object, client->times_us[i]);
        json_decref(object);
    }
    return to;
}

void json_client_report_history(struct json_client *client, unsigned page_messages,
                                struct checker_client *to)
{
    json_t *pages = json_array();
    uint64_t before = 0;
    for (;;) {
        json_t *result = before == 0
                             ? json_client_command(client, "/history %u", page_messages)
                             : json_client_command(client, "/history %u %llu", page_messages,
                                                   (unsigned long long)before);
        json_t *messages = json_object_get(result, "history");
        assert_true(json_is_array(messages));
        if (json_array_size(messages) == 0)
            break;
        (void)json_array_insert(pages, 0, messages);
        before = json_number(json_array_get(messages, 0), "number");
        if (before == 1)
            break;
    }
    size_t i;
    size_t j;
    json_t *page;
    json_t *message;
    json_array_foreach(pages, i, page)
    {
        json_array_foreach(page, j, message)
        {
            checker_observe(to, &(struct observation){.kind = OBSERVED_MESSAGE,
                                                      .room = json_text(message, "room"),
                                                      .from = json_text(message, "from"),
                                                      .uid = json_text(message, "uid"),
                                                      .text = json_text(message, "text"),
                                                      .number = json_number(message, "number"),
                                                      .epoch = json_number(message, "epoch"),
                                                      .seq = json_number(message, "seq")});
        }
    }
    json_decref(pages);
}
