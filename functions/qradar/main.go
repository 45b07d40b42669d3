// Command qradar is the Lambda function that delivers events to IBM QRadar.
package main

import (
	qradar "github.com/arbitex/siem-connectors/functions/qradar/connector"
	"github.com/arbitex/siem-connectors/shared/lambdahost"
)

func main() { lambdahost.RunConnector("qradar", qradar.Open) }
