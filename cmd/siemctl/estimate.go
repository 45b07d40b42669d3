package main

import (
	"fmt"
	"math"
	"strings"

	"github.com/spf13/cobra"

	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/cost"
	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/term"
)

func (a *app) estimateCommand() *cobra.Command {
	var l cost.Load
	c := &cobra.Command{
		Use: "estimate", Short: "Estimate what it costs in AWS, with the assumptions", Args: cobra.NoArgs,
		Long: `Estimate what the connectors cost in AWS: for a million events, a month for being there, and a month with so many events.
It asks nobody: the model and its prices are in the program, and printed with the result.`,
		Example: "  siemctl estimate --events 50e6 --bytes 1200 --connectors 2 --region eu-central-1",
		RunE: func(*cobra.Command, []string) error {
			l.Region = orElse(a.options.Region, orElse(a.env("AWS_REGION"), "us-east-1"))
			return a.estimate(l)
		},
	}
	f := c.Flags()
	f.Float64Var(&l.Events, "events", 1e6, "`events` a month")
	f.Float64Var(&l.EventBytes, "bytes", 1500, "mean `size` of an event")
	f.Float64Var(&l.SendBatch, "send-batch", 10, "`events` the platform enqueues at once, 1 to 10")
	f.Float64Var(&l.BatchFill, "batch", 50, "`events` a function gets at once, 1 to 100: few when they come rarely")
	f.IntVar(&l.Connectors, "connectors", 1, "how `many` SIEMs each event goes to")
	f.Float64Var(&l.MemoryMB, "memory", 256, "`megabytes` of a function")
	f.Float64Var(&l.Milliseconds, "milliseconds", 300, "`time` of a batch, mostly the SIEM's")
	f.Float64Var(&l.Compression, "compression", cost.UsualCompression, "`ratio` by which gzip makes all but a request's first event smaller; 1 without it, as XSIAM by default, and QRadar")
	f.Float64Var(&l.DeadLetters, "dead-letters", 0, "`events` of a hundred that the SIEM refuses, and that are put back once")
	f.BoolVar(&l.Alarms, "alarms", true, "with the template's alarms")
	return c
}

func (a *app) estimate(l cost.Load) error {
	problems := l.Check()
	if most := len(allConnectors()); l.Connectors < 1 || l.Connectors > most {
		problems = append(problems, fmt.Sprintf("--connectors: expected 1 to %d, found %d", most, l.Connectors))
	}
	if problems != nil {
		return usage("%s", strings.Join(problems, "; "))
	}
	e := cost.Of(l)
	if a.out.JSON {
		return a.out.Object(e)
	}
	a.out.Line("%s", a.out.Paint(term.Bold, "A million events, each connector"))
	a.showItems(e.PerMillion)
	a.out.Line("\n%s", a.out.Paint(term.Bold, "A month, whatever comes, "+term.Count(int64(l.Connectors), "connector")))
	a.showItems(e.Monthly)
	a.out.Line("")
	a.out.Table([]string{"TOTAL", "USD IN " + strings.ToUpper(l.Region)}, [][]term.Cell{
		total(fmt.Sprintf("a million events, %s", term.Count(int64(l.Connectors), "connector")), e.MillionDollars, e.UpTo),
		total("a month, whatever comes", e.MonthlyDollars, e.UpTo),
		total(fmt.Sprintf("a month with %s", term.Count(int64(math.Round(l.Events)), "event")), e.TotalDollars, e.UpTo),
	})
	a.out.Line("\n%s", a.out.Paint(term.Bold, "Assumptions"))
	for _, text := range e.Assumptions {
		a.out.Line("  - %s", text)
	}
	return nil
}

// total is a price, as a range where the region may cost more.
func total(what string, dollars, upTo float64) []term.Cell {
	price := money(dollars)
	if upTo > 1 {
		price += " to " + money(dollars*upTo)
	}
	return []term.Cell{term.Text(what), {Text: price, Right: true, Style: term.Bold}}
}

func (a *app) showItems(items []cost.Item) {
	rows := make([][]term.Cell, 0, len(items))
	for _, i := range items {
		quantity := fmt.Sprintf("%.2f", i.Quantity)
		if i.Quantity >= 100 {
			quantity = term.Thousands(int64(math.Round(i.Quantity)))
		}
		rows = append(rows, []term.Cell{term.Text("  " + i.Name), {Text: quantity, Right: true}, term.Text(i.Unit), {Text: money(i.Dollars), Right: true}})
	}
	a.out.Table([]string{"  ITEM", "QUANTITY", "UNIT", "USD"}, rows)
}

// money writes dollars with as many decimals as there is something to see.
func money(dollars float64) string {
	if dollars > 0 && dollars < 1 {
		return fmt.Sprintf("%.4f", dollars)
	}
	return fmt.Sprintf("%.2f", dollars)
}
