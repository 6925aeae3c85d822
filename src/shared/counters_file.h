/*
 * counters_file.h
 *		The file that the counters are kept in while the server is down.
 */
#ifndef SMS3300_SHARED_COUNTERS_FILE_H
#define SMS3300_SHARED_COUNTERS_FILE_H

#include "shared/counters.h"

/* Write the counters that are in use.  A failure is logged, and leaves no file. */
extern void counters_file_write(const AccountCounters *slots, int nslots);

/*
 * Read them back into the first slots, which are all zero, and remove the file.  What
 * describes the present is not kept.
 */
extern void counters_file_read(AccountCounters *slots, int nslots);

#endif							/* SMS3300_SHARED_COUNTERS_FILE_H */
