// Command siemctl is the operator's tool for the connectors: it checks the way to a SIEM, enqueues events, shows what is
// where, replays dead letters, pauses and resumes, stores credentials, estimates costs and validates settings and events.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/aws/smithy-go"
	"github.com/spf13/cobra"

	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/deployed"
	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/term"
)

func main() { os.Exit(siemctl()) }

// siemctl runs the command line, and returns the exit code.
func siemctl() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return run(ctx, os.Args[1:], os.Getenv, os.Stdin, os.Stdout, os.Stderr)
}

// Exit codes.
const (
	exitOK          = 0
	exitFound       = 1   // something is wrong, and was found; or something was left undone
	exitUsage       = 2   // the command line, or a file it names, is wrong; nothing was done
	exitAWS         = 3   // AWS could not be reached, or refused
	exitInterrupted = 130 // Ctrl-C
)

const exitCodes = `0    done, and nothing is wrong
1    something is wrong, and the output says what; or something was left undone
2    the command line, or a file that it names, is wrong; nothing was done
3    AWS could not be reached, or refused
130  interrupted`

// app is what all commands share.
type app struct {
	options deployed.Options
	format  string
	env     func(string) string
	now     func() time.Time
	out     *term.Output
	in      *term.Input
	started bool // a command runs: from here on an error is no longer one of the command line
}

// usageError is a mistake in the command line or in a file that it names.
type usageError struct{ error }

func usage(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// errFound ends a command whose output already says what is wrong.
var errFound = errors.New("something is wrong")

func run(ctx context.Context, args []string, env func(string) string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{env: env, now: time.Now, out: term.New(stdout, stderr, env), in: term.NewInput(stdin)}
	root := a.root() //nolint:contextcheck // the commands get it from ExecuteContext
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	return a.exit(ctx, root.ExecuteContext(ctx))
}

// exit says what went wrong, and returns the exit code that means it.
func (a *app) exit(ctx context.Context, err error) int {
	var (
		wrong usageError
		cloud *deployed.Error
		api   smithy.APIError
	)
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errFound):
		return exitFound
	case errors.Is(err, term.ErrGivenUp), ctx.Err() != nil && errors.Is(err, context.Canceled):
		a.out.Note("interrupted")
		return exitInterrupted
	}
	a.out.Note("%s %s", a.paintError("siemctl:"), term.Clean(err.Error()))
	switch {
	case errors.As(err, &wrong), errors.Is(err, deployed.ErrRegion), !a.started:
		return exitUsage
	case errors.As(err, &cloud), errors.As(err, &api):
		return exitAWS
	}
	return exitFound
}

func (a *app) paintError(text string) string {
	if !a.out.Progress || a.env("NO_COLOR") != "" {
		return text
	}
	return "\x1b[" + string(term.Bad) + "m" + text + "\x1b[0m"
}

const about = `siemctl operates the ArbitexSIEM connectors: audit events from SQS to seven SIEMs.

It finds everything by the name of the CloudFormation stack, and reaches AWS as the AWS CLI does: environment, profile,
single sign-on. Results go to standard output, everything else to standard error.

Exit codes:
` + exitCodes

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use: "siemctl", Short: "Operate the ArbitexSIEM connectors", Long: about,
		Version: version(), SilenceUsage: true, SilenceErrors: true, Args: noCommand,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SetFlagErrorFunc(flagError)
	flags := root.PersistentFlags()
	flags.StringVar(&a.options.Stack, "stack", orElse(a.env("SIEMCTL_STACK"), "arbitex-siem"), "`name` of the CloudFormation stack (SIEMCTL_STACK)")
	flags.StringVar(&a.options.Region, "region", "", "AWS `region`; default as for the AWS CLI")
	flags.StringVar(&a.options.Profile, "profile", "", "AWS `profile`; default as for the AWS CLI")
	flags.StringVar(&a.options.Endpoint, "endpoint-url", "", "`URL` of a local AWS that answers for all services")
	flags.StringVarP(&a.format, "output", "o", "table", "`format` of the result: table or json")
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "json"}, cobra.ShellCompDirectiveNoFileComp))
	root.AddCommand(
		a.checkCommand(), a.statusCommand(), a.sendCommand(), a.lettersCommand(), a.replayCommand(),
		a.pauseCommand(), a.resumeCommand(), a.configureCommand(), a.validateCommand(), a.estimateCommand(),
	)
	for _, c := range root.Commands() {
		a.prepareBefore(c)
	}
	return root
}

// prepareBefore has a command, and those below it, begin with what all commands begin with. The library looks at arguments
// and flags before, so an error up to here is one of the command line.
func (a *app) prepareBefore(c *cobra.Command) {
	for _, below := range c.Commands() {
		a.prepareBefore(below)
	}
	if run := c.RunE; run != nil {
		c.RunE = func(c *cobra.Command, args []string) error {
			if err := a.prepare(); err != nil {
				return err
			}
			return run(c, args)
		}
	}
}

// prepare reads what all commands have.
func (a *app) prepare() error {
	switch a.format {
	case "table":
	case "json":
		a.out.JSON, a.out.Colour = true, false
	default:
		return usage("--output: expected table or json, found %q", a.format)
	}
	if e := a.options.Endpoint; e != "" {
		if u, err := url.Parse(e); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return usage("--endpoint-url: expected a URL such as http://127.0.0.1:5000, found %q", e)
		}
	}
	if a.options.Stack == "" {
		return usage("--stack: expected the name of a CloudFormation stack, is empty")
	}
	a.started = true
	return nil
}

// version is what the binary was built of.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return "unknown"
}

func orElse(text, other string) string {
	if text == "" {
		return other
	}
	return text
}
