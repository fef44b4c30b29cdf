/* SPDX-License-Identifier: MIT */
#include "admin/log_report.h"

#include "admin/log_print.h"
#include "batch/batch.h"

#include <inttypes.h>
#include <sodium.h>

struct report {
    struct log_print print;
    bool is_dump;
    struct log_summary summary;
    bool has_items;
    bool is_out_of_memory;
};

static void count(struct log_summary *summary, const struct segment_log_item *item)
{
    switch (item->kind) {
    case SEGMENT_LOG_ITEM_SEGMENT:
        summary->segments++;
        summary->end = item->end;
        break;
    case SEGMENT_LOG_ITEM_ENTRY:
        if (summary->entries++ == 0)
            summary->first = (struct log_position){item->entry.epoch, item->entry.first_seq};
        summary->bytes += item->entry.size;
        summary->end = item->end;
        break;
    case SEGMENT_LOG_ITEM_TORN:
        summary->is_torn = true;
        break;
    case SEGMENT_LOG_ITEM_DAMAGE:
        summary->damages++;
        break;
    default:
        break;
    }
}

static enum error visit(void *context, const struct segment_log_item *item)
{
    struct report *report = context;
    bool is_finding = item->kind == SEGMENT_LOG_ITEM_TORN || item->kind == SEGMENT_LOG_ITEM_DAMAGE;
    report->has_items = true;
    count(&report->summary, item);
    enum error error = report->is_dump || is_finding ? log_print_item(&report->print, item) : OK;
    report->is_out_of_memory = error == ERROR_NO_MEMORY;
    return error == OK && ferror(report->print.out) ? ERROR_CLOSED : error;
}

/* Sets the sentence for the operator, from that of segment_log_inspect. */
static enum error explain(const struct report *report, enum error error, struct error_text *why)
{
    const char *folder = report->print.folder;
    struct error_text reason = *why;
    switch (error) {
    case ERROR_CORRUPT:
        return error_set(why, error,
                         "the log of %s is damaged (places: %" PRIu64
                         "). If a server uses the folder, stop the server and verify again; "
                         "else see \"A damaged database\" in docs/operations.md",
                         folder, report->summary.damages);
    case ERROR_CLOSED:
        return error_set(why, ERROR_IO, "standard output cannot be written to");
    case ERROR_NOT_FOUND:
        if (!report->has_items)
            return error_set(why, error,
                             "%s has no log: name the data folder of one server, such as data/1",
                             folder);
        return error_set(why, error,
                         "%s. A running server removes segments: stop the server, or try again",
                         reason.text);
    case ERROR_DENIED:
        return error_set(why, error, "%s; run this as the user of the server", reason.text);
    case ERROR_NO_MEMORY:
        return report->is_out_of_memory ? error_set(why, error, "out of memory") : error;
    default:
        return error;
    }
}

enum error log_report_run(const struct admin_options *options, FILE *out, struct error_text *why)
{
    struct report report = {.print = {.out = out,
                                      .folder = options->target,
                                      .is_json = options->json,
                                      .has_text = options->text},
                            .is_dump = options->command == ADMIN_DUMP};
    if (sodium_init() < 0)
        return error_set(why, ERROR_INTERNAL, "libsodium does not start");
    enum error found = segment_log_inspect(options->target, batch_chain, visit, &report, why);
    if ((found == OK || found == ERROR_CORRUPT) &&
        log_print_summary(&report.print, &report.summary) != OK)
        return error_set(why, ERROR_NO_MEMORY, "out of memory");
    return explain(&report, found, why);
}
