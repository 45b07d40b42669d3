package main

import (
	"fmt"
	"html"
	"strings"
)

// The chart's measures, in its own units.
const (
	chartWidth  = 720
	chartLeft   = 190 // where bars begin
	chartRight  = 640 // where the longest ends
	rowHeight   = 20
	barHeight   = 12
	titleHeight = 56
)

// chart draws the table: a bar for each subject, as long as its CPU time, in three groups.
func (t table) chart() string {
	groups := []struct {
		title string
		of    func(r row) bool
	}{
		{"HTTP, gzip (the default)", func(r row) bool { return r.gzip }},
		{"HTTP, plain", func(r row) bool {
			return !r.gzip && r.wire != "CEF" && r.name != plainDaemon
		}},
		{"syslog over TCP", func(r row) bool { return r.wire == "CEF" || r.name == plainDaemon }},
	}
	longest := 0.0
	for _, r := range t.rows {
		longest = max(longest, r.cpu)
	}
	var b strings.Builder
	y := titleHeight
	for _, g := range groups {
		fmt.Fprintf(&b, "<text class=\"g\" x=\"12\" y=\"%d\">%s</text>\n", y+rowHeight-5, html.EscapeString(g.title))
		y += rowHeight + 2
		for _, r := range t.rows {
			if g.of(r) {
				b.WriteString(r.bar(y, longest))
				y += rowHeight
			}
		}
		y += 10
	}
	return fmt.Sprintf(chartFrame, chartWidth, y, t.batch, b.String())
}

// bar draws one subject at a height.
func (r row) bar(y int, longest float64) string {
	class := "p"
	switch {
	case r.ours:
		class = "o"
	case r.name == "floor":
		class = "f"
	}
	width := r.cpu / longest * (chartRight - chartLeft)
	return fmt.Sprintf("<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%s</text><rect class=\"%s\" x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"%d\" rx=\"2\"/><text x=\"%.1f\" y=\"%d\">%.1f</text>\n",
		chartLeft-8, y+barHeight-1, html.EscapeString(r.name), class, chartLeft, y, width, barHeight, chartLeft+width+6, y+barHeight-1, r.cpu)
}

// chartFrame takes width, height, the batch size and the bars.
const chartFrame = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %[1]d %[2]d" role="img" aria-label="CPU seconds to deliver a million events, by deliverer">
<style>
text{font:12px system-ui,sans-serif;fill:#24292f}.t{font-size:15px;font-weight:600}.g{font-weight:600}.s{fill:#57606a}
.b{fill:#fff}.o{fill:#0969da}.p{fill:#afb8c1}.f{fill:#57606a}
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.s{fill:#8d96a0}.b{fill:#0d1117}.o{fill:#4493f8}.p{fill:#484f58}.f{fill:#8d96a0}}
</style>
<rect class="b" width="100%%" height="100%%"/>
<text class="t" x="12" y="22">CPU seconds to deliver a million events</text>
<text class="s" x="12" y="40">batches of %[3]d, less is better; blue: these connectors, dark: a Go Lambda that does nothing else, light: others</text>
%[4]s</svg>
`
