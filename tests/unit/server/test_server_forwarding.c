/* SPDX-License-Identifier: MIT */
/* Two whole servers, of which clients know the slave alone alone. */
#include "base/clock.h"
#include "support/folder.h"
#include "support/live_server.h"
#include "support/test.h"

#include <stdio.h>
#include <string.h>

struct pair {
    char *folder;
    struct live_server *master;
    struct live_server *slave;
    struct device ann;
};

/* Waits until the slave takes writes: then it knows its master. */
static void wait_for_master(struct device *device)
{
    struct answer answer;
    bool has_master = false;
    while (!has_master) {
        ASK(device, &answer, "Info", Info, INFO, r.client = (char *)"test");
        assert_int_equal(answer.status, STATUS_OK);
        has_master = ((const Jackdaw__InfoReply *)answer.reply)->master;
        answer_clear(&answer);
    }
}

static void pair_open(struct pair *pair)
{
    char address[ADDRESS_TEXT_SIZE];
    char option[ADDRESS_TEXT_SIZE + 20];
    pair->folder = folder_new();
    pair->master = live_server_start(pair->folder, (const char *[]){LIVE_SERVER_PATIENT, NULL});
    address_format(live_server_internal_address(pair->master), address);
    (void)snprintf(option, sizeof option, "--master_address=%s", address);
    pair->slave = live_server_start(pair->folder, (const char *[]){"--id=2", "--role=slave", option,
                                                                   LIVE_SERVER_PATIENT, NULL});
    device_open(&pair->ann, pair->slave);
    wait_for_master(&pair->ann);
}

static void pair_close(struct pair *pair)
{
    device_close(&pair->ann);
    live_server_stop(pair->slave);
    if (pair->master != NULL)
        live_server_stop(pair->master);
    folder_remove(pair->folder);
}

static void note_events(struct answer *answer, const ProtobufCMessage *reply)
{
    const Jackdaw__ReceiveReply *page = (const Jackdaw__ReceiveReply *)reply;
    char *last = answer->context;
    for (size_t i = 0; i < page->n_events; i++)
        if (page->events[i]->kind == JACKDAW__EVENT__KIND__MESSAGE)
            (void)snprintf(last, 64, "%s", page->events[i]->text);
}

TEST(test_forwarding__a_client_that_knows_the_slave_alone)
{
    struct pair pair;
    struct device bob;
    pair_open(&pair);
    assert_int_equal(device_register(&pair.ann, "ann"), STATUS_OK);
    assert_int_equal(device_login(&pair.ann, "ann"), STATUS_OK);
    assert_int_equal(device_join(&pair.ann, "lobby"), STATUS_OK);
    char last[64] = "";
    struct answer stream = {.context = last, .each = note_events};
    Jackdaw__ReceiveRequest request = JACKDAW__RECEIVE_REQUEST__INIT;
    ask_start(&pair.ann, &stream, "Receive", &request.base, 16);
    /* Somebody at the master says something, and she hears it; and what she says herself. */
    device_enter(&bob, pair.master, "bob", "lobby");
    assert_int_equal(device_send(&bob, "lobby", "over there"), STATUS_OK);
    DEVICE_WAIT(&pair.ann, strcmp(last, "over there") == 0);
    assert_int_equal(device_send(&pair.ann, "lobby", "over here"), STATUS_OK);
    DEVICE_WAIT(&pair.ann, strcmp(last, "over here") == 0);
    device_close(&bob);
    pair_close(&pair);
    answer_clear(&stream);
}

/* The slave is the master, session and stream live on, and what was carried before is there. */
TEST(test_forwarding__the_master_goes)
{
    struct pair pair;
    pair_open(&pair);
    assert_int_equal(device_register(&pair.ann, "ann"), STATUS_OK);
    assert_int_equal(device_login(&pair.ann, "ann"), STATUS_OK);
    assert_int_equal(device_join(&pair.ann, "lobby"), STATUS_OK);
    char last[64] = "";
    struct answer stream = {.context = last, .each = note_events};
    Jackdaw__ReceiveRequest request = JACKDAW__RECEIVE_REQUEST__INIT;
    ask_start(&pair.ann, &stream, "Receive", &request.base, 16);
    assert_int_equal(device_send(&pair.ann, "lobby", "before"), STATUS_OK);
    DEVICE_WAIT(&pair.ann, strcmp(last, "before") == 0);
    live_server_stop(pair.master);
    pair.master = NULL;
    wait_for_master(&pair.ann);
    struct answer answer;
    ASK(&pair.ann, &answer, "History", History, HISTORY, r.room = (char *)"lobby");
    assert_int_equal(answer.status, STATUS_OK);
    const Jackdaw__HistoryReply *history = (const Jackdaw__HistoryReply *)answer.reply;
    assert_int_equal(history->n_events, 1);
    assert_string_equal(history->events[0]->text, "before");
    answer_clear(&answer);
    assert_int_equal(device_send(&pair.ann, "lobby", "after"), STATUS_OK);
    DEVICE_WAIT(&pair.ann, strcmp(last, "after") == 0);
    assert_false(stream.ended);
    pair_close(&pair);
    answer_clear(&stream);
}
