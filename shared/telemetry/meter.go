package telemetry

// Meter counts the requests of one batch. It belongs to one goroutine. A nil Meter counts nothing.
type Meter struct {
	Requests int   // requests begun, credentials' ones included
	Bytes    int64 // bytes of request bodies as they went out: compressed where they were
}

// Add counts one request whose body had so many bytes on the wire.
func (m *Meter) Add(bytes int) {
	if m == nil {
		return
	}
	m.Requests++
	m.Bytes += int64(bytes)
}
