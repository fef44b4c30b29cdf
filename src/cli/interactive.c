/* SPDX-License-Identifier: MIT */
#include "cli/interactive.h"

#include "app/app.h"
#include "base/clock.h"
#include "cli/completion.h"
#include "cli/signals.h"
#include "cli/terminal.h"
#include "cli/text_output.h"
#include "cli/ui_list.h"
#include "client/text.h"

#include <errno.h>
#include <histedit.h>
#include <langinfo.h>
#include <locale.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wchar.h>

#define HISTORY_LINES 1000
#define KEY_BYTES 1024
#define PROMPT_SIZE 1024
#define WAITING_LINES_MAX 100 /* typed, but not started yet */
#define EXIT_TIMEOUT_MS 5000  /* for unsent messages when the user leaves */

struct pending_line {
    struct pending_line *next;
    char text[];
};

struct interactive {
    struct app *app;
    EditLine *editor;
    History *history;
    bool editing; /* the terminal shows a line that is being typed */
    bool leaving;
    uint64_t lines_typed;
    char keys[KEY_BYTES]; /* read, not yet given to libedit */
    size_t key_start, key_end;
    char *output; /* to be printed above the line */
    size_t output_size;
    char prompt[PROMPT_SIZE];
    struct pending_line *waiting;
    size_t waiting_count;
};

/* libedit hands its own client data to some callbacks only. */
static struct interactive *self_of(EditLine *editor)
{
    void *self = NULL;
    (void)el_get(editor, EL_CLIENTDATA, &self);
    return self;
}

/* ---- the prompt ---- */

/* "lobby> ", or "(2 waiting) lobby> " while something is. */
static void make_prompt(struct interactive *self)
{
    const struct app *app = self->app;
    char *room = text_output_text(app->current == NULL ? "" : app->current, NULL);
    size_t waiting = self->waiting_count;
    for (const struct invocation *open = app->invocations; open != NULL; open = open->next)
        waiting += open->shown;
    int used = 0;
    if (waiting > 0)
        used = snprintf(self->prompt, PROMPT_SIZE, "(%zu waiting) ", waiting);
    (void)snprintf(self->prompt + used, PROMPT_SIZE - (size_t)used, "%.512s> ", room);
    free(room);
}

static char *get_prompt(EditLine *editor)
{
    return self_of(editor)->prompt;
}

/* ---- printing above the line ---- */

/* How many rows below the first one the cursor is, as libedit lays the line out. */
static size_t rows_above_cursor(const struct interactive *self)
{
    const LineInfoW *line = el_wline(self->editor);
    size_t columns = terminal_columns();
    size_t at = text_columns(self->prompt);
    for (const wchar_t *c = line->buffer; c < line->cursor; c++) {
        int width = wcwidth(*c);
        size_t takes = width >= 0 ? (size_t)width : 2; /* "^A" */
        if (takes == 2 && at % columns == columns - 1)
            at++; /* does not fit any more into this row */
        at += takes;
    }
    return at / columns;
}

static void keep_output(void *context, const char *text)
{
    struct interactive *self = context;
    size_t length = strlen(text);
    char *output = realloc(self->output, self->output_size + length + 1);
    if (output == NULL)
        return;
    memcpy(output + self->output_size, text, length + 1);
    self->output = output;
    self->output_size += length;
}

/* Prints what came in, and the line below again if it is there. */
static void print_output(struct interactive *self)
{
    char before[PROMPT_SIZE];
    memcpy(before, self->prompt, sizeof before);
    size_t rows = self->editing ? rows_above_cursor(self) : 0;
    make_prompt(self);
    bool changed = strcmp(before, self->prompt) != 0;
    if (self->output_size == 0 && !(changed && self->editing))
        return;
    if (self->editing)
        terminal_erase(rows);
    if (self->output_size > 0)
        (void)fwrite(self->output, 1, self->output_size, stdout);
    (void)fflush(stdout);
    free(self->output);
    self->output = NULL;
    self->output_size = 0;
    if (self->editing)
        (void)el_set(self->editor, EL_REFRESH);
}

