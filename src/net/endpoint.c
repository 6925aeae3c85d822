/*
 * endpoint.c
 *		What is known of the server behind a URL.
 *
 * A server that ends an idle connection just as a request arrives leaves it in
 * doubt whether it took the request.  So an idle connection is used again only
 * for half as long as the server keeps one.  That is learnt from a scout: a
 * connection that has carried one request, is then left idle, and never used
 * again.  How long it has lasted is known at any time, and when the server ends
 * it, or any other that is idle, the limit is known.
 */
#include "postgres.h"

#include <curl/curl.h>

#include "common/hashfn.h"

#include "compat.h"
#include "net/endpoint.h"

/*
 * A server that closes idle connections sooner than this, so many times in a row,
 * does not keep connections.  Once may be a restart.
 */
#define SHORTEST (100 * INT64CONST(1000))
#define MAX_EARLY 3

/*
 * A server that closes a connection without an answer when it is used again, so many times
 * and never answers between, gets each request on a connection of its own for this time,
 * unless the account itself says for how long they are kept.
 */
#define MAX_BROKEN 3
#define FRESH_TIME (600 * INT64CONST(1000000))

/* The longest name of a host. */
#define MAX_HOST 255

/* The pause between scouts is a multiple of how long the last one lasted, within bounds. */
#define SCOUT_FACTOR 10
#define MIN_SCOUT_PAUSE (10 * INT64CONST(1000000))
#define MAX_SCOUT_PAUSE (600 * INT64CONST(1000000))

void
endpoints_open(Endpoints *endpoints)
{
	for (int i = 0; i < ENDPOINT_BUCKETS; i++)
		dlist_init(&endpoints->buckets[i]);
}

/* Free an endpoint. */
static void
destroy(Endpoint *endpoint)
{
	free(endpoint->url);
	curl_url_cleanup(endpoint->parsed);
	curl_slist_free_all(endpoint->forget);
	free(endpoint->ca_file);
	free(endpoint);
}

void
endpoints_close(Endpoints *endpoints)
{
	dlist_mutable_iter iter;

	for (int i = 0; i < ENDPOINT_BUCKETS; i++)
	{
		dlist_foreach_modify(iter, &endpoints->buckets[i])
			destroy(dlist_container(Endpoint, node, iter.cur));
		dlist_init(&endpoints->buckets[i]);
	}
}

/* Return whether the host of a URL is an address; if it cannot be parsed, it counts as a name. */
static bool
is_numeric(const char *url)
{
	const char *host = strstr(url, "://");
	size_t		length;

	if (host == NULL)
		return false;
	host += strlen("://");
	length = strcspn(host, ":/?#");
	return host[0] == '[' || (length > 0 && strspn(host, "0123456789.") == length);
}

