package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/deployed"
	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/term"
	"github.com/arbitex/siem-connectors/shared/connectors"
)

type logsOptions struct {
	follow, all bool
	level       string
	since       time.Duration
	limit       int
}

// logTarget is a function whose log is read: its name on the command line and the prefix of its logical ids.
type logTarget struct{ name, id string }

func allLogTargets() []logTarget {
	var list []logTarget
	for _, name := range connectors.Names() {
		list = append(list, logTarget{name, name})
	}
	return append(list, logTarget{"deadletter", "DeadLetter"}, logTarget{"guard", "Guard"},
		logTarget{"replay", "Replay"})
}

func (a *app) logsCommand() *cobra.Command {
	var o logsOptions
	var known []string
	for _, t := range allLogTargets() {
		known = append(known, t.name)
	}
	c := &cobra.Command{
		Use: "logs [function...]", Short: "Show the functions' logs",
		Long: `Show the log lines of the functions, the latest last: one line for each batch, and warnings and
errors. Name connectors, deadletter, replay or guard; without a name, all functions of the stack are
shown. Lambda's own lines and metrics are left out unless --all is given. A line that is not from
our code, such as a timeout or a crash, counts as an error.`,
		Example:           "  siemctl logs splunk --level warn --since 24h\n  siemctl logs -f",
		ValidArgsFunction: cobra.FixedCompletions(known, cobra.ShellCompDirectiveNoFileComp),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.check(args, known); err != nil {
				return err
			}
			return a.logs(cmd.Context(), args, o)
		},
	}
	f := c.Flags()
	f.BoolVarP(&o.follow, "follow", "f", false, "wait for new lines, until Ctrl-C")
	f.BoolVar(&o.all, "all", false, "also show Lambda's own lines and metrics")
	f.StringVar(&o.level, "level", "info", "only lines of this `level` or above: "+strings.Join(logLevels(), ", "))
	f.DurationVar(&o.since, "since", time.Hour, "how far back, a `duration` such as 30m or 24h")
	f.IntVar(&o.limit, "limit", 1000, "show at most this many `lines`, the latest")
	_ = c.RegisterFlagCompletionFunc("level", cobra.FixedCompletions(logLevels(), cobra.ShellCompDirectiveNoFileComp))
	return c
}

// logLevels lists the levels in ascending order.
func logLevels() []string { return []string{"debug", "info", "warn", "error"} }

func (o *logsOptions) check(args, known []string) error {
	for _, name := range args {
		if !slices.Contains(known, name) {
			return usage("function: expected one of %s, found %q%s", strings.Join(known, ", "), name, suggest(name, known))
		}
	}
	if !slices.Contains(logLevels(), o.level) {
		return usage("--level: expected one of %s, found %q%s", strings.Join(logLevels(), ", "), o.level,
			suggest(o.level, logLevels()))
	}
	if o.since <= 0 {
		return usage("--since: expected a duration greater than zero, found %s", o.since)
	}
	if o.limit < 1 {
		return usage("--limit: expected at least 1, found %d", o.limit)
	}
	return nil
}

// logTargets returns the named functions; without names, all that the stack has deployed.
func logTargets(s *deployed.Stack, args []string) ([]logTarget, error) {
	var list []logTarget
	for _, t := range allLogTargets() {
		switch {
		case len(args) > 0 && !slices.Contains(args, t.name):
		case s.Has(t.id):
			list = append(list, t)
		case len(args) > 0:
			return nil, usage("function: %s is not deployed in the stack %q", t.name, s.Name)
		}
	}
	return list, nil
}

const (
	followPause = 2 * time.Second
	// followOverlap is how late a line may appear in CloudWatch Logs and still be shown.
	followOverlap = 30 * time.Second
)

func (a *app) logs(ctx context.Context, args []string, o logsOptions) error {
	s, err := deployed.Connect(ctx, a.options)
	if err != nil {
		return err
	}
	targets, err := logTargets(s, args)
	if err != nil {
		return err
	}
	r := &logReader{stack: s, targets: targets, o: o, seen: map[string]time.Time{}}
	from := a.now().Add(-o.since)
	for first := true; ; first = false {
		lines, err := r.read(ctx, from)
		if err != nil {
			return err
		}
		if rest := len(lines) - o.limit; first && rest > 0 {
			a.out.Note("%s not shown; --limit shows more", term.Count(rest, "earlier line"))
			lines = lines[rest:]
		}
		for i := range lines {
			a.showLogLine(&lines[i])
		}
		if !o.follow {
			if len(lines) == 0 {
				a.out.Note("no lines in the last %s", o.since)
			}
			return nil
		}
		if err := a.beforeNext(ctx, followPause); err != nil {
			return err
		}
		from = a.now().Add(-followOverlap)
		maps.DeleteFunc(r.seen, func(_ string, at time.Time) bool { return at.Before(from) })
	}
}

// logReader reads the logs of several functions, each line once.
type logReader struct {
	stack   *deployed.Stack
	targets []logTarget
	o       logsOptions
	seen    map[string]time.Time // ids of the lines read
}

