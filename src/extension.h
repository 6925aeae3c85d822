/*
 * extension.h
 *		The extension in this database, and whether this library can serve it.
 */
#ifndef SMS3300_EXTENSION_H
#define SMS3300_EXTENSION_H

/* The version of the extension in this database, by that of this library. */
typedef enum ExtensionAge
{
	EXTENSION_MISSING,
	EXTENSION_OLDER,			/* this library serves all of them */
	EXTENSION_CURRENT,
	EXTENSION_NEWER				/* made for a library that does more than this one */
} ExtensionAge;

extern ExtensionAge extension_find(Oid *namespace);
extern const char *extension_mismatch(ExtensionAge age);

#endif							/* SMS3300_EXTENSION_H */
