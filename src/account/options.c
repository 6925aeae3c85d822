/*
 * options.c
 *		Read the options of a server into an account.
 */
#include "postgres.h"

#include <ctype.h>
#include <curl/curl.h>

#include "commands/defrem.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "account/delivery.h"
#include "account/input.h"
#include "account/options.h"
#include "gateway/states.h"

#define DEFAULT_URL "https://sms.3300.ir/api/wsSend.ashx"

/* The end of a URL that sends, in any case, and of the one that tells delivery states. */
#define SEND_PAGE "wsSend.ashx"
#define STATES_PAGE "wsStates.ashx"

/* Where the hours and days of an account are counted. */
#define DEFAULT_TIMEZONE "Asia/Tehran"

/* The HTTP statuses that say that a message was not sent; accounts may override. */
#define DEFAULT_UNSENT_STATUSES "429, 503"

/* What delivery states mean, unless an account says otherwise, and when they are asked for. */
#define DEFAULT_DELIVERED_CODES "1"
#define DEFAULT_UNDELIVERED_CODES "2, 16, 27, 33"
#define DEFAULT_WAITING_CODES "0, 8"
#define DEFAULT_DELIVERY_CHECKS "5min, 30min, 3h, 12h, 23h"

/* Reject the value of an option and say what was expected. */
static void
invalid_value(const char *name, const char *value, const char *expected)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value for option \"%s\": \"%s\"", name, value),
			 errdetail("Expected %s.", expected)));
}

/* Parse a whole number within bounds. */
static int
parse_int_option(const char *name, const char *value, int min, int max)
{
	char	   *end;
	long		number;

	errno = 0;
	number = strtol(value, &end, 10);
	if (errno != 0 || !isdigit((unsigned char) *value) || *end != '\0' || number < min || number > max)
		invalid_value(name, value, psprintf("a whole number from %d to %d", min, max));
	return (int) number;
}

/* Parse an interval literal as microseconds, with days of 24 hours and months of 30 days. */
static int64
parse_duration(const char *name, const char *value, bool zero_allowed)
{
	Interval   *interval = DatumGetIntervalP(DirectFunctionCall3(interval_in,
																 CStringGetDatum(value),
																 ObjectIdGetDatum(InvalidOid),
																 Int32GetDatum(-1)));
	double		microseconds = (double) interval->time +
		((double) interval->month * DAYS_PER_MONTH + interval->day) * USECS_PER_DAY;

	if (microseconds < 0 || (microseconds == 0 && !zero_allowed) ||
		microseconds > 100.0 * DAYS_PER_YEAR * USECS_PER_DAY)
		invalid_value(name, value, zero_allowed ?
					  "an interval from 0 to 100 years" :
					  "an interval greater than 0 and of at most 100 years");
	return (int64) microseconds;
}

/* Return a part of a URL in the current memory context, or an empty string. */
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

/* Return what is wrong with a URL as a sentence, or NULL if it is usable. */
static const char *
url_problem(const char *url)
{
	const char *problem = NULL;
	CURLU	   *parsed;

	/* The versions of libcurl disagree on how to read these characters. */
	for (const char *c = url; *c; c++)
		if (*c <= ' ' || *c > '~' || *c == '\\' || *c == '#')
			return "It contains a space, a backslash, a fragment (#) or a non-ASCII character."
				" Write an internationalized host name in its ASCII form (xn--...).";

	parsed = curl_url();
	if (parsed == NULL)
		return "Memory ran out.";
	if (curl_url_set(parsed, CURLUPART_URL, url, 0) != CURLUE_OK ||
		strcmp(url_part(parsed, CURLUPART_PORT), "0") == 0)
		problem = "It is not a URL.";
	else if (url_part(parsed, CURLUPART_USER)[0] || url_part(parsed, CURLUPART_PASSWORD)[0] ||
			 strcasestr(url_part(parsed, CURLUPART_QUERY), "password=") != NULL)
		problem = "It contains credentials, which any role could read in the options of a server.";
	else if (strcmp(url_part(parsed, CURLUPART_SCHEME), "http") != 0 &&
			 strcmp(url_part(parsed, CURLUPART_SCHEME), "https") != 0)
		problem = "Only http and https are supported.";
	curl_url_cleanup(parsed);
	return problem;
}

