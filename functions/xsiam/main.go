// Command xsiam is the Lambda function that delivers events to Palo Alto Networks Cortex XSIAM.
package main

import (
	xsiam "github.com/arbitex/siem-connectors/functions/xsiam/connector"
	"github.com/arbitex/siem-connectors/shared/lambdahost"
)

func main() { lambdahost.RunConnector("xsiam", xsiam.Open) }
