package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/deployed"
	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/term"
	"github.com/arbitex/siem-connectors/internal/ocsfgen"
	"github.com/arbitex/siem-connectors/shared/event"
)

// senders is the number of concurrent requests to SQS.
const senders = 4

type sendOptions struct {
	to       []string
	file     string
	generate int
	seed     uint64
	force    bool
	pack     int // events in a message
	wait     bool
	timeout  time.Duration // of the wait
	secret   string        // of search credentials
}

func (a *app) sendCommand() *cobra.Command {
	var o sendOptions
	c := &cobra.Command{
		Use: "send", Short: "Send events of a file or generated events to connectors", Args: cobra.NoArgs,
		Long: `Send events to the queues of one or several connectors: the events of a file, one JSON object per
line, or generated events. Generated events are valid OCSF 1.1 and contain unusual values. A file is
read and checked completely before anything is sent.

With --wait, the command looks for each event (at most 10) until the SIEM's own search finds it,
and says how long that took. It needs your search credential; see siemctl configure --help.
Without one, it says what was confirmed, by receipts, batches and dead letters, and what was not.
The exit code is 0 only if every event is searchable.

If you interrupt the command, it prints how many events were enqueued. These events are delivered.`,
		Example: "  siemctl send --to splunk --generate 100\n  siemctl send --to splunk --generate 1 --wait\n" +
			"  siemctl send --file events.jsonl            # to every " +
			"deployed connector\n" +
			"  zcat audit.jsonl.gz | siemctl send --to elastic --file -",
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, flag := range []string{"timeout", "search-secret"} {
				if !o.wait && cmd.Flags().Changed(flag) {
					return usage("--%s: only valid with --wait", flag)
				}
			}
			if fromFile := cmd.Flags().Changed("file"); fromFile == cmd.Flags().Changed("generate") {
				return usage("expected either --file or --generate")
			} else if fromFile && o.file == "" {
				return usage("--file: expected a file, found an empty value")
			}
			return a.send(cmd.Context(), o)
		},
	}
	f := c.Flags()
	f.StringSliceVar(&o.to, "to", nil, "`connector`s to send to; default all deployed connectors")
	f.StringVar(&o.file, "file", "", "`file` of events, one per line; - is standard input")
	f.IntVar(&o.generate, "generate", 0, "generate this many `events`")
	f.Uint64Var(&o.seed, "seed", 0, "`number` that determines the generated events and their ids; default a new one "+
		"each time")
	f.BoolVar(&o.force, "force", false, "also send lines that are not valid events; they become dead letters")
	f.BoolVar(&o.wait, "wait", false, "wait until the SIEM's search finds the events")
	f.DurationVar(&o.timeout, "timeout", 10*time.Minute, "wait at most this `duration`")
	f.StringVar(&o.secret, "search-secret", "", searchSecretUsage)
	f.IntVar(&o.pack, "per-message", 100, "at most this many `events` in a message; more make it cheaper")
	_ = c.RegisterFlagCompletionFunc("to", completeConnectors)
	return c
}

// sent is the result of send for one connector.
type sent struct {
	Connector string `json:"connector"`
	Enqueued  int    `json:"enqueued"`
	Refused   int    `json:"refused"` // by SQS
	Reason    string `json:"reason,omitempty"`

	Events []*waited `json:"events,omitempty"` // with --wait
}

func (o *sendOptions) check() error {
	if o.file == "" && o.generate < 1 {
		return usage("--generate: expected at least 1, found %d", o.generate)
	}
	if o.pack < 1 || o.pack > 4000 {
		return usage("--per-message: expected 1 to 4000, found %d", o.pack)
	}
	if o.wait && o.timeout <= 0 {
		return usage("--timeout: expected a duration greater than zero, found %s", o.timeout)
	}
	return nil
}

