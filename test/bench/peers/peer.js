// Have another queue send messages over HTTP.
//
//     node peer.js QUEUE URL IN_FLIGHT MESSAGES BODY
//
// The queue is pg-boss or graphile-worker; the database is named in the environment, as
// for psql. The jobs are laid down first; then it says so and waits for a line. In the
// end it prints the seconds that it took and its own seconds of CPU time. Each is set up
// as its manual advises for many jobs: graphile-worker with a local queue and batched
// completion, and pg-boss with batches of jobs.

import { createInterface } from "node:readline/promises";
import { Logger, makeWorkerUtils, run, runMigrations } from "graphile-worker";
import PgBoss from "pg-boss";
import { Pool } from "undici";

const [queue, url, inFlightText, messagesText, body] = process.argv.slice(2);
const inFlight = Number(inFlightText);
const messages = Number(messagesText);
const database = `postgresql://${process.env.PGUSER}@/${process.env.PGDATABASE}` +
	`?host=${encodeURIComponent(process.env.PGHOST)}`;
const { origin, pathname } = new URL(url);
const gateway = new Pool(origin, { connections: inFlight, pipelining: 1 });

// Post the form and return the gateway's reply.
async function post(form) {
	const { statusCode, body: reply } = await gateway.request({
		path: pathname,
		method: "POST",
		headers: { "content-type": "application/x-www-form-urlencoded" },
		body: form,
	});
	const json = await reply.json();
	if (statusCode !== 200 || json.status !== -1)
		throw new Error(`the gateway answered ${statusCode}`);
	return json;
}

// Each returns a function that has all jobs done, and one that ends.
const queues = {
	async "pg-boss"() {
		const boss = new PgBoss({ connectionString: database, supervise: false, schedule: false });
		boss.on("error", (error) => { throw error; });
		await boss.start();
		await boss.createQueue("sms");
		for (let left = messages; left > 0; left -= 1000)
			await boss.insert(Array.from({ length: Math.min(left, 1000) },
				() => ({ name: "sms", data: { form: body } })));

		// Two batches at a time, so that one is on the wire while the other is recorded.
		// Jobs that are completed together have one output: the replies are left out.
		let left = messages;
		const batches = async () => {
			while (left > 0) {
				const jobs = await boss.fetch("sms", { batchSize: Math.ceil(inFlight / 2) });
				if (jobs.length === 0)
					return;
				await Promise.all(jobs.map((job) => post(job.data.form)));
				await boss.complete("sms", jobs.map((job) => job.id));
				left -= jobs.length;
			}
		};
		return [async () => {
			await Promise.all([batches(), batches()]);
		}, () => boss.stop({ graceful: false })];
	},

	async "graphile-worker"() {
		const logger = new Logger(() => () => {});
		const worker = {
			connectionString: database,
			concurrentJobs: inFlight,
			maxPoolSize: inFlight + 2,
			localQueue: { size: 500 },
			completeJobBatchDelay: 0,
		};
		await runMigrations({ connectionString: database, logger });
		const utils = await makeWorkerUtils({ connectionString: database, logger });
		for (let left = messages; left > 0; left -= 1000)
			await utils.addJobs(Array.from({ length: Math.min(left, 1000) },
				() => ({ identifier: "sms", payload: { form: body } })));

		let left = messages;
		let runner;
		return [async () => {
			const done = new Promise((resolve) => {
				const task = async (payload) => {
					await post(payload.form);
					if (--left === 0)
						resolve();
				};
				run({ preset: { worker: { ...worker, logger } }, noHandleSignals: true, taskList: { sms: task } })
					.then((started) => { runner = started; });
			});
			await done;

			// The completion of the last ones is still to be written.
			const rest = "SELECT FROM graphile_worker._private_jobs LIMIT 1";
			while ((await utils.withPgClient((client) => client.query(rest))).rowCount > 0);
		}, async () => {
			await runner.stop();
			await utils.release();
		}];
	},
};

const [work, end] = await queues[queue]();
console.log("ready");
const input = createInterface({ input: process.stdin });
await input[Symbol.asyncIterator]().next();

const start = performance.now();
const cpu = process.cpuUsage();
await work();
const { user, system } = process.cpuUsage(cpu);
console.log((performance.now() - start) / 1000, (user + system) / 1e6);
await end();
process.exit(0);
