package deliver_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/event"
	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/telemetry"
)

// script is a connector whose SIEM is a function. The records are the events' ids.
type script struct {
	format   deliver.Format
	answer   func(ids []string) error
	requests [][]string
	bodies   []string
	renewals int
	renewed  deliver.Connector
	extra    int // requests that Send makes besides its own, such as for a token
}

func (s *script) Format() deliver.Format { return s.format }

func (s *script) Append(dst []byte, e *event.Event) ([]byte, bool, error) {
	id := string(e.AppendID(nil))
	if strings.HasPrefix(id, "unencodable") {
		return append(dst, "half"...), false, errors.New("cannot be encoded")
	}
	return append(dst, id...), strings.HasPrefix(id, "truncated"), nil
}

func (s *script) Send(_ context.Context, b *deliver.Batch) error {
	var ids []string
	for i, e := range b.Events {
		ids = append(ids, string(e.AppendID(nil)))
		if got := string(b.Record(i)); got != ids[i] {
			panic("record " + got + " for event " + ids[i])
		}
	}
	b.Meter.Add(len(b.Body))
	for range s.extra {
		b.Meter.Add(0)
	}
	s.requests = append(s.requests, ids)
	s.bodies = append(s.bodies, string(b.Body))
	return s.answer(ids)
}

func (s *script) Current() deliver.Connector { return s }

func (s *script) Renew(context.Context) deliver.Connector {
	s.renewals++
	if s.renewed != nil {
		return s.renewed
	}
	return s
}

func items(ids ...string) []deliver.Item {
	all := make([]deliver.Item, len(ids))
	var p event.Parser
	for i, id := range ids {
		all[i].Event = new(event.Event)
		if err := p.Parse(fmt.Appendf(nil, `{"time":1,"metadata":{"uid":%q}}`, id), all[i].Event); err != nil {
			panic(err)
		}
	}
	return all
}

func numbered(n int) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf("e%03d", i)
	}
	return ids
}

func run(s *script, in []deliver.Item) ([]deliver.Outcome, deliver.Report) {
	out := make([]deliver.Outcome, len(in))
	report := deliver.Deliver(context.Background(), s, in, out)
	return out, report
}

// states writes outcomes as letters: d delivered, t truncated, r retry, h held, x rejected, ? without a reason.
func states(out []deliver.Outcome) string {
	var b strings.Builder
	for _, o := range out {
		switch {
		case o.State == deliver.Delivered && o.Truncated:
			b.WriteByte('t')
		case o.State == deliver.Delivered:
			b.WriteByte('d')
		case o.Fault == nil:
			b.WriteByte('?')
		case o.State == deliver.Rejected:
			b.WriteByte('x')
		case o.Fault.Kind == failure.Misconfigured || o.Fault.Kind == failure.Unauthorized:
			b.WriteByte('h')
		default:
			b.WriteByte('r')
		}
	}
	return b.String()
}

func accept([]string) error { return nil }

func always(err error) func([]string) error { return func([]string) error { return err } }

// refuses responds with err if one of the bad events is in the request.
func refuses(err error, bad ...string) func([]string) error {
	return func(ids []string) error {
		for _, id := range ids {
			if slices.Contains(bad, id) {
				return err
			}
		}
		return nil
	}
}

// byCode refuses every event with its id as the status, or as the code of a 400.
func byCode(ids []string) error {
	if status, _ := strconv.Atoi(ids[0]); status > 100 {
		return &failure.Error{Kind: failure.Rejected, Status: status}
	}
	return &failure.Error{Kind: failure.Rejected, Status: 400, Code: ids[0]}
}

var (
	foreign     = &failure.Error{Kind: failure.Rejected, Status: 400, Foreign: true}
	rejected    = &failure.Error{Kind: failure.Rejected, Status: 400}
	errTooLarge = &failure.Error{Kind: failure.TooLarge, Status: 413}
	denied      = &failure.Error{Kind: failure.Unauthorized, Status: 401}
	busy        = &failure.Error{Kind: failure.Transient, Status: 503}
	broken      = &failure.Error{Kind: failure.Transient, Status: 500}
)

