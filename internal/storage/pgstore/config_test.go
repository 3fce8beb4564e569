package pgstore

import "testing"

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
