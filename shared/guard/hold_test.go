package guard

import (
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
)

func fullHold() Hold {
	at := time.Date(2026, 3, 13, 10, 0, 0, 0, time.UTC)
	return Hold{
		State: Replaying, Since: at, At: at.Add(time.Hour), Next: at.Add(2 * time.Hour), Wait: MaxWait, Interval: MaxInterval,
		Failures: 239, Trials: 99, Concurrency: 1000, BatchSize: 10000, Reduced: true, Sent: 1773396000000,
		Message: strings.Repeat("x", 48),
	}
}

func TestHoldFitsIntoATag(t *testing.T) {
	h := fullHold()
	tag := h.String()
	if len(tag) > 256 || !regexp.MustCompile(`^[a-zA-Z0-9 +=._:/@-]+$`).MatchString(tag) {
		t.Errorf("%d characters: %s", len(tag), tag)
	}
	again, err := ParseHold(tag)
	if err != nil || !reflect.DeepEqual(*again, h) {
		t.Errorf("%+v %v, want %+v", again, err, h)
	}
}

func TestParseHold(t *testing.T) {
	h, err := ParseHold("held  later=x wait=0 interval=999999999 since=2026-03-13T10:00:00Z")
	if err != nil || h.Wait != FirstWait || h.Interval != MaxWait || h.Since.Hour() != 10 {
		t.Errorf("%+v %v", h, err)
	}
	for _, tag := range []string{"", "   ", "sleeping since=2026-03-13T10:00:00Z", "held since=today", "held wait=long",
		"held failures=", "since=2026-03-13T10:00:00Z"} {
		if h, err := ParseHold(tag); err == nil {
			t.Errorf("%q: %+v", tag, h)
		}
	}
}

func TestMessageID(t *testing.T) {
	if id := "5fea7756-0ea4-451a-a703-a558b933e274"; MessageID(id) != id {
		t.Error(MessageID(id))
	}
	for _, id := range []string{"", "a b", strings.Repeat("x", 49), "a=b"} {
		if got := MessageID(id); got == id || !taggable.MatchString(got) || got == MessageID(id+"!") {
			t.Errorf("%q: %q", id, got)
		}
	}
}

func FuzzParseHold(f *testing.F) {
	h := fullHold()
	f.Add(h.String())
	f.Add("held since=2026-03-13T10:00:00Z wait=-1 wait=99999999999999999999")
	f.Fuzz(func(t *testing.T, tag string) {
		h, err := ParseHold(tag)
		if err != nil {
			return
		}
		if h.Wait < 0 || h.Wait > MaxWait || h.Interval < 0 || h.Interval > MaxWait {
			t.Errorf("%+v", h)
		}
	})
}
