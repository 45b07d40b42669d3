// Package refresh keeps a value that takes a request to obtain and becomes stale: a secret, an access token.
package refresh

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Cache keeps one value. At most one load is in flight. Callers that have a usable value do not wait for it, the others
// wait as long as their context allows. A Cache is safe for concurrent use.
type Cache[T comparable] struct {
	now   func() time.Time
	pause time.Duration
	keep  func(error) bool

	mu     sync.Mutex
	flight *flight[T]
	value  T
	exists bool   // there is a value
	loads  uint64 // that have succeeded

	// The life of the value and the time of the last load are wall clock, Unix milliseconds. The monotonic clock stops
	// while Lambda freezes the process.
	renew, expire, loaded int64 // expire is 0 for never
}

// Load obtains the value. It should obey ctx, which is that of one of the callers.
type Load[T comparable] func(ctx context.Context) (T, Life, error)

// Life is how long a value is used.
type Life struct {
	Renew  time.Time // when the next caller loads a new one
	Expire time.Time // from when on it cannot be used; zero is never
}

// flight is a load. Its results may be read when done is closed.
type flight[T comparable] struct {
	done      chan struct{}
	value     T
	err       error
	kept      bool // value is the one before, since the load failed
	abandoned bool // the context of the caller that loads has ended, which does not concern the others
}

// New makes a Cache. If a load fails, a value that has not expired is used, and not loaded again for pause; unless keep
// reports false for the error.
func New[T comparable](now func() time.Time, pause time.Duration, keep func(error) bool) *Cache[T] {
	return &Cache[T]{now: now, pause: pause, keep: keep}
}

// Get returns a value to use now. It loads one if there is none or it is time to renew it. The error is that of the
// load, or of ctx.
func (c *Cache[T]) Get(ctx context.Context, load Load[T]) (T, error) {
	if value, ok := c.Fresh(); ok { // without the allocations of get
		return value, nil
	}
	f := c.get(ctx, load, func() bool { return c.usable() && (c.time() < c.renew || c.flight != nil) })
	if f.kept {
		return f.value, nil
	}
	return f.value, f.err
}

// Fresh returns the value if it need not be renewed. Unlike Get, it allocates nothing.
func (c *Cache[T]) Fresh() (value T, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.usable() || c.time() >= c.renew {
		return value, false
	}
	return c.value, true
}

// recent is the longest age of a load that confirms a value in spite of a refusal.
const recent = 2 * time.Second

// Renew returns the value to use instead of one that was refused. It loads a new one, unless another caller has done
// so: the value is not the refused one, or a load since the one that the caller knows (Loads) confirmed it just now.
// If the load fails and the value is still usable, Renew returns both the value and the error.
func (c *Cache[T]) Renew(ctx context.Context, refused T, known uint64, load Load[T]) (T, error) {
	f := c.get(ctx, load, func() bool {
		age := c.time() - c.loaded
		return c.exists && (c.value != refused || c.loads > known && 0 <= age && age <= recent.Milliseconds())
	})
	return f.value, f.err
}

// get returns the current value if fresh says so; fresh is called with the lock held. Else it loads, or waits for a
// load.
func (c *Cache[T]) get(ctx context.Context, load Load[T], fresh func() bool) *flight[T] {
	for {
		c.mu.Lock()
		if fresh() {
			defer c.mu.Unlock()
			return &flight[T]{value: c.value}
		}
		f := c.flight
		if f == nil {
			f = &flight[T]{done: make(chan struct{}), abandoned: true}
			c.flight = f
			c.mu.Unlock()
			c.fly(ctx, f, load)
			return f
		}
		c.mu.Unlock()
		select {
		case <-f.done:
			if !f.abandoned {
				return f
			}
		case <-ctx.Done():
			return &flight[T]{err: fmt.Errorf("waiting for another request: %w", ctx.Err())}
		}
	}
}

// fly loads. Nobody is left waiting, even if load panics.
func (c *Cache[T]) fly(ctx context.Context, f *flight[T], load Load[T]) {
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.flight = nil
		close(f.done)
	}()
	value, life, err := load(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err == nil:
		c.value, c.exists, c.renew, c.expire = value, true, life.Renew.UnixMilli(), 0
		if !life.Expire.IsZero() {
			c.expire = life.Expire.UnixMilli()
		}
		c.loads, c.loaded = c.loads+1, c.time()
	case c.usable() && c.keep(err):
		c.renew = c.time() + c.pause.Milliseconds()
		value, f.kept = c.value, true
	}
	f.value, f.err = value, err
	f.abandoned = err != nil && !f.kept && ctx.Err() != nil
}

func (c *Cache[T]) time() int64 { return c.now().UnixMilli() }

// usable reports whether there is a value that has not expired.
func (c *Cache[T]) usable() bool { return c.exists && (c.expire == 0 || c.time() < c.expire) }

// Loads counts the loads that have succeeded.
func (c *Cache[T]) Loads() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.loads
}

// Current returns the value, even one that has expired; ok is false if there is none.
func (c *Cache[T]) Current() (value T, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.value, c.exists
}

// Drop forgets value, unless it has been replaced.
func (c *Cache[T]) Drop(value T) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.value == value {
		var none T
		c.value, c.exists = none, false
	}
}
