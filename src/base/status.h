/* SPDX-License-Identifier: MIT */
/* status.h - how a request ended: gRPC's status codes, with gRPC's numbers. Source: "Status codes
 * and their use in gRPC", doc/statuscodes.md of the gRPC project. The wire and src/chat use the
 * same codes. Any thread. */
#ifndef JACKDAW_BASE_STATUS_H
#define JACKDAW_BASE_STATUS_H

#include "base/error.h"

enum status {
    STATUS_OK = 0,
    STATUS_CANCELLED = 1,
    STATUS_UNKNOWN = 2,
    STATUS_INVALID_ARGUMENT = 3,
    STATUS_DEADLINE_EXCEEDED = 4,
    STATUS_NOT_FOUND = 5,
    STATUS_ALREADY_EXISTS = 6,
    STATUS_PERMISSION_DENIED = 7,
    STATUS_RESOURCE_EXHAUSTED = 8,
    STATUS_FAILED_PRECONDITION = 9,
    STATUS_ABORTED = 10,
    STATUS_OUT_OF_RANGE = 11,
    STATUS_UNIMPLEMENTED = 12,
    STATUS_INTERNAL = 13,
    STATUS_UNAVAILABLE = 14,
    STATUS_DATA_LOSS = 15,
    STATUS_UNAUTHENTICATED = 16,
    STATUS_COUNT
};

/* "PERMISSION_DENIED" and so on, static; "UNKNOWN" for a number that is none of them. */
const char *status_name(enum status status);

/* The status of a reply to a request that an operating error ended. */
enum status status_from_error(enum error error);

#endif
