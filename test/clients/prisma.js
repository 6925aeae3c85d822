// Prisma: prisma/schema.prisma has a model of the columns that the application uses.

const { PrismaPg } = require('@prisma/adapter-pg');
const { PrismaClient } = require('@prisma/client');
const db = new PrismaClient({ adapter: new PrismaPg({ connectionString: process.env.DATABASE_URL }) });

async function main() {
  const one = await db.sms.create({ data: { mobile: '09123456789', message: 'سلام', metadata: { order: 17 } } });
  await db.sms.createMany({
    data: Array.from({ length: 1000 }, (_, n) => ({ mobile: '0912' + String(n).padStart(7, '0'), message: 'many' })),
  });

  await db.$transaction(async tx => {
    await tx.sms.create({ data: { mobile: '09123456789', message: 'rolled back' } });
    throw new Error('undo');
  }).catch(() => {});
  await db.$transaction(async tx => {
    await tx.sms.create({ data: { mobile: '09123456789', message: 'kept' } });
    await tx.$executeRaw`SAVEPOINT extra`;
    await tx.sms.create({ data: { mobile: '09123456789', message: 'dropped' } });
    await tx.$executeRaw`ROLLBACK TO SAVEPOINT extra`;
  });

  const later = await db.sms.create({
    data: { mobile: '09123456789', message: 'later', sendAfter: new Date(Date.now() + 3600_000) },
  });
  await db.$queryRaw`SELECT sms3300_cancel(${later.id})`;

  for (const time of [1, 2])
    await db.sms.createMany({ data: { mobile: '09123456789', message: 'once', dedupKey: 'order-17' }, skipDuplicates: true });

  try {
    await db.sms.create({ data: { mobile: '021 3300 3300', message: 'bad' } });
  } catch (error) {
    console.log(`error: ${error.name}: ${error.message.replaceAll('\n', ' ')}`);
  }

  let row;
  do {
    await new Promise(resolve => setTimeout(resolve, 50));
    row = await db.sms.findUnique({ where: { id: one.id } });
  } while (['queued', 'sending'].includes(row.status));
  console.log(`${row.status} ${row.messageId}`);
}

main().finally(() => db.$disconnect());
