package permission_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/bus/bustest"
	"github.com/peppasync/peppasync/services/peppasync/internal/bootstrap"
	"github.com/peppasync/peppasync/services/peppasync/internal/permission"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// matches reports whether a pattern of NATS selects a subject.
func matches(pattern, subject string) bool {
	parts, tokens := strings.Split(pattern, "."), strings.Split(subject, ".")
	for i, part := range parts {
		if part == ">" {
			return len(tokens) > i
		}
		if i >= len(tokens) || part != "*" && part != tokens[i] {
			return false
		}
	}
	return len(parts) == len(tokens)
}

func allows(patterns []string, subject string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matches(p, subject) })
}

func mayPublish(user permission.User, subject string) bool {
	s := permission.Of(user)
	return allows(s.Publish, subject) && !allows(s.Deny, subject)
}

// who is which user may publish on a subject: all others may not. It is what a person
// reads to see what the loss of one role's key gives away.
var who = map[string][]permission.User{
	bus.IngestSubject(0):                                       {permission.Ingest, permission.Admin},
	bus.OrderStateSubject("shop_1"):                            {permission.Gate},
	bus.DispatchSubject("erp", "standard", "shop_1", "d"):      {permission.Gate, permission.Dispatcher, permission.Reconciler, permission.Notifier},
	bus.DispatchSubject("shop", "bulk", "reconcile", "d"):      {permission.Ingest, permission.Gate, permission.Dispatcher, permission.Reconciler, permission.Notifier},
	bus.WaitingSubject("erp", "shop_1", "d"):                   {permission.Dispatcher},
	bus.LedgerSubject("erp"):                                   {permission.Dispatcher},
	bus.ResultSubject("logic-gate", "d"):                       {permission.Dispatcher},
	bus.HoldSubject("erp", "shop_1", "d"):                      {permission.Gate, permission.Dispatcher},
	bus.HoldSubject("shop", "reconcile", "refused-listOrders"): {permission.Ingest, permission.Gate, permission.Dispatcher},
	bus.KeyValueSubject(bus.BucketCatalog, "current"):          {permission.Operator, permission.Admin},
	bus.KeyValueSubject(bus.BucketLease, "of.erp"):             {permission.Dispatcher},
	bus.KeyValueSubject(bus.BucketSource, "of.shop"):           {permission.Ingest},
	"$JS.API.STREAM.CREATE.DISPATCH":                           {permission.Operator, permission.Admin},
	"$JS.API.STREAM.UPDATE.LEDGER":                             {permission.Operator, permission.Admin},
	"$JS.API.STREAM.DELETE.INGEST_0":                           {},
	"$JS.API.STREAM.PURGE.LEDGER":                              {},
	"$JS.API.STREAM.PURGE.INGEST_0":                            {permission.Gate},
	"$JS.API.STREAM.MSG.DELETE.ORDER_0":                        {},
	"$JS.API.CONSUMER.CREATE.DISPATCH.dispatch_erp_standard":   {permission.Dispatcher},
	"$JS.API.CONSUMER.MSG.NEXT.DISPATCH.dispatch_erp_standard": {permission.Dispatcher},
	"$JS.API.CONSUMER.MSG.NEXT.INGEST_0.logic-gate":            {permission.Gate},
	"$JS.API.CONSUMER.DELETE.INGEST_0.logic-gate":              {permission.Gate},
	"$JS.API.CONSUMER.CREATE.INGEST_0.logic-gate":              {permission.Gate},
	"$JS.API.CONSUMER.CREATE.INGEST_0.logic-gate.ingest.v1.0":  {permission.Gate},
	"$JS.API.CONSUMER.MSG.NEXT.ERRHOLD.notifier":               {permission.Notifier},
	"$JS.API.CONSUMER.MSG.NEXT.RESULT.inventory-reconciler":    {permission.Reconciler},
	"$JS.API.CONSUMER.MSG.NEXT.RESULT.logic-gate":              {permission.Gate},
	"$JS.API.CONSUMER.CREATE.ERRHOLD.anybody.hold.v1.>":        {permission.Operator, permission.Admin},
	"$JS.API.STREAM.MSG.GET.ORDER_63": {
		permission.Ingest, permission.Gate, permission.Dispatcher, permission.Reconciler, permission.Notifier, permission.Operator, permission.Admin,
	},
	"$JS.API.CONSUMER.DURABLE.CREATE.INGEST_0.x":            {},
	"$JS.ACK.INGEST_0.logic-gate.1.2.3.4.5":                 {permission.Gate},
	"$JS.ACK.domain.account.DISPATCH.dispatch_erp_bulk.1.2": {permission.Dispatcher},
	"$JS.API.STREAM.MSG.GET.LEDGER":                         {permission.Dispatcher, permission.Operator},
	"$JS.API.STREAM.MSG.GET.WAITING": {
		permission.Ingest, permission.Dispatcher, permission.Notifier, permission.Operator, permission.Admin,
	},
	"$JS.API.STREAM.MSG.GET.RESULT": {
		permission.Ingest, permission.Gate, permission.Dispatcher, permission.Reconciler, permission.Notifier, permission.Operator, permission.Admin,
	},
	"$JS.API.CONSUMER.INFO.RESULT.logic-gate": {permission.Gate, permission.Operator},
	"$JS.API.STREAM.LEADER.STEPDOWN.INGEST_1": {permission.Ingest},
	"$JS.API.ACCOUNT.PURGE.X":                 {},
	"$SYS.REQ.SERVER.PING":                    {},
	"anything.else":                           {},
}

