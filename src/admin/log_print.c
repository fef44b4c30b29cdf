/* SPDX-License-Identifier: MIT */
#include "admin/log_print.h"

#include "base/text.h"
#include "spec.pb-c.h"

#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DIGEST_TEXT_BYTES (2 * LOG_DIGEST_BYTES + 1)
#define DIGEST_PREFIX 16 /* digits */
#define TIME_TEXT_BYTES 32
#define SESSION_TEXT_BYTES 17

/* ---- values ---- */

static void write_digest(char out[static DIGEST_TEXT_BYTES], const uint8_t *digest)
{
    (void)sodium_bin2hex(out, DIGEST_TEXT_BYTES, digest, LOG_DIGEST_BYTES);
}

/* Writes "2026-11-30T01:02:03.456Z". */
static void write_time(char out[static TIME_TEXT_BYTES], uint64_t ms)
{
    char seconds_text[TIME_TEXT_BYTES - 6];
    time_t seconds = (time_t)(ms / 1000);
    struct tm parts;
    if (gmtime_r(&seconds, &parts) == NULL ||
        strftime(seconds_text, sizeof seconds_text, "%Y-%m-%dT%H:%M:%S", &parts) == 0)
        (void)snprintf(out, TIME_TEXT_BYTES, "%" PRIu64 "ms", ms);
    else
        (void)snprintf(out, TIME_TEXT_BYTES, "%s.%03uZ", seconds_text, (unsigned)(ms % 1000));
}

static void write_path(char out[static PATH_MAX], const struct log_print *print, uint64_t segment)
{
    (void)snprintf(out, PATH_MAX, "%s/" SEGMENT_LOG_FOLDER "/%016" PRIu64 ".log", print->folder,
                   segment);
}

static const char *kind_of(const Jackdaw__Delta *delta)
{
    const ProtobufCFieldDescriptor *field = protobuf_c_message_descriptor_get_field(
        &jackdaw__delta__descriptor, (unsigned)delta->change_case);
    return field == NULL ? "unknown" : field->name;
}

/* Whether the text of a message or topic was overwritten (src/batch). */
static bool is_erased(const Jackdaw__Delta *delta)
{
    switch (delta->change_case) {
    case JACKDAW__DELTA__CHANGE_MESSAGE_SENT:
        return delta->message_sent->text_hash.len > 0;
    case JACKDAW__DELTA__CHANGE_TOPIC_SET:
        return delta->topic_set->topic_hash.len > 0;
    default:
        return false;
    }
}

/* NULL: not asked for, erased, or the delta is no message. */
static const char *text_of(const struct log_print *print, const Jackdaw__Delta *delta)
{
    return print->has_text && delta->change_case == JACKDAW__DELTA__CHANGE_MESSAGE_SENT &&
                   !is_erased(delta)
               ? delta->message_sent->text
               : NULL;
}

static const char *state_of(enum segment_log_item_kind kind)
{
    switch (kind) {
    case SEGMENT_LOG_ITEM_SPARE:
        return "spare";
    case SEGMENT_LOG_ITEM_OLD:
        return "old";
    default:
        return "in_use";
    }
}

/* Returns the deltas of an entry; NULL: it has none, or cannot be decoded. */
static Jackdaw__Batch *decode(const struct log_entry *entry)
{
    if (entry->kind != LOG_ENTRY_CHAT)
        return NULL;
    Jackdaw__Batch *batch = jackdaw__batch__unpack(NULL, entry->size, entry->bytes);
    if (batch != NULL && batch->n_deltas == entry->last_seq - entry->first_seq + 1)
        return batch;
    jackdaw__batch__free_unpacked(batch, NULL);
    return NULL;
}

/* ---- JSON ---- */

/* Takes the object; NULL: no memory. */
static enum error print_object(const struct log_print *print, json_t *object)
{
    char *text = object == NULL ? NULL : json_dumps(object, JSON_COMPACT);
    json_decref(object);
    if (text == NULL)
        return ERROR_NO_MEMORY;
    text_print_json(text, print->out);
    (void)fputc('\n', print->out);
    free(text);
    return OK;
}

/* Paths need not be UTF-8. */
static json_t *json_of_text(const char *text)
{
    return text != NULL && text_is_utf8(text, strlen(text)) ? json_string(text) : json_null();
}

static json_t *json_of_position(struct log_position position)
{
    return position.seq == 0 ? json_null()
                             : json_pack("{s:I, s:I}", "epoch", (json_int_t)position.epoch, "seq",
                                         (json_int_t)position.seq);
}

