// Package services runs the example services as programs and calls them with the clients that users have: mongosh,
// PyMongo and the Go driver. It has tests only.
package services
