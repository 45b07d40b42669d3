package refresh_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/arbitex/siem-connectors/shared/refresh"
)

const (
	age   = 5 * time.Minute
	pause = 30 * time.Second
)

// source counts loads. Each returns the next number.
type source struct {
	cache *refresh.Cache[int]
	loads atomic.Int64  // begun
	hold  chan struct{} // a load waits for it, or for its context; nil does not wait
	err   error
	life  time.Duration // until a value expires; 0 is never
}

// run runs a test with a cache in simulated time. keep reports whether a failed load keeps the value.
func run(t *testing.T, keep bool, test func(t *testing.T, s *source)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &source{}
		s.cache = refresh.New[int](time.Now, pause, func(error) bool { return keep })
		test(t, s)
	})
}

func pass(d time.Duration) { <-time.After(d) }

func (s *source) get(ctx context.Context) (int, error) { return s.cache.Get(ctx, s.load) }

func (s *source) load(ctx context.Context) (int, refresh.Life, error) {
	n := int(s.loads.Add(1))
	if s.hold != nil {
		select {
		case <-s.hold:
		case <-ctx.Done():
			return 0, refresh.Life{}, ctx.Err()
		}
	}
	life := refresh.Life{Renew: time.Now().Add(age)}
	if s.life > 0 {
		life.Expire = time.Now().Add(s.life)
	}
	return n, life, s.err
}

func wantValue(t *testing.T, value int, err error, want int) {
	t.Helper()
	if value != want || err != nil {
		t.Errorf("%d, %v, want %d", value, err, want)
	}
}

func TestValueIsRenewed(t *testing.T) {
	run(t, true, func(t *testing.T, s *source) {
		for _, step := range []struct {
			pass time.Duration
			want int
		}{{0, 1}, {age - time.Second, 1}, {time.Second, 2}, {0, 2}} {
			pass(step.pass)
			if fresh, ok := s.cache.Fresh(); ok && fresh != step.want {
				t.Errorf("the fresh value is %d, want %d or none", fresh, step.want)
			}
			got, err := s.get(t.Context())
			wantValue(t, got, err, step.want)
			if fresh, ok := s.cache.Fresh(); !ok || fresh != step.want {
				t.Errorf("the fresh value is %d (%t), want %d", fresh, ok, step.want)
			}
		}
	})
}

func TestFailedLoad(t *testing.T) {
	run(t, true, func(t *testing.T, s *source) {
		s.err = errors.New("no")
		if _, err := s.get(t.Context()); !errors.Is(err, s.err) {
			t.Errorf("%v without a value, want the error", err)
		}
		s.err, s.life = nil, age+time.Minute
		got, err := s.get(t.Context())
		wantValue(t, got, err, 2)
		pass(age)
		s.err = errors.New("no")
		for range 2 { // the second does not try again
			got, err = s.get(t.Context())
			wantValue(t, got, err, 2)
		}
		if n := s.loads.Load(); n != 3 {
			t.Errorf("%d loads, want a pause after the third", n)
		}
		pass(pause)
		got, err = s.get(t.Context())
		wantValue(t, got, err, 2)
		pass(pause)
		if _, err := s.get(t.Context()); !errors.Is(err, s.err) {
			t.Errorf("%v after the value has expired, want the error", err)
		}
	})
}

func TestValueIsNotKept(t *testing.T) {
	run(t, false, func(t *testing.T, s *source) {
		got, err := s.get(t.Context())
		wantValue(t, got, err, 1)
		pass(age)
		s.err = errors.New("refused")
		if _, err := s.get(t.Context()); !errors.Is(err, s.err) {
			t.Errorf("%v, want the error that ends the value", err)
		}
	})
}

// TestUsableValueDoesNotWait: while one caller renews a value that is still usable, the others use it.
func TestUsableValueDoesNotWait(t *testing.T) {
	run(t, true, func(t *testing.T, s *source) {
		_, _ = s.get(t.Context())
		pass(age)
		s.hold = make(chan struct{})
		var leader sync.WaitGroup
		leader.Go(func() {
			got, err := s.get(t.Context())
			wantValue(t, got, err, 2)
		})
		synctest.Wait()
		for range 16 {
			got, err := s.get(t.Context())
			wantValue(t, got, err, 1)
		}
		close(s.hold)
		leader.Wait()
		if n := s.loads.Load(); n != 2 {
			t.Errorf("%d loads, want 2", n)
		}
	})
}

