package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
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
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && ctx.Err() == nil {
		return fmt.Errorf("sam deploy failed (%w); its output above has the cause", exit)
	}
	return err
}
