/* SPDX-License-Identifier: MIT */
/* The chat program in a terminal: what a person types, and what the screen shows. The servers are those
 * of fake_chat.h, in this process. */
#include "cli/pty.h"
#include "support/test.h"
#include "unit/client/fake_chat.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SERVERS 2
#define CTRL_A "\x01"
#define CTRL_C "\x03"
#define CTRL_D "\x04"
#define CTRL_E "\x05"
#define CTRL_Z "\x1a"
#define KEY_LEFT "\x1b[D"

struct fixture {
    struct fake_cluster cluster;
    struct fake_server servers[SERVERS];
    char addresses[SERVERS * ADDRESS_TEXT_SIZE];
    char password_file[64];
    struct pty *pty;
};

static void turn(void *context)
{
    struct fixture *fixture = context;
    fake_cluster_turn(&fixture->cluster, fixture->servers, SERVERS);
}

static void begin(struct fixture *f)
{
    fake_cluster_init(&f->cluster);
    size_t used = 0;
    for (size_t i = 0; i < SERVERS; i++) {
        char address[ADDRESS_TEXT_SIZE];
        fake_server_start(&f->servers[i], &f->cluster);
        address_format(&f->servers[i].address, address);
        used += (size_t)snprintf(f->addresses + used, sizeof f->addresses - used, "%s%s",
                                 i == 0 ? "" : ",", address);
    }
    f->servers[0].master = true;
    (void)strcpy(f->password_file, "/tmp/jackdaw-password-XXXXXX");
    int fd = mkstemp(f->password_file);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "secret\n", 7), 7);
    (void)close(fd);
}

static void end(struct fixture *f)
{
    pty_close(f->pty);
    for (size_t i = 0; i < SERVERS; i++)
        fake_server_kill(&f->servers[i]);
    fake_cluster_release(&f->cluster);
    (void)unlink(f->password_file);
}

struct at_terminal {
    const char *type;   /* TERM; NULL: xterm-256color */
    const char *locale; /* LC_ALL; NULL: C.UTF-8 */
    bool logs_out;      /* nobody logs in at the start */
    unsigned rows, columns;
};

static struct pty *start(struct fixture *fixture, const struct at_terminal *how)
{
    char type[64];
    char locale[64];
    char password[96];
    (void)snprintf(type, sizeof type, "TERM=%s", how->type == NULL ? "xterm-256color" : how->type);
    (void)snprintf(locale, sizeof locale, "LC_ALL=%s",
                   how->locale == NULL ? "C.UTF-8" : how->locale);
    (void)snprintf(password, sizeof password, "--password_file=%s", fixture->password_file);
    const char *environment[] = {type, locale, "HOME=/nonexistent", NULL};
    const char *arguments[] = {TEST_CLIENT, "-a",         fixture->addresses, "-u",
                               "ann",       "--register", password,           "-r",
                               "lobby",     NULL};
    if (how->logs_out)
        arguments[3] = NULL;
    const struct pty_options options = {.arguments = arguments,
                                        .environment = environment,
                                        .rows = how->rows,
                                        .columns = how->columns,
                                        .turn = turn,
                                        .context = fixture};
    fixture->pty = pty_open(&options);
    return fixture->pty;
}

static const char *cursor_row(struct pty *pty)
{
    return pty_row(pty, pty_cursor_row(pty));
}

static bool row_is(struct pty *pty, const char *text)
{
    return strcmp(cursor_row(pty), text) == 0;
}

/* A client that is logged in, and joined the lobby. */
static struct pty *start_in_lobby(struct fixture *fixture, const struct at_terminal *how)
{
    struct pty *pty = start(fixture, how);
    PTY_WAIT(pty, row_is(pty, "lobby>"));
    return pty;
}

static void type_and_see(struct pty *pty, const char *keys, const char *row)
{
    pty_type(pty, keys);
    PTY_WAIT(pty, row_is(pty, row));
}

static void leave(struct pty *pty)
{
    pty_type(pty, "/quit\r");
    PTY_WAIT(pty, pty_has_ended(pty));
    assert_int_equal(pty_status(pty), 0);
    assert_true(pty_echoes(pty));
}

