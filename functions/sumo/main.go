// Command sumo is the Lambda function that delivers events to a Sumo Logic HTTP source.
package main

import (
	sumo "github.com/arbitex/siem-connectors/functions/sumo/connector"
	"github.com/arbitex/siem-connectors/shared/lambdahost"
)

func main() { lambdahost.RunConnector("sumo", sumo.Open) }
