// Package permission says what each role may do on the bus, as users of NATS: which
// subjects it publishes on and hears. It is a table, in the order of the data's way, and
// writes the server's configuration. Whoever gives a role a new stream or subject writes
// it here, or its readiness says that it is denied.
package permission

import (
	"fmt"
	"slices"
	"strings"
)

// User is who signs in to NATS by an nkey of its own.
type User string

// The users.
const (
	Ingest     User = "ingest"
	Gate       User = "logic-gate"
	Dispatcher User = "throttle-dispatcher"
	Reconciler User = "inventory-reconciler"
	Notifier   User = "notifier"
	Operator   User = "operator"
	// Admin is for people: the commands apply, holds, release, replay and sources.
	Admin User = "admin"
)

// Users returns all of them, in the order of the data's way.
func Users() []User {
	return []User{Ingest, Gate, Dispatcher, Reconciler, Notifier, Operator, Admin}
}

// Subjects are what a user may publish on and hear. What is denied is denied although a
// wildcard allows it.
type Subjects struct {
	Publish, Deny, Subscribe []string
}

// How many shards the table knows. A wildcard of NATS stands for whole tokens, so that
// "INGEST_*" would be no pattern: each stream is named. The order shards are as many as
// there can be.
const (
	ingestShards = 16
	orderShards  = 64
)

// Names as the bus has them, by which this package would bring NATS with it; its test
// compares them.
const (
	dispatch = "DISPATCH"
	waiting  = "WAITING"
	ledger   = "LEDGER"
	result   = "RESULT"
	hold     = "ERRHOLD"
	catalog  = "KV_catalog"
	lease    = "KV_lease"
	source   = "KV_source"
)

// Of returns what a user may do; nothing for one that is not in Users.
func Of(user User) Subjects {
	var s Subjects
	switch user {
	case Ingest:
		// Of DISPATCH and ERRHOLD it has but one key, under which it asks shops what their
		// webhooks missed, and holds what they refuse: no order's delivery is under it.
		s.publish("ingest.v1.*", "$KV.source.>", "dispatch.v1.*.*.reconcile.*", "hold.v1.*.reconcile.*")
		// An order that a webhook has only named may be on its way to be read: in DISPATCH
		// or, where its next attempt is far off, in WAITING.
		s.read(ingests(), orders(), one(dispatch, waiting, result, hold))
		s.follow(one(catalog, source))
		s.command("STREAM.LEADER.STEPDOWN", ingests())
		s.backlog(ingests(), string(Gate))
	case Gate:
		s.publish("order.state.v1.>", "dispatch.v1.>", "hold.v1.>")
		s.read(orders(), one(dispatch, result, hold))
		s.follow(one(catalog))
		s.consume(slices.Concat(ingests(), one(result)), string(Gate))
		s.command("STREAM.PURGE", ingests())
	case Dispatcher:
		s.publish("dispatch.v1.>", "waiting.v1.>", "ledger.v1.>", "result.v1.>", "hold.v1.>", "$KV.lease.>")
		s.read(orders(), one(dispatch, result, hold))
		s.follow(one(catalog, waiting, ledger, lease))
		// Its consumers are named after connector and lane, which come and go.
		s.consume(one(dispatch), "*")
		s.command("CONSUMER.NAMES", one(dispatch))
		s.command("STREAM.PURGE", one(waiting))
		s.hear("$JS.EVENT.ADVISORY.CONSUMER.LEADER_ELECTED." + dispatch + ".*")
	case Reconciler:
		s.publish("dispatch.v1.>")
		s.read(one(dispatch))
		s.follow(one(catalog), orders())
		s.consume(one(result), string(Reconciler))
	case Notifier:
		s.publish("dispatch.v1.>")
		s.read(orders(), one(dispatch, waiting, result))
		s.follow(one(catalog))
		s.consume(one(hold), string(Notifier))
	case Operator:
		s.administer()
		// Which orders have a step that waits for another is seen by those that have a call
		// somewhere, or a result that the gate has not applied yet.
		s.publish("$JS.API.CONSUMER.DELETE."+dispatch+".*", "$JS.API.CONSUMER.INFO."+result+"."+string(Gate))
		s.command("CONSUMER.NAMES", one(dispatch))
		s.command("CONSUMER.LIST", one(dispatch))
		s.backlog(one(dispatch), "*")
		// It tells how much of each connector waits and is held, and which of the held
		// have arrived since.
		s.read(orders(), one(dispatch, waiting, ledger, lease, result))
		s.follow(one(hold))
	case Admin:
		s.administer()
		// A release and a replay go the way of an event, and no other.
		s.publish("ingest.v1.*")
		s.follow(ingests(), orders(), one(hold, source))
		s.read(one(dispatch, waiting, result))
		s.backlog(ingests(), string(Gate))
	default:
		return Subjects{}
	}
	s.each(user)
	return s
}

// each allows what every user needs, and is last.
func (s *Subjects) each(user User) {
	s.publish("$JS.API.INFO")
	s.hear("_INBOX_" + string(user) + ".>")
	s.Publish = unique(s.Publish)
	s.Deny = s.others(user)
}

