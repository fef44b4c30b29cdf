/* SPDX-License-Identifier: MIT */
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/magic.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define START_TIMEOUT_MS 15000
#define STOP_TIMEOUT_MS 10000
#define LINE_SIZE 1024
#define ARGUMENT_SIZE (PROCESS_PATH_SIZE + 64)
#define LOG_NAME "server.log"

/* ---- folders ---- */

enum error scratch_make(char path[static PROCESS_PATH_SIZE], const char *parent,
                        struct error_text *why)
{
    int length = snprintf(path, PROCESS_PATH_SIZE, "%s/bench.XXXXXX", parent);
    if (length >= PROCESS_PATH_SIZE - 64)
        return error_set(why, ERROR_TOO_LARGE, "%s: the path is too long", parent);
    if (mkdtemp(path) == NULL)
        return error_set(why, error_from_errno(errno), "make a folder in %s: %s", parent,
                         strerror(errno));
    return OK;
}

static int remove_entry(const char *path, const struct stat *status, int kind, struct FTW *where)
{
    (void)status;
    (void)kind;
    (void)where;
    (void)remove(path);
    return 0;
}

void scratch_remove(const char *path)
{
    if (path[0] != '\0')
        (void)nftw(path, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

bool scratch_is_volatile(const char *path)
{
    struct statfs status;
    return statfs(path, &status) == 0 &&
           (status.f_type == TMPFS_MAGIC || status.f_type == RAMFS_MAGIC);
}

/* ---- starting ---- */

struct arguments {
    char text[8][ARGUMENT_SIZE];
    char *list[8 + PROCESS_EXTRA_MAX + 1];
    size_t count;
};

static void add(struct arguments *arguments, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void add(struct arguments *arguments, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    char *text = arguments->text[arguments->count];
    (void)vsnprintf(text, ARGUMENT_SIZE, format, values);
    va_end(values);
    arguments->list[arguments->count++] = text;
}

static void add_address(struct arguments *arguments, const struct address *address)
{
    char text[ADDRESS_TEXT_SIZE] = "127.0.0.1:0";
    if (address != NULL)
        address_format(address, text);
    add(arguments, "%s", text);
}

static void make_arguments(struct arguments *arguments, const struct process_options *options)
{
    arguments->count = 0;
    add(arguments, "%s", options->program);
    add(arguments, "%u", options->server_id);
    add(arguments, "%s", options->master_address == NULL ? "master" : "slave");
    add_address(arguments, options->clients);
    add_address(arguments, options->internal);
    add(arguments, "--data_dir=%s/data", options->folder);
    if (options->master_address != NULL)
        add(arguments, "--master_address=%s", options->master_address);
    for (size_t i = 0; options->extra[i] != NULL && i < PROCESS_EXTRA_MAX; i++)
        arguments->list[arguments->count++] = (char *)options->extra[i];
    arguments->list[arguments->count] = NULL;
}

static void die_with_parent(pid_t parent)
{
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)setpgid(0, 0); /* Ctrl-C is for the parent, who then ends it */
    if (getppid() != parent)
        _exit(1);
}

/* Ours and what is added; NULL: no memory. The strings stay where they are. */
static char **make_environment(const char *const *added)
{
    size_t count = 0;
    size_t more = 0;
    while (environ[count] != NULL)
        count++;
    while (added != NULL && added[more] != NULL)
        more++;
    char **list = calloc(count + more + 1, sizeof *list);
    for (size_t i = 0; i < more && list != NULL; i++) /* in front: the first of a name counts */
        list[i] = (char *)added[i];
    if (list != NULL)
        memcpy(list + more, environ, count * sizeof *list);
    return list;
}

static _Noreturn void run_program(struct arguments *arguments, char **environment, const char *log,
                                  int output, int network)
{
    int errors = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    int nothing = open("/dev/null", O_RDONLY);
    if (errors < 0 || nothing < 0 || dup2(nothing, 0) < 0 || dup2(output, 1) < 0 ||
        dup2(errors, 2) < 0)
        _exit(126);
    if (network != 0 && setns(network, CLONE_NEWNET) != 0) {
        (void)dprintf(2, "enter the network namespace: %s\n", strerror(errno));
        _exit(126);
    }
    (void)execve(arguments->list[0], arguments->list, environment);
    (void)dprintf(2, "%s: %s\n", arguments->list[0], strerror(errno));
    _exit(127);
}

static uint64_t now_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000u + (uint64_t)now.tv_nsec / 1000000u;
}

/* Reads up to size bytes, or up to and without a line's end where line is set. False: the end, or
 * not in time. */
static bool read_bounded(int descriptor, void *bytes, size_t size, bool line)
{
    uint64_t end = now_ms() + START_TIMEOUT_MS;
    char *at = bytes;
    for (size_t used = 0; used < size;) {
        uint64_t now = now_ms();
        struct pollfd ready = {.fd = descriptor, .events = POLLIN};
        if (now >= end || (poll(&ready, 1, (int)(end - now)) < 0 && errno != EINTR))
            return false;
        if (ready.revents == 0)
            continue;
        ssize_t got = read(descriptor, at + used, line ? 1 : size - used);
        if (got <= 0)
            return false;
        if (line && at[used] == '\n') {
            at[used] = '\0';
            return true;
        }
        used += (size_t)got;
    }
    return !line;
}

/* jackdaw server 1 ready: master, clients 127.0.0.1:PORT, internal 127.0.0.1:PORT, data PATH */
static bool read_address(const char *line, const char *word, struct address *out)
{
    const char *at = strstr(line, word);
    if (at == NULL)
        return false;
    at += strlen(word);
    char text[ADDRESS_TEXT_SIZE];
    size_t length = strcspn(at, ", ");
    if (length >= sizeof text)
        return false;
    memcpy(text, at, length);
    text[length] = '\0';
    return address_parse(text, out, NULL) == OK;
}

static enum error wait_until_ready(struct process *process, struct error_text *why)
{
    char line[LINE_SIZE];
    if (!read_bounded(process->output, line, sizeof line, true))
        return error_set(why, ERROR_TIMEOUT, "the server did not get ready");
    if (!read_address(line, ", clients ", &process->clients) ||
        !read_address(line, ", internal ", &process->internal))
        return error_set(why, ERROR_INVALID, "the server's first line is not known: %s", line);
    return OK;
}

/* The end of the log says why. */
static void quote_log(const char *path, struct error_text *why)
{
    char text[ERROR_TEXT_SIZE / 2];
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0)
        return;
    off_t size = lseek(descriptor, 0, SEEK_END);
    off_t from = size > (off_t)sizeof text - 1 ? size - (off_t)sizeof text + 1 : 0;
    ssize_t got = pread(descriptor, text, sizeof text - 1, from);
    (void)close(descriptor);
    if (got <= 0)
        return;
    text[got] = '\0';
    char before[ERROR_TEXT_SIZE / 2];
    (void)snprintf(before, sizeof before, "%.*s", (int)sizeof before - 1, why->text);
    (void)error_set(why, ERROR_INTERNAL, "%s; it wrote: %s", before, text);
}