static json_t *json_of_delta(const struct log_print *print, const Jackdaw__Delta *delta,
                             uint64_t seq)
{
    char session[SESSION_TEXT_BYTES];
    (void)snprintf(session, sizeof session, "%016" PRIx64, delta->session);
    json_t *object =
        json_pack("{s:I, s:s, s:I, s:s, s:I, s:b}", "seq", (json_int_t)seq, "kind", kind_of(delta),
                  "time_ms", (json_int_t)delta->time_ms, "session", session, "request",
                  (json_int_t)delta->request, "erased", (int)is_erased(delta));
    const char *text = text_of(print, delta);
    if (object != NULL && text != NULL &&
        json_object_set_new(object, "text", json_of_text(text)) != 0) {
        json_decref(object);
        return NULL;
    }
    return object;
}

static json_t *json_of_deltas(const struct log_print *print, const struct log_entry *entry)
{
    Jackdaw__Batch *batch = decode(entry);
    if (batch == NULL)
        return json_null();
    json_t *deltas = json_array();
    for (size_t i = 0; i < batch->n_deltas && deltas != NULL; i++)
        if (json_array_append_new(
                deltas, json_of_delta(print, batch->deltas[i], entry->first_seq + i)) != 0) {
            json_decref(deltas);
            deltas = NULL;
        }
    jackdaw__batch__free_unpacked(batch, NULL);
    return deltas;
}

static json_t *json_of_entry(const struct log_print *print, const struct segment_log_item *item)
{
    const struct log_entry *entry = &item->entry;
    char digest[DIGEST_TEXT_BYTES];
    write_digest(digest, entry->digest);
    return json_pack(
        "{s:s, s:I, s:I, s:I, s:I, s:I, s:s, s:I, s:s, s:o}", "type", "entry", "segment",
        (json_int_t)item->number, "offset", (json_int_t)item->offset, "epoch",
        (json_int_t)entry->epoch, "first_seq", (json_int_t)entry->first_seq, "last_seq",
        (json_int_t)entry->last_seq, "kind", entry->kind == LOG_ENTRY_CHAT ? "chat" : "members",
        "bytes", (json_int_t)entry->size, "digest", digest, "deltas", json_of_deltas(print, entry));
}

static json_t *json_of_item(const struct log_print *print, const struct segment_log_item *item)
{
    char path[PATH_MAX];
    json_int_t number = (json_int_t)item->number;
    json_int_t offset = (json_int_t)item->offset;
    json_int_t size = (json_int_t)item->size;
    write_path(path, print, item->number);
    switch (item->kind) {
    case SEGMENT_LOG_ITEM_ENTRY:
        return json_of_entry(print, item);
    case SEGMENT_LOG_ITEM_TORN:
        return json_pack("{s:s, s:I, s:o, s:I, s:I, s:o}", "type", "torn", "segment", number,
                         "path", json_of_text(path), "offset", offset, "bytes", size, "last",
                         json_of_position(item->end.position));
    case SEGMENT_LOG_ITEM_DAMAGE:
        return json_pack("{s:s, s:I, s:o, s:I, s:o}", "type", "damage", "segment", number, "path",
                         json_of_text(path), "offset", offset, "problem",
                         json_of_text(item->problem));
    default:
        return json_pack("{s:s, s:I, s:o, s:s, s:I}", "type", "file", "segment", number, "path",
                         json_of_text(path), "state", state_of(item->kind), "bytes", size);
    }
}

static json_t *json_of_summary(const struct log_print *print, const struct log_summary *summary)
{
    char digest[DIGEST_TEXT_BYTES];
    write_digest(digest, summary->end.digest);
    return json_pack("{s:s, s:o, s:I, s:I, s:I, s:o, s:o, s:s, s:b, s:I}", "type", "log", "folder",
                     json_of_text(print->folder), "segments", (json_int_t)summary->segments,
                     "entries", (json_int_t)summary->entries, "bytes", (json_int_t)summary->bytes,
                     "first", json_of_position(summary->first), "last",
                     json_of_position(summary->end.position), "digest", digest, "torn",
                     (int)summary->is_torn, "damages", (json_int_t)summary->damages);
}

/* ---- text ---- */

static enum error print_message(const struct log_print *print, const char *message)
{
    json_t *string = json_of_text(message);
    char *text = string == NULL ? NULL : json_dumps(string, JSON_ENCODE_ANY);
    json_decref(string);
    if (text == NULL)
        return ERROR_NO_MEMORY;
    (void)fputs(" text=", print->out);
    text_print_json(text, print->out);
    free(text);
    return OK;
}

