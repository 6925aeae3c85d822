# ActiveRecord: a model, as in app/models of a Rails application.

require 'active_record'

# In Rails, config/database.yml has this. PgBouncer before 1.21 does not know prepared
# statements.
pooled = ENV['POOLED'] != ''
ActiveRecord::Base.establish_connection(adapter: 'postgresql', host: ENV['PGHOST'], port: ENV['PGPORT'],
  database: ENV['PGDATABASE'], username: ENV['PGUSER'], prepared_statements: !pooled, advisory_locks: !pooled)

class Sms < ActiveRecord::Base
  self.table_name = 'sms_outbox'
  self.inheritance_column = nil # "type" is not the name of a class here
end

one = Sms.create!(mobile: '09123456789', message: 'سلام', metadata: { order: 17 })
Sms.insert_all!((0...1000).map { |n| { mobile: format('0912%07d', n), message: 'many' } })

Sms.transaction do
  Sms.create!(mobile: '09123456789', message: 'rolled back')
  raise ActiveRecord::Rollback
end
Sms.transaction do
  Sms.create!(mobile: '09123456789', message: 'kept')
  Sms.transaction(requires_new: true) do
    Sms.create!(mobile: '09123456789', message: 'dropped')
    raise ActiveRecord::Rollback
  end
end

later = Sms.create!(mobile: '09123456789', message: 'later', send_after: 1.hour.from_now)
Sms.connection.select_value("SELECT sms3300_cancel(#{later.id})")

2.times { Sms.insert_all([{ mobile: '09123456789', message: 'once', dedup_key: 'order-17' }]) }

begin
  Sms.create!(mobile: '021 3300 3300', message: 'bad')
rescue ActiveRecord::StatementInvalid => error
  puts "error: #{error.class}: #{error.message}"
end

loop do
  sleep 0.05
  one.reload
  break unless %w[queued sending].include?(one.status)
end
puts "#{one.status} #{one.message_id}"
