package egress

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/wire"
)

func TestParseURI(t *testing.T) {
	no := false
	for in, want := range map[string]URI{
		"mongodb://localhost":                  {Hosts: []Host{"localhost:27017"}},
		"mongodb://LOCALHOST:1/":               {Hosts: []Host{"localhost:1"}},
		"mongodb://a,b:2,[::1],[fe80::1]:3/db": {Hosts: []Host{"a:27017", "b:2", "[::1]:27017", "[fe80::1]:3"}, Database: "db"},
		"mongodb://a,A:27017":                  {Hosts: []Host{"a:27017"}},
		"mongodb://%2Ftmp%2Fs.sock/x":          {Hosts: []Host{"/tmp/s.sock"}, Database: "x"},
		"mongodb://u:p%40%2F%3A@a/":            {Hosts: []Host{"a:27017"}, Username: "u", Password: "p@/:"},
		"mongodb://u@a/?authSource=x&authMechanism=SCRAM-SHA-1": {
			Hosts: []Host{"a:27017"}, Username: "u", AuthSource: "x", AuthMechanism: ScramSHA1,
		},
		"mongodb://a?appName=x%20y": {Hosts: []Host{"a:27017"}, AppName: "x y"},
		"mongodb://a/?REPLICASET=rs&w=majority&wtimeoutMS=5&journal=false&retryWrites=false&retryReads=true": {
			Hosts: []Host{"a:27017"}, ReplicaSet: "rs", NoRetryWrites: true,
			WriteConcern: WriteConcern{W: "majority", WTimeout: 5 * time.Millisecond, Journal: &no},
		},
		"mongodb://a/?readPreference=secondarypreferred&readPreferenceTags=dc:ny,rack:1&readPreferenceTags=&maxStalenessSeconds=120": {
			Hosts: []Host{"a:27017"}, ReadPreference: ReadPreference{
				Mode: SecondaryPreferred, TagSets: []map[string]string{{"dc": "ny", "rack": "1"}, {}}, MaxStaleness: 2 * time.Minute,
			},
		},
		"mongodb://a/?maxStalenessSeconds=-1": {Hosts: []Host{"a:27017"}},
		"mongodb://a/?compressors=zstd,snappy,zstd&tls=true&tlsAllowInvalidHostnames=true&directConnection=true": {
			Hosts: []Host{"a:27017"}, Compressors: []wire.CompressorID{wire.CompressorZstd, wire.CompressorSnappy},
			TLS: TLSOptions{Enabled: true, AllowInvalidHostnames: true}, DirectConnection: true,
		},
		"mongodb://a/?tlsCAFile=x&ssl=false": {Hosts: []Host{"a:27017"}, TLS: TLSOptions{CAFile: "x"}},
		"mongodb://a/?maxPoolSize=7&minPoolSize=3&maxConnecting=4&heartbeatFrequencyMS=500&connectTimeoutMS=1&timeoutMS=2;" +
			"socketTimeoutMS=3&localThresholdMS=4&serverSelectionTimeoutMS=5&serverMonitoringMode=poll&readConcernLevel=majority": {
			Hosts: []Host{"a:27017"}, MaxPoolSize: 7, MinPoolSize: 3, MaxConnecting: 4, HeartbeatInterval: 500 * time.Millisecond,
			ConnectTimeout: time.Millisecond, Timeout: 2 * time.Millisecond, SocketTimeout: 3 * time.Millisecond,
			LocalThreshold: 4 * time.Millisecond, ServerSelectionTimeout: 5 * time.Millisecond, Poll: true, ReadConcernLevel: "majority",
		},
	} {
		got, err := ParseURI(in)
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		if diff := cmp.Diff(want, *got, cmpopts.IgnoreUnexported(TLSOptions{})); diff != "" {
			t.Errorf("%s:\n%s", in, diff)
		}
		if _, err := got.ClientConfig(); err != nil && !strings.Contains(in, "tlsCAFile") {
			t.Errorf("%s: %v", in, err)
		}
	}
}

