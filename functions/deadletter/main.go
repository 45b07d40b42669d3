// Command deadletter is the Lambda function that writes the messages of the dead-letter queue to S3.
package main

import "github.com/arbitex/siem-connectors/shared/deadletterhost"

func main() { deadletterhost.RunDrain() }
