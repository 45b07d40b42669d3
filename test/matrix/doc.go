// Package matrix tests every connector against every fault on the path to its SIEM. The functions are the built
// binaries in a Lambda runtime. The SIEMs are servers on real sockets that reset, hang and refuse; SQS and Secrets
// Manager respond to the SDK's own requests.
//
// The expected outcomes are tables written by hand from the documented behaviour. Each cell is tried on the first
// attempt and on the last and, where a request can fail after another was accepted, after part of the batch was
// delivered. In each of them the function responds before its time limit, uses little memory, and shows no secret. The
// test compares the results with testdata/results.txt and docs/reliability.md:
//
//	go test ./test/matrix -update
package matrix
