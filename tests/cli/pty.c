/* SPDX-License-Identifier: MIT */
#include "cli/pty.h"

#include "support/test.h"

#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#define ROWS_MAX 60u
#define COLUMNS_MAX 200u
#define PARAMETERS_MAX 8u

enum parser { PARSE_TEXT, PARSE_ESCAPE, PARSE_CSI, PARSE_CHARSET, PARSE_STRING };

struct text {
    char *bytes;
    size_t size;
};

struct pty {
    struct pty_options options;
    int terminal;
    int status_pipe, control_pipe; /* of the shell */
    pid_t shell;
    bool stopped, ended;
    int status;
    /* The screen. */
    unsigned rows, columns;
    uint32_t cells[ROWS_MAX][COLUMNS_MAX]; /* 0: blank */
    unsigned row, column;
    bool wraps; /* the next character begins a new row (xterm's delayed wrap) */
    struct text scrolled, output;
    enum parser parser;
    unsigned parameters[PARAMETERS_MAX];
    unsigned parameter;
    uint32_t character;
    unsigned character_left;
    size_t foreign;
};

static void append(struct text *text, const char *bytes, size_t size)
{
    char *grown = realloc(text->bytes, text->size + size + 1);
    assert_non_null(grown);
    memcpy(grown + text->size, bytes, size);
    text->bytes = grown;
    text->size += size;
    text->bytes[text->size] = '\0';
}

static size_t encode(uint32_t character, char out[static 4])
{
    if (character < 0x80) {
        out[0] = (char)character;
        return 1;
    }
    size_t size = character < 0x800 ? 2 : character < 0x10000 ? 3 : 4;
    for (size_t i = size - 1; i > 0; i--, character >>= 6)
        out[i] = (char)(0x80 | (character & 0x3F));
    out[0] = (char)((0xF00 >> size & 0xF0) | character);
    return size;
}

static void append_row(struct text *text, const uint32_t cells[static COLUMNS_MAX])
{
    unsigned end = COLUMNS_MAX;
    while (end > 0 && (cells[end - 1] == 0 || cells[end - 1] == ' '))
        end--;
    for (unsigned i = 0; i < end; i++) {
        char bytes[4];
        append(text, bytes, encode(cells[i] == 0 ? ' ' : cells[i], bytes));
    }
}

static void scroll(struct pty *pty)
{
    append_row(&pty->scrolled, pty->cells[0]);
    append(&pty->scrolled, "\n", 1);
    memmove(pty->cells[0], pty->cells[1], (pty->rows - 1) * sizeof pty->cells[0]);
    memset(pty->cells[pty->rows - 1], 0, sizeof pty->cells[0]);
}

static void new_row(struct pty *pty)
{
    pty->wraps = false;
    if (pty->row + 1 < pty->rows)
        pty->row++;
    else
        scroll(pty);
}

static void put_character(struct pty *pty, uint32_t character)
{
    if (pty->wraps) {
        pty->column = 0;
        new_row(pty);
    }
    pty->cells[pty->row][pty->column] = character;
    if (pty->column + 1 < pty->columns)
        pty->column++;
    else
        pty->wraps = true;
}

static void erase(struct pty *pty, unsigned row, unsigned from, unsigned to)
{
    for (unsigned i = from; i < to && i < COLUMNS_MAX; i++)
        pty->cells[row][i] = 0;
}

static void erase_in_display(struct pty *pty, unsigned how)
{
    if (how != 0) { /* no program of this project clears the screen */
        pty->foreign++;
        return;
    }
    erase(pty, pty->row, pty->column, COLUMNS_MAX);
    for (unsigned row = pty->row + 1; row < pty->rows; row++)
        erase(pty, row, 0, COLUMNS_MAX);
}

static void erase_in_line(struct pty *pty, unsigned how)
{
    erase(pty, pty->row, how == 0 ? pty->column : 0, how == 1 ? pty->column + 1 : COLUMNS_MAX);
}

