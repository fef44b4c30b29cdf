/* SPDX-License-Identifier: MIT */
#include "cli/json_values.h"

#include "client/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void json_put(json_t *object, const char *key, json_t *value)
{
    if (value != NULL)
        (void)json_object_set_new(object, key, value);
}

json_t *json_text(const char *text)
{
    json_t *value = json_string(text);
    if (value != NULL)
        return value;
    char *printable = text_printable(text, "");
    value = json_string(printable == NULL ? "" : printable);
    free(printable);
    return value;
}

void json_put_text(json_t *object, const char *key, const char *text)
{
    json_put(object, key, json_text(text));
}

json_t *json_number(uint64_t number)
{
    return json_integer((json_int_t)number);
}

void json_put_position(json_t *object, const Jackdaw__Position *position)
{
    json_put(object, "epoch", json_number(position == NULL ? 0 : position->epoch));
    json_put(object, "seq", json_number(position == NULL ? 0 : position->seq));
}

json_t *json_uid(uint64_t session, uint64_t request)
{
    char text[48];
    (void)snprintf(text, sizeof text, "%016" PRIx64 ":%" PRIu64, session, request);
    return json_string(text);
}

/* ---- events ---- */

static const char *type_of(const Jackdaw__Event *event)
{
    switch (event->kind) {
    case JACKDAW__EVENT__KIND__MESSAGE:
        return "message";
    case JACKDAW__EVENT__KIND__JOINED:
        return "joined";
    case JACKDAW__EVENT__KIND__LEFT:
    case JACKDAW__EVENT__KIND__REMOVED:
        return "left";
    case JACKDAW__EVENT__KIND__TOPIC:
        return "topic";
    case JACKDAW__EVENT__KIND__INVITED:
        return "invited";
    case JACKDAW__EVENT__KIND__PRESENCE:
        return "presence";
    case JACKDAW__EVENT__KIND__TYPING:
        return "typing";
    case JACKDAW__EVENT__KIND__NOTICE:
        return "notice";
    case JACKDAW__EVENT__KIND__OWNER:
        return "owner";
    default:
        return "unknown"; /* of a later version */
    }
}

static void put_message(json_t *object, const Jackdaw__Event *event)
{
    json_put_text(object, "text", event->text);
    json_put(object, "uid", json_uid(event->session, event->request));
    json_put(object, "number", json_number(event->number));
}

static void put_particulars(json_t *object, const Jackdaw__Event *event)
{
    switch (event->kind) {
    case JACKDAW__EVENT__KIND__MESSAGE:
        put_message(object, event);
        break;
    case JACKDAW__EVENT__KIND__LEFT:
        if (*event->text != '\0')
            json_put_text(object, "reason", event->text);
        break;
    case JACKDAW__EVENT__KIND__REMOVED:
        json_put_text(object, "reason", "deleted");
        break;
    case JACKDAW__EVENT__KIND__PRESENCE:
    case JACKDAW__EVENT__KIND__TYPING:
        json_put(object, "active", json_boolean(event->active));
        break;
    case JACKDAW__EVENT__KIND__TOPIC:
    case JACKDAW__EVENT__KIND__NOTICE:
        json_put_text(object, "text", event->text);
        break;
    default:
        break;
    }
}

static json_t *make_event(const Jackdaw__Event *event, bool with_type)
{
    json_t *object = json_object();
    if (with_type)
        json_put_text(object, "type", type_of(event));
    if (*event->room != '\0')
        json_put_text(object, "room", event->room);
    if (*event->from != '\0')
        json_put_text(object, "from", event->from);
    if (*event->subject != '\0')
        json_put_text(object, "subject", event->subject);
    put_particulars(object, event);
    if (event->seq != 0) {
        json_put(object, "epoch", json_number(event->epoch));
        json_put(object, "seq", json_number(event->seq));
    }
    json_put(object, "time_ms", json_number(event->time_ms));
    return object;
}

json_t *json_event(const Jackdaw__Event *event)
{
    return make_event(event, true);
}

json_t *json_events(Jackdaw__Event *const *events, size_t count)
{
    json_t *array = json_array();
    for (size_t i = 0; i < count; i++)
        (void)json_array_append_new(
            array, make_event(events[i], events[i]->kind != JACKDAW__EVENT__KIND__MESSAGE));
    return array;
}