func TestOutcomes(t *testing.T) {
	for name, c := range map[string]struct {
		ids      []string
		answer   func([]string) error
		want     string
		requests int
		records  int // of a request, at most
	}{
		"nothing to do":             {nil, accept, "", 0, 0},
		"accepted":                  {numbered(3), accept, "ddd", 1, 0},
		"unknown error":             {numbered(3), always(errors.New("hm")), "rrr", 1, 0},
		"busy":                      {numbered(3), always(busy), "rrr", 1, 0},
		"busy, one by one":          {numbered(3), always(busy), "rrr", 1, 1}, // the others are not sent
		"broken":                    {numbered(3), always(broken), "rrr", 1, 0},
		"broken, one by one":        {numbered(3), always(broken), "rrr", 3, 1},
		"denied":                    {numbered(2), always(denied), "hh", 2, 0},
		"held":                      {numbered(2), always(&failure.Error{Kind: failure.Misconfigured}), "hh", 1, 0},
		"foreign refusal":           {numbered(100), always(foreign), strings.Repeat("h", 100), 1, 0},
		"foreign refusal of one":    {numbered(1), always(foreign), "h", 1, 0},
		"alone and refused":         {numbered(1), always(rejected), "x", 1, 0},
		"alone and too large":       {numbered(1), always(errTooLarge), "x", 1, 0},
		"both refused":              {numbered(2), always(rejected), "hh", 3, 0},
		"refused with other codes":  {[]string{"6", "12"}, byCode, "xx", 3, 0},
		"refused with other status": {[]string{"413", "422"}, byCode, "xx", 3, 0},
		"all refused":               {numbered(100), always(rejected), strings.Repeat("h", 100), 3 + 16, 0},
		"all too large":             {numbered(100), always(errTooLarge), strings.Repeat("h", 100), 3 + 16, 0},
		"one refused":               {numbered(4), refuses(rejected, "e002"), "ddxd", 5, 0},
		"unencodable":               {[]string{"a", "unencodable", "b"}, accept, "dxd", 1, 0},
		"only unencodable":          {[]string{"unencodable", "unencodable2"}, accept, "xx", 0, 0},
		"one refused, one not sent": {[]string{"a", "unencodable"}, always(rejected), "xx", 1, 0},
		"truncated":                 {[]string{"truncated", "b"}, accept, "td", 1, 0},
		"too many results": {numbered(2), always(&deliver.PartialError{Results: make([]error, 3)}), "rr", 1,
			0},
		"unprocessed forever": {numbered(2), always(&deliver.PartialError{Results: []error{
			&failure.Error{Kind: failure.Unprocessed}, &failure.Error{Kind: failure.Unprocessed}}}), "rr", 2, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := &script{format: deliver.Format{Separator: ",", MaxRecords: c.records}, answer: c.answer}
			out, report := run(s, items(c.ids...))
			if got := states(out); got != c.want {
				t.Errorf("outcomes %s, want %s", got, c.want)
			}
			if len(s.requests) != c.requests || report.Requests != c.requests {
				t.Errorf("%d requests, %d counted, want %d", len(s.requests), report.Requests, c.requests)
			}
		})
	}
}

