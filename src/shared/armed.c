/*
 * armed.c
 *		Whether this copy of the server may send: sms3300.armed_file.
 */
#include "postgres.h"

#include <sys/stat.h>

#include "utils/timestamp.h"

#include "shared/armed.h"
#include "shared/registry.h"

/* The file is looked for again after this. */
#define LOOK_INTERVAL USECS_PER_SEC

char	   *armed_file = NULL;

static TimestampTz looked_at = DT_NOBEGIN;

bool
is_armed(void)
{
	static bool found = false;
	TimestampTz now;
	struct stat status;

	if (armed_file == NULL || *armed_file == '\0')
		return true;
	now = GetCurrentTimestamp();

	/* A clock that was set back is no reason to believe an old answer. */
	if (now < looked_at || now >= looked_at + LOOK_INTERVAL)
	{
		/* A place that this process may not look at counts as missing, as does a broken link. */
		found = stat(armed_file, &status) == 0;
		looked_at = now;
		if (found && registry_attached())
			registry_note_armed(now);
	}
	return found;
}

void
armed_look_again(void)
{
	looked_at = DT_NOBEGIN;
}

bool
armed_file_check(char **value, void **extra, GucSource source)
{
	/* A relative path would be in the data directory, and so in each copy of it. */
	if (**value == '\0' || is_absolute_path(*value))
		return true;
	GUC_check_errdetail("The path must be absolute and outside the data directory.");
	return false;
}
