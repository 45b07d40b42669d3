package deadletter

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/internal/testkit/fakeaws"
)

func at(text string) time.Time {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		panic(err)
	}
	return t
}

func fill(t *testing.T, objects map[string]string) *Reader {
	t.Helper()
	store := &fakeaws.S3{}
	for key, body := range objects {
		store.Put(key, []byte(body))
	}
	reader, err := NewReader(store, "s3://bucket/dead-letters")
	if err != nil {
		t.Fatal(err)
	}
	return reader
}

func line(when, connector, reason, id string) string {
	r := Record{Time: at(when), Connector: connector, Error: reason, Body: []byte(`{"time":1}`), MessageID: id}
	return string(r.AppendLine(nil))
}

func TestEachChooses(t *testing.T) {
	reader := fill(t, map[string]string{
		"dead-letters/pending/connector=splunk/date=2026-03-13/a.jsonl": line("2026-03-13T10:00:00Z", "splunk", "status 400",
			"1") +
			"no line\n\n" + line("2026-03-14T00:30:00Z", "splunk", "status 503", "2"),
		"dead-letters/pending/connector=sumo/date=2026-03-14/b.jsonl": line("2026-03-14T10:00:00Z", "sumo", "Status 400",
			"3"),
		"dead-letters/pending/connector=sumo/date=2026-03-14/notes": "not ours",
		"dead-letters/replayed/connector=sumo/date=2026-03-14/c.jsonl": line("2026-03-14T10:00:00Z", "sumo", "status 400",
			"4"),
	})
	for _, c := range []struct {
		filter Filter
		want   string
		broken int
	}{
		{Filter{}, "1 2 3", 1},
		{Filter{Connector: "sumo"}, "3", 0},
		{Filter{Reason: "tatus 400"}, "1 3", 1},
		{Filter{From: at("2026-03-14T00:00:00Z")}, "2 3", 1},
		{Filter{To: at("2026-03-14T00:00:00Z")}, "1", 1},
		{Filter{From: at("2026-03-13T10:00:00Z"), To: at("2026-03-14T10:00:00Z")}, "1 2", 1},
		{Filter{MessageIDs: []string{"3", "x"}}, "3", 1},
		{Filter{MessageIDs: []string{"4"}}, "", 1},
	} {
		var got []string
		broken, err := reader.Each(t.Context(), c.filter, func(l *Letter) error {
			got = append(got, l.MessageID)
			return nil
		})
		slices.Sort(got)
		if strings.Join(got, " ") != c.want || broken != c.broken || err != nil {
			t.Errorf("%+v: %v, %d broken, %v; want %s, %d broken", c.filter, got, broken, err, c.want, c.broken)
		}
	}
}

func TestEachStops(t *testing.T) {
	objects := map[string]string{}
	for i := range 40 {
		objects[fmt.Sprintf("dead-letters/pending/connector=splunk/date=2026-03-13/%d.jsonl",
			i)] = line("2026-03-13T10:00:00Z", "splunk", "x", fmt.Sprint(i))
	}
	reader := fill(t, objects)
	taken := 0
	if _, err := reader.Each(t.Context(), Filter{}, func(*Letter) error { taken++; return SkipAll }); err != nil ||
		taken == 0 || taken > width {
		t.Errorf("%d taken, %v", taken, err)
	}
	broke := errors.New("disk full")
	if _, err := reader.Each(t.Context(), Filter{}, func(*Letter) error { return broke }); !errors.Is(err, broke) {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := reader.Each(ctx, Filter{}, func(*Letter) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if _, err := NewReader(nil, "bucket/x"); err == nil {
		t.Error("a path that is none was taken")
	}
}
