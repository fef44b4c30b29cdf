/* SPDX-License-Identifier: MIT */
#include "base/log.h"
#include "base/output.h"
#include "rpc/protocol.h"
#include "server/core.h"
#include "version.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define OTHER_DESCRIPTORS 512
#define READY_LINE_BYTES 8192 /* the folder's name has up to 4,096 */

static struct core core;

static void on_stop(int number)
{
    (void)number;
    core_stop(&core);
}

static void on_reload(int number)
{
    (void)number;
    core_reload(&core);
}

static void handle(int number, void (*handler)(int))
{
    struct sigaction action = {.sa_handler = handler};
    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(number, &action, NULL);
}

/* The meaning of SIGHUP is decided at the start, because the kernel removes a closed terminal
 * before the process could check for it. nohup asks for SIGHUP not to stop the program. */
static void (*hangup_handler(void))(int)
{
    struct sigaction inherited;
    bool is_ignored = sigaction(SIGHUP, NULL, &inherited) == 0 && inherited.sa_handler == SIG_IGN;
    int terminal = open("/dev/tty", O_RDONLY | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    if (terminal < 0)
        return on_reload;
    (void)close(terminal);
    return is_ignored ? on_reload : on_stop;
}

static void watch_signals(void (*on_hangup)(int))
{
    handle(SIGTERM, on_stop);
    handle(SIGINT, on_stop);
    handle(SIGHUP, on_hangup);
}

/* A second signal must not use a core that is being released. */
static void ignore_signals(void)
{
    handle(SIGTERM, SIG_IGN);
    handle(SIGINT, SIG_IGN);
    handle(SIGHUP, SIG_IGN);
}

static int fail(const char *sentence)
{
    struct error_text text;
    (void)error_set(&text, OK, "jackdaw-server: %s", sentence);
    log_last_words(text.text);
    return EXIT_FAILURE;
}

/* Scripts wait for this line, and read the ports from it that the kernel picked. */
static void tell_ready(struct core *ready)
{
    const struct server_options *options = ready->options;
    struct address address;
    char clients[ADDRESS_TEXT_SIZE];
    char internal[ADDRESS_TEXT_SIZE];
    rpc_server_address(ready->clients, &address);
    address_format(&address, clients);
    rpc_server_address(cluster_server(ready->cluster), &address);
    address_format(&address, internal);
    char line[READY_LINE_BYTES];
    int length = snprintf(line, sizeof line,
                          "jackdaw server %u ready: %s, clients %s, internal %s, data %s/%u\n",
                          (unsigned)options->cluster.id, replica_role_name(ready->role), clients,
                          internal, options->data_dir, (unsigned)options->cluster.id);
    if (length > 0 && (size_t)length < sizeof line)
        output_later(STDOUT_FILENO, line);
    log_info("server", "ready", log_string("clients", clients), log_string("internal", internal),
             log_number("seq", commit_log_committed(ready->commit_log).seq));
}

/* A connection is a descriptor; beyond the clients, other servers, files and threads have some. */
static void raise_descriptor_limit(uint32_t clients_max)
{
    struct rlimit limit;
    rlim_t needed = (rlim_t)clients_max + OTHER_DESCRIPTORS;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= needed)
        return;
    limit.rlim_cur = needed < limit.rlim_max ? needed : limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur == needed)
        return;
    log_warning("server", "few_descriptors", log_number("limit", limit.rlim_cur),
                log_number("needed", needed),
                log_string("hint", "raise the hard limit (ulimit -Hn, LimitNOFILE) or lower "
                                   "--max_clients"));
}

static int serve(const struct server_options *options)
{
    log_configure(options->log_level, options->log_format);
    log_identify(options->cluster.id, 0);
    if (sodium_init() < 0)
        return fail("the system has no source of randomness");
    struct error_text why;
    if (log_start(options->log_file, &why) != OK)
        return fail(why.text);
    void (*on_hangup)(int) = hangup_handler();
    handle(SIGPIPE, SIG_IGN);
    if (on_hangup == on_reload)
        handle(SIGHUP, SIG_IGN); /* there is nothing yet that could be stale */
    raise_descriptor_limit(options->clients_max);
    rpc_init();
    if (core_open(&core, options, &why) != OK)
        return fail(why.text);
    watch_signals(on_hangup);
    bool in_good_order = core_run(&core, tell_ready);
    ignore_signals();
    log_info("server", "stopped", log_number("seq", commit_log_committed(core.commit_log).seq));
    why = core.problem;
    core_release(&core);
    return in_good_order ? EXIT_SUCCESS : fail(why.text);
}

/* ---- --status, --leave and --remove: jackdaw-admin does them ---- */

/* Runs jackdaw-admin in the place of this program: the one in its folder, else the one in PATH. */
static int run_admin(char *words[])
{
    static const char name[] = "jackdaw-admin";
    char path[PATH_MAX + sizeof name];
    ssize_t size = readlink("/proc/self/exe", path, PATH_MAX);
    char *slash = size < 0 ? NULL : memrchr(path, '/', (size_t)size);
    words[0] = (char *)name;
    if (slash != NULL) {
        memcpy(slash + 1, name, sizeof name);
        (void)execv(path, words);
    }
    (void)execvp(name, words);
    struct error_text why;
    (void)error_set(&why, OK,
                    "--status, --leave and --remove need the program jackdaw-admin, which is "
                    "neither in the folder of this program nor in PATH: %s",
                    strerror(errno));
    return fail(why.text);
}

static int run_removal(const struct server_options *options)
{
    char id[8];
    size_t size = options->cluster.masters.count * (ADDRESS_TEXT_SIZE + 1);
    char *list = malloc(size);
    if (list == NULL)
        return fail("out of memory");
    char *end = list;
    for (size_t i = 0; i < options->cluster.masters.count; i++) {
        if (i > 0)
            *end++ = ',';
        address_format(&options->cluster.masters.items[i], end);
        end += strlen(end);
    }
    (void)snprintf(id, sizeof id, "%u", (unsigned)options->remove);
    int result = run_admin((char *[]){NULL, "remove", id, list, NULL});
    free(list);
    return result;
}

static int ask(const struct server_options *options)
{
    if (options->remove != 0)
        return run_removal(options);
    if (options->leave != NULL)
        return run_admin((char *[]){NULL, "leave", (char *)options->leave, NULL});
    if (options->tls_ca != NULL && setenv("JACKDAW_TLS_CA", options->tls_ca, 1) != 0)
        return fail("out of memory");
    return run_admin(
        (char *[]){NULL, "status", (char *)options->status, options->json ? "--json" : NULL, NULL});
}

int main(int argc, char **argv)
{
    output_open_standard();
    struct server_options options;
    struct error_text why;
    if (server_options_parse(argc, argv, &options, &why) != OK) {
        (void)fail(why.text);
        log_last_words("Try --help.");
        return EXIT_FAILURE;
    }
    int result = EXIT_SUCCESS;
    if (options.help)
        server_options_print_help();
    else if (options.version)
        (void)printf("jackdaw-server %s (protocol %u.%u)\n", JACKDAW_VERSION, RPC_PROTOCOL_MAJOR,
                     RPC_PROTOCOL_MINOR);
    else
        result = server_options_are_operators(&options) ? ask(&options) : serve(&options);
    server_options_release(&options);
    return result;
}
