package deployed

import "strings"

// MaxMessageBytes is the size up to which Pack fills a message. It leaves room in a request of SQS for more than one.
const MaxMessageBytes = 256 << 10

// Pack puts events into messages of up to perMessage events and MaxMessageBytes. A message of several events is a JSON
// array; a message of one event is the event itself. An event that is larger than MaxMessageBytes gets its own message.
func Pack(events []string, perMessage int) []string {
	var messages []string
	for start := 0; start < len(events); {
		end, size := start, 2
		for end < len(events) && end-start < perMessage && (end == start || size+len(events[end])+1 <= MaxMessageBytes) {
			size += len(events[end]) + 1
			end++
		}
		if end-start == 1 {
			messages = append(messages, events[start])
		} else {
			messages = append(messages, "["+strings.Join(events[start:end], ",")+"]")
		}
		start = end
	}
	return messages
}
