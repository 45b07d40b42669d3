package lambdahost

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/settings"
	"github.com/arbitex/siem-connectors/shared/sqsbatch"
)

const (
	// secretAge is how long a secret is good for before it is read again.
	secretAge = 5 * time.Minute

	// secretPause is how long a failed re-read of a secret is not repeated.
	secretPause = 30 * time.Second
)

// opened is a connector with the settings it was opened from. It does not change.
type opened struct {
	connector deliver.Connector
	intake    sqsbatch.Handler
}

// holder keeps the connector between invocations, and opens a new one when the secret has changed.
type holder struct {
	world World
	open  Opener
	name  string

	mu     sync.Mutex
	opened *opened
	secret string    // as last read
	due    time.Time // when the secret is to be read again
}

// ready returns the connector to use for an invocation. An error names everything that is wrong with the configuration,
// and is found again, or found mended, at the next invocation.
func (h *holder) ready(ctx context.Context) (*opened, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.opened != nil && (h.world.Env(secretSetting) == "" || h.world.Now().Before(h.due)) {
		return h.opened, nil
	}
	err := h.reopen(ctx)
	if h.opened == nil {
		return nil, err
	}
	return h.opened, nil
}

// renew reads the secret again, and returns the connector to use from now on: a new one when the secret has changed and
// holds a valid configuration, else the one in use.
func (h *holder) renew(ctx context.Context) (*opened, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	err := h.reopen(ctx)
	return h.opened, err
}

// reopen reads the secret and opens a connector when there is none or the secret is another. A failure leaves the one in
// use where there is one, and says so in the log.
func (h *holder) reopen(ctx context.Context) error {
	text, values, err := readSecret(ctx, h.world)
	h.due = h.world.Now().Add(secretAge)
	if err == nil && (h.opened == nil || text != h.secret) {
		err = h.openWith(ctx, text, values)
	}
	if err != nil && h.opened != nil {
		h.due = h.world.Now().Add(secretPause)
		h.opened.intake.Log.LogAttrs(ctx, slog.LevelError, "keeping the configuration in use", slog.String("error", err.Error()))
	}
	return err
}

func (h *holder) openWith(ctx context.Context, text string, values map[string]string) error {
	s := settings.New(h.world.Env, values)
	s.Dial, s.Identity = h.world.Dial, h.world.Identity
	o := &opened{intake: sqsbatch.Handler{
		Connector: h.name, Queue: h.world.SQS, Out: h.world.Out, Now: h.world.Now,
		Stack:           s.String("SIEM_STACK", "local"),
		QueueURL:        s.Required("SIEM_QUEUE_URL", "the URL of the connector's own queue"),
		DeadLetterQueue: s.Required("SIEM_DEAD_LETTER_QUEUE_URL", "the URL of the dead-letter queue"),
		Backoff:         sqsbatch.ReadBackoff(s),
		Filter:          sqsbatch.ReadFilter(s),
		Roles:           sqsbatch.ReadRoles(s),
		Receipts:        s.Bool("SIEM_RECEIPTS", false),
		Log:             h.world.Logger(s),
	}}
	o.connector = h.open(s)
	if err := s.Err(); err != nil {
		return err
	}
	for _, warning := range s.Warnings() {
		o.intake.Log.LogAttrs(ctx, slog.LevelWarn, "setting", slog.String("connector", h.name), slog.String("warning", warning))
	}
	h.opened, h.secret = o, text
	return nil
}

// source gives the engine the connector of one invocation.
type source struct {
	holder *holder
	opened *opened
}

// Current implements deliver.Source.
func (s *source) Current() deliver.Connector { return s.opened.connector }

// Renew implements deliver.Source.
func (s *source) Renew(ctx context.Context) deliver.Connector {
	if renewed, _ := s.holder.renew(ctx); renewed != nil { // the error has been logged, and the old one is used
		s.opened = renewed
	}
	return s.opened.connector
}
