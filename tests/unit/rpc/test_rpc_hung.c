/* SPDX-License-Identifier: MIT */
/* A socket that never finishes closing: its owner goes on, and so does the end of the process. */
#include "base/log.h"
#include "probe.h"
#include "rpc/connections.h"

#include <nng/nng.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define STATUS_AT_THE_END 7

static atomic_bool hangs;
static atomic_int hanging;
static sem_t go_on;

/* The linker puts it in nng_close's place. */
int __real_nng_close(nng_socket socket);
int __wrap_nng_close(nng_socket socket);
int __wrap_nng_close(nng_socket socket)
{
    if (atomic_load(&hangs)) {
        (void)atomic_fetch_add(&hanging, 1);
        while (sem_wait(&go_on) != 0)
            continue;
        (void)atomic_fetch_sub(&hanging, 1);
    }
    return __real_nng_close(socket);
}

/* Before anything has started nng here: a child has none of its parent's threads. */
TEST(test_process__ends)
{
    pid_t child = fork();
    if (child == 0) {
        struct probe *probe = probe_start(NULL);
        struct client client;
        client_open(&client, probe_address(probe), NULL);
        client_expect_service(&client);
        atomic_store(&hangs, true);
        client_close(&client);
        WAIT_UNTIL(NULL, connections_hanging() == 1);
        exit(STATUS_AT_THE_END);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), STATUS_AT_THE_END);
}

TEST(test_channel__closed_for_its_owner)
{
    struct probe *probe = probe_start(NULL);
    struct client client;
    client_open(&client, probe_address(probe), NULL);
    client_expect_service(&client);
    struct outcome outcome = {.number = 0};
    client_hold(&client, "", &outcome);
    atomic_store(&hangs, true);
    client_close(&client); /* frees its queue, too: nothing may be pushed any more */
    assert_true(outcome.ended);
    assert_int_equal(outcome.result.status, STATUS_CANCELLED);
    WAIT_UNTIL(NULL, connections_hanging() == 1);
    assert_int_equal(atomic_load(&hanging), 1);
    client_open(&client, probe_address(probe), NULL);
    client_expect_service(&client);
    client_close(&client);
    WAIT_UNTIL(NULL, connections_hanging() == 2);
    assert_int_equal(atomic_load(&hanging), 2);
    probe_stop(probe);
    assert_int_equal(atomic_load(&hanging), 3);
    atomic_store(&hangs, false);
    for (int i = 0; i < 3; i++)
        (void)sem_post(&go_on);
    WAIT_UNTIL(NULL, connections_hanging() == 0);
}

TEST_PREPARE()
{
    (void)sem_init(&go_on, 0, 0);
    log_configure(LOG_SILENT, LOG_TEXT);
    return 0;
}
