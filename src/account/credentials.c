/*
 * credentials.c
 *		Read the credentials in a user mapping.
 *
 * They are read from the catalog or from a file each time they are needed, and
 * are never cached.
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "catalog/pg_user_mapping.h"
#include "mb/pg_wchar.h"
#include "storage/fd.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/syscache.h"

#include "account/credentials.h"

#define MAX_PASSWORD_SIZE 1024

/* Return the mapping of a role, else the one for PUBLIC, else NULL. */
static HeapTuple
find_mapping(Oid serverid, Oid role)
{
	HeapTuple	mapping = NULL;

	if (OidIsValid(role))
		mapping = SearchSysCache2(USERMAPPINGUSERSERVER, ObjectIdGetDatum(role),
								  ObjectIdGetDatum(serverid));
	if (!HeapTupleIsValid(mapping))
		mapping = SearchSysCache2(USERMAPPINGUSERSERVER, ObjectIdGetDatum(InvalidOid),
								  ObjectIdGetDatum(serverid));
	return mapping;
}

bool
credentials_exist(const Account *account, Oid role)
{
	HeapTuple	mapping = find_mapping(account->serverid, role);

	if (!HeapTupleIsValid(mapping))
		return false;
	ReleaseSysCache(mapping);
	return true;
}

bool
credentials_role(Oid serverid, Oid *role)
{
	HeapTuple	mapping = find_mapping(serverid, *role);

	if (!HeapTupleIsValid(mapping))
		return false;
	*role = ((Form_pg_user_mapping) GETSTRUCT(mapping))->umuser;
	ReleaseSysCache(mapping);
	return true;
}

/* Return the length of the first line of a file; 0 and the reason if it is not a password. */
static size_t
first_line(const char *bytes, ssize_t size, const char **problem)
{
	size_t		len = 0;

	while ((ssize_t) len < size && bytes[len] != '\r' && bytes[len] != '\n')
		len++;
	if (size < 0)
		*problem = psprintf("the password file cannot be read: %s", strerror(errno));
	else if (len == 0)
		*problem = "the password file is empty";
	else if (len > MAX_PASSWORD_SIZE)
		*problem = "the first line of the password file is too long";
	else if (!pg_verifymbstr(bytes, (int) len, true))
		*problem = "the first line of the password file is not valid in the database encoding";
	return *problem ? 0 : len;
}

/*
 * Read a password from the first line of a file.  Returns NULL and the reason
 * on failure, also if the file is accessible to users other than its owner.
 */
static char *
read_password_file(const char *path, const char **problem)
{
	struct stat st;
	char	   *password;
	size_t		len = 0;
	int			fd = OpenTransientFile(path, O_RDONLY | O_NONBLOCK | PG_BINARY);

	if (fd < 0)
	{
		*problem = psprintf("the password file cannot be opened: %s", strerror(errno));
		return NULL;
	}
	password = palloc(MAX_PASSWORD_SIZE + 1);
	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
		*problem = "the password file is not a regular file";
	else if (st.st_mode & (S_IRWXG | S_IRWXO))
		*problem = "the password file is accessible to users other than its owner";
	else
		len = first_line(password, read(fd, password, MAX_PASSWORD_SIZE + 1), problem);
	CloseTransientFile(fd);

	/* Leave nothing else of the file in memory. */
	explicit_bzero(password + len, MAX_PASSWORD_SIZE + 1 - len);
	return len > 0 ? password : NULL;
}

/*
 * Return a copy of the value of a mapping's option, NULL if it is not set.
 * untransformRelOptions() would leave a second copy of the secret in memory.
 */
static char *
mapping_option(Datum options, const char *name)
{
	size_t		name_len = strlen(name);
	char	   *value = NULL;
	Datum	   *elements;
	int			nelements;

	deconstruct_array(DatumGetArrayTypeP(options), TEXTOID, -1, false, TYPALIGN_INT,
					  &elements, NULL, &nelements);
	for (int i = 0; i < nelements; i++)
	{
		const char *option = VARDATA_ANY(DatumGetPointer(elements[i]));
		size_t		len = VARSIZE_ANY_EXHDR(DatumGetPointer(elements[i]));

		if (len > name_len && option[name_len] == '=' && memcmp(option, name, name_len) == 0)
			value = pnstrdup(option + name_len + 1, len - name_len - 1);
	}
	return value;
}

const char *
credentials_read(const Account *account, Oid role, Credentials *credentials)
{
	HeapTuple	mapping = find_mapping(account->serverid, role);
	const char *problem = NULL;
	char	   *password_file;
	Datum		options;
	bool		isnull;

	credentials->username = NULL;
	credentials->password = NULL;
	if (!HeapTupleIsValid(mapping))
		return "the account has no user mapping for the sender";

	options = SysCacheGetAttr(USERMAPPINGUSERSERVER, mapping,
							  Anum_pg_user_mapping_umoptions, &isnull);
	if (!isnull)
	{
		credentials->username = mapping_option(options, "username");
		credentials->password = mapping_option(options, "password");
		password_file = mapping_option(options, "password_file");
		if (password_file)
			credentials->password = read_password_file(password_file, &problem);
	}
	ReleaseSysCache(mapping);
	if (problem == NULL && (credentials->username == NULL || credentials->password == NULL))
		problem = "the user mapping has no credentials";
	return problem;
}

/* Overwrite a string. */
static void
wipe(char **secret)
{
	if (*secret)
		explicit_bzero(*secret, strlen(*secret));
	*secret = NULL;
}

void
credentials_forget(Credentials *credentials)
{
	wipe(&credentials->username);
	wipe(&credentials->password);
}