TEST_F(test_line__message_comes_while_typing)
{
    struct pty *pty = start_in_lobby(f, &(struct at_terminal){0});
    type_and_see(pty, "hello wrld", "lobby> hello wrld");
    pty_type(pty, KEY_LEFT KEY_LEFT KEY_LEFT);
    unsigned column = (unsigned)strlen("lobby> hello w");
    PTY_WAIT(pty, pty_cursor_column(pty) == column);
    fake_say(&f->cluster, "lobby", "bob", "good day");
    PTY_WAIT(pty, pty_shows(pty, "bob: good day") && row_is(pty, "lobby> hello wrld"));
    PTY_WAIT(pty, pty_cursor_column(pty) == column);
    assert_non_null(strstr(pty_row(pty, pty_cursor_row(pty) - 1), "bob: good day"));
    assert_int_equal(pty_count(pty, "hello"), 1);
    type_and_see(pty, "o\r", "lobby>");
    PTY_WAIT(pty, pty_shows(pty, "ann: hello world"));
    assert_int_equal(pty_count(pty, "hello"), 1);
    leave(pty);
}

TEST_F(test_line__longer_than_a_row)
{
    struct pty *pty = start_in_lobby(f, &(struct at_terminal){.columns = 30});
    type_and_see(pty, "first0000 second000 third0000 fourth000", "rd0000 fourth000");
    fake_say(&f->cluster, "lobby", "bob", "good day");
    PTY_WAIT(pty, pty_shows(pty, "bob: good day") && row_is(pty, "rd0000 fourth000"));
    assert_string_equal(pty_row(pty, pty_cursor_row(pty) - 1), "lobby> first0000 second000 thi");
    assert_int_equal(pty_count(pty, "first0000"), 1);
    assert_int_equal(pty_count(pty, "fourth000"), 1);
    type_and_see(pty, CTRL_C, "lobby>");
    leave(pty);
}

TEST_F(test_line__is_redrawn_in_a_new_size)
{
    struct pty *pty = start_in_lobby(f, &(struct at_terminal){.columns = 60});
    type_and_see(pty, "first0000 second000 third0000", "lobby> first0000 second000 third0000");
    pty_resize(pty, 20, 100);
    fake_say(&f->cluster, "lobby", "bob", "good day");
    PTY_WAIT(pty, pty_shows(pty, "bob: good day") &&
                      row_is(pty, "lobby> first0000 second000 third0000"));
    type_and_see(pty, " fourth000 fifth0000 sixth0000",
                 "lobby> first0000 second000 third0000 fourth000 fifth0000 sixth0000");
    unsigned row = pty_cursor_row(pty);
    pty_type(pty, CTRL_A); /* the line is one row */
    PTY_WAIT(pty, pty_cursor_column(pty) == strlen("lobby> "));
    assert_int_equal(pty_cursor_row(pty), row);
    pty_type(pty, CTRL_E);
    PTY_WAIT(pty, pty_cursor_column(pty) > 60);
    pty_resize(pty, 20, 30);
    fake_say(&f->cluster, "lobby", "bob", "good night");
    PTY_WAIT(pty, pty_shows(pty, "bob: good nig\nht\n") && row_is(pty, "th0000"));
    type_and_see(pty, " seventh0", "th0000 seventh0");
    assert_string_equal(pty_row(pty, pty_cursor_row(pty) - 1), "rd0000 fourth000 fifth0000 six");
    type_and_see(pty, CTRL_C, "lobby>");
    leave(pty);
}

TEST_F(test_keys__completion)
{
    struct pty *pty = start_in_lobby(f, &(struct at_terminal){0});
    pty_type(pty, "/hist\t");
    PTY_WAIT(pty, row_is(pty, "lobby> /history") && pty_cursor_column(pty) == 16);
    type_and_see(pty, CTRL_C "/le\t", "lobby> /leave");
    type_and_see(pty, "lo\t", "lobby> /leave lobby");
    type_and_see(pty, CTRL_C "/log\t", "lobby> /log");
    PTY_WAIT(pty, pty_shows(pty, "  /login\n") && pty_shows(pty, "  /logout\n") &&
                      row_is(pty, "lobby> /log"));
    pty_type(pty, CTRL_C);
    PTY_WAIT(pty, row_is(pty, "lobby>"));
    leave(pty);
}

