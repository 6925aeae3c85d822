/*
 * keys.h
 *		Who holds a dedup_key.
 *
 * One message of a sender holds a key.  It gives the key away if it did not reach its
 * recipient and another message wants it: dedup_released is then true, and its entry in
 * the unique index another one.  Tables of earlier versions lack that column, and there
 * these functions do nothing.
 */
#ifndef SMS3300_OUTBOX_KEYS_H
#define SMS3300_OUTBOX_KEYS_H

#include "utils/relcache.h"

/* Have a message other than "id" give a key (a text) away if it can. */
extern void keys_release(Relation table, Name sender, Datum key, int64 id);

/*
 * Give a message that is to be queued again its key back.  Raises 23505 if a message
 * that cannot give it away holds it.
 */
extern void keys_reclaim(Oid namespace, int64 id);

/*
 * The same for many messages (an array).  Those whose key is held, by one of them or
 * by another message, do not get theirs.  Returns whether the table has keys that can be
 * held, so that those messages have to be passed over.
 */
extern bool keys_reclaim_many(Oid namespace, Datum ids);

#endif							/* SMS3300_OUTBOX_KEYS_H */
