/* SPDX-License-Identifier: MIT */
#include "app/app.h"
#include "base/output.h"
#include "cli/batch_mode.h"
#include "cli/interactive.h"
#include "cli/signals.h"
#include "cli/terminal.h"
#include "cli/ui_list.h"
#include "rpc/protocol.h"
#include "version.h"

#include <locale.h>
#include <stdio.h>
#include <unistd.h>

static int fail(enum app_exit status, const char *sentence, const char *more)
{
    struct error_text text;
    (void)error_set(&text, OK, "jackdaw: %s%s", sentence, more);
    log_last_words(text.text);
    return status;
}

static int run(const struct settings *settings)
{
    struct app app;
    struct error_text why;
    bool terminal = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
    terminal_init(settings->json || settings->plain);
    bool editing = terminal && !settings->json && !settings->plain && interactive_is_possible();
    const struct ui *ui = settings->json         ? &json_ui
                          : isatty(STDIN_FILENO) ? &text_ui_asking
                                                 : &text_ui;
    if (app_init(&app, settings, ui, &why) != OK)
        return fail(app.state_failed ? APP_EXIT_STATE : APP_EXIT_USAGE, why.text, "");
    signals_watch(app.client, editing);
    if (editing)
        interactive_run(&app);
    else {
        app_start_session(&app);
        batch_mode_run(&app);
    }
    app_leave(&app);
    ui->stats(&app);
    /* The user of a terminal has seen every failure; a script looks at the status. */
    enum app_exit status = editing && !app.state_failed ? APP_EXIT_OK : app_exit_status(&app);
    signals_ignore();
    app_release(&app);
    if (fflush(stdout) != 0 || ferror(stdout))
        return fail(APP_EXIT_FAILED, "standard output cannot be written to", "");
    return status;
}

int main(int argc, char **argv)
{
    output_open_standard();
    struct settings settings;
    struct error_text why;
    (void)setlocale(LC_ALL, "");
    if (settings_parse(argc, argv, &settings, &why) != OK)
        return fail(APP_EXIT_USAGE, why.text, "\nTry --help.");
    int result = APP_EXIT_OK;
    if (settings.help) {
        settings_print_help(stdout);
    } else if (settings.version) {
        (void)printf("jackdaw %s (protocol %u.%u)\n", JACKDAW_VERSION, RPC_PROTOCOL_MAJOR,
                     RPC_PROTOCOL_MINOR);
    } else {
        log_configure(settings.log_level, LOG_TEXT);
        rpc_init();
        result = log_start(NULL, &why) == OK ? run(&settings) : fail(APP_EXIT_FAILED, why.text, "");
    }
    settings_release(&settings);
    return result;
}
