package cost

import (
	"fmt"
	"math"
	"os"
	"regexp"
	"strings"
	"testing"
)

func usual() Load {
	return Load{Events: 1e6, EventBytes: 1500, SendBatch: 10, BatchFill: 100, Connectors: 1, MemoryMB: 256, Milliseconds: 300, Compression: UsualCompression, Region: "us-east-1"}
}

// TestByHand holds the model against numbers worked out on paper from the price lists.
func TestByHand(t *testing.T) {
	e := Of(usual())
	want := map[string]float64{
		"SQS send": 0.04, "SQS receive": 0.04, "SQS delete": 0.04, // 100,000 requests each
		"Lambda requests":      0.002,                         // 10,000
		"Lambda duration":      10000 * 0.3 / 4 * .0000133334, // 750 GB-s
		"logs and metrics":     0.007,
		"transfer to the SIEM": 10000 * (400 + 750 + 99*1500/7.) * .09 / 1e9,
	}
	for _, i := range e.PerMillion {
		if math.Abs(i.Dollars-want[i.Name]) > 1e-9 {
			t.Errorf("%s: %v, want %v", i.Name, i.Dollars, want[i.Name])
		}
		delete(want, i.Name)
	}
	if len(want) > 0 {
		t.Errorf("missing: %v", want)
	}
	if math.Abs(e.TotalDollars-e.MillionDollars-e.MonthlyDollars) > 1e-9 || e.UpTo != 1 {
		t.Errorf("%+v", e)
	}
	// 2 queues x 657,000 receives, a secret, 8,760 reads, 13 metrics
	if monthly := 2*657000*.4/1e6 + .4 + 8760*.05/1e4 + 13*.3; math.Abs(e.MonthlyDollars-monthly) > 1e-9 {
		t.Errorf("monthly %v, want %v", e.MonthlyDollars, monthly)
	}
}

func TestWhatMakesItDearer(t *testing.T) {
	base := Of(usual())
	for name, change := range map[string]func(*Load){
		"large events count as several requests": func(l *Load) { l.EventBytes = 65537; l.Compression = 1000 },
		"events enqueued one at a time":          func(l *Load) { l.SendBatch = 1 },
		"batches hardly filled":                  func(l *Load) { l.BatchFill = 1 },
		"a slow SIEM":                            func(l *Load) { l.Milliseconds = 3000 },
		"a second connector":                     func(l *Load) { l.Connectors = 2 },
		"no compression":                         func(l *Load) { l.Compression = 1 },
		"events that are refused":                func(l *Load) { l.DeadLetters = .1 },
	} {
		l := usual()
		change(&l)
		if e := Of(l); e.MillionDollars <= base.MillionDollars {
			t.Errorf("%s: %v is not more than %v", name, e.MillionDollars, base.MillionDollars)
		}
	}
	l := usual()
	l.Region, l.Alarms = "sa-east-1", true
	if e := Of(l); e.UpTo <= 1 || e.MonthlyDollars <= base.MonthlyDollars || !strings.Contains(strings.Join(e.Assumptions, "\n"), "sa-east-1") {
		t.Errorf("%+v", e)
	}
}

// TestLarge: what does not fit into a request or a payload goes in more of them.
func TestLarge(t *testing.T) {
	l := usual()
	l.EventBytes = 900_000
	want := map[string]float64{
		"SQS send":        14e6,     // one a request, of 14 x 64 KiB
		"SQS receive":     83e6 / 6, // six a batch, and 83 x 64 KiB
		"SQS delete":      million / 6,
		"Lambda requests": million / 6,
	}
	for _, i := range perMillion(l) {
		if n, ok := want[i.Name]; ok && math.Abs(i.Quantity-n) > 1 {
			t.Errorf("%s: %.0f, want %.0f", i.Name, i.Quantity, n)
		}
	}
}

// TestBusy: a function that is busy in more than one instance reads its secret in each.
func TestBusy(t *testing.T) {
	l := usual()
	l.Events = 100 * 730 * 3600 / .3 * 2.5 // batches of 100 that take 300 ms, two and a half at a time
	if n := l.instances(); n != 3 {
		t.Errorf("%v instances, want 3", n)
	}
}

func TestCheck(t *testing.T) {
	l := usual()
	if problems := l.Check(); problems != nil {
		t.Errorf("%v", problems)
	}
	l.EventBytes, l.BatchFill, l.Compression = 0, 101, math.NaN()
	problems := strings.Join(l.Check(), "\n")
	for _, flag := range []string{"--bytes", "--batch", "--compression"} {
		if !strings.Contains(problems, flag) {
			t.Errorf("%s is not named in %q", flag, problems)
		}
	}
}

// TestAlarms: the template's alarms read as many metrics as the model counts.
func TestAlarms(t *testing.T) {
	for file, want := range map[string]int{"alarms.yaml": alarmsEach, "template.yaml": alarmsShared} {
		text, err := os.ReadFile("../../../../" + file)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Count(string(text), "MetricName: "); got != want {
			t.Errorf("the alarms of %s read %d metrics, the model counts %d", file, got, want)
		}
	}
}

// TestTemplate: what the model takes for granted is what the template deploys.
func TestTemplate(t *testing.T) {
	text, err := os.ReadFile("../../../../template.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for setting, want := range map[string]string{
		`(?m)^ +BatchSize: (.+)$`:                                     fmt.Sprint(batchMost),
		`(?m)^ +MaximumBatchingWindowInSeconds: (.+)$`:                fmt.Sprint(window.Seconds()),
		`(?m)^  MaximumConcurrency:(?:\n    .+)*\n    Default: (.+)$`: fmt.Sprint(maximumConcurrency),
		`(?m)^  MemoryMegabytes:(?:\n    .+)*\n    Default: (.+)$`:    fmt.Sprint(memoryMB),
		`(?m)^  MaxAttempts:(?:\n    .+)*\n    Default: (.+)$`:        fmt.Sprint(attempts),
		`(?m)^  BackoffInitialSeconds:\n.*\n.*Empty = ([0-9]+)`:       fmt.Sprint(backoffInitial.Seconds()),
		`(?m)^  BackoffMaxSeconds:\n.*\n.*Empty = ([0-9]+)`:           fmt.Sprint(backoffMax.Seconds()),
		`(?m)^  RequestTimeoutSeconds:\n.*\n.*Empty = ([0-9]+)`:       fmt.Sprint(requestTimeout.Seconds()),
	} {
		found := regexp.MustCompile(setting).FindAllStringSubmatch(string(text), -1)
		if len(found) == 0 {
			t.Errorf("the template has no %s", setting)
		}
		for _, m := range found {
			if m[1] != want {
				t.Errorf("the template says %q, want %s", m[0], want)
			}
		}
	}
}
