/* SPDX-License-Identifier: MIT */
/* repair.h - the start of a server on a data folder whose log or database is damaged.
 *
 * A server must not cut entries that it acknowledged, nor promise or be the master without them (Alagappan et al.,
 * "Protocol-Aware Recovery for Consensus-Based Storage", FAST 2018, section 3.3). If another member was in
 * sync by the last list of members, the server sets log and database aside, and keeps its promise. Then it
 * joins the others like a server whose disk was lost: without a vote until it has copied their database. */
#ifndef JACKDAW_SERVER_REPAIR_H
#define JACKDAW_SERVER_REPAIR_H

#include "base/error.h"
#include "cluster/settings.h"

/* Moves log and database of the data folder to FOLDER/damaged-N, and changes settings: the server joins the
 * other members. No store has the folder open. An error without a move of files in why moved no file.
 * ERROR_REFUSED: no other member is known to have been in sync, or the list of members cannot be read.
 * settings->masters.items: freed by repair_release. */
enum error repair_begin(const char *folder, struct cluster_settings *settings,
                        struct error_text *why);

/* A server may end before it has copied the database of the others. At its next start it joins the members
 * that the database set aside names. Changes settings as repair_begin if a database was set aside, and tells
 * so in *is_resumed. ERROR_REFUSED: that database does not tell who they are, and the settings would found a
 * second cluster. For a store that has no list of members. */
enum error repair_resume(const char *folder, struct cluster_settings *settings, bool *is_resumed,
                         struct error_text *why);

void repair_release(struct cluster_settings *settings);

#endif
