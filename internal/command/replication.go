package command

import (
	"context"
	"net"
	"strconv"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/server"
)

// term is the election term of a set of one member, whose only election was its first.
const term = 1

// replicationCommands are the commands on the replica set.
func replicationCommands() []*Command {
	return []*Command{
		{Name: "replSetGetStatus", Help: "Tells the state of the members of the replica set.", AdminOnly: true, SecondaryOK: true,
			Fields: []Field{{Name: "initialSync", Kind: SafeBool}}, Run: runReplSetGetStatus},
		{Name: "replSetGetConfig", Help: "Shows the configuration of the replica set.", AdminOnly: true, SecondaryOK: true,
			Fields: []Field{{Name: "commitmentStatus", Kind: Bool}}, Run: runReplSetGetConfig},
		{Name: "replSetInitiate", Help: "Starts a replica set.", AdminOnly: true, SecondaryOK: true, Loose: true, Run: runReplSetInitiate},
	}
}

// electionID is the id of the election that made this member primary.
func (cs *Commands) electionID() [12]byte {
	if id := cs.cfg.Topology.State().ElectionID; id != ([12]byte{}) {
		return id
	}
	return server.ElectionIDForTerm(term)
}

func (c *Call) needReplication() error {
	if !c.Commands.replicated {
		return mongoerr.New(mongoerr.NoReplicationEnabled, "not running with --replSet")
	}
	return nil
}

// memberName is the address of this member as the set's configuration has it.
func (c *Call) memberName() string {
	s := c.Commands.cfg.Topology.State()
	switch {
	case s.Me != "":
		return s.Me
	case len(s.Hosts) > 0:
		return s.Hosts[0]
	}
	return clientAddress(c.Req.Conn.LocalAddr())
}

func appendOpTime(b *bsonval.Builder, name string, ts uint64) {
	b.StartDoc(name).Value("ts", bsonval.TimestampBits(ts)).Int64("t", term).End()
}

func runReplSetGetStatus(_ context.Context, c *Call) error {
	if err := c.needReplication(); err != nil {
		return err
	}
	cs := c.Commands
	s, now, ts := cs.cfg.Topology.State(), bsonval.DateTime(cs.cfg.Now()), cs.clock.Applied()
	wall := bsonval.Date(int64(ts>>32) * 1000)
	durable, _ := cs.cfg.DB.Engine().Durable()
	b := bsonval.NewBuilder().Str("set", s.SetName).Value("date", now).Int32("myState", 1).Int64("term", term)
	b.Str("syncSourceHost", "").Int32("syncSourceId", -1).Int64("heartbeatIntervalMillis", 2000)
	b.Int32("majorityVoteCount", 1).Int32("writeMajorityCount", 1).Int32("votingMembersCount", 1).Int32("writableVotingMembersCount", 1)
	b.StartDoc("optimes")
	appendOpTime(b, "lastCommittedOpTime", ts)
	b.Value("lastCommittedWallTime", wall)
	appendOpTime(b, "readConcernMajorityOpTime", ts)
	appendOpTime(b, "appliedOpTime", ts)
	appendOpTime(b, "durableOpTime", durable)
	appendOpTime(b, "writtenOpTime", ts)
	b.Value("lastAppliedWallTime", wall).Value("lastDurableWallTime", wall).Value("lastWrittenWallTime", wall).End()
	b.StartArray("members").StartDoc("")
	b.Int32("_id", 0).Str("name", c.memberName()).Double("health", 1).Int32("state", 1).Str("stateStr", "PRIMARY")
	b.Int32("uptime", int32(cs.cfg.Now().Sub(cs.started).Seconds()))
	appendOpTime(b, "optime", ts)
	b.Value("optimeDate", wall).Value("lastAppliedWallTime", wall).Value("lastDurableWallTime", wall)
	b.Str("syncSourceHost", "").Int32("syncSourceId", -1).Str("infoMessage", "")
	b.Value("electionTime", bsonval.Timestamp(uint32(cs.started.Unix()), 1)).Value("electionDate", bsonval.DateTime(cs.started))
	b.Int32("configVersion", s.SetVersion).Int32("configTerm", term).Bool("self", true).Str("lastHeartbeatMessage", "").End().End()
	c.Reply.AppendDoc(b.Build())
	return nil
}

