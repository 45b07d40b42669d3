package replay

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/arbitex/siem-connectors/shared/deadletter"
)

// A lease is short, so that a replay that was killed does not exclude others for long.
const (
	leaseTime  = 25 * time.Second
	leaseSkew  = 5 * time.Second       // tolerated difference of two clocks
	leaseMost  = leaseTime + leaseSkew // a lock that is dated further ahead does not count
	leaseRenew = 15 * time.Second      // renew when less is left
)

// heldError is the error of a call while another replay is running.
type heldError struct{ until time.Time }

func (e *heldError) Error() string {
	return "another replay is running; if it was killed, its lock expires at " + e.until.UTC().Format(time.RFC3339)
}

var errLeaseLost = errors.New("another replay has taken over")

// lease makes this replay the only one. It is an object in S3 that names the owner and the time of expiry.
type lease struct {
	bucket  *deadletter.Bucket
	now     func() time.Time
	owner   string
	etag    string
	expires time.Time
}

type lock struct {
	Owner   string    `json:"owner"`
	Expires time.Time `json:"expires"`
}

func newLease(b *deadletter.Bucket, now func() time.Time) *lease {
	return &lease{bucket: b, now: now, owner: rand.Text()}
}

// acquire takes the lease. The error is a *heldError if another replay has it.
func (l *lease) acquire(ctx context.Context) error {
	condition := deadletter.IfAbsent
	for range deadletter.Tries {
		found, etag, err := l.write(ctx, condition)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, deadletter.ErrMissing):
			condition = deadletter.IfAbsent
		case !errors.Is(err, deadletter.ErrChanged):
			return err
		case found.Expires.Add(leaseSkew).After(l.now()) && !found.Expires.After(l.now().Add(leaseMost)):
			return &heldError{found.Expires.Add(leaseSkew)}
		default:
			condition = etag
		}
	}
	return &heldError{l.now().Add(leaseTime)} // others were faster each time
}

// renew makes sure that the lease lasts for a while. After an error, nothing may be done that two replays must not both
// do.
func (l *lease) renew(ctx context.Context) error {
	if l.expires.Sub(l.now()) > leaseRenew {
		return nil
	}
	_, _, err := l.write(ctx, l.etag)
	if errors.Is(err, deadletter.ErrChanged) || errors.Is(err, deadletter.ErrMissing) {
		return errLeaseLost
	}
	return err
}

// left is how long something may take that two replays must not both do.
func (l *lease) left() time.Duration { return l.expires.Sub(l.now()) - leaseSkew }

// release deletes the lock, unless another replay has taken it.
func (l *lease) release(ctx context.Context) error {
	if err := l.renew(ctx); err != nil {
		return err
	}
	if err := l.bucket.Delete(ctx, deadletter.LockName); err != nil {
		return fmt.Errorf("deleting %s: %w", deadletter.LockName, err)
	}
	return nil
}

// write writes the lock. If the condition is not met, it returns the lock that is there with ErrChanged; a lock of our
// own is success, because it shows that only the response to our write was lost.
func (l *lease) write(ctx context.Context, condition string) (found lock, etag string, err error) {
	own := lock{l.owner, l.now().Add(leaseTime).UTC()}
	body, err := json.Marshal(own)
	if err != nil {
		return lock{}, "", err
	}
	etag, err = l.bucket.Put(ctx, deadletter.LockName, condition, "application/json", body)
	if errors.Is(err, deadletter.ErrChanged) {
		if found, etag, err = l.read(ctx); err != nil {
			return lock{}, "", err
		}
		if found.Owner != l.owner || !found.Expires.Equal(own.Expires) {
			return found, etag, deadletter.ErrChanged
		}
	}
	if err != nil {
		return lock{}, "", fmt.Errorf("writing %s: %w", deadletter.LockName, err)
	}
	l.etag, l.expires = etag, own.Expires
	return own, etag, nil
}

// read returns the lock. An unreadable lock counts from the time it was written.
func (l *lease) read(ctx context.Context) (lock, string, error) {
	const most = 4096
	body, etag, modified, err := l.bucket.Get(ctx, deadletter.LockName, most)
	if err != nil {
		return lock{}, "", fmt.Errorf("reading %s: %w", deadletter.LockName, err)
	}
	var found lock
	if json.Unmarshal(body, &found) != nil || found.Owner == "" || found.Expires.IsZero() {
		found = lock{Expires: modified.Add(leaseTime)}
	}
	return found, etag, nil
}
