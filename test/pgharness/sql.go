package pgharness

import (
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// SQL runs statements with psql, in the database that an address of this server
// names, and returns what it prints: a line for each row, | between the columns. The
// first statement that fails ends it.
func (s *Server) SQL(address, statements string) (string, error) {
	u, err := url.Parse(address)
	if err != nil {
		return "", err
	}
	q := u.Query()
	for name := range q {
		if name != "host" && name != "port" && name != "sslmode" {
			q.Del(name) // it means something to a store only
		}
	}
	u.RawQuery = q.Encode()
	shell, err := s.psql()
	if err != nil {
		return "", err
	}
	cmd := s.program(shell, "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", u.String())
	cmd.Stdin = strings.NewReader(statements)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("psql: %w: %s", err, out)
	}
	return strings.TrimRight(string(out), "\n"), nil
}

// psql finds PostgreSQL's shell: the server's own or, as one of any version will do, another installation's.
func (s *Server) psql() (string, error) {
	for _, dir := range append([]string{s.bin}, installed("psql")...) {
		if shell := filepath.Join(dir, "psql"); isFile(shell) {
			return shell, nil
		}
	}
	shell, err := exec.LookPath("psql")
	if err != nil {
		return "", fmt.Errorf("%s has no psql, and there is no other: install PostgreSQL's client programs: %w", s.bin, err)
	}
	return shell, nil
}

func isFile(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// Database makes an empty database and returns its address.
func (s *Server) Database(name string) (string, error) {
	if _, err := s.SQL(s.URL(), "CREATE DATABASE "+name); err != nil {
		return "", err
	}
	return s.Named(name, ""), nil
}

// Named is the address of a database for a user, the superuser if there is no name.
func (s *Server) Named(database, user string) string {
	if user == "" {
		user = superuser
	}
	return fmt.Sprintf("postgres://%s@%s/%s?sslmode=disable", user, s.Address(), database)
}

// Folder makes an empty folder for the server, which goes with it.
func (s *Server) Folder(name string) (string, error) {
	dir := filepath.Join(s.dir, name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	return dir, s.Own(dir)
}

// Own gives a folder to the user as whom the server runs.
func (s *Server) Own(dir string) error {
	if s.as == nil {
		return nil
	}
	return os.Chown(dir, int(s.as.Uid), int(s.as.Gid))
}