func (r *logReader) read(ctx context.Context, from time.Time) ([]logLine, error) {
	results, err := each(r.targets, func(t logTarget) ([]logLine, error) {
		var lines []logLine
		err := r.stack.Log(ctx, t.id, deployed.LogQuery{From: from}, func(l deployed.LogLine) {
			lines = append(lines, parseLogLine(t.name, l))
		})
		if errors.Is(err, deployed.ErrNoLog) { // the function has not run yet
			err = nil
		}
		return lines, err
	})
	if err != nil {
		return nil, err
	}
	var list []logLine
	for _, lines := range results {
		for _, l := range lines {
			id := l.function + " " + l.id
			if _, known := r.seen[id]; known {
				continue
			}
			r.seen[id] = l.at
			if r.wants(&l) {
				list = append(list, l)
			}
		}
	}
	slices.SortStableFunc(list, func(a, b logLine) int { return a.at.Compare(b.at) })
	return list, nil
}

func (r *logReader) wants(l *logLine) bool {
	if l.platform {
		return r.o.all
	}
	return slices.Index(logLevels(), l.level) >= slices.Index(logLevels(), r.o.level)
}

// logLine is a line of a log.
type logLine struct {
	function, id string
	at           time.Time
	level        string // one of logLevels
	platform     bool   // written by Lambda, or metrics or receipts
	text         string // as written
	message      string
	fields       map[string]any // without time, level, msg and connector; nil if the line is not ours
}

// platformLines begin the lines that Lambda writes for each invocation.
// https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-logformat.html
func platformLines() []string {
	return []string{"START RequestId:", "END RequestId:", "REPORT RequestId:", "INIT_START ", "EXTENSION "}
}

func parseLogLine(function string, l deployed.LogLine) logLine {
	line := logLine{function: function, id: l.ID, at: l.Time, text: strings.TrimRight(l.Text, "\r\n"), level: "error"}
	line.message = line.text
	if slices.ContainsFunc(platformLines(), func(p string) bool { return strings.HasPrefix(line.text, p) }) {
		line.level, line.platform = "info", true
		return line
	}
	decoder := json.NewDecoder(strings.NewReader(line.text))
	decoder.UseNumber()
	var fields map[string]any
	if decoder.Decode(&fields) != nil || fields == nil {
		return line
	}
	message, ok := fields["msg"].(string)
	if !ok {
		line.level, line.platform = "info", true
		return line
	}
	line.message, line.fields = message, fields
	if level, ok := fields["level"].(string); ok {
		line.level = strings.ToLower(level)
	}
	if connector, ok := fields["connector"].(string); ok && connector != "" && function != connector {
		line.message += " " + connector
	}
	for _, name := range []string{"time", "level", "msg", "connector"} {
		delete(fields, name)
	}
	return line
}

func (a *app) showLogLine(l *logLine) {
	if a.out.JSON {
		var raw any = l.text
		if json.Valid([]byte(l.text)) {
			raw = json.RawMessage(l.text)
		}
		if text, err := json.Marshal(map[string]any{"function": l.function, "time": l.at, "level": l.level,
			"line": raw}); err == nil {
			a.out.Text(string(text))
		}
		return
	}
	style := term.Plain
	switch l.level {
	case "warn":
		style = term.Warn
	case "error":
		style = term.Bad
	}
	a.out.Line("%s %-10s %s %s", a.out.Paint(term.Faint, l.at.Format("15:04:05Z")), l.function,
		a.out.Paint(style, fmt.Sprintf("%-5s", strings.ToUpper(l.level))), l.summary())
	for _, detail := range l.details() {
		a.out.Line("%s%s", strings.Repeat(" ", 10), detail)
	}
}

// countFields are the counts of a batch in the order in which they are shown. Zero counts are left out, except
// received.
func countFields() []string {
	return []string{"received", "delivered", "retried", "held", "dead_lettered", "filtered", "drained", "replayed",
		"discarded", "skipped", "remaining", "requests"}
}

// count is a field of a batch, 0 if it has none of that name.
func (l *logLine) count(name string) int64 {
	n, _ := l.fields[name].(json.Number)
	count, _ := n.Int64()
	return count
}

// summary is the message and its counts on one line.
func (l *logLine) summary() string {
	var parts []string
	for _, name := range countFields() {
		if n, ok := l.fields[name].(json.Number); ok && (n != "0" || name == "received") {
			parts = append(parts, fmt.Sprintf("%s %s", strings.ReplaceAll(name, "_", "-"), n))
		}
	}
	if n, ok := l.fields["milliseconds"].(json.Number); ok {
		parts = append(parts, n.String()+" ms")
	}
	if parts == nil {
		return l.message
	}
	return l.message + ": " + strings.Join(parts, ", ")
}

// details are the other fields, one on a line: failures by their count, texts as they are.
func (l *logLine) details() []string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(l.fields)) {
		if slices.Contains(append(countFields(), "milliseconds", "bytes_sent", "request"), name) {
			continue
		}
		switch v := l.fields[name].(type) {
		case map[string]any:
			for _, key := range slices.Sorted(maps.Keys(v)) {
				list = append(list, fmt.Sprintf("%s: %v times %s", name, v[key], key))
			}
		case []any:
			for _, item := range v {
				list = append(list, fmt.Sprintf("%s: %v", name, item))
			}
		default:
			list = append(list, fmt.Sprintf("%s: %v", name, v))
		}
	}
	return list
}
