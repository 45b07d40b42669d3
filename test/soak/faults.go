package main

import (
	"cmp"
	"context"
	"hash/fnv"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	"github.com/arbitex/siem-connectors/emulator/siem"
)

// Sumo Logic responds 408 to a request that it accepted in part; QRadar sends no responses.
const (
	sumo   = "sumo"
	qradar = "qradar"
)

const (
	round      = 15_000 // events of a pipeline in which every incident comes once
	kills      = 2      // of a pipeline's function, all before memory is looked at
	poisonRate = 2_000  // one event in so many is refused for its content
	outage     = 10 * time.Second
	brownout   = 15 * time.Second
	hanging    = 5 * time.Second
	slowness   = 500 * time.Millisecond
)

// incident is a failure that begins after a number of events of a pipeline.
type incident struct {
	at   int
	name string
	do   func(context.Context, *soak, *pipeline)
}

// plan returns the incidents of a pipeline in order. It depends only on the seed and the share.
func plan(l *pipeline, share int) []incident {
	random := rand.New(rand.NewPCG(l.seed, 0x50a7))
	out := []incident{{name: "poison", do: inject(siem.Fault{Kind: siem.Poison, Match: poisoned(l.seed)})}}
	for range kills {
		out = append(out, incident{at: share * (2 + random.IntN(5)) / 100, name: "kill", do: kill})
	}
	rounds := max(1, share/round)
	for n := range rounds {
		kinds := incidents(l, random)
		random.Shuffle(len(kinds), func(i, j int) { kinds[i], kinds[j] = kinds[j], kinds[i] })
		length := share / rounds
		for i, t := range kinds {
			slot := length * 9 / 10 / len(kinds) // the last tenth is quiet, so that memory is seen at rest too
			t.at = n*length + i*slot + random.IntN(max(1, slot))
			out = append(out, t)
		}
	}
	slices.SortStableFunc(out, func(a, b incident) int { return cmp.Compare(a.at, b.at) })
	return out
}

// incidents returns the kinds of a round.
func incidents(l *pipeline, random *rand.Rand) []incident {
	common := []incident{
		{name: "slow answers", do: inject(siem.Fault{Kind: siem.Slow, Delay: slowness, Times: 20})},
		{name: "rotation", do: rotate},
	}
	if l.Name == qradar {
		return append(
			common,
			incident{name: "outage", do: inject(siem.Fault{Kind: siem.CloseBefore, For: outage})},
			incident{name: "hangs up", do: inject(siem.Fault{Kind: siem.AcceptClose, Times: 3})},
			incident{name: "stops reading", do: stopReading},
		)
	}
	busy := func(status int) siem.Fault {
		return siem.Fault{
			Kind: siem.Status, Status: status, Header: map[string]string{"Retry-After": "2"}, For: brownout,
			On: some(rand.New(rand.NewPCG(random.Uint64(), 0))),
		}
	}
	return append(append(
		common,
		incident{name: "outage", do: inject(siem.Fault{Kind: siem.Status, Status: http.StatusServiceUnavailable,
			For: outage})},
		incident{name: "brownout 503", do: inject(busy(http.StatusServiceUnavailable))},
		incident{name: "brownout 429", do: inject(busy(http.StatusTooManyRequests))},
		incident{name: "reset before the body", do: inject(siem.Fault{Kind: siem.CloseBefore, Times: 5})},
		incident{name: "reset within the body", do: inject(siem.Fault{Kind: siem.CloseDuring, Times: 5})},
		incident{name: "reset behind the body", do: inject(siem.Fault{Kind: siem.CloseAfter, Times: 5})},
	), unanswered(l)...)
}

// unanswered are requests that the SIEM accepts, at least in part, without a response. Sumo Logic has only one kind, so
// that the causes can be told apart.
func unanswered(l *pipeline) []incident {
	if l.Name == sumo {
		return []incident{{name: "partial 408", do: inject(siem.Fault{Kind: siem.Product, Code: "408", Times: 3})}}
	}
	return []incident{
		{name: "reset after it was taken", do: inject(siem.Fault{Kind: siem.AcceptClose, Times: 3})},
		{name: "no answer after it was taken", do: inject(siem.Fault{Kind: siem.AcceptHang, Times: 1})},
	}
}

func inject(f siem.Fault) func(context.Context, *soak, *pipeline) {
	return func(_ context.Context, _ *soak, l *pipeline) { l.Simulator.Inject(f) }
}

// some applies to one request in four.
func some(random *rand.Rand) func(*http.Request) bool {
	return func(*http.Request) bool { return random.IntN(4) == 0 }
}

// poisoned returns whether an event is refused for its content, by its id.
func poisoned(seed uint64) func(id string) bool {
	return func(id string) bool {
		h := fnv.New64a()
		_, _ = h.Write([]byte(id))
		return (h.Sum64()^seed)%poisonRate == 0
	}
}

// kill kills the function's processes after the SIEM accepted a request and before the function has the response.
// Syslog has no responses, so the time is arbitrary.
func kill(ctx context.Context, s *soak, l *pipeline) {
	const name, taken = "kill", "no answer"
	defer s.system.Kill(l.Function())
	if l.Name == qradar {
		return
	}
	before := l.Simulator.Stats().Refused[taken]
	l.Simulator.Inject(siem.Fault{Kind: siem.AcceptHang, Times: 1, Name: name})
	defer l.Simulator.Inject(siem.Fault{Kind: siem.Heal, Name: name})
	for end := time.Now().Add(hanging); time.Now().Before(end) && l.Simulator.Stats().Refused[taken] == before; {
		if !wait(ctx, look, nil) {
			return
		}
	}
}

// rotate revokes the credential and stores the new one. If that fails, nothing is delivered any more.
func rotate(ctx context.Context, s *soak, l *pipeline) {
	l.Simulator.Rotate()
	if err := s.system.Publish(ctx, l.SIEM); err != nil {
		s.meters.note(err)
	}
}

// stopReading makes the SIEM stop reading for a while.
func stopReading(ctx context.Context, _ *soak, l *pipeline) {
	const name = "stops reading"
	l.Simulator.Inject(siem.Fault{Kind: siem.AcceptHang, Name: name})
	defer l.Simulator.Inject(siem.Fault{Kind: siem.Heal, Name: name})
	wait(ctx, hanging, nil)
}
