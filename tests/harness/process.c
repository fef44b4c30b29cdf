/* SPDX-License-Identifier: MIT */
#include "harness/process.h"

#include "base/clock.h"
#include "support/test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define READ_BYTES 65536
#define ARGUMENTS_MAX 64
#define PATHS_MAX (PROCESS_GROUP_PROCESSES_MAX + 64)
#define RELEASES_MAX (PROCESS_GROUP_PROCESSES_MAX + 8)
#define PRINTED_NOTES 100       /* when a test fails: the last of the test's own, */
#define PRINTED_LOG_LINES 100   /* of each program's log, */
#define PRINTED_LINES 30        /* and of what each printed */
#define PRINTED_LINE_BYTES 400  /* of each line */
#define LOG_BYTES_MAX (4 << 20) /* of a log, from its end */

struct buffer {
    char *bytes;
    size_t used;
    size_t capacity;
};

struct line {
    uint64_t time_us; /* monotonic */
    uint64_t wall_us;
    char *text;
};

struct lines {
    struct line *items;
    size_t count;
    size_t capacity;
};

struct process {
    struct process_group *group;
    char name[64];
    char log[PROCESS_GROUP_PATH_SIZE];
    pid_t id; /* 0: has ended and was reaped */
    int status;
    uint64_t started_wall_us;
    int input;  /* -1: closed */
    int output; /* -1: closed */
    bool end_input;
    struct buffer unsent; /* behind `sent` bytes that went out already */
    size_t sent;
    struct buffer partial; /* a line whose end was not read yet */
    struct lines lines;
    void (*on_line)(void *context, const char *line, uint64_t time_us);
    void *context;
};

struct release {
    void (*call)(void *object);
    void *object;
};

struct process_group {
    char folder[PROCESS_GROUP_PATH_SIZE / 2];
    char *paths[PATHS_MAX];
    size_t path_count;
    struct process *processes[PROCESS_GROUP_PROCESSES_MAX];
    size_t process_count;
    struct release releases[RELEASES_MAX];
    size_t release_count;
    struct lines notes;
    sigset_t mask; /* signals while waiting: SIGCHLD is let through then only */
    bool passed;
};

/* A test that has no memory fails. */
static void *need(void *memory)
{
    if (memory == NULL)
        fail_msg("out of memory");
    return memory;
}

static void append(struct buffer *buffer, const char *bytes, size_t size)
{
    if (buffer->capacity - buffer->used < size) {
        buffer->capacity = (buffer->used + size) * 2;
        buffer->bytes = need(realloc(buffer->bytes, buffer->capacity));
    }
    if (size > 0)
        memcpy(buffer->bytes + buffer->used, bytes, size);
    buffer->used += size;
}

