package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/arbitex/siem-connectors/emulator/siem"
)

const replayPath = "/api/admin/siem/replay-dead-letter"

// maxReplayCalls bounds the calls for the remaining dead letters.
const maxReplayCalls = 50

// replay lists the dead letters, heals the SIEMs, and replays the dead letters.
func (d *demo) replay(ctx context.Context) error {
	letters, err := d.letters.pending(ctx)
	if err != nil {
		return err
	}
	d.listLetters(letters)
	if len(letters) == 0 {
		return nil
	}
	for _, a := range d.actors {
		a.Simulator.Inject(siem.Fault{Kind: siem.Heal})
	}
	d.screen.lines(plain, "")
	d.screen.say(plain, "every SIEM has recovered; POST %s", replayPath)
	for range maxReplayCalls {
		answer, err := d.callReplay(ctx)
		if err != nil {
			return err
		}
		d.screen.say(plain, "replayed %s, skipped %s, remaining %s", number(answer.Replayed), number(answer.Skipped),
			number(answer.Remaining))
		for _, problem := range answer.Errors {
			d.screen.prose(faint, storyIndent, strings.Trim(string(problem), `"`))
		}
		if answer.Remaining == 0 || answer.Replayed == 0 {
			break
		}
	}
	return d.settle(ctx)
}

type replayAnswer struct {
	Replayed  int               `json:"replayed"`
	Skipped   int               `json:"skipped"`
	Remaining int               `json:"remaining"`
	Errors    []json.RawMessage `json:"errors"`
}

func (d *demo) callReplay(ctx context.Context) (replayAnswer, error) {
	var answer replayAnswer
	url := d.replayURL()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader([]byte("{}")))
	if err != nil {
		return answer, fmt.Errorf("calling the replay url: %w", err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return answer, fmt.Errorf("calling the replay url: %w", err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return answer, fmt.Errorf("reading the replay's answer: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return answer, fmt.Errorf("calling the replay url: status %d: %.500q", response.StatusCode, text)
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return answer, fmt.Errorf("reading the replay's answer %.500q: %w", text, err)
	}
	return answer, nil
}

func (d *demo) replayURL() string {
	return strings.TrimRight(d.system.URL(replayFunction), "/") + replayPath
}

// maxReasons bounds the listed reasons, maxReasonLines the length of each.
const (
	maxReasons     = 20
	maxReasonLines = 2
)

// listLetters prints the dead letters by reason.
func (d *demo) listLetters(byConnector map[string][]deadLetter) {
	if len(byConnector) == 0 {
		d.screen.say(plain, "no dead letters")
		return
	}
	d.screen.lines(strong, "", "Dead letters in s3://"+d.system.Bucket(deadLetterBucket), "")
	reasons := d.reasons(byConnector)
	for i, r := range reasons {
		if i == maxReasons {
			d.screen.lines(faint, fmt.Sprintf("  and %s more", count(len(reasons)-i, "reason")))
			break
		}
		who := strings.Join(r.connectors, ", ")
		if len(r.connectors) == len(d.actors) && len(r.connectors) > 1 {
			who = "each"
		}
		head := fmt.Sprintf("  %-8s %5s × ", who, number(r.count))
		d.screen.lines(plain, d.screen.paragraph(head, maxReasonLines, r.text)...)
	}
	for _, letter := range byConnector["unknown"] {
		d.screen.lines(bad, fmt.Sprintf("  unknown    %s", cut(letter.Error, 80)))
	}
}

// reason is the reason of some dead letters.
type reason struct {
	text       string
	count      int
	connectors []string
}

// reasons counts the dead letters by reason. SIEMs with the same reason are combined.
func (d *demo) reasons(byConnector map[string][]deadLetter) []reason {
	var out []reason
	for _, a := range d.actors {
		for _, letter := range byConnector[a.Name] {
			text := fmt.Sprintf("after %s: %s", count(letter.Attempts, "attempt"), readable(letter.Error))
			i := slices.IndexFunc(out, func(r reason) bool { return r.text == text })
			if i < 0 {
				i = len(out)
				out = append(out, reason{text: text})
			}
			out[i].count++
			if !slices.Contains(out[i].connectors, a.Name) {
				out[i].connectors = append(out[i].connectors, a.Name)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b reason) int { return len(a.connectors) - len(b.connectors) })
	return out
}

// readable removes the backslashes from a quoted JSON response.
func readable(text string) string { return strings.ReplaceAll(text, `\"`, `"`) }
