/* SPDX-License-Identifier: MIT */
/* protocol.h - the version and the limits of the RPC protocol; see proto/spec.proto, "RPC", and
 * docs/protocol.md. */
#ifndef JACKDAW_RPC_PROTOCOL_H
#define JACKDAW_RPC_PROTOCOL_H

#define RPC_PROTOCOL_MAJOR 1u
#define RPC_PROTOCOL_MINOR 0u
#define RPC_PROTOCOL (RPC_PROTOCOL_MAJOR << 16 | RPC_PROTOCOL_MINOR)

#define RPC_FRAME_BYTES_DEFAULT (256u * 1024u) /* largest frame taken from a client */
#define RPC_JOINED_FRAME_BYTES (64u * 1024u)   /* envelopes are joined into frames up to this, */
#define RPC_ENVELOPES_MAX 1024u                /* and this many; a frame with more is no frame */
#define RPC_TOKEN_BYTES_MAX 64u
#define RPC_CREDITS_MAX 48u /* replies under way to one stream: below nng's 64 per connection */

/* Memory budgets while decoding, against small messages that ask for much. A frame's envelopes may
 * take FRAME_FACTOR times its size plus ENVELOPE_BYTES for each of them; a request or a reply may
 * take DECODE_FACTOR times its size plus DECODE_FLOOR. */
#define RPC_FRAME_FACTOR 4u
#define RPC_ENVELOPE_BYTES 512u
#define RPC_DECODE_FACTOR 32u
#define RPC_DECODE_FLOOR 16384u

/* Starts the transport with thread counts that suit a small machine. Call once, first, from main;
 * without it the transport starts by itself with its own defaults. */
void rpc_init(void);

#endif