/* Check the URL of the endpoint. */
static void
check_url(const char *name, const char *value)
{
	const char *problem = url_problem(value);

	if (problem)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for option \"%s\"", name),
				 errdetail("%s", problem),
				 errhint("Give a URL such as %s; credentials belong in a user mapping.",
						 DEFAULT_URL)));
}

/* Parse a number of messages per second. */
static double
parse_rate(const char *name, const char *value)
{
	char	   *end;
	double		rate;

	errno = 0;
	rate = strtod(value, &end);
	if (errno != 0 || value[strspn(value, "0123456789.")] != '\0' || end == value || *end != '\0' ||
		rate > 1000000 || (rate > 0 && rate < 1e-6))
		invalid_value(name, value, "a number of messages per second from 0.000001 to 1000000, or 0 for no limit");
	return rate;
}

/* Parse a list of mobile numbers, in any spelling and separated by commas. */
static MobileList *
parse_mobiles(const char *name, const char *value)
{
	size_t		most = 1;
	MobileList *list;

	for (const char *c = value; *c; c++)
		most += *c == ',';
	list = palloc(offsetof(MobileList, mobiles) + most * MOBILE_SIZE);
	list->n = 0;
	for (const char *item = value;; item++)
	{
		int			len = (int) strcspn(item, ",");

		if (!input_read_mobile(item, len, list->mobiles[list->n++]))
			invalid_value(name, value, "a list of mobile numbers, such as 09123456789, 09351234567");
		item += len;
		if (*item == '\0')
			break;
	}
	qsort(list->mobiles, list->n, MOBILE_SIZE, input_compare_mobiles);
	return list;
}

/* Parse the times of looks at delivery states: rising durations, separated by commas. */
static void
parse_checks(const char *name, const char *value, DeliveryOptions *options)
{
	char	   *items = pstrdup(value);

	options->nchecks = 0;
	for (char *item = items; item;)
	{
		char	   *comma = strchr(item, ',');
		int64		age;

		if (comma)
			*comma++ = '\0';
		age = parse_duration(name, item, false);
		if (options->nchecks == MAX_DELIVERY_CHECKS ||
			(options->nchecks > 0 && age <= options->checks[options->nchecks - 1]))
			invalid_value(name, value, psprintf("at most %d rising intervals, such as 5min, 30min, 3h",
												MAX_DELIVERY_CHECKS));
		options->checks[options->nchecks++] = age;
		item = comma;
	}
	pfree(items);
}

/* Parse a number of messages and a time, such as 3/10min. */
static PerMobile
parse_per_mobile(const char *name, const char *value)
{
	size_t		slash = strcspn(value, "/");
	PerMobile	limit = {0};

	if (value[slash] == '\0')
		invalid_value(name, value, "a number of messages and a time, such as 3/10min");
	limit.n = parse_int_option(name, pnstrdup(value, slash), 1, 1000);
	limit.time = parse_duration(name, value + slash + 1, false);
	if (limit.time > USECS_PER_DAY)
		invalid_value(name, value, "a time of at most 1 day");
	limit.text = pstrdup(value);
	return limit;
}

/* Find a time zone.  Names that PostgreSQL makes up from an offset, such as X+3:30, count. */
static pg_tz *
parse_timezone(const char *name, const char *value)
{
	pg_tz	   *zone = pg_tzset(value);

	if (zone == NULL || !pg_tz_acceptable(zone))
		invalid_value(name, value, "the name of a time zone, such as Asia/Tehran");
	return zone;
}

