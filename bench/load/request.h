/* SPDX-License-Identifier: MIT */
/* request.h - requests as bytes: envelopes, each framed so that several make one jackdaw.Frame.
 *
 * Most are packed by protobuf-c. Send, of which a run makes millions, is copied from a template in
 * which only the call's id and the request's number change. Any thread.
 * Tests: bench/test_request.c. */
#ifndef JACKDAW_BENCH_REQUEST_H
#define JACKDAW_BENCH_REQUEST_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REQUEST_TOKEN_BYTES 32

/* What any request carries. Strings and pointers are borrowed for the call. */
struct request {
    const char *service; /* NULL: jackdaw.Chat */
    const char *method;
    uint64_t call;
    uint32_t timeout_ms;  /* 0: none */
    uint32_t credits;     /* more than 1: a stream */
    const uint8_t *token; /* REQUEST_TOKEN_BYTES, or NULL */
    const ProtobufCMessage *payload;
};

/* Bytes that request takes within a frame, at most *size_max of them written to bytes; the return
 * value is how many it takes, whether or not they fitted. */
size_t request_pack(const struct request *request, uint8_t *bytes, size_t size_max);

/* A CREDIT for an open call: REQUEST_CREDIT_BYTES_MAX is always enough. Returns bytes written. */
#define REQUEST_CREDIT_BYTES_MAX 24
size_t request_pack_credit(uint64_t call, uint32_t credits, uint8_t *bytes);

/* A Send to one room with one text; only call and request change from message to message. */
struct send_template {
    uint8_t *bytes; /* the three parts one after the other */
    size_t before_call;
    size_t before_payload; /* after the call's id */
    size_t after_request;  /* of the payload, after the request's number */
};

/* False: no memory. token: REQUEST_TOKEN_BYTES. template: ended with send_template_release. */
bool send_template_init(struct send_template *template, const uint8_t *token, const char *room,
                        const char *text, uint32_t timeout_ms);
void send_template_release(struct send_template *template);

/* No Send of this template is larger. */
size_t send_template_size_max(const struct send_template *template);

/* Writes one; returns its size. bytes: room for send_template_size_max. */
size_t send_template_write(const struct send_template *template, uint64_t call, uint64_t request,
                           uint8_t *bytes);

#endif
