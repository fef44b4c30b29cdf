/* SPDX-License-Identifier: MIT */
/* power_loss.h - a loss of power of one server, which the test itself makes after kill -9.
 *
 * The library power.c in the server notes each change below the data folder that is not synced. A loss of
 * power keeps each unsynced write, loses it, or tears it at sectors of 512 bytes; the writes of one file
 * are lost in any order. Of the unsynced changes of names in one folder a beginning survives. A rename
 * to another folder counts as a change of the new folder. Only the seed and the unsynced changes
 * decide the result. Files that the server maps into its memory keep their content, but the loss removes
 * SQLite's shared index. One thread. A function that cannot do its work fails the test. */
#ifndef JACKDAW_TESTS_POWER_LOSS_H
#define JACKDAW_TESTS_POWER_LOSS_H

#include "harness/node.h"

#include <stdint.h>

#define POWER_SECTOR_BYTES 512u

struct power {
    struct node *node;
    uint64_t seed;
    unsigned losses; /* so far */
    const char *library;
    const char *root;    /* the data folder of the node */
    const char *journal; /* the folder of journals */
};

/* The results of all losses so far, added up. */
struct power_counts {
    unsigned kept, lost, torn; /* writes and changes of size */
    unsigned names_kept, names_lost;
};

/* Loads the library into each later start of the node. Both are borrowed until the node's end; library is
 * the path of power.c's module. */
void power_attach(struct power *power, struct node *node, const char *library, uint64_t seed);

/* Takes the power from the node, whose process has ended, and adds to *counts what that did. */
void power_lose(struct power *power, struct power_counts *counts);

/* For a node that was killed and keeps its power: makes the journals ready for the next process. A later
 * loss also takes back what this process did not sync, if the next process does not sync it. */
void power_keep(const struct power *power);

/* The writes and syncs of a folder since its journals began. */
struct power_work {
    unsigned writes; /* of bytes that the file already had */
    unsigned
        syncs; /* after the first such write of the file: the syncs that fill a new file are older */
};

/* Adds up the work in the files of `folder`, which is in the data folder of the node. */
void power_count_work(const struct power *power, const char *folder, struct power_work *work);

/* Returns the next number of a sequence (splitmix64: Steele, Lea and Flood, "Fast Splittable Pseudorandom
 * Number Generators", OOPSLA 2014). */
uint64_t power_random(uint64_t *state);

#endif
