package egress

import (
	"net"
	"strconv"
	"strings"
)

// DefaultPort is the port of a host given without one.
const DefaultPort = "27017"

// Host names a server: "name:port" in lower case, "[v6]:port", or the path of a Unix socket. Two hosts are the same
// server if and only if the strings are equal.
type Host string

// ParseHost reads a host as connection strings and hello replies write it; a missing port is DefaultPort.
func ParseHost(s string) (Host, error) {
	switch {
	case s == "":
		return "", badURI("host is empty")
	case strings.HasPrefix(s, "/"):
		return Host(s), nil
	case strings.HasSuffix(s, ".sock"):
		return "", badURI("path %q of a Unix socket must be absolute", s)
	}
	name, port := s, DefaultPort
	switch {
	case strings.HasPrefix(s, "["):
		end := strings.IndexByte(s, ']')
		if end < 0 {
			return "", badURI("host %q has no closing bracket", s)
		}
		name = s[1:end]
		if rest := s[end+1:]; rest != "" {
			if rest[0] != ':' {
				return "", badURI("host %q has %q after its bracket", s, rest)
			}
			port = rest[1:]
		}
	case strings.Count(s, ":") > 1:
		return "", badURI("IPv6 address %q must be in brackets", s)
	default:
		if n, p, ok := strings.Cut(s, ":"); ok {
			name, port = n, p
		}
	}
	if name == "" {
		return "", badURI("host %q has no name", s)
	}
	if strings.ContainsAny(name, "/?#@[] \x00") {
		return "", badURI("host %q has characters that no name has", s)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return "", badURI("port of %q must be between 1 and 65535", s)
	}
	return Host(net.JoinHostPort(strings.ToLower(name), strconv.FormatUint(n, 10))), nil
}

// IsUnix tells the path of a Unix socket.
func (h Host) IsUnix() bool { return strings.HasPrefix(string(h), "/") }

// Network is the host's network in the words of package net: "tcp" or "unix".
func (h Host) Network() string {
	if h.IsUnix() {
		return "unix"
	}
	return "tcp"
}

// Name is the host's name or address without port and brackets; TLS certificates are checked against it.
func (h Host) Name() string {
	name, _, err := net.SplitHostPort(string(h))
	if err != nil {
		return string(h)
	}
	return name
}
