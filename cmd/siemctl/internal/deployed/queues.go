package deployed

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	watchtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/arbitex/siem-connectors/shared/telemetry"
)

// SendMessageBatch's limits.
// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessageBatch.html
const (
	MaxBatchMessages = 10
	MaxBatchBytes    = 1 << 20
)

// Depth is how many messages a queue has.
type Depth struct {
	Visible  int64 `json:"visible"`
	InFlight int64 `json:"in_flight"` // being delivered, or waiting for another attempt
	Delayed  int64 `json:"delayed"`
}

// Depth counts the messages of a queue.
func (s *Stack) Depth(ctx context.Context, queueURL string) (Depth, error) {
	names := []types.QueueAttributeName{
		types.QueueAttributeNameApproximateNumberOfMessages, types.QueueAttributeNameApproximateNumberOfMessagesNotVisible,
		types.QueueAttributeNameApproximateNumberOfMessagesDelayed,
	}
	out, err := s.sqs.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{QueueUrl: &queueURL, AttributeNames: names})
	if err != nil {
		return Depth{}, failed("counting the messages of "+queueURL, err)
	}
	count := func(i int) int64 {
		n, _ := strconv.ParseInt(out.Attributes[string(names[i])], 10, 64) // AWS writes numbers
		return n
	}
	return Depth{count(0), count(1), count(2)}, nil
}

// SendBatch enqueues up to 10 messages of together up to 1 MiB, and returns how many of them SQS did not take, and why.
func (s *Stack) SendBatch(ctx context.Context, queueURL string, bodies []string) (refused int, reason string, err error) {
	entries := make([]types.SendMessageBatchRequestEntry, len(bodies))
	for i := range bodies {
		entries[i] = types.SendMessageBatchRequestEntry{Id: aws.String(strconv.Itoa(i)), MessageBody: &bodies[i]}
	}
	out, err := s.sqs.SendMessageBatch(ctx, &sqs.SendMessageBatchInput{QueueUrl: &queueURL, Entries: entries})
	if err != nil {
		return 0, "", failed("enqueueing", err)
	}
	for _, f := range out.Failed {
		refused, reason = refused+1, aws.ToString(f.Code)+": "+aws.ToString(f.Message)
	}
	return refused, reason, nil
}

// Activity is what a connector has done of late, by its own metrics.
type Activity struct {
	Delivered    int64 // in the last hour
	DeadLettered int64 // in the last hour
	LastSuccess  time.Time
}

const (
	recently = time.Hour
	// lastSuccessWithin is how far back a success is looked for.
	lastSuccessWithin = 24 * time.Hour
	metricPeriod      = 60
)

// Activity reads the metrics of connectors, by name.
func (s *Stack) Activity(ctx context.Context, connectors []string, now time.Time) (map[string]Activity, error) {
	var queries []watchtypes.MetricDataQuery
	for i, connector := range connectors {
		queries = append(queries, query(fmt.Sprintf("delivered%d", i), "Delivered", connector), query(fmt.Sprintf("dead%d", i), "DeadLettered", connector))
	}
	result := map[string]Activity{}
	pages := cloudwatch.NewGetMetricDataPaginator(s.watch, &cloudwatch.GetMetricDataInput{
		MetricDataQueries: queries, StartTime: aws.Time(now.Add(-lastSuccessWithin)), EndTime: aws.Time(now.Add(time.Minute)),
		ScanBy: watchtypes.ScanByTimestampDescending,
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, failed("reading the metrics", err)
		}
		for i, connector := range connectors {
			a := result[connector]
			for _, r := range page.MetricDataResults {
				switch aws.ToString(r.Id) {
				case fmt.Sprintf("delivered%d", i):
					a.Delivered += recent(r, now)
					if t := latest(r); t.After(a.LastSuccess) {
						a.LastSuccess = t
					}
				case fmt.Sprintf("dead%d", i):
					a.DeadLettered += recent(r, now)
				}
			}
			result[connector] = a
		}
	}
	return result, nil
}

func query(id, metric, connector string) watchtypes.MetricDataQuery {
	return watchtypes.MetricDataQuery{Id: &id, MetricStat: &watchtypes.MetricStat{
		Stat: aws.String("Sum"), Period: aws.Int32(metricPeriod),
		Metric: &watchtypes.Metric{
			Namespace: aws.String(telemetry.Namespace), MetricName: &metric,
			Dimensions: []watchtypes.Dimension{{Name: aws.String("Connector"), Value: &connector}},
		},
	}}
}

// recent sums what lies in the last hour.
func recent(r watchtypes.MetricDataResult, now time.Time) (sum int64) {
	for i, at := range r.Timestamps {
		if at.After(now.Add(-recently)) && i < len(r.Values) {
			sum += int64(r.Values[i])
		}
	}
	return sum
}

// latest is the begin of the last minute in which something was counted.
func latest(r watchtypes.MetricDataResult) (last time.Time) {
	for i, at := range r.Timestamps {
		if i < len(r.Values) && r.Values[i] > 0 && at.After(last) {
			last = at
		}
	}
	return last
}
