// Go's database/sql with lib/pq.

package main

import (
	"database/sql"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/lib/pq"
)

const insert = "INSERT INTO sms_outbox (mobile, message) VALUES ($1, $2)"

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func exec(db interface{ Exec(string, ...any) (sql.Result, error) }, query string, args ...any) {
	_, err := db.Exec(query, args...)
	check(err)
}

func main() {
	// Without binary_parameters, a query with arguments takes two round trips, between which
	// PgBouncer may change the server's session.
	options := "?sslmode=disable"
	if os.Getenv("POOLED") != "" {
		options += "&binary_parameters=yes"
	}
	db, err := sql.Open("postgres", os.Getenv("DATABASE_URL")+options)
	check(err)

	var id, later, number int64
	check(db.QueryRow("INSERT INTO sms_outbox (mobile, message, metadata) VALUES ($1, $2, $3) RETURNING id",
		"09123456789", "سلام", `{"order": 17}`).Scan(&id))
	mobiles := []string{}
	for n := 0; n < 1000; n++ {
		mobiles = append(mobiles, fmt.Sprintf("0912%07d", n))
	}
	exec(db, "INSERT INTO sms_outbox (mobile, message) SELECT unnest($1::text[]), 'many'", pq.Array(mobiles))

	tx, err := db.Begin()
	check(err)
	exec(tx, insert, "09123456789", "rolled back")
	check(tx.Rollback())
	tx, err = db.Begin()
	check(err)
	exec(tx, insert, "09123456789", "kept")
	exec(tx, "SAVEPOINT extra")
	exec(tx, insert, "09123456789", "dropped")
	exec(tx, "ROLLBACK TO SAVEPOINT extra")
	check(tx.Commit())

	check(db.QueryRow("INSERT INTO sms_outbox (mobile, message, send_after) VALUES ($1, $2, $3) RETURNING id",
		"09123456789", "later", time.Now().Add(time.Hour)).Scan(&later))
	exec(db, "SELECT sms3300_cancel($1)", later)

	for n := 0; n < 2; n++ {
		exec(db, "INSERT INTO sms_outbox (mobile, message, dedup_key) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
			"09123456789", "once", "order-17")
	}

	if _, err = db.Exec(insert, "021 3300 3300", "bad"); err != nil {
		fmt.Printf("error: %v\n%s\n", err, err.(*pq.Error).Detail)
	}

	status := "queued"
	for status == "queued" || status == "sending" {
		time.Sleep(50 * time.Millisecond)
		check(db.QueryRow("SELECT status, coalesce(message_id, 0) FROM sms_outbox WHERE id = $1", id).Scan(&status, &number))
	}
	fmt.Println(status, number)
}
