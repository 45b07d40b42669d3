// Package cost estimates what the connectors cost in AWS: per million events, and per month independent of the number
// of events. It is a model, not a bill. Its prices are in prices.go, its formulas in this file, and a test compares it
// with a run that counts every request.
package cost

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

const (
	// sqsChunk is the payload of one billed request, in bytes: https://aws.amazon.com/sqs/pricing/
	sqsChunk = 64 << 10
	// maxSend and sendBytes limit a batch request to SQS: messages, and bytes in all.
	// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
	maxSend, sendBytes = 10, 1 << 20
	// batchMessages is the template's BatchSize, and requestEvents the largest request to a SIEM, in events.
	batchMessages, requestEvents = 100, 100
	// payloadBytes is the largest payload of an invocation, recordBytes what SQS adds to each message in it.
	// https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
	payloadBytes, recordBytes = 6 << 20, 700
	// messageBytes and messageEvents are the producers' defaults for several events in a message.
	messageBytes, messageEvents = 256 << 10, 100
	// Lambda keeps five long polls of 20 s on a queue without messages.
	// https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html
	idlePollers, pollsMinute = 5, 3

	// logOwn is the bytes that a connector logs for a batch: a log line and a line of metrics. logLambda is START, END
	// and REPORT, and the bytes that CloudWatch adds to each line.
	logOwn, logLambda = 640, 500
	logBatch          = logOwn + logLambda
	// requestHead is the request line and the headers of a request to the SIEM.
	requestHead = 400
	// firstRatio is the compression ratio of the first event of a request, which shares nothing with an earlier one.
	firstRatio = 2
	// metricsEach is the number of custom metrics that a connector writes with each batch that is delivered. They are
	// billed for the hours in which they are written.
	metricsEach = 6
	// alarmsEach and alarmsShared are the numbers of metrics that the alarms of a connector and of the stack read,
	// guardEach and guardShared those of the guard in addition. An alarm on an expression is billed for each metric in it.
	alarmsEach, alarmsShared = 6, 4
	guardEach, guardShared   = 3, 1
	// secretReadsHour is how often a busy instance reads its secret: every five minutes.
	secretReadsHour = 12
	// drainMost and ledgerMost are the most dead letters in one object, and in one entry of the replay's ledger.
	drainMost, ledgerMost = 100, 500

	hoursMonth = 730
	polls      = idlePollers * pollsMinute * 60 * hoursMonth // of a queue, a month
	million    = 1e6
)

// otherRegions is the most by which another region is usually more expensive than baseRegions.
const otherRegions = 1.25

var baseRegions = [...]string{"us-east-1", "us-east-2", "us-west-2"}

// DefaultMemoryMB is the template's MemoryMegabytes.
const DefaultMemoryMB = 128

// UsualCompression is the ratio that the connectors reach with generated events. It was counted in a run.
const UsualCompression = 8.5

// Load is the input of the model.
type Load struct {
	Events       float64 // a month
	EventBytes   float64 // mean size
	PerMessage   float64 // events in a message, 1 to 4,000
	SendBatch    float64 // messages in one SendMessageBatch of the platform, 1 to 10
	BatchFill    float64 // events in an invocation, 1 to 4,000; at most what the messages of a batch hold
	Connectors   int
	MemoryMB     float64
	Milliseconds float64 // one request to the SIEM
	Compression  float64 // bytes of events to one byte on the wire, except for a request's first event
	DeadLetters  float64 // percentage of events that the SIEM rejects; each is replayed once
	Filtered     float64 // percentage of events that SIEM_MIN_SEVERITY or SIEM_CLASSES excludes
	Alarms       bool
	Guard        bool
	Region       string
}

// Item is one line of the estimate.
type Item struct {
	Name     string  `json:"name"`
	Quantity float64 `json:"quantity"`
	Unit     string  `json:"unit"`
	Dollars  float64 `json:"dollars"`
}

