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

// maxLine is the most a line of the events file may hold: SQS takes 1 MiB.
const maxLine = 1 << 20

// broken is a message that is no event: it must end in a dead letter that says so, and stay there.
const broken = "this is no event, somebody typed it into the console"

// message is one SQS message body.
type message struct {
	body string
	id   string // of the event in it, "" for what is none
	// wire is the body as it must arrive: white space between tokens removed, everything else untouched.
	wire string
}

func newMessage(body []byte) message {
	var wire bytes.Buffer
	if json.Compact(&wire, body) != nil {
		return message{body: string(body), wire: string(body)}
	}
	return message{body: string(body), wire: wire.String(), id: siem.EventID(body)}
}

// loadMessages reads the file or generates; what was generated has the broken message in its midst.
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

// poison chooses the event a SIEM refuses: one that comes early, so that it meets what goes wrong later too.
// Its id is no other's, where there is such an event.
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

// distinct tells whether no two events have one id.
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
