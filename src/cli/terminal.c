/* SPDX-License-Identifier: MIT */
#include "cli/terminal.h"

#include <curses.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <term.h>
#include <termios.h>
#include <unistd.h>

#define STYLE_SIZE 32
#define STYLES (STYLE_NAME_FIRST + STYLE_NAMES)

static char styles[STYLES][STYLE_SIZE];
static const char *row_up, *rest_away;
static struct termios shown_input;
static bool hidden;

/* A capability of the terminal, or NULL. terminfo says NULL or -1 where there is none. */
static const char *capability(const char *name)
{
    const char *text = tigetstr(name);
    return (intptr_t)text <= 0 ? NULL : text;
}

/* Takes of a sequence each ESC [ numbers m, which is all that text_output_put lets pass. terminfo adds
 * padding ($<2>), and SI or ESC ( B to leave line drawing, which nothing here enters. */
static void set_style(int style, const char *sequence)
{
    char *to = styles[style];
    *to = '\0';
    if (sequence == NULL || strlen(sequence) >= STYLE_SIZE)
        return;
    for (const char *at = sequence; (at = strstr(at, "\x1b[")) != NULL;) {
        size_t size = 2 + strspn(at + 2, "0123456789;");
        if (at[size] == 'm') {
            memcpy(to, at, ++size);
            to += size;
        }
        at += size;
    }
    *to = '\0';
}

static void set_colour(int style, const char *format, int colour)
{
    if (format != NULL)
        set_style(style, tparm(format, (long)colour, 0L, 0L, 0L, 0L, 0L, 0L, 0L, 0L));
}

static void init_styles(void)
{
    /* Readable on black and on white; of 8 colours, those without black, white and the red that
     * stands for errors. */
    static const int many[STYLE_NAMES] = {31, 34, 37, 65, 67, 97, 99, 130, 134, 136, 166, 169};
    static const int few[STYLE_NAMES] = {2, 3, 4, 5, 6, 2, 3, 4, 5, 6, 2, 3};
    int colours = tigetnum("colors");
    const char *format = colours >= 8 ? capability("setaf") : NULL;
    set_style(STYLE_NORMAL, capability("sgr0"));
    set_style(STYLE_DIM, capability("dim"));
    set_style(STYLE_BOLD, capability("bold"));
    set_colour(STYLE_ERROR, format, 1);
    for (int i = 0; i < STYLE_NAMES; i++)
        set_colour(STYLE_NAME_FIRST + i, format, colours >= 256 ? many[i] : few[i]);
}

void terminal_init(bool plain)
{
    int problem;
    const char *no_colour = getenv("NO_COLOR");
    if (plain || !isatty(STDOUT_FILENO) || setupterm(NULL, STDOUT_FILENO, &problem) != OK)
        return;
    row_up = capability("cuu1");
    rest_away = capability("ed");
    if (no_colour == NULL || *no_colour == '\0')
        init_styles();
}

const char *terminal_style(int style)
{
    return styles[style];
}

int terminal_name_style(const char *name)
{
    unsigned hash = 2166136261u; /* FNV-1a */
    for (; *name != '\0'; name++)
        hash = (hash ^ (unsigned char)*name) * 16777619u;
    return STYLE_NAME_FIRST + (int)((hash >> 8) % STYLE_NAMES);
}

bool terminal_can_erase(void)
{
    return row_up != NULL && rest_away != NULL;
}

void terminal_erase(size_t rows_up)
{
    (void)putchar('\r');
    for (; rows_up > 0; rows_up--)
        (void)tputs(row_up, 1, putchar);
    (void)tputs(rest_away, 1, putchar);
}

size_t terminal_columns(void)
{
    struct winsize size;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        return size.ws_col;
    return 80;
}

bool terminal_hide_input(void)
{
    struct termios quiet;
    if (tcgetattr(STDIN_FILENO, &shown_input) != 0)
        return false;
    quiet = shown_input;
    quiet.c_lflag &= ~(tcflag_t)(ECHO | ECHOE | ECHOK);
    quiet.c_lflag |= ECHONL | ICANON | ISIG;
    quiet.c_iflag |= ICRNL;
    hidden = tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet) == 0;
    return hidden;
}

void terminal_show_input(void)
{
    if (hidden)
        (void)tcsetattr(STDIN_FILENO, TCSADRAIN, &shown_input);
    hidden = false;
}
