package command

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"hash"
	"strconv"
	"strings"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/catalog"
	"github.com/archelon-db/archelon/internal/database"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/plan"
)

// administrationCommands are the commands that look after the server.
func administrationCommands() []*Command {
	failed := func(name string) *Command {
		return &Command{Name: name, Help: "Authenticates a user.", NoAuth: true, SecondaryOK: true, Loose: true, Run: runAuthenticate}
	}
	encrypted := func(name string) *Command {
		return &Command{Name: name, Help: "Reduces the metadata of an encrypted collection.", First: FirstCollection, WriteConcern: true,
			Fields: []Field{
				{Name: "compactionTokens", Kind: Object, Required: true},
				{Name: "encryptionInformation", Kind: Object}, {Name: "anchorPaddingTokens", Kind: Object},
			}, Run: runEncryptedMetadata}
	}
	compact, cleanup := encrypted("compactStructuredEncryptionData"), encrypted("cleanupStructuredEncryptionData")
	cleanup.Fields[0].Name = "cleanupTokens"
	return []*Command{
		compact, cleanup,
		{Name: "shutdown", Help: "Ends the server.", AdminOnly: true, SecondaryOK: true, Run: runShutdown,
			Fields: []Field{{Name: "force", Kind: SafeBool}, {Name: "timeoutSecs", Kind: Int}}},
		{Name: "fsync", Help: "Writes everything to disk.", AdminOnly: true, SecondaryOK: true, Run: runFsync,
			Fields: []Field{{Name: "lock", Kind: SafeBool}, {Name: "fsyncLockAcquisitionTimeoutMillis", Kind: Int}}},
		{Name: "dropConnections", Help: "Closes the server's own connections to hosts.", AdminOnly: true, SecondaryOK: true,
			Fields: []Field{{Name: "hostAndPort", Kind: Array, Required: true}}, Run: runDropConnections},
		{Name: "dbHash", Aliases: []string{"dbhash"}, Help: "Computes hashes of collections.", SecondaryOK: true, Run: runDBHash,
			Fields: []Field{{Name: "collections", Kind: Array}, {Name: "skipTempCollections", Kind: SafeBool}}},
		{Name: "usersInfo", Help: "Tells about users.", SecondaryOK: true, Loose: true, Run: runUsersInfo},
		failed("saslStart"), failed("saslContinue"), failed("authenticate"),
	}
}

// runAuthenticate fails: there are no users.
func runAuthenticate(context.Context, *Call) error {
	return mongoerr.New(mongoerr.AuthenticationFailed, "Authentication failed.")
}

// runEncryptedMetadata fails: there are no encrypted collections.
func runEncryptedMetadata(_ context.Context, c *Call) error {
	if err := c.refuseView(); err != nil {
		return err
	}
	if c.Database().Catalog().Collection(c.DB, c.Coll) == nil {
		return mongoerr.New(mongoerr.NamespaceNotFound, "Collection '%s' does not exist", c.Coll)
	}
	return mongoerr.New(6346807, "Target namespace is not an encrypted collection")
}

func runUsersInfo(_ context.Context, c *Call) error {
	c.Append("users", bsonval.Array(bsonval.EmptyDoc))
	return nil
}

func runShutdown(_ context.Context, c *Call) error {
	if c.Commands.cfg.Shutdown == nil {
		return mongoerr.New(mongoerr.NotImplemented, "this server cannot be shut down by command")
	}
	c.Commands.cfg.Logger.Info("shutdown requested by command", "client", clientAddress(c.Req.Conn.RemoteAddr()))
	c.Commands.cfg.Shutdown()
	return nil
}

func runFsync(ctx context.Context, c *Call) error {
	if c.Bool("lock") {
		return mongoerr.New(mongoerr.NotImplemented, "'fsync.lock' is not implemented")
	}
	if err := c.Database().Engine().Sync(ctx); err != nil {
		return err
	}
	c.Append("numFiles", bsonval.Int32(1))
	return nil
}

