/*
 * counters_file.c
 *		The file that the counters are kept in while the server is down.
 *
 * It is written at a shutdown and removed once it is read, so that a server that
 * crashes does not read an old one.  It is a cache: one that cannot be read, or is of
 * another version, is not worth an error.
 */
#include "postgres.h"

#include <unistd.h>

#include "common/controldata_utils.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/fd.h"

#include "shared/counters_file.h"

#define COUNTERS_FILE PGSTAT_STAT_PERMANENT_DIRECTORY "/sms3300.stat"
#define COUNTERS_MAGIC 0x534D5301

/* What the file begins with.  Another layout of the counters has another size. */
typedef struct CountersHeader
{
	uint32		magic;
	uint32		size;			/* of AccountCounters */
	uint32		n;				/* how many follow */
} CountersHeader;

/* Write the counters to an open file. */
static bool
write_slots(FILE *file, const AccountCounters *slots, int nslots)
{
	CountersHeader header = {COUNTERS_MAGIC, sizeof(AccountCounters), 0};

	for (int i = 0; i < nslots; i++)
		header.n += OidIsValid(slots[i].database);
	if (fwrite(&header, sizeof(header), 1, file) != 1)
		return false;
	for (int i = 0; i < nslots; i++)
		if (OidIsValid(slots[i].database) && fwrite(&slots[i], sizeof(AccountCounters), 1, file) != 1)
			return false;
	return true;
}

void
counters_file_write(const AccountCounters *slots, int nslots)
{
	FILE	   *file = AllocateFile(COUNTERS_FILE ".tmp", PG_BINARY_W);
	bool		written = file != NULL && write_slots(file, slots, nslots);

	if (file && FreeFile(file) != 0)
		written = false;
	if (written)
		(void) durable_rename(COUNTERS_FILE ".tmp", COUNTERS_FILE, LOG);
	else
	{
		ereport(LOG,
				(errcode_for_file_access(),
				 errmsg("could not write file \"%s\": %m", COUNTERS_FILE ".tmp")));
		unlink(COUNTERS_FILE ".tmp");
	}
}

/*
 * Return whether the server was shut down in order.  Otherwise a result may have been
 * recorded and not counted.
 */
static bool
was_shut_down(void)
{
	bool		crc_ok;
	ControlFileData *control = get_controlfile(DataDir, &crc_ok);
	bool		result = crc_ok &&
		(control->state == DB_SHUTDOWNED || control->state == DB_SHUTDOWNED_IN_RECOVERY);

	pfree(control);
	return result;
}

void
counters_file_read(AccountCounters *slots, int nslots)
{
	FILE	   *file = AllocateFile(COUNTERS_FILE, PG_BINARY_R);
	CountersHeader header;
	uint32		n = 0;

	if (file == NULL)
		return;
	if (was_shut_down() && fread(&header, sizeof(header), 1, file) == 1 && header.magic == COUNTERS_MAGIC &&
		header.size == sizeof(AccountCounters) && header.n <= (uint32) nslots)
		while (n < header.n && fread(&slots[n], sizeof(AccountCounters), 1, file) == 1)
		{
			AccountCounters *slot = &slots[n++];

			memset(&slot->version, 0, sizeof(AccountCounters) - offsetof(AccountCounters, version));
		}
	FreeFile(file);
	unlink(COUNTERS_FILE);
}
