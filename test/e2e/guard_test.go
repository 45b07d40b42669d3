package e2e

import (
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"

	"github.com/arbitex/siem-connectors/emulator/cloud"
	"github.com/arbitex/siem-connectors/emulator/siem"
	"github.com/arbitex/siem-connectors/emulator/siem/catalog"
	"github.com/arbitex/siem-connectors/emulator/system"
	"github.com/arbitex/siem-connectors/internal/testkit/testenv"
	"github.com/arbitex/siem-connectors/shared/guard"
)

// TestGuard makes a SIEM unavailable until its events become dead letters, without an operator. In the end, every event
// is in the SIEM, and the connector has its previous settings. The guard's minutes take a second, and the alarm's
// periods six, because a batch is delivered every five seconds.
func TestGuard(t *testing.T) {
	g := newGuarded(t)
	g.enqueue(t, 0, 40)
	g.await(t, "the first events", func() bool { return g.simulator.Stats().Accepted >= 40 })
	g.simulator.Inject(siem.Fault{Kind: siem.Status, Status: http.StatusServiceUnavailable, Name: "outage"})
	sent := 40
	g.await(t, "a hold", func() bool {
		g.enqueue(t, sent, sent+10)
		sent += 10
		return g.state(t) == guard.Held && !g.enabled(t)
	})
	g.enqueue(t, sent, sent+10)
	sent += 10
	g.await(t, "a failed check", func() bool { return strings.Contains(g.tag(t), "failures=2") })
	g.simulator.Inject(siem.Fault{Kind: siem.Heal})
	g.await(t, "the end of the hold", func() bool { return g.state(t) == guard.Done })
	g.await(t, "every event", func() bool { return len(g.arrived()) == sent })
	m := g.mapping(t)
	if aws.ToString(m.State) != "Enabled" || aws.ToInt32(m.BatchSize) != 100 ||
		aws.ToInt32(m.ScalingConfig.MaximumConcurrency) != 5 {
		t.Errorf("%+v", m)
	}
	for _, want := range []string{`"GuardHeld":1`, `"GuardResumed":1`, `"from":"replaying","to":"done"`, `"Replayed":`} {
		if !strings.Contains(g.logs.String(), want) {
			t.Errorf("the log lacks %s", want)
		}
	}
}

// guarded is a deployment of one connector with the guard.
type guarded struct {
	*system.System

	simulator siem.Simulator
	lambda    *lambda.Client
	logs      output
}

func newGuarded(t *testing.T) *guarded {
	t.Helper()
	entry := catalog.List()[0]
	siems, _, err := system.Simulate(filepath.Join(t.TempDir(), "ca.pem"), []catalog.SIEM{entry})
	if err != nil {
		t.Fatal(err)
	}
	g := &guarded{simulator: siems[0].Simulator}
	g.System, err = system.Start(t.Context(), root, siems, cloud.Options{
		Parameters: map[string]string{"MaxAttempts": "2", "EnableGuard": "true"},
		Environment: map[string]map[string]string{entry.Function(): system.Backoff(1, 1),
			"GuardFunction": {"GUARD_MINUTE_SECONDS": "1"}},
		Logs: &g.logs, AlarmPeriod: 6 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = g.Close() })
	cfg := g.AWSConfig()
	cfg.BaseEndpoint = aws.String(must(g.ServeAPI(t.Context()))(t))
	g.lambda = lambda.NewFromConfig(cfg)
	return g
}

func (g *guarded) enqueue(t *testing.T, from, to int) {
	t.Helper()
	var bodies []string
	for i := from; i < to; i++ {
		bodies = append(bodies,
			fmt.Sprintf(`{"time":1773396000000,"class_uid":6003,"severity_id":1,"metadata":{"uid":"guard-%d"}}`, i))
	}
	must(g.Enqueue(t.Context(), g.Queue("splunkQueue"), bodies...))(t)
}

// arrived returns the ids of the events in the SIEM, each once.
func (g *guarded) arrived() []string {
	var ids []string
	for _, a := range g.simulator.Accepted() {
		ids = append(ids, a.ID)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

func (g *guarded) tag(t *testing.T) string {
	t.Helper()
	arn := "arn:aws:lambda:" + cloud.Region + ":" + cloud.AccountID + ":function:" + cloud.StackName + "-splunkFunction"
	out, err := g.lambda.ListTags(t.Context(), &lambda.ListTagsInput{Resource: &arn})
	if err != nil {
		t.Fatal(err)
	}
	return out.Tags[guard.TagKey]
}

func (g *guarded) state(t *testing.T) guard.State {
	t.Helper()
	tag := g.tag(t)
	if tag == "" {
		return guard.None
	}
	h, err := guard.ParseHold(tag)
	if err != nil {
		t.Fatal(err)
	}
	return h.State
}

func (g *guarded) mapping(t *testing.T) *lambda.GetEventSourceMappingOutput {
	t.Helper()
	id := "splunkFunctionQueue"
	m, err := g.lambda.GetEventSourceMapping(t.Context(), &lambda.GetEventSourceMappingInput{UUID: &id})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func (g *guarded) enabled(t *testing.T) bool {
	t.Helper()
	return aws.ToString(g.mapping(t).State) == "Enabled"
}

func (g *guarded) await(t *testing.T, what string, done func() bool) {
	t.Helper()
	const most = 4 * time.Minute // a message that was received when the mapping stopped is hidden for three
	testenv.Eventually(t, most, what, func() error {
		if !done() {
			return fmt.Errorf("tag %q\n%s", g.tag(t), g.logs.String())
		}
		return nil
	})
}
