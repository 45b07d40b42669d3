package sqsbatch

import (
	"slices"
	"strconv"
	"strings"

	"github.com/arbitex/siem-connectors/shared/event"
	"github.com/arbitex/siem-connectors/shared/settings"
)

// Filter excludes events from delivery. The zero value excludes none.
type Filter struct {
	MinSeverity int64   // severity_id; 0 excludes none
	Classes     []int64 // class_uid; empty excludes none
}

// ReadFilter reads the filter's settings.
func ReadFilter(s *settings.Settings) Filter {
	const fatal = 6
	f := Filter{MinSeverity: int64(s.Int("SIEM_MIN_SEVERITY", 0, 0, fatal))}
	list := s.String("SIEM_CLASSES", "")
	if list == "" {
		return f
	}
	for text := range strings.SplitSeq(list, ",") {
		class, err := strconv.ParseUint(strings.TrimSpace(text), 10, 31)
		if err != nil {
			s.Problem("SIEM_CLASSES", list, "comma-separated values of class_uid, such as 6003,2001")
			return f
		}
		f.Classes = append(f.Classes, int64(class))
	}
	return f
}

// excludes reports whether the filter excludes an event. The severity 99 (other) and an absent one always pass.
func (f *Filter) excludes(e *event.Event) bool {
	if f.MinSeverity > 0 && e.HasSeverity && e.Severity < f.MinSeverity { // severity_id may be negative
		return true
	}
	return len(f.Classes) > 0 && !slices.Contains(f.Classes, e.Class)
}
