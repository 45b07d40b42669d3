package letters

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Group is the dead letters of one connector, one reason and one hour.
type Group struct {
	Connector string    `json:"connector"`
	Reason    string    `json:"reason"`
	Hour      time.Time `json:"hour"`
	Count     int       `json:"count"`
}

// Groups counts dead letters.
type Groups struct {
	counts map[Group]int
}

// Add counts one.
func (g *Groups) Add(l *Letter) {
	if g.counts == nil {
		g.counts = map[Group]int{}
	}
	g.counts[Group{Connector: l.Connector, Reason: Reason(l.Error), Hour: l.Time.Truncate(time.Hour)}]++
}

// List gives the groups, the latest hour first, within it the largest first.
func (g *Groups) List() []Group {
	list := make([]Group, 0, len(g.counts))
	for key, n := range g.counts {
		key.Count = n
		list = append(list, key)
	}
	slices.SortFunc(list, func(a, b Group) int {
		return cmp.Or(b.Hour.Compare(a.Hour), cmp.Compare(b.Count, a.Count), cmp.Compare(a.Connector, b.Connector), cmp.Compare(a.Reason, b.Reason))
	})
	return list
}

// Total is how many were counted.
func (g *Groups) Total() (total int) {
	for _, n := range g.counts {
		total += n
	}
	return total
}

// Reason is an error without what differs from event to event: the SIEM's own words, which are quoted, and the hint.
func Reason(text string) string {
	text, _, _ = strings.Cut(text, `"`)
	text, _, _ = strings.Cut(text, "; ")
	text = strings.TrimRight(strings.TrimSpace(text), ":,")
	return cmp.Or(text, "(none given)")
}
