/*
 * url.c
 *		What may be the address of a gateway.
 */
#include "postgres.h"

#include <curl/curl.h>

#include "url.h"

/* A part of a URL in the current memory context, empty if it has none. */
static const char *
url_part(CURLU *url, CURLUPart which)
{
	char	   *part = NULL;
	char	   *copy;

	if (curl_url_get(url, which, &part, 0) != CURLUE_OK)
		return "";
	copy = pstrdup(part);
	curl_free(part);
	return copy;
}

const char *
url_problem(const char *url)
{
	const char *problem = NULL;
	CURLU	   *parsed;

	/* libcurl's versions differ in what of this they take, and for what. */
	for (const char *c = url; *c; c++)
		if (*c <= ' ' || *c > '~' || *c == '\\' || *c == '#')
			return "It contains a blank, a backslash, a fragment (#) or a character that is not ASCII."
				" A host's name in other letters has an ASCII form (xn--...).";

	parsed = curl_url();
	if (parsed == NULL)
		return "Memory ran out.";
	if (curl_url_set(parsed, CURLUPART_URL, url, 0) != CURLUE_OK ||
		strcmp(url_part(parsed, CURLUPART_PORT), "0") == 0)
		problem = "It is no URL.";
	else if (url_part(parsed, CURLUPART_USER)[0] || url_part(parsed, CURLUPART_PASSWORD)[0] ||
			 strcasestr(url_part(parsed, CURLUPART_QUERY), "password=") != NULL)
		problem = "It contains credentials, which everybody could read there.";
	else if (strcmp(url_part(parsed, CURLUPART_SCHEME), "http") != 0 &&
			 strcmp(url_part(parsed, CURLUPART_SCHEME), "https") != 0)
		problem = "Only http and https are supported.";
	curl_url_cleanup(parsed);
	return problem;
}
