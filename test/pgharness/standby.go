package pgharness

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Standby starts a server with settings of its own that follows this one by streaming replication. This one is stopped
// while its folder is copied, which takes no program that only full installations have; so it comes before any client.
func (s *Server) Standby() (*Server, error) {
	f := &Server{bin: s.bin, settings: map[string]string{}}
	var err error
	if f.dir, err = os.MkdirTemp("", "pg"); err != nil {
		return nil, err
	}
	if err := f.follow(s); err != nil {
		return nil, errors.Join(err, os.RemoveAll(f.dir))
	}
	return f, nil
}

func (s *Server) follow(primary *Server) error {
	if err := s.dropPrivileges(); err != nil {
		return err
	}
	primary.Stop()
	out, copying := s.program("cp", "-Rp", primary.data(), s.data()).CombinedOutput()
	if err := primary.Run(); err != nil {
		return err
	}
	if copying != nil {
		return fmt.Errorf("copy %s: %w: %s", primary.data(), copying, out)
	}
	if err := os.WriteFile(filepath.Join(s.data(), "standby.signal"), nil, 0o600); err != nil {
		return err
	}
	s.settings["primary_conninfo"] = fmt.Sprintf("host=127.0.0.1 port=%d user=%s", primary.port, superuser)
	return s.Run()
}

// Promote makes a standby a primary.
func (s *Server) Promote() error {
	out, err := s.command("pg_ctl", "promote", "-D", s.data(), "-w").CombinedOutput()
	if err != nil {
		return fmt.Errorf("promote: %w: %s", err, out)
	}
	return nil
}