static void shift(struct pty *pty, unsigned count, bool insert)
{
    uint32_t *row = pty->cells[pty->row];
    unsigned left = pty->columns - pty->column;
    count = count < left ? count : left;
    if (insert) {
        memmove(row + pty->column + count, row + pty->column, (left - count) * sizeof *row);
        erase(pty, pty->row, pty->column, pty->column + count);
    } else {
        memmove(row + pty->column, row + pty->column + count, (left - count) * sizeof *row);
        erase(pty, pty->row, pty->columns - count, pty->columns);
    }
}

static unsigned at_most(unsigned value, unsigned most)
{
    return value < most ? value : most;
}

static void do_csi(struct pty *pty, char last)
{
    unsigned first = pty->parameters[0];
    unsigned count = first == 0 ? 1 : first;
    pty->wraps = pty->wraps && last == 'm';
    switch (last) {
    case 'A':
        pty->row -= at_most(count, pty->row);
        break;
    case 'B':
        pty->row = at_most(pty->row + count, pty->rows - 1);
        break;
    case 'C':
        pty->column = at_most(pty->column + count, pty->columns - 1);
        break;
    case 'D':
        pty->column -= at_most(count, pty->column);
        break;
    case 'G':
        pty->column = at_most(count - 1, pty->columns - 1);
        break;
    case 'J':
        erase_in_display(pty, first);
        break;
    case 'K':
        erase_in_line(pty, first);
        break;
    case 'P':
    case '@':
        shift(pty, count, last == '@');
        break;
    case 'm':
    case 'h': /* modes: of the keyboard, bracketed paste */
    case 'l':
        break;
    default:
        pty->foreign++;
        break;
    }
}

static void take_control(struct pty *pty, unsigned char byte)
{
    switch (byte) {
    case '\r':
        pty->column = 0;
        pty->wraps = false;
        break;
    case '\n':
        new_row(pty);
        break;
    case '\b':
        pty->column -= pty->column > 0 && !pty->wraps;
        pty->wraps = false;
        break;
    case '\t':
        pty->column = at_most((pty->column | 7) + 1, pty->columns - 1);
        break;
    case '\a':
    case '\0':
    case 14: /* line drawing, on and off */
    case 15:
        break;
    case 27:
        pty->parser = PARSE_ESCAPE;
        break;
    default:
        pty->foreign++;
        break;
    }
}

static void take_text(struct pty *pty, unsigned char byte)
{
    if (byte < 0x20 || byte == 0x7F) {
        pty->character_left = 0;
        take_control(pty, byte);
    } else if (byte < 0x80) {
        put_character(pty, byte);
    } else if ((byte & 0xC0) == 0x80 && pty->character_left > 0) {
        pty->character = pty->character << 6 | (byte & 0x3F);
        if (--pty->character_left > 0)
            return;
        if (pty->character < 0xA0) /* C1: CSI, OSC and so on in one character */
            pty->foreign++;
        else
            put_character(pty, pty->character);
    } else {
        pty->character_left = byte >= 0xF0 ? 3 : byte >= 0xE0 ? 2 : byte >= 0xC0 ? 1 : 0;
        pty->character = byte & (0x3Fu >> pty->character_left);
    }
}

static void take_escape(struct pty *pty, unsigned char byte)
{
    pty->parser = PARSE_TEXT;
    switch (byte) {
    case '[':
        memset(pty->parameters, 0, sizeof pty->parameters);
        pty->parameter = 0;
        pty->parser = PARSE_CSI;
        break;
    case '(':
    case ')':
        pty->parser = PARSE_CHARSET;
        break;
    case '=': /* the keypad */
    case '>':
        break;
    case ']':
    case 'P':
    case '_':
    case '^':
        pty->foreign++;
        pty->parser = PARSE_STRING;
        break;
    default:
        pty->foreign++;
        break;
    }
}

static void take_csi(struct pty *pty, unsigned char byte)
{
    if (byte >= '0' && byte <= '9') {
        unsigned *parameter = &pty->parameters[pty->parameter];
        *parameter = at_most(*parameter * 10 + (unsigned)(byte - '0'), 9999);
    } else if (byte == ';') {
        pty->parameter = at_most(pty->parameter + 1, PARAMETERS_MAX - 1);
    } else if (byte >= 0x40) {
        pty->parser = PARSE_TEXT;
        do_csi(pty, (char)byte);
    }
}

