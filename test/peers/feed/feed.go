// Package feed gives a peer of the benchmark its events: it waits for the word, hands them over batch by batch, and
// says when all are delivered. The time before and after is not measured.
package feed

import (
	"bufio"
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
)

// Order is what a peer is asked to do.
type Order struct {
	URL   string
	Gzip  bool
	Batch int // events a request

	events string
}

// Parse reads the order from the command line.
func Parse() Order {
	var o Order
	flag.StringVar(&o.URL, "url", "", "where to deliver")
	flag.BoolVar(&o.Gzip, "gzip", false, "compress requests")
	flag.IntVar(&o.Batch, "batch", 100, "events a request")
	flag.StringVar(&o.events, "events", "", "file with one event a line")
	flag.Parse()
	return o
}

// warmUp is how many batches are delivered before the measuring begins.
const warmUp = 20

// Run delivers every event with send, which returns when its batch is delivered.
func Run(ctx context.Context, o Order, send func(ctx context.Context, batch [][]byte) error) error {
	text, err := os.ReadFile(o.events)
	if err != nil {
		return err
	}
	events := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	all := func(most int) error {
		for from := 0; from < len(events) && most > 0; from, most = from+o.Batch, most-1 {
			if err := send(ctx, events[from:min(from+o.Batch, len(events))]); err != nil {
				return err
			}
		}
		return nil
	}
	if err := all(warmUp); err != nil {
		return err
	}
	word := bufio.NewReader(os.Stdin)
	fmt.Println("ready")
	if _, err := word.ReadString('\n'); err != nil {
		return err
	}
	if err := all(len(events)); err != nil {
		return err
	}
	fmt.Println("done")
	_, _ = word.ReadString('\n') // the end of input: what was used has been read
	return nil
}
