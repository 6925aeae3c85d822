/*
 * trust.c
 *		Which certificates a gateway's is checked against.
 *
 * libcurl parses its file of certificates for each connection; the system's takes
 * some 20 ms.  The cache that it has since 7.87 is off where there is a folder of
 * certificates as well, keeps a single file, and does not notice a change.  So the
 * files are parsed here, and each connection is given what came of that.
 *
 * libcurl is given a name instead, as that of a folder, which does not exist and
 * is not looked at.  It tells connections and TLS sessions by this name, and does
 * not use those with another.  The name changes when what is trusted changes.
 *
 * A libcurl without OpenSSL is given the file, and does as it does.
 */
#include "postgres.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/ilist.h"

#include "compat.h"
#include "net/trust.h"

/* What identifies a version of a file or folder; all zero if it does not exist. */
typedef struct Identity
{
	int64		device;
	int64		inode;
	int64		size;
	int64		modified;		/* in nanoseconds */
	int64		changed;
} Identity;

struct Trust
{
	dlist_node	node;
	char	   *ca_file;		/* NULL: what the system trusts */
	const char *file;
	const char *folder;
	Identity	file_identity;
	Identity	folder_identity;
	X509_STORE *store;			/* NULL: libcurl reads the file */
	char	   *certificate;	/* the first one in it, as a file has it; NULL: none */
	char	   *name;			/* NULL: nothing was read */
	uint64		version;		/* a part of the name */
	int64		looked_at;
};

static dlist_head trusts = DLIST_STATIC_INIT(trusts);

/* Return whether libcurl uses OpenSSL, in the major version that this library is linked with. */
static bool
has_openssl(const curl_version_info_data *curl)
{
	const char *own = OpenSSL_version(OPENSSL_VERSION);	/* "OpenSSL 3.0.22 8 Feb 2022" */
	const size_t name = strlen("OpenSSL/");

	return curl->ssl_version && strncmp(curl->ssl_version, "OpenSSL/", name) == 0 &&
		strncmp(own, "OpenSSL ", name) == 0 &&
		strncmp(curl->ssl_version + name, own + name, strcspn(own + name, ".") + 1) == 0;
}

/* Set the identity of a file or folder. */
static void
identify(const char *path, Identity *identity)
{
	struct stat st;

	memset(identity, 0, sizeof(Identity));
	if (path == NULL || stat(path, &st) != 0)
		return;
	identity->device = (int64) st.st_dev;
	identity->inode = (int64) st.st_ino;
	identity->size = (int64) st.st_size;
	identity->modified = (int64) st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
	identity->changed = (int64) st.st_ctim.tv_sec * 1000000000 + st.st_ctim.tv_nsec;
}

/* Return why a file cannot be read, or NULL.  Do not block on a pipe. */
static const char *
file_problem(const char *path)
{
	struct stat st;
	int			fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	const char *problem = fd < 0 || fstat(fd, &st) != 0 ? strerror(errno) :
		S_ISREG(st.st_mode) ? NULL : "it is not a regular file";

	if (fd >= 0)
		close(fd);
	return problem;
}

/*
 * Parse the certificates as libcurl would, or return NULL if there are none.  OpenSSL
 * reads those in the folder when it needs them.
 */
static X509_STORE *
load(const Trust *trust)
{
	X509_STORE *store = X509_STORE_new();
	bool		loaded = false;

	if (store == NULL)
		return NULL;
	if (trust->file)
		loaded |= X509_STORE_load_locations(store, trust->file, NULL) == 1;
	if (trust->folder)
		loaded |= X509_STORE_load_locations(store, NULL, trust->folder) == 1;
	ERR_clear_error();
	if (!loaded)
	{
		X509_STORE_free(store);
		return NULL;
	}
	X509_STORE_set_flags(store, X509_V_FLAG_TRUSTED_FIRST | X509_V_FLAG_PARTIAL_CHAIN);
	return store;
}

/* Return a store's first certificate in PEM format, or NULL. */
static char *
first_certificate(X509_STORE *store)
{
	STACK_OF(X509_OBJECT) *objects = X509_STORE_get0_objects(store);
	X509	   *first = NULL;
	BIO		   *bio = BIO_new(BIO_s_mem());
	char	   *copy = NULL;
	char	   *data;

	for (int i = 0; first == NULL && i < sk_X509_OBJECT_num(objects); i++)
		first = X509_OBJECT_get0_X509(sk_X509_OBJECT_value(objects, i));
	if (first && bio && PEM_write_bio_X509(bio, first))
	{
		long		size = BIO_get_mem_data(bio, &data);

		copy = strndup(data, (size_t) size);
	}
	BIO_free(bio);
	ERR_clear_error();
	return copy;
}

