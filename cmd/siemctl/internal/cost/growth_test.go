package cost

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/term"
	sentinel "github.com/arbitex/siem-connectors/functions/sentinel/connector"
	xsiam "github.com/arbitex/siem-connectors/functions/xsiam/connector"
	"github.com/arbitex/siem-connectors/internal/ocsfgen"
	"github.com/arbitex/siem-connectors/shared/connectors"
	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/event"
	"github.com/arbitex/siem-connectors/shared/lambdahost"
	"github.com/arbitex/siem-connectors/shared/settings"
	"github.com/arbitex/siem-connectors/shared/sqsbatch"
)

// AWS's limits.
const (
	// lambdaAtOnce is how many invocations an account has at once in a region, by default.
	// https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
	lambdaAtOnce = 1000
	// mappingAtOnce is the most that MaximumConcurrency may be.
	// https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html
	mappingAtOnce = 1000
	// inFlight is how many messages of a queue may be received and not deleted.
	// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-queues.html
	inFlight = 120_000
)

// The template's settings, which TestTemplate compares, and how many connectors there are.
const (
	maximumConcurrency         = 5
	window                     = 5 * time.Second
	attempts                   = 5
	backoffInitial, backoffMax = time.Second, 300 * time.Second
	requestTimeout             = 10 * time.Second
)

// The limits that SIEMs give a number for.
const (
	// https://learn.microsoft.com/azure/azure-monitor/fundamentals/service-limits#logs-ingestion-api
	sentinelRequests, sentinelBytes = 12_000. / 60, 2e9 / 60
	// https://docs-cortex.paloaltonetworks.com/r/Cortex-XSIAM/Cortex-XSIAM-Documentation/Set-up-an-HTTP-log-collector-to-receive-logs
	xsiamRequests, xsiamEvents = 400., 80_000.
)

// atRate is the load of a constant rate of events. The platform sends the events of a second together, at most ten, and
// an invocation gets the events of one batching window.
func atRate(perSecond float64, connectors int) Load {
	send := math.Max(1, math.Min(maxSend, perSecond))
	return Load{Events: perSecond * hoursMonth * 3600, EventBytes: 1500, PerMessage: 1, SendBatch: send,
		BatchFill:  math.Max(send, math.Min(batchMessages, perSecond*window.Seconds())),
		Connectors: connectors, MemoryMB: DefaultMemoryMB, Milliseconds: float64(latency.Milliseconds()),
		Compression: UsualCompression, Alarms: true, Guard: true, Region: "us-east-1"}
}

// TestGrowth compares the computed tables of docs/costs.md with the model.
func TestGrowth(t *testing.T) {
	document(t, "costs.md", "month", monthTable())
	document(t, "costs.md", "limits", limitsTable())
	document(t, "costs.md", "siems", siemsTable(t))
}

// monthTable states the price of a month.
func monthTable() string {
	var b strings.Builder
	b.WriteString("| events per day | per batch | 1 connector | 7 | per million events and connector |\n" +
		"|---:|---:|---:|---:|---:|\n")
	for _, day := range []float64{1, 10_000, 1e6, 10e6, 100e6} {
		l := atRate(day/86400, 1)
		fmt.Fprintf(&b, "| %s | %.0f |", short(day), l.BatchFill)
		for _, connectors := range []int{1, len(connectors.Names())} {
			fmt.Fprintf(&b, " $%s |", dollars(Of(atRate(day/86400, connectors)).Single.TotalDollars))
		}
		fmt.Fprintf(&b, " $%s |\n", dollars(Of(l).Single.MillionDollars))
	}
	return b.String()
}

// dollars writes a price with cents, a large one without.
func dollars(x float64) string {
	if x < 100 {
		return fmt.Sprintf("%.2f", x)
	}
	return short(x)
}

// events is the number of events per second for a number of concurrent full batches.
func events(atOnce float64) float64 { return atOnce * batchMessages / latency.Seconds() }

// hidden is how long an event is in flight until its attempts are used up, without the requests themselves.
func hidden() (all time.Duration) {
	backoff := sqsbatch.Backoff{Attempts: attempts, Initial: backoffInitial, Max: backoffMax}
	for attempt := 1; !backoff.Exhausted(attempt); attempt++ {
		all += backoff.Wait(attempt, nil)
	}
	return all
}

// limitRow is a line of the table of limits.
type limitRow struct {
	rate       float64
	what, then string
}

// several is the load of full messages of several events.
func several() Load {
	l := atRate(1000, 1)
	l.PerMessage, l.BatchFill = DefaultPerMessage(l.EventBytes), 4000
	return l
}

// provisionedRow is what the default number of pollers delivers in provisioned mode.
func provisionedRow(l Load) limitRow {
	t := l.Provisioned(DefaultPollers)
	return limitRow{
		t.Events,
		fmt.Sprintf("%d provisioned pollers (the default), %s in a message: "+
			"[%s](https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html)", t.Pollers,
			term.Count(int64(l.perMessage()), "event"), t.Limit),
		"more pollers",
	}
}

