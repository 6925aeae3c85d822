'use strict';

// Compare sms3300_mobile with the npm package libphonenumber-js where the
// spelling is plain, and with a regular expression where it is not.

const { parsePhoneNumberFromString } = require('libphonenumber-js/max');
const { Random } = require('./random');
const { report, requireAtLeast } = require('./report');
const { evaluate } = require('./server');

const PLAIN_SPELLINGS = 100000;
const MUTATED_SPELLINGS = 100000;

const ZEROS = [0x30, 0x660, 0x6f0, 0xff10];
const PREFIXES = ['', '0', '98', '980', '098', '+98', '+980', '0098', '00980'];
const WRONG_PREFIXES = ['+', '+0', '00', '0980', '+098', '9898', '+0098', '+9898', '000', '+1', '+44', '0044', '+91'];
const SEPARATORS = ['', '', '', ' ', ' ', '-', '.', '/', '  ', ' - ', '\u00a0', '\u2010', '\u2011', '\u2013', '\u2212', '\u2060'];
const MARKS = [
	' ', '-', '.', '(', ')', '/', '\u00a0', '\u00ad', '\u061c', '\u0640', '\u2000', '\u2005', '\u200a', '\u200b', '\u200c', '\u200d',
	'\u200e', '\u200f', '\u2010', '\u2015', '\u202a', '\u202c', '\u202e', '\u2060', '\u2066', '\u2069', '\u202f', '\u2212', '\u3000', '\ufeff',
	'\uff08', '\uff09', '\uff0d'
];
const OPENINGS = ['tel:', 'TEL:', "'", '"', '="', '\n', '\t', ' '];
const CLOSINGS = ['"', "'", ',', ';', '+', '\r\n', '\t', '.0', '.00', '.5', '.'];
const NEIGHBOURS = [
	'\t', '\n', '!', "'", '*', ',', ':', ';', '_', '#', '\u009f', '\u00a1', '\u00ac', '\u00ae', '\u061b', '\u061d', '\u063f', '\u0641',
	'\u065f', '\u066a', '\u06ef', '\u06fa', '\u1fff', '\u2016', '\u2029', '\u205e', '\u205f', '\u2061', '\u2065', '\u206a', '\u2211',
	'\u2213', '\u3001', '\ufefe', '\uff00', '\uff0c', '\uff0e', '\uff0f', '\uff1a', '\u0966', '\u{1d7ce}', '😀', 'O', 'l', 'x'
];

// Return so many random digits.
function randomDigits(random, count) {
	let digits = '';
	for (let i = 0; i < count; i++) digits += random.below(10);
	return digits;
}

// Return a national number: mostly a mobile, else a near miss.
function nationalNumber(random) {
	switch (random.below(10)) {
		case 0: return '9' + randomDigits(random, random.pick([7, 8, 10, 11]));
		case 1: return random.pick(['21', '51', '8', '98', '1', '3000']) + randomDigits(random, random.pick([6, 7, 8, 9]));
		default: return '9' + randomDigits(random, 9);
	}
}

// Write the ASCII digits of a text in another script.
function inScript(text, zero) {
	return text.replace(/[0-9]/g, (digit) => String.fromCodePoint(zero + Number(digit)));
}

// Return a number as people write it, without any mark that cannot be seen.
function plainSpelling(random) {
	const prefix = random.pick(random.below(8) === 0 ? WRONG_PREFIXES : PREFIXES);
	const national = nationalNumber(random);
	const separator = random.pick(SEPARATORS);
	const groups = [national.slice(0, 3), national.slice(3, 6), national.slice(6)];
	let head = prefix;
	if (random.below(4) === 0) head = head.replace(/0$/, '(0)');
	if (random.below(8) === 0) groups[0] = `(${groups[0]})`;
	return inScript(head + random.pick([separator, '', ' ']) + groups.join(separator), random.pick(ZEROS));
}

// Return a spelling with a few characters inserted, removed, replaced or moved.
function mutatedSpelling(random) {
	const text = [...plainSpelling(random)];
	if (random.below(4) === 0) text.unshift(random.pick(OPENINGS));
	if (random.below(4) === 0) text.push(random.pick(CLOSINGS));
	for (let changes = 1 + random.below(6); changes > 0; changes--) {
		const at = random.below(text.length + 1);
		switch (random.below(12)) {
			case 0: text.splice(at, 1); break;
			case 1: text.splice(at, 1, ...inScript(randomDigits(random, 1), random.pick(ZEROS))); break;
			case 2: text.splice(at, 0, random.pick(NEIGHBOURS)); break;
			case 3: text.splice(at, 0, String.fromCodePoint(1 + random.below(0xd7ff))); break;
			case 4: text.splice(at, 0, '+'); break;
			case 5: text.splice(random.below(text.length + 1), 0, ...text.splice(at, 1 + random.below(3))); break;
			default: text.splice(at, 0, random.pick(MARKS)); break;
		}
	}
	return text.join('');
}

