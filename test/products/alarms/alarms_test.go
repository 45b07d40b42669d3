// Package alarms evaluates the alarms of the template as CloudWatch does.
package alarms

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/internal/downalarm"
	"github.com/arbitex/siem-connectors/internal/testkit/products"
)

// alarm is what the template says of an alarm.
type alarm struct {
	Metrics []struct {
		ID         string `json:"Id"`
		Expression string
		ReturnData *bool
		MetricStat *struct {
			Stat   string
			Period int
			Metric struct {
				Namespace, MetricName string
			}
		}
	}
	Namespace, MetricName, Statistic string
	Period                           int
	EvaluationPeriods                int
	DatapointsToAlarm                int
	Threshold                        any
	ComparisonOperator               string
	TreatMissingData                 string
}

// alarms returns the alarms of a stack with one connector, by logical id.
func alarms(t *testing.T) map[string]alarm {
	t.Helper()
	template := products.Template(t, map[string]string{"Connectors": "splunk"})
	found := map[string]alarm{}
	for id, r := range template["Resources"].(map[string]any) {
		resource := r.(map[string]any)
		if resource["Type"] != "AWS::CloudWatch::Alarm" {
			continue
		}
		text, err := json.Marshal(resource["Properties"])
		if err != nil {
			t.Fatal(err)
		}
		var a alarm
		if err := json.Unmarshal(text, &a); err != nil {
			t.Fatalf("%s: %v", id, err)
		}
		found[id] = a
	}
	return found
}

// width is the period of the alarm.
func (a alarm) width() time.Duration {
	for _, m := range a.Metrics {
		if m.MetricStat != nil {
			return time.Duration(m.MetricStat.Period) * time.Second
		}
	}
	return time.Duration(a.Period) * time.Second
}

// firings evaluates the alarm for each of n periods, and returns those in which it enters the state ALARM and those in
// which it leaves it. data is by "namespace metric".
func (a alarm) firings(t *testing.T, data map[string]series, n int) (fired, ended []int) {
	t.Helper()
	s := &scope{metrics: map[string]series{}, formulas: map[string]ast.Expr{}, width: a.width()}
	result := ""
	for _, m := range a.Metrics {
		if m.MetricStat != nil {
			s.metrics[m.ID] = data[m.MetricStat.Metric.Namespace+" "+m.MetricStat.Metric.MetricName]
			continue
		}
		formula, err := parser.ParseExpr(operators.Replace(m.Expression))
		if err != nil {
			t.Fatalf("metric math: %s: %v", m.Expression, err)
		}
		s.formulas[m.ID] = formula
		if m.ReturnData == nil || *m.ReturnData {
			result = m.ID
		}
	}
	if len(a.Metrics) == 0 {
		result = a.MetricName
		s.metrics[result] = data[a.Namespace+" "+a.MetricName]
	}
	if a.ComparisonOperator != "GreaterThanOrEqualToThreshold" || a.TreatMissingData != "notBreaching" {
		t.Fatalf("not evaluated here: %s, %s", a.ComparisonOperator, a.TreatMissingData)
	}
	need := max(a.DatapointsToAlarm, 1)
	if a.DatapointsToAlarm == 0 {
		need = a.EvaluationPeriods
	}
	var breaching []bool
	firing := false
	for period := range n {
		v, present := s.named(result, period)
		breaching = append(breaching, present && v >= a.threshold(t))
		count := 0
		for _, b := range breaching[max(0, len(breaching)-a.EvaluationPeriods):] {
			if b {
				count++
			}
		}
		if now := count >= need; now != firing {
			if firing = now; now {
				fired = append(fired, period)
			} else {
				ended = append(ended, period)
			}
		}
	}
	return fired, ended
}

func (a alarm) threshold(t *testing.T) float64 {
	t.Helper()
	switch v := a.Threshold.(type) {
	case float64:
		return v
	case map[string]any: // FindInMap of the default retention
		return map[string]float64{"expiring": 907200, "backlog": 3600}[v["Fn::FindInMap"].([]any)[2].(string)]
	}
	t.Fatalf("threshold %v", a.Threshold)
	return 0
}

func repeat(value float64, periods ...int) series {
	s := series{}
	for _, p := range periods {
		s[p] = value
	}
	return s
}

func span(from, to int) (periods []int) {
	for p := from; p < to; p++ {
		periods = append(periods, p)
	}
	return periods
}

// steady is a connector that delivers all the time, with a retry now and then; the drain and the replay do nothing.
func steady(n int) map[string]series {
	return map[string]series{
		"ArbitexSIEM Received": repeat(100, span(0, n)...), "ArbitexSIEM Delivered": repeat(99, span(0, n)...),
		"ArbitexSIEM Retried": repeat(1, 3, 7, 8, 9), "AWS/Lambda Invocations": repeat(10, span(0, n)...),
		"AWS/Lambda Errors": repeat(0, span(0, n)...), "AWS/Lambda Throttles": repeat(0, span(0, n)...),
		"AWS/SQS ApproximateAgeOfOldestMessage": repeat(300, span(0, n)...),
	}
}

