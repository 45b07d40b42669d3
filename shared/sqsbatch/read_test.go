package sqsbatch

import (
	"testing"

	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/sqsevent"
)

// TestReadSharesFaults: the same fault of many elements is kept once, so that it takes no memory for each of them.
func TestReadSharesFaults(t *testing.T) {
	b := &batch{Handler: &Handler{}}
	b.read([]sqsevent.Message{{Body: []byte(`[1,"a",2,"b",{"time":"x"},3]`)}, {Body: []byte(`[4,{"time":1741824000000}]`)}})
	faults := map[*failure.Error]int{}
	for i := range b.records {
		faults[b.records[i].fault]++
	}
	number, text, time := b.records[0].fault, b.records[1].fault, b.records[4].fault
	if len(faults) != 4 || faults[number] != 4 || faults[text] != 2 || faults[time] != 1 || faults[nil] != 1 {
		t.Errorf("faults %v, want that of 4 numbers, 2 strings and 1 time, and none of an event", faults)
	}
}
