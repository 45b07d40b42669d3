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
	return Load{Events: 1e6, EventBytes: 1500, PerMessage: 1, SendBatch: 10, BatchFill: 100, Connectors: 1, MemoryMB: 256,
		Milliseconds: 300, Compression: UsualCompression, Region: "us-east-1"}
}

// TestByHand compares the model with numbers that were calculated by hand from the price lists.
func TestByHand(t *testing.T) {
	e := Of(usual())
	want := map[string]float64{
		"SQS send": 0.04, "SQS receive": 0.04, "SQS delete": 0.04, // 100,000 requests each
		"Lambda requests":      0.002,                         // 10,000
		"Lambda duration":      10000 * 0.3 / 4 * .0000133334, // 750 GB-s
		"logs and metrics":     10000 * 1140 * .5 / 1e9,
		"transfer to the SIEM": 10000 * (400 + 750 + 99*1500/8.5) * .09 / 1e9,
	}
	for _, i := range e.Single.PerMillion {
		if math.Abs(i.Dollars-want[i.Name]) > 1e-9 {
			t.Errorf("%s: %v, want %v", i.Name, i.Dollars, want[i.Name])
		}
		delete(want, i.Name)
	}
	if len(want) > 0 {
		t.Errorf("missing: %v", want)
	}
	if math.Abs(e.Single.TotalDollars-e.Single.MillionDollars-e.MonthlyDollars) > 1e-9 || e.UpTo != 1 {
		t.Errorf("%+v", e)
	}
	// 2 queues x 657,000 receives, a secret, 8,760 reads, 6 metrics
	if monthly := 2*657000*.4/1e6 + .4 + 8760*.05/1e4 + 6*.3; math.Abs(e.MonthlyDollars-monthly) > 1e-9 {
		t.Errorf("monthly %v, want %v", e.MonthlyDollars, monthly)
	}
}

// TestSeveralByHand: 100 events of 1,500 bytes are a message of 150,101 bytes. Six of them fit into a request, which is
// billed as 14 requests of 64 KiB. An invocation gets 400 events in four messages and makes four requests to the SIEM.
func TestSeveralByHand(t *testing.T) {
	l := usual()
	l.PerMessage, l.BatchFill, l.MemoryMB = 100, 400, 128
	want := map[string]float64{
		"SQS send":             10_000 / 6. * 14,
		"SQS receive":          10_000 / 4. * 10, // 600,404 bytes
		"SQS delete":           10_000 / 4.,
		"Lambda requests":      2500,
		"Lambda duration":      2500 * 4 * .3 / 8,
		"logs and metrics":     2500 * 1140 / 1e9,
		"transfer to the SIEM": 2500 * (4*(400+750) + 396*1500/8.5) / 1e9,
	}
	e := Of(l)
	for _, i := range e.Several.PerMillion {
		if math.Abs(i.Quantity/want[i.Name]-1) > 1e-9 {
			t.Errorf("%s: %v, want %v", i.Name, i.Quantity, want[i.Name])
		}
	}
	if e.Several.MillionDollars > e.Single.MillionDollars/2 || e.Single.EventsPerMessage != 1 ||
		e.Several.EventsPerMessage != 100 {
		t.Errorf("%+v", e)
	}
	// For excluded events, a filter saves the transfer and the requests to the SIEM, but no cost of SQS.
	l.Filtered, l.Events = 50, 2e6
	filtered := Of(l)
	saved := 2 * (e.Several.MillionDollars - filtered.Several.MillionDollars)
	if saved <= 0 || math.Abs(filtered.FilterDollars-saved) > 1e-9 ||
		filtered.Several.PerMillion[0] != e.Several.PerMillion[0] {
		t.Errorf("saved %v, reported %v", saved, filtered.FilterDollars)
	}
}

// TestDefaultPerMessage: producers fill a message with up to 100 events and 256 KiB.
func TestDefaultPerMessage(t *testing.T) {
	for bytes, want := range map[float64]float64{200: 100, 1500: 100, 10_000: 26, 300_000: 1} {
		if got := DefaultPerMessage(bytes); got != want {
			t.Errorf("events of %v bytes: %v, want %v", bytes, got, want)
		}
	}
}

// TestProvisioned: each of a poller's three limits applies somewhere.
func TestProvisioned(t *testing.T) {
	for _, c := range []struct {
		bytes, perMessage, milliseconds float64
		events                          float64
		limit                           string
	}{
		{1500, 1, 300, 200 * 100, "polls"},
		{50_000, 1, 300, 200 * 20, "1 MB/s"},
		{1500, 1, 30_000, 200 * 10 / 30. * 100, "invocations"},
		{1500, 100, 300, 200 * 1e6 / 150_101 * 100, "1 MB/s"},
	} {
		l := usual()
		l.EventBytes, l.PerMessage, l.Milliseconds, l.BatchFill = c.bytes, c.perMessage, c.milliseconds, 100*c.perMessage
		l.BatchFill = math.Min(l.BatchFill, 4000)
		if got := l.Provisioned(DefaultPollers); math.Abs(got.Events/c.events-1) > 1e-9 ||
			!strings.Contains(got.Limit, c.limit) {
			t.Errorf("%+v: %+v", c, got)
		}
	}
}

