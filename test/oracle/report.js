'use strict';

const SHOWN = 20;

// Say what was compared, show the first differences, and fail if there are any.
function report(what, count, differences) {
	console.log(`${differences.length === 0 ? 'ok' : 'NOT OK'}: ${what}: ${count} compared, ${differences.length} differences`);
	for (const { value, expected, actual } of differences.slice(0, SHOWN)) {
		console.log(`  ${JSON.stringify(value)}: expected ${expected}, got ${actual}`);
	}
	if (differences.length > 0) process.exitCode = 1;
}

// A comparison that hardly ever had something to compare proves nothing.
function requireAtLeast(what, count, minimum) {
	if (count < minimum) {
		console.log(`NOT OK: ${what}: only ${count}, at least ${minimum} are needed`);
		process.exitCode = 1;
	}
}

module.exports = { report, requireAtLeast };
