package deployed

import "strings"

// MaxMessageBytes is the size up to which Pack fills a message. It leaves room in a request of SQS for more than one.
const MaxMessageBytes = 256 << 10

// Message is the body of a message and the number of events in it.
type Message struct {
	Body   string
	Events int
}

// Pack puts events into messages of up to perMessage events and MaxMessageBytes. A message of several events is a JSON
// array; a message of one event is the event itself. An event that is larger than MaxMessageBytes gets its own message.
func Pack(events []string, perMessage int) []Message {
	var messages []Message
	for start := 0; start < len(events); {
		end, size := start, 2
		for end < len(events) && end-start < perMessage && (end == start || size+len(events[end])+1 <= MaxMessageBytes) {
			size += len(events[end]) + 1
			end++
		}
		body := events[start]
		if end-start > 1 {
			body = "[" + strings.Join(events[start:end], ",") + "]"
		}
		messages = append(messages, Message{body, end - start})
		start = end
	}
	return messages
}
