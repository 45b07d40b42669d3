package deployed

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"

	"github.com/arbitex/siem-connectors/shared/connectors"
	"github.com/arbitex/siem-connectors/shared/telemetry"
)

// Activity is what a connector did recently, according to its metrics.
type Activity struct {
	Delivered    int64         // in the last hour
	Filtered     int64         // in the last hour
	DeadLettered int64         // in the last hour
	LastSuccess  time.Time     // zero if there was none in the last 24 hours
	Oldest       time.Duration // age of the oldest event in the queue; negative if not known
}

const (
	recently          = time.Hour
	lastSuccessWithin = 24 * time.Hour
	metricPeriod      = 60
	// oldestWithin is how old the queue's own metric may be. SQS reports it with a delay of a few minutes.
	oldestWithin = 15 * time.Minute
)

// series is one metric of one connector in a GetMetricData request.
type series struct {
	id    string
	query types.MetricDataQuery
	add   func(*Activity, types.MetricDataResult)
}

// Activity reads the metrics of connectors. The result is keyed by connector name.
func (s *Stack) Activity(ctx context.Context, list []connectors.Connector, now time.Time) (map[string]Activity, error) {
	var queries []types.MetricDataQuery
	result := map[string]Activity{}
	byID := map[string]func(types.MetricDataResult){}
	for i, c := range list {
		result[c.Name] = Activity{Oldest: -1}
		for _, m := range s.series(c, i, now) {
			queries = append(queries, m.query)
			byID[m.id] = func(r types.MetricDataResult) {
				a := result[c.Name]
				m.add(&a, r)
				result[c.Name] = a
			}
		}
	}
	pages := cloudwatch.NewGetMetricDataPaginator(s.watch, &cloudwatch.GetMetricDataInput{
		MetricDataQueries: queries, StartTime: aws.Time(now.Add(-lastSuccessWithin)), EndTime: aws.Time(now.Add(time.Minute)),
		ScanBy: types.ScanByTimestampDescending,
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, failed("reading the metrics", err)
		}
		for _, r := range page.MetricDataResults {
			if add := byID[aws.ToString(r.Id)]; add != nil {
				add(r)
			}
		}
	}
	return result, nil
}

// series returns the metrics to read for the connector at a position in the list.
func (s *Stack) series(c connectors.Connector, i int, now time.Time) []series {
	own := func(name string, add func(*Activity, types.MetricDataResult)) series {
		id := fmt.Sprintf("%s%d", strings.ToLower(name), i)
		return series{id, query(id, "Sum", telemetry.Namespace, name, "Connector", c.Name), add}
	}
	queueURL := s.Queue(c.ID)
	oldest := fmt.Sprintf("oldest%d", i)
	return []series{
		own("Delivered", func(a *Activity, r types.MetricDataResult) {
			a.Delivered += recent(r, now)
			if t := latest(r); t.After(a.LastSuccess) {
				a.LastSuccess = t
			}
		}),
		own("Filtered", func(a *Activity, r types.MetricDataResult) { a.Filtered += recent(r, now) }),
		own("DeadLettered", func(a *Activity, r types.MetricDataResult) { a.DeadLettered += recent(r, now) }),
		// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html
		{
			oldest, query(oldest, "Maximum", "AWS/SQS", "ApproximateAgeOfOldestMessage", "QueueName", queueURL[strings.LastIndexByte(queueURL, '/')+1:]),
			func(a *Activity, r types.MetricDataResult) {
				for i, at := range r.Timestamps { // the latest first, also across pages
					if a.Oldest < 0 && i < len(r.Values) && now.Sub(at) < oldestWithin {
						a.Oldest = time.Duration(r.Values[i] * float64(time.Second))
					}
				}
			},
		},
	}
}

func query(id, statistic, namespace, metric, dimension, value string) types.MetricDataQuery {
	return types.MetricDataQuery{Id: &id, MetricStat: &types.MetricStat{
		Stat: &statistic, Period: aws.Int32(metricPeriod),
		Metric: &types.Metric{
			Namespace: &namespace, MetricName: &metric,
			Dimensions: []types.Dimension{{Name: &dimension, Value: &value}},
		},
	}}
}

// recent sums the values of the last hour.
func recent(r types.MetricDataResult, now time.Time) (sum int64) {
	for i, at := range r.Timestamps {
		if at.After(now.Add(-recently)) && i < len(r.Values) {
			sum += int64(r.Values[i])
		}
	}
	return sum
}

// latest returns the start of the last minute with a value greater than zero.
func latest(r types.MetricDataResult) (last time.Time) {
	for i, at := range r.Timestamps {
		if i < len(r.Values) && r.Values[i] > 0 && at.After(last) {
			last = at
		}
	}
	return last
}

// Alarm is an alarm of the stack that is in the state ALARM.
type Alarm struct {
	Connector string    `json:"connector,omitempty"` // empty for an alarm that all connectors share
	Name      string    `json:"name"`                // logical id, for example HeldAlarm
	Since     time.Time `json:"since"`
}

// Alarms returns the alarms that are in the state ALARM. A connector's alarms belong to a nested stack, whose name is a
// prefix of their names.
func (s *Stack) Alarms(ctx context.Context, list []connectors.Connector) ([]Alarm, error) {
	nested := map[string]string{}
	for _, c := range list {
		// arn:aws:cloudformation:<region>:<account>:stack/<name>/<id>
		if parts := strings.Split(s.physical[c.ID+"Alarms"], "/"); len(parts) == 3 {
			nested[parts[1]+"-"] = c.Name
		}
	}
	own := map[string]string{}
	for id, name := range s.physical {
		if strings.HasSuffix(id, "Alarm") {
			own[name] = id
		}
	}
	var alarms []Alarm
	pages := cloudwatch.NewDescribeAlarmsPaginator(s.watch, &cloudwatch.DescribeAlarmsInput{
		AlarmNamePrefix: aws.String(s.Name + "-"), StateValue: types.StateValueAlarm,
		AlarmTypes: []types.AlarmType{types.AlarmTypeMetricAlarm, types.AlarmTypeCompositeAlarm},
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, failed("reading the alarms", err)
		}
		for _, m := range page.MetricAlarms {
			name, since := aws.ToString(m.AlarmName), aws.ToTime(m.StateUpdatedTimestamp)
			if id := own[name]; id != "" {
				alarms = append(alarms, Alarm{Name: id, Since: since})
			}
			for prefix, connector := range nested {
				if rest, ok := strings.CutPrefix(name, prefix); ok {
					logical, _, _ := strings.Cut(rest, "-")
					alarms = append(alarms, Alarm{Connector: connector, Name: logical, Since: since})
				}
			}
		}
	}
	return alarms, nil
}
