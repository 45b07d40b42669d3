// Command sentinel is the Lambda function that delivers events to Microsoft Sentinel's Logs Ingestion API.
package main

import (
	sentinel "github.com/arbitex/siem-connectors/functions/sentinel/connector"
	"github.com/arbitex/siem-connectors/shared/lambdahost"
)

func main() { lambdahost.RunConnector("sentinel", sentinel.Open) }