func runReplSetGetConfig(_ context.Context, c *Call) error {
	if err := c.needReplication(); err != nil {
		return err
	}
	s := c.Commands.cfg.Topology.State()
	b := bsonval.NewBuilder().StartDoc("config").Str("_id", s.SetName).Int32("version", s.SetVersion).Int32("term", term)
	b.StartArray("members").StartDoc("").Int32("_id", 0).Str("host", c.memberName()).Bool("arbiterOnly", false).
		Bool("buildIndexes", true).Bool("hidden", false).Double("priority", 1).StartDoc("tags").End().
		Int64("secondaryDelaySecs", 0).Int32("votes", 1).End().End()
	b.Int64("protocolVersion", 1).Bool("writeConcernMajorityJournalDefault", true)
	b.StartDoc("settings").Bool("chainingAllowed", true).Int32("heartbeatIntervalMillis", 2000).Int32("heartbeatTimeoutSecs", 10).
		Int32("electionTimeoutMillis", 10000).Int32("catchUpTimeoutMillis", -1).Int32("catchUpTakeoverDelayMillis", 30000).End()
	b.End()
	if c.Bool("commitmentStatus") {
		b.Bool("commitmentStatus", true)
	}
	c.Reply.AppendDoc(b.Build())
	return nil
}

func runReplSetInitiate(_ context.Context, c *Call) error {
	if err := c.needReplication(); err != nil {
		return err
	}
	return mongoerr.New(mongoerr.AlreadyInitialized, "already initialized")
}

func appendRepl(cs *Commands, b *bsonval.Builder) {
	s := cs.cfg.Topology.State()
	me := s.Me
	if me == "" {
		me = cs.hostPort()
	}
	v := cs.cfg.Topology.Version()
	b.StartDoc("topologyVersion").Value("processId", bsonval.ObjectID(v.ProcessID[:])).Int64("counter", v.Counter).End()
	b.StartArray("hosts").Add(bsonval.String(me)).End().Str("setName", s.SetName).Int32("setVersion", s.SetVersion)
	id := cs.electionID()
	b.Bool("isWritablePrimary", true).Bool("secondary", false).Str("primary", me).Str("me", me).Value("electionId", bsonval.ObjectID(id[:]))
	b.StartDoc("lastWrite")
	ts := cs.clock.Applied()
	appendOpTime(b, "opTime", ts)
	b.Date("lastWriteDate", int64(ts>>32)*1000)
	appendOpTime(b, "majorityOpTime", ts)
	b.Date("majorityWriteDate", int64(ts>>32)*1000).End()
}

// LastWrite tells hello how far the member is.
func (cs *Commands) LastWrite() server.LastWrite {
	ts := cs.clock.Applied()
	at := server.OpTime{Timestamp: ts, Term: term}
	date := bsonval.Date(int64(ts>>32) * 1000).Time()
	return server.LastWrite{OpTime: at, Date: date, MajorityOpTime: at, MajorityDate: date}
}

// tcpPort is the port of the first TCP address, 0 if there is none.
func tcpPort(addrs []net.Addr) int32 {
	for _, a := range addrs {
		if t, ok := a.(*net.TCPAddr); ok {
			return int32(t.Port)
		}
	}
	return 0
}

// withPort is "host", or "host:port" for another port than MongoDB's own.
func withPort(host string, port int32) string {
	if port == 0 || port == 27017 {
		return host
	}
	return net.JoinHostPort(host, strconv.Itoa(int(port)))
}

func (cs *Commands) serverMetrics() *server.Metrics {
	if cs.cfg.Server == nil {
		return nil
	}
	if s := cs.cfg.Server(); s != nil {
		return s.Metrics()
	}
	return nil
}
