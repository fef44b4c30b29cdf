/* SPDX-License-Identifier: MIT */
/* ui_list.h - the user interfaces there are. See app/ui.h. */
#ifndef JACKDAW_CLI_UI_LIST_H
#define JACKDAW_CLI_UI_LIST_H

#include "app/ui.h"

/* One JSON object per line on standard output. */
extern const struct ui json_ui;

/* Lines for people, on standard output: as they come, or above the line that is being typed when
 * the line editor (interactive.h) is on. text_ui_asking: the same where passwords can be asked for. */
extern const struct ui text_ui;
extern const struct ui text_ui_asking;

/* Shows messages that have waited for a while as waiting. Once a turn. */
void text_ui_tick(struct app *app);
/* In how many milliseconds text_ui_tick has something to do; -1: not before something happens. */
int text_ui_timeout_ms(const struct app *app);

#endif
