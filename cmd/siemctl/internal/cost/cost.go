// Package cost estimates what the connectors cost in AWS: so much for every million events, and so much a month for being
// there. It is a model, not a bill: every number it rests on is among the assumptions that it returns, without any free
// tier, and the SIEM's own price is not in it.
package cost

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// The prices, in US dollars, of us-east-1 as of 2026.
const (
	sqsRequest       = 0.40 / 1e6   // standard queue: https://aws.amazon.com/sqs/pricing/
	lambdaRequest    = 0.20 / 1e6   // https://aws.amazon.com/lambda/pricing/
	lambdaGBSecond   = 0.0000133334 // arm64, first tier: the same page
	secretMonth      = 0.40         // https://aws.amazon.com/secrets-manager/pricing/
	secretCall       = 0.05 / 1e4   // the same page
	metricMonth      = 0.30         // custom metric, first 10,000: https://aws.amazon.com/cloudwatch/pricing/
	alarmMonth       = 0.10         // a metric of an alarm of standard resolution: the same page
	logGigabyte      = 0.50         // ingested: the same page
	transferGigabyte = 0.09         // out to the internet, first 10 TB: https://aws.amazon.com/ec2/pricing/on-demand/
	s3Write          = 0.005 / 1e3  // PUT, COPY, POST, LIST; DELETE is free: https://aws.amazon.com/s3/pricing/
	s3Read           = 0.0004 / 1e3 // GET: the same page
)

const (
	// sqsChunk is how much payload is one request of the bill: https://aws.amazon.com/sqs/pricing/
	sqsChunk = 64 << 10
	// atOnceMost and sendBytes are SQS's limits of a batch request: messages, and bytes in all.
	// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
	atOnceMost, sendBytes = 10, 1 << 20
	// batchMost is the template's BatchSize.
	batchMost = 100
	// payloadBytes is the largest payload of an invocation, recordBytes what SQS puts around a body in it.
	// https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
	payloadBytes, recordBytes = 6 << 20, 700
	// idlePollers times pollsMinute are the receives of a queue in which nothing comes: Lambda keeps five long polls of 20 s.
	// https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html
	idlePollers, pollsMinute = 5, 3

	// logOwn is what a connector writes of a batch: a log line and a line of metrics. logLambda is START, END and REPORT, and
	// what CloudWatch adds to each line, about.
	logOwn, logLambda = 900, 500
	logBatch          = logOwn + logLambda
	// requestHead is what a request to the SIEM has besides its events: line and headers.
	requestHead = 400
	// firstRatio is what gzip makes of the first event of a request, which has nothing before it to be like.
	firstRatio = 2
	// metricsEach is how many custom metrics a connector has: nine of its batches, one of held batches, three of its dead letters.
	metricsEach = 13
	// alarmsEach and alarmsShared are the metrics that the alarms of alarms.yaml and template.yaml read: one that computes is
	// billed for each of them.
	alarmsEach, alarmsShared = 12, 4
	// secretReadsHour is how often an instance that is never idle reads its secret: every five minutes.
	secretReadsHour = 12
	// drainMost and ledgerMost are how many dead letters make one object, and one entry in the replay's ledger, at most.
	drainMost, ledgerMost = 100, 500

	hoursMonth = 730
	million    = 1e6
)

// Regions that cost about what us-east-1 does, and how much more any other may: AWS's price lists differ by service, and
// "10 to 25 % more" is the rule they keep.
const otherRegions = 1.25

var baseRegions = [...]string{"us-east-1", "us-east-2", "us-west-2"}

// UsualCompression is the ratio that the connectors reach with generated events, counted in a run.
const UsualCompression = 7

// Load is what is estimated.
type Load struct {
	Events       float64 // a month
	EventBytes   float64 // mean size
	SendBatch    float64 // events in one SendMessageBatch of the platform, 1 to 10
	BatchFill    float64 // events a function gets at once, 1 to 100
	Connectors   int
	MemoryMB     float64
	Milliseconds float64 // one invocation, mostly waiting for the SIEM
	Compression  float64 // what gzip makes of all but a request's first event: bytes of events to one on the wire
	DeadLetters  float64 // events of a hundred that the SIEM refuses; each is put back once
	Alarms       bool
	Region       string
}

// Item is one line of the estimate.
type Item struct {
	Name     string  `json:"name"`
	Quantity float64 `json:"quantity"`
	Unit     string  `json:"unit"`
	Dollars  float64 `json:"dollars"`
}

