package pgharness

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ErrNotInstalled says that there is no PostgreSQL on this machine.
var ErrNotInstalled = errors.New("PostgreSQL is not installed: install it (Debian: apt-get install postgresql), or name the folder " +
	"of its programs in ARCHELON_POSTGRES_BIN")

// superuser is the user who owns a cluster.
const superuser = "archelon"

// startTimeout is how long a server may take until it answers.
const startTimeout = 30 * time.Second

// Server is a running PostgreSQL server.
type Server struct {
	bin      string
	dir      string // temporary folder; the data is in its subfolder data
	port     int
	settings map[string]string
	as       *syscall.Credential // nil: the user of this process
	cmd      *exec.Cmd
	exited   chan struct{}
}

// Start makes a new cluster and starts it. Settings are added to its
// configuration; a test that does not care for crashes passes fsync=off.
func Start(settings map[string]string) (*Server, error) {
	bin, err := findBin()
	if err != nil {
		return nil, err
	}
	s := &Server{bin: bin, settings: settings}
	if s.dir, err = os.MkdirTemp("", "pg"); err != nil {
		return nil, err
	}
	if err := s.create(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(s.dir))
	}
	return s, nil
}

func (s *Server) create() error {
	if err := s.dropPrivileges(); err != nil {
		return err
	}
	out, err := s.command("initdb", "-D", s.data(), "-U", superuser, "-A", "trust", "-E", "UTF8", "--no-locale", "-N").CombinedOutput()
	if err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	return s.Run()
}

// Address is the server's host:port.
func (s *Server) Address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// findBin returns the folder of the newest PostgreSQL.
func findBin() (string, error) {
	if dir := os.Getenv("ARCHELON_POSTGRES_BIN"); dir != "" {
		if _, err := os.Stat(filepath.Join(dir, "initdb")); err != nil {
			return "", fmt.Errorf("ARCHELON_POSTGRES_BIN: %w", err)
		}
		return dir, nil
	}
	if found := installed("initdb"); len(found) > 0 {
		return found[0], nil
	}
	if p, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(p), nil
	}
	return "", ErrNotInstalled
}

// installed returns the folders where common systems put PostgreSQL and that have a program, the newest first.
func installed(program string) (found []string) {
	for _, pattern := range []string{"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql@*/bin", "/usr/local/pgsql/bin"} {
		dirs, _ := filepath.Glob(pattern) // the patterns are well formed
		for _, d := range dirs {
			if isFile(filepath.Join(d, program)) {
				found = append(found, d)
			}
		}
	}
	sort.Slice(found, func(i, j int) bool { return version(found[i]) > version(found[j]) })
	return found
}

// version is the first number in a path.
func version(path string) int {
	digits := strings.FieldsFunc(path, func(r rune) bool { return r < '0' || r > '9' })
	if len(digits) == 0 {
		return 0
	}
	n, _ := strconv.Atoi(digits[0]) // digits only
	return n
}

// dropPrivileges gives the folder to an ordinary user if this process is root's,
// whom PostgreSQL refuses to serve.
func (s *Server) dropPrivileges() error {
	if os.Getuid() != 0 {
		return nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.Atoi(u.Uid)
		gid, err2 := strconv.Atoi(u.Gid)
		if err := errors.Join(err1, err2, os.Chown(s.dir, uid, gid)); err != nil {
			return err
		}
		s.as = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		return nil
	}
	return errors.New("there is no unprivileged user to run PostgreSQL as")
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// command is a run of one of the server's own programs.
func (s *Server) command(name string, args ...string) *exec.Cmd {
	return s.program(filepath.Join(s.bin, name), args...)
}

// program is a run of any program as the server's user.
func (s *Server) program(path string, args ...string) *exec.Cmd {
	cmd := exec.Command(path, args...)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.as, Setpgid: true}
	return cmd
}

// Run starts the server again after Stop or Kill, on the same port.
func (s *Server) Run() error {
	if s.port == 0 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		s.port = l.Addr().(*net.TCPAddr).Port
		if err := l.Close(); err != nil {
			return err
		}
	}
	// The processes of a server that was killed take a moment to notice.
	for deadline := time.Now().Add(startTimeout); ; <-time.After(50 * time.Millisecond) {
		err := s.launch()
		if err == nil || !errors.Is(err, errStillThere) || time.Now().After(deadline) {
			return err
		}
	}
}

// errStillThere says that processes of an earlier run of the server are alive.
var errStillThere = errors.New("processes of the server that was killed are still there")

func (s *Server) launch() error {
	args := []string{"-D", s.data(), "-p", strconv.Itoa(s.port), "-h", "127.0.0.1", "-k", s.dir}
	for k, v := range s.settings {
		args = append(args, "-c", k+"="+v)
	}
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	start, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	cmd := s.command("postgres", args...)
	cmd.Stdout, cmd.Stderr = log, log
	dieWithParent(cmd.SysProcAttr)
	started, exited := make(chan error), make(chan struct{})
	go func() {
		runtime.LockOSThread() // the server lives as long as this thread
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended is told by the log
		}
		close(exited)
	}()
	if err := <-started; err != nil {
		return err
	}
	s.cmd, s.exited = cmd, exited
	if err := s.await(); err != nil {
		if said := s.Log(); strings.Contains(said[min(int(start), len(said)):], "shared memory block") {
			return errStillThere
		}
		return err
	}
	return nil
}

// await returns when the server answers.
func (s *Server) await() error {
	for deadline := time.Now().Add(startTimeout); time.Now().Before(deadline); <-time.After(20 * time.Millisecond) {
		select {
		case <-s.exited:
			return fmt.Errorf("PostgreSQL did not start: %s", s.Log())
		default:
		}
		if s.answers() {
			return nil
		}
	}
	return fmt.Errorf("PostgreSQL does not answer: %s", s.Log())
}

// URL is the address of the server's database.
func (s *Server) URL() string {
	return s.Named("postgres", "")
}

// SocketURL is URL over the server's Unix socket.
func (s *Server) SocketURL() string {
	return fmt.Sprintf("postgres://%s@/postgres?host=%s&port=%d&sslmode=disable", superuser, s.dir, s.port)
}

// Log is what the server has said.
func (s *Server) Log() string {
	b, err := os.ReadFile(filepath.Join(s.dir, "log"))
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// Kill ends the server and its processes at once, as a crash does.
func (s *Server) Kill() {
	if s.cmd != nil {
		_ = s.cmd.Process.Kill()                              // it may be gone
		_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL) // its children
		<-s.exited
		s.cmd = nil
	}
}

// Stop ends the server in order.
func (s *Server) Stop() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Signal(syscall.SIGINT) // it may be gone
	select {
	case <-s.exited:
		s.cmd = nil
	case <-time.After(10 * time.Second):
		s.Kill()
	}
}

// Close stops the server and removes its folder.
func (s *Server) Close() error {
	s.Kill()
	// Before 15 the collector of statistics writes them once more when it notices that the server is gone.
	for deadline := time.Now().Add(startTimeout); ; <-time.After(50 * time.Millisecond) {
		if err := os.RemoveAll(s.dir); err == nil || time.Now().After(deadline) {
			return err
		}
	}
}
