package cost

import "math"

// PricesAsOf is when the prices were looked up. All are for us-east-1, in US dollars, without the free tier.
const PricesAsOf = "2026-06"

// Price is the price of one unit.
type Price struct {
	Name    string  `json:"name"`
	Dollars float64 `json:"dollars"`
	Unit    string  `json:"unit"`
	Source  string  `json:"source"`
}

func (p Price) per() float64 {
	switch p.Unit {
	case "million requests", "million invocations", "million calls":
		return p.Dollars / million
	}
	return p.Dollars
}

// prices is the table that the model computes with.
type prices struct {
	sqsRequest, lambdaRequest, lambdaSecond, secret, secretCall, metric, alarm, logs, transfer, s3Write, s3Read Price
}

func table() prices {
	const (
		sqs        = "https://aws.amazon.com/sqs/pricing/"
		lambda     = "https://aws.amazon.com/lambda/pricing/"
		secrets    = "https://aws.amazon.com/secrets-manager/pricing/"
		cloudwatch = "https://aws.amazon.com/cloudwatch/pricing/"
		ec2        = "https://aws.amazon.com/ec2/pricing/on-demand/"
		s3         = "https://aws.amazon.com/s3/pricing/"
	)
	return prices{
		sqsRequest:    Price{"SQS request (64 KiB)", 0.40, "million requests", sqs},
		lambdaRequest: Price{"Lambda invocation", 0.20, "million invocations", lambda},
		lambdaSecond:  Price{"Lambda duration, arm64", 0.0000133334, "GB-second", lambda},
		secret:        Price{"secret", 0.40, "month", secrets},
		secretCall:    Price{"reading a secret", 5, "million calls", secrets},
		metric:        Price{"custom metric", 0.30, "month", cloudwatch},
		alarm:         Price{"metric of an alarm", 0.10, "month", cloudwatch},
		logs:          Price{"logs, ingested", 0.50, "GB", cloudwatch},
		transfer:      Price{"transfer to the internet", 0.09, "GB", ec2},
		s3Write:       Price{"S3 PUT, COPY, LIST", 5, "million requests", s3},
		s3Read:        Price{"S3 GET", 0.40, "million requests", s3},
	}
}

// Prices lists the prices that the model uses.
func Prices() []Price {
	p := table()
	return []Price{
		p.sqsRequest, p.lambdaRequest, p.lambdaSecond, p.secret, p.secretCall, p.metric, p.alarm, p.logs, p.transfer,
		p.s3Write, p.s3Read,
	}
}

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