// Form is the estimate for one form of message.
type Form struct {
	EventsPerMessage float64 `json:"events_per_message"`
	PerMillion       []Item  `json:"per_million_events"` // of one connector
	MillionDollars   float64 `json:"million_dollars"`    // all connectors
	TotalDollars     float64 `json:"total_dollars"`      // a month with the given events
}

// Estimate is the result, in US dollars in us-east-1. UpTo is the factor that another region may add.
type Estimate struct {
	Single         Form     `json:"one_event_per_message"`
	Several        Form     `json:"several_events_per_message"`
	Monthly        []Item   `json:"monthly"` // of all connectors, in addition to the price per event
	MonthlyDollars float64  `json:"monthly_dollars"`
	FilterDollars  float64  `json:"filter_saves_dollars"` // a month, with several events per message
	UpTo           float64  `json:"up_to"`
	PricesAsOf     string   `json:"prices_as_of"`
	Prices         []Price  `json:"prices"`
	Assumptions    []string `json:"assumptions"`
}

// Check names every value that is out of range.
func (l *Load) Check() []string {
	var problems []string
	for _, c := range []struct {
		flag      string
		value     float64
		low, high float64
	}{
		{"--events", l.Events, 0, 1e15},
		{"--bytes", l.EventBytes, 1, 1 << 20},
		{"--per-message", l.PerMessage, 1, 4000},
		{"--send-batch", l.SendBatch, 1, 10},
		{"--batch", l.BatchFill, 1, 4000},
		{"--memory", l.MemoryMB, 128, 10240},
		{"--milliseconds", l.Milliseconds, 1, 900_000},
		{"--compression", l.Compression, 1, 1000},
		{"--dead-letters", l.DeadLetters, 0, 100},
		{"--filtered", l.Filtered, 0, 100},
	} {
		if !(c.value >= c.low && c.value <= c.high) { // also false for NaN
			problems = append(problems, fmt.Sprintf("%s: expected a number from %v to %v, found %v", c.flag, int64(c.low),
				int64(c.high), c.value))
		}
	}
	return problems
}

// DefaultPerMessage is how many events of a size the producers put into a message.
func DefaultPerMessage(eventBytes float64) float64 {
	return math.Max(1, math.Min(messageEvents, math.Floor(messageBytes/math.Max(1, eventBytes))))
}

// Of makes the estimate.
func Of(l Load) Estimate {
	single, unfiltered := l, l
	single.PerMessage, unfiltered.Filtered = 1, 0
	e := Estimate{Single: form(single), Several: form(l), Monthly: monthly(l), UpTo: 1, PricesAsOf: PricesAsOf,
		Prices: Prices(), Assumptions: assumptions(l)}
	e.MonthlyDollars = sum(e.Monthly)
	e.FilterDollars = (form(unfiltered).MillionDollars - e.Several.MillionDollars) * l.Events / million
	e.Single.TotalDollars += e.MonthlyDollars
	e.Several.TotalDollars += e.MonthlyDollars
	if !slices.Contains(baseRegions[:], l.Region) {
		e.UpTo = otherRegions
	}
	return e
}

func form(l Load) Form {
	items := perMillion(l)
	dollars := sum(items) * float64(l.Connectors)
	return Form{l.perMessage(), items, dollars, dollars * l.Events / million}
}

func sum(items []Item) (dollars float64) {
	for _, i := range items {
		dollars += i.Dollars
	}
	return dollars
}

func item(name string, quantity float64, unit string, price Price) Item {
	return Item{name, quantity, unit, quantity * price.per()}
}

// chunks is how many requests the bill counts for one request with a payload of so many bytes.
func chunks(bytes float64) float64 { return math.Max(1, math.Ceil(bytes/sqsChunk)) }

// perMessage is the number of events in a message, limited by its size and by the events that arrive together.
func (l *Load) perMessage() float64 {
	return math.Max(1, math.Min(math.Min(l.PerMessage, l.BatchFill), math.Floor(sendBytes/(l.EventBytes+1))))
}

