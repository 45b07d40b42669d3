package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/deployed"
	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/term"
	"github.com/arbitex/siem-connectors/shared/connectors"
	"github.com/arbitex/siem-connectors/shared/deadletter"
)

// filterFlags are the flags that select dead letters.
type filterFlags struct {
	connector, from, to, reason string
	ids                         []string
}

// maxIDs is the largest number of message ids that the replay function accepts.
const maxIDs = 1000

func (f *filterFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.connector, "connector", "", "only dead letters of this `connector`")
	c.Flags().StringVar(&f.from, "from", "", "only dead letters from this `time` on: RFC 3339, a date, or an age such "+
		"as 2h")
	c.Flags().StringVar(&f.to, "to", "", "only dead letters before this `time`")
	c.Flags().StringVar(&f.reason, "reason", "", "only dead letters whose error contains this `text`")
	c.Flags().StringSliceVar(&f.ids, "id", nil, "only the dead letter with this message `id`; repeat the flag for several")
	_ = c.RegisterFlagCompletionFunc("connector", completeConnectors)
}

// isSet reports whether any flag narrows the selection.
func (f *filterFlags) isSet() bool {
	return f.connector != "" || f.from != "" || f.to != "" || f.reason != "" || len(f.ids) > 0
}

// read makes a filter of the flags. Its error names every invalid flag.
func (f *filterFlags) read(now time.Time) (deadletter.Filter, error) {
	filter := deadletter.Filter{Connector: f.connector, Reason: f.reason, MessageIDs: f.ids}
	var problems []string
	known := append(connectors.Names(), connectors.Unknown)
	if f.connector != "" && !slices.Contains(known, f.connector) {
		problems = append(problems, fmt.Sprintf("--connector: expected one of %s, found %q%s", strings.Join(known, ", "),
			f.connector, suggest(f.connector, known)))
	}
	if len(f.ids) > maxIDs {
		problems = append(problems, fmt.Sprintf("--id: expected at most %d message ids, found %d", maxIDs, len(f.ids)))
	}
	for _, t := range []struct {
		flag, text string
		into       *time.Time
	}{{"--from", f.from, &filter.From}, {"--to", f.to, &filter.To}} {
		if t.text == "" {
			continue
		}
		at, ok := parseTime(t.text, now)
		if !ok {
			problems = append(problems, fmt.Sprintf("%s: expected a time such as 2026-03-13T00:00:00Z, a date, or an age "+
				"such as 2h or 30m, found %q", t.flag, t.text))
		}
		*t.into = at
	}
	if problems == nil && !filter.To.IsZero() && !filter.From.Before(filter.To) {
		problems = append(problems, "--to: expected a time after --from")
	}
	if problems != nil {
		return filter, usage("%s", strings.Join(problems, "; "))
	}
	return filter, nil
}

func parseTime(text string, now time.Time) (time.Time, bool) {
	if age, err := time.ParseDuration(text); err == nil && age >= 0 {
		return now.Add(-age).UTC(), true
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC(), true
		}
	}
	return time.Time{}, false
}

func (a *app) lettersCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "dead-letters", Short: "List, show, export, replay or discard dead letters", Aliases: []string{"dl"},
		Args: noCommand,
		Long: `A dead letter is an event that was not delivered: the SIEM rejected it, or all attempts failed. It
is stored in S3 with the reason. ls, show and export change nothing; replay and discard ask for
confirmation.`,
		Example: "  siemctl dead-letters ls --connector splunk --from 24h\n  siemctl dead-letters replay --reason 'status " +
			"503'",
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(a.listCommand(), a.showCommand(), a.exportCommand(), a.replayCommand(), a.discardCommand())
	return c
}

// listed is a dead letter without its event.
type listed struct {
	Time      time.Time `json:"timestamp"`
	Connector string    `json:"connector"`
	Attempts  int       `json:"attempts"`
	Replays   int       `json:"replays"`
	MessageID string    `json:"message_id"`
	Error     string    `json:"error"`
}

