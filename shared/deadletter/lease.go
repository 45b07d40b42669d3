package deadletter

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// leaseTime is how long a replay is the only one without saying so again. Short, so that one that was killed does not
// shut the others out for long.
const (
	leaseTime  = 30 * time.Second
	leaseRenew = 20 * time.Second // renew when less is left
	leaseSkew  = 5 * time.Second  // what clocks may differ by
)

// heldError says that another replay is running.
type heldError struct{ until time.Time }

func (e *heldError) Error() string {
	return "another replay is running; if it does not end by itself, it gives way at " + e.until.UTC().Format(time.RFC3339)
}

var errLeaseLost = errors.New("another replay has taken over")

// lease makes this replay the only one: an object in S3 that says who replays, and until when nobody else may.
type lease struct {
	bucket  *bucket
	now     func() time.Time
	owner   string
	etag    string
	expires time.Time
}

type leaseNote struct {
	Owner   string    `json:"owner"`
	Expires time.Time `json:"expires"`
}

func newLease(b *bucket, now func() time.Time) *lease {
	var id [16]byte
	_, _ = rand.Read(id[:]) // it never fails
	return &lease{bucket: b, now: now, owner: hex.EncodeToString(id[:])}
}

// acquire takes the lease. A *heldError says that another replay has it.
func (l *lease) acquire(ctx context.Context) error {
	condition := whenAbsent
	for range tries {
		err := l.write(ctx, condition)
		if !errors.Is(err, errExists) && !errors.Is(err, errMissing) {
			return err
		}
		note, etag, err := l.read(ctx)
		switch {
		case errors.Is(err, errMissing):
			condition = whenAbsent
		case err != nil:
			return err
		case note.Owner == l.owner: // our own write, whose answer was lost
			l.etag, l.expires = etag, note.Expires
			return nil
		case note.Expires.Add(leaseSkew).After(l.now()):
			return &heldError{note.Expires.Add(leaseSkew)}
		default:
			condition = etag
		}
	}
	return &heldError{l.now().Add(leaseTime)} // others were always faster
}

// renew makes sure that the lease lasts for a while. After an error nothing must be done any more that two replays must
// not both do.
func (l *lease) renew(ctx context.Context) error {
	if l.expires.Sub(l.now()) > leaseRenew {
		return nil
	}
	err := l.write(ctx, l.etag)
	if !errors.Is(err, errExists) && !errors.Is(err, errMissing) {
		return err
	}
	note, etag, err := l.read(ctx)
	if err == nil && note.Owner == l.owner && note.Expires.Sub(l.now()) > leaseRenew {
		l.etag, l.expires = etag, note.Expires
		return nil
	}
	return errLeaseLost
}

// left is how long something may take that two replays must not both do.
func (l *lease) left() time.Duration { return l.expires.Sub(l.now()) - leaseSkew }

// release gives the lease back. One that has expired may be another's, which renew finds out.
func (l *lease) release(ctx context.Context) error {
	if err := l.renew(ctx); err != nil {
		return err
	}
	if err := l.bucket.delete(ctx, lockName); err != nil {
		return fmt.Errorf("releasing %s: %w", lockName, err)
	}
	return nil
}

func (l *lease) write(ctx context.Context, condition string) error {
	expires := l.now().Add(leaseTime).UTC()
	body, err := json.Marshal(leaseNote{l.owner, expires})
	if err != nil {
		return err
	}
	etag, err := l.bucket.put(ctx, lockName, condition, "application/json", body)
	if err != nil {
		return fmt.Errorf("writing %s: %w", lockName, err)
	}
	l.etag, l.expires = etag, expires
	return nil
}

// read returns who has the lease. A note that cannot be read counts from when it was written.
func (l *lease) read(ctx context.Context) (leaseNote, string, error) {
	const most = 4096
	body, etag, modified, err := l.bucket.small(ctx, lockName, most)
	if err != nil {
		return leaseNote{}, "", fmt.Errorf("reading %s: %w", lockName, err)
	}
	var note leaseNote
	if json.Unmarshal(body, &note) != nil || note.Owner == "" || note.Expires.IsZero() {
		note = leaseNote{Expires: modified.Add(leaseTime)}
	}
	return note, etag, nil
}
