package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"

	"github.com/archelon-db/archelon/server"
	"github.com/archelon-db/archelon/server/auth"
)

// userCommand prints an entry of a users file.
type userCommand struct {
	Name      string   `arg:"" help:"Name of the user; with --db '$$external', the subject of its certificate."`
	DB        string   `name:"db" default:"admin" placeholder:"NAME" help:"Database that the user belongs to, which clients name as authSource."`
	Role      []string `placeholder:"ROLE[@DB]" help:"Role to grant, of the user's database unless another is named. Repeat or separate by commas."`
	Mechanism []string `default:"SCRAM-SHA-256,SCRAM-SHA-1" placeholder:"NAME" help:"Mechanisms by which the user can authenticate: SCRAM-SHA-256, SCRAM-SHA-1 (for old drivers), or both."`
}

// Help is shown above the flags.
func (*userCommand) Help() string {
	return `Asks for a password and prints an entry of the file that --users of serve and gateway takes. The entry has keys made
from the password, and not the password:

  archelon user alice --role readWrite@shop > users.yaml
  archelon user bob --role root < password.txt
  archelon user 'CN=app,O=Example' --db '$external' --role readWrite@shop     by its certificate, without a password

The output begins with "users:"; to add a user to a file, append the other lines of it. Roles are
` + strings.Join(auth.RoleNames(), ", ") + "."
}

// Run prints the entry.
func (u *userCommand) Run(context.Context) error {
	a := &auth.Account{Name: u.Name, DB: u.DB, Keys: map[string]*auth.Keys{}}
	for _, text := range u.Role {
		name, db, named := strings.Cut(text, "@")
		if !named {
			db = u.DB
		}
		role := server.UserRole{Name: name, DB: db}
		if err := auth.CheckRole(role); err != nil {
			return err
		}
		a.Roles = append(a.Roles, role)
	}
	if a.DB != auth.ExternalDB {
		password, err := askPassword(os.Stdin, os.Stderr)
		if err != nil {
			return err
		}
		for _, name := range u.Mechanism {
			if a.Keys[name], err = auth.DeriveKeys(name, u.Name, password); err != nil {
				return err
			}
		}
	}
	text, err := auth.FormatUsers(a)
	if err != nil {
		return err
	}
	if _, err := auth.ParseUsers(text); err != nil {
		return err
	}
	_, err = os.Stdout.Write(text)
	return err
}

// askPassword reads a password: a line of what is no terminal, or two equal ones that are typed unseen.
func askPassword(in *os.File, out io.Writer) (string, error) {
	lines := bufio.NewReader(in)
	info, err := in.Stat()
	if err != nil {
		return "", err
	}
	if info.Mode()&os.ModeCharDevice == 0 {
		return readPassword(lines)
	}
	if err := terminal(in, "-echo"); err != nil {
		return "", fmt.Errorf("cannot hide the password on this terminal (%w): pipe it in", err)
	}
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		select {
		case <-interrupted:
			_ = terminal(in, "echo")
			os.Exit(1)
		case <-done:
		}
	}()
	defer func() {
		signal.Stop(interrupted)
		close(done)
		_ = terminal(in, "echo")
	}()
	fmt.Fprint(out, "Password: ")
	first, err := readPassword(lines)
	if err != nil {
		return "", err
	}
	fmt.Fprint(out, "\nAgain: ")
	second, err := readPassword(lines)
	fmt.Fprintln(out)
	if err == nil && first != second {
		err = errors.New("the two are different")
	}
	return first, err
}

func terminal(in *os.File, setting string) error {
	cmd := exec.Command("stty", setting)
	cmd.Stdin = in
	return cmd.Run()
}

func readPassword(lines *bufio.Reader) (string, error) {
	line, err := lines.ReadString('\n')
	if err != nil && (err != io.EOF || line == "") {
		return "", fmt.Errorf("no password: %w", err)
	}
	line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
	if line == "" {
		return "", errors.New("the password is empty")
	}
	return line, nil
}

// userFlags are the flags of serve and gateway about users.
type userFlags struct {
	Users string `env:"ARCHELON_USERS" placeholder:"FILE" help:"Users, their keys and roles (YAML, see archelon user). With it, clients must authenticate. It is read again at SIGHUP."`
}

// load reads the file; nil if there is none.
func (u *userFlags) load() (*auth.File, error) {
	if u.Users == "" {
		return nil, nil
	}
	return auth.LoadFile(u.Users)
}

// reloadUsers reads the file again.
func reloadUsers(users *auth.File, log *slog.Logger) {
	if err := users.Reload(); err != nil {
		log.Error("the changed users file is not taken up", "error", oneLine(err))
		return
	}
	log.Info("users are in force", "users", len(users.Accounts()))
}

// oneLine is an error's text for the log.
func oneLine(err error) string {
	return strings.ReplaceAll(err.Error(), "\n", "; ")
}