/* Set a new, unique name.  Return false if memory runs out. */
static bool
rename_trust(Trust *trust)
{
	static uint64 last = 0;
	const char *what = trust->ca_file ? trust->ca_file : "/system";
	size_t		size = strlen(what) + 32;

	trust->name = malloc(size);
	if (trust->name)
		snprintf(trust->name, size, "%s#" UINT64_FORMAT, what, trust->version = ++last);
	return trust->name != NULL;
}

/* Free the certificates. */
static void
forget(Trust *trust)
{
	X509_STORE_free(trust->store);
	free(trust->certificate);
	free(trust->name);
	trust->store = NULL;
	trust->certificate = trust->name = NULL;
}

/* Set the paths of the certificates. */
static void
locate(Trust *trust, const curl_version_info_data *curl)
{
	trust->file = trust->ca_file ? trust->ca_file : curl->cainfo;
	trust->folder = trust->ca_file ? NULL : curl->capath;
}

/* Parse the certificates again if they have changed.  Return NULL or the problem. */
static const char *
refresh(Trust *trust)
{
	const curl_version_info_data *curl = curl_version_info(CURLVERSION_NOW);
	Identity	file;
	Identity	folder;

	/* Before it is read, so that a change meanwhile is found the next time. */
	locate(trust, curl);
	identify(trust->file, &file);
	identify(trust->folder, &folder);
	if (trust->name && memcmp(&file, &trust->file_identity, sizeof(Identity)) == 0 &&
		memcmp(&folder, &trust->folder_identity, sizeof(Identity)) == 0)
		return NULL;

	forget(trust);
	trust->file_identity = file;
	trust->folder_identity = folder;
	if (has_openssl(curl) && (trust->file || trust->folder))
	{
		trust->store = load(trust);
		if (trust->store == NULL)
			return "holds no certificates";
		trust->certificate = first_certificate(trust->store);
	}
	return rename_trust(trust) ? NULL : "could not be recorded: out of memory";
}

Trust *
trust_find(const char *ca_file)
{
	dlist_iter	iter;
	Trust	   *trust;

	dlist_foreach(iter, &trusts)
	{
		trust = dlist_container(Trust, node, iter.cur);
		if (ca_file ? trust->ca_file && strcmp(trust->ca_file, ca_file) == 0 : !trust->ca_file)
			return trust;
	}
	trust = calloc(1, sizeof(Trust));
	if (trust && ca_file && (trust->ca_file = strdup(ca_file)) == NULL)
	{
		free(trust);
		trust = NULL;
	}
	if (trust)
		dlist_push_tail(&trusts, &trust->node);
	return trust;
}

const char *
trust_look(Trust *trust, int64 now, char *buffer, size_t size)
{
	const char *problem;

	if (trust->name && trust->looked_at == now)
		return NULL;
	problem = trust->ca_file ? file_problem(trust->ca_file) : NULL;
	if (problem)
	{
		forget(trust);
		snprintf(buffer, size, "TLS failed: ca_file cannot be read: %s", problem);
		return buffer;
	}
	problem = refresh(trust);
	trust->looked_at = now;
	if (problem == NULL)
		return NULL;
	snprintf(buffer, size, "TLS failed: %s %s",
			 trust->ca_file ? "ca_file" : trust->file ? trust->file : trust->folder, problem);
	return buffer;
}

uint64
trust_version(const Trust *trust)
{
	return trust->version;
}

bool
trust_is_own(const Trust *trust)
{
	return trust->store != NULL;
}

bool
trust_set(const Trust *trust, CURL *easy)
{
	if (trust->store == NULL)
		return curl_easy_setopt(easy, CURLOPT_CAINFO, trust->file) == CURLE_OK &&
			curl_easy_setopt(easy, CURLOPT_CAPATH, trust->folder) == CURLE_OK;
	return curl_read_no_certificates(easy, trust->certificate) &&
		curl_easy_setopt(easy, CURLOPT_CAPATH, trust->name) == CURLE_OK;
}

void
trust_apply(const Trust *trust, void *context, bool silent)
{
	if (trust->store == NULL)
		return;
	SSL_CTX_set1_cert_store(context, trust->store);
	SSL_CTX_set_quiet_shutdown(context, silent);
}