func TestPacking(t *testing.T) {
	f := deliver.Format{Open: "[", Separator: ",", Close: "]"}
	for name, c := range map[string]struct {
		format deliver.Format
		ids    []string
		want   []string
		states string
	}{
		"no limits": {f, []string{"aa", "bb"}, []string{"[aa,bb]"}, "dd"},
		"records": {deliver.Format{Open: "[", Separator: ",", Close: "]", MaxRecords: 2}, []string{"a", "b", "c"},
			[]string{"[a,b]", "[c]"}, "ddd"},
		"bytes, just fits": {deliver.Format{Open: "[", Separator: ",", Close: "]", MaxBytes: 7}, []string{"aa", "bb"},
			[]string{"[aa,bb]"}, "dd"},
		"bytes, one over": {deliver.Format{Open: "[", Separator: ",", Close: "]", MaxBytes: 6}, []string{"aa", "bb", "c"},
			[]string{"[aa]", "[bb,c]"}, "ddd"},
		"one too large": {deliver.Format{Open: "[", Separator: ",", Close: "]", MaxBytes: 6}, []string{"aaaa", "bbbbb",
			"c"}, []string{"[aaaa]", "[c]"}, "dxd"},
		"record limit": {deliver.Format{Separator: ",", MaxRecordBytes: 2}, []string{"aa", "bbb", "c"}, []string{"aa,c"},
			"dxd"},
		"alone over bytes": {deliver.Format{Separator: ",", MaxBytes: 4, MaxRecordBytes: 6}, []string{"a", "bbbbbb", "c",
			"ddddddd"}, []string{"a", "bbbbbb", "c"}, "dddx"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &script{format: c.format, answer: accept}
			out, _ := run(s, items(c.ids...))
			if got := strings.Join(s.bodies, " "); got != strings.Join(c.want, " ") {
				t.Errorf("bodies %s, want %s", got, c.want)
			}
			if got := states(out); got != c.states {
				t.Errorf("outcomes %s, want %s", got, c.states)
			}
		})
	}
}

// TestRenew: after a refused credential, the connector that Renew returns encodes and sends the batch.
func TestRenew(t *testing.T) {
	next := &script{format: deliver.Format{Separator: ";"}, answer: accept}
	s := &script{format: deliver.Format{Separator: ","}, answer: always(denied), renewed: next}
	out, report := run(s, items("a", "b"))
	if states(out) != "dd" || s.renewals != 1 || strings.Join(next.bodies, " ") != "a;b" || report.Requests != 2 {
		t.Errorf("outcomes %s, %d renewals, bodies %q", states(out), s.renewals, next.bodies)
	}
}

// TestPartial: the SIEM accepts the events before a refused one, and the events after it are sent again.
func TestPartial(t *testing.T) {
	s := &script{}
	s.answer = func(ids []string) error {
		p := &deliver.PartialError{Results: make([]error, len(ids))}
		for i, id := range ids {
			if strings.HasPrefix(id, "bad") {
				p.Results[i] = rejected
				for j := i + 1; j < len(ids); j++ {
					p.Results[j] = &failure.Error{Kind: failure.Unprocessed}
				}
				return p
			}
		}
		return nil
	}
	out, _ := run(s, items("a", "b", "bad1", "c", "bad2", "bad3", "d"))
	if states(out) != "ddxdxxd" || len(s.requests) != 4 {
		t.Errorf("outcomes %s in %d requests, want ddxdxxd in 4", states(out), len(s.requests))
	}
	seen := map[string]int{}
	for _, ids := range s.requests {
		for _, id := range ids {
			seen[id]++
		}
	}
	if seen["a"] != 1 || seen["bad1"] != 1 {
		t.Errorf("events with an outcome were sent again: %v", seen)
	}
}

// TestBrokenByOne: only the events on their last attempt are sent apart from an event that makes the SIEM fail.
func TestBrokenByOne(t *testing.T) {
	s := &script{answer: refuses(broken, "e001")}
	in := items(numbered(4)...)
	if out, _ := run(s, in); states(out) != "rrrr" || len(s.requests) != 1 {
		t.Errorf("first attempt: %s in %d requests, want rrrr in 1", states(out), len(s.requests))
	}
	in[0].Last = true
	if out, _ := run(s, in); states(out) != "drdd" {
		t.Errorf("last attempt: %s, want drdd", states(out))
	}
}

