// node-pg, with SQL.

const { Pool } = require('pg');
const db = new Pool({ connectionString: process.env.DATABASE_URL });
const insert = 'INSERT INTO sms_outbox (mobile, message) VALUES ($1, $2)';

async function main() {
  const one = await db.query('INSERT INTO sms_outbox (mobile, message, metadata) VALUES ($1, $2, $3) RETURNING id',
    ['09123456789', 'سلام', { order: 17 }]);
  const mobiles = Array.from({ length: 1000 }, (_, n) => '0912' + String(n).padStart(7, '0'));
  await db.query("INSERT INTO sms_outbox (mobile, message) SELECT unnest($1::text[]), 'many'", [mobiles]);

  const client = await db.connect();
  await client.query('BEGIN');
  await client.query(insert, ['09123456789', 'rolled back']);
  await client.query('ROLLBACK');
  await client.query('BEGIN');
  await client.query(insert, ['09123456789', 'kept']);
  await client.query('SAVEPOINT extra');
  await client.query(insert, ['09123456789', 'dropped']);
  await client.query('ROLLBACK TO SAVEPOINT extra');
  await client.query('COMMIT');
  client.release();

  const later = await db.query('INSERT INTO sms_outbox (mobile, message, send_after) VALUES ($1, $2, $3) RETURNING id',
    ['09123456789', 'later', new Date(Date.now() + 3600_000)]);
  await db.query('SELECT sms3300_cancel($1)', [later.rows[0].id]);

  for (const time of [1, 2])
    await db.query('INSERT INTO sms_outbox (mobile, message, dedup_key) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING',
      ['09123456789', 'once', 'order-17']);

  try {
    await db.query(insert, ['021 3300 3300', 'bad']);
  } catch (error) {
    console.log(`error: ${error}\n${error.detail}`);
  }

  let row = { status: 'queued' };
  while (['queued', 'sending'].includes(row.status)) {
    await new Promise(resolve => setTimeout(resolve, 50));
    row = (await db.query('SELECT status, message_id FROM sms_outbox WHERE id = $1', [one.rows[0].id])).rows[0];
  }
  console.log(row.status, row.message_id);
}

main().finally(() => db.end());
