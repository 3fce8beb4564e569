package server

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/archelon-db/archelon/wire"
)

func field(name string, v any) bson.D { return bson.D{{Key: "hello", Value: 1}, {Key: name, Value: v}} }

func TestHelloPostures(t *testing.T) {
	keys := func(d bson.Raw) string {
		var out []string
		for _, e := range must(d.Elements()) {
			out = append(out, e.Key())
		}
		return strings.Join(out, " ")
	}
	const limits = "maxBsonObjectSize maxMessageSizeBytes maxWriteBatchSize localTime logicalSessionTimeoutMinutes " +
		"connectionId minWireVersion maxWireVersion"
	for _, tc := range []struct {
		name  string
		state State
		cmd   string
		want  string
	}{
		{"standalone", State{}, "hello", "isWritablePrimary topologyVersion " + limits + " readOnly ok"},
		{"standalone old name", State{}, "isMaster", "ismaster topologyVersion " + limits + " readOnly ok"},
		{"router", State{Posture: Router}, "ismaster", "ismaster msg topologyVersion " + limits + " readOnly ok"},
		{"one member", State{Posture: ReplicaSet, SetName: "rs0", SetVersion: 1}, "hello",
			"topologyVersion hosts setName setVersion isWritablePrimary secondary primary me electionId " + limits + " readOnly ok"},
		{"secondary", State{Posture: ReplicaSet, SetName: "rs0", Role: RoleSecondary, Hosts: []string{"a:1", "b:2"}, Primary: "a:1", Me: "b:2"},
			"hello", "topologyVersion hosts setName setVersion isWritablePrimary secondary primary me " + limits + " readOnly ok"},
		{"uninitialized", State{Posture: ReplicaSet, Role: RoleUninitialized}, "hello",
			"topologyVersion isWritablePrimary secondary info isreplicaset " + limits + " readOnly ok"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ts := start(t, tc.state, nil)
			c := ts.dial(t)
			c.send(0, bson.D{{Key: tc.cmd, Value: 1}})
			m, doc := c.receive()
			if got := keys(bson.Raw(m.Body)); got != tc.want {
				t.Errorf("fields\n got %s\nwant %s", got, tc.want)
			}
			if tc.name == "one member" {
				at := ts.Addr().String()
				if doc["me"] != at || doc["primary"] != at || doc["hosts"].(bson.A)[0] != at || doc["setName"] != "rs0" {
					t.Errorf("%v", doc)
				}
			}
			if doc["maxWireVersion"] != int32(27) || doc["connectionId"] != int32(1) || doc["maxBsonObjectSize"] != int32(16777216) {
				t.Errorf("%v", doc)
			}
		})
	}
}

func TestHelloErrors(t *testing.T) {
	version := func(ts *testServer, counter any) bson.D {
		return bson.D{{Key: "processId", Value: bson.ObjectID(ts.topology.Version().ProcessID)}, {Key: "counter", Value: counter}}
	}
	for _, posture := range []Posture{Standalone, ReplicaSet, Router} {
		ts := start(t, State{Posture: posture}, nil)
		pick := func(codes ...int32) int32 { return codes[posture] }
		await := func(v any, ms any) bson.D {
			return bson.D{{Key: "hello", Value: 1}, {Key: "topologyVersion", Value: v}, {Key: "maxAwaitTimeMS", Value: ms}}
		}
		for _, tc := range []struct {
			cmd  bson.D
			code int32
		}{
			{field("topologyVersion", version(ts, int64(0))), pick(31368, 31368, 51760)},
			{field("maxAwaitTimeMS", 1), pick(31368, 31368, 51760)},
			{await(version(ts, int64(-1)), 1), pick(31372, 31372, 51758)},
			{await(version(ts, int64(9)), 1), pick(51764, 31382, 51761)},
			{await(version(ts, int64(0)), -1), 2},
			{await(version(ts, int64(0)), "x"), 14},
			{await(version(ts, int32(0)), 1), 14},
			{await(1, 1), 14},
			{await(bson.D{{Key: "counter", Value: int64(0)}}, 1), 40414},
			{await(append(version(ts, int64(0)), bson.E{Key: "x", Value: 1}), 1), 40415},
			{field("saslSupportedMechs", "noDotSeparator"), 2},
			{field("saslSupportedMechs", ""), 2},
			{field("saslSupportedMechs", 123), 14},
			{field("saslSupportedMechs", bson.A{"admin.user"}), 14},
			{field("saslSupportedMechs", nil), 14},
			{field("saslSupportedMechs", bson.D{{Key: "db", Value: "admin"}}), 2},
			{field("helloOk", 1), 14},
			{field("compression", "zlib"), 14},
			{field("client", 1), 14},
		} {
			ts.dial(t).wantCode(tc.code, tc.cmd)
		}
		ts.dial(t).wantOK(field("unknownField", 1))
		ts.dial(t).wantOK(field("saslSupportedMechs", "admin.user"))
	}
}