func (a *app) listCommand() *cobra.Command {
	var flags filterFlags
	var limit int
	c := &cobra.Command{
		Use: "ls", Short: "List dead letters, the latest first", Args: cobra.NoArgs,
		Example: "  siemctl dead-letters ls --connector splunk --reason 'status 400'",
		RunE: func(cmd *cobra.Command, _ []string) error {
			filter, err := flags.read(a.now())
			if err != nil {
				return err
			}
			if limit < 1 {
				return usage("--limit: expected at least 1, found %d", limit)
			}
			return a.list(cmd.Context(), filter, limit)
		},
	}
	flags.add(c)
	c.Flags().IntVar(&limit, "limit", 50, "list at most this many `dead letters`")
	return c
}

func (a *app) list(ctx context.Context, filter deadletter.Filter, limit int) error {
	reader, err := a.reader(ctx)
	if err != nil {
		return err
	}
	all := []listed{}
	broken, err := a.eachLetter(ctx, reader, filter, func(l *deadletter.Letter) error {
		all = append(all, listed{l.Time, l.Connector, l.Attempts, l.Replays, l.MessageID, l.Error})
		return nil
	})
	if err != nil {
		return err
	}
	slices.SortStableFunc(all, func(a, b listed) int {
		return cmp.Or(b.Time.Compare(a.Time), cmp.Compare(a.MessageID, b.MessageID))
	})
	shown := all[:min(limit, len(all))]
	err = a.result(shown, false, func() { a.showList(shown) })
	if rest := len(all) - len(shown); rest > 0 {
		a.out.Note("%s; --limit lists more", term.Count(rest, "more dead letter"))
	}
	a.noteBroken(broken)
	return err
}

// listTime is the layout of times in tables.
const listTime = "2006-01-02 15:04:05Z"

func (a *app) showList(list []listed) {
	if len(list) == 0 {
		a.out.Note("no dead letters")
		return
	}
	var rows [][]term.Cell
	for _, l := range list {
		rows = append(rows, term.Row(l.Time.Format(listTime), l.Connector, l.Attempts, l.Replays, l.MessageID,
			term.Shorten(l.Error, maxReason)))
	}
	a.out.Table([]string{"TIME", "CONNECTOR", "ATTEMPTS", "REPLAYS", "MESSAGE ID", "ERROR"}, rows)
}

func (a *app) noteBroken(broken int) {
	if broken > 0 {
		a.out.Note("note: %s could not be read as a dead letter", term.Count(broken, "line"))
	}
}

func (a *app) reader(ctx context.Context) (*deadletter.Reader, error) {
	s, _, err := a.connect(ctx, nil)
	if err != nil {
		return nil, err
	}
	return openReader(ctx, s)
}

func openReader(ctx context.Context, s *deployed.Stack) (*deadletter.Reader, error) {
	client, path, err := s.DeadLetters(ctx)
	if err != nil {
		return nil, err
	}
	return deadletter.NewReader(client, path)
}

// eachLetter reads dead letters and shows on a terminal how many it has read.
func (a *app) eachLetter(ctx context.Context, reader *deadletter.Reader, filter deadletter.Filter,
	take func(*deadletter.Letter) error) (broken int, err error) {
	const step = 500
	progress, done := a.out.StartProgress("dead letters read", 0), int64(0)
	defer progress.Done()
	return reader.Each(ctx, filter, func(l *deadletter.Letter) error {
		if done++; done%step == 0 {
			progress.Set(done)
		}
		return take(l)
	})
}

func (a *app) showCommand() *cobra.Command {
	return &cobra.Command{
		Use: "show <message-id>", Short: "Show one dead letter with its event", Args: one("message id"),
		Example: "  siemctl dead-letters show 9f6f4f57-0d5c-4b1c-8c61-3f1c3a9d2b11",
		RunE: func(cmd *cobra.Command, args []string) error {
			reader, err := a.reader(cmd.Context())
			if err != nil {
				return err
			}
			var line []byte
			var key string
			_, err = reader.Each(cmd.Context(), deadletter.Filter{MessageIDs: args}, func(l *deadletter.Letter) error {
				line, key = bytes.Clone(l.Line), l.Key
				return deadletter.SkipAll
			})
			if err != nil {
				return err
			}
			if line == nil {
				return usage("message id: no pending dead letter has %q", args[0])
			}
			return a.showLetter(line, key)
		},
	}
}

// showLetter prints the record as indented JSON in both output formats. The event's numbers and keys do not change.
func (a *app) showLetter(line []byte, key string) error {
	var indented bytes.Buffer
	if err := json.Indent(&indented, line, "", "  "); err != nil {
		return fmt.Errorf("reading the dead letter: %w", err)
	}
	a.out.Note("in %s", key)
	a.out.Text(indented.String())
	return nil
}

