package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/deployed"
	"github.com/arbitex/siem-connectors/shared/connectors"
	"github.com/arbitex/siem-connectors/shared/version"
)

type deployOptions struct {
	release    string // folder of a release's files
	connectors []string
	alarms     string // ARN of an SNS topic, may be empty
	x86        bool
	parameters []string // NAME=value
}

func (a *app) deployCommand() *cobra.Command {
	var o deployOptions
	c := &cobra.Command{
		Use: "deploy", Short: "Deploy the files of a release with SAM CLI", Args: cobra.NoArgs,
		Long: `Deploy the template of a release as the stack, with sam deploy. The stack then has the named connectors
and no others. A parameter that is not named keeps its value; in a new stack it has its default.`,
		Example: "  siemctl deploy --connectors splunk,elastic\n  siemctl deploy --release v1.0.0 --connectors splunk " +
			"--parameter LogLevel=debug",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(o.connectors) == 0 {
				return usage("--connectors: expected at least one")
			}
			if _, err := find(o.connectors); err != nil {
				return err
			}
			return a.deploy(cmd.Context(), o)
		},
	}
	o.flags(c)
	f := c.Flags()
	f.StringSliceVar(&o.connectors, "connectors", nil, "`names` of all connectors of the stack")
	f.StringArrayVar(&o.parameters, "parameter", nil, "`NAME=value` of another parameter of the template; repeatable")
	_ = c.RegisterFlagCompletionFunc("connectors", completeConnectors)
	return c
}

// flags adds the flags that init has, too.
func (o *deployOptions) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&o.release, "release", ".", "`folder` of the release's files")
	f.StringVar(&o.alarms, "alarm-topic", "", "`ARN` of the SNS topic for alarms")
	f.BoolVar(&o.x86, "x86", false, "deploy functions for x86_64 instead of arm64")
}

// template returns the path of the release's template.
func (o *deployOptions) template() (string, error) {
	name, architecture := "template.yaml", "arm64"
	if o.x86 {
		name, architecture = "template-x86_64.yaml", "x86_64"
	}
	template := filepath.Join(o.release, name)
	for _, file := range []string{template, filepath.Join(o.release, "function-replay-"+architecture+".zip")} {
		if _, err := os.Stat(file); err != nil {
			return "", usage("--release: expected the folder of a release's files: %w", err)
		}
	}
	return filepath.Abs(template)
}

// deploy runs sam deploy. Its output goes to standard error.
func (a *app) deploy(ctx context.Context, o deployOptions) error {
	template, err := o.template()
	if err != nil {
		return err
	}
	sam, err := exec.LookPath("sam")
	if err != nil {
		return usage("deploying needs SAM CLI (pip install aws-sam-cli): %w", err)
	}
	args := []string{"deploy", "--template-file", template, "--stack-name", a.options.Stack, "--no-confirm-changeset"}
	if a.options.Region != "" {
		args = append(args, "--region", a.options.Region)
	}
	if a.options.Profile != "" {
		args = append(args, "--profile", a.options.Profile)
	}
	args = append(args, "--parameter-overrides", "Connectors="+strings.Join(o.connectors, ","))
	if o.alarms != "" {
		args = append(args, "AlarmTopicArn="+o.alarms)
	}
	cmd := exec.CommandContext(ctx, sam, slices.Concat(args, o.parameters)...) //nolint:gosec // G204: the operator's own
	cmd.Dir = filepath.Dir(template)                                           // of samconfig.toml
	cmd.Stdout, cmd.Stderr = a.out.Err, a.out.Err
	if a.options.Endpoint != "" {
		cmd.Env = append(os.Environ(), "AWS_ENDPOINT_URL="+a.options.Endpoint)
	}
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	err = cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		// A terminal sends Ctrl-C to both processes, and SAM CLI may end before the signal arrives here.
		if interrupted := a.pause(ctx, time.Second); interrupted != nil {
			return interrupted
		}
		return fmt.Errorf("sam deploy failed (%w); its output above has the cause", exit)
	}
	return err
}

// firstEvent is what init needs to know about a SIEM besides the connector's settings.
type firstEvent struct {
	also   map[string]string // settings to ask for although the connector does not require them, with an explanation
	preset map[string]string // settings of the usual setup, which are stored unless they are set
	look   string            // how to find the event in the SIEM
}

// firstEvents are the connectors whose usual setup needs more than the required settings, or whose query is short.
func firstEvents() map[string]firstEvent {
	return map[string]firstEvent{
		"splunk": {
			also: map[string]string{
				"SPLUNK_HEC_TLS_CA_BUNDLE": "the CA of HEC's certificate, @file; Enter for a public CA",
			},
			look: `index=arbitex sourcetype="arbitex:audit"`,
		},
		"sentinel": {
			preset: map[string]string{"SENTINEL_DCR_STREAM_NAME": "Custom-ArbitexAudit_CL"},
			look:   "ArbitexAudit_CL | take 10    (a new table takes about 10 minutes)",
		},
		"elastic": {look: "Discover, data view arbitex-audit"},
		"datadog": {
			also: map[string]string{"DATADOG_SITE": "the site, for example datadoghq.eu; Enter for datadoghq.com"},
			look: "Logs > Search: source:arbitex-audit",
		},
		"sumo": {look: "_sourceCategory=arbitex/audit | json auto"},
		"qradar": {
			also: map[string]string{"QRADAR_TLS_CA_BUNDLE": "the CA of QRadar's certificate, @file"},
			look: "Log Activity, filter by the log source",
		},
		"xsiam": {
			preset: map[string]string{"XSIAM_AUTH": "token"},
			look:   "dataset = arbitex_audit_raw | limit 10",
		},
	}
}