func TestDeadline(t *testing.T) {
	ctx, cancel := context.WithDeadline(context.Background(), time.Now().Add(time.Hour))
	s := &script{format: deliver.Format{MaxRecords: 1}}
	s.answer = func(ids []string) error {
		if ids[0] == "e001" {
			cancel()
		}
		return nil
	}
	out := make([]deliver.Outcome, 4)
	deliver.Deliver(ctx, s, items(numbered(4)...), out)
	if states(out) != "ddrr" || len(s.requests) != 2 {
		t.Errorf("outcomes %s in %d requests, want ddrr in 2", states(out), len(s.requests))
	}
}

// FuzzDeliver checks the outcomes against a SIEM that responds at random: an event is delivered if and only if the SIEM
// accepted it, rejected only if the SIEM refused it, and every other event has a reason.
func FuzzDeliver(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(seed, uint8(seed*13))
	}
	f.Fuzz(func(t *testing.T, seed uint64, n uint8) {
		rng := rand.New(rand.NewPCG(seed, uint64(n)))
		taken, refused := map[string]int{}, map[string]bool{}
		poison := rng.IntN(4)
		s := &script{format: deliver.Format{MaxRecords: rng.IntN(9), MaxBytes: 20 + rng.IntN(80)}}
		s.answer = func(ids []string) error { return randomAnswer(rng, poison, ids, taken, refused) }
		in := items(numbered(int(n))...)
		for i := range in {
			in[i].Last = rng.IntN(3) == 0
		}
		out, _ := run(s, in)
		for i, o := range out {
			id := string(in[i].Event.AppendID(nil))
			switch o.State {
			case deliver.Delivered:
				if taken[id] == 0 {
					t.Fatalf("%s is delivered, and was never accepted", id)
				}
			case deliver.Rejected:
				if !refused[id] || taken[id] > 0 {
					t.Fatalf("%s is rejected: refused %v, taken %d", id, refused[id], taken[id])
				}
			case deliver.Retry:
				if taken[id] > 0 {
					t.Fatalf("%s was accepted and is to be sent again", id)
				}
				if o.Fault == nil {
					t.Fatalf("%s is to be retried without a reason", id)
				}
			}
			if taken[id] > 1 {
				t.Fatalf("%s was sent again after it was accepted", id)
			}
		}
	})
}

// randomAnswer accepts, refuses or fails, and records which.
func randomAnswer(rng *rand.Rand, poison int, ids []string, taken map[string]int, refused map[string]bool) error {
	isBad := func(id string) bool { return poison > 0 && (int(id[3])+int(id[2])*7)%7 < poison-1 }
	switch rng.IntN(12) {
	case 0:
		return &failure.Error{Kind: failure.Kind(rng.IntN(4)), Status: 500 + rng.IntN(5)}
	case 1:
		return errors.New("what?")
	case 2, 3, 4:
		p := &deliver.PartialError{Results: make([]error, len(ids))}
		for i, id := range ids {
			switch rng.IntN(4) {
			case 0:
				p.Results[i] = rejected
				refused[id] = true
			case 1:
				p.Results[i] = &failure.Error{Kind: failure.Unprocessed}
			case 2:
				p.Results[i] = busy
			default:
				taken[id]++
			}
		}
		return p
	}
	if slices.ContainsFunc(ids, isBad) {
		for _, id := range ids {
			refused[id] = true
		}
		return rejected
	}
	for _, id := range ids {
		taken[id]++
	}
	return nil
}

// confirming is a script whose SIEM confirms requests later: request n, counted from 0, with results[n].
type confirming struct {
	script
	results   []error
	confirmed [][]int64
}

func (c *confirming) Confirm(_ context.Context, ids []int64, m *telemetry.Meter) (results []error) {
	m.Add(1)
	c.confirmed = append(c.confirmed, slices.Clone(ids))
	for _, id := range ids {
		results = append(results, c.results[id])
	}
	return results
}

func (c *confirming) Current() deliver.Connector { return c }

