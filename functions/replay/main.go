// Command replay is the Lambda function, behind a function URL, that puts dead letters back on their queues.
package main

import "github.com/arbitex/siem-connectors/shared/deadletterhost"

func main() { deadletterhost.RunReplay() }
