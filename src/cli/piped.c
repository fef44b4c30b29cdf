/* SPDX-License-Identifier: MIT */
#include "cli/piped.h"

#include "base/clock.h"
#include "cli/app.h"
#include "cli/feeder.h"
#include "cli/signals.h"

#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#define LINES_A_TURN 256
#define LOOK_AGAIN_MS 1000 /* how often the end of the input is looked for behind what waits */

struct piped {
    struct app *app;
    struct feeder feeder;
    bool closed; /* no more lines are started */
    uint64_t closed_us;
};

static void start_lines(struct piped *piped)
{
    struct feeder_line line;
    for (size_t i = 0; i < LINES_A_TURN && !piped->closed; i++) {
        if (!feeder_peek(&piped->feeder, &line))
            break;
        if (!app_may_start(piped->app, line.text, line.size, true))
            return;
        if (line.too_long)
            app_refuse_line(piped->app, line.text, line.size, line.number);
        else
            app_start_line(piped->app, line.text, line.size, line.number);
        feeder_skip(&piped->feeder);
        if (piped->app->password_asked)
            feeder_drop(&piped->feeder); /* typed ahead: it may be the password */
        piped->app->password_asked = false;
        if (piped->app->quitting)
            piped->closed = true;
    }
    if (piped->feeder.ended && !feeder_peek(&piped->feeder, &line))
        piped->closed = true;
}

/* How long servers may stay silent: without end while more input may come. */
static int patience_ms(struct piped *piped)
{
    struct app *app = piped->app;
    app->input_ended = piped->closed || feeder_is_final(&piped->feeder);
    if (!app->input_ended || app->login != NULL)
        return LOOK_AGAIN_MS;
    uint64_t now_us = clock_monotonic_us();
    if (piped->closed_us == 0)
        piped->closed_us = now_us;
    uint64_t since_us = app->progress_us > piped->closed_us ? app->progress_us : piped->closed_us;
    uint64_t end_us = since_us + (uint64_t)app->settings->timeout_s * 1000000;
    return now_us >= end_us ? 0 : (int)((end_us - now_us) / 1000) + 1;
}

static void give_up(struct piped *piped)
{
    struct error_text text;
    (void)error_set(&text, OK, "no server answered within %u s",
                    (unsigned)piped->app->settings->timeout_s);
    app_give_up(piped->app, text.text);
}

static void wait_for_work(struct piped *piped, int patience)
{
    struct app *app = piped->app;
    bool reading = !piped->closed && feeder_wants(&piped->feeder);
    struct pollfd entries[2] = {
        {.fd = app_descriptor(app), .events = POLLIN},
        {.fd = reading ? piped->feeder.descriptor : -1, .events = POLLIN},
    };
    struct feeder_line line;
    int wait_ms = app_timeout_ms(app);
    if (wait_ms < 0 || wait_ms > patience)
        wait_ms = patience;
    if (!piped->closed && feeder_peek(&piped->feeder, &line) &&
        app_may_start(app, line.text, line.size, true))
        wait_ms = 0;
    if (poll(entries, 2, wait_ms) > 0 && entries[1].revents != 0)
        feeder_read(&piped->feeder);
}

/* True: leave at once. */
static bool heed_signals(struct piped *piped, int *interruptions)
{
    *interruptions += signals_interrupted() ? 1 : 0;
    int orders = *interruptions + signals_ended();
    if (orders > 0) {
        signals_leave();
        piped->closed = true;
        app_stop_login(piped->app);
    }
    return orders > 1 || ferror(stdout);
}

void piped_run(struct app *app)
{
    struct piped piped = {.app = app};
    int interruptions = 0;
    if (feeder_init(&piped.feeder, STDIN_FILENO) != OK)
        return;
    piped.feeder.number += app->first_line;
    for (;;) {
        app_process(app);
        piped.closed = piped.closed || app->quitting;
        start_lines(&piped);
        if (heed_signals(&piped, &interruptions) || (piped.closed && !app_is_busy(app)) ||
            app->state_failed || (app->hopeless && app->settings->state != NULL))
            break;
        int patience = patience_ms(&piped);
        if (patience == 0 && !app->hopeless)
            give_up(&piped);
        else
            wait_for_work(&piped, app->hopeless ? 0 : patience);
    }
    feeder_release(&piped.feeder);
}