// body is the size of a message: a JSON array has brackets and commas.
func (l *Load) body() float64 {
	if n := l.perMessage(); n > 1 {
		return n*(l.EventBytes+1) + 1
	}
	return l.EventBytes
}

// sent is the number of messages that the platform sends in one request, limited by the size of a request.
func (l *Load) sent() float64 {
	return math.Min(l.SendBatch, math.Max(1, math.Floor(sendBytes/l.body())))
}

// batch is the number of messages in an invocation, limited by the size of a payload.
func (l *Load) batch() float64 {
	messages := math.Max(1, l.BatchFill/l.perMessage())
	return math.Min(math.Min(messages, batchMessages), math.Max(1, math.Floor(payloadBytes/(l.body()+recordBytes))))
}

// fill is the number of events in an invocation.
func (l *Load) fill() float64 { return l.batch() * l.perMessage() }

// received is how many messages one receive returns. Full batches come from a queue with a backlog, so a receive
// returns as many messages as it may. Otherwise a receive returns what was sent together.
func (l *Load) received() float64 {
	most := float64(maxSend)
	if l.batch() < batchMessages && l.batch() < math.Floor(payloadBytes/(l.body()+recordBytes)) {
		most = l.sent()
	}
	return math.Min(most, l.batch())
}

// delivered is how many events of an invocation go to the SIEM.
func (l *Load) delivered() float64 { return l.fill() * (1 - l.Filtered/100) }

// requests is how many requests to the SIEM an invocation makes.
func (l *Load) requests() float64 { return math.Ceil(l.delivered() / requestEvents) }

// wire is how many bytes an invocation sends to the SIEM.
func (l *Load) wire() float64 {
	first := math.Min(firstRatio, l.Compression)
	return l.requests()*(requestHead+l.EventBytes/first) + math.Max(0,
		l.delivered()-l.requests())*l.EventBytes/l.Compression
}

// gigabyteSeconds is the billed duration of requests to the SIEM, which an invocation makes one after the other.
func (l *Load) gigabyteSeconds(requests float64) float64 {
	return requests * l.Milliseconds / 1000 * l.MemoryMB / 1024
}

// perMillion is what a million events cost in one connector.
func perMillion(l Load) []Item {
	p, messages, invocations := table(), million/l.perMessage(), million/l.fill()
	items := []Item{
		item("SQS send", messages/l.sent()*chunks(l.sent()*l.body()), "requests", p.sqsRequest),
		item("SQS receive", messages/l.received()*chunks(l.received()*l.body()), "requests", p.sqsRequest),
		item("SQS delete", messages/math.Min(maxSend, l.batch()), "requests", p.sqsRequest),
		item("Lambda requests", invocations, "invocations", p.lambdaRequest),
		item("Lambda duration", l.gigabyteSeconds(invocations*math.Max(1, l.requests())), "GB-seconds", p.lambdaSecond),
		item("logs and metrics", invocations*logBatch/1e9, "GB", p.logs),
		item("transfer to the SIEM", invocations*l.wire()/1e9, "GB", p.transfer),
	}
	if l.DeadLetters > 0 {
		items = append(items, deadLetters(l)...)
	}
	return items
}