func TestWhatCostsMore(t *testing.T) {
	base := Of(usual())
	for name, change := range map[string]func(*Load){
		"large events are billed as several requests": func(l *Load) { l.EventBytes = 65537; l.Compression = 1000 },
		"events enqueued one at a time":               func(l *Load) { l.SendBatch = 1 },
		"batches of one event":                        func(l *Load) { l.BatchFill = 1 },
		"a slow SIEM":                                 func(l *Load) { l.Milliseconds = 3000 },
		"a second connector":                          func(l *Load) { l.Connectors = 2 },
		"no compression":                              func(l *Load) { l.Compression = 1 },
		"events that are rejected":                    func(l *Load) { l.DeadLetters = .1 },
	} {
		l := usual()
		change(&l)
		if e := Of(l).Single; e.MillionDollars <= base.Single.MillionDollars {
			t.Errorf("%s: %v is not more than %v", name, e.MillionDollars, base.Single.MillionDollars)
		}
	}
	l := usual()
	l.Region, l.Alarms = "sa-east-1", true
	if e := Of(l); e.UpTo <= 1 || e.MonthlyDollars <= base.MonthlyDollars ||
		!strings.Contains(strings.Join(e.Assumptions, "\n"), "sa-east-1") {
		t.Errorf("%+v", e)
	}
}

// TestLarge: large events take more requests and payloads.
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

// TestIdle: without events, there are no metrics and no reads of the secret.
func TestIdle(t *testing.T) {
	l := usual()
	l.Events, l.Alarms, l.Guard = 0, true, true
	metrics := float64(alarmsEach + alarmsShared + guardEach + guardShared)
	if want := 3*657000*.4/1e6 + .4 + metrics*.1; math.Abs(Of(l).Several.TotalDollars-want) > 1e-9 ||
		want > 2.6 {
		t.Errorf("%v, want %v", Of(l).Several.TotalDollars, want)
	}
}

// TestBusy: each busy instance reads the secret.
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
	l.EventBytes, l.BatchFill, l.Compression = 0, 4001, math.NaN()
	problems := strings.Join(l.Check(), "\n")
	for _, flag := range []string{"--bytes", "--batch", "--compression"} {
		if !strings.Contains(problems, flag) {
			t.Errorf("%s is not named in %q", flag, problems)
		}
	}
}

// TestAlarms compares the number of metrics that the alarms read with the model. Two loops repeat one metric.
func TestAlarms(t *testing.T) {
	text, err := os.ReadFile("../../../../template.yaml")
	if err != nil {
		t.Fatal(err)
	}
	shared, each, _ := strings.Cut(string(text), "Fn::ForEach::Connector:")
	const ages, functions = 2, 3 // Fn::ForEach::Age, Fn::ForEach::FunctionErrors
	_, down, _ := strings.Cut(each, "DownAlarm")
	down, _, _ = strings.Cut(down, "TreatMissingData")
	if got := strings.Count(down, "MetricName: "); got != guardEach {
		t.Errorf("the guard's alarm of a connector reads %d metrics, the model counts %d", got, guardEach)
	}
	if got := strings.Count(each, "MetricName: ") + ages - 1; got != alarmsEach+guardEach {
		t.Errorf("the alarms of a connector read %d metrics, the model counts %d", got, alarmsEach+guardEach)
	}
	if got := strings.Count(shared, "MetricName: ") + functions - 1; got != alarmsShared+guardShared {
		t.Errorf("the alarms of the stack read %d metrics, the model counts %d", got, alarmsShared+guardShared)
	}
}

// TestGuard: each connector adds at most $0.30 a month to the guard's price without events.
func TestGuard(t *testing.T) {
	l := usual()
	l.Events, l.Guard = 0, true
	price := func(connectors int) (dollars float64) {
		l.Connectors = connectors
		for _, i := range monthly(l) {
			if strings.HasPrefix(i.Name, "guard") {
				dollars += i.Dollars
			}
		}
		return dollars
	}
	if one, each := price(1), price(2)-price(1); each <= 0 || each > .30+1e-9 || math.Abs(one-each-.2628) > 1e-9 {
		t.Errorf("the guard costs $%.4f for a connector, and $%.4f for each further one", one, each)
	}
}

// TestTemplate compares the model's settings with the template's.
func TestTemplate(t *testing.T) {
	text, err := os.ReadFile("../../../../template.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for setting, want := range map[string]string{
		`(?m)^ +BatchSize: (\d\d+)$`:                       fmt.Sprint(batchMessages),
		`(?m)^ +MaximumBatchingWindowInSeconds: (.+)$`:     fmt.Sprint(window.Seconds()),
		`(?m)^  MaximumConcurrency: .*Default: "([0-9]+),`: fmt.Sprint(maximumConcurrency),
		`(?m)^  MemoryMegabytes: .*Default: ([0-9]+),`:     fmt.Sprint(DefaultMemoryMB),
		`(?m)^  MaxAttempts: .*Default: ([0-9]+),`:         fmt.Sprint(attempts),
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
