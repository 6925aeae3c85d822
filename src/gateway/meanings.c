/*
 * meanings.c
 *		What is known of the gateway's error codes.
 *
 * The gateway's own list is not public.  These come from the company's SOAP service
 * and its upstream.  The classes are defaults, which the options of an account replace.
 *
 * Compiled with FRONTEND defined this file needs only libpgcommon, which is
 * how the fuzzers drive it.
 */
#ifdef FRONTEND
#include "postgres_fe.h"
#else
#include "postgres.h"
#endif

#include "gateway/gateway.h"

#define REMEDY_NOTHING "nothing; it is tried again"
#define REMEDY_ASK "ask Negin Rayaneh"
#define REMEDY_LOGIN "correct it: ALTER USER MAPPING"
#define REMEDY_LINE "correct the line; a message that gave the line itself has to be queued again"
#define REMEDY_NUMBER "correct the number and queue a new message"
#define REMEDY_TEXT "correct the text and queue a new message"
#define REMEDY_OPTED_OUT "leave it, or queue a new message by a route with a fallback (line2, or type 1 or 2)"
#define REMEDY_REQUEST "check line, type and template, and report it to Negin Rayaneh"

const GatewayCode gateway_known_codes[] = {
	{0, 0, VERDICT_UNKNOWN, "an exception inside the gateway",
	"خطای پیش‌بینی‌نشده در سامانه", "ask the gateway whether it has the message"},
	{1, 1, VERDICT_REJECTED, "invalid recipient",
	"شمارهٔ گیرنده نادرست است", REMEDY_NUMBER},
	{2, 2, VERDICT_LINE, "invalid line",
	"شمارهٔ خط نادرست است", REMEDY_LINE},
	{3, 3, VERDICT_REJECTED, "invalid encoding of the text",
	"رمزگذاری متن نادرست است", REMEDY_TEXT},
	{4, 4, VERDICT_REJECTED, "invalid message class",
	"نوع پیامک نادرست است", REMEDY_REQUEST},
	{6, 6, VERDICT_REJECTED, "invalid header of the text",
	"سرآیند متن نادرست است", REMEDY_REQUEST},
	{8, 8, VERDICT_HOURS, "outside the hours of advertising",
	"خارج از ساعت مجاز پیامک تبلیغاتی است", "nothing; it is sent later"},
	{12, 12, VERDICT_LINE, "line not of this account",
	"این خط متعلق به این حساب نیست", REMEDY_LINE},
	{13, 13, VERDICT_REJECTED, "empty text",
	"متن پیامک خالی است", REMEDY_TEXT},
	{14, 14, VERDICT_ACCOUNT, "not enough credit",
	"اعتبار کافی نیست", "buy credit; sending resumes by itself"},
	{15, 15, VERDICT_TRANSIENT, "error inside the gateway",
	"خطای داخلی سامانه", REMEDY_NOTHING},
	{16, 16, VERDICT_ACCOUNT, "account inactive",
	"حساب غیرفعال است", REMEDY_ASK},
	{17, 17, VERDICT_ACCOUNT, "account expired",
	"حساب منقضی شده است", REMEDY_ASK},
	{18, 18, VERDICT_ACCOUNT, "wrong user name or password",
	"نام کاربری یا رمز عبور نادرست است", REMEDY_LOGIN},
	{19, 19, VERDICT_ACCOUNT, "login refused",
	"ورود به سامانه پذیرفته نشد", REMEDY_LOGIN},
	{20, 20, VERDICT_LINE, "line not of this account",
	"این خط متعلق به این حساب نیست", REMEDY_LINE},
	{22, 22, VERDICT_ACCOUNT, "web service not enabled",
	"وب‌سرویس فعال نیست", REMEDY_ASK},
	{23, 23, VERDICT_TRANSIENT, "gateway busy",
	"سامانه مشغول است", "nothing; set a lower rate if it comes often"},
	{25, 25, VERDICT_REJECTED, "invalid request",
	"درخواست نادرست است", REMEDY_REQUEST},
	{27, 27, VERDICT_REJECTED, "recipient opted out",
	"گیرنده از دریافت انصراف داده است", REMEDY_OPTED_OUT},
	{28, 28, VERDICT_REJECTED, "recipient of no known operator",
	"پیش‌شمارهٔ گیرنده شناخته نیست", REMEDY_NUMBER},
	{29, 29, VERDICT_ACCOUNT, "address not allowed",
	"نشانی IP مجاز نیست", "ask Negin Rayaneh to allow the server's address"},
	{30, 30, VERDICT_REJECTED, "text of too many parts",
	"تعداد بخش‌های پیامک بیش از حد مجاز است", "shorten the text and queue a new message"},
	{31, 31, VERDICT_REJECTED, "bad request",
	"قالب درخواست نادرست است", REMEDY_REQUEST},
	{33, 33, VERDICT_REJECTED, "recipient opted out of this line",
	"گیرنده دریافت از این خط را لغو کرده است", REMEDY_OPTED_OUT},
	{34, 34, VERDICT_REJECTED, "no confirmed information of the number",
	"اطلاعات تأییدشده‌ای برای این شماره وجود ندارد", REMEDY_NUMBER},
	{35, 35, VERDICT_REJECTED, "bad character in the text",
	"متن نویسهٔ نامعتبر دارد", REMEDY_TEXT},
	{100, 110, VERDICT_REJECTED, "invalid parameters of the request",
	"پارامترهای درخواست نادرست است", REMEDY_REQUEST},
	{409, 409, VERDICT_TRANSIENT, "too little time between requests",
	"فاصلهٔ درخواست‌ها کم است", "nothing; set a lower rate if it comes often"},
};

const int	gateway_num_known_codes = lengthof(gateway_known_codes);

/* Find what is known of a code; NULL: nothing is. */
const GatewayCode *
gateway_code_find(int code)
{
	for (size_t i = 0; i < lengthof(gateway_known_codes); i++)
		if (code >= gateway_known_codes[i].first && code <= gateway_known_codes[i].last)
			return &gateway_known_codes[i];
	return NULL;
}

/* Name the class of the codes that have a verdict. */
const char *
gateway_class_name(GatewayVerdict verdict)
{
	switch (verdict)
	{
		case VERDICT_TRANSIENT:
			return "transient";
		case VERDICT_ACCOUNT:
			return "account";
		case VERDICT_LINE:
			return "line";
		case VERDICT_HOURS:
			return "hours";
		case VERDICT_REJECTED:
			return "refused";
		default:
			return "ambiguous";
	}
}