// deadLetters is what the rejected events among a million cost in addition: one message each to the dead-letter queue,
// one object in S3 for those that are rejected together, and one replay in full batches.
func deadLetters(l Load) []Item {
	p, share := table(), l.DeadLetters/100
	n, together := million*share, math.Max(1, l.fill()*share)
	objects := n / math.Min(drainMost, together)
	back := l
	back.PerMessage, back.BatchFill = 1, batchMessages
	invocations := objects + n/back.fill()
	sqs := func(atOnce float64) float64 { // send, receive and delete
		atOnce = math.Min(maxSend, atOnce)
		return n / atOnce * (2*chunks(atOnce*l.EventBytes) + 1)
	}
	return []Item{
		item("dead letters: SQS", sqs(together)+sqs(back.fill()), "requests", p.sqsRequest),
		item("dead letters: Lambda requests", invocations, "invocations", p.lambdaRequest),
		item("dead letters: Lambda duration", l.gigabyteSeconds(invocations), "GB-seconds", p.lambdaSecond),
		// each object is written, and moved later
		item("dead letters: S3 writes", objects*2+n/ledgerMost, "requests", p.s3Write),
		item("dead letters: S3 reads", objects, "requests", p.s3Read),
	}
}

// invocations is the number of invocations of one connector in a month.
func (l *Load) invocations() float64 { return l.Events / l.fill() }

// instances is how many instances of a function are busy on average, at least one.
func (l *Load) instances() float64 {
	const month = hoursMonth * 3600
	return math.Max(1, math.Ceil(l.invocations()*math.Max(1, l.requests())*l.Milliseconds/1000/month))
}

// monthly is what the connectors cost in a month in addition to the price per event. Metrics and secret reads depend on
// whether there are events at all.
func monthly(l Load) []Item {
	p, n := table(), float64(l.Connectors)
	hours := math.Min(hoursMonth, l.invocations())
	reads := math.Min(l.instances()*secretReadsHour*hoursMonth, l.invocations())
	items := []Item{
		// and the dead-letter queue
		item("SQS polling", (n+1)*polls, "requests", p.sqsRequest),
		item("secrets", n, "secrets", p.secret),
		item("reading secrets", n*reads, "calls", p.secretCall),
		item("custom metrics", n*metricsEach*hours/hoursMonth, "metrics", p.metric),
	}
	if l.Alarms {
		metrics := n*alarmsEach + alarmsShared
		if l.Guard {
			metrics += guardShared
		}
		items = append(items, item("alarms", metrics, "metrics", p.alarm))
	}
	if l.Guard {
		items = append(items, item("guard: alarms", n*guardEach, "metrics", p.alarm),
			item("guard: SQS polling", polls, "requests", p.sqsRequest))
	}
	return items
}

func assumptions(l Load) []string {
	list := []string{
		"prices of us-east-1 as of " + PricesAsOf + " without the free tier; check them at https://calculator.aws",
		fmt.Sprintf("events of %.0f bytes; %.0f messages in one request of the platform, %.0f events in an invocation",
			l.EventBytes, l.sent(), l.fill()),
		fmt.Sprintf("functions of %.0f MB; a request of up to %d events to the SIEM takes %.0f ms", l.MemoryMB,
			requestEvents, l.Milliseconds),
		fmt.Sprintf("gzip ratio %g, for a request's first event %g; %d bytes of headers per request",
			l.Compression, math.Min(firstRatio, l.Compression), requestHead),
		"events leave AWS over the internet; NAT gateways, VPC endpoints, VPNs and customer-managed keys cost extra",
		fmt.Sprintf("%d bytes of logs and metrics per invocation", logBatch),
		"each event is delivered at the first attempt; a further attempt costs a receive, a visibility change, Lambda and " +
			"transfer",
		"the data that a SIEM receives is that of generated events, as the connector encodes them, scaled to the size",
		"Lambda polls the queues all the time; batches come evenly over the month; custom metrics are billed by the hour",
	}
	if l.DeadLetters > 0 {
		list = append(list, fmt.Sprintf("the SIEM rejects %g %% of the events; each is stored in S3 and replayed once; "+
			"the storage is not counted", l.DeadLetters))
	}
	if !slices.Contains(baseRegions[:], l.Region) {
		list = append(list, fmt.Sprintf("%s is not one of %s: most prices are the same, and few are more than %.0f %% higher",
			l.Region, strings.Join(baseRegions[:], ", "), (otherRegions-1)*100))
	}
	return list
}
