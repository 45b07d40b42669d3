package aws

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/arbitex/siem-connectors/emulator/cloud"
	"github.com/arbitex/siem-connectors/emulator/siem"
	"github.com/arbitex/siem-connectors/emulator/siem/catalog"
	"github.com/arbitex/siem-connectors/internal/pki"
	"github.com/arbitex/siem-connectors/internal/testkit/products"
	"github.com/arbitex/siem-connectors/internal/testkit/testenv"
)

const (
	root     = "../../.."
	patience = 2 * time.Minute
)

// stack is the template with its queues in ElasticMQ and its bucket in versitygw. Its secrets are in moto.
type stack struct {
	t     *testing.T
	cloud *cloud.Cloud
	sqs   *sqs.Client
	siems map[string]siem.Simulator
}

func deploy(t *testing.T, wanted ...string) *stack {
	t.Helper()
	endpoints := map[string]string{"SQS": products.ElasticMQ(t), "S3": products.VersityGW(t)}
	testenv.Python(t)
	s := &stack{t: t, sqs: sqs.NewFromConfig(config(endpoints["SQS"])), siems: map[string]siem.Simulator{}}
	o := cloud.Options{
		Template: filepath.Join(root, "template.yaml"), Endpoints: endpoints,
		Environment: map[string]map[string]string{ // versitygw has no temporary credentials
			"DeadLetterFunction": {"AWS_SESSION_TOKEN": ""}, "ReplayFunction": {"AWS_SESSION_TOKEN": ""},
		},
		QueueAttributes: map[string]map[string]string{},
	}
	var deployed []catalog.SIEM
	for _, entry := range simulators(t, wanted...) {
		s.siems[entry.Name] = entry.Simulator
		deployed = append(deployed, entry.SIEM)
		o.Environment[entry.Function()] = entry.settings()
		o.QueueAttributes[entry.Queue()] = map[string]string{"VisibilityTimeout": "60"}
	}
	o.Parameters = catalog.Parameters(deployed)
	o.Parameters["MaxAttempts"] = "2"
	var err error
	if s.cloud, err = cloud.Start(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.cloud.Stop)
	for name, simulator := range s.siems {
		if err := s.cloud.PutSecret(t.Context(), name+"Secret", simulator.Secret()); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// entry is a simulated SIEM.
type entry struct {
	catalog.SIEM
	siem.Simulator
	Name string
}

// simulators starts the SIEMs of these names; without names, all.
func simulators(t *testing.T, wanted ...string) (list []entry) {
	t.Helper()
	authority := pki.New("test CA")
	options := siem.Options{Authority: authority, CAFile: filepath.Join(t.TempDir(), "ca.pem")}
	if err := authority.WriteFile(options.CAFile); err != nil {
		t.Fatal(err)
	}
	for _, e := range catalog.List() {
		if len(wanted) > 0 && !strings.Contains(strings.Join(wanted, " "), e.Name) {
			continue
		}
		simulator, err := e.New(options)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = simulator.Close() })
		list = append(list, entry{e, simulator, e.Name})
	}
	return list
}

// settings are those of the connector, without its credential.
func (e entry) settings() map[string]string {
	settings := maps.Clone(e.Settings())
	settings["SIEM_BACKOFF_INITIAL_SECONDS"], settings["SIEM_BACKOFF_MAX_SECONDS"] = "1", "1"
	return settings
}

func event(id string) string {
	return fmt.Sprintf(`{"class_uid":6003,"time":1741824000123,"severity_id":1,"metadata":{"uid":%q}}`, id)
}

// send enqueues events with the ids <prefix>0 to <prefix>n-1: the first half alone, the others as arrays of ten.
func (s *stack) send(connector, prefix string, n int) {
	s.t.Helper()
	var bodies, array []string
	for i := range n {
		if i < n/2 {
			bodies = append(bodies, event(fmt.Sprint(prefix, i)))
			continue
		}
		if array = append(array, event(fmt.Sprint(prefix, i))); len(array) == 10 || i == n-1 {
			bodies, array = append(bodies, "["+strings.Join(array, ",")+"]"), nil
		}
	}
	for i, body := range bodies {
		_, err := s.sqs.SendMessage(s.t.Context(), &sqs.SendMessageInput{
			QueueUrl: aws.String(s.cloud.Queue(connector + "Queue")), MessageBody: &body,
		})
		if err != nil {
			s.t.Fatalf("message %d: %v", i, err)
		}
	}
}

