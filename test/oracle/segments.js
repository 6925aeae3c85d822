'use strict';

// Compare sms3300_segments with the npm package split-sms.

const splitSms = require('split-sms');
const { Random } = require('./random');
const { report, requireAtLeast } = require('./report');
const { evaluate } = require('./server');

const BOUNDARIES = [67, 70, 134, 153, 160, 306];
const AROUND = 3;
const TEXTS_EACH = 48;

const GSM = [...'@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !"#¤%&\'()*+,-./0123456789:;<=>?¡' +
	'ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà'];
const EXTENSION = [...'\f^{}\\[~]|€'];
const PERSIAN = [...'ابپتثجچحخدذرزژسشصضطظعغفقکگلمنوهی۰۱۲۳۴۵۶۷۸۹،؛؟٪«» '];
const ARABIC = [...'ءآأؤإئىةكي٠١٢٣٤٥٦٧٨٩ًٌٍَُِّْ'];
const EMOJI = ['😀', '😂', '❤️', '👍🏽', '👨‍👩‍👧', '🏴‍☠️', '1️⃣', '𐎠', '𝄞'];
const FLAGS = ['🇮🇷', '🇩🇪', '🇺🇳', '🏴󠁧󠁢󠁳󠁣󠁴󠁿'];
const JOINERS = ['\u200c', '\u200d', '\u200e', '\u200f', '\u00a0', '\t'];
const COMBINING = ['\u0301', '\u0308', '\u0654', '\u064e', '\u20dd', '\ufe0f'];

// What a text is mixed from, and the character that fills it up to its length.
// A pool that is named twice is drawn from twice as often.
const MIXTURES = [
	{ name: 'GSM', pools: [GSM], filler: 'a' },
	{ name: 'GSM, few extension', pools: [GSM, GSM, GSM, GSM, EXTENSION], filler: 'a' },
	{ name: 'extension', pools: [EXTENSION], filler: 'a' },
	{ name: 'Persian', pools: [PERSIAN], filler: 'س' },
	{ name: 'Persian, ZWNJ', pools: [PERSIAN, PERSIAN, JOINERS], filler: 'س' },
	{ name: 'Arabic', pools: [ARABIC], filler: 'س' },
	{ name: 'Persian, few emoji', pools: [PERSIAN, PERSIAN, PERSIAN, PERSIAN, EMOJI], filler: 'س' },
	{ name: 'emoji', pools: [EMOJI], filler: 'س' },
	{ name: 'flags', pools: [FLAGS, FLAGS, PERSIAN], filler: 'س' },
	{ name: 'combining', pools: [GSM, PERSIAN, COMBINING], filler: 'س' },
	{ name: 'all', pools: [GSM, EXTENSION, PERSIAN, ARABIC, EMOJI, FLAGS, JOINERS, COMBINING], filler: 'س' }
];

// Return the units of a token, where all of its text is in the same encoding.
function unitsOf(token, gsm) {
	return gsm && EXTENSION.includes(token) ? 2 : token.length;
}

// Mix a text of so many units.
function mix(random, { pools, filler }, units) {
	const gsm = pools.every((pool) => pool === GSM || pool === EXTENSION);
	let text = '';
	let left = units;
	while (left > 0) {
		const token = random.pick(random.pick(pools));
		if (unitsOf(token, gsm) <= left) {
			text += token;
			left -= unitsOf(token, gsm);
		} else {
			text += filler;
			left -= 1;
		}
	}
	return text;
}

// Return the random texts: every mixture around every boundary.
function boundaryTexts(random) {
	const texts = [];
	for (const boundary of BOUNDARIES) {
		for (let units = boundary - AROUND; units <= boundary + AROUND; units++) {
			for (const mixture of MIXTURES) {
				for (let i = 0; i < TEXTS_EACH; i++) texts.push(mix(random, mixture, units));
			}
		}
	}
	return texts;
}

// Return every character of the BMP alone, except what no text value can hold:
// U+0000 and surrogates.
function bmpTexts() {
	const texts = [];
	for (let c = 1; c <= 0xffff; c++) {
		if (c < 0xd800 || c > 0xdfff) texts.push(String.fromCodePoint(c));
	}
	return texts;
}

// Return what the oracle says, as the server writes it.
function oracle(text) {
	const { characterSet, bytes, parts, remainingInPart } = splitSms.split(text, { summary: true });
	return characterSet === splitSms.GSM
		? ['GSM-7', bytes, parts.length, remainingInPart].join()
		: ['UCS-2', bytes / 2, parts.length, remainingInPart].join();
}

// Compare the server with the oracle.
function compare(what, texts) {
	const rows = evaluate(texts, '(sms3300_segments(value)).*');
	const differences = [];
	texts.forEach((value, i) => {
		const expected = oracle(value);
		const actual = rows[i].join();
		if (actual !== expected) differences.push({ value, expected, actual });
	});
	report(`sms3300_segments and split-sms, ${what}`, texts.length, differences);
}

const texts = boundaryTexts(new Random(Number(process.argv[2])));
requireAtLeast('texts around the boundaries', new Set(texts).size, 20000);
compare(`random texts around ${BOUNDARIES.join(', ')}`, texts);
compare('every character of the BMP', bmpTexts());
compare('the empty text and two traps', ['', 'a'.repeat(152) + '€' + 'a'.repeat(152), 'س'.repeat(66) + '😀' + 'س'.repeat(66)]);