func (c *confirming) Renew(context.Context) deliver.Connector {
	c.renewals++
	return c
}

// TestConfirm: the requests of a delivery are confirmed together, after the last one.
func TestConfirm(t *testing.T) {
	late := &failure.Error{Detail: "late"}
	c := &confirming{results: []error{nil, late, nil}, script: script{format: deliver.Format{MaxRecords: 2}}}
	c.answer = func([]string) error { return &deliver.PendingError{ID: int64(len(c.requests) - 1)} }
	out := make([]deliver.Outcome, 6)
	report := deliver.Deliver(t.Context(), c, items(numbered(6)...), out)
	if got := states(out); got != "ddrrdd" || out[2].Fault != late {
		t.Errorf("%s, want ddrrdd", got)
	}
	if fmt.Sprint(c.confirmed) != "[[0 1 2]]" || report.Requests != 4 {
		t.Errorf("confirmed %v, %d requests", c.confirmed, report.Requests)
	}
}

// TestConfirmBesides: a pending request does not change what happens to the others.
func TestConfirmBesides(t *testing.T) {
	for name, test := range map[string]struct {
		second          error
		want, confirmed string
	}{
		"refused":    {&failure.Error{Kind: failure.Rejected}, "dx", "[[0]]"},
		"throttled":  {&failure.Error{Kind: failure.Throttled}, "dr", "[[0]]"},
		"renewed":    {&failure.Error{Kind: failure.Unauthorized}, "dd", "[[0] [2]]"},
		"an outage":  {errors.New("reset"), "dr", "[[0]]"},
		"it pends":   {&deliver.PendingError{ID: 1}, "dd", "[[0 1]]"},
		"it accepts": {nil, "dd", "[[0]]"},
	} {
		c := &confirming{results: make([]error, 3), script: script{format: deliver.Format{MaxRecords: 1}}}
		c.answer = func([]string) error {
			if n := len(c.requests); n != 2 {
				return &deliver.PendingError{ID: int64(n - 1)}
			}
			return test.second
		}
		out := make([]deliver.Outcome, 2)
		deliver.Deliver(t.Context(), c, items(numbered(2)...), out)
		if got := states(out); got != test.want || fmt.Sprint(c.confirmed) != test.confirmed {
			t.Errorf("%s: %s, confirmed %v, want %s, %s", name, got, c.confirmed, test.want, test.confirmed)
		}
	}
}

// accepting is a SIEM that accepts every event except the one with the id refuse.
type accepting struct{ refuse *event.Event }

func (*accepting) Format() deliver.Format { return deliver.Format{Separator: "\n", MaxRecords: 100} }

func (*accepting) Append(dst []byte, e *event.Event) ([]byte, bool, error) {
	return append(dst, e.Body...), false, nil
}

func (a *accepting) Send(_ context.Context, b *deliver.Batch) error {
	b.Meter.Add(len(b.Body))
	if slices.Contains(b.Events, a.refuse) {
		return rejected
	}
	return nil
}

func (a *accepting) Current() deliver.Connector { return a }

func (a *accepting) Renew(context.Context) deliver.Connector { return a }

// BenchmarkDeliver reports the engine's own cost per batch, without encoding and network.
func BenchmarkDeliver(b *testing.B) {
	for name, c := range map[string]struct {
		events int
		refuse bool
	}{
		"100 events":                  {100, false},
		"100 events, one refused":     {100, true},
		"4000 events":                 {4000, false},
		"4000 events, one is refused": {4000, true},
	} {
		b.Run(name, func(b *testing.B) {
			in := items(numbered(c.events)...)
			siem := &accepting{}
			if c.refuse {
				siem.refuse = in[41].Event
			}
			out := make([]deliver.Outcome, len(in))
			b.ReportAllocs()
			for b.Loop() {
				deliver.Deliver(b.Context(), siem, in, out)
			}
		})
	}
}