func TestAlarms(t *testing.T) {
	const n = 30
	tests := map[string]struct {
		fault map[string]series // replaces the series of steady
		fired int               // the first period in which the alarm fires
	}{
		"splunkDownAlarm": {map[string]series{
			"ArbitexSIEM Delivered": repeat(0, span(10, n)...), "ArbitexSIEM Retried": repeat(50, span(10, n)...),
		}, 11},
		"splunkDeadLettersAlarm": {map[string]series{"ArbitexSIEM Drained": repeat(1, 12)}, 12},
		"UnknownConnectorAlarm":  {map[string]series{"ArbitexSIEM Drained": repeat(1, 12)}, 12},
		"UndrainedAlarm": {map[string]series{
			"AWS/SQS ApproximateNumberOfMessagesVisible": repeat(1, span(10, 25)...),
		}, 21},
		"splunkbacklogAlarm":    {map[string]series{"AWS/SQS ApproximateAgeOfOldestMessage": repeat(3600, 12, 13)}, 12},
		"splunkexpiringAlarm":   {map[string]series{"AWS/SQS ApproximateAgeOfOldestMessage": repeat(907200, 12)}, 12},
		"splunkErrorsAlarm":     {map[string]series{"AWS/Lambda Errors": repeat(1, 12)}, 12},
		"DeadLetterErrorsAlarm": {map[string]series{"AWS/Lambda Errors": repeat(1, 12)}, 12},
		"ReplayErrorsAlarm":     {map[string]series{"AWS/Lambda Errors": repeat(1, 12)}, 12},
		"GuardErrorsAlarm":      {map[string]series{"AWS/Lambda Errors": repeat(1, 12)}, 12},
	}
	all := alarms(t)
	if have, want := slices.Sorted(maps.Keys(all)), slices.Sorted(maps.Keys(tests)); !slices.Equal(have, want) {
		t.Errorf("the template has the alarms %v, tested are %v", have, want)
	}
	for id, test := range tests {
		a, ok := all[id]
		if !ok {
			continue
		}
		t.Run(id, func(t *testing.T) {
			for name, data := range map[string]map[string]series{"steady load": steady(n), "no data": {}} {
				if fired, _ := a.firings(t, data, n); len(fired) > 0 {
					t.Errorf("%s: it fires in the periods %v", name, fired)
				}
			}
			data := steady(n)
			maps.Copy(data, test.fault)
			if fired, _ := a.firings(t, data, n); len(fired) == 0 || fired[0] != test.fired {
				t.Errorf("it fires in the periods %v, want %d first", fired, test.fired)
			}
			// The same fault without any other series: no events but those of the fault.
			fired, ended := a.firings(t, test.fault, n)
			if len(fired) == 0 || fired[0] != test.fired {
				t.Errorf("alone: it fires in the periods %v, want %d first", fired, test.fired)
			}
			if !strings.HasSuffix(id, "DownAlarm") && len(ended) == 0 {
				t.Error("it stays in ALARM when there is no data after the fault")
			}
		})
	}
}

func TestAlarmsOfTwoMetrics(t *testing.T) {
	const n = 30
	all := alarms(t)
	const delivered, retried = "ArbitexSIEM Delivered", "ArbitexSIEM Retried"
	always := span(0, n)
	for name, test := range map[string]struct {
		id    string
		data  map[string]series
		fired bool
	}{
		"throttles": {"splunkErrorsAlarm", map[string]series{"AWS/Lambda Throttles": repeat(1, 12)}, true},
		"the drain empties the queue once an hour": {"UndrainedAlarm", map[string]series{
			"AWS/SQS ApproximateNumberOfMessagesVisible": repeat(1, append(span(0, 11), span(12, 23)...)...),
		}, false},
		"the drain fails": {"splunkDeadLettersAlarm", map[string]series{"ArbitexSIEM DrainFailed": repeat(1, 12)}, true},
		"held while others arrive": {"splunkDownAlarm", map[string]series{
			"ArbitexSIEM Held": repeat(1, 11, 12, 13), retried: repeat(1, 11, 12, 13), delivered: repeat(9, always...),
		}, true},
		"one bad minute": {"splunkDownAlarm", map[string]series{retried: repeat(9, 12), delivered: repeat(0, 12)}, false},
		"some are delivered": {"splunkDownAlarm", map[string]series{
			retried: repeat(9, always...), delivered: repeat(1, always...),
		}, false},
		"separate bad minutes": {"splunkDownAlarm", map[string]series{retried: repeat(9, 12, 16, 22)}, false},
	} {
		if fired, _ := all[test.id].firings(t, test.data, n); (len(fired) > 0) != test.fired {
			t.Errorf("%s: %s fires in the periods %v, want it to fire: %t", name, test.id, fired, test.fired)
		}
	}
}

