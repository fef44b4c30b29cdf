/* SPDX-License-Identifier: MIT */
#include "program.h"

#include "base/output.h"

#include <linux/magic.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/statfs.h>
#include <unistd.h>

static volatile sig_atomic_t signalled;

static void on_signal(int number)
{
    (void)number;
    signalled = 1;
}

bool interrupted(void)
{
    return signalled != 0;
}

int program_main(const char *name, const struct option_table *table, int argc, char **argv,
                 void *settings, const bool *help, int (*run)(void *settings))
{
    const struct sigaction action = {.sa_handler = on_signal};
    struct error_text why;
    output_open_standard();
    if (options_parse(table, argc, argv, settings, &why) != OK) {
        (void)fprintf(stderr, "%s: %s\n", name, why.text);
        return 2;
    }
    int code = 0;
    if (*help) {
        options_print_help(table, stdout);
    } else {
        (void)signal(SIGPIPE, SIG_IGN);
        (void)sigaction(SIGINT, &action, NULL);
        (void)sigaction(SIGTERM, &action, NULL);
        (void)sigaction(SIGHUP, &action, NULL);
        code = run(settings);
    }
    options_release(table, settings);
    return code;
}

void program_find_beside(const char *name, char path[static PATH_MAX])
{
    ssize_t length = readlink("/proc/self/exe", path, PATH_MAX - 64);
    path[length > 0 ? length : 0] = '\0';
    char *slash = strrchr(path, '/');
    if (slash != NULL)
        (void)snprintf(slash + 1, 64, "%s", name);
    if (access(path, R_OK) != 0)
        path[0] = '\0';
}

void program_check_folder(const char *name, const char *folder)
{
    struct statfs status;
    if (statfs(folder, &status) == 0 &&
        (status.f_type == TMPFS_MAGIC || status.f_type == RAMFS_MAGIC))
        (void)fprintf(stderr, "%s: %s is in memory: flushes cost nothing there\n", name, folder);
}
