package cost

import (
	"flag"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/term"
	"github.com/arbitex/siem-connectors/internal/testkit/docgen"
)

var update = flag.Bool("update", false, "update the tables of docs/costs.md")

const runEvents = 2000

// fills are the sizes of batches that are run.
var fills = []int{1, 10, 50, 100}

// load is the input of the model for a run.
func (c *counts) load(sc scenario) Load {
	l := Load{Events: million, EventBytes: c.eventBytes / c.events, PerMessage: float64(max(1, sc.pack)),
		SendBatch: float64(sc.send), BatchFill: float64(sc.fill),
		Connectors: 1, MemoryMB: DefaultMemoryMB, Milliseconds: float64(latency.Milliseconds()),
		Compression: UsualCompression, Region: "us-east-1"}
	if sc.refuse > 0 {
		l.DeadLetters = 100 / float64(sc.refuse)
	}
	return l
}

// items are the counts in the form of the model, per million events.
func (c *counts) items() []Item {
	each := million / c.events
	return []Item{
		item("SQS send", c.send*each, "requests", table().sqsRequest),
		item("SQS receive", c.receive*each, "requests", table().sqsRequest),
		item("SQS delete", c.remove*each, "requests", table().sqsRequest),
		item("Lambda requests", c.invocations*each, "invocations", table().lambdaRequest),
		item("Lambda duration", c.busy.Seconds()*each*DefaultMemoryMB/1024, "GB-seconds", table().lambdaSecond),
		// the run has no lines of Lambda
		item("logs and metrics", (c.logs+c.invocations*logLambda)*each/1e9, "GB", table().logs),
		item("transfer to the SIEM", c.wire*each/1e9, "GB", table().transfer),
	}
}

// tolerance is by how much the model may be wrong: requests by events so large that SQS counts their batch more than
// once, bytes by what gzip makes of them.
func tolerance(name string) float64 {
	switch name {
	case "transfer to the SIEM":
		return .15
	case "Lambda requests", "Lambda duration":
		return 0
	}
	return .05
}

// comparison is a run and the result of the model for it.
type comparison struct {
	scenario
	counts         counts
	counted, model []Item
}

func compare(t *testing.T) []comparison {
	t.Helper()
	var all []comparison
	for _, fill := range fills {
		sc := scenario{events: runEvents, fill: fill, send: min(maxSend, fill)}
		c := run(t, sc)
		all = append(all, comparison{sc, c, c.items(), perMillion(c.load(sc))})
		if hours := c.took.Hours(); fill == 1 && math.Abs(c.secrets/hours-secretReadsHour) > 1 {
			t.Errorf("the secret was read %.1f times an hour, the model says %d", c.secrets/hours, secretReadsHour)
		}
		if c.letters+c.again+c.drains+c.s3Writes+c.s3Reads > 0 {
			t.Errorf("nothing was refused, and there are requests for what was: %+v", c)
		}
	}
	return all
}

// TestModel compares the model with runs that count what AWS bills.
func TestModel(t *testing.T) {
	all := compare(t)
	for _, x := range all {
		for i, model := range x.model {
			counted := x.counted[i]
			if off := math.Abs(counted.Quantity/model.Quantity - 1); counted.Name != model.Name ||
				off > tolerance(model.Name)+1e-9 {
				t.Errorf("%d a batch: %s: counted %g, the model says %s: %g, which is %.0f %% off", x.fill, counted.Name,
					counted.Quantity, model.Name, model.Quantity, off*100)
			}
		}
		if off := math.Abs(sum(x.counted)/sum(x.model) - 1); off > .05 {
			t.Errorf("%d a batch: counted %g dollars, the model says %g", x.fill, sum(x.counted), sum(x.model))
		}
	}
	document(t, "costs.md", "counted", costTable(append(all, several400(t))))
	checkLetters(t, all[2])
}

