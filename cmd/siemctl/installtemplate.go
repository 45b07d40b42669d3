package main

import (
	"cmp"
	"context"
	"encoding/json"
	"maps"

	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/indextemplate"
	"github.com/arbitex/siem-connectors/shared/settings"
)

// installTemplate installs the index template if it is wanted, and adds the settings that fit it to the given ones.
func (a *app) installTemplate(ctx context.Context, o configureOptions, env map[string]string,
	stored map[string]json.RawMessage, given map[string]string) (err error) {
	const name = "ELASTIC_ADMIN_API_KEY"
	key := a.env(name)
	if !o.template {
		if o.stdin || !a.in.Interactive() {
			return nil
		}
		key, err = a.askFor(ctx, question{name, "an API key that may install the ingest pipeline and the index " +
			"template, which prevent rejected events; it is not stored, and Enter installs nothing", true}, false)
		if err != nil || key == "" {
			return err
		}
	}
	text, err := json.Marshal(stored)
	if err != nil {
		return err
	}
	values, err := parseObject(text)
	if err != nil {
		return err
	}
	maps.Copy(values, given)
	values["ELASTIC_API_KEY"] = cmp.Or(key, values["ELASTIC_API_KEY"])
	s := settings.New(func(name string) string { return env[name] }, values)
	installed, err := indextemplate.Install(ctx, s)
	for _, name := range installed {
		a.out.Note("installed: %s", name)
	}
	if err != nil {
		return err
	}
	for name, value := range map[string]string{
		"ELASTIC_OP_TYPE":  "create",               // as a data stream needs
		"ELASTIC_PIPELINE": indextemplate.Pipeline, // siemctl reconcile then knows that documents have more fields
	} {
		if !s.Set(name) {
			given[name] = value
		}
	}
	return nil
}