func (a *app) exportCommand() *cobra.Command {
	var flags filterFlags
	var file string
	var events bool
	c := &cobra.Command{
		Use: "export", Short: "Write dead letters as JSON lines", Args: cobra.NoArgs,
		Long: `Write dead letters as JSON lines, byte for byte as they are stored. On a terminal, control
characters are escaped.`,
		Example: "  siemctl dead-letters export --connector splunk --from 24h --file letters.jsonl\n" +
			"  siemctl dead-letters export --connector unknown --events | siemctl send --to splunk --file -",
		RunE: func(cmd *cobra.Command, _ []string) error {
			filter, err := flags.read(a.now())
			if err != nil {
				return err
			}
			return a.export(cmd.Context(), filter, file, events)
		},
	}
	flags.add(c)
	c.Flags().StringVar(&file, "file", "-", "write to this `file`, which must not exist; - is standard output")
	c.Flags().BoolVar(&events, "events", false, "write only the events, in the form that send reads; dead letters "+
		"without a valid event are left out")
	return c
}

func (a *app) export(ctx context.Context, filter deadletter.Filter, name string, events bool) (err error) {
	reader, err := a.reader(ctx)
	if err != nil {
		return err
	}
	to, safe := a.out.Out, a.out.Foreign
	if name != "-" {
		// Events are audit data: only the owner may read the file, and an existing file is not overwritten.
		file, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return usage("--file: %w", err)
		}
		defer func() {
			if closeErr := file.Close(); err == nil && closeErr != nil {
				err = closeErr
			}
		}()
		to, safe = file, func(line []byte) []byte { return line }
	}
	count, broken, err := a.exportTo(ctx, reader, filter, to, events, safe)
	if err != nil {
		return err
	}
	a.out.Note("%s exported", term.Count(count, "dead letter"))
	a.noteBroken(broken)
	return nil
}

// exportTo writes the lines, or only the events of lines that have a valid one.
func (a *app) exportTo(ctx context.Context, reader *deadletter.Reader, filter deadletter.Filter, to io.Writer,
	events bool, safe func([]byte) []byte) (count, broken int, err error) {
	w := bufio.NewWriter(to)
	broken, err = a.eachLetter(ctx, reader, filter, func(l *deadletter.Letter) error {
		line := l.Line
		if events {
			if line = l.Body; !l.Object {
				return nil
			}
		}
		count++
		_, _ = w.Write(safe(line)) // Flush returns the error
		return w.WriteByte('\n')
	})
	if flushErr := w.Flush(); err == nil && flushErr != nil {
		err = fmt.Errorf("writing the export: %w", flushErr)
	}
	return count, broken, err
}

// deadLetterGroup is the dead letters of one connector, one reason and one hour.
type deadLetterGroup struct {
	Connector string    `json:"connector"`
	Reason    string    `json:"reason"`
	Hour      time.Time `json:"hour"`
	Count     int       `json:"count"`
}

// deadLetterGroups counts dead letters.
type deadLetterGroups map[deadLetterGroup]int

// add counts one.
func (g deadLetterGroups) add(l *deadletter.Letter) {
	g[deadLetterGroup{Connector: l.Connector, Reason: groupReason(l.Error), Hour: l.Time.Truncate(time.Hour)}]++
}

// list gives the groups, the latest hour first, within it the largest first.
func (g deadLetterGroups) list() []deadLetterGroup {
	list := make([]deadLetterGroup, 0, len(g))
	for key, n := range g {
		key.Count = n
		list = append(list, key)
	}
	slices.SortFunc(list, func(a, b deadLetterGroup) int {
		return cmp.Or(b.Hour.Compare(a.Hour), cmp.Compare(b.Count, a.Count), cmp.Compare(a.Connector, b.Connector),
			cmp.Compare(a.Reason, b.Reason))
	})
	return list
}

// groupReason returns an error without the parts that differ between events: the quotation of the SIEM and the hint.
func groupReason(text string) string {
	text, _, _ = strings.Cut(text, `"`)
	text, _, _ = strings.Cut(text, "; ")
	text = strings.TrimRight(strings.TrimSpace(text), ":,")
	return cmp.Or(text, "(none given)")
}
