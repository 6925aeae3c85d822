// JDBC, with prepared statements.

import java.sql.*;
import java.time.OffsetDateTime;

class Jdbc {
    static final String INSERT = "INSERT INTO sms_outbox (mobile, message) VALUES (?, ?)";

    static void queue(Connection db, String mobile, String message) throws SQLException {
        try (PreparedStatement insert = db.prepareStatement(INSERT)) {
            insert.setString(1, mobile);
            insert.setString(2, message);
            insert.executeUpdate();
        }
    }

    public static void main(String[] args) throws Exception {
        // PgBouncer before 1.21 does not know prepared statements.
        Connection db = DriverManager.getConnection(String.format("jdbc:postgresql://%s:%s/%s?user=%s%s",
            System.getenv("PGHOST"), System.getenv("PGPORT"), System.getenv("PGDATABASE"), System.getenv("PGUSER"),
            System.getenv("POOLED").isEmpty() ? "" : "&prepareThreshold=0"));

        PreparedStatement one = db.prepareStatement(
            "INSERT INTO sms_outbox (mobile, message, metadata) VALUES (?, ?, ?::jsonb)",
            Statement.RETURN_GENERATED_KEYS);
        one.setString(1, "09123456789");
        one.setString(2, "سلام");
        one.setString(3, "{\"order\": 17}");
        one.executeUpdate();
        ResultSet keys = one.getGeneratedKeys();
        keys.next();
        long id = keys.getLong("id");

        db.setAutoCommit(false);
        PreparedStatement many = db.prepareStatement(INSERT);
        for (int n = 0; n < 1000; n++) {
            many.setString(1, String.format("0912%07d", n));
            many.setString(2, "many");
            many.addBatch();
        }
        many.executeBatch();
        db.commit();

        queue(db, "09123456789", "rolled back");
        db.rollback();
        queue(db, "09123456789", "kept");
        Savepoint savepoint = db.setSavepoint();
        queue(db, "09123456789", "dropped");
        db.rollback(savepoint);
        db.commit();
        db.setAutoCommit(true);

        PreparedStatement later = db.prepareStatement(
            "INSERT INTO sms_outbox (mobile, message, send_after) VALUES (?, ?, ?) RETURNING id");
        later.setString(1, "09123456789");
        later.setString(2, "later");
        later.setObject(3, OffsetDateTime.now().plusHours(1));
        ResultSet row = later.executeQuery();
        row.next();
        PreparedStatement cancel = db.prepareStatement("SELECT sms3300_cancel(?)");
        cancel.setLong(1, row.getLong(1));
        cancel.executeQuery();

        PreparedStatement once = db.prepareStatement(
            "INSERT INTO sms_outbox (mobile, message, dedup_key) VALUES (?, ?, ?) ON CONFLICT DO NOTHING");
        for (int n = 0; n < 2; n++) {
            once.setString(1, "09123456789");
            once.setString(2, "once");
            once.setString(3, "order-17");
            once.executeUpdate();
        }

        try {
            queue(db, "021 3300 3300", "bad");
        } catch (SQLException error) {
            System.out.println("error: " + error);
        }

        PreparedStatement read = db.prepareStatement("SELECT status, message_id FROM sms_outbox WHERE id = ?");
        read.setLong(1, id);
        String status;
        do {
            Thread.sleep(50);
            row = read.executeQuery();
            row.next();
            status = row.getString("status");
        } while (status.equals("queued") || status.equals("sending"));
        System.out.println(status + " " + row.getLong("message_id"));
    }
}
