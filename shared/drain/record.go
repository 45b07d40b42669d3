package drain

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/arbitex/siem-connectors/shared/connectors"
	"github.com/arbitex/siem-connectors/shared/deadletter"
	"github.com/arbitex/siem-connectors/shared/event"
	"github.com/arbitex/siem-connectors/shared/jsonscan"
	"github.com/arbitex/siem-connectors/shared/sqsevent"
)

// maxError bounds a dead letter's reason, in bytes; the connectors write far less.
const maxError = 4096

// records makes the records of a message. Nothing in them depends on when or how often the message was received.
func (d *Drain) records(m *sqsevent.Message) []deadletter.Record {
	if len(m.DeadLetterQueue) > 0 {
		return d.moved(m)
	}
	r := deadletter.Record{Body: m.Body, MessageID: deadletter.Bound(string(m.ID), maxError),
		Connector: deadletter.Unknown}
	r.Time = time.UnixMilli(min(max(m.Sent, 0), event.MaxTime)).UTC()
	name := string(m.Attribute("connector"))
	if role := d.roles[name]; role != "" && !sentBy(m, role) {
		r.Error = fmt.Sprintf("the message names the connector %s, but the sender is not its role; "+
			"its attributes are ignored", name)
		return []deadletter.Record{r}
	}
	if connectors.Known(name) {
		r.Connector = name
	}
	r.Error = deadletter.Bound(string(m.Attribute("error")), maxError)
	if r.Error == "" {
		r.Error = "the message on the dead-letter queue states no reason"
	}
	r.Attempts, r.Replays = number(m.Attribute("attempts")), number(m.Attribute("replays"))
	if id := m.Attribute("message_id"); len(id) > 0 {
		r.MessageID = deadletter.Bound(string(id), maxError)
	}
	if t, err := deadletter.ParseTime("failed_at", string(m.Attribute("failed_at"))); err == nil {
		r.Time = t
	}
	return []deadletter.Record{r}
}

// moved makes the records of a message that SQS itself moved: one for each event of its body. Its attributes are its
// sender's; only the count of replays counts, and only from the replay's role.
func (d *Drain) moved(m *sqsevent.Message) []deadletter.Record {
	arn := string(m.DeadLetterQueue)
	r := deadletter.Record{
		Connector: d.connectors[arn[strings.LastIndexByte(arn, ':')+1:]], Body: m.Body, Attempts: d.attempts,
		Time: time.UnixMilli(min(max(m.Sent, 0), event.MaxTime)).UTC(), MessageID: deadletter.Bound(string(m.ID), maxError),
		Error: fmt.Sprintf("SQS stopped retrying the message after %d receives without a response of the connector; see "+
			"its log", d.attempts),
	}
	if r.Connector == "" {
		r.Connector = deadletter.Unknown
	}
	if d.replayRole != "" && sentBy(m, d.replayRole) {
		r.Replays = number(m.Attribute("replays"))
	}
	events := elements(m.Body)
	if len(events) == 0 {
		return []deadletter.Record{r}
	}
	records := make([]deadletter.Record, len(events))
	for i := range records {
		records[i] = r
		records[i].Body, records[i].MessageID = events[i], fmt.Sprintf("%s/%d", r.MessageID, i)
	}
	return records
}

// maxEvents is the largest number of events of a message that become records of their own. A record takes 200 bytes or
// more, and a message of 1 MiB may hold 500,000 elements.
const maxEvents = 10_000

// elements returns the elements of a body that is a valid JSON array, nil for any other body.
func elements(body []byte) (all [][]byte) {
	r := jsonscan.NewReader(bytes.TrimPrefix(body, []byte("\uFEFF")), 1)
	if r.Peek() != '[' || !utf8.Valid(body) {
		return nil
	}
	for r.Array(); r.Element() && len(all) <= maxEvents; {
		all = append(all, r.Value())
	}
	if !r.End() || len(all) > maxEvents {
		return nil
	}
	return all
}

// sentBy reports whether a role sent the message: SenderId is the role's id, a colon and the name of the session.
func sentBy(m *sqsevent.Message, role string) bool { return bytes.HasPrefix(m.Sender, []byte(role)) }

// number reads an attribute, 0 when it is not a number.
func number(value []byte) int {
	n, err := strconv.ParseUint(string(value), 10, 31)
	if err != nil {
		return 0
	}
	return int(n)
}
