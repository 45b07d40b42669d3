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

// sumo and qradar fail in ways of their own: the one answers 408 to a request it took half of, the other answers
// nothing.
const (
	sumo   = "sumo"
	qradar = "qradar"
)

const (
	round      = 15_000 // events of a lane in which every trouble comes once
	kills      = 2      // of a lane's function, all before memory is looked at
	poisonRate = 2_000  // one event in so many is refused for its content
	outage     = 10 * time.Second
	brownout   = 15 * time.Second
	hanging    = 5 * time.Second
	slowness   = 500 * time.Millisecond
)

// trouble is something that goes wrong in a lane once so many of its events were sent.
type trouble struct {
	at   int
	name string
	do   func(context.Context, *soak, *lane)
}

// plan is how a lane fails, in order. It depends on the lane's seed and share alone.
func plan(l *lane, share int) []trouble {
	random := rand.New(rand.NewPCG(l.seed, 0x50a7))
	out := []trouble{{name: "poison", do: inject(siem.Fault{Kind: siem.Poison, Match: poisoned(l.seed)})}}
	for range kills {
		out = append(out, trouble{at: share * (2 + random.IntN(5)) / 100, name: "kill", do: kill})
	}
	rounds := max(1, share/round)
	for n := range rounds {
		kinds := troubles(l, random)
		random.Shuffle(len(kinds), func(i, j int) { kinds[i], kinds[j] = kinds[j], kinds[i] })
		length := share / rounds
		for i, t := range kinds {
			slot := length * 9 / 10 / len(kinds) // the last tenth is quiet, so that memory is seen at rest too
			t.at = n*length + i*slot + random.IntN(max(1, slot))
			out = append(out, t)
		}
	}
	slices.SortStableFunc(out, func(a, b trouble) int { return cmp.Compare(a.at, b.at) })
	return out
}

// troubles are the kinds that come in every round.
func troubles(l *lane, random *rand.Rand) []trouble {
	common := []trouble{
		{name: "slow answers", do: inject(siem.Fault{Kind: siem.Slow, Delay: slowness, Times: 20})},
		{name: "rotation", do: rotate},
	}
	if l.Name == qradar {
		return append(
			common,
			trouble{name: "outage", do: inject(siem.Fault{Kind: siem.CloseBefore, For: outage})},
			trouble{name: "hangs up", do: inject(siem.Fault{Kind: siem.AcceptClose, Times: 3})},
			trouble{name: "stops reading", do: stopReading},
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
		trouble{name: "outage", do: inject(siem.Fault{Kind: siem.Status, Status: http.StatusServiceUnavailable,
			For: outage})},
		trouble{name: "brownout 503", do: inject(busy(http.StatusServiceUnavailable))},
		trouble{name: "brownout 429", do: inject(busy(http.StatusTooManyRequests))},
		trouble{name: "reset before the body", do: inject(siem.Fault{Kind: siem.CloseBefore, Times: 5})},
		trouble{name: "reset within the body", do: inject(siem.Fault{Kind: siem.CloseDuring, Times: 5})},
		trouble{name: "reset behind the body", do: inject(siem.Fault{Kind: siem.CloseAfter, Times: 5})},
	), unanswered(l)...)
}

// unanswered are requests that the SIEM takes, in whole or in part, without saying so. Sumo Logic gets one kind alone,
// so that the account can tell the causes apart.
func unanswered(l *lane) []trouble {
	if l.Name == sumo {
		return []trouble{{name: "partial 408", do: inject(siem.Fault{Kind: siem.Product, Code: "408", Times: 3})}}
	}
	return []trouble{
		{name: "reset after it was taken", do: inject(siem.Fault{Kind: siem.AcceptClose, Times: 3})},
		{name: "no answer after it was taken", do: inject(siem.Fault{Kind: siem.AcceptHang, Times: 1})},
	}
}

func inject(f siem.Fault) func(context.Context, *soak, *lane) {
	return func(_ context.Context, _ *soak, l *lane) { l.simulator.Inject(f) }
}

// some meets one request in four.
func some(random *rand.Rand) func(*http.Request) bool {
	return func(*http.Request) bool { return random.IntN(4) == 0 }
}

// poisoned tells, by its id, whether an event is refused for its content.
func poisoned(seed uint64) func(id string) bool {
	return func(id string) bool {
		h := fnv.New64a()
		_, _ = h.Write([]byte(id))
		return (h.Sum64()^seed)%poisonRate == 0
	}
}

// kill ends the function's processes when the SIEM has taken a request and before the function can know. Syslog has no
// answers to wait for: there it comes as it happens.
func kill(ctx context.Context, s *soak, l *lane) {
	const name, taken = "kill", "no answer"
	defer s.cloud.Kill(l.Function())
	if l.Name == qradar {
		return
	}
	before := l.simulator.Stats().Refused[taken]
	l.simulator.Inject(siem.Fault{Kind: siem.AcceptHang, Times: 1, Name: name})
	defer l.simulator.Inject(siem.Fault{Kind: siem.Heal, Name: name})
	for end := time.Now().Add(hanging); time.Now().Before(end) && l.simulator.Stats().Refused[taken] == before; {
		if !wait(ctx, look, nil) {
			return
		}
	}
}

// rotate revokes the credential and puts the new one into the secret at once. That it cannot be put is told by what
// comes of it: nothing is delivered any more.
func rotate(ctx context.Context, s *soak, l *lane) {
	l.simulator.Rotate()
	if err := s.cloud.PutSecret(ctx, l.Secret(), l.simulator.Secret()); err != nil {
		s.meters.note(err)
	}
}

// stopReading has the SIEM leave what its kernel takes unread for a while.
func stopReading(ctx context.Context, _ *soak, l *lane) {
	const name = "stops reading"
	l.simulator.Inject(siem.Fault{Kind: siem.AcceptHang, Name: name})
	defer l.simulator.Inject(siem.Fault{Kind: siem.Heal, Name: name})
	wait(ctx, hanging, nil)
}
