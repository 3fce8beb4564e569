// Package diffcorpus plays the conformance corpus against a database on Pebble that runs beside one on PostgreSQL in mode
// diff-normal, and fails for each reply in which the two differ. It has tests only:
//
//	go test ./test/diffcorpus                        every 20th case
//	ARCHELON_DIFF=1 go test ./test/diffcorpus -v     all of them, some minutes
//	ARCHELON_DIFF=REGEXP go test ./test/diffcorpus   those whose id matches
//
// What is not compared, and why, is in docs/gateway.md. The cases run one after the other: the two servers are asked one
// after the other, too, and what other clients do meanwhile would be seen by one of them only.
package diffcorpus
