package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/deployed"
	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/term"
	"github.com/arbitex/siem-connectors/shared/connectors"
	"github.com/arbitex/siem-connectors/shared/lambdahost"
)

// checkTimeout limits a check that runs on this machine. In AWS, the function's timeout applies.
const checkTimeout = 30 * time.Second

// checked is the result of one check with the warnings of its connector.
type checked struct {
	lambdahost.CheckResult
	Warnings []string `json:"warnings,omitempty"`
}

func (a *app) checkCommand() *cobra.Command {
	var local bool
	var file string
	c := &cobra.Command{
		Use: "check [connector...]", Short: "Check the connection to the SIEM",
		Long: `Check the connection to each SIEM with the cheapest request that proves the credential. If a check fails,
the output names the step, the cause and the fix.

The steps: config, secret, dns, connect, tls, auth, request

Each connector's own function makes the request, from the network from which it delivers. With --local, this machine
makes it, with the settings of the environment or of --settings, and without AWS (unless SIEM_SECRET_ID names a
secret).`,
		Example: "  siemctl check\n  siemctl check splunk elastic\n  siemctl check qradar --local --settings " +
			"qradar.env",
		ValidArgsFunction: completeConnectors,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !local && file != "" {
				return usage("--settings: only valid with --local; a deployed function has its own settings")
			}
			if local && len(args) == 0 {
				return usage("connector: --local requires a name, one of %s", strings.Join(connectors.Names(), ", "))
			}
			results, err := a.check(cmd.Context(), args, local, file)
			if err != nil {
				return err
			}
			return a.showChecks(results)
		},
	}
	c.Flags().BoolVar(&local, "local", false, "check from this machine, without AWS")
	c.Flags().StringVar(&file, "settings", "", "`file` of settings for --local: NAME=value lines or a JSON object; "+
		"takes precedence over the environment")
	return c
}

func (a *app) check(ctx context.Context, args []string, local bool, file string) ([]checked, error) {
	if !local {
		s, here, err := a.connect(ctx, args)
		if err != nil {
			return nil, err
		}
		return each(here, func(c connector) (checked, error) { return checkDeployed(ctx, s, c) })
	}
	list, err := find(args)
	if err != nil {
		return nil, err
	}
	source, err := a.settingsFrom(file)
	if err != nil {
		return nil, err
	}
	for _, u := range source.unknownSettings() {
		a.out.Note("warning: %s", u.String())
	}
	if file != "" {
		setProcessEnvironment(source.lookup)
	}
	return each(list, func(c connector) (checked, error) { return a.checkHere(ctx, c, source.lookup) })
}

// setProcessEnvironment sets the variables that Go's own packages read from the process's environment.
func setProcessEnvironment(env func(string) string) {
	for _, name := range []string{"HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE"} {
		if value := env(name); value != "" {
			_ = os.Setenv(name, value) // fails only for invalid names
		}
	}
}

// each calls do for every item concurrently, and returns the results in the order of the list.
func each[T, R any](list []T, do func(T) (R, error)) ([]R, error) {
	results := make([]R, len(list))
	var group errgroup.Group
	for i, item := range list {
		group.Go(func() (err error) {
			results[i], err = do(item)
			return err
		})
	}
	return results, group.Wait()
}

var checkPayload = []byte(`{"check":true}`)

func checkDeployed(ctx context.Context, s *deployed.Stack, c connector) (checked, error) {
	answer, err := s.Invoke(ctx, c.Name, checkPayload)
	if err != nil {
		return checked{}, err
	}
	var r checked
	if err := json.Unmarshal(answer, &r.CheckResult); err != nil || r.Connector == "" {
		return r, fmt.Errorf("the function of %s returned an unknown response to the check; is it an older version?", c.Name)
	}
	return r, nil
}

// checkHere runs the connector in this process. Queue URLs get placeholders if they are not set, because nothing is
// enqueued.
func (a *app) checkHere(ctx context.Context, c connector, env func(string) string) (checked, error) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	var log bytes.Buffer
	world := lambdahost.Deps{Out: &log, Now: a.now, Secrets: lazySecrets{a}, Env: func(name string) string {
		value := env(name)
		if value == "" && (name == "SIEM_QUEUE_URL" || name == "SIEM_DEAD_LETTER_QUEUE_URL") {
			return "https://sqs.example.com/queue"
		}
		return value
	}}
	answer, err := lambdahost.NewConnector(c.Name, c.Open, world).Invoke(ctx, checkPayload)
	if err != nil {
		return checked{}, err
	}
	var r checked
	if err := json.Unmarshal(answer, &r.CheckResult); err != nil {
		return r, fmt.Errorf("reading the result of the check: %w", err)
	}
	r.Warnings = warnings(&log)
	return r, nil
}

// warnings returns the warnings about settings in a function's log.
func warnings(log *bytes.Buffer) []string {
	var list []string
	for lines := bufio.NewScanner(log); lines.Scan(); {
		var line struct{ Warning string }
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Warning != "" {
			list = append(list, line.Warning)
		}
	}
	return list
}

// lazySecrets connects to Secrets Manager only if a secret is read.
type lazySecrets struct{ app *app }

func (l lazySecrets) GetSecretValue(ctx context.Context, in *secretsmanager.GetSecretValueInput,
	o ...func(*secretsmanager.Options)) (*secretsmanager.GetSecretValueOutput, error) {
	cfg, err := deployed.Config(ctx, l.app.options)
	if err != nil {
		return nil, err
	}
	return deployed.Secrets(cfg).GetSecretValue(ctx, in, o...)
}

func (a *app) showChecks(results []checked) error {
	failed := slices.ContainsFunc(results, func(r checked) bool { return !r.OK })
	return a.result(results, failed, func() {
		for i := range results {
			a.showCheck(&results[i])
		}
	})
}

func (a *app) showCheck(r *checked) {
	took := a.out.Paint(term.Faint, fmt.Sprintf("(%d ms)", r.Milliseconds))
	if r.OK {
		a.out.Line("%-9s %s %s", r.Connector, a.out.Paint(term.Good, "ok"), took)
	} else {
		a.out.Line("%-9s %s %s", r.Connector, a.out.Paint(term.Bad, "failed at "+string(r.Step)), took)
		a.out.Line("  cause: %s", r.Detail)
		if r.Hint != "" {
			a.out.Line("  fix:   %s", r.Hint)
		}
	}
	for _, w := range r.Warnings {
		a.out.Line("  %s %s", a.out.Paint(term.Warn, "warning:"), w)
	}
}