static void log_path(const struct process_options *options, char path[static ARGUMENT_SIZE])
{
    (void)snprintf(path, ARGUMENT_SIZE, "%s/%s", options->folder, LOG_NAME);
}

static pid_t fork_program(const struct process_options *options, struct arguments *arguments,
                          char **environment, int output)
{
    char log[ARGUMENT_SIZE];
    log_path(options, log);
    make_arguments(arguments, options);
    pid_t parent = getpid();
    pid_t id = fork();
    if (id == 0) {
        die_with_parent(parent);
        run_program(arguments, environment, log, output, options->network);
    }
    return id;
}

enum error process_spawn(struct process *process, const struct process_options *options,
                         struct error_text *why)
{
    *process = (struct process){.output = -1};
    struct arguments *arguments = malloc(sizeof *arguments);
    char **environment = make_environment(options->environment);
    int ends[2] = {-1, -1};
    enum error error = OK;
    if (arguments == NULL || environment == NULL)
        error = error_set(why, ERROR_NO_MEMORY, "out of memory");
    else if (pipe2(ends, O_CLOEXEC) != 0)
        error = error_set(why, error_from_errno(errno), "pipe: %s", strerror(errno));
    if (error == OK) {
        process->id = fork_program(options, arguments, environment, ends[1]);
        (void)close(ends[1]);
        process->output = ends[0];
        if (process->id < 0) {
            error = error_set(why, ERROR_FULL, "fork: %s", strerror(errno));
            process->id = 0;
            (void)process_stop(process);
        }
    }
    free(environment);
    free(arguments);
    return error;
}

enum error process_start(struct process *process, const struct process_options *options,
                         struct error_text *why)
{
    enum error error = process_spawn(process, options, why);
    if (error != OK)
        return error;
    error = wait_until_ready(process, why);
    if (error != OK) {
        char log[ARGUMENT_SIZE];
        log_path(options, log);
        (void)process_stop(process);
        quote_log(log, why);
    }
    return error;
}

bool process_is_ready(struct process *process, bool *failed)
{
    struct pollfd entry = {.fd = process->output, .events = POLLIN};
    struct error_text why;
    *failed = false;
    if (poll(&entry, 1, 0) <= 0)
        return false;
    *failed = wait_until_ready(process, &why) != OK;
    return !*failed;
}

enum error process_fork(struct process *process, void (*body)(void *context, int port_pipe),
                        void *context, struct error_text *why)
{
    *process = (struct process){.output = -1};
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return error_set(why, error_from_errno(errno), "pipe: %s", strerror(errno));
    pid_t parent = getpid();
    (void)fflush(NULL);
    process->id = fork();
    if (process->id == 0) {
        die_with_parent(parent);
        (void)signal(SIGTERM, SIG_DFL);
        (void)signal(SIGINT, SIG_DFL);
        body(context, ends[1]);
        _exit(0);
    }
    (void)close(ends[1]);
    process->output = ends[0];
    uint16_t port = 0;
    if (process->id < 0 || !read_bounded(ends[0], &port, sizeof port, false) || port == 0) {
        process->id = process->id < 0 ? 0 : process->id;
        (void)process_stop(process);
        return error_set(why, ERROR_INTERNAL, "the echo server did not start");
    }
    (void)snprintf(process->clients.host, sizeof process->clients.host, "127.0.0.1");
    process->clients.port = port;
    return OK;
}

