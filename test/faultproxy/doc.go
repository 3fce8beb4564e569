// Package faultproxy stands between a driver and a server and breaks connections
// at random: before a request arrives, in the middle of one, after it was
// executed but before its reply arrives, in the middle of a reply.
//
// Its test lets the Go driver write through it with retryable writes and
// transactions, and checks that everything has happened exactly once.
package faultproxy
