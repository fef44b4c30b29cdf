/* SPDX-License-Identifier: MIT */
/* damage.h - changes to a database that no server makes. Each fails the test where it does not work. */
#ifndef JACKDAW_TESTS_DAMAGE_H
#define JACKDAW_TESTS_DAMAGE_H

/* Runs statements on the database at path, which no store has open. */
void damage_execute(const char *path, const char *sql);

/* Takes STRICT and NOT NULL from the tables, so that any column takes any value. */
void damage_loosen(const char *path);

#endif
