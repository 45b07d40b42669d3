package lambdahost

import (
	"os"
	"strings"
	"sync"
)

// environment returns a lookup in the process's environment that ignores the case of names: a loop in template.yaml can
// only write splunk_QUEUE_URL for SPLUNK_QUEUE_URL.
func environment() func(string) string {
	values := sync.OnceValue(func() map[string]string {
		all := os.Environ()
		m := make(map[string]string, len(all))
		for _, entry := range all {
			name, value, _ := strings.Cut(entry, "=")
			m[strings.ToUpper(name)] = value
		}
		return m
	})
	return func(name string) string {
		if value := os.Getenv(name); value != "" {
			return value
		}
		return values()[strings.ToUpper(name)]
	}
}