/* Return how libcurl is told to forget the address of a URL's host, or NULL. */
static struct curl_slist *
forget_address(CURLU *url)
{
	struct curl_slist *list = NULL;
	char	   *host = NULL;
	char	   *port = NULL;
	char		entry[MAX_HOST + 16];

	if (curl_url_get(url, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
		curl_url_get(url, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK &&
		snprintf(entry, sizeof(entry), "-%s:%s", host, port) < (int) sizeof(entry))
		list = curl_slist_append(NULL, entry);
	curl_free(host);
	curl_free(port);
	return list;
}

/* Create an endpoint, or return NULL if memory runs out. */
static Endpoint *
create(const char *url, const char *ca_file)
{
	Endpoint   *endpoint = calloc(1, sizeof(Endpoint));

	if (endpoint == NULL)
		return NULL;
	endpoint->keep_idle = CURL_REUSES_CONNECTIONS ? ENDPOINT_FIRST_KEEP_IDLE : 0;
	endpoint->numeric = is_numeric(url);
	dlist_init(&endpoint->waiting);
	if ((endpoint->url = strdup(url)) == NULL || (endpoint->parsed = curl_url()) == NULL ||
		(ca_file && (endpoint->ca_file = strdup(ca_file)) == NULL) ||
		(pg_strncasecmp(url, "https:", strlen("https:")) == 0 &&
		 (endpoint->trust = trust_find(ca_file)) == NULL))
	{
		destroy(endpoint);
		return NULL;
	}
	if (curl_url_set(endpoint->parsed, CURLUPART_URL, url, 0) != CURLUE_OK)
	{
		curl_url_cleanup(endpoint->parsed);
		endpoint->parsed = NULL;
	}
	if (endpoint->parsed && !endpoint->numeric)
		endpoint->forget = forget_address(endpoint->parsed);
	return endpoint;
}

Endpoint *
endpoint_find(Endpoints *endpoints, const char *url, const char *ca_file)
{
	uint32		hash = hash_bytes((const unsigned char *) url, (int) strlen(url));
	dlist_head *bucket = &endpoints->buckets[hash % ENDPOINT_BUCKETS];
	dlist_iter	iter;
	Endpoint   *endpoint;

	dlist_foreach(iter, bucket)
	{
		endpoint = dlist_container(Endpoint, node, iter.cur);
		if (strcmp(endpoint->url, url) == 0 &&
			(ca_file ? endpoint->ca_file && strcmp(endpoint->ca_file, ca_file) == 0 : !endpoint->ca_file))
			return endpoint;
	}
	endpoint = create(url, ca_file);
	if (endpoint)
		dlist_push_head(bucket, &endpoint->node);
	return endpoint;
}

bool
endpoint_tell(Endpoint *endpoint, int64 keep_idle)
{
	int64		before = endpoint->keep_idle;

	if (!CURL_REUSES_CONNECTIONS)
		return false;
	if (keep_idle >= 0)
		endpoint->keep_idle = keep_idle;
	else if (endpoint->told)
		endpoint->keep_idle = ENDPOINT_FIRST_KEEP_IDLE;
	endpoint->told = keep_idle >= 0;
	return endpoint->keep_idle < before;
}

int64
endpoint_keep_idle(const Endpoint *endpoint, int64 now)
{
	int64		keep_idle = endpoint->keep_idle;

	if (!endpoint->told && now < endpoint->fresh_until)
		return 0;
	if (endpoint->told || endpoint->scout_since == 0)
		return keep_idle;
	keep_idle = Max(keep_idle, Min((now - endpoint->scout_since) / 2, ENDPOINT_MAX_KEEP_IDLE));
	return keep_idle < SHORTEST / 2 ? 0 : keep_idle;
}

bool
endpoint_wants_scout(const Endpoint *endpoint, int64 now)
{
	return CURL_REUSES_CONNECTIONS && !endpoint->told && !endpoint->scouting &&
		now >= endpoint->next_scout && (endpoint->trust == NULL || trust_is_own(endpoint->trust));
}

void
endpoint_ended(Endpoint *endpoint, int64 idle, int64 now)
{
	if (endpoint->told || idle / 2 >= endpoint_keep_idle(endpoint, now))
		return;
	if (idle < SHORTEST)
	{
		endpoint->early += now - endpoint->early_at >= SHORTEST;
		endpoint->early_at = now;
	}
	endpoint->keep_idle = endpoint->early >= MAX_EARLY ? 0 : Max(idle, SHORTEST) / 2;

	/* What a scout has shown no longer holds: it has to show it again. */
	if (endpoint->scout_since != 0)
		endpoint->scout_since = now;
	endpoint->next_scout = now;
}

/* Those that break together count once: the server may have been restarted. */
void
endpoint_used_again(Endpoint *endpoint, bool answered, int64 now)
{
	if (answered)
		endpoint->broken = 0;
	else if (endpoint->broken == 0 || now - endpoint->broken_at >= SHORTEST)
	{
		endpoint->broken_at = now;
		if (++endpoint->broken >= MAX_BROKEN)
			endpoint->fresh_until = now + FRESH_TIME;
	}
}

void
endpoint_scout_begin(Endpoint *endpoint)
{
	endpoint->scouting = true;
}

void
endpoint_scout_idle(Endpoint *endpoint, int64 now)
{
	endpoint->scout_since = now;
}

void
endpoint_scout_end(Endpoint *endpoint, int64 now)
{
	int64		lasted = endpoint->scout_since == 0 ? 0 : now - endpoint->scout_since;

	endpoint->scouting = false;
	endpoint->scout_since = 0;
	endpoint->next_scout = now + Max(MIN_SCOUT_PAUSE, Min(SCOUT_FACTOR * lasted, MAX_SCOUT_PAUSE));
	if (endpoint->told || lasted < SHORTEST)
		return;
	endpoint->keep_idle = Min(lasted / 2, ENDPOINT_MAX_KEEP_IDLE);
	endpoint->early = 0;
}