func TestClientMetadata(t *testing.T) {
	full := func(app string) bson.D {
		return bson.D{
			{Key: "application", Value: bson.D{{Key: "name", Value: app}}},
			{Key: "driver", Value: bson.D{{Key: "name", Value: "d"}, {Key: "version", Value: "1"}}},
			{Key: "os", Value: bson.D{{Key: "type", Value: "Linux"}}},
		}
	}
	pad := func(n int) bson.D {
		d := append(full("a"), bson.E{Key: "platform", Value: ""})
		d[3].Value = strings.Repeat("x", n-len(must(bson.Marshal(d))))
		return d
	}
	ts := start(t, State{}, nil)
	for _, tc := range []struct {
		name   string
		client bson.D
		code   int32
	}{
		{"full", full("app"), 0},
		{"longest name", full(strings.Repeat("x", 128)), 0},
		{"name too long", full(strings.Repeat("x", 129)), 184},
		{"largest", pad(1024), 0},
		{"too large", pad(1025), 185},
		{"empty", bson.D{}, 183},
		{"no os", full("a")[:2], 183},
		{"driver is no document", bson.D{{Key: "driver", Value: 1}}, 14},
		{"driver without version", bson.D{{Key: "driver", Value: bson.D{{Key: "name", Value: "x"}}}}, 183},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := ts.dial(t)
			if tc.code != 0 {
				c.wantCode(tc.code, field("client", tc.client))
				return
			}
			c.wantOK(field("client", tc.client))
			c.wantOK(bson.D{{Key: "hello", Value: 1}})
			c.wantCode(186, field("client", tc.client))
			found := false
			ts.eachConn(func(sc *Conn) { found = found || sc.Metadata().Len() == len(tc.client) })
			if !found {
				t.Error("metadata not stored")
			}
		})
	}
	c := ts.dial(t)
	c.wantOK(bson.D{{Key: "hello", Value: 1}})
	c.wantCode(186, field("client", full("late")))
}

func TestAwaitableHello(t *testing.T) {
	ts := start(t, State{Posture: ReplicaSet, SetName: "rs0"}, nil)
	c := ts.dial(t)
	version := c.wantOK(bson.D{{Key: "hello", Value: 1}})["topologyVersion"]
	await := func(ms int) bson.D {
		return bson.D{{Key: "hello", Value: 1}, {Key: "topologyVersion", Value: version}, {Key: "maxAwaitTimeMS", Value: ms}}
	}
	before := time.Now()
	c.wantOK(await(60))
	if d := time.Since(before); d < 55*time.Millisecond {
		t.Errorf("answered after %s", d)
	}
	c.send(0, await(60_000))
	eventually(t, "hello waits", func() bool { return ts.hello.Awaiting.Load() == 1 })
	ts.topology.Update(func(s *State) { s.Role = RoleSecondary })
	_, doc := c.receive()
	tv := doc["topologyVersion"].(bson.D)
	if doc["secondary"] != true || tv[1].Value != int64(1) {
		t.Errorf("%v", doc)
	}
	// A stale version is answered at once.
	if doc := c.wantOK(await(60_000)); doc["secondary"] != true {
		t.Errorf("%v", doc)
	}
	if n := ts.hello.Awaiting.Load(); n != 0 {
		t.Errorf("%d still waiting", n)
	}
}