// Estimate is the result. Dollars are those of us-east-1; UpTo is the factor that another region may add.
type Estimate struct {
	PerMillion     []Item   `json:"per_million_events"` // of one connector
	Monthly        []Item   `json:"monthly"`            // of all connectors, whatever comes
	MillionDollars float64  `json:"million_dollars"`    // all connectors
	MonthlyDollars float64  `json:"monthly_dollars"`    // the fixed part
	TotalDollars   float64  `json:"total_dollars"`      // a month with so many events
	UpTo           float64  `json:"up_to"`
	Assumptions    []string `json:"assumptions"`
}

// Check names every value that cannot be.
func (l *Load) Check() []string {
	var problems []string
	for _, c := range []struct {
		flag      string
		value     float64
		low, high float64
	}{
		{"--events", l.Events, 0, 1e15},
		{"--bytes", l.EventBytes, 1, 1 << 20},
		{"--send-batch", l.SendBatch, 1, 10},
		{"--batch", l.BatchFill, 1, 100},
		{"--memory", l.MemoryMB, 128, 10240},
		{"--milliseconds", l.Milliseconds, 1, 900_000},
		{"--compression", l.Compression, 1, 1000},
		{"--dead-letters", l.DeadLetters, 0, 100},
	} {
		if !(c.value >= c.low && c.value <= c.high) { // NaN is neither
			problems = append(problems, fmt.Sprintf("%s: expected a number from %v to %v, found %v", c.flag, int64(c.low), int64(c.high), c.value))
		}
	}
	return problems
}

// Of makes the estimate.
func Of(l Load) Estimate {
	e := Estimate{PerMillion: perMillion(l), Monthly: monthly(l), UpTo: 1, Assumptions: assumptions(l)}
	e.MillionDollars = sum(e.PerMillion) * float64(l.Connectors)
	e.MonthlyDollars = sum(e.Monthly)
	e.TotalDollars = e.MillionDollars*l.Events/million + e.MonthlyDollars
	if !slices.Contains(baseRegions[:], l.Region) {
		e.UpTo = otherRegions
	}
	return e
}

func sum(items []Item) (dollars float64) {
	for _, i := range items {
		dollars += i.Dollars
	}
	return dollars
}

func item(name string, quantity float64, unit string, price float64) Item {
	return Item{name, quantity, unit, quantity * price}
}

// requests is how many requests the bill counts for events moved so many at a time.
func requests(l Load, atOnce float64) float64 {
	return million / atOnce * math.Max(1, math.Ceil(atOnce*l.EventBytes/sqsChunk))
}

// sent is how many events the platform enqueues at once: not more than fit.
func (l *Load) sent() float64 {
	return math.Min(l.SendBatch, math.Max(1, math.Floor(sendBytes/l.EventBytes)))
}

// fill is how many events a function gets at once: not more than fit.
func (l *Load) fill() float64 {
	return math.Min(l.BatchFill, math.Max(1, math.Floor(payloadBytes/(l.EventBytes+recordBytes))))
}

// received is how many events one receive brings. Before a full batch there is a queue that has ten. A batch that is not
// full has waited for its events: each receive brings what was enqueued together.
func (l *Load) received() float64 {
	most := float64(atOnceMost)
	if l.BatchFill < batchMost {
		most = l.sent()
	}
	return math.Min(most, l.fill())
}

// wire is how many bytes a batch is on its way to the SIEM.
func (l *Load) wire() float64 {
	first := math.Min(firstRatio, l.Compression)
	return requestHead + l.EventBytes/first + (l.fill()-1)*l.EventBytes/l.Compression
}

// gigabyteSeconds is what so many invocations are billed for.
func (l *Load) gigabyteSeconds(invocations float64) float64 {
	return invocations * l.Milliseconds / 1000 * l.MemoryMB / 1024
}

// perMillion is what a million events cost on one connector's way.
func perMillion(l Load) []Item {
	batches := million / l.fill()
	items := []Item{
		item("SQS send", requests(l, l.sent()), "requests", sqsRequest),
		item("SQS receive", requests(l, l.received()), "requests", sqsRequest),
		item("SQS delete", million/math.Min(atOnceMost, l.fill()), "requests", sqsRequest),
		item("Lambda requests", batches, "invocations", lambdaRequest),
		item("Lambda duration", l.gigabyteSeconds(batches), "GB-seconds", lambdaGBSecond),
		item("logs and metrics", batches*logBatch/1e9, "GB", logGigabyte),
		item("transfer to the SIEM", batches*l.wire()/1e9, "GB", transferGigabyte),
	}
	if l.DeadLetters > 0 {
		items = append(items, deadLetters(l)...)
	}
	return items
}

