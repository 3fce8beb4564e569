package egress

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
)

// TestTopology runs the scripts of testdata/topology. Their commands:
//
//	seeds HOST… [set=NAME] [direct]
//	hello HOST KIND [set=] [hosts=A,B] [me=] [election=N] [version=N] [wire=N] [tv=N] [rtt=MS] [lag=SECONDS] [tags=k:v,…] [hidden]
//	error HOST [tv=N]
//	select MODE [tags=k:v,…;…] [stale=SECONDS] [avoid=A,B]
//
// and each prints the topology or the servers selected.
func TestTopology(t *testing.T) {
	datadriven.Walk(t, "testdata/topology", func(t *testing.T, path string) {
		var topology *TopologyDescription
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			now := time.Unix(1000, 0)
			switch d.Cmd {
			case "seeds":
				set, _ := arg(d, "set")
				var hosts []Host
				for _, a := range d.CmdArgs {
					if len(a.Vals) == 0 && a.Key != "direct" {
						hosts = append(hosts, host(a.Key))
					}
				}
				topology = newTopology(hosts, set, d.HasArg("direct"), now)
			case "hello":
				h, rtt := scriptHello(t, d)
				topology = topology.apply(describe(host(d.CmdArgs[0].Key), h, rtt, now))
			case "error":
				topology = topology.apply(unknownServer(host(d.CmdArgs[0].Key), fmt.Errorf("broken"), scriptVersion(t, d), now))
			case "select":
				return selectHosts(t, d, topology)
			default:
				t.Fatalf("unknown command %s", d.Cmd)
			}
			return show(topology)
		})
	})
}

func host(s string) Host { return Host(s + ":1") }

func hosts(s string) (out []Host) {
	for h := range strings.SplitSeq(s, ",") {
		out = append(out, host(h))
	}
	return out
}

// arg returns the value of an argument of a script's command, and whether it is there.
func arg(d *datadriven.TestData, key string) (string, bool) {
	for _, a := range d.CmdArgs {
		if a.Key == key {
			return strings.Join(a.Vals, ","), true
		}
	}
	return "", false
}

// numberArg is arg for numbers.
func numberArg(t *testing.T, d *datadriven.TestData, key string) (n int64, ok bool) {
	s, ok := arg(d, key)
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n, true
}

func scriptVersion(t *testing.T, d *datadriven.TestData) *TopologyVersion {
	n, ok := numberArg(t, d, "tv")
	if !ok {
		return nil
	}
	return &TopologyVersion{Counter: n}
}

func scriptTags(s string) map[string]string {
	out := map[string]string{}
	for pair := range strings.SplitSeq(s, ",") {
		if k, v, ok := strings.Cut(pair, ":"); ok {
			out[k] = v
		}
	}
	return out
}

func scriptHello(t *testing.T, d *datadriven.TestData) (*Hello, time.Duration) {
	h := &Hello{SetName: "rs", MaxWireVersion: 27, LogicalSessionTimeout: time.Minute, TopologyVersion: scriptVersion(t, d)}
	switch kind := d.CmdArgs[1].Key; kind {
	case "primary":
		h.Writable = true
	case "secondary":
		h.Secondary = true
	case "arbiter":
		h.ArbiterOnly = true
	case "other":
	case "ghost":
		h.ReplicaSetGhost = true
	case "router":
		h.Router, h.SetName = true, ""
	case "standalone":
		h.Writable, h.SetName = true, ""
	default:
		t.Fatalf("unknown kind %s", kind)
	}
	if set, ok := arg(d, "set"); ok {
		h.SetName = set
	}
	if list, ok := arg(d, "hosts"); ok {
		h.Hosts = hosts(list)
	}
	if me, ok := arg(d, "me"); ok {
		h.Me = host(me)
	}
	if n, ok := numberArg(t, d, "election"); ok {
		h.ElectionID[11] = byte(n)
	}
	h.SetVersion, h.HasSetVersion = numberArg(t, d, "version")
	if n, ok := numberArg(t, d, "wire"); ok {
		h.MaxWireVersion = int32(n)
	}
	rtt, _ := numberArg(t, d, "rtt")
	lag, _ := numberArg(t, d, "lag")
	h.LastWrite = time.Unix(1000-lag, 0)
	if tags, ok := arg(d, "tags"); ok {
		h.Tags = scriptTags(tags)
	}
	h.Hidden = d.HasArg("hidden")
	return h, time.Duration(rtt) * time.Millisecond
}

func selectHosts(t *testing.T, d *datadriven.TestData, topology *TopologyDescription) string {
	s := selector{heartbeat: 10 * time.Second, window: 15 * time.Millisecond}
	if mode := d.CmdArgs[0].Key; mode != "write" {
		s.preference = &ReadPreference{Mode: ReadMode(mode)}
		if tags, ok := arg(d, "tags"); ok {
			for set := range strings.SplitSeq(tags, ";") {
				s.preference.TagSets = append(s.preference.TagSets, scriptTags(set))
			}
		}
		stale, _ := numberArg(t, d, "stale")
		s.preference.MaxStaleness = time.Duration(stale) * time.Second
	}
	if avoid, ok := arg(d, "avoid"); ok {
		s.avoid = hosts(avoid)
	}
	var out []string
	for _, server := range topology.suitable(&s) {
		out = append(out, strings.TrimSuffix(string(server.Host), ":1"))
	}
	if len(out) == 0 {
		return "none"
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func show(t *TopologyDescription) string {
	var b strings.Builder
	fmt.Fprint(&b, t.Kind)
	if t.SetName != "" {
		fmt.Fprintf(&b, " set=%s", t.SetName)
	}
	b.WriteByte('\n')
	for _, h := range t.Hosts() {
		s := t.Servers[h]
		fmt.Fprintf(&b, "  %s %s", strings.TrimSuffix(string(h), ":1"), s.Kind)
		if s.Err != nil {
			fmt.Fprintf(&b, ": %s", strings.TrimPrefix(s.Err.Error(), "FailedToParse: "))
		}
		b.WriteByte('\n')
	}
	if t.Err != nil {
		fmt.Fprintf(&b, "error: %v\n", t.Err)
	}
	return b.String()
}
