package telemetry

// Meter counts the requests of one batch. It is not safe for concurrent use. A nil Meter counts nothing.
type Meter struct {
	Requests int   // requests begun, including those for credentials
	Bytes    int64 // bytes of request bodies on the wire, after compression
}

// Add counts one request with a body of so many bytes on the wire.
func (m *Meter) Add(bytes int) {
	if m == nil {
		return
	}
	m.Requests++
	m.Bytes += int64(bytes)
}