const ServerOption server_options[] =
{
	{"url", OPTION_URL, offsetof(Account, url), 0, 0},
	{"line", OPTION_LINE, offsetof(Account, line), 0, 0},
	{"line2", OPTION_LINE, offsetof(Account, line2), 0, 0},
	{"type", OPTION_INT, offsetof(Account, type), 0, 2},
	{"template", OPTION_INT, offsetof(Account, template), 0, PG_INT32_MAX},
	{"max_parts", OPTION_INT, offsetof(Account, max_parts), 1, MAX_PARTS_MAX},
	{"max_in_flight", OPTION_INT, offsetof(Account, max_in_flight), 1, 100000},
	{"rate", OPTION_RATE, offsetof(Account, rate), 0, 0},
	{"timeout", OPTION_DURATION, offsetof(Account, timeout), 0, 0},
	{"connect_timeout", OPTION_DURATION, offsetof(Account, connect_timeout), 0, 0},
	{"validity", OPTION_DURATION, offsetof(Account, validity), 0, 0},
	{"max_attempts", OPTION_INT, offsetof(Account, max_attempts), 1, 1000},
	{"stop_after_unknown", OPTION_INT, offsetof(Account, stop_after_unknown), 1, 1000000},
	{"on_unknown", OPTION_ON_UNKNOWN, offsetof(Account, resend_unknown), 0, 0},
	{"transient_codes", OPTION_CODES, offsetof(Account, codes), VERDICT_TRANSIENT, 0},
	{"account_codes", OPTION_CODES, offsetof(Account, codes), VERDICT_ACCOUNT, 0},
	{"line_codes", OPTION_CODES, offsetof(Account, codes), VERDICT_LINE, 0},
	{"hours_codes", OPTION_CODES, offsetof(Account, codes), VERDICT_HOURS, 0},
	{"refused_codes", OPTION_CODES, offsetof(Account, codes), VERDICT_REJECTED, 0},
	{"unsent_statuses", OPTION_STATUSES, offsetof(Account, codes), 0, 0},
	{"paused", OPTION_BOOL, offsetof(Account, paused), 0, 0},
	{"max_parts_per_day", OPTION_INT, offsetof(Account, max_parts_per_day), 1, PG_INT32_MAX},
	{"max_per_mobile", OPTION_PER_MOBILE, offsetof(Account, max_per_mobile), 0, 0},
	{"hours", OPTION_HOURS, offsetof(Account, hours), 0, 0},
	{"timezone", OPTION_TIMEZONE, offsetof(Account, hours), 0, 0},
	{"urgent_priority", OPTION_INT, offsetof(Account, urgent_priority), 0, 10},
	{"deliver_only", OPTION_MOBILES, offsetof(Account, deliver_only), 0, 0},
	{"record_opt_outs", OPTION_BOOL, offsetof(Account, record_opt_outs), 0, 0},
	{"retention", OPTION_DURATION_OR_ZERO, offsetof(Account, retention), 0, 0},
	{"redact_after", OPTION_DURATION_OR_ZERO, offsetof(Account, redact_after), 0, 0},
	{"ca_file", OPTION_FILE, offsetof(Account, ca_file), 0, 0},
	{"keep_idle", OPTION_DURATION_OR_ZERO, offsetof(Account, keep_idle), 0, 0},
	{"delivery", OPTION_BOOL, offsetof(Account, delivery.on), 0, 0},
	{"delivery_url", OPTION_URL, offsetof(Account, delivery_url), 0, 0},
	{"delivery_checks", OPTION_CHECKS, offsetof(Account, delivery), 0, 0},
	{"delivery_batch", OPTION_INT, offsetof(Account, delivery.batch), 1, GATEWAY_MAX_STATES},
	{"delivery_interval", OPTION_DURATION_OR_ZERO, offsetof(Account, delivery.interval), 0, 0},
	{"delivered_codes", OPTION_CODES, offsetof(Account, delivery.codes), VERDICT_SENT, 0},
	{"undelivered_codes", OPTION_CODES, offsetof(Account, delivery.codes), VERDICT_REJECTED, 0},
	{"waiting_codes", OPTION_CODES, offsetof(Account, delivery.codes), VERDICT_TRANSIENT, 0},
	{"delivery_items", OPTION_JSONPATH, offsetof(Account, delivery.items), 0, 0},
	{"delivery_id", OPTION_JSONPATH, offsetof(Account, delivery.id), 0, 0},
	{"delivery_state", OPTION_JSONPATH, offsetof(Account, delivery.state), 0, 0},
	{"notify", OPTION_CHANNEL, offsetof(Account, notify), 0, 0},
};

const int	num_server_options = lengthof(server_options);

/* Set a class of the gateway's codes, or the HTTP statuses that mean "not sent". */
static void
set_codes(const ServerOption *option, const char *value, GatewayCodes *codes)
{
	if (option->kind == OPTION_STATUSES)
	{
		if (!gateway_codes_set_unsent(codes, value))
			invalid_value(option->name, value,
						  psprintf("a list of at most %d HTTP statuses from 400 to 599, such as 429, 503", GATEWAY_MAX_STATUSES));
	}
	else if (!gateway_codes_add(codes, GATEWAY_MAX_RANGES, value, (GatewayVerdict) option->min))
		invalid_value(option->name, value,
					  psprintf("a list of codes and ranges such as 15, 100-110, with at most %d entries in all", GATEWAY_MAX_RANGES));
}