/* ---- lines that wait for earlier ones ---- */

/* Text that the user typed before the prompt for a password may be the password. */
static void drop_typed_ahead(struct interactive *self)
{
    if (self->app->password_asked)
        self->key_start = self->key_end = 0;
    self->app->password_asked = false;
}

static bool asks_for_password(const char *text)
{
    const struct command *command;
    const char *rest;
    return command_parse(text, &command, &rest) == LINE_COMMAND && command->password_words > 0;
}

/* Whether a line that waits will ask for a password: the next one typed may be that. */
static bool is_password_due(const struct interactive *self)
{
    const struct pending_line *line = self->waiting;
    while (line != NULL && !asks_for_password(line->text))
        line = line->next;
    return line != NULL;
}

static void start_waiting(struct interactive *self)
{
    while (self->waiting != NULL && !self->leaving) {
        struct pending_line *first = self->waiting;
        size_t size = strlen(first->text);
        if (!app_may_start(self->app, first->text, size, false))
            return;
        self->waiting = first->next;
        self->waiting_count--;
        app_start_line(self->app, first->text, size, ++self->lines_typed);
        drop_typed_ahead(self);
        free(first);
    }
}

static void start_or_wait(struct interactive *self, const char *text)
{
    size_t size = strlen(text);
    struct pending_line **last = &self->waiting;
    struct pending_line *line;
    const struct command *command;
    const char *rest;
    bool local = command_parse(text, &command, &rest) == LINE_COMMAND && command->local;
    if ((self->waiting == NULL || local) && app_may_start(self->app, text, size, false)) {
        app_start_line(self->app, text, size, ++self->lines_typed);
        drop_typed_ahead(self);
        return;
    }
    if (is_password_due(self)) {
        text_output_put(self->app, "! not taken: a command that waits will ask for the password");
        return;
    }
    line = self->waiting_count < WAITING_LINES_MAX ? malloc(sizeof *line + size + 1) : NULL;
    if (line == NULL) {
        text_output_put(self->app, "! too much is waiting already; not taken: /status tells why");
        return;
    }
    line->next = NULL;
    memcpy(line->text, text, size + 1);
    while (*last != NULL)
        last = &(*last)->next;
    *last = line;
    self->waiting_count++;
}

/* ---- the loop, as libedit's source of keys ---- */

static void drop_line(struct interactive *self)
{
    const LineInfoW *line = el_wline(self->editor);
    size_t rows = rows_above_cursor(self);
    int behind = (int)(line->lastchar - line->cursor);
    int all = (int)(line->lastchar - line->buffer);
    if (all == 0) {
        self->leaving = true;
        return;
    }
    terminal_erase(rows);
    (void)el_cursor(self->editor, behind);
    (void)el_deletestr(self->editor, all);
    (void)el_set(self->editor, EL_REFRESH);
}

static void pause_process(struct interactive *self)
{
    terminal_erase(rows_above_cursor(self));
    (void)fflush(stdout);
    (void)el_set(self->editor, EL_PREP_TERM, 0);
    signals_stop_self();
    (void)el_set(self->editor, EL_PREP_TERM, 1);
    (void)signals_continued();
    (void)el_set(self->editor, EL_REFRESH);
}

static void heed_signals(struct interactive *self)
{
    if (signals_interrupted())
        drop_line(self);
    if (signals_stopped())
        pause_process(self);
    if (signals_continued()) {
        (void)el_set(self->editor, EL_PREP_TERM, 1);
        (void)el_set(self->editor, EL_REFRESH);
    }
    if (signals_resized())
        el_resize(self->editor);
    if (signals_ended() > 0 || self->app->quitting)
        self->leaving = true;
}