// page returns the URL of the page that says where to find the settings in the SIEM.
func (c connector) page() string {
	branch := version.Version
	if !strings.HasPrefix(branch, "v") {
		branch = "main"
	}
	return "https://github.com/arbitex/siem-connectors/blob/" + branch + "/docs/connectors/" + c.Name + ".md"
}

func (a *app) initCommand() *cobra.Command {
	var o deployOptions
	c := &cobra.Command{
		Use: "init [connector...]", Short: "Deploy a stack and bring the first event to the SIEM",
		Long: `Deploy the files of a release, and configure and check connectors, with questions. The steps:

  siemctl deploy --connectors <connectors>
  siemctl pause <connector>          so that events wait until the connector is configured
  siemctl configure <connector>
  siemctl check <connector>
  siemctl resume <connector>
  siemctl send --to <connector> --generate 1 --wait

Connectors that the stack already has remain. If a step fails, run init again, or continue with the commands.`,
		Example:           "  siemctl init splunk\n  siemctl init --release v1.0.0 --stack arbitex-siem-staging",
		ValidArgsFunction: completeConnectors,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.init(cmd.Context(), args, o) },
	}
	o.flags(c)
	return c
}

func (a *app) init(ctx context.Context, wanted []string, o deployOptions) error {
	if !a.in.Interactive() {
		return usage("init asks questions, and standard input is not a terminal; `siemctl init --help` names the commands " +
			"for scripts")
	}
	if _, err := o.template(); err != nil {
		return err
	}
	present, exists, err := a.present(ctx)
	if err != nil {
		return err
	}
	if len(wanted) == 0 {
		answer, err := a.in.Line(ctx, a.out, "Connectors ("+strings.Join(connectors.Names(), ", ")+"): ")
		if err != nil {
			return err
		}
		wanted = strings.FieldsFunc(answer, func(r rune) bool { return r == ',' || r == ' ' })
	}
	if len(wanted) == 0 {
		return usage("connector: expected at least one of %s", strings.Join(connectors.Names(), ", "))
	}
	list, err := find(wanted)
	if err != nil {
		return err
	}
	if !exists && o.alarms == "" {
		a.out.Note("Alarms go to an SNS topic; subscribe your mailbox or pager to it. Each alarm links to the runbook.")
		if o.alarms, err = a.in.Line(ctx, a.out, "ARN of the topic (Enter: CloudWatch only): "); err != nil {
			return err
		}
	}
	for _, name := range connectors.Names() {
		if slices.Contains(present, name) || slices.Contains(wanted, name) {
			o.connectors = append(o.connectors, name)
		}
	}
	if err := a.deploy(ctx, o); err != nil {
		return err
	}
	for _, c := range list {
		if err := a.firstEvent(ctx, c); err != nil {
			a.out.Note("%s stays paused until `siemctl resume %s`", c.Name, c.Name)
			return err
		}
	}
	return nil
}

// present returns the connectors of the stack, and whether the stack exists.
func (a *app) present(ctx context.Context) (names []string, exists bool, err error) {
	s, err := deployed.Connect(ctx, a.options)
	if errors.Is(err, deployed.ErrNoStack) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	for _, name := range connectors.Names() {
		if s.Has(name) {
			names = append(names, name)
		}
	}
	return names, true, nil
}

// firstEventTimeout is how long init waits for the first event.
const firstEventTimeout = 2 * time.Minute

// firstEvent configures a connector and sends an event. The connector is paused until the check has succeeded.
func (a *app) firstEvent(ctx context.Context, c connector) error {
	first := firstEvents()[c.Name]
	a.out.Note("\n%s: where to find each value: %s", c.Title, c.page())
	only := []string{c.Name}
	if err := a.switchTo(ctx, only, false); err != nil {
		return err
	}
	if err := a.configure(ctx, c.Name, configureOptions{explain: first.also, preset: first.preset}); err != nil {
		return err
	}
	results, err := a.check(ctx, only, false, "")
	if err != nil {
		return err
	}
	if err := a.showChecks(results); err != nil {
		return err
	}
	if err := a.switchTo(ctx, only, true); err != nil {
		return err
	}
	err = a.send(ctx, sendOptions{to: only, generate: 1, pack: 1, wait: true, timeout: firstEventTimeout})
	if err != nil && !errors.Is(err, errUnconfirmed) {
		return err
	}
	a.out.Note("Look for the event in %s: %s", c.Title, cmp.Or(first.look, "see "+c.page()))
	if err != nil {
		a.out.Note("If it does not arrive: siemctl status; siemctl logs %s", c.Name)
	}
	return nil
}