/* Set the field of an option, or reject its value. */
static void
set_option(Account *account, const ServerOption *option, const char *value)
{
	const char *name = option->name;
	void	   *field = (char *) account + option->offset;

	switch (option->kind)
	{
		case OPTION_URL:
			check_url(name, value);
			*(char **) field = pstrdup(value);
			break;
		case OPTION_FILE:
			if (!is_absolute_path(value))
				invalid_value(name, value, "an absolute path on the server");
			*(char **) field = pstrdup(value);
			break;
		case OPTION_LINE:
			*(char **) field = input_line(value, (int) strlen(value), name);
			break;
		case OPTION_INT:
			*(int *) field = parse_int_option(name, value, option->min, option->max);
			break;
		case OPTION_RATE:
			*(double *) field = parse_rate(name, value);
			break;
		case OPTION_DURATION:
		case OPTION_DURATION_OR_ZERO:
			*(int64 *) field = parse_duration(name, value, option->kind == OPTION_DURATION_OR_ZERO);
			break;
		case OPTION_ON_UNKNOWN:
			if (strcmp(value, "hold") != 0 && strcmp(value, "resend") != 0)
				invalid_value(name, value, "\"hold\" or \"resend\"");
			*(bool *) field = strcmp(value, "resend") == 0;
			break;
		case OPTION_CODES:
		case OPTION_STATUSES:
			set_codes(option, value, field);
			break;
		case OPTION_MOBILES:
			*(MobileList **) field = parse_mobiles(name, value);
			break;
		case OPTION_CHECKS:
			parse_checks(name, value, field);
			break;
		case OPTION_JSONPATH:
			if (!delivery_is_bounded(value))
				invalid_value(name, value, "a path of at most 1000 bytes and 8 subscripts, with \"$\" and \"@\" once and one filter at most, and without arithmetic, \"&&\", \"||\", \".**\", lists, variables, methods and like_regex");
			*(char **) field = pstrdup(value);
			break;
		case OPTION_CHANNEL:
			if (value[0] == '\0' || strlen(value) >= NAMEDATALEN)
				invalid_value(name, value, psprintf("the name of a channel, of 1 to %d bytes", NAMEDATALEN - 1));
			*(char **) field = pstrdup(value);
			break;
		case OPTION_PER_MOBILE:
			*(PerMobile *) field = parse_per_mobile(name, value);
			break;
		case OPTION_HOURS:
			if (!hours_read(field, value))
				invalid_value(name, value, psprintf("at most %d spans of hours, such as 08:00-13:00, 16:00-21:00",
													HOURS_MAX_SPANS));
			account->hours_text = pstrdup(value);
			break;
		case OPTION_TIMEZONE:
			((Hours *) field)->zone = parse_timezone(name, value);
			break;
		case OPTION_BOOL:
			if (!parse_bool(value, (bool *) field))
				invalid_value(name, value, "a boolean");
			break;
	}
}

/* Find an option of servers by its name. */
const ServerOption *
server_option_find(const char *name)
{
	for (size_t i = 0; i < lengthof(server_options); i++)
		if (strcmp(server_options[i].name, name) == 0)
			return &server_options[i];
	return NULL;
}

/* Return whether an option is in a list. */
static bool
is_given(List *options, const char *name)
{
	ListCell   *cell;

	foreach(cell, options)
		if (strcmp(lfirst_node(DefElem, cell)->defname, name) == 0)
			return true;
	return false;
}

/* Add the known codes of a class unless an option gives them. */
static void
add_default_codes(GatewayCodes *codes, List *options, const char *option, GatewayVerdict verdict)
{
	if (is_given(options, option))
		return;
	for (int i = 0; i < gateway_num_known_codes; i++)
		if (gateway_known_codes[i].verdict == verdict)
			gateway_codes_add_known(codes, &gateway_known_codes[i]);
}

/* Return the URL that tells delivery states, by the one that sends; NULL if that has another end. */
static char *
states_url(const char *url)
{
	size_t		len = strlen(url);
	size_t		page = strlen(SEND_PAGE);

	if (len < page || pg_strcasecmp(url + len - page, SEND_PAGE) != 0)
		return NULL;
	return psprintf("%.*s" STATES_PAGE, (int) (len - page), url);
}

