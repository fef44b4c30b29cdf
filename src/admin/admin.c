/* SPDX-License-Identifier: MIT */
#include "admin/admin.h"

#include "admin/log_report.h"
#include "admin/server_call.h"
#include "admin/status_report.h"
#include "base/text.h"
#include "spec.pb-c.h"

#include <stdlib.h>

/* ---- calls ---- */

static enum error ask_status(const struct address *address, const char *tls_authority,
                             Jackdaw__StatusReply **out, struct error_text *why)
{
    Jackdaw__StatusRequest request = JACKDAW__STATUS_REQUEST__INIT;
    const struct server_call call = {.address = address,
                                     .tls_authority = tls_authority,
                                     .service = &jackdaw__operator__descriptor,
                                     .method = "Status",
                                     .request = &request.base};
    ProtobufCMessage *reply;
    enum error error = server_call_run(&call, &reply, why);
    if (error == OK)
        *out = (Jackdaw__StatusReply *)reply;
    return error;
}

/* id 0: the server at address itself. */
static enum error ask_leave(const struct address *address, uint32_t id, struct error_text *why)
{
    Jackdaw__LeaveRequest request = JACKDAW__LEAVE_REQUEST__INIT;
    request.id = id;
    const struct server_call call = {.address = address,
                                     .service = &jackdaw__cluster__descriptor,
                                     .method = "Leave",
                                     .request = &request.base};
    ProtobufCMessage *reply;
    enum error error = server_call_run(&call, &reply, why);
    if (error == OK)
        protobuf_c_message_free_unpacked(reply, NULL);
    return error;
}

/* ---- status ---- */

static bool print_json(const Jackdaw__StatusReply *status, FILE *out)
{
    json_t *object = json_pack("{s:s}", "type", "cluster");
    json_t *report = status_report_json(status);
    char *text = object != NULL && report != NULL && json_object_update(object, report) == 0
                     ? json_dumps(object, JSON_COMPACT)
                     : NULL;
    bool is_printed = text != NULL;
    if (is_printed) {
        text_print_json(text, out);
        (void)fputc('\n', out);
    }
    free(text);
    json_decref(report);
    json_decref(object);
    return is_printed;
}

static enum error print_status(const struct admin_options *options, FILE *out,
                               struct error_text *why)
{
    Jackdaw__StatusReply *status;
    enum error error = ask_status(&options->address, options->tls_ca, &status, why);
    if (error != OK)
        return error;
    if (!options->json)
        status_report_print(status, out);
    else if (!print_json(status, out))
        error = error_set(why, ERROR_NO_MEMORY, "out of memory");
    jackdaw__status_reply__free_unpacked(status, NULL);
    return error;
}

/* ---- leave ---- */

static enum error leave(const struct admin_options *options, FILE *out, struct error_text *why)
{
    enum error error = ask_leave(&options->address, 0, why);
    if (error == OK)
        (void)fprintf(out,
                      "the server at %s leaves the cluster for good; it ends when the other "
                      "servers have all its changes\n",
                      options->target);
    return error;
}

/* ---- remove ---- */

static const Jackdaw__StatusReply__Member *member_of(const Jackdaw__StatusReply *status,
                                                     uint32_t id)
{
    for (size_t i = 0; i < status->n_members; i++)
        if (status->members[i]->id == id)
            return status->members[i];
    return NULL;
}

/* Asks the server at `asked` for the master's internal address. */
static enum error find_master(const struct address *asked, struct address *out,
                              struct error_text *why)
{
    Jackdaw__StatusReply *status;
    enum error error = ask_status(asked, NULL, &status, why);
    if (error != OK)
        return error;
    const Jackdaw__StatusReply__Member *master = member_of(status, status->master);
    if (status->master == status->id)
        *out = *asked;
    else if (status->master == 0 || master == NULL)
        error = error_set(why, ERROR_REFUSED,
                          "server %u knows no master now, and only a master can remove a server: "
                          "try again when there is one",
                          status->id);
    else
        error = address_parse(master->internal, out, why);
    jackdaw__status_reply__free_unpacked(status, NULL);
    return error;
}

/* Checks that the cluster has such a server, and that it is dead. *done: it was removed before. */
static enum error check_removal(const Jackdaw__StatusReply *status, uint32_t id, bool *done,
                                struct error_text *why)
{
    const Jackdaw__StatusReply__Member *member = member_of(status, id);
    if (member == NULL)
        return error_set(why, ERROR_NOT_FOUND,
                         "the cluster has no server %u; jackdaw-admin status lists its servers",
                         id);
    *done = member->left;
    if (!member->left && (member->reachable || member->id == status->master))
        return error_set(why, ERROR_DENIED,
                         "server %u is alive: stop it first, or run jackdaw-admin leave %s", id,
                         member->internal);
    return OK;
}

static enum error remove_through(const struct address *asked, uint32_t id, bool *done,
                                 struct error_text *why)
{
    struct address master;
    enum error error = find_master(asked, &master, why);
    if (error != OK)
        return error;
    Jackdaw__StatusReply *status;
    error = ask_status(&master, NULL, &status, why);
    if (error != OK)
        return error;
    error = check_removal(status, id, done, why);
    jackdaw__status_reply__free_unpacked(status, NULL);
    return error != OK || *done ? error : ask_leave(&master, id, why);
}

/* Tries the addresses in their order, until a server does it or says why it must not be done. */
static enum error remove_member(const struct admin_options *options, FILE *out,
                                struct error_text *why)
{
    bool was_done = false;
    enum error error = ERROR_REFUSED;
    for (size_t i = 0; i < options->through.count; i++) {
        error = remove_through(&options->through.items[i], options->id, &was_done, why);
        if (error == OK || error == ERROR_DENIED ||
            (error == ERROR_NOT_FOUND && i + 1 == options->through.count))
            break;
    }
    if (error == OK)
        (void)fprintf(out, "server %u is %s of the cluster\n", (unsigned)options->id,
                      was_done ? "already no longer a member" : "no longer a member");
    return error;
}

enum error admin_run(const struct admin_options *options, FILE *out, struct error_text *why)
{
    switch (options->command) {
    case ADMIN_STATUS:
        return print_status(options, out, why);
    case ADMIN_LEAVE:
        return leave(options, out, why);
    case ADMIN_REMOVE:
        return remove_member(options, out, why);
    default:
        ASSERT(options->command == ADMIN_VERIFY || options->command == ADMIN_DUMP);
        return log_report_run(options, out, why);
    }
}
