/* SPDX-License-Identifier: MIT */
/* Styles of real terminals (terminfo): what text_output_put writes of them is nothing but ESC [ numbers m. */
#include "app/app.h"
#include "cli/terminal.h"
#include "cli/text_output.h"
#include "support/test.h"

#include <curses.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <term.h>
#include <unistd.h>

#undef lines /* a macro of term.h */

/* terminal_init asks about standard output, so that is a terminal for as long as it takes. */
static void init_as(const char *name)
{
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    assert_true(master >= 0);
    assert_int_equal(grantpt(master), 0);
    assert_int_equal(unlockpt(master), 0);
    int slave = open(ptsname(master), O_RDWR | O_NOCTTY);
    assert_true(slave >= 0);
    assert_int_equal(setenv("TERM", name, 1), 0);
    (void)fflush(stdout);
    int before = dup(STDOUT_FILENO);
    assert_true(before >= 0);
    assert_true(dup2(slave, STDOUT_FILENO) >= 0);
    terminal_init(false);
    assert_int_equal(del_curterm(cur_term), OK); /* styles are copies; the rest is not used here */
    assert_true(dup2(before, STDOUT_FILENO) >= 0);
    (void)close(before);
    (void)close(slave);
    (void)close(master);
}

static void keep(void *context, const char *line)
{
    char *kept = context;
    (void)snprintf(kept, 128, "%s", line);
}

TEST(test_terminal__styles_leave_nothing_on_the_screen)
{
    /* "xterm": ESC ( B before; "linux", "screen": SI behind; "vt100": SI and $<2>, no colours. */
    static const char *const names[] = {"xterm", "xterm-256color", "linux", "screen", "vt100"};
    assert_int_equal(unsetenv("NO_COLOR"), 0);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char line[128] = "";
        struct text_output lines = {.put = keep, .put_context = line};
        struct app app = {.lines = &lines};
        init_as(names[i]);
        assert_string_not_equal(terminal_style(STYLE_NORMAL), "");
        assert_string_not_equal(terminal_style(STYLE_BOLD), "");
        text_output_put(&app, "%sfat%s thin", terminal_style(STYLE_BOLD),
                        terminal_style(STYLE_NORMAL));
        assert_string_equal(line, "\x1b[1mfat\x1b[m thin\n");
    }
}
