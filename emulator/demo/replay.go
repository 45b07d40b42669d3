package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/arbitex/siem-connectors/emulator/siem"
	"github.com/arbitex/siem-connectors/shared/deadletter"
)

const replayPath = "/api/admin/siem/replay-dead-letter"

// maxReplayCalls bounds the calls for the remaining dead letters.
const maxReplayCalls = 50

// replay lists the dead letters, heals the SIEMs, and replays the dead letters.
func (d *demo) replay(ctx context.Context) error {
	letters, err := d.pending(ctx)
	if err != nil {
		return err
	}
	d.listLetters(letters)
	if len(letters) == 0 {
		return nil
	}
	for _, a := range d.actors {
		a.Simulator.Inject(siem.Fault{Kind: siem.Heal})
	}
	d.screen.lines(plain, "")
	d.screen.say(plain, "every SIEM has recovered; POST %s", replayPath)
	for range maxReplayCalls {
		answer, err := d.callReplay(ctx)
		if err != nil {
			return err
		}
		d.screen.say(plain, "replayed %s, skipped %s, remaining %s", number(answer.Replayed), number(answer.Skipped),
			number(answer.Remaining))
		for _, problem := range answer.Errors {
			d.screen.prose(faint, storyIndent, strings.Trim(string(problem), `"`))
		}
		if answer.Remaining == 0 || answer.Replayed == 0 {
			break
		}
	}
	return d.settle(ctx)
}

type replayAnswer struct {
	Replayed  int               `json:"replayed"`
	Skipped   int               `json:"skipped"`
	Remaining int               `json:"remaining"`
	Errors    []json.RawMessage `json:"errors"`
}

func (d *demo) callReplay(ctx context.Context) (answer replayAnswer, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("calling the replay url: %w", err)
		}
	}()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, d.replayURL(), strings.NewReader("{}"))
	if err != nil {
		return answer, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return answer, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d: %.500q", response.StatusCode, text)
	}
	if err == nil {
		err = json.Unmarshal(text, &answer)
	}
	return answer, err
}

func (d *demo) replayURL() string {
	return strings.TrimRight(d.system.URL(replayFunction), "/") + replayPath
}

// maxReasons bounds the listed reasons, maxReasonLines the length of each.
const (
	maxReasons     = 20
	maxReasonLines = 2
)

// listLetters prints the dead letters by reason.
func (d *demo) listLetters(byConnector map[string][]deadLetter) {
	if len(byConnector) == 0 {
		d.screen.say(plain, "no dead letters")
		return
	}
	d.screen.lines(strong, "", "Dead letters in s3://"+d.system.Bucket(deadLetterBucket), "")
	reasons := d.reasons(byConnector)
	for i, r := range reasons {
		if i == maxReasons {
			d.screen.lines(faint, fmt.Sprintf("  and %s more", count(len(reasons)-i, "reason")))
			break
		}
		who := strings.Join(r.connectors, ", ")
		if len(r.connectors) == len(d.actors) && len(r.connectors) > 1 {
			who = "each"
		}
		head := fmt.Sprintf("  %-8s %5s × ", who, number(r.count))
		d.screen.lines(plain, d.screen.paragraph(head, maxReasonLines, r.text)...)
	}
	for _, letter := range byConnector["unknown"] {
		d.screen.lines(bad, fmt.Sprintf("  unknown    %s", cut(letter.Error, 80)))
	}
}

// reason is the reason of some dead letters.
type reason struct {
	text       string
	count      int
	connectors []string
}

