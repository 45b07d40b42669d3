package main

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/shared/deadletter"
)

func TestGroups(t *testing.T) {
	var g deadLetterGroups
	for i, reason := range []string{
		`status 400, code 6: "Invalid data format"; hint`, `status 400, code 6: "Other words"`, "connection refused", "",
	} {
		g.add(&deadletter.Letter{Record: deadletter.Record{Connector: "splunk", Error: reason,
			Time: time.Date(2026, 3, 13, 10, 0, 0, 0, time.UTC).Add(time.Duration(i) * 20 * time.Minute)}})
	}
	var got []string
	for _, group := range g.list() {
		got = append(got, fmt.Sprintf("%s %s %d", group.Hour.Format("15h"), group.Reason, group.Count))
	}
	want := []string{"11h (none given) 1", "10h status 400, code 6 2", "10h connection refused 1"}
	if !slices.Equal(got, want) || g.total() != 4 {
		t.Errorf("%q, %d; want %q", got, g.total(), want)
	}
}
