package demo

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/arbitex/siem-connectors/emulator/siem"
	"github.com/arbitex/siem-connectors/internal/ocsfgen"
)

// maxLine is the longest line of the events file: SQS accepts 1 MiB.
const maxLine = 1 << 20

// broken is an invalid event. It must become a dead letter with that reason, and remain one.
const broken = "this is no event, somebody typed it into the console"

// message is the body of an SQS message.
type message struct {
	body string
	id   string // of the event, "" if invalid
	// wire is the body as it must arrive: without white space between tokens, otherwise unchanged.
	wire string
}

func newMessage(body []byte) message {
	var wire bytes.Buffer
	if json.Compact(&wire, body) != nil {
		return message{body: string(body), wire: string(body)}
	}
	return message{body: string(body), wire: wire.String(), id: siem.EventID(body)}
}

// loadMessages reads the file or generates events. The generated events include an invalid one.
func loadMessages(o Options) ([]message, error) {
	if o.Events != "" {
		return readMessages(o.Events)
	}
	generator := ocsfgen.New(o.Seed)
	generator.Now = time.Now
	var out []message
	for n := range o.Count {
		if n == o.Count/2 {
			out = append(out, newMessage([]byte(broken)))
		}
		out = append(out, newMessage(generator.Next()))
	}
	return out, nil
}

func readMessages(path string) ([]message, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("opening the events: %w", err)
	}
	defer file.Close()
	var out []message
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, maxLine+2)
	for lines.Scan() {
		if line := lines.Bytes(); len(bytes.TrimSpace(line)) > 0 {
			out = append(out, newMessage(line))
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("reading the events of %q after line %d: %w", path, len(out), err)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("reading the events of %q: there are none; one JSON object a line is expected", path)
	}
	return out, nil
}

// poison chooses the event that a SIEM refuses: an early one, so that later faults apply to it as well, and if possible
// one with a unique id.
func poison(messages []message) (id string) {
	times := map[string]int{}
	for _, m := range messages {
		times[m.id]++
	}
	for _, m := range messages[len(messages)/50:] {
		switch {
		case m.id == "":
		case times[m.id] == 1:
			return m.id
		case id == "":
			id = m.id
		}
	}
	return id
}

// distinct reports whether all events have different ids.
func distinct(messages []message) bool {
	seen := map[string]bool{}
	for _, m := range messages {
		if m.id != "" && seen[m.id] {
			return false
		}
		seen[m.id] = true
	}
	return true
}
