package fakeaws

import (
	"cmp"
	heaps "container/heap"
)

// heap holds messages with fast access to the first, so that a queue of 100,000 messages stays fast.
type heap struct {
	before   func(a, b *message) int
	messages []*message
}

func byPlace(a, b *message) int {
	return cmp.Or(cmp.Compare(a.place, b.place), cmp.Compare(a.ID, b.ID))
}

func byTime(a, b *message) int {
	return cmp.Or(a.Visible.Compare(b.Visible), cmp.Compare(a.arrival, b.arrival))
}

func byArrival(a, b *message) int { return cmp.Compare(a.arrival, b.arrival) }

// first is nil when there is none.
func (h *heap) first() *message {
	if len(h.messages) == 0 {
		return nil
	}
	return h.messages[0]
}

func (h *heap) add(m *message) {
	m.in = h
	heaps.Push((*entries)(h), m)
}

func (h *heap) remove(m *message) { heaps.Remove((*entries)(h), m.at) }

// entries implements heap.Interface of container/heap.
type entries heap

func (e *entries) Len() int           { return len(e.messages) }
func (e *entries) Less(i, j int) bool { return e.before(e.messages[i], e.messages[j]) < 0 }

func (e *entries) Swap(i, j int) {
	e.messages[i], e.messages[j] = e.messages[j], e.messages[i]
	e.messages[i].at, e.messages[j].at = i, j
}

func (e *entries) Push(m any) {
	last := m.(*message)
	last.at = len(e.messages)
	e.messages = append(e.messages, last)
}

func (e *entries) Pop() any {
	n := len(e.messages) - 1
	last := e.messages[n]
	e.messages[n] = nil
	e.messages = e.messages[:n]
	return last
}