static uint64_t wall_us(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

static const struct line *add_line(struct lines *lines, const char *text, size_t size,
                                   uint64_t at_wall_us)
{
    if (lines->count == lines->capacity) {
        lines->capacity = lines->capacity == 0 ? 64 : lines->capacity * 2;
        lines->items = need(realloc(lines->items, lines->capacity * sizeof *lines->items));
    }
    struct line *line = &lines->items[lines->count++];
    line->time_us = clock_monotonic_us();
    line->wall_us = at_wall_us;
    line->text = need(malloc(size + 1));
    if (size > 0)
        memcpy(line->text, text, size);
    line->text[size] = '\0';
    return line;
}

static void free_lines(struct lines *lines)
{
    for (size_t i = 0; i < lines->count; i++)
        free(lines->items[i].text);
    free(lines->items);
}

uint64_t process_group_now_ms(void)
{
    return clock_monotonic_ms();
}

size_t process_group_lines(const struct process_group *group)
{
    size_t count = 0;
    for (size_t i = 0; i < group->process_count; i++)
        count += group->processes[i]->lines.count;
    return count;
}

static void on_child(int number)
{
    (void)number; /* ends poll */
}

static void watch_children(struct process_group *group)
{
    const struct sigaction action = {.sa_handler = on_child};
    sigset_t child;
    (void)sigemptyset(&child);
    (void)sigaddset(&child, SIGCHLD);
    (void)sigaction(SIGCHLD, &action, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)sigprocmask(SIG_BLOCK, &child, &group->mask);
    (void)sigdelset(&group->mask, SIGCHLD);
}

/* A test that fails while it is set up has no chance to close its stage. */
static struct process_group *open_now;

static void close_open_process_group(void)
{
    process_group_close(open_now);
}

static void close_at_exit(void)
{
    static bool registered;
    if (!registered && atexit(close_open_process_group) == 0)
        registered = true;
}

/* What the sanitizers pass over in tests (suppressions.c) they pass over in programs as well. */
const char *__lsan_default_suppressions(void) __attribute__((weak));
const char *__tsan_default_suppressions(void) __attribute__((weak));

static void hand_on(struct process_group *group, const char *(*suppressions)(void),
                    const char *variable)
{
    if (suppressions == NULL || suppressions()[0] == '\0')
        return;
    const char *path = process_group_path(group, variable);
    FILE *file = fopen(path, "we");
    if (file == NULL || fputs(suppressions(), file) < 0 || fclose(file) != 0)
        fail_msg("cannot write %s", path);
    char value[PROCESS_GROUP_PATH_SIZE + 64];
    (void)snprintf(value, sizeof value, "suppressions=%s:print_suppressions=0", path);
    (void)setenv(variable, value, 1);
}

struct process_group *process_group_open(void)
{
    const char *parent = getenv("TMPDIR");
    return process_group_open_in(parent == NULL || *parent == '\0' ? "/tmp" : parent);
}

struct process_group *process_group_open_in(const char *parent)
{
    process_group_close(open_now);
    close_at_exit();
    struct process_group *group = need(calloc(1, sizeof *group));
    int length = snprintf(group->folder, sizeof group->folder, "%s/jackdaw-test.XXXXXX", parent);
    if (length < 0 || (size_t)length >= sizeof group->folder || mkdtemp(group->folder) == NULL)
        fail_msg("cannot make a folder like %s", group->folder);
    watch_children(group);
    hand_on(group, __lsan_default_suppressions, "LSAN_OPTIONS");
    hand_on(group, __tsan_default_suppressions, "TSAN_OPTIONS");
    open_now = group;
    return group;
}

void process_group_pass(struct process_group *group)
{
    group->passed = true;
}

const char *process_group_path(struct process_group *group, const char *name)
{
    char path[PROCESS_GROUP_PATH_SIZE];
    int length = snprintf(path, sizeof path, "%s/%s", group->folder, name);
    if (length < 0 || (size_t)length >= sizeof path)
        fail_msg("the path of %s is too long", name);
    for (size_t i = 0; i < group->path_count; i++)
        if (strcmp(group->paths[i], path) == 0)
            return group->paths[i];
    if (group->path_count == PATHS_MAX)
        fail_msg("too many paths on one stage");
    group->paths[group->path_count] = need(strdup(path));
    return group->paths[group->path_count++];
}

void process_group_defer(struct process_group *group, void (*release)(void *object), void *object)
{
    if (group->release_count == RELEASES_MAX)
        fail_msg("too many releases on one stage");
    group->releases[group->release_count++] = (struct release){release, object};
}

void process_group_note(struct process_group *group, const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    (void)add_line(&group->notes, text, strlen(text), wall_us());
}

void process_group_fail(struct process_group *group, const char *format, ...)
{
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    process_group_note(group, "FAILED: %s", text);
    fail_msg("%s", text);
    abort(); /* not reached */
}

struct output_line {
    uint64_t wall_us;
    size_t rank; /* keeps the order of lines with one time */
    const char *name;
    char *text; /* owned */
};

struct printout {
    struct output_line *items;
    size_t count;
    size_t capacity;
};

static void print_later(struct printout *printout, uint64_t at_wall_us, const char *name,
                        const char *text, size_t size)
{
    if (printout->count == printout->capacity) {
        printout->capacity = printout->capacity == 0 ? 256 : printout->capacity * 2;
        printout->items =
            need(realloc(printout->items, printout->capacity * sizeof *printout->items));
    }
    struct output_line *printed = &printout->items[printout->count];
    *printed = (struct output_line){.wall_us = at_wall_us, .rank = printout->count, .name = name};
    printed->text = need(strndup(text, size < PRINTED_LINE_BYTES ? size : PRINTED_LINE_BYTES));
    printout->count++;
}

static void print_lines_later(struct printout *printout, const char *name,
                              const struct lines *lines, size_t most)
{
    size_t first = lines->count > most ? lines->count - most : 0;
    for (size_t i = first; i < lines->count; i++)
        print_later(printout, lines->items[i].wall_us, name, lines->items[i].text,
                    strlen(lines->items[i].text));
}

/* The time that our log lines begin with; `before` where there is none. */
static uint64_t log_time_us(const char *line, uint64_t before_us)
{
    struct tm time = {0};
    unsigned microseconds = 0;
    if (sscanf(line, "%4d-%2d-%2dT%2d:%2d:%2d.%6uZ", &time.tm_year, &time.tm_mon, &time.tm_mday,
               &time.tm_hour, &time.tm_min, &time.tm_sec, &microseconds) != 7)
        return before_us;
    time.tm_year -= 1900;
    time.tm_mon -= 1;
    return (uint64_t)timegm(&time) * 1000000u + microseconds;
}

static void print_log_later(struct printout *printout, const struct process *process)
{
    char *log = process_log(process);
    uint64_t time_us = process->started_wall_us;
    size_t lines = 0;
    for (const char *at = log; *at != '\0'; at++)
        lines += *at == '\n';
    for (const char *at = log; *at != '\0';) {
        size_t size = strcspn(at, "\n");
        time_us = log_time_us(at, time_us);
        if (lines <= PRINTED_LOG_LINES)
            print_later(printout, time_us, process->name, at, size);
        lines -= lines > 0;
        at += size + (at[size] == '\n');
    }
    free(log);
}

static int compare_printed(const void *left, const void *right)
{
    const struct output_line *a = left;
    const struct output_line *b = right;
    if (a->wall_us != b->wall_us)
        return a->wall_us < b->wall_us ? -1 : 1;
    return a->rank < b->rank ? -1 : a->rank > b->rank;
}

static void print_one(const struct output_line *printed)
{
    time_t seconds = (time_t)(printed->wall_us / 1000000u);
    struct tm utc;
    char stamp[16];
    (void)gmtime_r(&seconds, &utc);
    (void)strftime(stamp, sizeof stamp, "%H:%M:%S", &utc);
    (void)fprintf(stderr, "%s.%06u %-10s | %s\n", stamp, (unsigned)(printed->wall_us % 1000000u),
                  printed->name, printed->text);
}

static void print_all(const struct process_group *group)
{
    struct printout printout = {0};
    print_lines_later(&printout, "test", &group->notes, PRINTED_NOTES);
    for (size_t i = 0; i < group->process_count; i++) {
        const struct process *process = group->processes[i];
        print_log_later(&printout, process);
        print_lines_later(&printout, process->name, &process->lines, PRINTED_LINES);
    }
    qsort(printout.items, printout.count, sizeof *printout.items, compare_printed);
    (void)fprintf(stderr, "---- the last lines of all logs, by time\n");
    for (size_t i = 0; i < printout.count; i++) {
        print_one(&printout.items[i]);
        free(printout.items[i].text);
    }
    (void)fprintf(stderr, "----\n");
    free(printout.items);
}

static int remove_entry(const char *path, const struct stat *status, int kind, struct FTW *where)
{
    (void)status;
    (void)kind;
    (void)where;
    (void)remove(path);
    return 0;
}

static void free_process(struct process *process)
{
    if (process->input >= 0)
        (void)close(process->input);
    if (process->output >= 0)
        (void)close(process->output);
    free_lines(&process->lines);
    free(process->unsent.bytes);
    free(process->partial.bytes);
    free(process);
}

/* What it printed, beside its log. */
static void save_output(const struct process *process)
{
    char path[PROCESS_GROUP_PATH_SIZE + 8];
    (void)snprintf(path, sizeof path, "%s.out", process->log);
    FILE *file = fopen(path, "we");
    if (file == NULL)
        return;
    for (size_t i = 0; i < process->lines.count; i++)
        (void)fprintf(file, "%s\n", process->lines.items[i].text);
    (void)fclose(file);
}

void process_group_close(struct process_group *group)
{
    if (group == NULL)
        return;
    open_now = NULL;
    for (size_t i = 0; i < group->process_count; i++) {
        struct process *process = group->processes[i];
        if (process->id != 0) {
            (void)kill(process->id, SIGKILL);
            (void)waitpid(process->id, &process->status, 0);
        }
    }
    if (!group->passed)
        print_all(group);
    while (group->release_count > 0) {
        struct release *release = &group->releases[--group->release_count];
        release->call(release->object);
    }
    for (size_t i = 0; i < group->process_count; i++) {
        if (getenv("JACKDAW_TEST_KEEP") != NULL)
            save_output(group->processes[i]);
        free_process(group->processes[i]);
    }
    if (getenv("JACKDAW_TEST_KEEP") == NULL)
        (void)nftw(group->folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
    else
        (void)fprintf(stderr, "kept: %s\n", group->folder);
    for (size_t i = 0; i < group->path_count; i++)
        free(group->paths[i]);
    free_lines(&group->notes);
    free(group);
}

static void take_line(struct process *process, const char *text, size_t size)
{
    const struct line *line = add_line(&process->lines, text, size, wall_us());
    if (process->on_line != NULL)
        process->on_line(process->context, line->text, line->time_us);
}

static void take_output(struct process *process, const char *bytes, size_t size)
{
    while (size > 0) {
        const char *end = memchr(bytes, '\n', size);
        if (end == NULL) {
            append(&process->partial, bytes, size);
            return;
        }
        size_t length = (size_t)(end - bytes);
        if (process->partial.used > 0) {
            append(&process->partial, bytes, length);
            take_line(process, process->partial.bytes, process->partial.used);
            process->partial.used = 0;
        } else {
            take_line(process, bytes, length);
        }
        bytes += length + 1;
        size -= length + 1;
    }
}

static void read_output(struct process *process)
{
    static char bytes[READ_BYTES];
    ssize_t got = read(process->output, bytes, sizeof bytes);
    if (got > 0) {
        take_output(process, bytes, (size_t)got);
    } else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
        if (process->partial.used > 0)
            take_line(process, process->partial.bytes, process->partial.used);
        process->partial.used = 0;
        (void)close(process->output);
        process->output = -1;
    }
}

static void close_input(struct process *process)
{
    if (process->input >= 0)
        (void)close(process->input);
    process->input = -1;
    process->unsent.used = 0;
    process->sent = 0;
}

static void write_input(struct process *process)
{
    while (process->sent < process->unsent.used) {
        ssize_t wrote = write(process->input, process->unsent.bytes + process->sent,
                              process->unsent.used - process->sent);
        if (wrote < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (wrote < 0) {
            close_input(process); /* it does not read any more */
            return;
        }
        process->sent += (size_t)wrote;
    }
    process->unsent.used = 0;
    process->sent = 0;
    if (process->end_input)
        close_input(process);
}

static void reap(struct process *process)
{
    if (process->id == 0 || waitpid(process->id, &process->status, WNOHANG) != process->id)
        return;
    process_group_note(process->group, "%s has ended, %s %d", process->name,
                       WIFSIGNALED(process->status) ? "by signal" : "with status",
                       WIFSIGNALED(process->status) ? WTERMSIG(process->status)
                                                    : WEXITSTATUS(process->status));
    process->id = 0;
}

void process_group_turn(struct process_group *group, uint64_t until_ms)
{
    struct pollfd entries[PROCESS_GROUP_PROCESSES_MAX * 2];
    nfds_t count = 0;
    for (size_t i = 0; i < group->process_count; i++) {
        const struct process *process = group->processes[i];
        bool waits = process->input >= 0 && process->sent < process->unsent.used;
        entries[count++] = (struct pollfd){.fd = process->output, .events = POLLIN};
        entries[count++] = (struct pollfd){.fd = waits ? process->input : -1, .events = POLLOUT};
    }
    uint64_t now_ms = process_group_now_ms();
    uint64_t left_ms = until_ms > now_ms ? until_ms - now_ms : 0;
    const struct timespec timeout = {.tv_sec = (time_t)(left_ms / 1000),
                                     .tv_nsec = (long)(left_ms % 1000) * 1000000};
    int ready = ppoll(entries, count, &timeout, &group->mask);
    for (size_t i = 0; i < group->process_count; i++) {
        struct process *process = group->processes[i];
        reap(process);
        if (ready > 0 && entries[2 * i].revents != 0 && process->output >= 0)
            read_output(process);
        if (ready > 0 && entries[2 * i + 1].revents != 0 && process->input >= 0)
            write_input(process);
    }
}

static _Noreturn void run_program(const struct process_options *options, const char *log,
                                  const int input[2], const int output[2], pid_t parent)
{
    const char *words[ARGUMENTS_MAX + 2] = {options->program};
    for (size_t i = 0; i < ARGUMENTS_MAX && options->arguments[i] != NULL; i++)
        words[i + 1] = options->arguments[i];
    sigset_t none;
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)signal(SIGCHLD, SIG_DFL);
    (void)signal(SIGPIPE, SIG_DFL);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(126);
    int errors = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (errors < 0 || dup2(input[0], 0) < 0 || dup2(output[1], 1) < 0 || dup2(errors, 2) < 0)
        _exit(126);
    if (options->prepare != NULL)
        options->prepare(options->context);
    (void)execvp(options->program, (char *const *)words);
    (void)dprintf(2, "%s: %s\n", options->program, strerror(errno));
    _exit(127);
}

static void set_nonblocking(int descriptor)
{
    (void)fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK);
}

