// Package receipts compares what the functions have delivered with what a SIEM holds. A receipt is the id and the
// content hash of one delivered event; the functions write receipts to their logs. A Set takes the receipts of a
// window, then the events that the SIEM's search returns, and reports which events are missing, present more than once,
// or altered.
//
// A Set takes 24 bytes for each event, and the bytes of its id (at most 64).
package receipts

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// Line is one line of receipts in a function's log.
type Line struct {
	Stack     string      `json:"stack"`
	Connector string      `json:"connector"`
	At        time.Time   `json:"at"`
	Request   string      `json:"request"` // id of the invocation
	Delivered [][2]string `json:"delivered"`
}

// Parse reads a line of a log. The second result is false for any other line.
func Parse(line string) (Line, bool) {
	if !strings.HasPrefix(line, `{"receipt":`) {
		return Line{}, false
	}
	var l struct {
		Receipt *Line `json:"receipt"`
	}
	if json.Unmarshal([]byte(line), &l) != nil || l.Receipt == nil {
		return Line{}, false
	}
	return *l.Receipt, true
}

// Hash is the content hash of a receipt as a number: 16 hex digits.
func Hash(digits string) (uint64, error) {
	var b [8]byte
	if len(digits) != 16 {
		return 0, fmt.Errorf("content hash: expected 16 hex digits, found %q", digits)
	}
	if _, err := hex.Decode(b[:], []byte(digits)); err != nil {
		return 0, fmt.Errorf("content hash: %w", err)
	}
	return binary.BigEndian.Uint64(b[:]), nil
}

// Digits is the inverse of Hash.
func Digits(hash uint64) string { return fmt.Sprintf("%016x", hash) }

// Found is an event that the SIEM's search returned.
type Found struct {
	ID   string
	Hash uint64 // content hash; 0 if the SIEM does not hold the content, or a hash of it
	// Whole reports whether Hash is that of everything that the connector sent, so that another hash means another
	// content. False for an event of which the SIEM holds only a part.
	Whole  bool
	Copies int // how often the SIEM holds it
}

// entry is one delivered event.
type entry struct {
	hash     uint64
	offset   uint32 // of the id in Set.ids
	length   uint8
	compared bool   // a whole copy was compared
	copies   uint16 // with this content, or of which the SIEM holds a part
	other    uint16 // copies with another content; counted at the id's first entry
}

// Set is the delivered events of a window, and what the SIEM holds of them.
type Set struct {
	ids     []byte
	entries []entry
	sorted  bool

	receipts int // added
	others   int // events of the SIEM without a receipt
}

// ErrTooMany means that a window has more receipts than a Set takes.
var ErrTooMany = errors.New("too many receipts: choose a shorter window")

// Add adds the receipt of an event.
func (s *Set) Add(id string, hash uint64) error {
	if len(id) > math.MaxUint8 {
		return fmt.Errorf("event id: expected at most %d bytes, found %d", math.MaxUint8, len(id))
	}
	if len(s.ids)+len(id) > math.MaxUint32 {
		return ErrTooMany
	}
	e := entry{hash: hash, offset: uint32(len(s.ids)), length: uint8(len(id))} //nolint:gosec // checked above
	s.entries = append(s.entries, e)
	s.ids = append(s.ids, id...)
	s.receipts++
	s.sorted = false
	return nil
}

// Receipts is the number of receipts added. An event that was delivered twice has two.
func (s *Set) Receipts() int { return s.receipts }

// Len is the number of different events.
func (s *Set) Len() int {
	s.sort()
	return len(s.entries)
}

// Each calls yield for every event, in the order of the ids, until it returns false.
func (s *Set) Each(yield func(id string, hash uint64) bool) {
	s.sort()
	for i := range s.entries {
		if !yield(string(s.id(&s.entries[i])), s.entries[i].hash) {
			return
		}
	}
}

func (s *Set) id(e *entry) []byte { return s.ids[e.offset : e.offset+uint32(e.length)] }

// sort orders the entries by id and hash, and removes repeated ones.
func (s *Set) sort() {
	if s.sorted {
		return
	}
	compare := func(a, b entry) int {
		return cmp.Or(bytes.Compare(s.id(&a), s.id(&b)), cmp.Compare(a.hash, b.hash))
	}
	slices.SortFunc(s.entries, compare)
	s.entries = slices.CompactFunc(s.entries, func(a, b entry) bool { return compare(a, b) == 0 })
	s.sorted = true
}

// group returns the entries that have the id. They follow each other from a position on.
func (s *Set) group(id []byte, from int) []entry {
	to := from
	for to < len(s.entries) && bytes.Equal(s.id(&s.entries[to]), id) {
		to++
	}
	return s.entries[from:to]
}

// Reset forgets what the SIEM holds, for another search.
func (s *Set) Reset() {
	for i := range s.entries {
		e := &s.entries[i]
		e.copies, e.other, e.compared = 0, 0, false
	}
	s.others = 0
}

// Take compares an event of the SIEM.
func (s *Set) Take(f Found) {
	s.sort()
	id := []byte(f.ID)
	from, _ := slices.BinarySearchFunc(s.entries, id, func(e entry, id []byte) int {
		return bytes.Compare(s.id(&e), id)
	})
	group := s.group(id, from)
	if len(group) == 0 {
		s.others += f.Copies
		return
	}
	if i := slices.IndexFunc(group, func(e entry) bool { return e.hash == f.Hash }); i >= 0 {
		group[i].copies = plus(group[i].copies, f.Copies)
		group[i].compared = group[i].compared || f.Whole
		return
	}
	if f.Whole {
		group[0].other = plus(group[0].other, f.Copies)
		return
	}
	free := max(0, slices.IndexFunc(group, func(e entry) bool { return e.copies == 0 }))
	group[free].copies = plus(group[free].copies, f.Copies)
}

// plus adds without overflow.
func plus(n uint16, more int) uint16 { return uint16(min(int(n)+more, math.MaxUint16)) } //nolint:gosec // bounded

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
		group := s.group(s.id(&s.entries[from]), from)
		s.addGroup(&r, group)
		from += len(group)
	}
	r.Missing, r.Repeated, r.Altered = len(r.MissingEvents), len(r.RepeatedEvents), len(r.AlteredEvents)
	return r
}

// addGroup adds the entries of one id. A copy with another content counts as the altered copy of an entry that has no
// exact copy; if every entry has one, it is one more event with the same id.
func (s *Set) addGroup(r *Result, group []entry) {
	other, before := int(group[0].other), len(r.AlteredEvents)
	for i := range group {
		if group[i].copies > 0 {
			continue
		}
		if other > 0 {
			other--
			r.AlteredEvents = append(r.AlteredEvents, s.event(&group[i], 1))
		} else {
			r.MissingEvents = append(r.MissingEvents, s.event(&group[i], 0))
		}
	}
	if altered := len(r.AlteredEvents); altered > before {
		r.AlteredEvents[altered-1].Other += other
		other = 0
	}
	for i := range group {
		e := &group[i]
		if e.copies == 0 {
			continue
		}
		r.Present++
		if !e.compared {
			r.NotCompared++
		}
		if e.copies > 1 || other > 0 {
			r.RepeatedEvents = append(r.RepeatedEvents, s.event(e, other))
			other = 0
		}
	}
}

func (s *Set) event(e *entry, other int) Event {
	return Event{ID: string(s.id(e)), Hash: Digits(e.hash), Copies: int(e.copies), Other: other}
}
