package all

import (
	"testing"

	"github.com/arbitex/siem-connectors/shared/settings"
)

// TestConnectors verifies that every connector of the list has code and opens with its example.
func TestConnectors(t *testing.T) {
	for _, c := range Connectors() {
		if c.Open == nil {
			t.Errorf("functions/all/all.go: %s has no Open", c.Name)
			continue
		}
		s := settings.New(func(name string) string { return c.Example[name] }, nil)
		c.Open(s)
		if err := s.Err(); err != nil {
			t.Errorf("functions/all/all.go: the example of %s: %v", c.Name, err)
		}
		read := map[string]bool{}
		for _, setting := range s.Declared() {
			read[setting.Name] = true
		}
		for name := range c.Example {
			if !read[name] {
				t.Errorf("functions/all/all.go: %s does not read %s", c.Name, name)
			}
		}
		for _, name := range c.RotatesWithSecret {
			if !read[name] {
				t.Errorf("shared/connectors: %s does not read %s", c.Name, name)
			}
		}
	}
}
