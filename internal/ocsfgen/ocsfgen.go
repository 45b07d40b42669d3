// Package ocsfgen makes audit events as an AI-governance platform sends them: OCSF 1.1.0, one compact JSON object each,
// valid by the schema, in the four classes 6003 API Activity, 2001 Security Finding, 3002 Authentication and 3004
// Entity Management. One seed makes the same events every time; no two events of one seed have the same metadata.uid.
//
// The events are awkward on purpose, as the world is: quotes, backslashes, pipes, equals signs, line breaks,
// bidirectional text, emoji, unnecessary escapes, numbers that change when they are parsed and printed again. Most
// are 700 to 1,500 bytes, one in forty is a few kilobytes more, one in four hundred about 80 KB.
//
// Schema: https://schema.ocsf.io/1.1.0/
package ocsfgen

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"time"
)

// start is the time before the first event when no clock is given: 2026-03-13T00:00:00Z in Unix milliseconds.
const start = 1_773_360_000_000

// Generator makes events. It is not safe for concurrent use.
type Generator struct {
	// Now gives the events their time. When nil, time begins at 2026-03-13T00:00:00Z and passes by a random step of up to
	// two seconds with each event, so that the bytes depend on the seed alone.
	Now func() time.Time

	random *rand.Rand
	clock  time.Time
	count  uint64
}

// New returns a generator; equal seeds make equal events.
func New(seed uint64) *Generator {
	return &Generator{random: rand.New(rand.NewPCG(seed, 0x0c5f)), clock: time.UnixMilli(start)}
}

// Next returns the next event, without a line break at its end. The caller owns the bytes.
func (g *Generator) Next() []byte {
	g.count++
	var e *event
	switch n := g.random.IntN(100); {
	case n < 64:
		e = g.apiActivity()
	case n < 78:
		e = g.securityFinding()
	case n < 91:
		e = g.authentication()
	default:
		e = g.entityManagement()
	}
	g.enlarge(e)
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(e); err != nil { // only a slip in the tables of this package can cause it
		panic(fmt.Sprintf("encoding a generated event: %v", err))
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n"))
}

// common fills what every class has. activity is the activity's id, profiles those the class needs for its attributes.
func (g *Generator) common(class, category, activity int, activityName string, profiles ...string) *event {
	severity := pick(g, severities)
	now := g.time().UnixMilli()
	return &event{
		ClassUID: class, CategoryUID: category, ActivityID: activity, ActivityName: activityName, TypeUID: class*100 +
			activity,
		Time: now, TimezoneOffset: pick(g, []int{0, 0, 60, 120, -300, 330}),
		SeverityID: severity.id, Severity: severity.caption,
		Message: pick(g, messages),
		Metadata: metadata{
			UID: g.uid(), Version: "1.1.0", Profiles: profiles, LoggedTime: now + g.random.Int64N(400),
			Product:   product{Name: "AI Gateway", VendorName: "Arbitex", Version: "3.18.2"},
			TenantUID: pick(g, tenants),
		},
		Unmapped: g.unmapped(),
	}
}

func (g *Generator) time() time.Time {
	if g.Now != nil {
		return g.Now()
	}
	g.clock = g.clock.Add(time.Duration(g.random.Int64N(2000)) * time.Millisecond)
	return g.clock
}

// uid is a UUID whose last group counts, so that two of one generator can never be the same.
func (g *Generator) uid() string {
	a, b := g.random.Uint64(), g.random.Uint64()
	return fmt.Sprintf("%08x-%04x-4%03x-%04x-%012x", uint32(a>>32), uint16(a>>16), a&0xfff, 0x8000|b&0x3fff, g.count)
}

// id is a short identifier as the platform makes them.
func (g *Generator) id(prefix string) string {
	return fmt.Sprintf("%s_%010x", prefix, g.random.Uint64()>>24)
}

// enlarge gives some events an excerpt of the conversation.
func (g *Generator) enlarge(e *event) {
	var size int
	switch n := g.random.IntN(400); {
	case n == 0:
		size = 80_000
	case n <= 10:
		size = 3_000 + g.random.IntN(20_000)
	default:
		return
	}
	var excerpt bytes.Buffer
	for excerpt.Len() < size {
		excerpt.WriteString(pick(g, excerpts))
	}
	e.Unmapped.Excerpt = excerpt.String()
}

func pick[T any](g *Generator, from []T) T { return from[g.random.IntN(len(from))] }