static int soonest(int left_ms, int right_ms)
{
    if (left_ms < 0 || right_ms < 0)
        return left_ms < 0 ? right_ms : left_ms;
    return left_ms < right_ms ? left_ms : right_ms;
}

/* Waits for keys (if wanted) or for the client, and does what is due. */
static void turn(struct interactive *self, bool keys, int most_ms)
{
    struct app *app = self->app;
    struct pollfd entries[2] = {
        {.fd = app_descriptor(app), .events = POLLIN},
        {.fd = keys ? STDIN_FILENO : -1, .events = POLLIN},
    };
    int wait_ms = soonest(app_timeout_ms(app), text_ui_timeout_ms(app));
    int ready = poll(entries, 2, soonest(wait_ms, most_ms));
    if (ready > 0 && entries[1].revents != 0) {
        size_t left = self->key_end - self->key_start;
        memmove(self->keys, self->keys + self->key_start, left);
        self->key_start = 0;
        self->key_end = left;
        ssize_t got = read(STDIN_FILENO, self->keys + left, KEY_BYTES - left);
        if (got > 0)
            self->key_end += (size_t)got;
        else if (got == 0 || errno != EINTR)
            self->leaving = true;
    }
    app_process(app);
    start_waiting(self);
    text_ui_tick(app);
}

/* Takes one character out of the keys that were read: 1, or 0 when a part of it is missing. */
static int take_key(struct interactive *self, wchar_t *out)
{
    mbstate_t state = {0};
    size_t left = self->key_end - self->key_start;
    if (left == 0)
        return 0;
    size_t length = mbrtowc(out, self->keys + self->key_start, left, &state);
    if (length == (size_t)-2 && left < MB_CUR_MAX)
        return 0;
    if (length == (size_t)-1 || length == (size_t)-2) {
        *out = L'?'; /* no character of this locale */
        length = 1;
    }
    self->key_start += length == 0 ? 1 : length; /* 0: a NUL */
    return 1;
}

static int read_key(EditLine *editor, wchar_t *out)
{
    struct interactive *self = self_of(editor);
    self->editing = true;
    print_output(self);
    while (!self->leaving && take_key(self, out) == 0) {
        turn(self, true, -1);
        heed_signals(self);
        print_output(self);
    }
    if (self->leaving)
        terminal_erase(rows_above_cursor(self));
    self->editing = false;
    return self->leaving ? 0 : 1;
}

/* ---- completion ---- */

static void show_candidate(void *context, const char *text)
{
    text_output_put(context, "  %s", text);
}

static unsigned char complete(EditLine *editor, int key)
{
    struct interactive *self = self_of(editor);
    const LineInfo *line = el_line(editor);
    size_t size = (size_t)(line->cursor - line->buffer);
    char *beginning = strndup(line->buffer, size);
    (void)key;
    if (beginning == NULL)
        return CC_ERROR;
    char *addition = completion_of(self->app, beginning, show_candidate, self->app);
    free(beginning);
    if (addition == NULL)
        return CC_REFRESH_BEEP;
    unsigned char result = *addition == '\0' ? CC_REFRESH : CC_ERROR;
    if (*addition != '\0' && el_insertstr(editor, addition) == 0)
        result = CC_REFRESH;
    free(addition);
    return result;
}

/* ---- lines ---- */

/* Erases the typed line: the screen shows a message when the server returns it, and must not show a
 * line that may hold a password. */
static void erase_typed(struct interactive *self, const char *text)
{
    const struct command *command;
    const char *rest;
    enum line_kind kind = command_parse(text, &command, &rest);
    if (kind != LINE_MESSAGE && kind != LINE_EMPTY && kind != LINE_SUSPICIOUS)
        return;
    size_t columns = text_columns(self->prompt) + text_columns(text);
    terminal_erase(columns / terminal_columns() + 1);
}

