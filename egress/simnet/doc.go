// Package simnet is a simulated network for package egress: hosts are functions, and delays, losses, cuts and partitions
// between them follow a script.
//
//	net := simnet.New(seed)
//	net.AddHost("a.test:27017", simnet.Serve(mux))
//	client := net.From("client")
//	net.SetLink("client", "a.test:27017", simnet.Link{Delay: 20 * time.Millisecond})
//	net.At(time.Minute, func() { net.Partition([]egress.Host{"client"}, []egress.Host{"a.test:27017"}) })
//
// All waiting is done with package time: within a bubble of testing/synctest the network runs in virtual time, where an
// hour of failovers takes milliseconds and happens the same way each time; elsewhere it runs in real time.
//
// Each place is named by an egress.Host; the place of a client is any name. What is random (jitter and loss) comes from
// the seed. A command on a link that is cut before the reply has come hangs until its timeout, as over a real network
// that swallows packets; one on a host that is down fails at once, as a refused connection does.
//
// The package imports egress and server.
package simnet