static bool reap(pid_t id, int timeout_ms, int *status)
{
    uint64_t end = now_ms() + (uint64_t)timeout_ms;
    do {
        pid_t ended = waitpid(id, status, WNOHANG);
        if (ended == id || (ended < 0 && errno != EINTR))
            return true;
        (void)usleep(2000);
    } while (now_ms() < end);
    return false;
}

bool process_stop(struct process *process)
{
    if (process->output >= 0)
        (void)close(process->output);
    process->output = -1;
    if (process->id <= 0)
        return false;
    int status = -1;
    if (waitpid(process->id, &status, WNOHANG) == process->id) {
        process->id = 0;
        return false;
    }
    (void)kill(process->id, SIGTERM);
    bool ended = reap(process->id, STOP_TIMEOUT_MS, &status);
    if (!ended) {
        (void)kill(process->id, SIGKILL);
        (void)reap(process->id, STOP_TIMEOUT_MS, &status);
    }
    process->id = 0;
    return ended && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

void process_kill(struct process *process)
{
    int status;
    if (process->output >= 0)
        (void)close(process->output);
    process->output = -1;
    if (process->id <= 0)
        return;
    (void)kill(process->id, SIGKILL);
    (void)reap(process->id, STOP_TIMEOUT_MS, &status);
    process->id = 0;
}

/* ---- measuring ---- */

static uint64_t ticks_to_us(uint64_t ticks)
{
    return ticks * 1000000u / (uint64_t)sysconf(_SC_CLK_TCK);
}

static bool read_file(const char *path, char *text, size_t size)
{
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0)
        return false;
    ssize_t got = read(descriptor, text, size - 1);
    (void)close(descriptor);
    if (got <= 0)
        return false;
    text[got] = '\0';
    return true;
}

/* The number that is the word with this index, counted from 0; 0: there is none. */
static uint64_t read_word(const char *text, unsigned index)
{
    text += strspn(text, " ");
    for (unsigned i = 0; i < index; i++) {
        text += strcspn(text, " \n");
        text += strspn(text, " ");
    }
    return strtoull(text, NULL, 10);
}

/* Words of /proc/PID/stat after the name, and of the first line of /proc/stat. */
enum { STAT_USER = 11, STAT_SYSTEM = 12 };
enum { ALL_FIRST = 1, ALL_IDLE = 4, ALL_IO_WAIT = 5, ALL_LAST = 8 };

struct cpu_times process_cpu(pid_t id)
{
    char path[64];
    char text[1024];
    (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)id);
    if (!read_file(path, text, sizeof text))
        return (struct cpu_times){0};
    /* The name, in brackets, may hold anything. */
    const char *after_name = strrchr(text, ')');
    if (after_name == NULL)
        return (struct cpu_times){0};
    return (struct cpu_times){ticks_to_us(read_word(after_name + 1, STAT_USER)),
                              ticks_to_us(read_word(after_name + 1, STAT_SYSTEM))};
}

static uint64_t from_timeval(struct timeval value)
{
    return (uint64_t)value.tv_sec * 1000000u + (uint64_t)value.tv_usec;
}

struct cpu_times process_own_cpu(void)
{
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage);
    return (struct cpu_times){from_timeval(usage.ru_utime), from_timeval(usage.ru_stime)};
}

uint64_t machine_busy_us(void)
{
    char text[4096];
    uint64_t ticks = 0;
    if (!read_file("/proc/stat", text, sizeof text))
        return 0;
    for (unsigned i = ALL_FIRST; i <= ALL_LAST; i++)
        if (i != ALL_IDLE && i != ALL_IO_WAIT)
            ticks += read_word(text, i);
    return ticks_to_us(ticks);
}

unsigned machine_processors(void)
{
    long count = sysconf(_SC_NPROCESSORS_ONLN);
    return count > 0 ? (unsigned)count : 1;
}

static uint64_t read_kilobytes(const char *text, const char *word)
{
    const char *at = strstr(text, word);
    return at == NULL ? 0 : strtoull(at + strlen(word), NULL, 10) * 1024u;
}

struct memory process_memory(pid_t id)
{
    char path[64];
    char text[8192];
    (void)snprintf(path, sizeof path, "/proc/%d/status", (int)id);
    if (!read_file(path, text, sizeof text))
        return (struct memory){0};
    return (struct memory){.resident_bytes = read_kilobytes(text, "VmRSS:"),
                           .anonymous_bytes = read_kilobytes(text, "RssAnon:")};
}