static void note_start(struct process_group *group, const struct process_options *options)
{
    char text[400] = "";
    size_t used = 0;
    for (size_t i = 0; options->arguments[i] != NULL && used < sizeof text; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, " %s", options->arguments[i]);
    process_group_note(group, "start %s: %s%s", options->name, options->program, text);
}

struct process *process_start(struct process_group *group, const struct process_options *options)
{
    if (group->process_count == PROCESS_GROUP_PROCESSES_MAX)
        fail_msg("too many processes on one stage");
    struct process *process = need(calloc(1, sizeof *process));
    char name[128];
    (void)snprintf(process->name, sizeof process->name, "%s", options->name);
    (void)snprintf(name, sizeof name, "%s.%zu.log", process->name, group->process_count);
    (void)snprintf(process->log, sizeof process->log, "%s", process_group_path(group, name));
    process->group = group;
    process->on_line = options->on_line;
    process->context = options->context;
    int input[2];
    int output[2];
    if (pipe2(input, O_CLOEXEC) != 0 || pipe2(output, O_CLOEXEC) != 0)
        fail_msg("pipe: %s", strerror(errno));
    note_start(group, options);
    pid_t parent = getpid();
    process->started_wall_us = wall_us();
    process->id = fork();
    if (process->id == 0)
        run_program(options, process->log, input, output, parent);
    (void)close(input[0]);
    (void)close(output[1]);
    process->input = input[1];
    process->output = output[0];
    set_nonblocking(process->input);
    set_nonblocking(process->output);
    if (process->id < 0)
        fail_msg("fork: %s", strerror(errno));
    group->processes[group->process_count++] = process;
    return process;
}

