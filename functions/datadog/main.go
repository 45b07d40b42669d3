// Command datadog is the Lambda function that delivers events to Datadog's Logs Intake v2.
package main

import (
	datadog "github.com/arbitex/siem-connectors/functions/datadog/connector"
	"github.com/arbitex/siem-connectors/shared/lambdahost"
)

func main() { lambdahost.RunConnector("datadog", datadog.Open) }
