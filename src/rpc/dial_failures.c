/* SPDX-License-Identifier: MIT */
#include "rpc/dial_failures.h"

#include "rpc/transport.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* protects watches */
static struct dial_watch *watches;
static pthread_once_t installed = PTHREAD_ONCE_INIT;

static enum error error_of(const char *reason)
{
    static const int candidates[] = {NNG_ECONNREFUSED, NNG_ETIMEDOUT,  NNG_EUNREACHABLE,
                                     NNG_EADDRINVAL,   NNG_ECONNRESET, NNG_ECONNABORTED,
                                     NNG_ECONNSHUT,    NNG_ENOFILES,   NNG_EPEERAUTH,
                                     NNG_ECRYPTO,      NNG_EPROTO,     NNG_ENOMEM};
    for (size_t i = 0; i < sizeof candidates / sizeof candidates[0]; i++)
        if (strcmp(reason, nng_strerror(candidates[i])) == 0)
            return transport_error(candidates[i]);
    static const char by_number[] = "Unknown error #"; /* the system's, and the resolver's */
    if (strncmp(reason, by_number, sizeof by_number - 1) == 0)
        return transport_error((int)strtol(reason + sizeof by_number - 1, NULL, 10));
    return ERROR_IO;
}

/* "Failed connecting socket<7> to tcp://192.0.2.7:2625: Connection refused" */
enum error dial_failures_read(const char *id, const char *text, uint32_t *socket)
{
    static const char before_number[] = "socket<";
    if (id == NULL || text == NULL || strcmp(id, "NNG-CONN-FAIL") != 0)
        return OK;
    const char *number = strstr(text, before_number);
    const char *colon = strrchr(text, ':');
    if (number == NULL || colon == NULL || colon[1] != ' ')
        return OK;
    *socket = (uint32_t)strtoul(number + sizeof before_number - 1, NULL, 10);
    return error_of(colon + 2);
}

static void on_line(nng_log_level level, nng_log_facility facility, const char *id,
                    const char *text)
{
    (void)level;
    (void)facility;
    uint32_t socket = 0;
    enum error error = dial_failures_read(id, text, &socket);
    if (error == OK)
        return;
    (void)pthread_mutex_lock(&mutex);
    for (struct dial_watch *watch = watches; watch != NULL; watch = watch->next)
        if (watch->socket == socket)
            watch->failed(watch->context, error);
    (void)pthread_mutex_unlock(&mutex);
}

static void install(void)
{
    nng_log_set_level(NNG_LOG_WARN);
    nng_log_set_logger(on_line);
}

void dial_failures_watch(struct dial_watch *watch)
{
    (void)pthread_once(&installed, install);
    (void)pthread_mutex_lock(&mutex);
    watch->next = watches;
    watches = watch;
    (void)pthread_mutex_unlock(&mutex);
}

void dial_failures_forget(struct dial_watch *watch)
{
    (void)pthread_mutex_lock(&mutex);
    for (struct dial_watch **link = &watches; *link != NULL; link = &(*link)->next) {
        if (*link == watch) {
            *link = watch->next;
            break;
        }
    }
    (void)pthread_mutex_unlock(&mutex);
}
