// Hibernate: an entity with the columns that the application uses.

import java.util.Date;
import javax.persistence.*;
import org.hibernate.HibernateException;
import org.hibernate.Session;
import org.hibernate.annotations.ColumnTransformer;
import org.hibernate.cfg.Configuration;

class UseHibernate {
    @Entity
    @Table(name = "sms_outbox")
    public static class Sms {
        @Id
        @GeneratedValue(strategy = GenerationType.IDENTITY)
        public Long id;
        public String mobile;
        public String message;
        @Column(name = "send_after")
        public Date sendAfter = new Date();
        @Column(name = "created_at")
        public Date createdAt = new Date();
        @Column(name = "dedup_key")
        public String dedupKey;
        @ColumnTransformer(write = "cast(? as jsonb)")
        public String metadata;
        @Column(insertable = false, updatable = false)
        public String status;
        @Column(name = "message_id", insertable = false, updatable = false)
        public Long messageId;

        public Sms() {
        }

        public Sms(String mobile, String message) {
            this.mobile = mobile;
            this.message = message;
        }
    }

    public static void main(String[] args) throws Exception {
        Session db = new Configuration().addAnnotatedClass(Sms.class)
            .setProperty("hibernate.dialect", "org.hibernate.dialect.PostgreSQLDialect")
            .setProperty("hibernate.temp.use_jdbc_metadata_defaults", "false")
            .setProperty("hibernate.connection.driver_class", "org.postgresql.Driver")
            .setProperty("hibernate.connection.url", String.format("jdbc:postgresql://%s:%s/%s?user=%s%s",
                System.getenv("PGHOST"), System.getenv("PGPORT"), System.getenv("PGDATABASE"), System.getenv("PGUSER"),
                System.getenv("POOLED").isEmpty() ? "" : "&prepareThreshold=0"))
            .buildSessionFactory().openSession();

        db.beginTransaction();
        Sms one = new Sms("09123456789", "سلام");
        one.metadata = "{\"order\": 17}";
        db.save(one);
        for (int n = 0; n < 1000; n++)
            db.save(new Sms(String.format("0912%07d", n), "many"));
        db.getTransaction().commit();

        db.beginTransaction();
        db.save(new Sms("09123456789", "rolled back"));
        db.getTransaction().rollback();

        db.beginTransaction();
        db.save(new Sms("09123456789", "kept"));
        db.createSQLQuery("SAVEPOINT extra").executeUpdate();
        db.save(new Sms("09123456789", "dropped"));
        db.createSQLQuery("ROLLBACK TO SAVEPOINT extra").executeUpdate();
        db.getTransaction().commit();

        db.beginTransaction();
        Sms later = new Sms("09123456789", "later");
        later.sendAfter = new Date(System.currentTimeMillis() + 3600000);
        db.save(later);
        db.createSQLQuery("SELECT sms3300_cancel(:id)").setLong("id", later.id).uniqueResult();
        for (int n = 0; n < 2; n++)
            db.createSQLQuery("INSERT INTO sms_outbox (mobile, message, dedup_key) VALUES ('09123456789', 'once', :key)"
                + " ON CONFLICT DO NOTHING").setString("key", "order-17").executeUpdate();
        db.getTransaction().commit();

        do {
            Thread.sleep(50);
            db.refresh(one);
        } while (one.status.equals("queued") || one.status.equals("sending"));
        System.out.println(one.status + " " + one.messageId);

        try {
            db.beginTransaction();
            db.save(new Sms("021 3300 3300", "bad"));
        } catch (HibernateException error) {
            System.out.println("error: " + error + ": " + error.getCause().getMessage());
        }
        System.exit(0);
    }
}