void process_write(struct process *process, const char *text, size_t size)
{
    if (process->input < 0)
        return; /* it has ended, or closed its stdin: whoever waits for an answer will tell */
    append(&process->unsent, text, size);
    write_input(process);
}

void process_end_input(struct process *process)
{
    process->end_input = true;
    if (process->input >= 0)
        write_input(process);
}

size_t process_lines(const struct process *process)
{
    return process->lines.count;
}

const char *process_line(const struct process *process, size_t i)
{
    return i < process->lines.count ? process->lines.items[i].text : NULL;
}

static const char *find_line(const struct process *process, size_t *from, const char *prefix)
{
    for (; *from < process->lines.count; (*from)++)
        if (strncmp(process->lines.items[*from].text, prefix, strlen(prefix)) == 0)
            return process->lines.items[*from].text;
    return NULL;
}

const char *process_wait_line(struct process *process, size_t from, const char *prefix,
                              int patience_ms)
{
    const char *line = NULL;
    PROCESS_GROUP_WAIT_MS(process->group, patience_ms,
                          (line = find_line(process, &from, prefix)) != NULL ||
                              process_ended(process));
    return line;
}

char *process_log(const struct process *process)
{
    char *text = need(malloc(LOG_BYTES_MAX + 1));
    size_t used = 0;
    int descriptor = open(process->log, O_RDONLY | O_CLOEXEC);
    off_t size = descriptor < 0 ? 0 : lseek(descriptor, 0, SEEK_END);
    if (descriptor >= 0)
        (void)lseek(descriptor, size > LOG_BYTES_MAX ? size - LOG_BYTES_MAX : 0, SEEK_SET);
    while (descriptor >= 0 && used < LOG_BYTES_MAX) {
        ssize_t got = read(descriptor, text + used, (size_t)LOG_BYTES_MAX - used);
        if (got <= 0)
            break;
        used += (size_t)got;
    }
    if (descriptor >= 0)
        (void)close(descriptor);
    while (used > 0 && text[used - 1] != '\n' && !process_ended(process))
        used--;
    text[used] = '\0';
    return text;
}

