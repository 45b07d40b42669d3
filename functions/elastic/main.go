// Command elastic is the Lambda function that delivers events to Elasticsearch's bulk API.
package main

import (
	elastic "github.com/arbitex/siem-connectors/functions/elastic/connector"
	"github.com/arbitex/siem-connectors/shared/lambdahost"
)

func main() { lambdahost.RunConnector("elastic", elastic.Open) }
