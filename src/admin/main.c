/* SPDX-License-Identifier: MIT */
#include "admin/admin.h"
#include "base/log.h"
#include "base/output.h"
#include "rpc/protocol.h"
#include "version.h"

#include <signal.h>
#include <stdlib.h>

static int fail(const char *sentence)
{
    struct error_text text;
    (void)error_set(&text, OK, "jackdaw-admin: %s", sentence);
    log_last_words(text.text);
    return EXIT_FAILURE;
}

static int run(const struct admin_options *options)
{
    struct error_text why = {.text = ""};
    (void)signal(SIGPIPE, SIG_IGN);
    rpc_init();
    if (admin_run(options, stdout, &why) != OK)
        return fail(why.text);
    return fflush(stdout) == 0 ? EXIT_SUCCESS : fail("standard output cannot be written to");
}

int main(int argc, char **argv)
{
    output_open_standard();
    struct admin_options options;
    struct error_text why;
    if (admin_options_parse(argc, argv, &options, &why) != OK) {
        (void)fail(why.text);
        log_last_words("Try --help.");
        return EXIT_FAILURE;
    }
    int result = EXIT_SUCCESS;
    if (options.help)
        admin_options_print_help(stdout);
    else if (options.version)
        (void)printf("jackdaw-admin %s (protocol %u.%u)\n", JACKDAW_VERSION, RPC_PROTOCOL_MAJOR,
                     RPC_PROTOCOL_MINOR);
    else
        result = run(&options);
    admin_options_release(&options);
    return result;
}
