'use strict';

// Random choices that a seed repeats.

class Random {
	constructor(seed) {
		this.state = seed >>> 0;
	}

	// Return the next number of mulberry32, at least 0 and below 1.
	next() {
		this.state = (this.state + 0x6d2b79f5) >>> 0;
		let t = this.state;
		t = Math.imul(t ^ (t >>> 15), t | 1);
		t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
		return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
	}

	// Return an integer below limit.
	below(limit) {
		return Math.floor(this.next() * limit);
	}

	// Return one of the items.
	pick(items) {
		return items[this.below(items.length)];
	}
}

module.exports = { Random };
