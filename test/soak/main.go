// Command soak sends many events through the emulator while the SIEMs fail, and reports the results and the cost:
// events lost, altered or delivered twice with the cause, dead letters by reason, memory, threads and sockets over
// time, throughput. It then queues a burst for one connector whose SIEM is down, and measures the delay of the others.
//
// It exits with 1 if an event is lost or altered, if memory grows, if the burst is not delivered, or if it delays the
// other connectors.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// Exit codes besides 0: a guarantee was broken or an error occurred; wrong command line; Ctrl-C.
const (
	exitFailed      = 1
	exitUsage       = 2
	exitInterrupted = 130
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code) //nolint:forbidigo // this is a command's main
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintln(stderr, "soak:", err)
		return exitUsage
	}
	o.out = stdout
	err = soakAndReport(ctx, o)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		fmt.Fprintln(stderr, "interrupted")
		return exitInterrupted
	}
	fmt.Fprintln(stderr, "soak:", err)
	return exitFailed
}

// options are the options of the command line.
type options struct {
	events int    // through all connectors together
	burst  int    // queued for one of them
	seed   uint64 // of the events and of the faults
	root   string // the repository
	page   string // page whose part between the marks is renewed; "" for none
	out    io.Writer
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("soak", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.IntVar(&o.events, "events", 1_000_000, "how many `events`, all connectors together")
	flags.IntVar(&o.burst, "burst", defaultBurst,
		"how many `events` are queued for one connector while its SIEM is down; 0 leaves it out")
	flags.Uint64Var(&o.seed, "seed", 1, "`number` on which events and faults depend")
	flags.StringVar(&o.root, "root", ".", "`folder` of the repository")
	flags.StringVar(&o.page, "page", "", "`page` to renew between its marks")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	switch {
	case flags.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case o.events < 1:
		return o, fmt.Errorf("-events is %d: at least 1 is expected", o.events)
	case o.burst < 0:
		return o, fmt.Errorf("-burst is %d: at least 0 is expected", o.burst)
	}
	return o, nil
}
