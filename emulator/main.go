// Command emulator runs the demo (make demo): the whole system on this machine. Its settings are environment variables,
// for `make demo EVENTS=file.jsonl KEEP=1`; each is also a flag.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/arbitex/siem-connectors/emulator/demo"
	"github.com/arbitex/siem-connectors/emulator/siem/catalog"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// Exit codes other than 0: an error, or event counts that do not add up; a wrong command line; Ctrl-C before the end.
const (
	exitFailed      = 1
	exitUsage       = 2
	exitInterrupted = 130
)

func run(ctx context.Context, args []string, getenv func(string) string, stdout *os.File, stderr io.Writer) int {
	options, err := parse(args, getenv, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintln(stderr, err)
		return exitUsage
	}
	options.Out, options.Screen = stdout, demo.DetectScreen(stdout)
	if err = demo.Run(ctx, options); err == nil && !options.Keep {
		err = demo.Outage(ctx, options)
	}
	switch {
	case err == nil:
		return 0
	case errors.Is(err, demo.ErrAccount): // the screen shows it
		return exitFailed
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		fmt.Fprintln(stderr, "interrupted")
		return exitInterrupted
	}
	fmt.Fprintln(stderr, "demo:", err)
	return exitFailed
}

// parse parses the flags, whose defaults are the environment's, and reports all problems together.
func parse(args []string, getenv func(string) string, stderr io.Writer) (demo.Options, error) {
	flags := flag.NewFlagSet("local", flag.ContinueOnError)
	flags.SetOutput(stderr)
	events := flags.String("events", getenv("EVENTS"),
		"`file` of events, one JSON object a line, instead of generated ones (EVENTS)")
	count := flags.String("count", getenv("COUNT"), "how many `events` to generate, default 1000 (COUNT)")
	seed := flags.String("seed", getenv("SEED"), "`number` the generated events depend on, default 1 (SEED)")
	keep := flags.String("keep", getenv("KEEP"), "`1` stays up after the account, until Ctrl-C (KEEP)")
	names := flags.String("siems", getenv("SIEMS"), "comma-separated `names` of the SIEMs to show, default all (SIEMS)")
	if err := flags.Parse(args); err != nil {
		return demo.Options{}, err
	}
	o := demo.Options{Events: *events}
	var problems []error
	note := func(err error) { problems = append(problems, err) }
	o.Count = whole("COUNT", *count, 1000, strconv.Atoi, func(n int) bool { return n > 0 }, note)
	parse := func(text string) (uint64, error) { return strconv.ParseUint(text, 10, 64) }
	o.Seed = whole("SEED", *seed, 1, parse, func(uint64) bool { return true }, note)
	o.Keep = truth("KEEP", *keep, note)
	o.SIEMs = choose(*names, note)
	if flags.NArg() > 0 {
		note(fmt.Errorf("unexpected argument %q: settings are flags or variables", flags.Arg(0)))
	}
	return o, errors.Join(problems...)
}

func whole[T any](name, text string, byDefault T, parse func(string) (T, error), fits func(T) bool,
	note func(error)) T {
	if text == "" {
		return byDefault
	}
	n, err := parse(text)
	if err != nil || !fits(n) {
		note(fmt.Errorf("%s is %q: a whole number is expected, for COUNT at least 1", name, text))
	}
	return n
}

func truth(name, text string, note func(error)) bool {
	if text == "" {
		return false
	}
	b, err := strconv.ParseBool(text)
	if err != nil {
		note(fmt.Errorf("%s is %q: 1 or 0 is expected", name, text))
	}
	return b
}

func choose(names string, note func(error)) []catalog.SIEM {
	list := catalog.List()
	if names == "" {
		return list
	}
	var chosen []catalog.SIEM
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(list, func(s catalog.SIEM) bool { return s.Name == strings.TrimSpace(name) })
		if i < 0 {
			note(fmt.Errorf("SIEMS names %q, which is none of %s", name, known(list)))
			continue
		}
		chosen = append(chosen, list[i])
	}
	return chosen
}

func known(list []catalog.SIEM) string {
	var names []string
	for _, s := range list {
		names = append(names, s.Name)
	}
	return strings.Join(names, ", ")
}
