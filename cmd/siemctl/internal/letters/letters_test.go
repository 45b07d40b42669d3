package letters

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/shared/deadletter"
	"github.com/arbitex/siem-connectors/shared/deadletter/deadlettertest"
)

func at(text string) time.Time {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		panic(err)
	}
	return t
}

func fill(t *testing.T, objects map[string]string) *Box {
	t.Helper()
	store := &deadlettertest.S3{}
	for key, body := range objects {
		store.Put(key, []byte(body))
	}
	box, err := Open(store, "s3://bucket/dead-letters")
	if err != nil {
		t.Fatal(err)
	}
	return box
}

func line(when, connector, reason, id string) string {
	r := deadletter.Record{Time: at(when), Connector: connector, Error: reason, Body: []byte(`{"time":1}`), MessageID: id}
	return string(r.AppendLine(nil))
}

func TestEachChooses(t *testing.T) {
	box := fill(t, map[string]string{
		"dead-letters/pending/connector=splunk/date=2026-03-13/a.jsonl": line("2026-03-13T10:00:00Z", "splunk", "status 400", "1") +
			"no line\n\n" + line("2026-03-14T00:30:00Z", "splunk", "status 503", "2"),
		"dead-letters/pending/connector=sumo/date=2026-03-14/b.jsonl":  line("2026-03-14T10:00:00Z", "sumo", "Status 400", "3"),
		"dead-letters/pending/connector=sumo/date=2026-03-14/notes":    "not ours",
		"dead-letters/replayed/connector=sumo/date=2026-03-14/c.jsonl": line("2026-03-14T10:00:00Z", "sumo", "status 400", "4"),
	})
	for _, c := range []struct {
		filter Filter
		want   string
		broken int
	}{
		{Filter{}, "1 2 3", 1},
		{Filter{Connector: "sumo"}, "3", 0},
		{Filter{Reason: "STATUS 400"}, "1 3", 1},
		{Filter{From: at("2026-03-14T00:00:00Z")}, "2 3", 1},
		{Filter{To: at("2026-03-14T00:00:00Z")}, "1", 1},
		{Filter{From: at("2026-03-13T10:00:00Z"), To: at("2026-03-14T10:00:00Z")}, "1 2", 1},
		{Filter{MessageIDs: []string{"3", "2"}}, "2 3", 1},
		{Filter{MessageIDs: []string{"4"}}, "", 1},
	} {
		var got []string
		broken, err := box.Each(t.Context(), c.filter, func(l *Letter) error {
			got = append(got, l.MessageID)
			return nil
		})
		slices.Sort(got)
		if strings.Join(got, " ") != c.want || broken != c.broken || err != nil {
			t.Errorf("%+v: %v, %d broken, %v; want %s, %d broken", c.filter, got, broken, err, c.want, c.broken)
		}
	}
}

// TestPutBack: what the ledger has is left out, where the object is noted as put back in part.
func TestPutBack(t *testing.T) {
	const tail = "connector=splunk/date=2026-03-13/"
	both := line("2026-03-13T10:00:00Z", "splunk", "x", "1") + line("2026-03-13T10:00:00Z", "splunk", "x", "2")
	first := identOf("1")
	objects := map[string]string{
		"dead-letters/pending/" + tail + "a.jsonl": both, "dead-letters/pending/" + tail + "b.jsonl": both,
		"dead-letters/partial/" + tail + "a.jsonl/1": "", "dead-letters/ledger/" + tail + "call-0.ids": string(first[:]) + "cut off",
	}
	var got []string
	_, err := fill(t, objects).Each(t.Context(), Filter{Connector: "splunk"}, func(l *Letter) error {
		got = append(got, l.Key[len(l.Key)-len("a.jsonl"):]+" "+l.MessageID)
		return nil
	})
	slices.Sort(got)
	if want := []string{"a.jsonl 2", "b.jsonl 1", "b.jsonl 2"}; !slices.Equal(got, want) || err != nil {
		t.Errorf("%q, %v; want %q", got, err, want)
	}
}

func TestEachStops(t *testing.T) {
	objects := map[string]string{}
	for i := range 40 {
		objects[fmt.Sprintf("dead-letters/pending/connector=splunk/date=2026-03-13/%d.jsonl", i)] = line("2026-03-13T10:00:00Z", "splunk", "x", fmt.Sprint(i))
	}
	box := fill(t, objects)
	taken := 0
	if _, err := box.Each(t.Context(), Filter{}, func(*Letter) error { taken++; return ErrEnough }); err != nil || taken == 0 || taken > readers {
		t.Errorf("%d taken, %v", taken, err)
	}
	broke := errors.New("disk full")
	if _, err := box.Each(t.Context(), Filter{}, func(*Letter) error { return broke }); !errors.Is(err, broke) {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := box.Each(ctx, Filter{}, func(*Letter) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if _, err := Open(nil, "bucket/x"); err == nil {
		t.Error("a path that is none was taken")
	}
}

func TestGroups(t *testing.T) {
	var g Groups
	for i, reason := range []string{
		`status 400, code 6: "Invalid data format"; hint`, `status 400, code 6: "Other words"`, "connection refused", "",
	} {
		g.Add(&Letter{Record: deadletter.Record{Connector: "splunk", Error: reason, Time: at("2026-03-13T10:00:00Z").Add(time.Duration(i) * 20 * time.Minute)}})
	}
	var got []string
	for _, group := range g.List() {
		got = append(got, fmt.Sprintf("%s %s %d", group.Hour.Format("15h"), group.Reason, group.Count))
	}
	want := []string{"11h (none given) 1", "10h status 400, code 6 2", "10h connection refused 1"}
	if !slices.Equal(got, want) || g.Total() != 4 {
		t.Errorf("%q, %d; want %q", got, g.Total(), want)
	}
}
