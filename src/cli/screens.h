/* SPDX-License-Identifier: MIT */
/* screens.h - the screens there are. See screen.h. */
#ifndef JACKDAW_CLI_SCREENS_H
#define JACKDAW_CLI_SCREENS_H

#include "cli/screen.h"

/* One JSON object per line on standard output. */
extern const struct screen json_screen;

/* Lines for people, on standard output: as they come, or above the line that is being typed when
 * the editor (editor.h) is on. line_screen_asking: the same where passwords can be asked for. */
extern const struct screen line_screen;
extern const struct screen line_screen_asking;

/* Shows messages as waiting that have been for a while. To be called now and then. */
void line_screen_tick(struct app *app);
/* When there is something to do for it: milliseconds from now, or -1. */
int line_screen_timeout_ms(const struct app *app);

#endif