/* Add the default codes of a class of delivery states. */
static void
add_delivery_codes(DeliveryOptions *delivery, const char *codes, GatewayVerdict verdict)
{
	gateway_codes_add(&delivery->codes, GATEWAY_MAX_RANGES + GATEWAY_MORE_RANGES, codes, verdict);
}

/* Check the options of delivery as a whole, and add what they leave out. */
static void
complete_delivery(Account *account, List *options)
{
	DeliveryOptions *delivery = &account->delivery;
	int			code;

	if (gateway_codes_overlap(&delivery->codes, &code))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("delivery code %d is in two classes", code),
				 errdetail("A code may be listed in only one of delivered_codes, undelivered_codes and waiting_codes.")));
	if (!is_given(options, "delivered_codes"))
		add_delivery_codes(delivery, DEFAULT_DELIVERED_CODES, VERDICT_SENT);
	if (!is_given(options, "undelivered_codes"))
		add_delivery_codes(delivery, DEFAULT_UNDELIVERED_CODES, VERDICT_REJECTED);
	if (!is_given(options, "waiting_codes"))
		add_delivery_codes(delivery, DEFAULT_WAITING_CODES, VERDICT_TRANSIENT);
	if (delivery->nchecks == 0)
		parse_checks("delivery_checks", DEFAULT_DELIVERY_CHECKS, delivery);
	if ((delivery->items || delivery->id || delivery->state) &&
		!(delivery->items && delivery->id && delivery->state))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("options \"delivery_items\", \"delivery_id\" and \"delivery_state\" belong together"),
				 errdetail("Together they replace the built-in reading of a reply.")));
	if (delivery->on && account->delivery_url == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"delivery\" requires option \"delivery_url\""),
				 errdetail("The option \"url\" does not end with " SEND_PAGE ".")));
}

/* Add the name of the option to an error's context. */
static void
option_context(void *name)
{
	errcontext("option \"%s\"", (const char *) name);
}

/*
 * Return the account that a list of valid options describes.  Codes in an
 * option precede the default codes, and so override them.
 */
Account *
account_from_options(List *options)
{
	Account    *account = palloc0(sizeof(Account));
	ErrorContextCallback context = {.previous = error_context_stack, .callback = option_context};
	ListCell   *cell;
	int			code;

	account->url = pstrdup(DEFAULT_URL);
	account->type = ROUTE_NONE;
	account->template = ROUTE_NONE;
	account->max_parts = 20;
	account->max_in_flight = 32;
	account->timeout = 30 * USECS_PER_SEC;
	account->connect_timeout = 5 * USECS_PER_SEC;
	account->validity = USECS_PER_DAY;
	account->max_attempts = 10;
	account->stop_after_unknown = 20;
	gateway_codes_set_unsent(&account->codes, DEFAULT_UNSENT_STATUSES);
	account->urgent_priority = 8;
	account->retention = -1;
	account->redact_after = -1;
	account->keep_idle = -1;
	account->delivery.batch = 50;
	account->delivery.interval = 5 * USECS_PER_SEC;

	error_context_stack = &context;
	foreach(cell, options)
	{
		DefElem    *option = lfirst_node(DefElem, cell);
		const ServerOption *known = server_option_find(option->defname);

		context.arg = option->defname;
		if (known)
			set_option(account, known, defGetString(option));
	}
	error_context_stack = context.previous;

	if (account->delivery_url == NULL)
		account->delivery_url = states_url(account->url);
	if (account->hours.zone == NULL && (account->hours.nspans > 0 || account->max_parts_per_day > 0))
		account->hours.zone = parse_timezone("timezone", DEFAULT_TIMEZONE);

	if (gateway_codes_overlap(&account->codes, &code))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("error code %d is in two classes", code),
				 errdetail("A code may be listed in only one of transient_codes, account_codes, line_codes, hours_codes and refused_codes.")));
	add_default_codes(&account->codes, options, "transient_codes", VERDICT_TRANSIENT);
	add_default_codes(&account->codes, options, "account_codes", VERDICT_ACCOUNT);
	add_default_codes(&account->codes, options, "line_codes", VERDICT_LINE);
	add_default_codes(&account->codes, options, "hours_codes", VERDICT_HOURS);
	add_default_codes(&account->codes, options, "refused_codes", VERDICT_REJECTED);
	complete_delivery(account, options);
	return account;
}
