/* SPDX-License-Identifier: MIT */
#include "base/status.h"

#include <string.h>

static const char *const names[STATUS_COUNT] = {
    [STATUS_OK] = "OK",
    [STATUS_CANCELLED] = "CANCELLED",
    [STATUS_UNKNOWN] = "UNKNOWN",
    [STATUS_INVALID_ARGUMENT] = "INVALID_ARGUMENT",
    [STATUS_DEADLINE_EXCEEDED] = "DEADLINE_EXCEEDED",
    [STATUS_NOT_FOUND] = "NOT_FOUND",
    [STATUS_ALREADY_EXISTS] = "ALREADY_EXISTS",
    [STATUS_PERMISSION_DENIED] = "PERMISSION_DENIED",
    [STATUS_RESOURCE_EXHAUSTED] = "RESOURCE_EXHAUSTED",
    [STATUS_FAILED_PRECONDITION] = "FAILED_PRECONDITION",
    [STATUS_ABORTED] = "ABORTED",
    [STATUS_OUT_OF_RANGE] = "OUT_OF_RANGE",
    [STATUS_UNIMPLEMENTED] = "UNIMPLEMENTED",
    [STATUS_INTERNAL] = "INTERNAL",
    [STATUS_UNAVAILABLE] = "UNAVAILABLE",
    [STATUS_DATA_LOSS] = "DATA_LOSS",
    [STATUS_UNAUTHENTICATED] = "UNAUTHENTICATED",
};

static const enum status statuses[ERROR_COUNT] = {
    [OK] = STATUS_OK,
    [ERROR_NO_MEMORY] = STATUS_RESOURCE_EXHAUSTED,
    [ERROR_INVALID] = STATUS_INVALID_ARGUMENT,
    [ERROR_TOO_LARGE] = STATUS_INVALID_ARGUMENT,
    [ERROR_NOT_FOUND] = STATUS_NOT_FOUND,
    [ERROR_EXISTS] = STATUS_ALREADY_EXISTS,
    [ERROR_FULL] = STATUS_RESOURCE_EXHAUSTED,
    [ERROR_TIMEOUT] = STATUS_DEADLINE_EXCEEDED,
    [ERROR_CANCELLED] = STATUS_CANCELLED,
    [ERROR_CLOSED] = STATUS_UNAVAILABLE,
    [ERROR_REFUSED] = STATUS_UNAVAILABLE,
    [ERROR_DENIED] = STATUS_PERMISSION_DENIED,
    [ERROR_IN_USE] = STATUS_UNAVAILABLE,
    [ERROR_DISK_FULL] = STATUS_UNAVAILABLE,
    [ERROR_IO] = STATUS_UNAVAILABLE,
    [ERROR_CORRUPT] = STATUS_DATA_LOSS,
    [ERROR_VERSION] = STATUS_FAILED_PRECONDITION,
    [ERROR_MISMATCH] = STATUS_FAILED_PRECONDITION,
    [ERROR_INTERNAL] = STATUS_INTERNAL,
};

const char *status_name(enum status status)
{
    if ((int)status < 0 || status >= STATUS_COUNT)
        return names[STATUS_UNKNOWN];
    return names[status];
}

enum error status_parse(const char *name, enum status *out)
{
    for (enum status status = STATUS_OK; status < STATUS_COUNT; status++) {
        if (strcmp(name, names[status]) == 0) {
            *out = status;
            return OK;
        }
    }
    return ERROR_INVALID;
}

enum status status_from_error(enum error error)
{
    if ((int)error < 0 || error >= ERROR_COUNT)
        return STATUS_UNKNOWN;
    return statuses[error];
}
