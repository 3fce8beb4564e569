// Package crash kills the real binary under load, again and again, and checks that nothing acknowledged is lost and
// nothing half done is left.
//
// It may import the official driver and package harness, nothing of the server.
package crash
