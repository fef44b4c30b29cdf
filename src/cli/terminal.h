/* SPDX-License-Identifier: MIT */
/* terminal.h - what the terminal can do (terminfo): colours, erasing, its size, hiding what is
 * typed. The only file that includes curses. One thread; standard input and output only. */
#ifndef JACKDAW_CLI_TERMINAL_H
#define JACKDAW_CLI_TERMINAL_H

#include <stdbool.h>
#include <stddef.h>

enum style { STYLE_NORMAL, STYLE_DIM, STYLE_BOLD, STYLE_ERROR, STYLE_NAME_FIRST };
#define STYLE_NAMES 12 /* STYLE_NAME_FIRST and the following: colours for names */

/* Finds out about the terminal. With plain set, or NO_COLOR in the environment, or output that is
 * no terminal, every style is "". */
void terminal_init(bool plain);

/* The sequence that turns a style on, ESC [ numbers m once or more, or "" where the terminal has
 * none; STYLE_NORMAL ends all others. Static. */
const char *terminal_style(int style);

/* The style of a name: the same in every run and on every machine. */
int terminal_name_style(const char *name);

/* Whether lines can be erased, so that one that is being typed can be redrawn. */
bool terminal_can_erase(void);
/* Goes to the first column, so many rows up, and erases from there on. */
void terminal_erase(size_t rows_up);
size_t terminal_columns(void);

/* Turns the echo of what is typed off, and on again as it was. */
bool terminal_hide_input(void);
void terminal_show_input(void);

#endif
