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
	Backpressure int64         // requests in the last hour, see telemetry.Meter
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
		return series{id, query(id, "Sum", telemetry.Namespace, name, dimension("Stack", s.Name),
			dimension("Connector", c.Name)), add}
	}
	queueURL := s.Queue(c.Name)
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
		own("Backpressure", func(a *Activity, r types.MetricDataResult) { a.Backpressure += recent(r, now) }),
		// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html
		{
			oldest, query(oldest, "Maximum", "AWS/SQS", "ApproximateAgeOfOldestMessage",
				dimension("QueueName", queueURL[strings.LastIndexByte(queueURL, '/')+1:])),
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

func dimension(name, value string) types.Dimension {
	return types.Dimension{Name: &name, Value: &value}
}

func query(id, statistic, namespace, metric string, dimensions ...types.Dimension) types.MetricDataQuery {
	return types.MetricDataQuery{Id: &id, MetricStat: &types.MetricStat{
		Stat: &statistic, Period: aws.Int32(metricPeriod),
		Metric: &types.Metric{
			Namespace: &namespace, MetricName: &metric,
			Dimensions: dimensions,
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
	Name      string    `json:"name"`                // for example down
	Since     time.Time `json:"since"`
}

// Alarms returns the alarms that are in the state ALARM. The template names them <stack>-<alarm> and
// <stack>-<connector>-<alarm>.
func (s *Stack) Alarms(ctx context.Context, list []connectors.Connector) ([]Alarm, error) {
	var alarms []Alarm
	prefix := s.Name + "-"
	pages := cloudwatch.NewDescribeAlarmsPaginator(s.watch, &cloudwatch.DescribeAlarmsInput{
		AlarmNamePrefix: &prefix, StateValue: types.StateValueAlarm,
		AlarmTypes: []types.AlarmType{types.AlarmTypeMetricAlarm},
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, failed("reading the alarms", err)
		}
		for _, m := range page.MetricAlarms {
			if a, ok := s.alarm(strings.TrimPrefix(aws.ToString(m.AlarmName), prefix), list); ok {
				a.Since = aws.ToTime(m.StateUpdatedTimestamp)
				alarms = append(alarms, a)
			}
		}
	}
	return alarms, nil
}

// alarm splits the rest of an alarm's name. It reports false for the alarm of another stack with the same prefix.
func (s *Stack) alarm(rest string, list []connectors.Connector) (Alarm, bool) {
	for _, c := range list {
		if name, ok := strings.CutPrefix(rest, c.Name+"-"); ok {
			return Alarm{Connector: c.Name, Name: name}, true
		}
	}
	for _, physical := range s.physical {
		if physical == s.Name+"-"+rest {
			return Alarm{Name: rest}, true
		}
	}
	return Alarm{}, false
}