// runDropConnections checks the hosts. A server alone has no connections to others.
func runDropConnections(_ context.Context, c *Call) error {
	it := c.Doc("hostAndPort").Iter()
	for it.Next() {
		if it.Value().IsNullish() {
			continue
		}
		if it.Value().Type() != bsonval.TypeString {
			return wrongType("dropConnections", "hostAndPort."+string(it.Key()), it.Value().Type(), String)
		}
		if err := checkHostAndPort(it.Value().Str()); err != nil {
			return err
		}
	}
	return nil
}

// checkHostAndPort checks "host", "host:port" and "[v6]:port".
func checkHostAndPort(s string) error {
	bad := func(why string) error {
		return mongoerr.New(mongoerr.FailedToParse, "%s in HostAndPort '%s'", why, s)
	}
	host, port, hasPort := s, "", false
	if strings.HasPrefix(s, "[") {
		end := strings.IndexByte(s, ']')
		if end < 0 {
			return bad("missing ']'")
		}
		host = s[1:end]
		if rest := s[end+1:]; rest != "" {
			if rest[0] != ':' {
				return bad("junk after ']'")
			}
			port, hasPort = rest[1:], true
		}
	} else if i := strings.IndexByte(s, ':'); i >= 0 {
		host, port, hasPort = s[:i], s[i+1:], true
	}
	if host == "" {
		return bad("empty host component")
	}
	if hasPort {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return bad("bad port number")
		}
	}
	return nil
}

// refuseView fails if the namespace is a view.
func (c *Call) refuseView() error {
	if coll := c.Database().Catalog().Collection(c.DB, c.Coll); coll != nil && coll.Type == catalog.TypeView {
		return mongoerr.New(mongoerr.CommandNotSupportedOnView, "Namespace %s is a view, not a collection", c.Namespace())
	}
	return nil
}

// runDBHash hashes the documents of collections in the order of their _id.
func runDBHash(ctx context.Context, c *Call) error {
	start := time.Now()
	var only map[string]bool
	if list := c.Doc("collections"); list != nil && !list.IsEmpty() {
		only = map[string]bool{}
		it := list.Iter()
		for it.Next() {
			if it.Value().Type() != bsonval.TypeString {
				return mongoerr.New(mongoerr.BadValue, "collections entries have to be strings")
			}
			only[it.Value().Str()] = true
		}
	}
	hashes, uuids := bsonval.NewBuilder(), bsonval.NewBuilder()
	all := md5.New()
	for _, coll := range c.Database().Catalog().Collections(c.DB) {
		if coll.IsView() || only != nil && !only[coll.Name] {
			continue
		}
		one := md5.New()
		if err := c.hashCollection(ctx, coll, one); err != nil {
			return err
		}
		text := hex.EncodeToString(one.Sum(nil))
		all.Write([]byte(text))
		hashes.Str(coll.Name, text)
		uuids.Value(coll.Name, coll.UUID.Value())
	}
	b := bsonval.NewBuilder().Str("host", c.Commands.hostPort()).Doc("collections", hashes.Build())
	b.StartArray("capped").End().Doc("uuids", uuids.Build()).Str("md5", hex.EncodeToString(all.Sum(nil)))
	b.Int32("timeMillis", int32(time.Since(start).Milliseconds()))
	c.Reply.AppendDoc(b.Build())
	return nil
}

func (c *Call) hashCollection(ctx context.Context, coll *catalog.Collection, h hash.Hash) error {
	byID := bsonval.NewBuilder().Int32("_id", 1).Build()
	cur, err := c.Database().Find(ctx, c.Op(ctx), database.Namespace{DB: coll.DB, Coll: coll.Name},
		&database.FindQuery{Sort: byID, Hint: &plan.Hint{Key: byID}})
	if err != nil {
		return err
	}
	defer cur.Close()
	var buf []byte
	for more := true; more; {
		var at int
		buf, at = bsonval.BeginDoc(buf[:0])
		if buf, _, more, err = cur.AppendBatch(ctx, buf, 1000); err != nil {
			return err
		}
		buf = bsonval.EndDoc(buf, at)
		it := bsonval.Doc(buf).Iter()
		for it.Next() {
			h.Write(it.Value().Doc())
		}
	}
	return nil
}