static void take_line(struct interactive *self, const char *typed)
{
    HistEvent event;
    size_t length = strcspn(typed, "\r\n");
    char *text = strndup(typed, length);
    if (text == NULL)
        return;
    erase_typed(self, text);
    if (length > 0)
        (void)history(self->history, &event, H_ENTER, text);
    start_or_wait(self, text);
    free(text);
}

static bool open_editor(struct interactive *self)
{
    HistEvent event;
    self->editor = el_init("jackdaw", stdin, stdout, stderr);
    self->history = history_init();
    if (self->editor == NULL || self->history == NULL)
        return false;
    (void)history(self->history, &event, H_SETSIZE, HISTORY_LINES);
    (void)history(self->history, &event, H_SETUNIQUE, 1);
    (void)el_set(self->editor, EL_CLIENTDATA, self);
    (void)el_set(self->editor, EL_EDITOR, "emacs");
    (void)el_set(self->editor, EL_PROMPT, get_prompt);
    (void)el_set(self->editor, EL_HIST, history, self->history);
    (void)el_set(self->editor, EL_SIGNAL, 0);
    /* el_set would copy the two texts and never free them. */
    (void)el_wset(self->editor, EL_ADDFN, L"complete", L"completes a word", complete);
    (void)el_set(self->editor, EL_BIND, "^I", "complete", NULL);
    (void)el_set(self->editor, EL_BIND, "^R", "em-inc-search-prev", NULL);
    (void)el_set(self->editor, EL_BIND, "^W", "ed-delete-prev-word", NULL);
    (void)el_source(self->editor, NULL); /* the person's own ~/.editrc */
    (void)el_set(self->editor, EL_GETCFN, read_key);
    return true;
}

static void close_editor(struct interactive *self)
{
    if (self->history != NULL)
        history_end(self->history);
    if (self->editor != NULL)
        el_end(self->editor);
    while (self->waiting != NULL) {
        struct pending_line *first = self->waiting;
        self->waiting = first->next;
        free(first);
    }
    self->app->lines->put = NULL;
    free(self->output);
}

static void print_welcome(struct app *app)
{
    text_output_put(app, "** jackdaw: /help lists the commands");
    if (app->settings->user == NULL && !app->resumed)
        text_output_put(app, "** /login NAME, or /register NAME for an account");
}

/* Unsent messages get some time, which Ctrl-C ends. */
static void send_rest(struct interactive *self)
{
    uint64_t end_us = clock_monotonic_us() + EXIT_TIMEOUT_MS * 1000;
    (void)signals_interrupted();
    if (app_is_busy(self->app))
        text_output_put(self->app, "** waiting for what is unsent; Ctrl-C leaves at once");
    print_output(self);
    while (app_is_busy(self->app) && !self->app->state_failed && clock_monotonic_us() < end_us &&
           !signals_interrupted()) {
        turn(self, false, 100);
        print_output(self);
    }
}

void interactive_run(struct app *app)
{
    struct interactive self = {.app = app, .lines_typed = app->first_line};
    if (!open_editor(&self)) {
        close_editor(&self);
        text_output_put(app, "! the terminal cannot be used for editing: try --plain");
        return;
    }
    app->lines->put = keep_output;
    app->lines->put_context = &self;
    print_welcome(app);
    print_output(&self);
    app_start_session(app);
    while (!self.leaving) {
        int count = 0;
        print_output(&self);
        make_prompt(&self);
        const char *typed = el_gets(self.editor, &count);
        if (typed == NULL || count <= 0)
            break;
        take_line(&self, typed);
        self.leaving = self.leaving || app->quitting;
    }
    terminal_erase(0);
    send_rest(&self);
    print_output(&self);
    close_editor(&self);
}

bool interactive_is_possible(void)
{
    /* Without a locale, editing would know ASCII only; terminals of today know UTF-8. */
    if (strcmp(nl_langinfo(CODESET), "UTF-8") != 0 && setlocale(LC_CTYPE, "C.UTF-8") == NULL)
        return false;
    return terminal_can_erase();
}
