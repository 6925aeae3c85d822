/*
 * request.c
 *		Make an HTTP request of a queued message and its account.
 */
#include "postgres.h"

#include "access/xact.h"

#include "account/credentials.h"
#include "account/input.h"
#include "account/request.h"
#include "compat.h"
#include "gateway/gateway.h"

/* Convert a string from the server encoding to UTF-8.  Returns NULL if that is impossible. */
static const char *
utf8(const char *text)
{
	int			len = (int) strlen(text);

	return input_try_utf8(text, &len);
}

/*
 * Add the credentials of a role to a form, and make the request that posts it to a URL.
 * Returns NULL, or the reason why that is impossible; *of_sender is then true if the
 * credentials are the reason.
 */
static const char *
compose(const Account *account, const char *url, Oid role, GatewayMessage *form,
		HttpRequest *request, bool *of_sender)
{
	Credentials credentials;
	const char *problem = credentials_read(account, role, &credentials);

	form->username = form->password = NULL;
	if (problem == NULL)
	{
		form->username = utf8(credentials.username);
		form->password = utf8(credentials.password);
		if (form->username == NULL || form->password == NULL)
			problem = "the credentials cannot be converted to UTF-8";
	}
	*of_sender = problem != NULL;
	if (problem == NULL)
	{
		/* The account may be freed by a catalog change before the request is submitted. */
		request->url = pstrdup(url);
		request->ca_file = account->ca_file ? pstrdup(account->ca_file) : NULL;
		request->keep_idle = account->keep_idle;
		request->timeout = account->timeout;
		request->connect_timeout = account->connect_timeout;
		request->body_size = gateway_form_size(form);
		request->body = malloc(request->body_size);
		if (request->body == NULL)
			problem = "out of memory";
		else
			gateway_form_write(form, request->body);
		if (form->password != credentials.password)
			explicit_bzero(unconstify(char *, form->password), strlen(form->password));
	}
	credentials_forget(&credentials);
	return problem;
}

const char *
request_compose(const Account *account, Oid role, const char *mobile,
				const char *message, const Route *own, HttpRequest *request,
				bool *of_sender)
{
	Route		route = route_complete(own, account);
	GatewayMessage form = {0};
	const char *problem;

	Assert(IsTransactionState());
	memset(request, 0, sizeof(HttpRequest));
	*of_sender = false;
	if (mobile == NULL)
		return "the message no longer has a recipient";
	if (message == NULL)
		return "the message no longer has a text";
	problem = route_problem(&route);
	if (problem)
		return problem;
	form.mobile = mobile;
	form.message = utf8(message);
	form.line = route.line;
	form.line2 = route.line2;
	form.type = route.type;
	form.template = route.template;
	if (form.message == NULL)
		return "the text cannot be converted to UTF-8";
	return compose(account, account->url, role, &form, request, of_sender);
}

const char *
request_compose_states(const Account *account, Oid role, const char *message_ids,
					   HttpRequest *request)
{
	GatewayMessage form = {.type = ROUTE_NONE, .template = ROUTE_NONE, .message_ids = message_ids};
	bool		of_sender;

	Assert(IsTransactionState() && account->delivery_url);
	memset(request, 0, sizeof(HttpRequest));
	return compose(account, account->delivery_url, role, &form, request, &of_sender);
}

void
request_discard(HttpRequest *request)
{
	if (request->body)
	{
		explicit_bzero(request->body, request->body_size);
		free(request->body);
		request->body = NULL;
	}
}
