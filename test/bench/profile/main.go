// Command profile is the Splunk function with a CPU profile: BENCH_PROFILE names the file to write, after so many
// invocations as BENCH_INVOCATIONS says.
package main

import (
	"context"
	"os"
	"runtime/pprof"
	"strconv"

	splunk "github.com/arbitex/siem-connectors/functions/splunk/connector"
	"github.com/arbitex/siem-connectors/shared/lambdahost"
)

func main() {
	last, err := strconv.Atoi(os.Getenv("BENCH_INVOCATIONS"))
	if err != nil {
		panic(err)
	}
	lambdahost.Start(&profiled{Connector: lambdahost.NewConnector("splunk", splunk.Open, lambdahost.System()), last: last})
}

// profiled is the function's handler, one invocation at a time.
type profiled struct {
	*lambdahost.Connector
	n, last int
	file    *os.File
}

// Invoke implements lambda.Handler.
func (p *profiled) Invoke(ctx context.Context, payload []byte) (response []byte, err error) {
	if p.n == 0 {
		if p.file, err = os.Create(os.Getenv("BENCH_PROFILE")); err != nil {
			return nil, err
		}
		if err := pprof.StartCPUProfile(p.file); err != nil {
			return nil, err
		}
	}
	response, err = p.Connector.Invoke(ctx, payload)
	if p.n++; p.n == p.last {
		pprof.StopCPUProfile()
		if err := p.file.Close(); err != nil {
			return nil, err
		}
	}
	return response, err
}