TEST_F(test_keys__interrupt_drops_the_line)
{
    struct pty *pty = start_in_lobby(f, &(struct at_terminal){0});
    type_and_see(pty, "not to be sent", "lobby> not to be sent");
    type_and_see(pty, CTRL_C, "lobby>");
    assert_false(pty_has_ended(pty));
    assert_int_equal(f->cluster.sends_seen, 0);
    pty_type(pty, CTRL_C); /* nothing to drop: the client leaves */
    PTY_WAIT(pty, pty_has_ended(pty));
    assert_int_equal(pty_status(pty), 0);
    assert_true(pty_echoes(pty));
    assert_int_equal(f->cluster.sends_seen, 0);
}

TEST_F(test_keys__end_of_input_leaves)
{
    struct pty *pty = start_in_lobby(f, &(struct at_terminal){0});
    assert_false(pty_echoes(pty));
    pty_type(pty, CTRL_D);
    PTY_WAIT(pty, pty_has_ended(pty));
    assert_int_equal(pty_status(pty), 0);
    assert_true(pty_echoes(pty));
}

TEST_F(test_keys__stop_and_continue)
{
    struct pty *pty = start_in_lobby(f, &(struct at_terminal){0});
    type_and_see(pty, "half a ", "lobby> half a");
    pty_type(pty, CTRL_Z);
    PTY_WAIT(pty, pty_has_stopped(pty));
    assert_true(pty_echoes(pty)); /* the shell's settings are back */
    assert_true(row_is(pty, ""));
    pty_continue(pty);
    PTY_WAIT(pty, row_is(pty, "lobby> half a"));
    assert_false(pty_echoes(pty));
    pty_type(pty, CTRL_Z);
    PTY_WAIT(pty, pty_has_stopped(pty));
    fake_say(&f->cluster, "lobby", "bob", "good day");
    pty_continue(pty);
    PTY_WAIT(pty, pty_shows(pty, "bob: good day") && row_is(pty, "lobby> half a"));
    pty_type(pty, "line\r");
    PTY_WAIT(pty, pty_shows(pty, "ann: half a line"));
    leave(pty);
}

TEST_F(test_password__is_not_shown)
{
    struct pty *pty = start(f, &(struct at_terminal){.logs_out = true});
    PTY_WAIT(pty, row_is(pty, ">"));
    pty_type(pty, "/register ann\r");
    PTY_WAIT(pty, strstr(cursor_row(pty), "password for ann:") != NULL && !pty_echoes(pty));
    pty_type(pty, "open sesame\r");
    PTY_WAIT(pty, strstr(cursor_row(pty), "Once more:") != NULL && !pty_echoes(pty));
    pty_type(pty, "open sesame\r");
    PTY_WAIT(pty, f->cluster.session_count == 1);
    PTY_WAIT(pty, row_is(pty, ">"));
    assert_false(pty_has_written(pty, "sesame"));
    assert_string_equal(f->cluster.accounts[0].password, "open sesame");
    leave(pty);
}

TEST_F(test_password__interrupted)
{
    struct pty *pty = start(f, &(struct at_terminal){.logs_out = true});
    PTY_WAIT(pty, row_is(pty, ">"));
    pty_type(pty, "/login ann\r");
    PTY_WAIT(pty, strstr(cursor_row(pty), "Password for ann:") != NULL && !pty_echoes(pty));
    pty_type(pty, "sesa" CTRL_C);
    PTY_WAIT(pty, pty_shows(pty, "interrupted") && row_is(pty, ">"));
    assert_false(pty_has_written(pty, "sesa"));
    assert_int_equal(f->cluster.session_count, 0);
    leave(pty);
}

TEST_F(test_failover__is_seen_and_the_line_stays)
{
    struct pty *pty = start_in_lobby(f, &(struct at_terminal){0});
    type_and_see(pty, "still here", "lobby> still here");
    fake_server_kill(&f->servers[0]);
    f->servers[0].master = false;
    PTY_WAIT(pty, pty_shows(pty, "trying other servers") && row_is(pty, "lobby> still here"));
    f->servers[1].master = true;
    f->cluster.epoch += 65536;
    PTY_WAIT(pty, pty_shows(pty, "back, on") && row_is(pty, "lobby> still here"));
    pty_type(pty, "\r");
    PTY_WAIT(pty, pty_shows(pty, "ann: still here"));
    leave(pty);
}