static void take_byte(struct pty *pty, unsigned char byte)
{
    switch (pty->parser) {
    case PARSE_TEXT:
        take_text(pty, byte);
        break;
    case PARSE_ESCAPE:
        take_escape(pty, byte);
        break;
    case PARSE_CSI:
        take_csi(pty, byte);
        break;
    case PARSE_CHARSET:
        pty->parser = PARSE_TEXT;
        break;
    case PARSE_STRING:
        if (byte == 7 || byte == '\\')
            pty->parser = PARSE_TEXT;
        break;
    }
}

const char *pty_row(const struct pty *pty, unsigned i)
{
    static struct text text;
    assert_true(i < pty->rows);
    text.size = 0;
    append(&text, "", 0);
    append_row(&text, pty->cells[i]);
    return text.bytes;
}

unsigned pty_cursor_row(const struct pty *pty)
{
    return pty->row;
}

unsigned pty_cursor_column(const struct pty *pty)
{
    return pty->column;
}

const char *pty_text(const struct pty *pty)
{
    static struct text text;
    text.size = 0;
    append(&text, "", 0);
    append(&text, pty->scrolled.bytes, pty->scrolled.size);
    for (unsigned i = 0; i < pty->rows; i++) {
        append_row(&text, pty->cells[i]);
        append(&text, "\n", 1);
    }
    return text.bytes;
}

bool pty_shows(const struct pty *pty, const char *text)
{
    return strstr(pty_text(pty), text) != NULL;
}

size_t pty_count(const struct pty *pty, const char *text)
{
    size_t count = 0;
    for (const char *at = pty_text(pty); (at = strstr(at, text)) != NULL; at++)
        count++;
    return count;
}

bool pty_has_written(const struct pty *pty, const char *text)
{
    return memmem(pty->output.bytes, pty->output.size, text, strlen(text)) != NULL;
}

size_t pty_foreign_sequences(const struct pty *pty)
{
    return pty->foreign;
}

bool pty_echoes(const struct pty *pty)
{
    struct termios settings;
    assert_int_equal(tcgetattr(pty->terminal, &settings), 0);
    return (settings.c_lflag & ECHO) != 0;
}

static void report(int to, char what, unsigned char status)
{
    const char word[2] = {what, (char)status};
    if (write(to, word, sizeof word) != sizeof word)
        _exit(1);
}

static _Noreturn void run_program(const struct pty_options *options)
{
    (void)setpgid(0, 0);
    (void)tcsetpgrp(STDIN_FILENO, getpid());
    (void)signal(SIGTTOU, SIG_DFL);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (size_t i = 0; options->environment != NULL && options->environment[i] != NULL; i++)
        (void)putenv((char *)options->environment[i]);
    (void)execv(options->arguments[0], (char *const *)options->arguments);
    _exit(127);
}

/* Reports each stop and the end of the program; goes on with it when a byte arrives. */
static _Noreturn void run_shell(const struct pty_options *options, int status_pipe, int control)
{
    (void)signal(SIGTTOU, SIG_IGN); /* it hands the terminal over from the background */
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    pid_t program = fork();
    if (program == 0)
        run_program(options);
    int status;
    char go;
    while (program > 0 && waitpid(program, &status, WUNTRACED) == program && WIFSTOPPED(status)) {
        (void)tcsetpgrp(STDIN_FILENO, getpid());
        report(status_pipe, 's', 0);
        if (read(control, &go, 1) != 1)
            break;
        (void)tcsetpgrp(STDIN_FILENO, program);
        (void)kill(-program, SIGCONT);
    }
    report(status_pipe, 'x',
           (unsigned char)(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status)));
    (void)read(control, &go, 1); /* the terminal stays until the test has read it */
    _exit(0);
}

