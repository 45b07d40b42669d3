package cost

import "math"

// Limits of one poller in provisioned mode. The first one that is reached applies.
// https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html
const (
	pollerBytes       = 1_000_000 // a second
	pollerInvocations = 10        // at the same time
	pollerPolls       = 10        // a second, of maxSend messages each
)

// DefaultPollers is the default maximum number of pollers. For the highest possible maximum, AWS's pages state both
// 2,000 and 10,000: https://docs.aws.amazon.com/lambda/latest/api/API_ProvisionedPollerConfig.html
const DefaultPollers = 200

// Throughput is what the pollers of provisioned mode deliver.
type Throughput struct {
	Pollers int     `json:"pollers"`
	Events  float64 `json:"events_per_second"`
	Limit   string  `json:"limit"` // the limit that is reached first
}

// Provisioned computes the throughput of provisioned mode for full batches.
func (l Load) Provisioned(pollers int) Throughput {
	seconds := l.Milliseconds / 1000 * math.Max(1, l.requests())
	t := Throughput{pollers, math.Inf(1), ""}
	for _, limit := range []struct {
		name   string
		events float64
	}{
		{"1 MB/s per poller", pollerBytes / l.body() * l.perMessage()},
		{"10 concurrent invocations per poller", pollerInvocations / seconds * l.fill()},
		{"10 polls of 10 messages per second and poller", pollerPolls * maxSend * l.perMessage()},
	} {
		if events := limit.events * float64(pollers); events < t.Events {
			t.Events, t.Limit = events, limit.name
		}
	}
	return t
}
