package pgstore

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

func TestParameters(t *testing.T) {
	for _, c := range []struct {
		url, rest, schema string
		max               int
	}{
		{"postgres://u@h/d", "postgres://u@h/d", "archelon", defaultConns},
		{"postgres://u@h/d?schema=x", "postgres://u@h/d", "x", defaultConns},
		{"postgresql://u:p,q@h/d?pool_max_conns=7&sslmode=disable", "postgresql://u:p,q@h/d?sslmode=disable", "archelon", 7},
		{"postgres://u@a:1,b:2/d", "postgres://u@a:1,b:2/d?target_session_attrs=read-write", "archelon", defaultConns},
		{"postgres:///d?host=a,b&target_session_attrs=any", "postgres:///d?host=a%2Cb&target_session_attrs=any", "archelon", defaultConns},
	} {
		st := &settings{schema: defaultSchema, max: defaultConns}
		rest, err := st.takeParameters(c.url)
		if err != nil || rest != c.rest || st.schema != c.schema || st.max != c.max {
			t.Errorf("%s: %s, schema %s, %d connections, %v", c.url, rest, st.schema, st.max, err)
		}
	}
}

func TestTooOld(t *testing.T) {
	for version, want := range map[string]bool{
		"9.6.24": true, "12": true, "12.22 (Debian 12.22-1)": true, "13.0": false, "13beta1": false, "18devel": false, "": false, "x": false,
	} {
		if got := isTooOld(version); got != want {
			t.Errorf("%q: %t", version, got)
		}
	}
}

func TestWrongParameters(t *testing.T) {
	for _, c := range []string{"schema=", "schema=a%22b", "pool_max_conns=", "pool_max_conns=1", "shared=", "shared=perhaps"} {
		st := &settings{schema: defaultSchema, max: defaultConns}
		name, _, _ := strings.Cut(c, "=")
		if rest, err := st.takeParameters("postgres://u@h/d?" + c); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %s, %v", c, rest, err)
		}
	}
}

// TestConnectErrors counts how often an error of Open says why.
func TestConnectErrors(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	nobody := taken.Addr().String()
	must(t, taken.Close())
	addresses := map[string]string{
		"postgres://u@" + nobody + "/d":                 "connection refused",
		"postgres://u@" + nobody + "/d?sslmode=require": "connection refused",
	}
	if server != nil {
		addresses["postgres://u@"+server.Address()+"/nowhere"] = `role "u" does not exist`
		addresses["postgres://u@"+server.Address()+"/nowhere?sslmode=require"] = "server refused TLS connection"
		addresses[strings.Replace(server.SocketURL(), "/postgres?", "/nowhere?", 1)] = `database "nowhere" does not exist`
	}
	unknown := errors.New("lookup h: no such host")
	got := (&connectError{"u", "d", fmt.Errorf("hostname resolving error: %w", errors.Join(unknown, unknown))}).Error()
	if want := "cannot connect to PostgreSQL as user u, database d: lookup h: no such host"; got != want {
		t.Error(got)
	}
	for url, why := range addresses {
		_, err := Open(t.Context(), Config{URL: url, AcquireTimeout: time.Millisecond})
		if err == nil {
			t.Fatal(url)
		}
		text := err.Error()
		if strings.Count(text, why) != 1 || strings.Count(text, "PostgreSQL") != 1 || strings.Contains(text, "\n") ||
			strings.Contains(text, "TLS") != strings.Contains(why, "TLS") {
			t.Errorf("%s: %s", url, text)
		}
	}
}
