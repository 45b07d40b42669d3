package catalog

import (
	"time"

	"github.com/arbitex/siem-connectors/emulator/siem"
)

// Act is one step of a script: a fault begins or ends.
type Act struct {
	At time.Duration // earliest time since the first event was enqueued
	// what the SIEM must have refused since the previous act, by Stats().Refused; "": nothing. See [Patience]
	After string
	Dead  int    // number of dead letters that it must have caused by then, as After
	Say   string // description, after the SIEM's name: "is down: 503 to everything"
	Do    func(*Stage)
}

// Patience is the time that an act waits for its condition: on a slow machine everything is late, and a fault without a
// request shows nothing.
const Patience = 20 * time.Second

// Ready reports whether the act's After has occurred between two states of the SIEM.
func (a Act) Ready(before, now siem.Stats) bool {
	return a.After == "" || now.Refused[a.After] > before.Refused[a.After]
}

// Stage is what an act can change.
type Stage struct {
	SIEM siem.Simulator
	// Poison is the id of an enqueued event.
	Poison string
	// Distinct reports whether all enqueued events have different ids.
	Distinct bool
	// Publish stores the SIEM's current credential in its secret.
	Publish func()
}

// PoisonFault is the name of the fault that must be healed before the refused event can be replayed.
const PoisonFault = "poison"

func poison(s *Stage) {
	s.SIEM.Inject(siem.Fault{Kind: siem.Poison, Name: PoisonFault, Match: func(id string) bool { return id == s.Poison }})
}

// begin injects faults.
func begin(faults ...siem.Fault) func(*Stage) {
	return func(s *Stage) {
		for _, f := range faults {
			s.SIEM.Inject(f)
		}
	}
}

// end heals the faults with that name.
func end(name string) func(*Stage) { return begin(siem.Fault{Kind: siem.Heal, Name: name}) }

func revoke(s *Stage) { s.SIEM.Rotate() }

func publish(s *Stage) { s.Publish() }

// both runs two functions.
func both(first, second func(*Stage)) func(*Stage) {
	return func(s *Stage) {
		first(s)
		second(s)
	}
}
