// Package progress tells on a writer how far a long run is: a line that is rewritten in place on a terminal and printed
// anew elsewhere, and the lines of what happens meanwhile.
//
// It imports the standard library alone and knows nothing of what runs. A Printer owns one goroutine from Start to Close
// and is the only one that writes to its writer.
package progress
