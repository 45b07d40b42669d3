// Command splunk is the Lambda function that delivers events to Splunk's HTTP Event Collector.
package main

import (
	splunk "github.com/arbitex/siem-connectors/functions/splunk/connector"
	"github.com/arbitex/siem-connectors/shared/lambdahost"
)

func main() { lambdahost.RunConnector("splunk", splunk.Open) }
