// Command siemctl is the operator's tool for the connectors. It checks connections, shows the state of the connectors,
// their logs and their dead letters, replays or discards dead letters, pauses and resumes connectors, stores
// credentials, sends events, validates settings and events, and estimates costs.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/aws/smithy-go"
	"github.com/spf13/cobra"

	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/deployed"
	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/term"
	"github.com/arbitex/siem-connectors/shared/deadletter"
	"github.com/arbitex/siem-connectors/shared/version"
)

func main() { os.Exit(siemctl()) }

// siemctl runs the command line and returns the exit code. The first Ctrl-C ends the command in order, the second one
// at once.
func siemctl() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	return run(ctx, os.Args[1:], os.Getenv, os.Stdin, os.Stdout, os.Stderr)
}

// Exit codes.
const (
	exitOK          = 0
	exitProblems    = 1
	exitUsage       = 2
	exitAWS         = 3
	exitInterrupted = 130
)

const exitCodes = `0    success, no problems
1    problems were found, or the command did only a part of its work; the output names them
2    the command line, or a file that it names, is not valid; nothing was done
3    AWS could not be reached, or refused a request
130  interrupted (Ctrl-C, or Ctrl-D at a question)`

// app is the state that all commands share.
type app struct {
	options deployed.Options
	format  string
	env     func(string) string
	now     func() time.Time
	pause   func(context.Context, time.Duration) error
	out     *term.Output
	in      *term.Input
	noting  sync.Mutex
	started bool // a command runs: later errors are not errors of the command line
}

// usageError is an error in the command line or in a file that it names.
type usageError struct{ error }

func usage(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// errProblems ends a command whose output already names the problems.
var errProblems = errors.New("problems were found")

func run(ctx context.Context, args []string, env func(string) string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{env: env, now: time.Now, pause: deadletter.Sleep, out: term.New(stdout, stderr, env),
		in: term.NewInput(stdin)}
	a.out.JSON = wantsJSON(args)
	root := a.root() //nolint:contextcheck // the commands get it from ExecuteContext
	root.SetArgs(args)
	root.SetOut(a.out.Out)
	root.SetErr(stderr)
	addLibraryCommands(root)
	return a.exit(ctx, root.ExecuteContext(ctx))
}

// wantsJSON reports whether the command line asks for JSON. It is asked before the command line is parsed, because
// errors in the command line are JSON too.
func wantsJSON(args []string) bool {
	for i, arg := range args {
		switch arg {
		case "--":
			return false
		case "-ojson", "-o=json", "--output=json":
			return true
		case "-o", "--output":
			if i+1 < len(args) && args[i+1] == "json" {
				return true
			}
		}
	}
	return false
}

// exit reports the error of a command and returns the exit code.
func (a *app) exit(ctx context.Context, err error) int {
	var (
		wrong usageError
		cloud *deployed.Error
		sdk   *smithy.OperationError
	)
	failed := a.out.Failed()
	if failed != nil && (err == nil || errors.Is(err, errProblems) || errors.Is(err, failed)) {
		err, a.started = fmt.Errorf("the output is not complete: %w", failed), true
	}
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errProblems):
		return exitProblems
	case errors.Is(err, term.ErrInterrupted), ctx.Err() != nil && errors.Is(err, context.Canceled):
		a.showError(errors.New("interrupted"), exitInterrupted)
		return exitInterrupted
	}
	code := exitProblems
	switch {
	case errors.As(err, &wrong), errors.Is(err, deployed.ErrRegion), !a.started:
		code = exitUsage
	case errors.As(err, &cloud), errors.As(err, &sdk):
		code = exitAWS
	}
	a.showError(err, code)
	return code
}

// result shows the result of a command, as JSON or by show. The error is errProblems if there are problems.
func (a *app) result(v any, problems bool, show func()) error {
	if !a.out.JSON {
		show()
	} else if err := a.out.Object(v); err != nil {
		return err
	}
	if problems {
		return errProblems
	}
	return nil
}

// beforeNext pauses a command that runs until Ctrl-C, and ends it if its output cannot be written.
func (a *app) beforeNext(ctx context.Context, pause time.Duration) error {
	if err := a.out.Failed(); err != nil {
		return err
	}
	return a.pause(ctx, pause)
}

// failure is an error in JSON mode. It goes to standard error.
type failure struct {
	Error    string `json:"error"`
	ExitCode int    `json:"exit_code"`
}

func (a *app) showError(err error, code int) {
	switch {
	case a.out.JSON:
		a.out.Event(failure{err.Error(), code})
	case code == exitInterrupted:
		a.out.Note("%s", err)
	case a.out.Progress && a.env("NO_COLOR") == "":
		a.out.Note("\x1b["+string(term.Bad)+"msiemctl:\x1b[0m %s", err)
	default:
		a.out.Note("siemctl: %s", err)
	}
}

