package matrix

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/arbitex/siem-connectors/internal/testkit/docgen"
)

// render writes the tables as the document has them.
func render(all []section, seen *cells) string {
	var b strings.Builder
	n := len(seen.fates)
	fmt.Fprintf(&b, "%d cells. *delivered*: the SIEM has the event. *n s*: it stays on its queue and is tried again after so long; "+
		"300 s is the longest back-off, for what an operator has to mend. *dead letter*: it is kept on the dead-letter queue. What is not delivered in "+
		"attempt %d is a dead letter in every row; the last column is what it says, for the first connector that has one; … stands for what the SIEM has said.\n", n, maxAttempts)
	for _, s := range all {
		fmt.Fprintf(&b, "\n### %s\n\n", s.title)
		if s.text != "" {
			b.WriteString(s.text + "\n\n")
		}
		s.table(&b, seen)
	}
	return b.String()
}

func (s *section) table(b *strings.Builder, seen *cells) {
	fmt.Fprintf(b, "| | %s | the dead letter says |\n|%s\n", strings.Join(s.names, " | "), strings.Repeat(" --- |", len(s.names)+2))
	for _, r := range s.rows {
		fmt.Fprintf(b, "| %s |", r.name)
		reason := ""
		for _, name := range s.names {
			fate, ok := seen.fates[s.title+r.name+"/"+name]
			if !ok {
				fate = none
			}
			fmt.Fprintf(b, " %s |", fate)
			if reason == "" {
				reason = tidy(seen.reason[s.title+r.name+"/"+name])
			}
		}
		fmt.Fprintf(b, " %s |\n", reason)
	}
}

// tidying takes away what differs from run to run and from machine to machine, and the bodies of answers, which are ours.
func tidying() []struct {
	what *regexp.Regexp
	with string
} {
	return []struct {
		what *regexp.Regexp
		with string
	}{
		{regexp.MustCompile(`^given up after [0-9]+ attempts, the last of which: `), ""},
		{regexp.MustCompile(`127\.0\.0\.1:[0-9]+(->127\.0\.0\.1:[0-9]+)?`), "127.0.0.1"},
		{regexp.MustCompile(`current time \S+ is after [^\s;]+`), "…"},
		{regexp.MustCompile(`lookup no-such-host\.invalid[^;]*`), "lookup no-such-host.invalid: …"},
		{regexp.MustCompile(`"(you sent|\\x1f|[{<])(\\.|[^"\\])*("…?|…$)`), "…"},
		{regexp.MustCompile(`acknowledged [0-9]+ bytes`), "acknowledged … bytes"},
		{regexp.MustCompile(`(read|write|dial) (tcp|udp) 127\.0\.0\.1: `), ""},
		// A peer that goes is an end, a reset or a broken pipe, as it happens.
		{regexp.MustCompile(`(unexpected )?EOF|(read|write): (connection reset by peer|broken pipe)|use of closed network connection|http: server closed idle connection`), "*connection broken off*"},
	}
}

// tidy makes a reason fit for a table that is compared.
func tidy(reason string) string {
	const most = 250
	for _, t := range tidying() {
		reason = t.what.ReplaceAllString(reason, t.with)
	}
	if r := []rune(reason); len(r) > most {
		reason = string(r[:most]) + "…"
	}
	return strings.NewReplacer("|", `\|`, "<", "&lt;", "\n", " ").Replace(reason)
}

// results holds the outcome of every cell. The document has the summary.
const results = "testdata/results.txt"

// compare compares the results and the summary with the run, or writes them.
func compare(t *testing.T, all []section, seen *cells) {
	t.Helper()
	docgen.Check(t, filepath.Join("..", "..", "docs", "reliability.md"), "matrix", summary(all, seen), *update)
	table := render(all, seen)
	if *update {
		if err := os.WriteFile(results, []byte(table), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	old, err := os.ReadFile(results)
	if err != nil {
		t.Fatal(err)
	}
	if string(old) != table {
		t.Errorf("%s differs from this run; make matrix UPDATE=1 writes it:\n%s", results, docgen.Diff(string(old), table))
	}
}

// summary counts the cells of each section by outcome.
func summary(all []section, seen *cells) string {
	var b strings.Builder
	outcomes := []string{"delivered", "1 s", "300 s", "dead letter"}
	fmt.Fprintf(&b, "%d cells:\n\n| faults | cells | delivered | retried after 1 s | held for 300 s | dead letter | other |\n"+
		"| --- | ---: | ---: | ---: | ---: | ---: | ---: |\n", len(seen.fates))
	for _, s := range all {
		count := map[string]int{}
		n := 0
		for _, r := range s.rows {
			for _, name := range s.names {
				outcome, ok := seen.fates[s.title+r.name+"/"+name]
				if !ok {
					continue
				}
				n++
				if !slices.Contains(outcomes, outcome) {
					outcome = "other"
				}
				count[outcome]++
			}
		}
		fmt.Fprintf(&b, "| %s | %d |", s.title, n)
		for _, o := range append(outcomes, "other") {
			fmt.Fprintf(&b, " %d |", count[o])
		}
		b.WriteString("\n")
	}
	return b.String()
}
