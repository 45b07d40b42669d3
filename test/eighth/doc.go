// Package eighth shows what a new connector needs. It adds a connector for a generic webhook to a copy of the tree,
// removes one entry of a list at a time, and requires that a test fails and names the file. With all entries, the tests
// pass. CONTRIBUTING.md lists the entries.
//
//	make eighth
package eighth