// others returns what a wildcard would allow and is not to be done: what a stream's
// readers may do to consumers of any name they may not do to a role's own, whose place
// in the stream is where orders and texts would be lost.
func (s *Subjects) others(user User) []string {
	var denied []string
	deny := func(stream string, durable User) {
		if durable == user || !slices.Contains(s.Publish, "$JS.API.CONSUMER.CREATE."+stream+".>") {
			return
		}
		for _, what := range []string{"CREATE." + stream + "." + string(durable), "CREATE." + stream + "." + string(durable) + ".>",
			"MSG.NEXT." + stream + "." + string(durable), "DELETE." + stream + "." + string(durable)} {
			denied = append(denied, "$JS.API.CONSUMER."+what)
		}
	}
	for _, stream := range ingests() {
		deny(stream, Gate)
	}
	deny(hold, Notifier)
	return denied
}

func (s *Subjects) publish(subjects ...string) { s.Publish = append(s.Publish, subjects...) }

func (s *Subjects) hear(subjects ...string) { s.Subscribe = append(s.Subscribe, subjects...) }

// command allows one request of JetStream's for each stream.
func (s *Subjects) command(verb string, streams []string) {
	for _, stream := range streams {
		s.publish("$JS.API." + verb + "." + stream)
	}
}

// read allows to look at a stream and at single records, by the leader alone.
func (s *Subjects) read(streams ...[]string) {
	for _, stream := range slices.Concat(streams...) {
		s.publish("$JS.API.STREAM.INFO."+stream, "$JS.API.STREAM.MSG.GET."+stream)
	}
}

// follow allows to read a stream from end to end and on, by consumers that last as long
// as their reader, whose names nobody knows before.
func (s *Subjects) follow(streams ...[]string) {
	s.read(streams...)
	for _, stream := range slices.Concat(streams...) {
		s.publish("$JS.API.CONSUMER.CREATE."+stream+".>", "$JS.API.CONSUMER.INFO."+stream+".*",
			"$JS.API.CONSUMER.MSG.NEXT."+stream+".*", "$JS.API.CONSUMER.DELETE."+stream+".*")
	}
}

// consume allows to work a stream off by a durable consumer of that name. Both forms of
// acknowledgment are there: the server may be told to use the second.
func (s *Subjects) consume(streams []string, durable string) {
	s.read(streams)
	s.backlog(streams, durable)
	for _, stream := range streams {
		create := "$JS.API.CONSUMER.CREATE." + stream + "." + durable
		s.publish(create, create+".>", "$JS.API.CONSUMER.MSG.NEXT."+stream+"."+durable,
			"$JS.API.CONSUMER.RESET."+stream+"."+durable, "$JS.API.CONSUMER.DELETE."+stream+"."+durable,
			"$JS.ACK."+stream+"."+durable+".>", "$JS.ACK.*.*."+stream+"."+durable+".>")
	}
}

// backlog allows to ask how far a consumer is.
func (s *Subjects) backlog(streams []string, durable string) {
	for _, stream := range streams {
		s.publish("$JS.API.CONSUMER.INFO." + stream + "." + durable)
	}
}

// administer allows to make and change streams, and to write the catalog. It does not
// delete any.
func (s *Subjects) administer() {
	s.publish("$JS.API.STREAM.CREATE.*", "$JS.API.STREAM.UPDATE.*", "$JS.API.STREAM.INFO.*",
		"$JS.API.STREAM.NAMES", "$JS.API.STREAM.LIST", "$KV.catalog.>")
	s.follow(one(catalog))
}

func one(streams ...string) []string { return streams }

func ingests() []string { return numbered("INGEST_", ingestShards) }

func orders() []string { return numbered("ORDER_", orderShards) }

func numbered(prefix string, count int) []string {
	names := make([]string, count)
	for i := range names {
		names[i] = fmt.Sprint(prefix, i)
	}
	return names
}

// unique keeps the first of each.
func unique(all []string) []string {
	seen := map[string]bool{}
	return slices.DeleteFunc(slices.Clone(all), func(one string) bool {
		known := seen[one]
		seen[one] = true
		return known
	})
}

// Variable is the environment variable by which a server is told a user's public key,
// where its configuration is the same everywhere.
func Variable(user User) string {
	return "PEPPASYNC_NKEY_" + strings.ToUpper(strings.ReplaceAll(string(user), "-", "_"))
}

// Config returns the authorization section of the server's configuration. key returns
// what stands for a user's public key: itself, or "$" and its variable.
func Config(key func(User) string) string {
	var b strings.Builder
	b.WriteString("authorization {\n  users: [\n")
	for _, user := range Users() {
		s := Of(user)
		fmt.Fprintf(&b, "    # %s\n    {\n      nkey: %s\n      permissions: {\n        publish: {\n", user, key(user))
		list(&b, "allow", s.Publish)
		list(&b, "deny", s.Deny)
		b.WriteString("        }\n        subscribe: {\n")
		list(&b, "allow", s.Subscribe)
		b.WriteString("        }\n      }\n    }\n")
	}
	b.WriteString("  ]\n}\n")
	return b.String()
}

func list(b *strings.Builder, name string, subjects []string) {
	if len(subjects) == 0 {
		return
	}
	fmt.Fprintf(b, "          %s: [\n", name)
	for _, subject := range subjects {
		fmt.Fprintf(b, "            %q\n", subject)
	}
	b.WriteString("          ]\n")
}