// TestWaitersObeyTheirContext: a caller without a value waits for the load of another one as long as its context
// allows, and loads itself if the other one gives up.
func TestWaitersObeyTheirContext(t *testing.T) {
	run(t, true, func(t *testing.T, s *source) {
		s.hold = make(chan struct{})
		leading, giveUp := context.WithCancel(t.Context())
		var calls sync.WaitGroup
		calls.Go(func() {
			if _, err := s.get(leading); !errors.Is(err, context.Canceled) {
				t.Errorf("the leader: %v", err)
			}
		})
		synctest.Wait()
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := s.get(ended); !errors.Is(err, context.Canceled) {
			t.Errorf("a waiter whose context has ended: %v", err)
		}
		calls.Go(func() {
			got, err := s.get(t.Context())
			wantValue(t, got, err, 2)
		})
		synctest.Wait()
		giveUp()
		synctest.Wait()
		close(s.hold)
		calls.Wait()
	})
}

// TestConcurrentCallers: values may be loaded, used and dropped at the same time.
func TestConcurrentCallers(t *testing.T) {
	run(t, true, func(t *testing.T, s *source) {
		var calls sync.WaitGroup
		for range 8 {
			calls.Go(func() {
				for range 200 {
					value, err := s.get(t.Context())
					if err != nil {
						t.Error(err)
					}
					pass(age / 4)
					s.cache.Drop(value)
					s.cache.Current()
				}
			})
		}
		calls.Wait()
	})
}

// TestRenewOnce: callers whose value was refused at the same time cause one load.
func TestRenewOnce(t *testing.T) {
	run(t, true, func(t *testing.T, s *source) {
		used, err := s.get(t.Context())
		wantValue(t, used, err, 1)
		known := s.cache.Loads()
		confirm := func(ctx context.Context) (int, refresh.Life, error) { // the value is the same as before
			_, life, err := s.load(ctx)
			return used, life, err
		}
		var calls sync.WaitGroup
		for range 16 {
			calls.Go(func() {
				got, err := s.cache.Renew(t.Context(), used, known, confirm)
				wantValue(t, got, err, used)
			})
		}
		calls.Wait()
		if n := s.loads.Load(); n != 2 {
			t.Errorf("%d loads, want 2", n)
		}
		if _, err := s.cache.Renew(t.Context(), used, s.cache.Loads(), confirm); err != nil || s.loads.Load() != 3 {
			t.Errorf("%d loads, %v: a caller that knows the last load needs another", s.loads.Load(), err)
		}
		pass(time.Minute)
		got, err := s.cache.Renew(t.Context(), used, known, s.load)
		wantValue(t, got, err, 4)
		pass(time.Minute)
		got, err = s.cache.Renew(t.Context(), used, known, s.load) // which has been replaced
		wantValue(t, got, err, 4)
		s.err = errors.New("no")
		if got, err := s.cache.Renew(t.Context(), 4, s.cache.Loads(), s.load); got != 4 || !errors.Is(err, s.err) {
			t.Errorf("%d, %v, want the value in use and the error", got, err)
		}
	})
}

func TestDrop(t *testing.T) {
	run(t, true, func(t *testing.T, s *source) {
		_, _ = s.get(t.Context())
		s.cache.Drop(7)
		if got, ok := s.cache.Current(); got != 1 || !ok {
			t.Errorf("%d, %t after another value was dropped", got, ok)
		}
		s.cache.Drop(1)
		if _, ok := s.cache.Current(); ok {
			t.Error("the value was not dropped")
		}
		got, err := s.get(t.Context())
		wantValue(t, got, err, 2)
	})
}

// TestPanicLeavesNobodyWaiting: the next caller loads.
func TestPanicLeavesNobodyWaiting(t *testing.T) {
	run(t, true, func(t *testing.T, s *source) {
		func() {
			defer func() { _ = recover() }()
			_, _ = s.cache.Get(t.Context(), func(context.Context) (int, refresh.Life, error) { panic("x") })
		}()
		got, err := s.get(t.Context())
		wantValue(t, got, err, 1)
	})
}