bool process_logged(const struct process *process, const char *text)
{
    char *log = process_log(process);
    bool found = strstr(log, text) != NULL;
    free(log);
    return found;
}

pid_t process_id(const struct process *process)
{
    return process->id;
}

void process_signal(struct process *process, int number)
{
    process_group_note(process->group, "signal %d to %s", number, process->name);
    if (process->id != 0)
        (void)kill(process->id, number);
}

bool process_ended(const struct process *process)
{
    return process->id == 0 && process->output < 0;
}

int process_wait(struct process *process, int patience_ms)
{
    uint64_t until_ms = process_group_now_ms() + (uint64_t)patience_ms;
    while (!process_ended(process)) {
        if (process_group_now_ms() >= until_ms)
            process_group_fail(process->group, "%s does not end within %d ms", process->name,
                               patience_ms);
        process_group_turn(process->group, until_ms);
    }
    return WIFSIGNALED(process->status) ? 128 + WTERMSIG(process->status)
                                        : WEXITSTATUS(process->status);
}

void process_kill(struct process *process)
{
    if (process->id != 0)
        process_signal(process, SIGKILL);
    (void)process_wait(process, PROCESS_GROUP_PATIENCE_MS);
}

size_t process_resident_bytes(const struct process *process)
{
    char path[64];
    char line[256];
    size_t kilobytes = 0;
    (void)snprintf(path, sizeof path, "/proc/%d/status", (int)process->id);
    FILE *file = process->id == 0 ? NULL : fopen(path, "re");
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "VmRSS: %zu", &kilobytes) == 1)
            break;
    if (file != NULL)
        (void)fclose(file);
    return kilobytes * 1024;
}

size_t process_descriptors(const struct process *process)
{
    char path[64];
    size_t count = 0;
    (void)snprintf(path, sizeof path, "/proc/%d/fd", (int)process->id);
    DIR *folder = process->id == 0 ? NULL : opendir(path);
    while (folder != NULL && readdir(folder) != NULL)
        count++;
    if (folder != NULL)
        (void)closedir(folder);
    return count < 2 ? 0 : count - 2; /* without . and .. */
}
