/* SPDX-License-Identifier: MIT */
/* catch_up.h - reads a page of events for one subscription from the store.
 *
 * A catch-up waits until the events up to its end are committed, because the reader sees committed
 * events only. The reader then reads the page on its thread. The result goes to the subscription on
 * the core thread: to subscription_take_page, to subscription_fail_read after an error of the
 * store, or to subscription_start_lagging after a rollback. Then the catch-up frees itself.
 *
 * Private to subscription.c. Core thread only. */
#ifndef JACKDAW_SERVER_CATCH_UP_H
#define JACKDAW_SERVER_CATCH_UP_H

#include <stdint.h>

struct catch_up;
struct subscription;

/* Plans to read the events after `filled` of the subscription and up to the seq `until`, at most
 * the applied one. The caller stores the result in the subscription and then calls catch_up_start.
 * Returns NULL if there is no memory or CATCH_UPS_MAX exist; the caller tries again at the next
 * delivery. */
struct catch_up *catch_up_new(struct subscription *subscription, uint64_t until);

/* Waits for the commit and reads. Without a reader it reads before it returns, if all is committed.
 * The result arrives later in any case, from the core's queue or from the commit log. */
void catch_up_start(struct catch_up *catch_up);

/* Detaches the catch-up from its subscription, which gets no result. NULL is allowed. */
void catch_up_abandon(struct catch_up *catch_up);

#endif