// has waits until the SIEM has n events whose ids begin with prefix, each once.
func (s *stack) has(connector, prefix string, n int) {
	s.t.Helper()
	s.eventually(fmt.Sprintf("%s has %d events %s", connector, n, prefix), func() error {
		counts, all := map[string]int{}, 0
		for _, a := range s.siems[connector].Accepted() {
			if strings.HasPrefix(a.ID, prefix) {
				counts[a.ID]++
				all++
			}
		}
		if len(counts) != n || all != n {
			return fmt.Errorf("%d events, %d different", all, len(counts))
		}
		return nil
	})
}

// eventually waits until check returns nil.
func (s *stack) eventually(what string, check func() error) {
	s.t.Helper()
	late := time.After(patience)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-late:
			s.t.Fatalf("not within %s: %s: %v", patience, what, err)
		}
	}
}

// replay calls the replay function, and returns the status.
func (s *stack) replay(method, body string, response any) int {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), method,
		s.cloud.URL("ReplayFunction")+"/api/admin/siem/replay-dead-letter", bytes.NewReader([]byte(body)))
	if err != nil {
		s.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	r, err := http.DefaultClient.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err := errors.Join(err, json.Unmarshal(text, response)); err != nil {
		s.t.Fatalf("%s: status %d: %v: %.300s", method, r.StatusCode, err, text)
	}
	return r.StatusCode
}

// pending waits until so many dead letters are pending.
func (s *stack) pending(want map[string]int) {
	s.t.Helper()
	s.eventually(fmt.Sprintf("pending are %v", want), func() error {
		var got struct{ Pending map[string]int }
		if status := s.replay(http.MethodGet, "", &got); status != http.StatusOK || !maps.Equal(got.Pending, want) {
			return fmt.Errorf("status %d, pending %v", status, got.Pending)
		}
		return nil
	})
}

// TestLoop: rejected events of one SIEM, and all events of another that is down, become dead letters in S3. The replay
// sends them again, and every event is in its SIEM once.
func TestLoop(t *testing.T) {
	s := deploy(t, "splunk", "elastic")
	const n = 200
	s.siems["splunk"].Inject(siem.Fault{Kind: siem.Status, Status: http.StatusInternalServerError})
	s.siems["elastic"].Inject(siem.Fault{Kind: siem.Poison, Match: func(id string) bool {
		return strings.HasSuffix(id, "7")
	}})
	s.send("elastic", "e", n)
	s.send("splunk", "s", n)
	s.has("elastic", "e", n-n/10)
	s.pending(map[string]int{"elastic": n / 10, "splunk": n})
	for _, simulator := range s.siems {
		simulator.Inject(siem.Fault{Kind: siem.Heal})
	}
	replayed := 0
	s.eventually("every dead letter is replayed", func() error {
		var got struct{ Replayed, Remaining int }
		// Each call opens, splits and rewrites the objects.
		status := s.replay(http.MethodPost, `{"limit":77}`, &got)
		replayed += got.Replayed
		if status != http.StatusOK || got.Remaining > 0 {
			return fmt.Errorf("status %d, %d remain", status, got.Remaining)
		}
		return nil
	})
	if replayed != n+n/10 {
		t.Errorf("%d replayed, want %d", replayed, n+n/10)
	}
	s.has("elastic", "e", n)
	s.has("splunk", "s", n)
	s.pending(map[string]int{"elastic": 0, "splunk": 0})
	for name, simulator := range s.siems {
		if v := simulator.Stats().Violations; len(v) > 0 {
			t.Errorf("%s: %v", name, v)
		}
	}
	s.eventually("the queues are empty", s.empty)
}

func (s *stack) empty() error {
	for _, id := range s.cloud.Queues() {
		url := s.cloud.Queue(id)
		out, err := s.sqs.GetQueueAttributes(s.t.Context(), &sqs.GetQueueAttributesInput{
			QueueUrl: &url, AttributeNames: []sqstypes.QueueAttributeName{"All"},
		})
		if err != nil {
			return err
		}
		for name, count := range out.Attributes {
			if strings.HasPrefix(name, "ApproximateNumberOfMessages") && count != "0" {
				return fmt.Errorf("%s: %s is %s", id, name, count)
			}
		}
	}
	return nil
}