func TestStreamingHello(t *testing.T) {
	ts := start(t, State{Posture: ReplicaSet, SetName: "rs0"}, nil)
	c := ts.dial(t)
	version := c.wantOK(bson.D{{Key: "hello", Value: 1}})["topologyVersion"]
	to := c.send(wire.FlagExhaustAllowed, bson.D{{Key: "hello", Value: 1}, {Key: "topologyVersion", Value: version}, {Key: "maxAwaitTimeMS", Value: 30}})
	var counters []int64
	for i := range 4 {
		m, doc := c.receive()
		if m.Header.ResponseTo != to || m.Flags&wire.FlagMoreToCome == 0 {
			t.Fatalf("reply %d: to %d want %d, flags %v", i, m.Header.ResponseTo, to, m.Flags)
		}
		to = m.Header.RequestID
		counters = append(counters, doc["topologyVersion"].(bson.D)[1].Value.(int64))
		if i == 1 {
			ts.topology.Update(func(s *State) { s.SetVersion++ })
		}
	}
	if counters[0] != 0 || counters[3] != 1 {
		t.Errorf("counters %v", counters)
	}
	if n := ts.hello.Streaming.Load(); n != 1 {
		t.Errorf("%d streams", n)
	}
	// Shutting down ends the stream with an error that makes drivers turn elsewhere.
	go ts.Shutdown(context.Background())
	for {
		m, doc := c.receive()
		if m.Flags&wire.FlagMoreToCome == 0 {
			if doc["code"] != int32(91) || doc["topologyVersion"] == nil {
				t.Errorf("%v", doc)
			}
			break
		}
	}
	c.wantClosed()
}

func TestHelloExtras(t *testing.T) {
	hello := NewHello(HelloConfig{
		Topology:  NewTopology(State{Posture: ReplicaSet, SetName: "x"}),
		Advertise: "db.example:27017",
		LastWrite: func() LastWrite {
			return LastWrite{OpTime: OpTime{Timestamp: 7<<32 | 1, Term: 2}, Date: time.UnixMilli(7000)}
		},
		SASLMechanisms: func(_ context.Context, db, user string) ([]string, error) {
			if db == "admin" && user == "a.b" {
				return []string{"SCRAM-SHA-256"}, nil
			}
			if user == "err" {
				return nil, errors.New("no")
			}
			return nil, nil
		},
		Extend: func(_ context.Context, _ *Request, dst []byte) ([]byte, error) {
			return append(dst, 8, 'e', 0, 1), nil
		},
	})
	run := func(v any) (bson.M, error) {
		d, err := Call(t.Context(), hello, NewRequest(nil, "admin", must(bson.Marshal(field("saslSupportedMechs", v)))))
		var m bson.M
		must(0, bson.Unmarshal(d, &m))
		return m, err
	}
	doc, err := run("admin.a.b")
	if err != nil || doc["me"] != "db.example:27017" || doc["e"] != true || len(doc["saslSupportedMechs"].(bson.A)) != 1 {
		t.Errorf("%v %v", doc, err)
	}
	last := doc["lastWrite"].(bson.D)
	if last[0].Value.(bson.D)[0].Value != (bson.Timestamp{T: 7, I: 1}) {
		t.Errorf("%v", last)
	}
	if doc, _ := run("admin.nobody"); doc["saslSupportedMechs"] != nil {
		t.Errorf("%v", doc)
	}
	if _, err := run("admin.err"); err == nil {
		t.Error("error lost")
	}
}
