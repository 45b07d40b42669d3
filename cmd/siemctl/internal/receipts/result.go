package receipts

// Event is an event in a Result.
type Event struct {
	ID   string `json:"id"`
	Hash string `json:"content_hash"` // of the delivered event
	// Copies is how often the SIEM holds the event, Other how often it holds another content under the same id.
	Copies int `json:"copies,omitempty"`
	Other  int `json:"other_content,omitempty"`
}

// Result is the comparison of a Set with a SIEM.
type Result struct {
	Receipts    int `json:"receipts"`           // including repeated ones
	Delivered   int `json:"delivered"`          // different events
	Present     int `json:"present"`            // with their content, or with the part that the SIEM holds
	Missing     int `json:"missing"`            // the SIEM has nothing under the id
	Repeated    int `json:"present_repeatedly"` // present more than once
	Altered     int `json:"altered"`            // the SIEM has only another content under the id
	NotCompared int `json:"content_not_compared"`
	Others      int `json:"without_receipt"` // events of the search that have no receipt in the window

	Lists `json:"-"`
}

// Lists names the events of a Result.
type Lists struct {
	MissingEvents  []Event `json:"missing"`
	RepeatedEvents []Event `json:"present_repeatedly"`
	AlteredEvents  []Event `json:"altered"`
}

// Result compares. NotCompared is part of Present: the SIEM holds the event, but not its whole content.
func (s *Set) Result() Result {
	s.sort()
	r := Result{Receipts: s.receipts, Delivered: len(s.entries), Others: s.others}
	for from := 0; from < len(s.entries); {
		to := from + 1
		for to < len(s.entries) && string(s.id(to)) == string(s.id(from)) {
			to++
		}
		s.addGroup(&r, from, to)
		from = to
	}
	r.Missing, r.Repeated, r.Altered = len(r.MissingEvents), len(r.RepeatedEvents), len(r.AlteredEvents)
	return r
}

// addGroup adds the entries of one id. A copy with another content counts as the altered copy of an entry that has no
// exact copy; if every entry has one, it is one more event with the same id.
func (s *Set) addGroup(r *Result, from, to int) {
	other := int(s.entries[from].other)
	for i := from; i < to; i++ {
		if s.entries[i].copies > 0 {
			continue
		}
		if other > 0 {
			other--
			r.AlteredEvents = append(r.AlteredEvents, s.event(i, 1))
		} else {
			r.MissingEvents = append(r.MissingEvents, s.event(i, 0))
		}
	}
	if altered := len(r.AlteredEvents); other > 0 && altered > 0 && r.AlteredEvents[altered-1].ID == string(s.id(from)) {
		r.AlteredEvents[altered-1].Other += other
		other = 0
	}
	for i := from; i < to; i++ {
		e := &s.entries[i]
		if e.copies == 0 {
			continue
		}
		r.Present++
		if !e.compared {
			r.NotCompared++
		}
		if e.copies > 1 || other > 0 {
			r.RepeatedEvents = append(r.RepeatedEvents, s.event(i, other))
			other = 0
		}
	}
}

func (s *Set) event(i, other int) Event {
	e := &s.entries[i]
	return Event{ID: string(s.id(i)), Hash: Digits(e.hash), Copies: int(e.copies), Other: other}
}
