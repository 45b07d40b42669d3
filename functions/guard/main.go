// Command guard is the Lambda function that holds a connector while its SIEM is down.
package main

import "github.com/arbitex/siem-connectors/shared/guardhost"

func main() { guardhost.Run() }
