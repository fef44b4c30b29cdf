/* SPDX-License-Identifier: MIT */
/* ui_list.h - the screens there are. See screen.h. */
#ifndef JACKDAW_CLI_UI_LIST_H
#define JACKDAW_CLI_UI_LIST_H

#include "cli/ui.h"

/* One JSON object per line on standard output. */
extern const struct ui json_ui;

/* Lines for people, on standard output: as they come, or above the line that is being typed when
 * the editor (editor.h) is on. text_ui_asking: the same where passwords can be asked for. */
extern const struct ui text_ui;
extern const struct ui text_ui_asking;

/* Shows messages as waiting that have been for a while. To be called now and then. */
void text_ui_tick(struct app *app);
/* When there is something to do for it: milliseconds from now, or -1. */
int text_ui_timeout_ms(const struct app *app);

#endif
