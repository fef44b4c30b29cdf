/* SPDX-License-Identifier: MIT */
/* json_client.h - `client --json` as a process: what is typed at it, and every object it printed.
 *
 * Objects are found by patterns in jansson's notation for json_pack; an object matches when it has
 * every member of the pattern, with that value:
 *
 *     json_client_expect(bob, 0, "{s:s, s:s}", "type", "message", "text", "hello");
 *
 * Objects that are returned belong to the client and live as long as it. One thread. */
#ifndef JACKDAW_TESTS_JSON_CLIENT_H
#define JACKDAW_TESTS_JSON_CLIENT_H

#include "harness/checker.h"
#include "harness/process.h"

#include <jansson.h>

#define JSON_CLIENT_ARGUMENTS_MAX 24

struct json_client;

struct json_client_options {
    const char *label;                                /* for people */
    const char *account;                              /* who will log in */
    const char *addresses[8];                         /* of servers; ends with NULL */
    const char *arguments[JSON_CLIENT_ARGUMENTS_MAX]; /* beyond -a and --json; ends with NULL */
};

/* Strings are borrowed for the call. The stage frees the client. */
struct json_client *json_client_start(struct process_group *group,
                                      const struct json_client_options *options);
/* Somebody new: registers as name, with the password "secret", and joins room. */
struct json_client *json_client_visit(struct process_group *group, const char *address,
                                      const char *name, const char *room);

struct process *json_client_process(const struct json_client *client);
const char *json_client_account(const struct json_client *client);

/* A line, whatever it is. */
void json_client_type(struct json_client *client, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* A message to the current room; it is remembered as asked for. */
void json_client_say(struct json_client *client, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* A message to a person, likewise. */
void json_client_tell(struct json_client *client, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Types a command ("/join lobby") and waits for its result, which must be OK. */
json_t *json_client_command(struct json_client *client, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* The same for a command that must be refused with a status, and a sentence. */
json_t *json_client_refused(struct json_client *client, const char *status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The end of its input; waits until it leaves, and returns its exit status. */
int json_client_leave(struct json_client *client);

/* Objects so far; also the index of the next one. */
size_t json_client_count(const struct json_client *client);
/* Those of the three types that there are many of. */
size_t json_client_messages(const struct json_client *client);
size_t json_client_sent(const struct json_client *client);
size_t json_client_failed(const struct json_client *client);

/* The first object from `from` on that matches; waits for it. */
json_t *json_client_expect(struct json_client *client, size_t from, const char *format, ...);
/* The same without waiting: NULL when there is none yet. */
json_t *json_client_find(struct json_client *client, size_t from, const char *format, ...);

/* A member that must be there. */
const char *json_text(const json_t *object, const char *member);
uint64_t json_number(const json_t *object, const char *member);

/* The members of an object about a message; NULL and 0 where the object has none. Borrows its strings. */
struct observation json_observation(const json_t *object, enum observation_kind kind,
                                    uint64_t time_us);

/* Tells the checker everything that this client observed, and adds it as a client. */
struct checker_client *json_client_report(const struct json_client *client,
                                          struct checker *checker);

/* Asks for the pages of the current room's history, and tells the checker all messages, from the
 * oldest on, as if `to` had seen them. */
void json_client_report_history(struct json_client *client, unsigned page_messages,
                                struct checker_client *to);

#endif