func TestEachSubjectBelongsToWhoNeedsIt(t *testing.T) {
	for subject, allowed := range who {
		for _, user := range permission.Users() {
			if got, want := mayPublish(user, subject), slices.Contains(allowed, user); got != want {
				t.Errorf("%s may publish on %s: %v, want %v", user, subject, got, want)
			}
		}
	}
}

// An inbox is where a server answers: who hears another's hears its secrets.
func TestNobodyHearsAnother(t *testing.T) {
	for _, user := range permission.Users() {
		heard := permission.Of(user).Subscribe
		for _, other := range permission.Users() {
			if got := allows(heard, "_INBOX_"+string(other)+".abc.1"); got != (user == other) {
				t.Errorf("%s hears the answers to %s: %v", user, other, got)
			}
		}
		for _, subject := range []string{"ingest.v1.0", "dispatch.v1.a.b.c.d", "$KV.catalog.x", ">", "_INBOX.x", "$JS.API.INFO"} {
			if allows(heard, subject) {
				t.Errorf("%s hears %s", user, subject)
			}
		}
	}
}

// The table names streams as the bus does; one that it does not know nobody could use.
func TestEveryStreamAndSubjectIsKnown(t *testing.T) {
	streams := []string{bus.StreamDispatch, bus.StreamWaiting, bus.StreamLedger, bus.StreamResult, bus.StreamErrorHold,
		bus.KeyValueStream(bus.BucketCatalog), bus.KeyValueStream(bus.BucketLease), bus.KeyValueStream(bus.BucketSource)}
	for shard := range 64 {
		streams = append(streams, bus.OrderStream(shard))
	}
	for shard := range 16 {
		streams = append(streams, bus.IngestStream(shard))
	}
	for _, stream := range streams {
		if !slices.ContainsFunc(permission.Users(), func(user permission.User) bool {
			return user != permission.Operator && user != permission.Admin && mayPublish(user, "$JS.API.STREAM.MSG.GET."+stream)
		}) {
			t.Errorf("no role may read %s", stream)
		}
	}
}