// TestDownAlarmAsSimulated: the template's alarm fires when the one does that the simulation of the guard uses.
func TestDownAlarmAsSimulated(t *testing.T) {
	const n = 600
	a := alarms(t)["splunkDownAlarm"]
	patterns := []downalarm.Values{{}, {Delivered: 5}, {Retried: 5}, {Delivered: 1, Retried: 4}, {Retried: 3, Held: 3}}
	data := map[string]series{"ArbitexSIEM Delivered": {}, "ArbitexSIEM Retried": {}, "ArbitexSIEM Held": {}}
	var simulated downalarm.Alarm
	var want []int
	state := uint32(1)
	current := 0
	for p := range n {
		if state = state*1664525 + 1013904223; state>>24 < 60 {
			current = int(state>>16) % len(patterns)
		}
		v := patterns[current]
		for name, value := range map[string]float64{"Delivered": v.Delivered, "Retried": v.Retried, "Held": v.Held} {
			if v != (downalarm.Values{}) && (value > 0 || name == "Delivered") {
				data["ArbitexSIEM "+name][p] = value
			}
		}
		at := start.Add(time.Duration(p) * time.Minute)
		simulated.Add(at, v)
		if simulated.Evaluate(at.Add(time.Minute)) {
			want = append(want, p)
		}
	}
	if fired, _ := a.firings(t, data, n); len(want) < 10 || !slices.Equal(fired, want) {
		t.Errorf("the template's alarm fires in the minutes %v, the simulated one in %v", fired, want)
	}
}

// The part of CloudWatch's metric math that the template uses. Go's operators have the same precedence.
// https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html

var operators = strings.NewReplacer(" AND ", " && ", " OR ", " || ")

// start is the time of period 0.
var start = time.Date(2026, 3, 13, 10, 1, 0, 0, time.UTC)

// series are the values of a metric by period. A period that is not in the map has no data.
type series map[int]float64

// scope has what an expression refers to, by id.
type scope struct {
	metrics  map[string]series
	formulas map[string]ast.Expr
	width    time.Duration // of a period
}

func (s *scope) named(id string, period int) (value float64, present bool) {
	if formula, ok := s.formulas[id]; ok {
		return s.value(formula, period)
	}
	values, ok := s.metrics[id]
	if !ok {
		panic("metric math: nothing has the id " + id)
	}
	value, present = values[period]
	return value, present
}

func (s *scope) value(e ast.Expr, period int) (value float64, present bool) {
	switch e := e.(type) {
	case *ast.ParenExpr:
		return s.value(e.X, period)
	case *ast.BasicLit:
		value, err := strconv.ParseFloat(e.Value, 64)
		return value, err == nil
	case *ast.Ident:
		return s.named(e.Name, period)
	case *ast.BinaryExpr:
		x, okX := s.value(e.X, period)
		y, okY := s.value(e.Y, period)
		return apply(e.Op.String(), x, y), okX && okY
	case *ast.CallExpr:
		return s.call(e.Fun.(*ast.Ident).Name, e.Args, period)
	}
	panic(fmt.Sprintf("metric math: %T is not supported", e))
}

func (s *scope) call(name string, arguments []ast.Expr, period int) (value float64, present bool) {
	value, present = s.value(arguments[0], period)
	switch function := fmt.Sprint(name, len(arguments)); function {
	case "FILL2":
		if present {
			return value, true
		}
		return s.value(arguments[1], period)
	case "IF3":
		if value != 0 {
			return s.value(arguments[1], period)
		}
		return s.value(arguments[2], period)
	case "MINUTE1":
		return float64(start.Add(time.Duration(period) * s.width).Minute()), present
	case "FLOOR1":
		return math.Floor(value), present
	}
	panic(fmt.Sprintf("metric math: %s with %d arguments is not supported", name, len(arguments)))
}

func apply(operator string, x, y float64) float64 {
	truth := map[bool]float64{true: 1}
	switch operator {
	case "+":
		return x + y
	case "-":
		return x - y
	case "*":
		return x * y
	case "/":
		return x / y
	case "||":
		return truth[x != 0 || y != 0]
	case "&&":
		return truth[x != 0 && y != 0]
	case "==":
		return truth[x == y]
	case "!=":
		return truth[x != y]
	case ">=":
		return truth[x >= y]
	case "<=":
		return truth[x <= y]
	case "<":
		return truth[x < y]
	case ">":
		return truth[x > y]
	}
	panic("metric math: operator " + operator + " is not supported")
}