// limitsTable states at how many events per second each limit of AWS applies.
func limitsTable() string {
	var b strings.Builder
	b.WriteString("| events per second | limit | then |\n|---:|---|---|\n")
	rows := []limitRow{
		{
			maximumConcurrency * batchMessages / requestTimeout.Seconds() / attempts,
			fmt.Sprintf("the SIEM does not respond: each of %d batches of %d waits %.0f s, %d times", maximumConcurrency,
				batchMessages, requestTimeout.Seconds(), attempts),
			"further events wait in the queue",
		},
		{
			inFlight / hidden().Seconds(),
			fmt.Sprintf("the SIEM refuses every request: events are in flight for %.0f s, and [%s messages may be in "+
				"flight](https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-queues.html)",
				hidden().Seconds(), short(inFlight)),
			"further events wait in the queue",
		},
		{
			events(maximumConcurrency), fmt.Sprintf("`MaximumConcurrency` %d", maximumConcurrency),
			"set it to events per second × seconds per batch / 100",
		},
		{
			events(lambdaAtOnce / float64(len(connectors.Names()))),
			fmt.Sprintf("[%s concurrent invocations](https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html) "+
				"per account, shared by %d connectors", short(lambdaAtOnce), len(connectors.Names())),
			"a larger quota",
		},
		provisionedRow(atRate(1000, 1)),
		provisionedRow(several()),
		{
			events(mappingAtOnce), fmt.Sprintf("[the largest `MaximumConcurrency`, "+
				"%s](https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html)", short(mappingAtOnce)),
			"provisioned mode, or a second queue",
		},
	}
	slices.SortStableFunc(rows, func(a, b limitRow) int { return cmp.Compare(a.rate, b.rate) })
	for _, r := range rows {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", short(r.rate), r.what, r.then)
	}
	return b.String()
}

// siemsTable states how many events per second the SIEMs with a documented limit accept.
func siemsTable(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("| SIEM | limit | our events per second | `MaximumConcurrency` for this rate |\n" +
		"|---|---|---:|---:|\n")
	row := func(name, limit string, rate float64, perRequest float64) {
		fmt.Fprintf(&b, "| %s | %s | %s | %.0f |\n", name, limit, short(rate), math.Ceil(rate/perRequest*latency.Seconds()))
	}
	s := encode(t, sentinel.Open, map[string]string{
		"SENTINEL_TENANT_ID": "11111111-1111-1111-1111-111111111111",
		"SENTINEL_CLIENT_ID": "22222222-2222-2222-2222-222222222222", "SENTINEL_CLIENT_SECRET": "s",
		"SENTINEL_DCR_ENDPOINT": "https://x.ingest.monitor.azure.com",
		"SENTINEL_DCR_RULE_ID":  "dcr-00000000000000000000000000000000", "SENTINEL_DCR_STREAM_NAME": "Custom-ArbitexAudit_CL",
	})
	x := encode(t, xsiam.Open, map[string]string{"XSIAM_URL": "https://api-t.xsiam.paloaltonetworks.com",
		"XSIAM_API_KEY": "k", "XSIAM_API_KEY_ID": "7"})
	row("Sentinel, one rule", fmt.Sprintf("2 GB a minute; 12,000 requests allow %s", short(sentinelRequests*s.perRequest)),
		sentinelBytes/s.bytes, s.perRequest)
	row("XSIAM, one collector", fmt.Sprintf("400 requests a second; the limit of events is %s", short(xsiamEvents)),
		xsiamRequests*x.perRequest, x.perRequest)
	return b.String()
}

// encoded is the average size of events in a connector's format.
type encoded struct {
	bytes      float64 // a record with its separator
	perRequest float64 // of a full batch
}

// encode encodes events of usual size and packs them by the connector's limits.
func encode(t *testing.T, open lambdahost.OpenFunc, env map[string]string) encoded {
	t.Helper()
	s := settings.New(func(name string) string { return env[name] }, nil)
	c := open(s)
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	var all, n float64
	parser, made := new(event.Parser), ocsfgen.New(1)
	for range 2000 {
		var e event.Event
		body := made.Next()
		if len(body) > 4000 {
			continue // one in thirty, which would make the others look large
		}
		if err := parser.Parse(body, &e); err != nil {
			t.Fatal(err)
		}
		record, _, err := c.Append(nil, &e)
		if err != nil {
			t.Fatal(err)
		}
		all, n = all+float64(len(record)+len(c.Format().Separator)), n+1
	}
	return encoded{all / n, perRequest(c.Format(), all/n)}
}

// perRequest is how many of a full batch's records a request contains on average.
func perRequest(f deliver.Format, bytes float64) float64 {
	requests := 1.
	if f.MaxBytes > 0 {
		requests = math.Ceil(batchMessages * bytes / float64(f.MaxBytes))
	}
	if f.MaxRecords > 0 {
		requests = math.Max(requests, math.Ceil(batchMessages/float64(f.MaxRecords)))
	}
	return batchMessages / requests
}

// TestGrowthByHand compares the inputs of the tables with numbers that were calculated by hand.
func TestGrowthByHand(t *testing.T) {
	for name, got := range map[string][2]float64{
		"events of five batches at once": {events(5), 5000 / 3.},
		"waits of an event":              {hidden().Seconds(), 1 + 7 + 45 + 300},
		"records of a kilobyte":          {perRequest(deliver.Format{MaxBytes: 1 << 20}, 1000), 100},
		"records of ten":                 {perRequest(deliver.Format{MaxBytes: 1 << 20}, 10_500), 50},
		"no more than forty":             {perRequest(deliver.Format{MaxRecords: 40}, 1), 100 / 3.},
		"a batch of ten a second":        {atRate(10, 1).BatchFill, 50},
		"a batch of one a day":           {atRate(1/86400., 1).BatchFill, 1},
	} {
		if math.Abs(got[0]-got[1]) > 1e-9 {
			t.Errorf("%s: %g, want %g", name, got[0], got[1])
		}
	}
}
