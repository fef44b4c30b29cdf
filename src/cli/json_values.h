/* SPDX-License-Identifier: MIT */
/* json_values.h - what the client tells, as JSON values (jansson). A value that cannot be made for
 * lack of memory is left out. One thread. */
#ifndef JACKDAW_CLI_JSON_VALUES_H
#define JACKDAW_CLI_JSON_VALUES_H

#include "app/ui.h"

#include <jansson.h>

/* Puts value (taken, may be NULL) into object (may be NULL). */
void json_put(json_t *object, const char *key, json_t *value);
/* The same with a string; replaces bytes that are not UTF-8. */
void json_put_text(json_t *object, const char *key, const char *text);
/* "epoch" and "seq". */
void json_put_position(json_t *object, const Jackdaw__Position *position);

json_t *json_text(const char *text);
json_t *json_number(uint64_t number);
/* "0123456789abcdef:12" */
json_t *json_uid(uint64_t session, uint64_t request);
json_t *json_event(const Jackdaw__Event *event);
/* A list of them within another object. Messages then carry no type: a program that looks for the
 * type of a line with simple means must not take them for events. */
json_t *json_events(Jackdaw__Event *const *events, size_t count);

/* The fields of a command that succeeded; json_results.c. */
void json_put_result(json_t *object, const struct app *app, const struct outcome *outcome);
void json_put_session(json_t *object, uint64_t session);
/* The fields of /status; result: NULL if no server answered. json_status.c */
void json_put_status(json_t *object, const struct app *app, const struct client_result *result);
/* Those of {"type":"stats"}. */
void json_put_stats(json_t *object, const struct app *app);

#endif
