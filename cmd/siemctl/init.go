package main

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/deployed"
	"github.com/arbitex/siem-connectors/shared/connectors"
	"github.com/arbitex/siem-connectors/shared/version"
)

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
			also: map[string]string{"SPLUNK_HEC_TLS_CA_BUNDLE": "the CA of HEC's certificate, @file; Enter for a public CA"},
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
		answer, err := a.in.Line(a.out, "Connectors ("+strings.Join(connectors.Names(), ", ")+"): ")
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
		if o.alarms, err = a.in.Line(a.out, "ARN of the topic (Enter: CloudWatch only): "); err != nil {
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