static void start(struct pty *pty)
{
    int status[2], control[2];
    const struct winsize size = {.ws_row = (unsigned short)pty->rows,
                                 .ws_col = (unsigned short)pty->columns};
    assert_int_equal(pipe2(status, O_CLOEXEC), 0);
    assert_int_equal(pipe2(control, O_CLOEXEC), 0);
    pty->shell = forkpty(&pty->terminal, NULL, NULL, &size);
    assert_true(pty->shell >= 0);
    if (pty->shell == 0) {
        (void)close(control[1]);
        run_shell(&pty->options, status[1], control[0]);
    }
    (void)close(status[1]);
    (void)close(control[0]);
    pty->status_pipe = status[0];
    pty->control_pipe = control[1];
    (void)fcntl(pty->terminal, F_SETFD, FD_CLOEXEC);
}

struct pty *pty_open(const struct pty_options *options)
{
    struct pty *pty = calloc(1, sizeof *pty);
    assert_non_null(pty);
    pty->options = *options;
    pty->rows = options->rows == 0 ? 24 : options->rows;
    pty->columns = options->columns == 0 ? 80 : options->columns;
    append(&pty->scrolled, "", 0);
    append(&pty->output, "", 0);
    start(pty);
    return pty;
}

void pty_close(struct pty *pty)
{
    if (pty == NULL)
        return;
    (void)kill(pty->shell, SIGKILL);
    (void)waitpid(pty->shell, NULL, 0);
    (void)close(pty->terminal);
    (void)close(pty->status_pipe);
    (void)close(pty->control_pipe);
    free(pty->scrolled.bytes);
    free(pty->output.bytes);
    free(pty);
}

void pty_type(struct pty *pty, const char *keys)
{
    size_t size = strlen(keys);
    assert_int_equal(write(pty->terminal, keys, size), size);
}

void pty_resize(struct pty *pty, unsigned rows, unsigned columns)
{
    assert_true(rows <= ROWS_MAX && columns <= COLUMNS_MAX);
    const struct winsize size = {.ws_row = (unsigned short)rows, .ws_col = (unsigned short)columns};
    while (pty->row >= rows) {
        scroll(pty);
        pty->row--;
    }
    pty->rows = rows;
    pty->columns = columns;
    pty->column = at_most(pty->column, columns - 1);
    for (unsigned row = 0; row < rows; row++)
        erase(pty, row, columns, COLUMNS_MAX);
    assert_int_equal(ioctl(pty->terminal, TIOCSWINSZ, &size), 0);
}

void pty_continue(struct pty *pty)
{
    assert_true(pty->stopped);
    pty->stopped = false;
    assert_int_equal(write(pty->control_pipe, "g", 1), 1);
}

static void read_output(struct pty *pty)
{
    char bytes[4096];
    ssize_t size = read(pty->terminal, bytes, sizeof bytes);
    if (size <= 0)
        return;
    append(&pty->output, bytes, (size_t)size);
    for (ssize_t i = 0; i < size; i++)
        take_byte(pty, (unsigned char)bytes[i]);
}

static void read_status(struct pty *pty)
{
    unsigned char word[2];
    assert_int_equal(read(pty->status_pipe, word, sizeof word), sizeof word);
    pty->stopped = word[0] == 's';
    pty->ended = word[0] == 'x';
    pty->status = word[1];
}

void pty_turn(struct pty *pty)
{
    struct pollfd entries[2] = {
        {.fd = pty->terminal, .events = POLLIN},
        {.fd = pty->ended ? -1 : pty->status_pipe, .events = POLLIN},
    };
    (void)poll(entries, 2, PTY_LOOK_MS);
    if (entries[0].revents & POLLIN)
        read_output(pty);
    else if (entries[1].revents != 0) /* after all that was written before */
        read_status(pty);
    if (pty->options.turn != NULL)
        pty->options.turn(pty->options.context);
}

bool pty_has_stopped(const struct pty *pty)
{
    return pty->stopped;
}

bool pty_has_ended(const struct pty *pty)
{
    return pty->ended;
}

int pty_status(const struct pty *pty)
{
    assert_true(pty->ended);
    return pty->status;
}

void pty_fail(struct pty *pty, const char *what, int line)
{
    print_error("the screen (cursor in row %u, column %u):\n%s\n", pty->row, pty->column,
                pty_text(pty));
    fail_msg("line %d: waited in vain for: %s", line, what);
    abort();
}
