// Package copy runs `archelon copy` between real servers: from engine to engine, killed in the middle, and while the
// source is written to and its collections are created, renamed and dropped. It compares everything afterwards, with the
// official driver. It has tests only.
package copy
