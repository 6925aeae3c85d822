// Drizzle: a table with the columns that the application uses.

const { eq, sql } = require('drizzle-orm');
const { drizzle } = require('drizzle-orm/node-postgres');
const { bigint, jsonb, pgTable, text, timestamp } = require('drizzle-orm/pg-core');

const outbox = pgTable('sms_outbox', {
  id: bigint({ mode: 'number' }).primaryKey().generatedAlwaysAsIdentity(),
  mobile: text().notNull(),
  message: text().notNull(),
  sendAfter: timestamp('send_after', { withTimezone: true }).defaultNow(),
  dedupKey: text('dedup_key'),
  metadata: jsonb(),
  status: text().default('queued'),
  messageId: bigint('message_id', { mode: 'bigint' }),
});
const db = drizzle(process.env.DATABASE_URL);

async function main() {
  const [one] = await db.insert(outbox)
    .values({ mobile: '09123456789', message: 'سلام', metadata: { order: 17 } }).returning();
  await db.insert(outbox).values(
    Array.from({ length: 1000 }, (_, n) => ({ mobile: '0912' + String(n).padStart(7, '0'), message: 'many' })));

  await db.transaction(async tx => {
    await tx.insert(outbox).values({ mobile: '09123456789', message: 'rolled back' });
    tx.rollback();
  }).catch(() => {});
  await db.transaction(async tx => {
    await tx.insert(outbox).values({ mobile: '09123456789', message: 'kept' });
    await tx.transaction(async savepoint => {
      await savepoint.insert(outbox).values({ mobile: '09123456789', message: 'dropped' });
      savepoint.rollback();
    }).catch(() => {});
  });

  const [later] = await db.insert(outbox)
    .values({ mobile: '09123456789', message: 'later', sendAfter: new Date(Date.now() + 3600_000) }).returning();
  await db.execute(sql`SELECT sms3300_cancel(${later.id})`);

  for (const time of [1, 2])
    await db.insert(outbox).values({ mobile: '09123456789', message: 'once', dedupKey: 'order-17' }).onConflictDoNothing();

  try {
    await db.insert(outbox).values({ mobile: '021 3300 3300', message: 'bad' });
  } catch (error) {
    console.log(`error: ${error}: ${error.cause}\n${error.cause.detail}`);
  }

  let row;
  do {
    await new Promise(resolve => setTimeout(resolve, 50));
    [row] = await db.select().from(outbox).where(eq(outbox.id, one.id));
  } while (['queued', 'sending'].includes(row.status));
  console.log(`${row.status} ${row.messageId}`);
}

main().finally(() => db.$client.end());
