package demo

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/arbitex/siem-connectors/emulator/cloud"
)

// keep continues to run until the context ends, and prints how to use the system by hand.
func (d *demo) keep(ctx context.Context) error {
	endpoint, err := d.system.ServeAPI(ctx)
	if err != nil {
		return err
	}
	d.screen.title("Still running. Press Ctrl-C to stop.")
	aws := "aws --endpoint-url " + endpoint
	d.screen.lines(plain,
		"  AWS endpoint    "+endpoint,
		"  replay          "+d.replayURL(),
		"  dead letters    s3://"+d.system.Bucket(deadLetterBucket),
	)
	for _, a := range d.actors {
		d.screen.lines(plain, fmt.Sprintf("  %-15s %s", a.Name, d.system.Queue(a.Queue())))
		settings := a.Simulator.Settings()
		for _, name := range slices.Sorted(maps.Keys(settings)) {
			if value := settings[name]; len(value) < 200 && name != "SSL_CERT_FILE" { // not the PEM texts
				d.screen.lines(faint, fmt.Sprintf("  %-15s %s=%s", "", name, value))
			}
		}
	}
	first := d.actors[0]
	d.screen.lines(plain, "", "To enqueue an event, look at the dead letters, count them, replay them:", "",
		"  export AWS_ACCESS_KEY_ID=local AWS_SECRET_ACCESS_KEY=local AWS_DEFAULT_REGION="+d.system.AWSConfig().Region,
		"  "+aws+" sqs send-message --queue-url "+d.system.Queue(first.Queue())+
			` --message-body '{"class_uid":6003,"time":'$(date +%s)'000,"message":"by hand"}'`,
		"  "+aws+" s3 ls --recursive s3://"+d.system.Bucket(deadLetterBucket)+"/",
		"  curl -s "+d.replayURL(),
		"  curl -s -X POST -H 'Content-Type: application/json' -d '{}' "+d.replayURL(),
		"", "The same, and more, with the operator's tool (make siemctl):", "",
		"  build/siemctl --stack "+cloud.StackName+" --region "+cloud.Region+" --endpoint-url "+endpoint+" status", "")
	err = d.watch(ctx, func(state) bool { return false })
	if errors.Is(err, context.Canceled) {
		err = nil // the expected end
	}
	return err
}
