// Command deadletter is the Lambda function that writes the messages of the dead-letter queue to S3.
package main

import (
	"github.com/arbitex/siem-connectors/shared/drain"
	"github.com/arbitex/siem-connectors/shared/lambdahost"
)

func main() { lambdahost.Start(drain.NewFunction(lambdahost.System(), nil)) }
