// Go with pgx.

package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/jackc/pgconn"
	"github.com/jackc/pgx/v4"
)

const insert = "INSERT INTO sms_outbox (mobile, message) VALUES ($1, $2)"

var ctx = context.Background()

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func exec(db interface {
	Exec(context.Context, string, ...any) (pgconn.CommandTag, error)
}, query string, args ...any) {
	_, err := db.Exec(ctx, query, args...)
	check(err)
}

func main() {
	config, err := pgx.ParseConfig(os.Getenv("DATABASE_URL") + "?sslmode=disable")
	check(err)
	// PgBouncer before 1.21 does not know prepared statements.
	config.PreferSimpleProtocol = os.Getenv("POOLED") != ""
	db, err := pgx.ConnectConfig(ctx, config)
	check(err)

	var id, later int64
	check(db.QueryRow(ctx, "INSERT INTO sms_outbox (mobile, message, metadata) VALUES ($1, $2, $3) RETURNING id",
		"09123456789", "سلام", `{"order": 17}`).Scan(&id))
	mobiles := []string{}
	for n := 0; n < 1000; n++ {
		mobiles = append(mobiles, fmt.Sprintf("0912%07d", n))
	}
	exec(db, "INSERT INTO sms_outbox (mobile, message) SELECT unnest($1::text[]), 'many'", mobiles)

	tx, err := db.Begin(ctx)
	check(err)
	exec(tx, insert, "09123456789", "rolled back")
	check(tx.Rollback(ctx))
	tx, err = db.Begin(ctx)
	check(err)
	exec(tx, insert, "09123456789", "kept")
	savepoint, err := tx.Begin(ctx)
	check(err)
	exec(savepoint, insert, "09123456789", "dropped")
	check(savepoint.Rollback(ctx))
	check(tx.Commit(ctx))

	check(db.QueryRow(ctx, "INSERT INTO sms_outbox (mobile, message, send_after) VALUES ($1, $2, $3) RETURNING id",
		"09123456789", "later", time.Now().Add(time.Hour)).Scan(&later))
	exec(db, "SELECT sms3300_cancel($1)", later)

	for n := 0; n < 2; n++ {
		exec(db, "INSERT INTO sms_outbox (mobile, message, dedup_key) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
			"09123456789", "once", "order-17")
	}

	var refused *pgconn.PgError
	if _, err = db.Exec(ctx, insert, "021 3300 3300", "bad"); errors.As(err, &refused) {
		fmt.Printf("error: %v\n%s\n", err, refused.Detail)
	}

	status, number := "queued", new(int64)
	for status == "queued" || status == "sending" {
		time.Sleep(50 * time.Millisecond)
		check(db.QueryRow(ctx, "SELECT status, message_id FROM sms_outbox WHERE id = $1", id).Scan(&status, &number))
	}
	fmt.Println(status, *number)
}