const about = `siemctl operates the ArbitexSIEM connectors, which deliver audit events from SQS to SIEMs.

It finds all resources by the name of the CloudFormation stack. It uses the AWS configuration that the AWS CLI uses:
environment, profile, single sign-on. Results go to standard output, everything else to standard error. With
--output json, both are JSON: the result is one value, and each note or error is one line.

Exit codes:
` + exitCodes

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use: "siemctl", Short: "Operate the ArbitexSIEM connectors", Long: about,
		Version: builtVersion(), SilenceUsage: true, SilenceErrors: true, Args: noCommand,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SetFlagErrorFunc(flagError)
	flags := root.PersistentFlags()
	flags.StringVar(&a.options.Stack, "stack", cmp.Or(a.env("SIEMCTL_STACK"), "arbitex-siem"),
		"`name` of the CloudFormation stack (SIEMCTL_STACK)")
	flags.StringVar(&a.options.Region, "region", "", "AWS `region`; default as for the AWS CLI")
	flags.StringVar(&a.options.Profile, "profile", "", "AWS `profile`; default as for the AWS CLI")
	flags.StringVar(&a.options.Endpoint, "endpoint-url", "", "`URL` of a local AWS, for all services")
	flags.StringVarP(&a.format, "output", "o", "table", "`format` of the result: table or json")
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "json"},
		cobra.ShellCompDirectiveNoFileComp))
	root.AddCommand(
		a.checkCommand(), a.statusCommand(), a.logsCommand(), a.traceCommand(), a.reconcileCommand(), a.sendCommand(),
		a.lettersCommand(), a.replayCommand(),
		a.pauseCommand(), a.resumeCommand(), a.configureCommand(), a.validateCommand(), a.estimateCommand(), a.docsCommand(),
		a.deployCommand(), a.initCommand(), a.versionCommand(),
	)
	for _, c := range root.Commands() {
		a.prepareBefore(c)
	}
	return root
}

// prepareBefore makes a command and its subcommands call prepare first. The library checks arguments and flags before
// that, so an error up to here is an error of the command line.
func (a *app) prepareBefore(c *cobra.Command) {
	for _, sub := range c.Commands() {
		a.prepareBefore(sub)
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

// prepare checks the options of all commands.
func (a *app) prepare() error {
	switch a.format {
	case "table":
	case "json":
		a.out.JSON, a.out.Colour = true, false
	default:
		return usage("--output: expected table or json, found %q%s", a.format, suggest(a.format, []string{"table", "json"}))
	}
	if e := a.options.Endpoint; e != "" {
		if u, err := url.Parse(e); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return usage("--endpoint-url: expected a URL such as http://127.0.0.1:5000, found %q", e)
		}
	}
	if a.options.Stack == "" {
		return usage("--stack: expected the name of a CloudFormation stack, found an empty value")
	}
	a.started = true
	return nil
}

// builtVersion returns the released version, or what Go knows about the commit that the binary was built from.
func builtVersion() string {
	info, ok := debug.ReadBuildInfo()
	if released := version.Version != "development"; !released && ok && strings.HasPrefix(info.Main.Version, "v") {
		return info.Main.Version
	}
	return version.Version
}

// docsCommand prints the manual. It is generated from the commands themselves.
func (a *app) docsCommand() *cobra.Command {
	return &cobra.Command{
		Use: "docs", Short: "Print the manual of all commands as Markdown", Args: cobra.NoArgs,
		Example: "  siemctl docs > siemctl.md\n  siemctl docs | less",
		RunE: func(c *cobra.Command, _ []string) error {
			var manual strings.Builder
			writeManual(&manual, c.Root())
			return a.result(map[string]string{"manual": manual.String()}, false, func() {
				a.out.Text(strings.TrimRight(manual.String(), "\n"))
			})
		},
	}
}

// writeManual writes the section of a command and those of its subcommands.
func writeManual(w *strings.Builder, c *cobra.Command) {
	fmt.Fprintf(w, "## %s\n\n%s\n\n", c.CommandPath(), cmp.Or(c.Long, c.Short))
	fmt.Fprintf(w, "```\n%s\n```\n\n", c.UseLine())
	if c.Example != "" {
		fmt.Fprintf(w, "Examples:\n\n```\n%s\n```\n\n", c.Example)
	}
	flags := c.LocalFlags()
	flags.SortFlags = true
	if text := strings.TrimRight(flags.FlagUsages(), "\n"); text != "" {
		fmt.Fprintf(w, "Flags:\n\n```\n%s\n```\n\n", text)
	}
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() && sub.Name() != "help" && sub.Name() != "completion" {
			writeManual(w, sub)
		}
	}
}

// closest returns the known name that is most likely meant, "" if none is close.
func closest(name string, known []string) string {
	best, bestDistance := "", max(2, len(name)/5)+1
	folded := strings.ToLower(name)
	for _, k := range known {
		other := strings.ToLower(k)
		if len(name) >= 3 && strings.HasPrefix(other, folded) || len(k) >= 3 && strings.HasPrefix(folded, other) {
			return k
		}
		if d := distance(folded, other); d < bestDistance && d < len(name) {
			best, bestDistance = k, d
		}
	}
	return best
}

// suggest returns the closest known name as the end of an error message, "" if none is close.
func suggest(name string, known []string) string {
	if k := closest(name, known); k != "" {
		return fmt.Sprintf(" (did you mean %q?)", k)
	}
	return ""
}

// distance is the Levenshtein distance in bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version of siemctl", Args: cobra.NoArgs,
		Example: "  siemctl version",
		Long:    "Print the version of siemctl. The stack's output Version names the version of the functions.",
		RunE: func(*cobra.Command, []string) error {
			version := builtVersion()
			return a.result(map[string]string{"version": version}, false, func() { a.out.Line("%s", version) })
		},
	}
}
