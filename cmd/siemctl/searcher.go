package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/deployed"
	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/receipts"
	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/search"
	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/event"
	"github.com/arbitex/siem-connectors/shared/settings"
)

// searchSettings is a connector whose settings are the search settings of c. lookup returns the settings of c itself.
func searchSettings(c connector, lookup settings.Lookup) connector {
	c.RotatesWithSecret = nil
	c.Open = func(s *settings.Settings) deliver.Connector {
		_, _ = search.Open(c.Name, s, search.Options{Function: lookup}) // s has the problems
		return nil
	}
	return c
}

// searchExplanations are optional search settings that most operators need.
func searchExplanations(name string) map[string]string {
	if name != "sentinel" {
		return nil
	}
	return map[string]string{
		"SENTINEL_SEARCH_CLIENT_ID":     "the ID of an application that may read the workspace",
		"SENTINEL_SEARCH_CLIENT_SECRET": "its secret",
		"SENTINEL_SEARCH_TENANT_ID":     "its tenant; Enter for that of the connector",
		"SENTINEL_SEARCH_TOKEN":         "an access token instead of the application, which expires after an hour",
	}
}

const searchSecretUsage = "`name` or ARN of the secret that holds search credentials; default <stack>/search, which " +
	"siemctl configure --search stores"

// searchSecret is a secret of search credentials.
type searchSecret struct {
	values map[string]string
	err    error // of reading it, if it need not be readable
}

// readSearchSecret reads the named secret. Without a name, it is that of siemctl configure --search, which need not
// exist: the credentials may be in the environment, which takes precedence.
func readSearchSecret(ctx context.Context, s *deployed.Stack, name string) (searchSecret, error) {
	text, err := s.NamedSecret(ctx, cmp.Or(name, s.SearchSecret()))
	switch {
	case name == "" && errors.Is(err, deployed.ErrNoSecret):
		return searchSecret{}, nil
	case name == "" && err != nil && ctx.Err() == nil:
		return searchSecret{err: err}, nil
	case err != nil:
		return searchSecret{}, err
	}
	values, err := parseObject([]byte(text))
	if err != nil {
		return searchSecret{}, usage("the secret %s: %w", cmp.Or(name, s.SearchSecret()), err)
	}
	return searchSecret{values: values}, nil
}

// configured reports whether any search setting of a connector is set.
func (a *app) configured(c connector, secret searchSecret) bool {
	return search.Configured(c.Name, func(name string) string { return cmp.Or(a.env(name), secret.values[name]) })
}

// connectorSettings returns the settings of a connector: the operator's environment first, then the function's
// environment and its secret. Without permission to read the secret, defaults apply.
func (a *app) connectorSettings(ctx context.Context, s *deployed.Stack, c connector) (settings.Lookup, error) {
	env, err := s.Environment(ctx, c.Name)
	if err != nil {
		return nil, err
	}
	var values map[string]string
	text, err := s.Secret(ctx, c.Name)
	if err == nil {
		values, err = parseObject([]byte(text))
	}
	if err != nil {
		if ctx.Err() != nil {
			return nil, err
		}
		a.note(fmt.Sprintf("%s: its settings are not known, and defaults apply unless you set them in your environment: %v",
			c.Name, err))
	}
	return func(name string) string { return cmp.Or(a.env(name), env[name], values[name]) }, nil
}

// searcher makes the searcher of a connector with these settings.
func (a *app) searcher(c connector, lookup settings.Lookup, secret searchSecret) (search.Searcher, error) {
	own := settings.New(a.env, secret.values)
	searcher, err := search.Open(c.Name, own, search.Options{Function: lookup, Wait: a.pause, Note: a.note})
	if wrong, ok := errors.AsType[*settings.Error](err); ok {
		if secret.err != nil {
			return nil, fmt.Errorf("the search credential of %s is not in the environment, and %w", c.Name, secret.err)
		}
		hint := ""
		if !a.configured(c, secret) {
			hint = "; store it with: siemctl configure --search " + c.Name
		}
		return nil, usage("the search credential of %s: %s%s", c.Name, strings.Join(wrong.Problems, "; "), hint)
	}
	return searcher, err
}

// note writes a note. Searches of several SIEMs run concurrently.
func (a *app) note(text string) {
	a.noting.Lock()
	defer a.noting.Unlock()
	a.out.Note("%s", text)
}

// contents returns what the content hash of a receipt becomes in the SIEM. Only QRadar holds something else than the
// event.
func (r *reconciliation) contents() (func(uint64) (uint64, error), error) {
	same := func(hash uint64) (uint64, error) { return hash, nil }
	if r.connector.Name != "qradar" {
		if r.o.events != "" {
			return nil, usage("--events: only valid for qradar; %s holds the whole event", r.connector.Name)
		}
		return same, nil
	}
	if r.settings("QRADAR_CEF_KEYS") != "standard" {
		return nil, usage("qradar: the messages have no event id: set QRADAR_CEF_KEYS=standard for the connector")
	}
	if r.o.events == "" {
		r.o.idsOnly = true
		r.app.out.Note("QRadar holds CEF, not the event: only ids are compared; --events compares the CEF of the original " +
			"events")
		return same, nil
	}
	hashes, err := r.app.cefHashes(r.connector, r.o.events, r.settings)
	if err != nil {
		return nil, err
	}
	return func(hash uint64) (uint64, error) {
		cef, ok := hashes[hash]
		if !ok {
			return 0, fmt.Errorf("its original is not in %s", r.o.events)
		}
		return cef, nil
	}, nil
}

// cefHashes encodes the original events as the connector does, and returns the hashes of their CEF by their own.
func (a *app) cefHashes(c connector, file string, lookup settings.Lookup) (map[uint64]uint64, error) {
	encoder := c.Open(settings.New(lookup, nil)) // credentials are in the secret, and encoding needs none
	hashes := map[uint64]uint64{}
	var buffer []byte
	var problems error
	err := a.eachEvent("--events", file, func(line int, _ []byte, e *event.Event, wrong error) {
		if wrong != nil {
			problems = errors.Join(problems, fmt.Errorf("line %d: %w", line, wrong))
			return
		}
		record, _, err := encoder.Append(buffer[:0], e)
		buffer = record
		own, _ := receipts.Hash(string(e.AppendContentHash(nil))) // always 16 hex digits
		if cef, ok := search.CEFHash(record); err == nil && ok {
			hashes[own] = cef
		}
	})
	if err == nil && problems != nil {
		err = usage("--events %s: %w", file, problems)
	}
	return hashes, err
}
