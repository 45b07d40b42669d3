package main

import "github.com/spf13/cobra"

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version of siemctl", Args: cobra.NoArgs,
		Example: "  siemctl version",
		Long:    "Print the version of siemctl. The stack's output Version names the version of the functions.",
		RunE: func(*cobra.Command, []string) error {
			if a.out.JSON {
				return a.out.Object(map[string]string{"version": builtVersion()})
			}
			a.out.Line("%s", builtVersion())
			return nil
		},
	}
}