func TestParseURIErrors(t *testing.T) {
	for in, part := range map[string]string{
		"":                                "must start",
		"http://a":                        "must start",
		"mongodb://":                      "host is empty",
		"mongodb:///db":                   "host is empty",
		"mongodb://a,,b":                  "host is empty",
		"mongodb://a:0":                   "port",
		"mongodb://a:65536":               "port",
		"mongodb://a:x":                   "port",
		"mongodb://a:":                    "port",
		"mongodb://:1":                    "no name",
		"mongodb://::1":                   "brackets",
		"mongodb://[::1":                  "closing bracket",
		"mongodb://[::1]x":                "after its bracket",
		"mongodb://%zz":                   "percent-encoded",
		"mongodb://x.sock":                "absolute",
		"mongodb://@a":                    "user name is empty",
		"mongodb://u:p@x@a":               "percent-encoded",
		"mongodb://u:s/ecret@a":           "percent-encoded",
		"mongodb://u:a:b@a":               "percent-encoded",
		"mongodb://u:%zz@a":               "percent-encoded",
		"mongodb://a/a.b":                 "database",
		"mongodb://a/%20":                 "database",
		"mongodb://a/?x":                  "no value",
		"mongodb://a/?nope=1":             `unknown option "nope"`,
		"mongodb://a/?tls=yes":            "neither true nor false",
		"mongodb://a/?tls=true&ssl=false": "contradict",
		"mongodb://a/?tlsInsecure=true&tlsAllowInvalidCertificates=true": "tlsInsecure",
		"mongodb://a/?maxPoolSize=-1":                                    "no number",
		"mongodb://a/?minPoolSize=5&maxPoolSize=4":                       "above",
		"mongodb://a/?heartbeatFrequencyMS=499":                          "milliseconds",
		"mongodb://a/?connectTimeoutMS=-1":                               "milliseconds",
		"mongodb://a/?readPreference=best":                               "unknown mode",
		"mongodb://a/?readPreferenceTags=x&readPreference=nearest":       "name:value",
		"mongodb://a/?readPreferenceTags=a:b":                            "primary takes neither",
		"mongodb://a/?readPreference=nearest&maxStalenessSeconds=89":     "at least 90",
		"mongodb://a,b/?directConnection=true":                           "single host",
		"mongodb://u@a/?authMechanism=GSSAPI":                            "not supported",
		"mongodb://a/?authMechanism=SCRAM-SHA-1":                         "user name",
		"mongodb://a/?compressors=lz4":                                   "unknown compressor",
		"mongodb://a/?serverMonitoringMode=x":                            "none of",
		"mongodb://a/?w=-1":                                              "negative",
		"mongodb://a/?w=0&journal=true":                                  "contradict",
		"mongodb://a/?appName=":                                          "empty",
		"mongodb://a?x=1/2":                                              "question mark",
	} {
		if _, err := ParseURI(in); err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%s: got %v, want an error with %q", in, err, part)
		}
	}
	for _, in := range []string{
		"mongodb+srv://a.b.c/", "mongodb://a/?loadBalanced=true", "mongodb://a/?maxIdleTimeMS=1", "mongodb://a/?zlibCompressionLevel=1",
	} {
		if _, err := ParseURI(in); CodeOf(err) != mongoerr.NotImplemented {
			t.Errorf("%s: %v", in, err)
		}
	}
	for _, in := range []string{
		"mongodb://u:sec/ret@a", "mongodb://u:sec@ret@a", "mongodb://u:se@sec/ret@a", "mongodb://u:p@sec?ret@a", "mongodb://u:sec?ret@a/",
		"mongodb://u:sec:ret@a", "mongodb://u:sec%ret@a",
	} {
		if _, err := ParseURI(in); err == nil || strings.Contains(err.Error(), "sec") || strings.Contains(err.Error(), "ret@") {
			t.Errorf("%s: %v", in, err)
		}
	}
}

func TestURIOptionsAreEitherTakenOrRefused(t *testing.T) {
	for name := range refusedOptions {
		if uriOptions[name] != nil {
			t.Errorf("option %s is both", name)
		}
	}
	names := (&URI{}).Options()
	if !slices.IsSorted(names) || len(names) != len(uriOptions) {
		t.Error(names)
	}
}

func TestURICredential(t *testing.T) {
	for in, source := range map[string]string{
		"mongodb://u:p@a": "admin", "mongodb://u:p@a/db": "db", "mongodb://u:p@a/db?authSource=x": "x",
	} {
		u, err := ParseURI(in)
		if err != nil || u.Credential().source() != source {
			t.Errorf("%s: %v, %v", in, u, err)
		}
	}
	u, _ := ParseURI("mongodb://a/db")
	if u.Credential() != nil {
		t.Error("a credential of nobody")
	}
}

func FuzzParseURI(f *testing.F) {
	for _, s := range []string{
		"mongodb://u:p%40@a,b:2,[::1]:3,%2Ftmp%2Fs.sock/db?replicaSet=rs&readPreferenceTags=a:b&tls=true",
		"mongodb+srv://x", "mongodb://", "mongodb://a?x", "mongodb://[", "mongodb://%",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, err := ParseURI(s)
		if err != nil {
			return
		}
		if len(u.Hosts) == 0 {
			t.Fatal("no hosts")
		}
		for _, h := range u.Hosts {
			if again, err := ParseHost(string(h)); err != nil || again != h {
				t.Errorf("host %q reads back as %q, %v", h, again, err)
			}
		}
		if err := u.ReadPreference.Validate(); err != nil {
			t.Error(err)
		}
	})
}