func (a *app) send(ctx context.Context, o sendOptions) error {
	if err := o.check(); err != nil {
		return err
	}
	events, invalid, err := a.eventsToSend(o)
	if err != nil {
		return err
	}
	w := new(waiter)
	if o.wait {
		if w, err = newWaiter(events, invalid); err != nil {
			return err
		}
	}
	s, here, err := a.connect(ctx, o.to)
	if err != nil {
		return err
	}
	if o.wait {
		isNew := o.file == "" && o.seed == 0
		if err := w.open(ctx, a, s, here, o.secret, isNew); err != nil {
			return err
		}
	}
	// An invalid event goes alone: invalid JSON would invalidate a whole array.
	messages := append(deployed.Pack(events, o.pack), deployed.Pack(invalid, 1)...)
	total := len(events) + len(invalid)
	progress := a.out.StartProgress("enqueued", int64(total*len(here)))
	var results []sent
	done := 0
	w.start = a.now()
	for _, c := range here {
		r := sent{Connector: c.Name}
		err = sendAll(ctx, s, s.Queue(c.Name), messages, &r, func() { progress.Set(int64(done + r.Enqueued + r.Refused)) })
		results = append(results, r)
		if err != nil {
			break
		}
		done += total
	}
	progress.Done()
	if !a.out.JSON {
		a.showSent(results)
	}
	if err == nil && o.wait {
		err = w.run(ctx, o.timeout, results)
	}
	if a.out.JSON {
		if showErr := a.out.Object(results); err == nil {
			err = showErr
		}
	} else {
		a.showWaited(results)
	}
	if err == nil && slices.ContainsFunc(results, func(r sent) bool { return r.Refused > 0 }) {
		err = errProblems
	}
	return err
}

func (a *app) showSent(results []sent) {
	var rows [][]term.Cell
	for _, r := range results {
		rows = append(rows, term.Row(r.Connector, r.Enqueued, r.Refused, r.Reason))
	}
	a.out.Table([]string{"CONNECTOR", "ENQUEUED", "REFUSED", "REASON"}, rows)
}

// eventsToSend generates or reads the events. Without --force, every line must be a valid event.
func (a *app) eventsToSend(o sendOptions) (events, invalid []string, err error) {
	if o.file == "" {
		if o.seed == 0 { // the same seed makes the same ids, and Elasticsearch would replace the documents
			o.seed = uint64(a.now().UnixNano())
		}
		g := ocsfgen.New(o.seed)
		g.Now = a.now
		for range o.generate {
			events = append(events, string(g.Next()))
		}
		return events, nil, nil
	}
	var problems []string
	err = a.eachEvent("--file", o.file, func(line int, body []byte, _ *event.Event, wrong error) {
		if wrong == nil {
			events = append(events, string(body))
			return
		}
		invalid = append(invalid, string(body))
		if len(problems) < maxBad {
			problems = append(problems, fmt.Sprintf("line %d: %v", line, wrong))
		}
	})
	switch {
	case err != nil:
		return nil, nil, err
	case len(events)+len(invalid) == 0:
		return nil, nil, usage("--file: expected events, one per line, found none in %s", o.file)
	case invalid != nil && !o.force:
		return nil, nil, usage("--file %s: not a valid event (--force sends it anyway; it becomes a dead letter): %s",
			o.file, strings.Join(problems, "; "))
	}
	return events, invalid, nil
}

// maxBad is how many invalid lines are named.
const maxBad = 5

// maxLineBytes is larger than the largest event, so that the error can state the event's size.
const maxLineBytes = 8 << 20

// eachEvent calls take for each line of a file that is not empty, with the event in it, or why it is not a valid one;
// "-" is standard input. The line and the event are valid until take returns.
func (a *app) eachEvent(flag, name string, take func(line int, body []byte, e *event.Event, wrong error)) error {
	from, err := a.open(flag, name)
	if err != nil {
		return err
	}
	defer from.Close()
	var parser event.Parser
	lines := bufio.NewScanner(from)
	lines.Buffer(make([]byte, 0, 64<<10), maxLineBytes)
	for n := 1; lines.Scan(); n++ {
		if body := bytes.TrimSpace(lines.Bytes()); len(body) > 0 {
			var e event.Event
			parser.Reset()
			err := parser.Parse(body, &e)
			take(n, body, &e, err)
		}
	}
	if err := lines.Err(); err != nil {
		return usage("%s %s: %w", flag, name, err)
	}
	return nil
}

// sendAll sends messages with several concurrent requests, and counts events in r. It calls tell after each request.
func sendAll(ctx context.Context, s *deployed.Stack, queue string, messages []deployed.Message, r *sent,
	tell func()) error {
	var mu sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(senders)
	for _, request := range deployed.Requests(messages) {
		group.Go(func() error {
			refused, reason, err := s.SendBatch(ctx, queue, request)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			for i, m := range request {
				if refused[i] {
					r.Refused += m.Events
				} else {
					r.Enqueued += m.Events
				}
			}
			r.Reason = cmp.Or(reason, r.Reason)
			tell()
			return nil
		})
	}
	return group.Wait()
}