// costTable states what was counted for a million events, and the model's price. The last column is messages of
// several events.
func costTable(all []comparison) string {
	var b strings.Builder
	fmt.Fprintf(&b, "| a million events, counted | %d a batch | %d | %d | %d | %d, %d a message |\n"+
		"|---|---:|---:|---:|---:|---:|\n", all[0].fill, all[1].fill, all[2].fill, all[3].fill, all[4].fill, all[4].pack)
	row := func(name string, cell func(x comparison) string) {
		fmt.Fprintf(&b, "| %s |", name)
		for _, x := range all {
			fmt.Fprintf(&b, " %s |", cell(x))
		}
		b.WriteString("\n")
	}
	quantity := func(name string, i int, unit float64) {
		row(name, func(x comparison) string { return short(x.counted[i].Quantity * unit) })
	}
	row("SQS requests", func(x comparison) string {
		return short(x.counted[0].Quantity + x.counted[1].Quantity + x.counted[2].Quantity)
	})
	quantity("Lambda requests", 3, 1)
	quantity("Lambda GB-seconds", 4, 1)
	quantity("transfer to the SIEM, MB", 6, 1000)
	row("**dollars** (model)", func(x comparison) string {
		return fmt.Sprintf("%s (%s)", short(sum(x.counted)), short(sum(x.model)))
	})
	row("SQS's part of them", func(x comparison) string { return percent(sum(x.counted[:3]) / sum(x.counted)) })
	return b.String()
}

// several400 compares the model for 100 events in a message and 400 in an invocation with a run. All events are of
// usual size, so that the price per million is that of the documents.
func several400(t *testing.T) comparison {
	t.Helper()
	sc := scenario{events: 8000, fill: 400, send: 6, pack: 100, usual: true}
	c := run(t, sc)
	x := comparison{sc, c, c.items(), perMillion(c.load(sc))}
	for i, m := range x.model {
		if off := math.Abs(x.counted[i].Quantity/m.Quantity - 1); off > tolerance(m.Name)+1e-9 {
			t.Errorf("several events per message: %s: counted %g, the model says %g, which is %.0f %% off", m.Name,
				x.counted[i].Quantity, m.Quantity, off*100)
		}
	}
	if dollars := sum(x.counted); dollars > .055 {
		t.Errorf("a million events cost $%.4f, want at most $0.055", dollars)
	}
	return x
}

// TestTrickle: events that are sent one by one at a low rate are received one by one.
func TestTrickle(t *testing.T) {
	sc := scenario{events: 500, fill: 50, send: 1}
	c := run(t, sc)
	counted, model := c.items(), perMillion(c.load(sc))
	for i := range 3 {
		if off := math.Abs(counted[i].Quantity/model[i].Quantity - 1); off > tolerance(model[i].Name) {
			t.Errorf("%s: counted %g, the model says %g", model[i].Name, counted[i].Quantity, model[i].Quantity)
		}
	}
	if receives := model[1].Quantity; receives != million {
		t.Errorf("the model says %g receives, want a million", receives)
	}
	l := usual()
	l.SendBatch = 1
	if receives := perMillion(l)[1].Quantity; receives != million/10 {
		t.Errorf("%g receives of full batches, want a hundred thousand", receives)
	}
}

// checkLetters compares the model of dead letters with runs in which one event in fifty and in ten is refused. x is the
// same run without refusals.
func checkLetters(t *testing.T, x comparison) {
	t.Helper()
	plain := x.counts
	names := []string{"SQS requests", "Lambda requests", "S3 writes", "S3 reads"}
	for _, refuse := range []int{50, 10} {
		sc := x.scenario
		sc.refuse = refuse
		c := run(t, sc)
		l := c.load(sc)
		model, each := deadLetters(l), 1000/(c.events/float64(refuse))
		counted := []float64{
			c.send + c.receive + c.remove + c.letters - plain.send - plain.receive - plain.remove,
			c.invocations + c.drains - plain.invocations, c.s3Writes, c.s3Reads,
		}
		for i, m := range []Item{model[0], model[1], model[3], model[4]} {
			n, want := counted[i]*each, m.Quantity*1000/(million*l.DeadLetters/100)
			if math.Abs(n/want-1) > .15 { // a call of the replay has some requests of its own
				t.Errorf("1 in %d refused: %s for a thousand: counted %.0f, the model says %.0f", refuse, names[i], n, want)
			}
		}
	}
}

// short writes a number with three significant digits.
func short(n float64) string {
	if n < 100 {
		return fmt.Sprintf("%.3g", n)
	}
	unit := math.Pow(10, math.Floor(math.Log10(n))-2)
	return term.Thousands(int64(math.Round(n/unit) * unit))
}

func percent(part float64) string { return fmt.Sprintf("%.0f %%", part*100) }

// document compares a part of a page with text, or updates it.
func document(t *testing.T, file, name, text string) {
	t.Helper()
	docgen.Check(t, "../../../../docs/"+file, name, text, *update)
}
