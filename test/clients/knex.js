// Knex.

const knex = require('knex');
const db = knex({ client: 'pg', connection: process.env.DATABASE_URL });

async function main() {
  const [one] = await db('sms_outbox')
    .insert({ mobile: '09123456789', message: 'سلام', metadata: { order: 17 } }).returning('id');
  await db('sms_outbox').insert(
    Array.from({ length: 1000 }, (_, n) => ({ mobile: '0912' + String(n).padStart(7, '0'), message: 'many' })));

  await db.transaction(async trx => {
    await trx('sms_outbox').insert({ mobile: '09123456789', message: 'rolled back' });
    throw new Error('undo');
  }).catch(() => {});
  await db.transaction(async trx => {
    await trx('sms_outbox').insert({ mobile: '09123456789', message: 'kept' });
    await trx.transaction(async savepoint => {
      await savepoint('sms_outbox').insert({ mobile: '09123456789', message: 'dropped' });
      throw new Error('undo');
    }).catch(() => {});
  });

  const [later] = await db('sms_outbox')
    .insert({ mobile: '09123456789', message: 'later', send_after: new Date(Date.now() + 3600_000) }).returning('id');
  await db.raw('SELECT sms3300_cancel(?)', [later.id]);

  for (const time of [1, 2])
    await db('sms_outbox').insert({ mobile: '09123456789', message: 'once', dedup_key: 'order-17' }).onConflict().ignore();

  try {
    await db('sms_outbox').insert({ mobile: '021 3300 3300', message: 'bad' });
  } catch (error) {
    console.log(`error: ${error}\n${error.detail}`);
  }

  let row;
  do {
    await new Promise(resolve => setTimeout(resolve, 50));
    row = await db('sms_outbox').first('status', 'message_id').where(one);
  } while (['queued', 'sending'].includes(row.status));
  console.log(row.status, row.message_id);
}

main().finally(() => db.destroy());
