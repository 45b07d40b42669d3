// Package system runs the connectors on one machine: simulated SIEMs, and a deployment whose functions deliver to them.
package system

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/arbitex/siem-connectors/emulator/cloud"
	"github.com/arbitex/siem-connectors/emulator/siem"
	"github.com/arbitex/siem-connectors/emulator/siem/catalog"
	"github.com/arbitex/siem-connectors/internal/pki"
)

// SIEM is a simulated SIEM of the catalog. Its Secret is the logical id; the credential is Simulator.Secret.
type SIEM struct {
	catalog.SIEM

	Simulator siem.Simulator
}

// Simulate starts the simulators. One authority signs their certificates, and caFile gets its certificate.
//
// On macOS they use plain HTTP: Go ignores SSL_CERT_FILE there, and four connectors have no setting for a CA.
func Simulate(caFile string, list []catalog.SIEM) (siems []*SIEM, authority *pki.Authority, err error) {
	defer func() {
		if err != nil {
			_ = closeAll(siems)
		}
	}()
	if caFile, err = filepath.Abs(caFile); err != nil {
		return nil, nil, fmt.Errorf("finding the folder of the CA: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(caFile), 0o755); err != nil {
		return nil, nil, fmt.Errorf("making the folder of the CA: %w", err)
	}
	authority = pki.New("ArbitexSIEM emulator CA")
	if err := authority.WriteFile(caFile); err != nil {
		return nil, nil, err
	}
	for _, entry := range list {
		s, err := entry.New(siem.Options{Authority: authority, CAFile: caFile, Plain: runtime.GOOS == "darwin"})
		if err != nil {
			return siems, nil, fmt.Errorf("starting the simulator of %s: %w", entry.Name, err)
		}
		siems = append(siems, &SIEM{entry, s})
	}
	return siems, authority, nil
}

// System is a running deployment with its SIEMs.
type System struct {
	*cloud.Cloud

	SQS *sqs.Client
	S3  *s3.Client

	siems []*SIEM
}

// Start deploys the functions of these SIEMs, and stores the credentials. Template and Builds of the options default to
// those of the repository at root. Parameters are added to those that deploy the connectors, Environment to the
// settings of the simulators. Close also closes the simulators.
func Start(ctx context.Context, root string, siems []*SIEM, o cloud.Options) (*System, error) {
	o.Template = cmp.Or(o.Template, filepath.Join(root, "template.yaml"))
	o.Builds = cmp.Or(o.Builds, filepath.Join(root, "build"))
	list := make([]catalog.SIEM, len(siems))
	environment := maps.Clone(o.Environment)
	if environment == nil {
		environment = map[string]map[string]string{}
	}
	for i, one := range siems {
		list[i] = one.SIEM
		settings := maps.Clone(one.Simulator.Settings())
		maps.Copy(settings, environment[one.Function()])
		environment[one.Function()] = settings
	}
	parameters := catalog.Parameters(list)
	maps.Copy(parameters, o.Parameters)
	o.Environment, o.Parameters = environment, parameters
	s := &System{siems: siems}
	var err error
	if s.Cloud, err = cloud.Start(ctx, o); err != nil {
		return nil, errors.Join(fmt.Errorf("starting the cloud: %w", err), closeAll(siems))
	}
	s.SQS = sqs.NewFromConfig(s.AWSConfig())
	s.S3 = s3.NewFromConfig(s.AWSConfig(), func(o *s3.Options) { o.UsePathStyle = true })
	for _, one := range siems {
		if err := s.Publish(ctx, one); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	return s, nil
}

// Close stops everything.
func (s *System) Close() error {
	s.Stop()
	return closeAll(s.siems)
}

func closeAll(siems []*SIEM) error {
	var errs []error
	for _, one := range siems {
		errs = append(errs, one.Simulator.Close())
	}
	return errors.Join(errs...)
}

// Publish stores a SIEM's current credential in its secret.
func (s *System) Publish(ctx context.Context, one *SIEM) error {
	return s.PutSecret(ctx, one.Secret(), one.Simulator.Secret())
}

// Backoff returns the settings of a back-off from initial to most seconds.
func Backoff(initial, most int) map[string]string {
	return map[string]string{
		"SIEM_BACKOFF_INITIAL_SECONDS": strconv.Itoa(initial), "SIEM_BACKOFF_MAX_SECONDS": strconv.Itoa(most),
	}
}

// The limits of SendMessageBatch, with room for the metadata that counts besides the bodies.
const (
	MaxSend      = 10
	maxSendBytes = 1_000_000
)

// Enqueue sends messages in as few requests as hold them, and returns their ids.
func (s *System) Enqueue(ctx context.Context, queueURL string, bodies ...string) (ids []string, err error) {
	for len(ids) < len(bodies) {
		var entries []types.SendMessageBatchRequestEntry
		size := 0
		for i, body := range bodies[len(ids):] {
			if size += len(body); i == MaxSend || i > 0 && size > maxSendBytes {
				break
			}
			entries = append(entries, types.SendMessageBatchRequestEntry{Id: aws.String(strconv.Itoa(i)), MessageBody: &body})
		}
		answer, err := s.SQS.SendMessageBatch(ctx, &sqs.SendMessageBatchInput{QueueUrl: &queueURL, Entries: entries})
		if err != nil {
			return ids, fmt.Errorf("enqueueing: %w", err)
		}
		if len(answer.Failed) > 0 {
			return ids, fmt.Errorf("enqueueing: sqs refused %d messages, the first for %q", len(answer.Failed),
				aws.ToString(answer.Failed[0].Message))
		}
		for _, sent := range answer.Successful {
			ids = append(ids, aws.ToString(sent.MessageId))
		}
	}
	return ids, nil
}

// Depth returns the number of messages of a queue that are visible or delayed, and of those in flight.
func (s *System) Depth(ctx context.Context, queueURL string) (waiting, inFlight int, err error) {
	const visible, delayed, hidden = types.QueueAttributeNameApproximateNumberOfMessages,
		types.QueueAttributeNameApproximateNumberOfMessagesDelayed,
		types.QueueAttributeNameApproximateNumberOfMessagesNotVisible
	answer, err := s.SQS.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{
		QueueUrl: &queueURL, AttributeNames: []types.QueueAttributeName{visible, delayed, hidden},
	})
	if err != nil {
		return 0, 0, fmt.Errorf("asking for a queue's depth: %w", err)
	}
	number := func(name types.QueueAttributeName) int {
		n, convErr := strconv.Atoi(answer.Attributes[string(name)])
		if convErr != nil {
			err = fmt.Errorf("asking for a queue's depth: %s is %q", name, answer.Attributes[string(name)])
		}
		return n
	}
	waiting, inFlight = number(visible)+number(delayed), number(hidden)
	return waiting, inFlight, err
}
