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
	"github.com/arbitex/siem-connectors/shared/connectors"
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
	o := demo.Options{Count: 1000, Seed: 1, SIEMs: catalog.List()}
	flags := flag.NewFlagSet("local", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.Events, "events", "", "`file` of events, one JSON object a line, instead of generated ones (EVENTS)")
	flags.Func("count", "how many `events` to generate, default 1000 (COUNT)", func(text string) (err error) {
		if o.Count, err = strconv.Atoi(text); err != nil || o.Count < 1 {
			err = errors.New("a whole number is expected, at least 1")
		}
		return err
	})
	flags.Func("seed", "`number` the generated events depend on, default 1 (SEED)", func(text string) (err error) {
		if o.Seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			err = errors.New("a whole number is expected")
		}
		return err
	})
	flags.Func("keep", "`1` stays up after the account, until Ctrl-C (KEEP)", func(text string) (err error) {
		if o.Keep, err = strconv.ParseBool(text); err != nil {
			err = errors.New("1 or 0 is expected")
		}
		return err
	})
	flags.Func("siems", "comma-separated `names` of the SIEMs to show, default all (SIEMS)", func(text string) (err error) {
		o.SIEMs, err = choose(text)
		return err
	})
	var problems []error
	for _, name := range []string{"events", "count", "seed", "keep", "siems"} {
		variable := strings.ToUpper(name)
		if text := getenv(variable); text != "" {
			if err := flags.Set(name, text); err != nil {
				problems = append(problems, fmt.Errorf("%s is %q: %w", variable, text, err))
			}
		}
	}
	if err := flags.Parse(args); err != nil {
		return demo.Options{}, err
	}
	if flags.NArg() > 0 {
		problems = append(problems, fmt.Errorf("unexpected argument %q: settings are flags or variables", flags.Arg(0)))
	}
	return o, errors.Join(problems...)
}

// choose returns the SIEMs with these names.
func choose(names string) (chosen []catalog.SIEM, err error) {
	list := catalog.List()
	var unknown []string
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(list, func(s catalog.SIEM) bool { return s.Name == strings.TrimSpace(name) })
		if i < 0 {
			unknown = append(unknown, strconv.Quote(name))
			continue
		}
		chosen = append(chosen, list[i])
	}
	if len(unknown) > 0 {
		err = fmt.Errorf("expected some of %s, found %s", strings.Join(connectors.Names(), ", "),
			strings.Join(unknown, ", "))
	}
	return chosen, err
}
