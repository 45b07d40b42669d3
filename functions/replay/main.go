// Command replay is the Lambda function, behind a function URL, that replays or discards dead letters.
package main

import (
	"github.com/arbitex/siem-connectors/shared/lambdahost"
	"github.com/arbitex/siem-connectors/shared/replay"
)

func main() { lambdahost.Start(replay.NewFunction(lambdahost.System(), nil)) }