// reasons counts the dead letters by reason. SIEMs with the same reason are combined.
func (d *demo) reasons(byConnector map[string][]deadLetter) []reason {
	var out []reason
	for _, a := range d.actors {
		for _, letter := range byConnector[a.Name] {
			text := fmt.Sprintf("after %s: %s", count(letter.Attempts, "attempt"), readable(letter.Error))
			i := slices.IndexFunc(out, func(r reason) bool { return r.text == text })
			if i < 0 {
				i = len(out)
				out = append(out, reason{text: text})
			}
			out[i].count++
			if !slices.Contains(out[i].connectors, a.Name) {
				out[i].connectors = append(out[i].connectors, a.Name)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b reason) int { return len(a.connectors) - len(b.connectors) })
	return out
}

// readable removes the backslashes from a quoted JSON response.
func readable(text string) string { return strings.ReplaceAll(text, `\"`, `"`) }

// deadLetterPrefix is the default of the template's parameter DeadLetterPrefix.
const deadLetterPrefix = "dead-letters"

// deadLetter is a pending dead letter.
type deadLetter struct {
	Connector string
	Error     string
	Attempts  int
	body      string // of the message, compact if it is JSON
}

func newDeadLetter(r *deadletter.Record) deadLetter {
	return deadLetter{Connector: r.Connector, Error: r.Error, Attempts: r.Attempts, body: newMessage(r.Body).wire}
}

// pending returns the pending dead letters by connector. A dead letter that was written twice counts once.
func (d *demo) pending(ctx context.Context) (map[string][]deadLetter, error) {
	reader, err := deadletter.NewReader(d.system.S3, "s3://"+d.system.Bucket(deadLetterBucket)+"/"+deadLetterPrefix)
	if err != nil {
		return nil, err
	}
	found := map[string][]deadLetter{}
	seen := map[deadletter.ID]bool{}
	_, err = reader.Each(ctx, deadletter.Filter{}, func(one *deadletter.Letter) error {
		if id := one.ID(one.Key); !seen[id] {
			seen[id] = true
			found[one.Connector] = append(found[one.Connector], newDeadLetter(&one.Record))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the dead letters: %w", err)
	}
	return found, nil
}

// stuck is the time after which the demo stops waiting for a queue: much longer than all its back-offs.
const stuck = 4 * time.Minute

// standing is the state of one SIEM.
type standing struct {
	enqueued, waiting, inFlight, delivered, dead int
	refused                                      map[string]int
}

// state is the state of the system. It is read along the path of an event (queues, dead-letter queue, metrics of the
// drain), so that a moving event is counted twice rather than never.
type state struct {
	standings []standing
	draining  int // messages on the dead-letter queue
}

// settled reports whether every event is in its SIEM or in the bucket.
func (s state) settled() bool {
	for _, one := range s.standings {
		if one.waiting+one.inFlight > 0 {
			return false
		}
	}
	return s.draining == 0
}

func (d *demo) look(ctx context.Context) (state, error) {
	s := state{standings: make([]standing, len(d.actors))}
	for i, a := range d.actors {
		s.standings[i].enqueued = int(a.enqueued.Load()) // before the queue is read, which might be empty otherwise
		waiting, inFlight, err := d.system.Depth(ctx, d.system.Queue(a.Queue()))
		if err != nil {
			return s, err
		}
		s.standings[i].waiting, s.standings[i].inFlight = waiting, inFlight
	}
	waiting, inFlight, err := d.system.Depth(ctx, d.system.Queue(deadLetterQueue))
	if err != nil {
		return s, err
	}
	s.draining = waiting + inFlight
	for i, a := range d.actors {
		a.catchUp()
		s.standings[i].dead = d.meters.dead(a.Name)
		s.standings[i].delivered = a.ledger.delivered + a.ledger.alteredCount // no ledger contains what is enqueued by hand
		a.idle.Store(s.standings[i].enqueued == len(d.messages) && s.standings[i].waiting+s.standings[i].inFlight == 0)
		s.standings[i].refused = a.Simulator.Stats().Refused
	}
	return s, nil
}

// catchUp adds newly accepted events to the ledger.
func (a *actor) catchUp() {
	accepted := a.Simulator.Accepted()
	for _, one := range accepted[a.taken:] {
		a.ledger.accept(one)
	}
	a.taken = len(accepted)
}

// watch shows the state until done returns true, an error occurs, or the context ends.
func (d *demo) watch(ctx context.Context, done func(state) bool) error {
	pause := 500 * time.Millisecond
	if len(d.actors) > 2 {
		pause = time.Second
	}
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		s, err := d.look(ctx)
		if err != nil {
			return err
		}
		d.screen.table(d.rows(s))
		if done(s) {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// settle watches until the state is settled.
func (d *demo) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, stuck,
		fmt.Errorf("waiting for the queues to empty: not done after %s; see build/demo.log", stuck))
	defer cancel()
	err := d.watch(ctx, state.settled)
	d.screen.finish()
	return err
}

// tableFormat leaves 27 of 79 columns for the responses.
const tableFormat = "%-8s %8s %8s %9s %8s %5s   %s"

func (d *demo) rows(s state) []row {
	rows := []row{
		{key: "space"},
		{key: "head", text: fmt.Sprintf(tableFormat, "", "enqueued", "waiting", "in flight", "in SIEM", "dead",
			"other responses than success"), style: faint},
	}
	for i, a := range d.actors {
		one := s.standings[i]
		r := row{key: a.Name, text: fmt.Sprintf(tableFormat, a.Name, number(one.enqueued), number(one.waiting),
			number(one.inFlight),
			number(one.delivered), number(one.dead), refusals(one.refused))}
		if one.delivered+one.dead >= one.enqueued && one.waiting+one.inFlight == 0 && one.enqueued > 0 {
			r.style = good
		}
		rows = append(rows, r)
	}
	if s.draining > 0 {
		rows = append(rows, row{key: "drain", text: count(s.draining, "dead letter") + " on the way to S3", style: faint,
			passing: true})
	}
	return rows
}

// refusals formats the counts by status (also of items), or by reason without one: "403 ×3, 503 ×12, no answer ×1".
func refusals(refused map[string]int) string {
	short := map[string]int{}
	for reason, n := range refused {
		rest, item := strings.CutPrefix(reason, "item ") // of Elasticsearch's bulk answers
		if status, _, ok := strings.Cut(rest, " "); ok && rest[0] >= '0' && rest[0] <= '9' {
			reason = status
			if item {
				reason = "item " + status
			}
		}
		short[reason] += n
	}
	var out []string
	for _, reason := range slices.Sorted(maps.Keys(short)) {
		out = append(out, fmt.Sprintf("%s ×%d", reason, short[reason]))
	}
	return strings.Join(out, ", ")
}