static enum error print_deltas(const struct log_print *print, const struct log_entry *entry)
{
    Jackdaw__Batch *batch = decode(entry);
    enum error error = OK;
    if (batch == NULL && entry->kind == LOG_ENTRY_CHAT)
        (void)fputs("  the changes of this entry cannot be decoded\n", print->out);
    for (size_t i = 0; batch != NULL && i < batch->n_deltas && error == OK; i++) {
        const Jackdaw__Delta *delta = batch->deltas[i];
        char time[TIME_TEXT_BYTES];
        write_time(time, delta->time_ms);
        (void)fprintf(print->out,
                      "  delta seq=%" PRIu64 " kind=%s time=%s session=%016" PRIx64
                      " request=%" PRIu64,
                      entry->first_seq + i, kind_of(delta), time, delta->session, delta->request);
        if (is_erased(delta))
            (void)fputs(" erased", print->out);
        const char *text = text_of(print, delta);
        if (text != NULL)
            error = print_message(print, text);
        (void)fputc('\n', print->out);
    }
    jackdaw__batch__free_unpacked(batch, NULL);
    return error;
}

static enum error print_entry(const struct log_print *print, const struct segment_log_item *item)
{
    const struct log_entry *entry = &item->entry;
    char digest[DIGEST_TEXT_BYTES];
    write_digest(digest, entry->digest);
    (void)fprintf(print->out,
                  "entry segment=%" PRIu64 " offset=%" PRIu64 " epoch=%" PRIu64 " seq=%" PRIu64
                  "-%" PRIu64 " kind=%s bytes=%zu digest=%.*s\n",
                  item->number, item->offset, entry->epoch, entry->first_seq, entry->last_seq,
                  entry->kind == LOG_ENTRY_CHAT ? "chat" : "members", entry->size, DIGEST_PREFIX,
                  digest);
    return print_deltas(print, entry);
}

static enum error print_text(const struct log_print *print, const struct segment_log_item *item)
{
    char path[PATH_MAX];
    write_path(path, print, item->number);
    switch (item->kind) {
    case SEGMENT_LOG_ITEM_ENTRY:
        return print_entry(print, item);
    case SEGMENT_LOG_ITEM_TORN:
        (void)fprintf(print->out,
                      "torn segment=%" PRIu64 " offset=%" PRIu64 " bytes=%" PRIu64
                      " after_seq=%" PRIu64 " path=%s\n",
                      item->number, item->offset, item->size, item->end.position.seq, path);
        return OK;
    case SEGMENT_LOG_ITEM_DAMAGE:
        (void)fprintf(print->out,
                      "damage segment=%" PRIu64 " offset=%" PRIu64 " path=%s problem=\"%s\"\n",
                      item->number, item->offset, path, item->problem);
        return OK;
    default:
        (void)fprintf(print->out, "file segment=%" PRIu64 " state=%s bytes=%" PRIu64 " path=%s\n",
                      item->number, state_of(item->kind), item->size, path);
        return OK;
    }
}

static void print_position(const struct log_print *print, const char *name,
                           struct log_position position)
{
    if (position.seq == 0)
        (void)fprintf(print->out, "%-9s -\n", name);
    else
        (void)fprintf(print->out, "%-9s epoch %" PRIu64 ", seq %" PRIu64 "\n", name, position.epoch,
                      position.seq);
}

static void print_summary(const struct log_print *print, const struct log_summary *summary)
{
    char digest[DIGEST_TEXT_BYTES];
    write_digest(digest, summary->end.digest);
    (void)fprintf(print->out, "segments  %" PRIu64 "\n", summary->segments);
    (void)fprintf(print->out, "entries   %" PRIu64 ", %" PRIu64 " bytes\n", summary->entries,
                  summary->bytes);
    print_position(print, "first", summary->first);
    print_position(print, "last", summary->end.position);
    (void)fprintf(print->out, "digest    %s\n", digest);
    if (summary->damages > 0)
        (void)fprintf(print->out, "result    damaged, places: %" PRIu64 "\n", summary->damages);
    else if (summary->is_torn)
        (void)fputs("result    whole, with a torn end: an interrupted write, which the next start "
                    "removes, or a write of a running server\n",
                    print->out);
    else
        (void)fputs("result    whole\n", print->out);
}

enum error log_print_item(const struct log_print *print, const struct segment_log_item *item)
{
    return print->is_json ? print_object(print, json_of_item(print, item))
                          : print_text(print, item);
}

enum error log_print_summary(const struct log_print *print, const struct log_summary *summary)
{
    if (print->is_json)
        return print_object(print, json_of_summary(print, summary));
    print_summary(print, summary);
    return OK;
}
