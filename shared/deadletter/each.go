package deadletter

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
)

// each calls do for every index below n, at most width at a time, and returns their errors by index. A panic becomes the
// error of its index: in a goroutine of its own it would end the process. Of what it says, only the runtime's own words
// are passed on.
func each(n, width int, do func(i int) error) []error {
	errs := make([]error, n)
	var next sync.Mutex
	at := 0
	take := func() int {
		next.Lock()
		defer next.Unlock()
		at++
		return at - 1
	}
	var wg sync.WaitGroup
	for range min(n, width) {
		wg.Go(func() {
			for i := take(); i < n; i = take() {
				errs[i] = guarded(func() error { return do(i) })
			}
		})
	}
	wg.Wait()
	return errs
}

// panicError is a panic as an error. Its stack is for the log alone.
type panicError struct{ text, stack string }

func (e *panicError) Error() string { return "panic: " + e.text }

// guarded calls do and turns a panic into an error.
func guarded(do func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			e := &panicError{text: fmt.Sprintf("%T", p), stack: string(debug.Stack())}
			if own, ok := p.(runtime.Error); ok {
				e.text = own.Error()
			}
			err = e
		}
	}()
	return do()
}
