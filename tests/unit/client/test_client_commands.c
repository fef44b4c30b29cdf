/* SPDX-License-Identifier: MIT */
/* What the client program makes of words: the table of commands, lines from a pipe, names,
 * completion, password files, options. No server is needed. */
#include "app/app.h"
#include "cli/completion.h"
#include "cli/line_reader.h"
#include "support/test.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

TEST(test_commands__table_is_sound)
{
    static const char *const required[] = {
        "register", "login",  "logout", "delete", "users", "join",   "leave", "rooms",
        "members",  "topic",  "invite", "kick",   "ban",   "switch", "msg",   "history",
        "deliver",  "status", "stats",  "help",   "quit",  "typing"};
    for (size_t i = 0; i < sizeof required / sizeof required[0]; i++)
        assert_non_null(command_named(required[i], strlen(required[i])));
    for (const struct command *command = commands; command->name != NULL; command++) {
        assert_true(command_named(command->name, strlen(command->name)) == command);
        assert_true(command->least <= command->most);
        assert_true(command->most <= COMMAND_ARGUMENTS_MAX);
        assert_true(strlen(command->name) < 24); /* app_may_start looks at the beginning only */
        assert_non_null(command->run);
        assert_true(*command->help != '\0');
    }
    assert_null(command_named("joi", 3));
    assert_null(command_named("", 0));
}

