package main

import (
	"cmp"
	"fmt"
	"math"
	"strings"

	"github.com/spf13/cobra"

	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/cost"
	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/term"
	"github.com/arbitex/siem-connectors/internal/ocsfgen"
	"github.com/arbitex/siem-connectors/shared/connectors"
	"github.com/arbitex/siem-connectors/shared/event"
	"github.com/arbitex/siem-connectors/shared/settings"
)

type estimateOptions struct {
	cost.Load

	pollers   int     // of provisioned mode; 0 leaves it out
	siemPrice float64 // US dollars per GB; 0 if not known
}

// estimated is the result of estimate.
type estimated struct {
	cost.Estimate

	SIEM        []siemVolume     `json:"siem_volume"`
	Provisioned *cost.Throughput `json:"provisioned_mode,omitempty"`
}

// siemVolume is the volume that one SIEM receives, before compression. SIEMs bill this volume.
type siemVolume struct {
	Connector  string  `json:"connector"`
	EventBytes float64 `json:"bytes_per_event"`
	Gigabytes  float64 `json:"gb_per_month"`
	Dollars    float64 `json:"dollars_per_month,omitempty"`
	Saved      float64 `json:"filter_saves_gb_per_month"`
}

func (a *app) estimateCommand() *cobra.Command {
	var o estimateOptions
	c := &cobra.Command{
		Use: "estimate", Short: "Estimate the cost in AWS and the volume in the SIEM", Args: cobra.NoArgs,
		Long: `Estimate what the connectors cost in AWS, with one event per message and with several, and how much
data each SIEM receives. The command makes no request: the model and its prices are part of the
program and printed with the result.`,
		Example: "  siemctl estimate --events 50e6 --bytes 1200 --connectors 2 --region eu-central-1\n" +
			"  siemctl estimate --events 1e9 --filtered 40 --siem-price 2.50",
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Region = cmp.Or(a.options.Region, a.env("AWS_REGION"), "us-east-1")
			if !cmd.Flags().Changed("per-message") {
				o.PerMessage = cost.DefaultPerMessage(o.EventBytes)
			}
			return a.estimate(&o)
		},
	}
	f := c.Flags()
	f.Float64Var(&o.Events, "events", 1e6, "`events` per month")
	f.Float64Var(&o.EventBytes, "bytes", 1500, "mean `size` of an event")
	f.Float64Var(&o.PerMessage, "per-message", 0,
		"`events` in a message; default as the producers do it: up to 100 events and 256 KiB")
	f.Float64Var(&o.SendBatch, "send-batch", 10, "`messages` that the platform sends in one request, 1 to 10")
	f.Float64Var(&o.BatchFill, "batch", 100, "`events` in an invocation, 1 to 4000; fewer if events are rare")
	f.IntVar(&o.Connectors, "connectors", 1, "how `many` SIEMs each event goes to")
	f.Float64Var(&o.MemoryMB, "memory", cost.DefaultMemoryMB, "`megabytes` of a function")
	f.Float64Var(&o.Milliseconds, "milliseconds", 300, "`time` of a request to the SIEM")
	f.Float64Var(&o.Compression, "compression", cost.UsualCompression,
		"gzip's `ratio` for all but a request's first event; 1 without gzip (XSIAM by default, and QRadar)")
	f.Float64Var(&o.DeadLetters, "dead-letters", 0,
		"`percentage` of events that the SIEM rejects and that are replayed once")
	f.Float64Var(&o.Filtered, "filtered", 0, "`percentage` of events that SIEM_MIN_SEVERITY or SIEM_CLASSES excludes")
	f.Float64Var(&o.siemPrice, "siem-price", 0, "your SIEM's price of a GB in US `dollars`")
	f.IntVar(&o.pollers, "pollers", 0, "also compute the throughput of provisioned mode with this `number` of pollers")
	f.BoolVar(&o.Alarms, "alarms", true, "with the template's alarms")
	f.BoolVar(&o.Guard, "guard", true, "with the guard")
	return c
}

func (o *estimateOptions) check() error {
	problems := o.Check()
	if most := len(connectors.Names()); o.Connectors < 1 || o.Connectors > most {
		problems = append(problems, fmt.Sprintf("--connectors: expected 1 to %d, found %d", most, o.Connectors))
	}
	if o.pollers < 0 || o.pollers > 10_000 {
		problems = append(problems, fmt.Sprintf("--pollers: expected 0 to 10000, found %d", o.pollers))
	}
	if !(o.siemPrice >= 0) || math.IsInf(o.siemPrice, 0) {
		problems = append(problems, fmt.Sprintf("--siem-price: expected a number that is not negative, found %v",
			o.siemPrice))
	}
	if problems != nil {
		return usage("%s", strings.Join(problems, "; "))
	}
	return nil
}

func (a *app) estimate(o *estimateOptions) error {
	if err := o.check(); err != nil {
		return err
	}
	e := estimated{Estimate: cost.Of(o.Load), SIEM: o.siemVolumes()}
	if o.pollers > 0 {
		t := o.Provisioned(o.pollers)
		e.Provisioned = &t
	}
	return a.result(e, false, func() { a.showEstimate(&e, o) })
}

// siemVolumes encodes generated events with each connector, and scales the ratio of the sizes to the load.
func (o *estimateOptions) siemVolumes() []siemVolume {
	var list []siemVolume
	for _, c := range allConnectors() {
		bytes := o.EventBytes * c.encodedRatio()
		arriving := o.Events * (1 - o.Filtered/100)
		v := siemVolume{Connector: c.Name, EventBytes: math.Round(bytes), Gigabytes: arriving * bytes / 1e9,
			Saved: (o.Events - arriving) * bytes / 1e9}
		v.Dollars = v.Gigabytes * o.siemPrice
		list = append(list, v)
	}
	return list
}