// deadLetters is what the refused of a million events cost on top: to the dead-letter queue, from there to S3, and back by
// one replay, which brings them to the connector in full batches. Those that are refused together stay together.
func deadLetters(l Load) []Item {
	share := l.DeadLetters / 100
	n := million * share
	together := math.Max(1, l.fill()*share)
	objects := n / math.Min(drainMost, together)
	back := l
	back.BatchFill = batchMost
	invocations := objects + n/back.fill()
	aside := requests(l, math.Min(atOnceMost, together))*2 + million/math.Min(atOnceMost, together) // send, receive, delete
	again := requests(l, math.Min(atOnceMost, back.fill()))*2 + million/math.Min(atOnceMost, back.fill())
	return []Item{
		item("dead letters: SQS", (aside+again)*share, "requests", sqsRequest),
		item("dead letters: Lambda requests", invocations, "invocations", lambdaRequest),
		item("dead letters: Lambda duration", l.gigabyteSeconds(invocations), "GB-seconds", lambdaGBSecond),
		item("dead letters: S3 writes", objects*2+n/ledgerMost, "requests", s3Write), // each object put, and later moved
		item("dead letters: S3 reads", objects, "requests", s3Read),
	}
}

// instances is how many instances of a function are busy on average, at least one.
func (l *Load) instances() float64 {
	const month = hoursMonth * 3600
	return math.Max(1, math.Ceil(l.Events/l.fill()*l.Milliseconds/1000/month))
}

// monthly is what it costs to have the connectors deployed.
func monthly(l Load) []Item {
	n := float64(l.Connectors)
	items := []Item{
		item("SQS polling", (n+1)*idlePollers*pollsMinute*60*hoursMonth, "requests", sqsRequest), // and the dead-letter queue
		item("secrets", n, "secrets", secretMonth),
		item("reading secrets", n*l.instances()*secretReadsHour*hoursMonth, "calls", secretCall),
		item("custom metrics", n*metricsEach, "metrics", metricMonth),
	}
	if l.Alarms {
		items = append(items, item("alarms", n*alarmsEach+alarmsShared, "metrics", alarmMonth))
	}
	return items
}

func assumptions(l Load) []string {
	list := []string{
		"prices of us-east-1 as of 2026, without any free tier: check https://calculator.aws before you rely on them",
		fmt.Sprintf("events of %.0f bytes, enqueued %.0f at a time, delivered %.0f at a time; SQS counts every 64 KiB as a request", l.EventBytes, l.sent(), l.fill()),
		fmt.Sprintf("functions of %.0f MB that take %.0f ms a batch, most of it waiting for the SIEM", l.MemoryMB, l.Milliseconds),
		fmt.Sprintf("%g bytes of events make one byte on the wire, of a request's first event %g; %d bytes of headers a request; it leaves AWS over the internet, and NAT gateways, endpoints and VPNs cost extra",
			l.Compression, math.Min(firstRatio, l.Compression), requestHead),
		fmt.Sprintf("about %d bytes of logs a batch, metrics included", logBatch),
		"each event is delivered at the first attempt; each further attempt costs a receive, a change of visibility, Lambda and transfer again",
		"queues are polled all the time, as Lambda does; custom metrics are counted in full, though only the hours in which they are written are billed",
		fmt.Sprintf("instances of a connector that are busy at once, and read the secret %d times an hour: %.0f", secretReadsHour, l.instances()),
		"customer-managed keys, and the SIEM's own price, are not counted",
	}
	if l.DeadLetters > 0 {
		list = append(list, fmt.Sprintf("%g of a hundred events are refused, wait in S3, and are put back once; finding them among their neighbours takes more time of the function, which is not counted, nor is S3's storage", l.DeadLetters))
	} else {
		list = append(list, "no event is refused: S3, and the two functions around it, cost nothing")
	}
	if !slices.Contains(baseRegions[:], l.Region) {
		list = append(list, fmt.Sprintf("%s is not among %s: its prices are mostly the same, and at most about %.0f %% higher",
			l.Region, strings.Join(baseRegions[:], ", "), (otherRegions-1)*100))
	}
	return list
}
