package auth

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/archelon-db/archelon/server"
)

// maxUsersFile bounds a users file: what is larger is another file.
const maxUsersFile = 64 << 20

// File is a Store in a YAML file:
//
//	users:
//	  - user: alice
//	    db: admin
//	    roles: [{role: readWrite, db: shop}, clusterMonitor]
//	    credentials:
//	      SCRAM-SHA-256: {iterationCount: 15000, salt: …, storedKey: …, serverKey: …}
//
// A role given by its name alone is of the user's database. The credentials are those that MongoDB has in
// admin.system.users, and may be copied from there.
type File struct {
	Memory
	path string
}

var (
	_ Store  = (*File)(nil)
	_ Lister = (*File)(nil)
)

// LoadFile reads a users file.
func LoadFile(path string) (*File, error) {
	f := &File{path: path}
	return f, f.Reload()
}

// Reload reads the file again. On an error everything stays as it was.
func (f *File) Reload() error {
	file, err := os.Open(f.path)
	if err != nil {
		return fmt.Errorf("users file: %w", err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxUsersFile+1))
	if err != nil {
		return fmt.Errorf("users file: %w", err)
	}
	if len(text) > maxUsersFile {
		return fmt.Errorf("users file %s is larger than %d MB", f.path, maxUsersFile>>20)
	}
	list, err := ParseUsers(text)
	if err != nil {
		return fmt.Errorf("users file %s: %w", f.path, err)
	}
	f.Set(list...)
	return nil
}

// fileEntry is a user in the file.
type fileEntry struct {
	User        string              `yaml:"user"`
	DB          string              `yaml:"db"`
	Roles       []fileRole          `yaml:"roles,flow"`
	Credentials map[string]fileKeys `yaml:"credentials,omitempty"`
}

// fileRole is a role in the file.
type fileRole struct {
	Role string `yaml:"role"`
	DB   string `yaml:"db"`
}

// UnmarshalYAML reads a role's name, or a mapping.
func (r *fileRole) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		r.Role = n.Value
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 { // strictness does not reach types that decode themselves
		if key := n.Content[i].Value; key != "role" && key != "db" {
			return fmt.Errorf("line %d: a role has no field %q", n.Content[i].Line, key)
		}
	}
	type plain fileRole
	return n.Decode((*plain)(r))
}

// fileKeys are keys in the file, the bytes in base64.
type fileKeys struct {
	IterationCount int    `yaml:"iterationCount"`
	Salt           string `yaml:"salt"`
	StoredKey      string `yaml:"storedKey"`
	ServerKey      string `yaml:"serverKey"`
}

type usersFile struct {
	Users []fileEntry `yaml:"users"`
}

// ParseUsers reads the text of a users file. The error tells of all mistakes.
func ParseUsers(text []byte) ([]*Account, error) {
	var file usersFile
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(&file); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	var out []*Account
	var errs []error
	seen := map[[2]string]bool{}
	for i, e := range file.Users {
		a, err := e.account()
		if err != nil {
			errs = append(errs, fmt.Errorf("users[%d] (%s): %w", i, e.User, err))
			continue
		}
		if key := [2]string{a.DB, a.Name}; seen[key] {
			errs = append(errs, fmt.Errorf("users[%d]: %s@%s is there twice", i, a.Name, a.DB))
		} else {
			seen[key] = true
		}
		out = append(out, a)
	}
	return out, errors.Join(errs...)
}

// account checks an entry.
func (e *fileEntry) account() (*Account, error) {
	a := &Account{Name: e.User, DB: e.DB}
	if a.DB == "" {
		a.DB = "admin"
	}
	var errs []error
	if a.Name == "" {
		errs = append(errs, errors.New("the user has no name"))
	}
	if strings.ContainsAny(a.DB, "/\\. \"\x00") {
		errs = append(errs, fmt.Errorf("%q cannot be the name of a database", a.DB))
	}
	for _, r := range e.Roles {
		role := server.UserRole{Name: r.Role, DB: r.DB}
		if role.DB == "" {
			role.DB = a.DB
		}
		if err := CheckRole(role); err != nil {
			errs = append(errs, err)
		}
		a.Roles = append(a.Roles, role)
	}
	switch external := a.DB == ExternalDB; {
	case external && len(e.Credentials) > 0:
		errs = append(errs, errors.New("users of $external have no credentials: their certificates say who they are"))
	case !external && len(e.Credentials) == 0:
		errs = append(errs, errors.New("there are no credentials; `archelon user` makes them"))
	}
	a.Keys = map[string]*Keys{}
	for name, k := range e.Credentials {
		keys, err := k.keys(name)
		if err != nil {
			errs = append(errs, err)
		}
		a.Keys[name] = keys
	}
	return a, errors.Join(errs...)
}

func (k *fileKeys) keys(name string) (*Keys, error) {
	m := find(name)
	if m == nil {
		return nil, fmt.Errorf("mechanism %q is not %s or %s", name, SCRAMSHA256, SCRAMSHA1)
	}
	out := &Keys{Iterations: k.IterationCount}
	for field, part := range map[string]struct {
		text string
		to   *[]byte
	}{"salt": {k.Salt, &out.Salt}, "storedKey": {k.StoredKey, &out.StoredKey}, "serverKey": {k.ServerKey, &out.ServerKey}} {
		b, err := base64.StdEncoding.DecodeString(part.text)
		if err != nil {
			return nil, fmt.Errorf("%s: %s is not base64", name, field)
		}
		*part.to = b
	}
	return out, m.check(out)
}

// FormatUsers is the text of a users file with these accounts.
func FormatUsers(list ...*Account) ([]byte, error) {
	var file usersFile
	for _, a := range list {
		e := fileEntry{User: a.Name, DB: a.DB, Credentials: map[string]fileKeys{}}
		for _, r := range a.Roles {
			e.Roles = append(e.Roles, fileRole{Role: r.Name, DB: r.DB})
		}
		for name, k := range a.Keys {
			e.Credentials[name] = fileKeys{
				IterationCount: k.Iterations, Salt: base64.StdEncoding.EncodeToString(k.Salt),
				StoredKey: base64.StdEncoding.EncodeToString(k.StoredKey), ServerKey: base64.StdEncoding.EncodeToString(k.ServerKey),
			}
		}
		file.Users = append(file.Users, e)
	}
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(file); err != nil {
		return nil, err
	}
	return b.Bytes(), enc.Close()
}