TEST(test_command_parse__kinds)
{
    static const struct {
        const char *line;
        enum line_kind kind;
        const char *command;
        const char *rest;
    } cases[] = {
        {"", LINE_EMPTY, NULL, ""},
        {" \t ", LINE_EMPTY, NULL, " \t "},
        {"hello", LINE_MESSAGE, NULL, "hello"},
        {" /join", LINE_COMMAND, "join", ""},
        {"\t\xC2\xA0/login ann secret", LINE_COMMAND, "login", " ann secret"},
        {"\xE2\x80\x8B/login ann secret", LINE_COMMAND, "login", " ann secret"},
        {"\xE3\x80\x80/login ann secret", LINE_COMMAND, "login", " ann secret"},
        {"\xEF\xBB\xBF/login ann secret", LINE_COMMAND, "login", " ann secret"},
        {"\xEF\xBB\xBF \xEF\xBB\xBF/quit", LINE_COMMAND, "quit", ""},
        {"/login\u00A0ann", LINE_COMMAND, "login", "\u00A0ann"},
        {"\xEF\xBB\xBFhello", LINE_MESSAGE, NULL, "hello"},
        {"\xEF\xBB\xBF", LINE_EMPTY, NULL, ""},
        {"\xC2\xA0\xE2\x80\x8B", LINE_EMPTY, NULL, "\xC2\xA0\xE2\x80\x8B"},
        {"  hello", LINE_MESSAGE, NULL, "  hello"},
        {" //etc", LINE_MESSAGE, NULL, "/etc"},
        {" !j lobby", LINE_COMMAND, "join", " lobby"},
        {" /nothing", LINE_UNKNOWN, NULL, "nothing"},
        {"/LOGIN ann secret", LINE_UNKNOWN, NULL, "LOGIN ann secret"},
        {"/ login ann secret", LINE_UNKNOWN, NULL, " login ann secret"},
        {"/\xE2\x80\x8Blogin ann secret", LINE_UNKNOWN, NULL, "\xE2\x80\x8Blogin ann secret"},
        {"//etc/passwd", LINE_MESSAGE, NULL, "/etc/passwd"},
        {"/join lobby", LINE_COMMAND, "join", " lobby"},
        {"/quit", LINE_COMMAND, "quit", ""},
        {"/QUIT", LINE_UNKNOWN, NULL, "QUIT"},
        {"/", LINE_UNKNOWN, NULL, ""},
        {"/joining x", LINE_UNKNOWN, NULL, "joining x"},
        {"!j lobby", LINE_COMMAND, "join", " lobby"},
        {"!g", LINE_COMMAND, "rooms", ""},
        {"!lm", LINE_COMMAND, "members", ""},
        {"!w x", LINE_COMMAND, "switch", " x"},
        {"!e", LINE_COMMAND, "leave", ""},
        {"!q", LINE_COMMAND, "quit", ""},
        {"!quick", LINE_MESSAGE, NULL, "!quick"},
        {"!", LINE_MESSAGE, NULL, "!"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct command *command;
        const char *rest;
        assert_int_equal(command_parse(cases[i].line, &command, &rest), cases[i].kind);
        assert_string_equal(rest, cases[i].rest);
        if (cases[i].command == NULL)
            assert_null(command);
        else
            assert_string_equal(command->name, cases[i].command);
    }
}

static const char *doubt(const char *line)
{
    const struct command *command;
    const char *rest;
    enum line_kind kind = command_parse(line, &command, &rest);
    assert_true(kind == LINE_SUSPICIOUS || kind == LINE_MESSAGE);
    return kind == LINE_MESSAGE ? "" : command->name;
}

/* Each of these was sent to the room, with the password. */
TEST(test_command_doubt__passwords)
{
    static const char *const lines[] = {
        "\\/login ann secret",
        "\\login ann secret",
        "\xEF\xBC\x8Flogin ann secret", /* full-width solidus */
        "\xEF\xBC\x8F\xEF\xBD\x8C\xEF\xBD\x8F\xEF\xBD\x87\xEF\xBD\x89\xEF\xBD\x8E ann secret",
        "\xE2\x88\x95login ann secret",  /* division slash */
        "\xE2\x81\x84login ann secret",  /* fraction slash */
        " \xEF\xBC\xBClogin ann secret", /* full-width backslash */
        "!login ann secret",
        "!LOGIN ann secret",
        "\xEF\xBC\x81login ann secret",
        "?login ann secret",
        "7login ann secret",
        "-login ann secret",
        ".login ann secret",
        "\"/login ann secret\"",
        "> /login ann secret",
        ">/login ann secret",
        "> login ann secret",
        "$ /login ann secret",
        "\xE2\x9D\xAF /login ann secret",
        "lobby> /login ann secret",
        "lobby>/login ann secret",
        "(2 waiting) lobby> /LOGIN ann secret",
        "hi\r/login ann secret",
        "type /login ann secret",
        "!login\u00A0ann\xC2\xA0secret",
        "\\\xE2\x80\x8Blogin ann secret",
        "!lo\u200Bgin ann secret",
        "\\/login  ann   my long secret",
    };
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        assert_string_equal(doubt(lines[i]), "login");
    assert_string_equal(doubt("!register ann secret"), "register");
    assert_string_equal(doubt("> /delete secret"), "delete");
    assert_string_equal(doubt("\xEF\xBC\x8Fjoin lobby"), "join");
    assert_string_equal(doubt("\xEF\xBC\x8Fquit"), "quit");
}

TEST(test_command_doubt__messages)
{
    static const char *const lines[] = {
        "login ann secret", /* says so in docs/json.md */
        "Login is broken today",
        "please /login first",
        "!ping",
        "!help me please",
        "!join the club now",
        "!login",
        "see https://example.org/login for more",
        "https://login is down",
        "and/or /join us there",
        "/etc" + 1,
        "\\o/ hooray for all",
        "12 logins today",
        "delete all of it",
        "\xEF\xBC\x8F\xEF\xBC\x8F",
        "\xEF\xBC\x8Fnothing at all",
        "...",
        "\xF0\x9F\x91\x8D",
        "> quoted text",
    };
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        assert_string_equal(doubt(lines[i]), "");
}

/* Splits what follows a command's name; NULL: refused. Otherwise "a|b". */
static const char *split(const char *name, const char *rest)
{
    static char result[256];
    char copy[256];
    char *arguments[COMMAND_ARGUMENTS_MAX];
    size_t count;
    (void)snprintf(copy, sizeof copy, "%s", rest);
    if (!command_split(command_named(name, strlen(name)), copy, arguments, &count))
        return NULL;
    result[0] = '\0';
    for (size_t i = 0; i < count; i++) {
        strcat(result, i == 0 ? "" : "|");
        strcat(result, arguments[i]);
    }
    return result;
}

TEST(test_command_split__arguments)
{
    assert_string_equal(split("join", "  lobby  "), "lobby");
    assert_string_equal(split("join", " lobby private"), "lobby|private");
    assert_null(split("join", ""));
    assert_null(split("join", " a b c"));
    assert_string_equal(split("msg", " bob  hello  there "), "bob|hello  there ");
    assert_null(split("msg", " bob"));
    assert_string_equal(split("login", " ann my pass word"), "ann|my pass word");
    assert_string_equal(split("topic", " a long topic"), "a long topic");
    assert_string_equal(split("topic", " "), "");
    assert_null(split("quit", " now"));
    assert_string_equal(split("history", "\t5\t7"), "5|7");
    assert_string_equal(split("login", "\u00A0ann\u00A0pass\xC2\xA0word"), "ann|pass\xC2\xA0word");
}

struct pipe_ends {
    int out, in;
};

static void put(struct pipe_ends *ends, const void *bytes, size_t size)
{
    assert_int_equal(write(ends->in, bytes, size), (ssize_t)size);
}

static void assert_line(struct line_reader *line_reader, const char *text, uint64_t number)
{
    struct input_line line;
    assert_true(line_reader_peek(line_reader, &line));
    assert_false(line.too_long);
    assert_int_equal(line.size, strlen(text));
    assert_memory_equal(line.text, text, line.size);
    assert_int_equal(line.number, number);
    line_reader_skip(line_reader);
}

TEST(test_line_reader__lines)
{
    struct line_reader line_reader;
    struct input_line line;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    struct pipe_ends pipe_ends = {ends[0], ends[1]};
    assert_int_equal(line_reader_init(&line_reader, ends[0]), OK);
    put(&pipe_ends, "one\r\n\ntw", 8);
    line_reader_read(&line_reader);
    assert_line(&line_reader, "one", 1);
    assert_line(&line_reader, "", 2);
    assert_false(line_reader_peek(&line_reader, &line));
    assert_false(line_reader_is_final(&line_reader));
    put(&pipe_ends, "o\nend", 5);
    line_reader_read(&line_reader);
    assert_line(&line_reader, "two", 3);
    assert_false(line_reader_peek(&line_reader, &line));
    (void)close(ends[1]);
    assert_true(line_reader_is_final(&line_reader)); /* known before it is read */
    line_reader_read(&line_reader);
    assert_true(line_reader.ended);
    assert_line(&line_reader, "end", 4);
    assert_false(line_reader_peek(&line_reader, &line));
    assert_false(line_reader_wants(&line_reader));
    line_reader_release(&line_reader);
    (void)close(ends[0]);
}

/* Reads a file of lines that are as long as may be, and of one byte more. */
TEST(test_line_reader__too_long)
{
    struct line_reader line_reader;
    struct input_line line;
    FILE *file = tmpfile();
    char *text = malloc(INPUT_LINE_MAX + 1);
    assert_true(file != NULL && text != NULL);
    memset(text, 'x', INPUT_LINE_MAX + 1);
    assert_int_equal(fwrite(text, 1, INPUT_LINE_MAX, file), INPUT_LINE_MAX);
    (void)fputs("\r\n", file);
    for (size_t more = 1; more < 300000; more += 99999) {
        assert_int_equal(fwrite(text, 1, INPUT_LINE_MAX + 1, file), INPUT_LINE_MAX + 1);
        for (size_t i = 1; i < more; i++)
            (void)fputc('y', file);
        (void)fputs("\nshort\n", file);
    }
    rewind(file);
    assert_int_equal(line_reader_init(&line_reader, fileno(file)), OK);
    assert_true(line_reader_is_final(&line_reader));
    size_t longest = 0, too_long = 0, good = 0;
    while (!line_reader.ended || line_reader_peek(&line_reader, &line)) {
        if (line_reader_wants(&line_reader)) {
            line_reader_read(&line_reader);
            continue;
        }
        assert_true(line_reader_peek(&line_reader, &line)); /* or the loop would wait for ever */
        assert_int_equal(line.number, longest + too_long + good + 1);
        if (line.too_long)
            too_long++;
        else if (line.size == INPUT_LINE_MAX)
            longest++;
        else {
            assert_int_equal(line.size, 5);
            assert_memory_equal(line.text, "short", 5);
            good++;
        }
        line_reader_skip(&line_reader);
    }
    assert_int_equal(longest, 1);
    assert_int_equal(too_long, 4);
    assert_int_equal(good, 4);
    line_reader_release(&line_reader);
    free(text);
    (void)fclose(file);
}

TEST(test_line_reader__reads_no_more_than_it_keeps)
{
    struct line_reader line_reader;
    FILE *file = tmpfile();
    assert_non_null(file);
    for (size_t i = 0; i < 100000; i++)
        (void)fprintf(file, "line %zu\n", i);
    rewind(file);
    assert_int_equal(line_reader_init(&line_reader, fileno(file)), OK);
    int reads = 0;
    for (; line_reader_wants(&line_reader); reads++)
        line_reader_read(&line_reader);
    assert_in_range(reads, 1, 20);
    assert_true(line_reader.used <= INPUT_LINE_MAX + 2);
    assert_false(line_reader.ended);
    size_t count = 0;
    struct input_line line;
    for (;; line_reader_skip(&line_reader)) {
        while (!line_reader_peek(&line_reader, &line) && !line_reader.ended)
            line_reader_read(&line_reader);
        if (!line_reader_peek(&line_reader, &line))
            break;
        char text[32];
        int size = snprintf(text, sizeof text, "line %zu", count++);
        assert_int_equal(line.size, size);
        assert_memory_equal(line.text, text, line.size);
    }
    assert_int_equal(count, 100000);
    line_reader_release(&line_reader);
    (void)fclose(file);
}

TEST(test_names__last_used_is_last)
{
    struct names names = {.items = NULL};
    assert_null(names_last(&names));
    names_add(&names, "Lobby");
    names_add(&names, "dev");
    names_add(&names, "Lobby");
    assert_int_equal(names.count, 2);
    assert_string_equal(names_last(&names), "Lobby");
    assert_string_equal(names_find(&names, "lobby"), "Lobby");
    assert_null(names_find(&names, "lobb"));
    names_remove(&names, "LOBBY");
    assert_string_equal(names_last(&names), "dev");
    for (int i = 0; i < 2 * NAMES_MAX; i++) {
        char text[32];
        (void)snprintf(text, sizeof text, "room%d", i);
        names_add(&names, text);
    }
    assert_int_equal(names.count, NAMES_MAX);
    assert_null(names_find(&names, "dev"));
    names_clear(&names);
}

static void count_candidate(void *context, const char *candidate)
{
    (void)candidate;
    ++*(int *)context;
}

static void assert_completes(const struct app *app, const char *line, const char *addition,
                             int shown)
{
    int count = 0;
    char *got = completion_of(app, line, count_candidate, &count);
    if (addition == NULL)
        assert_null(got);
    else
        assert_string_equal(got, addition);
    assert_int_equal(count, shown);
    free(got);
}

TEST(test_completion)
{
    struct app app = {.client = NULL};
    names_add(&app.rooms, "lobby");
    names_add(&app.rooms, "lounge");
    names_add(&app.people, "ann");
    names_add(&app.people, "\xC3\xA4nne"); /* begins with the same byte as the next */
    names_add(&app.people, "\xC3\xA5sa");
    assert_completes(&app, "/he", "lp ", 0);
    assert_completes(&app, "/le", "ave ", 0);
    assert_completes(&app, "/l", "", 3); /* leave, login, logout */
    assert_completes(&app, "/lo", "g", 0);
    assert_completes(&app, "/log", "", 2);
    assert_completes(&app, "/xy", NULL, 0);
    assert_completes(&app, "/join l", "o", 0);
    assert_completes(&app, "/join lob", "by ", 0);
    assert_completes(&app, "/join lobby l", NULL, 0); /* not the first argument */
    assert_completes(&app, "!w lou", "nge ", 0);
    assert_completes(&app, "/msg a", "nn ", 0);
    assert_completes(&app, "/msg @a", "nn ", 0);
    assert_completes(&app, "/switch @a", "nn ", 0);
    assert_completes(&app, "/help /joi", "n ", 0);
    assert_completes(&app, "an", "n ", 0);
    assert_completes(&app, "hello an", "n ", 0);
    assert_completes(&app, "\xC3\xA4", "nne ", 0);
    assert_completes(&app, "\xC3", "", 2); /* no half character is added */
    names_add(&app.people, "zo\x1B[2Je");  /* only a hostile server sends such a name */
    names_add(&app.people, "zu\xE2\x80\xAE");
    assert_completes(&app, "z", NULL, 0);
    names_add(&app.people, ""); /* only a hostile server sends an empty name */
    assert_completes(&app, "", "", 3);
    names_clear(&app.rooms);
    names_clear(&app.people);
}

TEST(test_completion__takes_a_name_whole_or_not_at_all)
{
    enum { LONGEST = 599 };
    struct app app = {.client = NULL};
    char name[LONGEST + 2];
    memset(name, 'x', sizeof name - 1);
    name[LONGEST + 1] = '\0';
    names_add(&app.rooms, name);
    assert_completes(&app, "/join x", NULL, 0);
    name[LONGEST] = '\0';
    names_add(&app.rooms, name);
    char *rest = completion_of(&app, "/join x", NULL, NULL);
    assert_non_null(rest);
    assert_int_equal(strlen(rest), LONGEST); /* without the first letter, with a space */
    free(rest);
    names_clear(&app.rooms);
}

static enum error read_password(const char *content, size_t size, char *out)
{
    char path[] = P_tmpdir "/test_client_commands.XXXXXX";
    struct error_text why;
    int file = mkstemp(path);
    assert_true(file >= 0);
    assert_int_equal(write(file, content, size), (ssize_t)size);
    (void)close(file);
    enum error error = password_read_file(path, out, &why);
    (void)unlink(path);
    return error;
}

TEST(test_password_read_file)
{
    char out[PASSWORD_SIZE];
    char longest[300];
    struct error_text why;
    memset(longest, 'p', sizeof longest);
    assert_int_equal(read_password("secret\nmore\n", 12, out), OK);
    assert_string_equal(out, "secret");
    assert_int_equal(read_password(" my secret \r\n", 13, out), OK);
    assert_string_equal(out, " my secret ");
    assert_int_equal(read_password(longest, 256, out), OK);
    assert_int_equal(strlen(out), 256);
    assert_int_equal(read_password(longest, 257, out), ERROR_INVALID);
    assert_int_equal(read_password("", 0, out), ERROR_INVALID);
    assert_int_equal(read_password("\nx", 2, out), ERROR_INVALID);
    assert_int_equal(read_password("a\0b\n", 4, out), ERROR_INVALID);
    assert_int_equal(read_password("\xFF\n", 2, out), ERROR_INVALID);
    assert_int_equal(password_read_file("/nonexistent/file", out, &why), ERROR_NOT_FOUND);
    assert_string_equal(why.text, "/nonexistent/file: No such file or directory");
}

#define SETTINGS(settings, ...)                                                       \
    settings_parse((int)(sizeof((char *[]){"client", __VA_ARGS__}) / sizeof(char *)), \
                   (char *[]){"client", __VA_ARGS__, NULL}, settings, &why)

TEST(test_settings)
{
    struct settings settings;
    struct error_text why;
    assert_int_equal(SETTINGS(&settings, "-a", "a:1", "b:2", "c:3", "-u", "ann", "-r", "lobby",
                              "-r", "dev", "--register", "--password-file", "x", "--timeout=5"),
                     OK);
    assert_int_equal(settings.addresses.count, 3);
    assert_string_equal(settings.user, "ann");
    assert_int_equal(settings.rooms.count, 2);
    assert_true(settings.make_account);
    assert_string_equal(settings.password_file, "x");
    assert_int_equal(settings.timeout_s, 5);
    assert_false(settings.json);
    settings_release(&settings);
    assert_int_equal(SETTINGS(&settings, "--json"), OK);
    assert_int_equal(settings.addresses.count, 1);
    assert_int_equal(settings.timeout_s, 30);
    settings_release(&settings);
    assert_int_equal(SETTINGS(&settings, "--register"), ERROR_INVALID);
    assert_int_equal(SETTINGS(&settings, "--plain", "--json"), ERROR_INVALID);
    assert_int_equal(SETTINGS(&settings, "--timeout=0"), ERROR_INVALID);
    assert_int_equal(SETTINGS(&settings, "word"), ERROR_INVALID);
}
