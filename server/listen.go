package server

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
	"time"
)

// dialOldSocket is how long Listen waits to find out whether somebody serves an existing Unix socket.
const dialOldSocket = time.Second

// listen opens a listener on one address of Config.Addresses.
func listen(address string, mode os.FileMode) (net.Listener, error) {
	path, isUnix := strings.CutPrefix(address, "unix:")
	if isUnix || strings.HasPrefix(address, "/") {
		return listenUnix(path, mode)
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, listenError(address, err)
	}
	return l, nil
}

// listenUnix listens on a socket file. A file left by a server that is gone is removed.
func listenUnix(path string, mode os.FileMode) (net.Listener, error) {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, listenError(path, err)
	case info.Mode()&fs.ModeSocket == 0:
		return nil, fmt.Errorf("cannot listen on %s: it exists and is not a socket: choose another path", path)
	default:
		if c, err := net.DialTimeout("unix", path, dialOldSocket); err == nil {
			c.Close()
			return nil, fmt.Errorf("cannot listen on %s: another server is listening there: stop it or choose another path", path)
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("cannot listen on %s: remove the socket file of a server that is gone: %w", path, err)
		}
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, listenError(path, err)
	}
	if err := os.Chmod(path, mode); err != nil {
		l.Close()
		return nil, listenError(path, err)
	}
	return l, nil
}

// listenError says what to do about err.
func listenError(address string, err error) error {
	advice := ""
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		advice = "the port is in use: stop the program that holds it or choose another port"
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		advice = "permission denied: choose a port above 1023 or a path this user may write to"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		advice = "this machine has no such address: choose one of its own, or 0.0.0.0 for all"
	case errors.Is(err, fs.ErrNotExist):
		advice = "the directory does not exist: create it first"
	default:
		return fmt.Errorf("cannot listen on %s: %w", address, err)
	}
	return fmt.Errorf("cannot listen on %s: %s (%w)", address, advice, err)
}
