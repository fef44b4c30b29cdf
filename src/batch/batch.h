/* SPDX-License-Identifier: MIT */
/* batch.h - the bytes of a jackdaw.Batch in an entry of the log: their digest, and how texts are erased.
 *
 * The digest of the log covers the hash of each text that a user wrote, not the text. So a text can be
 * erased in every copy of the log, at another time on each server, and all digests stay. The texts are
 * those of messages and topics. MessageSent and TopicSet use the same numbers of fields for them:
 *
 *   whole     text (3): the n bytes of the text      text_salt (6): 16 random bytes
 *   erased    erased_text (7): n zeros               text_hash (8): BLAKE2b-128(salt || text)
 *
 * Both forms have the same size, so an entry keeps its size and the log its layout. The salt is erased
 * with the text: without it, nobody can find a short text by hashing all that it could be. The master draws
 * the salt after the client sent the text, so a client cannot prepare two texts with one hash.
 *
 * The functions read the wire format of protobuf without memory of their own. Pure; any thread. The caller
 * has called sodium_init. */
#ifndef JACKDAW_BATCH_BATCH_H
#define JACKDAW_BATCH_BATCH_H

#include "base/log_entry.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BATCH_SALT_BYTES 16 /* of a text */
#define BATCH_HASH_BYTES 16 /* of a text and its salt */

/* Computes digest = BLAKE2b-256(digest || form || bytes) in place, over any bytes (segment_log_chain). In an
 * entry of the chat, a text with a salt counts as its erased form, and without the zeros of that. Such an
 * entry has another `form` than one whose bytes are hashed as they are: a list of members, and an entry
 * of the chat that batch_erase could not read. entry->digest is ignored. */
void batch_chain(uint8_t digest[static LOG_DIGEST_BYTES], const struct log_entry *entry);

/* Erases the texts of the deltas whose seqs are in `seqs` (ascending), in the bytes of the entry, which
 * `bytes` gives for writing. Returns how many texts it erased. A text without a salt stays, and so does all of an entry
 * that batch_chain hashes as it is. An erased text stays erased. */
size_t batch_erase(uint8_t *bytes, const struct log_entry *entry, const uint64_t *seqs,
                   size_t count);

#endif
