package catalog

import (
	"time"

	"github.com/arbitex/siem-connectors/emulator/siem"
)

// Act is one turn of a script: something goes wrong, or is put right.
type Act struct {
	At    time.Duration // since the first event was enqueued, at the earliest
	After string        // what the SIEM must have refused since the act before, by Stats().Refused; "" = nothing. See [Patience]
	Dead  int           // how many dead letters it must have caused by then, as After
	Say   string        // what it is, after the SIEM's name: "is down: 503 to everything"
	Do    func(*Stage)
}

// Patience is how long an act waits for what it is to come after: on a slow machine everything comes late, and a fault that
// nobody has met is not shown.
const Patience = 20 * time.Second

// Ready tells whether the act's After has come about between two looks at the SIEM.
func (a Act) Ready(before, now siem.Stats) bool {
	return a.After == "" || now.Refused[a.After] > before.Refused[a.After]
}

// Stage is what an act plays on.
type Stage struct {
	SIEM siem.Simulator
	// Poison is the id of an event among those enqueued.
	Poison string
	// Distinct tells that every event enqueued has an id of its own.
	Distinct bool
	// Publish puts the SIEM's present credential into its secret.
	Publish func()
}

// PoisonFault is the name of the fault that must be healed before the poisoned event can be replayed.
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

// end heals the faults of that name.
func end(name string) func(*Stage) { return begin(siem.Fault{Kind: siem.Heal, Name: name}) }

func revoke(s *Stage) { s.SIEM.Rotate() }

func publish(s *Stage) { s.Publish() }

// both does one after the other.
func both(first, second func(*Stage)) func(*Stage) {
	return func(s *Stage) {
		first(s)
		second(s)
	}
}