// secured returns a server with every user, and the folder of their keys.
func secured(t *testing.T) (*bustest.Server, string) {
	t.Helper()
	folder := t.TempDir()
	_, err := bootstrap.Run(t.Context(), bootstrap.Directory(folder), bootstrap.Options{Hosts: []string{"localhost", "127.0.0.1"}, Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	return bustest.NewServer(t, bustest.WithSecurity(folder), bustest.WithTopology(bus.Topology{IngestShards: 2, OrderShards: 2})), folder
}

// The server itself refuses what the table does not allow: the same table, for what a
// person would call forbidden, by each user's own key over TLS.
func TestTheServerRefusesWhatIsNotAllowed(t *testing.T) {
	t.Parallel()
	server, folder := secured(t)
	for _, user := range permission.Users() {
		t.Run(string(user), func(t *testing.T) {
			t.Parallel()
			b := server.Connect(t, bus.Options{Name: string(user), NKey: filepath.Join(folder, string(user), "nkey")})
			if err := b.Healthy(t.Context()); err != nil {
				t.Fatalf("%s cannot sign in: %v", user, err)
			}
			for subject, allowed := range who {
				if strings.HasPrefix(subject, "$JS.") || strings.HasPrefix(subject, "$SYS.") || subject == "anything.else" {
					continue // Publish would wait for an answer that says something else
				}
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				refused := make(chan struct{})
				go func() {
					defer close(refused)
					for ctx.Err() == nil {
						if err := b.Healthy(ctx); err != nil && strings.Contains(err.Error(), `"`+subject+`"`) {
							cancel()
							return
						}
					}
				}()
				_, err := b.Publish(ctx, bus.Message{Subject: subject, Data: []byte("x")})
				cancel()
				<-refused
				if want := slices.Contains(allowed, user); (err == nil) != want {
					t.Errorf("%s on %s: %v, want it allowed: %v", user, subject, err, want)
				}
			}
		})
	}
}

func TestAStrangerIsRefused(t *testing.T) {
	server, folder := secured(t)
	other := t.TempDir()
	if _, err := bootstrap.Run(t.Context(), bootstrap.Directory(other), bootstrap.Options{Hosts: []string{"localhost"}, Now: time.Now()}); err != nil {
		t.Fatal(err)
	}
	for why, o := range map[string]bus.Options{
		"another installation's key": {Name: "ingest", NKey: filepath.Join(other, "ingest", "nkey")},
		"no key":                     {Name: "ingest", NKey: "none"},
		"another CA":                 {Name: "ingest", CA: filepath.Join(other, "ca", "ca.crt"), NKey: filepath.Join(folder, "ingest", "nkey")},
	} {
		if o.NKey == "none" {
			o.NKey = filepath.Join(t.TempDir(), "nkey")
			if _, err := bus.Connect(t.Context(), o); err == nil || !strings.Contains(err.Error(), "nkey seed") {
				t.Errorf("%s: %v", why, err)
			}
			continue
		}
		b := server.Connect(t, o)
		for range 20 {
			if err := b.Healthy(t.Context()); err == nil {
				t.Errorf("%s: it is let in", why)
			}
		}
	}
}

// A key that is replaced in its file counts without a restart of the role: the one that
// was let in with the first is cut off, and is back with the second.
func TestAReplacedKeyIsTakenUp(t *testing.T) {
	server, folder := secured(t)
	seed := filepath.Join(t.TempDir(), "nkey")
	copyFile(t, filepath.Join(folder, "notifier", "nkey"), seed)
	b := server.Connect(t, bus.Options{Name: "notifier", NKey: seed})
	if err := b.Healthy(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(folder, "notifier")); err != nil {
		t.Fatal(err)
	}
	if _, err := bootstrap.Run(t.Context(), bootstrap.Directory(folder), bootstrap.Options{Hosts: []string{"localhost"}, Now: time.Now()}); err != nil {
		t.Fatal(err)
	}
	server.Restart(t)
	copyFile(t, filepath.Join(folder, "notifier", "nkey"), seed)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := b.Healthy(ctx)
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("with the new key in its file: %v", err)
		}
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, data, 0o600); err != nil {
		t.Fatal(err)
	}
}
