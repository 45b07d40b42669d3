// Package matrix breaks the way to every SIEM in every way there is a name for, and looks what becomes of the events. The
// functions are the built binaries, run as Lambda runs them; the SIEMs are servers on real sockets that reset, hang, lie
// and refuse; SQS and Secrets Manager answer the SDK's own requests.
//
// What has to come out stands in tables written by hand from what the connectors promise, row by row. The run writes what
// it has seen into docs/reliability.md; the test fails where that is not what the file says:
//
//	go test ./test/matrix -update
//
// Every cell is tried on the first attempt and on the last, and, where a request can fail behind one that was accepted,
// after a part of the batch has been delivered. In all of them the function answers before its time limit, stays within
// its memory, and shows no secret.
package matrix