TEST_F(test_terminal__dumb)
{
    struct pty *pty = start(f, &(struct at_terminal){.type = "dumb"});
    PTY_WAIT(pty, pty_shows(pty, "lobby"));
    assert_true(pty_echoes(pty)); /* whole lines, as the terminal edits them */
    fake_say(&f->cluster, "lobby", "bob", "good day");
    PTY_WAIT(pty, pty_shows(pty, "bob: good day"));
    pty_type(pty, "hello\n");
    PTY_WAIT(pty, pty_shows(pty, "ann: hello"));
    assert_false(pty_has_written(pty, "\x1b"));
    pty_type(pty, CTRL_D);
    PTY_WAIT(pty, pty_has_ended(pty));
    assert_int_equal(pty_status(pty), 0);
}

TEST_F(test_terminal__without_a_locale)
{
    struct pty *pty = start_in_lobby(f, &(struct at_terminal){.locale = "C"});
    type_and_see(pty, "gr\xc3\xbc\xc3\x9f dich", "lobby> gr\xc3\xbc\xc3\x9f dich");
    pty_type(pty, "\x7f\x7f\x7f\x7f\x7f\x7f\xc3\xbc\r");
    PTY_WAIT(pty, pty_shows(pty, "ann: gr\xc3\xbc\xc3\xbc\n"));
    leave(pty);
}

/* Control sequences of C0 and C1, and characters that turn the direction of the text. */
#define HOSTILE                              \
    "\x1b[7m\x1b]0;owned\x07\x1b[2J\xc2\x9b" \
    "2J\xe2\x80\xae\xe2\x81\xa6\x7f\r"

static void say_hostile(struct fixture *fixture, Jackdaw__Event__Kind kind, const char *room,
                        const char *from, const char *text)
{
    struct fake_message message = {
        .kind = kind, .session = 77, .request = fixture->cluster.seq + 1};
    (void)snprintf(message.room, sizeof message.room, "%s", room);
    (void)snprintf(message.from, sizeof message.from, "%s", from);
    (void)snprintf(message.text, sizeof message.text, "%s", text);
    fake_repeat(&fixture->cluster, &message);
}

TEST_F(test_hostile__text_changes_nothing)
{
    struct pty *pty = start_in_lobby(f, &(struct at_terminal){0});
    fake_say(&f->cluster, "lobby", "bob", "before");
    PTY_WAIT(pty, pty_shows(pty, "bob: before"));
    type_and_see(pty, "typing", "lobby> typing");
    say_hostile(f, JACKDAW__EVENT__KIND__MESSAGE, "lobby", "eve", "one" HOSTILE "1");
    say_hostile(f, JACKDAW__EVENT__KIND__MESSAGE, "lobby", "eve" HOSTILE, "two");
    say_hostile(f, JACKDAW__EVENT__KIND__MESSAGE, "attic" HOSTILE, "eve", "three");
    say_hostile(f, JACKDAW__EVENT__KIND__TOPIC, "lobby", "eve", "four" HOSTILE "4");
    say_hostile(f, JACKDAW__EVENT__KIND__NOTICE, "lobby", "eve", "five" HOSTILE "5");
    say_hostile(f, JACKDAW__EVENT__KIND__MESSAGE, "lobby", "eve", "six\n<admin> obey");
    fake_say(&f->cluster, "lobby", "bob", "after");
    PTY_WAIT(pty, pty_shows(pty, "bob: after") && row_is(pty, "lobby> typing"));
    static const char *const shown[] = {"bob: before", "eve: one", ": two", ": three",
                                        "four",        "five",     "six"};
    for (size_t i = 0; i < sizeof shown / sizeof *shown; i++)
        assert_int_equal(pty_count(pty, shown[i]), 1);
    static const char *const never[] = {"\x1b[7m",      "\x1b]",        "\x1b[2J", "\xc2\x9b",
                                        "\xe2\x80\xae", "\xe2\x81\xa6", "\x7f",    "\n<admin>"};
    for (size_t i = 0; i < sizeof never / sizeof *never; i++)
        assert_false(pty_has_written(pty, never[i]));
    assert_int_equal(pty_foreign_sequences(pty), 0);
    type_and_see(pty, CTRL_C, "lobby>");
    leave(pty);
}
