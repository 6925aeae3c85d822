/*
 * settings.h
 *		The settings sms3300.*; the README says what each is for.
 */
#ifndef SMS3300_SETTINGS_H
#define SMS3300_SETTINGS_H

extern bool settings_enabled;	/* sms3300.enabled */
extern char *settings_account;	/* sms3300.account */
extern int	settings_max_workers;	/* sms3300.max_workers */
extern int	settings_worker_idle_timeout;	/* ms, sms3300.worker_idle_timeout */
extern int	settings_poll_interval; /* ms, sms3300.poll_interval */

extern void settings_define(void);

#endif							/* SMS3300_SETTINGS_H */
