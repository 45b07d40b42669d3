package main

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/arbitex/siem-connectors/shared/deadletter"
)

// deadLetterGroup is the dead letters of one connector, one reason and one hour.
type deadLetterGroup struct {
	Connector string    `json:"connector"`
	Reason    string    `json:"reason"`
	Hour      time.Time `json:"hour"`
	Count     int       `json:"count"`
}

// deadLetterGroups counts dead letters.
type deadLetterGroups struct {
	counts map[deadLetterGroup]int
}

// add counts one.
func (g *deadLetterGroups) add(l *deadletter.Letter) {
	if g.counts == nil {
		g.counts = map[deadLetterGroup]int{}
	}
	g.counts[deadLetterGroup{Connector: l.Connector, Reason: groupReason(l.Error), Hour: l.Time.Truncate(time.Hour)}]++
}

// list gives the groups, the latest hour first, within it the largest first.
func (g *deadLetterGroups) list() []deadLetterGroup {
	list := make([]deadLetterGroup, 0, len(g.counts))
	for key, n := range g.counts {
		key.Count = n
		list = append(list, key)
	}
	slices.SortFunc(list, func(a, b deadLetterGroup) int {
		return cmp.Or(b.Hour.Compare(a.Hour), cmp.Compare(b.Count, a.Count), cmp.Compare(a.Connector, b.Connector),
			cmp.Compare(a.Reason, b.Reason))
	})
	return list
}

// total is how many were counted.
func (g *deadLetterGroups) total() (sum int) {
	for _, n := range g.counts {
		sum += n
	}
	return sum
}

// groupReason returns an error without the parts that differ between events: the quotation of the SIEM and the hint.
func groupReason(text string) string {
	text, _, _ = strings.Cut(text, `"`)
	text, _, _ = strings.Cut(text, "; ")
	text = strings.TrimRight(strings.TrimSpace(text), ":,")
	return cmp.Or(text, "(none given)")
}
