package deployed

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	logtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"

	"github.com/arbitex/siem-connectors/shared/connectors"
	"github.com/arbitex/siem-connectors/shared/telemetry"
)

// Activity is what a connector did recently, according to its metrics.
type Activity struct {
	Delivered    int64         // in the last hour
	Filtered     int64         // in the last hour
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

// point is a value of a metric.
type point struct {
	at    time.Time
	value float64
}

// Activity reads the metrics of connectors. The result is keyed by connector name.
func (s *Stack) Activity(ctx context.Context, list []connectors.Connector, now time.Time) (map[string]Activity, error) {
	var queries []types.MetricDataQuery
	for i, c := range list {
		for _, name := range []string{"Delivered", "Filtered", "Backpressure"} {
			queries = append(queries, query(queryID(name, i), "Sum", telemetry.Namespace, name,
				dimension("Stack", s.Name), dimension("Connector", c.Name)))
		}
		// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html
		queue := s.Queue(c.Name)
		queries = append(queries, query(queryID("Oldest", i), "Maximum", "AWS/SQS", "ApproximateAgeOfOldestMessage",
			dimension("QueueName", queue[strings.LastIndexByte(queue, '/')+1:])))
	}
	values, err := s.metrics(ctx, queries, now)
	if err != nil {
		return nil, err
	}
	result := map[string]Activity{}
	for i, c := range list {
		of := func(name string) []point { return values[queryID(name, i)] }
		a := Activity{Delivered: recent(of("Delivered"), now), Filtered: recent(of("Filtered"), now),
			Backpressure: recent(of("Backpressure"), now), Oldest: -1}
		if n := slices.IndexFunc(of("Delivered"), func(p point) bool { return p.value > 0 }); n >= 0 {
			a.LastSuccess = of("Delivered")[n].at
		}
		if oldest := of("Oldest"); len(oldest) > 0 && now.Sub(oldest[0].at) < oldestWithin {
			a.Oldest = time.Duration(oldest[0].value * float64(time.Second))
		}
		result[c.Name] = a
	}
	return result, nil
}

// metrics returns the values of the last 24 hours by the id of their query, the latest first.
func (s *Stack) metrics(ctx context.Context, queries []types.MetricDataQuery, now time.Time) (map[string][]point,
	error) {
	values := map[string][]point{}
	pages := cloudwatch.NewGetMetricDataPaginator(s.watch, &cloudwatch.GetMetricDataInput{
		MetricDataQueries: queries, StartTime: aws.Time(now.Add(-lastSuccessWithin)),
		EndTime: aws.Time(now.Add(time.Minute)), ScanBy: types.ScanByTimestampDescending,
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, failed("reading the metrics", err)
		}
		for _, r := range page.MetricDataResults {
			id := aws.ToString(r.Id)
			for i := range min(len(r.Timestamps), len(r.Values)) {
				values[id] = append(values[id], point{r.Timestamps[i], r.Values[i]})
			}
		}
	}
	return values, nil
}

// queryID is the id of a query for the connector at a position in the list.
func queryID(name string, i int) string { return fmt.Sprintf("%s%d", strings.ToLower(name), i) }

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
func recent(points []point, now time.Time) (sum int64) {
	for _, p := range points {
		if p.at.After(now.Add(-recently)) {
			sum += int64(p.value)
		}
	}
	return sum
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

// LogLine is one line of a function's log.
type LogLine struct {
	ID   string // unique in the log group
	Time time.Time
	Text string
}

// ErrNoLog means that the stack has no log group for a function, or that the group has not been written to.
var ErrNoLog = errors.New("no log group")

// LogQuery selects lines of a log.
type LogQuery struct {
	From, To time.Time // by the time of the line, To exclusive; a zero To means no limit
	Pattern  string    // a filter pattern of CloudWatch Logs; "" selects every line
}

// Log calls take for each selected line of a function's log group, in the order of CloudWatch Logs. The id is the
// prefix of the function's logical ids.
func (s *Stack) Log(ctx context.Context, id string, q LogQuery, take func(LogLine)) error {
	doing := "reading the log of " + id
	group := s.physical[id+"LogGroup"]
	if group == "" {
		return &Error{Doing: doing, Err: fmt.Errorf("%w in the stack %q", ErrNoLog, s.Name)}
	}
	in := &cloudwatchlogs.FilterLogEventsInput{LogGroupName: &group, StartTime: aws.Int64(q.From.UnixMilli())}
	if !q.To.IsZero() {
		in.EndTime = aws.Int64(q.To.UnixMilli())
	}
	if q.Pattern != "" {
		in.FilterPattern = &q.Pattern
	}
	pages := cloudwatchlogs.NewFilterLogEventsPaginator(s.logs, in)
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if _, missing := errors.AsType[*logtypes.ResourceNotFoundException](err); missing {
			return &Error{Doing: doing, Err: fmt.Errorf("%w %s", ErrNoLog, group)}
		}
		if err != nil {
			return failed(doing, err)
		}
		for _, e := range page.Events {
			at := time.UnixMilli(aws.ToInt64(e.Timestamp)).UTC()
			take(LogLine{aws.ToString(e.EventId), at, aws.ToString(e.Message)})
		}
	}
	return nil
}
