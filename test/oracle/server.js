'use strict';

// The server under test, reached through psql.

const { spawnSync } = require('node:child_process');

const escapes = { '\\': '\\\\', '\n': '\\n', '\r': '\\r', '\t': '\\t' };

// Write a value as COPY reads it.
function copyValue(value) {
	return value.replace(/[\\\n\r\t]/g, (c) => escapes[c]);
}

// Evaluate SQL expressions over "value" and return a row of strings for each of
// the values. The setup is run before.
function evaluate(values, expressions, setup = '') {
	const script = [
		'SET client_min_messages = warning;',
		"SET client_encoding = 'UTF8';",
		'CREATE EXTENSION IF NOT EXISTS sms3300;',
		setup,
		'CREATE TEMP TABLE input (n int GENERATED ALWAYS AS IDENTITY, value text);',
		'COPY input (value) FROM STDIN;',
		...values.map(copyValue),
		'\\.',
		`COPY (SELECT ${expressions} FROM input ORDER BY n) TO STDOUT;`,
		''
	].join('\n');

	const psql = spawnSync('psql', ['-X', '-q', '-v', 'ON_ERROR_STOP=1'], {
		input: script,
		encoding: 'utf8',
		maxBuffer: 1 << 30,
		stdio: ['pipe', 'pipe', 'inherit']
	});
	if (psql.error) throw psql.error;
	if (psql.status !== 0) throw new Error(`psql ended with ${psql.status ?? psql.signal}`);

	const rows = psql.stdout.split('\n').slice(0, -1).map((line) => line.split('\t'));
	if (rows.length !== values.length) {
		throw new Error(`${values.length} values were sent, ${rows.length} rows came back`);
	}
	return rows;
}

module.exports = { evaluate };
