/* SPDX-License-Identifier: MIT */
#include "cli/batch_mode.h"

#include "app/app.h"
#include "base/clock.h"
#include "cli/line_reader.h"
#include "cli/signals.h"

#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#define LINES_A_TURN 256
#define LOOK_AGAIN_MS 1000 /* how often the end of the input is looked for behind what waits */

struct batch_mode {
    struct app *app;
    struct line_reader line_reader;
    bool closed; /* no more lines are started */
    uint64_t closed_us;
};

static void start_lines(struct batch_mode *batch_mode)
{
    struct input_line line;
    for (size_t i = 0; i < LINES_A_TURN && !batch_mode->closed; i++) {
        if (!line_reader_peek(&batch_mode->line_reader, &line))
            break;
        if (!app_may_start(batch_mode->app, line.text, line.size, true))
            return;
        if (line.too_long)
            app_refuse_line(batch_mode->app, line.text, line.size, line.number);
        else
            app_start_line(batch_mode->app, line.text, line.size, line.number);
        line_reader_skip(&batch_mode->line_reader);
        if (batch_mode->app->password_asked)
            line_reader_drop(&batch_mode->line_reader); /* typed ahead: it may be the password */
        batch_mode->app->password_asked = false;
        if (batch_mode->app->quitting)
            batch_mode->closed = true;
    }
    if (batch_mode->line_reader.ended && !line_reader_peek(&batch_mode->line_reader, &line))
        batch_mode->closed = true;
}

/* How long servers may stay silent: without end while more input may come. */
static int answer_timeout_ms(struct batch_mode *batch_mode)
{
    struct app *app = batch_mode->app;
    app->input_ended = batch_mode->closed || line_reader_is_final(&batch_mode->line_reader);
    if (!app->input_ended || app->login != NULL)
        return LOOK_AGAIN_MS;
    uint64_t now_us = clock_monotonic_us();
    if (batch_mode->closed_us == 0)
        batch_mode->closed_us = now_us;
    uint64_t since_us =
        app->progress_us > batch_mode->closed_us ? app->progress_us : batch_mode->closed_us;
    uint64_t end_us = since_us + (uint64_t)app->settings->timeout_s * 1000000;
    return now_us >= end_us ? 0 : (int)((end_us - now_us) / 1000) + 1;
}

static void give_up(struct batch_mode *batch_mode)
{
    struct error_text text;
    (void)error_set(&text, OK, "no server answered within %u s",
                    (unsigned)batch_mode->app->settings->timeout_s);
    app_give_up(batch_mode->app, text.text);
}

static void wait_for_work(struct batch_mode *batch_mode, int timeout_ms)
{
    struct app *app = batch_mode->app;
    bool reading = !batch_mode->closed && line_reader_wants(&batch_mode->line_reader);
    struct pollfd entries[2] = {
        {.fd = app_descriptor(app), .events = POLLIN},
        {.fd = reading ? batch_mode->line_reader.descriptor : -1, .events = POLLIN},
    };
    struct input_line line;
    int wait_ms = app_timeout_ms(app);
    if (wait_ms < 0 || wait_ms > timeout_ms)
        wait_ms = timeout_ms;
    if (!batch_mode->closed && line_reader_peek(&batch_mode->line_reader, &line) &&
        app_may_start(app, line.text, line.size, true))
        wait_ms = 0;
    if (poll(entries, 2, wait_ms) > 0 && entries[1].revents != 0)
        line_reader_read(&batch_mode->line_reader);
}

/* True: leave at once. */
static bool heed_signals(struct batch_mode *batch_mode, int *interruptions)
{
    *interruptions += signals_interrupted() ? 1 : 0;
    int orders = *interruptions + signals_ended();
    if (orders > 0) {
        signals_leave();
        batch_mode->closed = true;
        app_stop_login(batch_mode->app);
    }
    return orders > 1 || ferror(stdout);
}

void batch_mode_run(struct app *app)
{
    struct batch_mode batch_mode = {.app = app};
    int interruptions = 0;
    if (line_reader_init(&batch_mode.line_reader, STDIN_FILENO) != OK)
        return;
    batch_mode.line_reader.number += app->first_line;
    for (;;) {
        app_process(app);
        batch_mode.closed = batch_mode.closed || app->quitting;
        start_lines(&batch_mode);
        if (heed_signals(&batch_mode, &interruptions) || (batch_mode.closed && !app_is_busy(app)) ||
            app->state_failed || (app->hopeless && app->settings->state != NULL))
            break;
        int timeout_ms = answer_timeout_ms(&batch_mode);
        if (timeout_ms == 0 && !app->hopeless)
            give_up(&batch_mode);
        else
            wait_for_work(&batch_mode, app->hopeless ? 0 : timeout_ms);
    }
    line_reader_release(&batch_mode.line_reader);
}
