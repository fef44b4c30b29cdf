/* SPDX-License-Identifier: MIT */
/* A whole server on a machine that cannot make a process: requests that may have ended a server are carried
 * out all the same. */
#include "base/clock.h"
#include "support/folder.h"
#include "support/live_server.h"
#include "support/test.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/types.h>

static atomic_uint forks;

pid_t __wrap_fork(void);

pid_t __wrap_fork(void)
{
    atomic_fetch_add(&forks, 1);
    errno = EAGAIN;
    return -1;
}

enum { REQUESTS = 40 };

/* Five trials show that there is no child. From then on one trial is enough for all that wait. */
TEST(test_trials__no_child_can_be_made)
{
    static struct answer answers[REQUESTS];
    char *folder = folder_new();
    struct live_server *live = live_server_start(folder, NULL);
    struct device ann;
    device_enter(&ann, live, "ann", "lobby");
    ann.resent = 1;
    for (size_t i = 0; i < REQUESTS; i++) {
        Jackdaw__SendRequest request = JACKDAW__SEND_REQUEST__INIT;
        request.request = ++ann.request;
        request.to = (char *)"lobby";
        request.text = (char *)"again";
        ask_start(&ann, &answers[i], "Send", &request.base, 0);
    }
    for (size_t i = 0; i < REQUESTS; i++) {
        answer_wait(&ann, &answers[i]);
        assert_int_equal(answers[i].status, STATUS_OK);
        answer_clear(&answers[i]);
    }
    assert_in_range(atomic_load(&forks), 5, 5 + REQUESTS);
    device_close(&ann);
    live_server_stop(live);
    folder_remove(folder);
}