const (
	ratioEvents = 500
	// largestUsual leaves out the few generated events that are large on purpose.
	largestUsual = 4000
)

// encodedRatio is the size of generated events as the SIEM receives them, relative to the size of the events.
func (c connector) encodedRatio() float64 {
	opened := c.Open(settings.New(func(name string) string { return c.Example[name] }, nil))
	separator := len(opened.Format().Separator)
	var parser event.Parser
	events, records := 0, 0
	for made := ocsfgen.New(1); events < ratioEvents*largestUsual/4; {
		body := made.Next()
		var e event.Event
		parser.Reset()
		if len(body) > largestUsual || parser.Parse(body, &e) != nil {
			continue
		}
		if record, _, err := opened.Append(nil, &e); err == nil {
			events, records = events+len(body), records+len(record)+separator
		}
	}
	return float64(records) / float64(events)
}

func (a *app) showEstimate(e *estimated, o *estimateOptions) {
	several := fmt.Sprintf("%.0f PER MESSAGE", e.Several.EventsPerMessage)
	a.out.Line("%s", a.out.Paint(term.Bold, "A million events, each connector"))
	var rows [][]term.Cell
	for i, one := range e.Single.PerMillion {
		more := e.Several.PerMillion[i]
		rows = append(rows, term.Row("  "+one.Name, one.Unit, quantity(one.Quantity), dollars(one.Dollars),
			quantity(more.Quantity), dollars(more.Dollars)))
	}
	a.out.Table([]string{"  ITEM", "UNIT", "1 PER MESSAGE", "USD", several, "USD"}, rows)

	a.heading("A month, in addition, " + term.Count(o.Connectors, "connector"))
	rows = nil
	for _, i := range e.Monthly {
		rows = append(rows, term.Row("  "+i.Name, i.Unit, quantity(i.Quantity), dollars(i.Dollars)))
	}
	a.out.Table([]string{"  ITEM", "UNIT", "QUANTITY", "USD"}, rows)

	a.out.Line("")
	a.out.Table([]string{"TOTAL, USD IN " + strings.ToUpper(o.Region), "1 PER MESSAGE", several}, [][]term.Cell{
		total("a million events, "+term.Count(o.Connectors, "connector"), e.UpTo, e.Single.MillionDollars,
			e.Several.MillionDollars),
		total("a month, in addition", e.UpTo, e.MonthlyDollars, e.MonthlyDollars),
		total("a month with "+term.Count(int64(math.Round(o.Events)), "event"), e.UpTo, e.Single.TotalDollars,
			e.Several.TotalDollars),
	})
	a.showVolumes(e, o)
	if t := e.Provisioned; t != nil {
		a.out.Line("\nProvisioned mode with %s delivers up to %s per second (limit: %s).",
			term.Count(t.Pollers, "poller"), term.Count(int64(t.Events), "event"), t.Limit)
	}
	a.heading("Prices of us-east-1 as of " + e.PricesAsOf)
	rows = nil
	for _, p := range e.Prices {
		rows = append(rows, term.Row("  "+p.Name, term.Right(fmt.Sprint(p.Dollars)), p.Unit, p.Source))
	}
	a.out.Table([]string{"  PRICE", "USD", "PER", "SOURCE"}, rows)
	a.heading("Assumptions")
	for _, text := range e.Assumptions {
		a.out.Line("  - %s", text)
	}
}

func (a *app) heading(text string) { a.out.Line("\n%s", a.out.Paint(term.Bold, text)) }

// showVolumes prints what the SIEMs receive, and what the filter saves.
func (a *app) showVolumes(e *estimated, o *estimateOptions) {
	a.heading("Data that the SIEM receives in a month, before compression")
	heading := []string{"  CONNECTOR", "BYTES PER EVENT", "GB"}
	if o.siemPrice > 0 {
		heading = append(heading, "USD")
	}
	if o.Filtered > 0 {
		heading = append(heading, "GB SAVED BY THE FILTER")
	}
	var rows [][]term.Cell
	for _, v := range e.SIEM {
		row := term.Row("  "+v.Connector, int64(v.EventBytes), quantity(v.Gigabytes))
		if o.siemPrice > 0 {
			row = append(row, dollars(v.Dollars))
		}
		if o.Filtered > 0 {
			row = append(row, quantity(v.Saved))
		}
		rows = append(rows, row)
	}
	a.out.Table(heading, rows)
	if o.Filtered > 0 {
		a.out.Line("In AWS, a filter that excludes %g %% of the events saves $%s a month.", o.Filtered,
			money(e.FilterDollars))
	}
}

// total is a row of prices, as ranges where the region may cost more.
func total(what string, upTo float64, prices ...float64) []term.Cell {
	row := term.Row(what)
	for _, price := range prices {
		text := money(price)
		if upTo > 1 {
			text += " to " + money(price*upTo)
		}
		row = append(row, term.Cell{Text: text, Right: true, Style: term.Bold})
	}
	return row
}

func quantity(n float64) term.Cell {
	if n >= 100 {
		return term.Number(int64(math.Round(n)))
	}
	return term.Right(fmt.Sprintf("%.2f", n))
}

func dollars(n float64) term.Cell { return term.Right(money(n)) }

// money writes dollars, with more decimals for amounts below one dollar.
func money(dollars float64) string {
	if dollars > 0 && dollars < 1 {
		return fmt.Sprintf("%.4f", dollars)
	}
	return fmt.Sprintf("%.2f", dollars)
}
