/* SPDX-License-Identifier: MIT */
#include "cli/prompt.h"

#include "app/app.h"
#include "cli/signals.h"
#include "cli/terminal.h"
#include "cli/text_output.h"
#include "client/text.h"

#include <errno.h>
#include <poll.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINE_BYTES 1024

/* Waits for a line of input; false when there is none. The terminal delivers whole lines. */
static bool read_line(struct app *app, char line[static LINE_BYTES], struct error_text *why)
{
    for (;;) {
        app_process(app);
        struct pollfd entries[2] = {
            {.fd = STDIN_FILENO, .events = POLLIN},
            {.fd = app_descriptor(app), .events = POLLIN},
        };
        int ready = poll(entries, 2, app_timeout_ms(app));
        if (signals_interrupted() || signals_ended() > 0) {
            (void)error_set(why, OK, "interrupted");
            return false;
        }
        if (ready <= 0 || entries[0].revents == 0)
            continue;
        ssize_t got = read(STDIN_FILENO, line, LINE_BYTES - 1);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            (void)error_set(why, OK, "no password was typed");
            return false;
        }
        line[got] = '\0';
        line[strcspn(line, "\r\n")] = '\0';
        return true;
    }
}

static bool check(const char *line, size_t size, struct error_text *why)
{
    if (*line == '\0')
        (void)error_set(why, OK, "no password was typed");
    else if (strlen(line) >= size)
        (void)error_set(why, OK, "a password has at most %zu bytes", size - 1);
    else if (!text_is_valid(line, strlen(line)))
        (void)error_set(why, OK, "the password is not text in UTF-8");
    else
        return true;
    return false;
}

bool prompt_password(struct app *app, const char *prompt, char *out, size_t size,
                     struct error_text *why)
{
    char line[LINE_BYTES];
    char *shown = text_output_text(prompt, NULL);
    (void)fputs(shown, stdout);
    (void)fflush(stdout);
    free(shown);
    if (!terminal_hide_input()) {
        (void)error_set(why, OK, "the terminal cannot hide what is typed: use --password_file");
        return false;
    }
    text_output_hold(app);
    bool done = read_line(app, line, why);
    terminal_show_input();
    if (!done)
        (void)fputs("\n", stdout);
    text_output_release(app);
    done = done && check(line, size, why);
    if (done)
        (void)memcpy(out, line, strlen(line) + 1);
    sodium_memzero(line, sizeof line);
    return done;
}