// Return a text in which each separator and digit has one spelling, and nothing that cannot be seen.
function normalized(text) {
	return text
		.replace(/[\u200b-\u200f\u061c\u202a-\u202e\u2060\u2066-\u2069\ufeff\u00ad\u0640]/g, '')
		.replace(/[\u0660-\u0669\u06f0-\u06f9\uff10-\uff19]/g, (digit) => digit.codePointAt(0) % 16)
		.replace(/\uff0b/g, '+')
		.replace(/[\u00a0\u2000-\u200a\u202f\u3000]/g, ' ')
		.replace(/[\u2010-\u2015\u2212\uff0d]/g, '-')
		.replace(/[)\uff08\uff09]/g, '(');
}

// Return the national number in a text of digits and separators, with the separators, or null.
function national(text) {
	const digits = text.replace(/[^0-9+]/g, '');
	if (!/^(?:0|(?:00|\+)?980?|098)?9[0-9]{9}$/.test(digits)) return null;
	return /(?:[0-9][^0-9]*){9}[0-9]$/.exec(text)[0];
}

// Tell whether a separator of the kinds given is the only one of its kind in a number.
function isSingle(number, separators, kinds) {
	return [...kinds].some((kind) => separators.includes(kind) &&
		number.match(/[^0-9]+/g).filter((run) => run.includes(kind)).length === 1);
}

// Tell whether a national number is what is left of a decimal, or a range.
function isDecimalOrRange(number) {
	const beforeOne = /([^0-9]*)[0-9]$/.exec(number)[1];
	const beforeTwo = /([^0-9]*)[0-9][^0-9]*[0-9]$/.exec(number)[1];
	return isSingle(number, beforeOne, ' -./') || isSingle(number, beforeTwo, './') || (beforeOne + beforeTwo).includes('(');
}

// Return the canonical form by the letter of the rule, or null.
function byRule(text) {
	const match = /^(?:[ \-./(\t\n\r'"]|tel:|=")*(\+?[ \-./(]*[0-9](?:[0-9 \-./(]*[0-9])?)([ \-./(\t\n\r'",;+]*)$/i.exec(normalized(text));
	if (!match) return null;
	const [, body, tail] = match;
	if (tail.replace(/[^,;+]/g, '').length > 1 || (body.startsWith('+') && tail.includes('+'))) return null;
	const decimal = /^(.*[0-9])\.+0(?:[ \-./(]*0)*$/.exec(body);
	const number = (decimal && national(decimal[1])) || national(body);
	return number && !isDecimalOrRange(number) ? '98' + number.replace(/[^0-9]/g, '') : null;
}

// Compare with libphonenumber-js: what is a valid number for it is the same
// number for the server if it is 9 and nine digits in Iran, else none. Numbers
// that no operator has been given are invalid for the oracle only.
function comparePlain(random) {
	const spellings = Array.from({ length: PLAIN_SPELLINGS }, () => plainSpelling(random));
	const rows = evaluate(spellings, 'CASE WHEN sms3300_is_mobile(value) THEN sms3300_mobile(value) END');
	const differences = [];
	let mobiles = 0;
	let others = 0;
	spellings.forEach((value, i) => {
		const number = parsePhoneNumberFromString(value, 'IR');
		if (!number || !number.isValid()) return;
		const isMobile = /^\+989[0-9]{9}$/.test(number.number);
		const expected = isMobile ? number.number.slice(1) : '\\N';
		const [actual] = rows[i];
		if (isMobile) mobiles++;
		else others++;
		if (actual !== expected) differences.push({ value, expected, actual });
	});
	report(`sms3300_mobile and libphonenumber-js, plain spellings of ${mobiles} mobiles and ${others} other numbers`,
		mobiles + others, differences);
	requireAtLeast('mobiles for libphonenumber-js', mobiles, PLAIN_SPELLINGS / 10);
}

// Compare with the rule, and see that every result is its own canonical form and
// every refusal the right error.
function compareMutated(random) {
	const spellings = Array.from({ length: MUTATED_SPELLINGS }, () => mutatedSpelling(random));
	const rows = evaluate(spellings,
		'sms3300_is_mobile(value), pg_temp.mobile_or_sqlstate(value), pg_temp.mobile_or_sqlstate(pg_temp.mobile_or_sqlstate(value))',
		`CREATE FUNCTION pg_temp.mobile_or_sqlstate(value text) RETURNS text LANGUAGE plpgsql AS $$
		BEGIN
			RETURN sms3300_mobile(value);
		EXCEPTION WHEN OTHERS THEN
			RETURN SQLSTATE;
		END $$;`);
	const differences = [];
	let mobiles = 0;
	spellings.forEach((value, i) => {
		const mobile = byRule(value);
		const expected = mobile ? ['t', mobile, mobile].join() : ['f', '22023', '22023'].join();
		const actual = rows[i].join();
		if (mobile) mobiles++;
		if (actual !== expected) differences.push({ value, expected, actual });
	});
	report(`sms3300_mobile, mutated spellings (${mobiles} are mobiles), idempotence and errors`, spellings.length, differences);
	requireAtLeast('mobiles among the mutated spellings', mobiles, MUTATED_SPELLINGS / 10);
}

const random = new Random(Number(process.argv[2]));
comparePlain(random);
compareMutated(random);
