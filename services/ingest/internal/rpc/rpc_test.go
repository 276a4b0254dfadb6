package rpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace/noop"
	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	eventv1 "github.com/peppasync/peppasync/proto/peppasync/event/v1"
	ingestv1 "github.com/peppasync/peppasync/proto/peppasync/ingest/v1"
	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/systems"
	"github.com/peppasync/peppasync/services/ingest/internal/groupcommit"
	"github.com/peppasync/peppasync/services/ingest/internal/keep"
	"github.com/peppasync/peppasync/services/ingest/internal/recent"
	"github.com/peppasync/peppasync/services/internal/notice"
	"github.com/peppasync/peppasync/services/internal/secrets"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const memory = 1 << 20

// disk is where events end up: what Commit returned nil for is on it.
type disk struct {
	mu     sync.Mutex
	events [][]byte
	// commit may fail; nil stores.
	commit func(event []byte) error
}

func (d *disk) Commit(_ time.Time, events ...[]byte) error {
	for _, event := range events {
		if d.commit != nil {
			if err := d.commit(event); err != nil {
				return err
			}
		}
		d.mu.Lock()
		d.events = append(d.events, bytes.Clone(event))
		d.mu.Unlock()
	}
	return nil
}

func (d *disk) stored(t testing.TB) []*eventv1.Event {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	events := make([]*eventv1.Event, len(d.events))
	for i, data := range d.events {
		events[i] = new(eventv1.Event)
		if err := proto.Unmarshal(data, events[i]); err != nil {
			t.Fatal(err)
		}
	}
	return events
}

// explosive is a source with a bug, and one whose events only name their orders.
type explosive struct{ connectors.Source }

func (explosive) Order(_ *v1alpha1.ConnectorSpec, topic string, _ []byte) (*orderv1.Order, error) {
	if topic == "thin" {
		return nil, fmt.Errorf("here: %w", connectors.ErrThin)
	}
	panic("index out of range")
}

func (explosive) OrderID(*v1alpha1.ConnectorSpec, string, []byte) (string, error) { return "7", nil }

func server(d *disk) *Server {
	known := map[string]*v1alpha1.Connector{}
	for name, system := range map[string]v1alpha1.System{
		"shop": v1alpha1.SystemShopify, "feed": v1alpha1.SystemGRPC, "bug": v1alpha1.SystemStripe, "desk": v1alpha1.SystemHTTP,
	} {
		c := &v1alpha1.Connector{Spec: v1alpha1.ConnectorSpec{System: system}}
		c.Name, c.Spec.Webhook = name, &v1alpha1.Webhook{SecretRef: v1alpha1.SecretReference{Name: "s"}, MaxBodyBytes: 64 << 10}
		known[name] = c
	}
	known["desk"].Spec.Webhook.OrderTopics = []string{"order.made"}
	sources := systems.Sources()
	sources[string(v1alpha1.SystemStripe)] = explosive{}
	return New(Config{
		Keeper: keep.New(keep.Config{
			Connectors: func() map[string]*v1alpha1.Connector { return known }, Committer: d, Recent: recent.New(1000, time.Hour),
			Memory: keep.NewMemory(memory), Notices: notice.New(slog.New(slog.DiscardHandler), time.Second),
			MaxRequests: 100, MaxEventBytes: 256 << 10,
		}),
		Topics:  func(string) []string { return []string{"orders/edited"} },
		Sources: sources, Secrets: secrets.Environment([]string{"PEPPASYNC_SECRET_S_SECRET=secret"}),
		Tracer: noop.NewTracerProvider().Tracer("test"), Patience: 3 * time.Second, Window: 8, Idle: time.Minute,
	})
}

func caller(ctx context.Context, token string) context.Context {
	return metadata.NewIncomingContext(ctx, metadata.Pairs("authorization", token))
}

func whole(id, note string) *ingestv1.Submission {
	return &ingestv1.Submission{Connector: "feed", Topic: "t", Content: &ingestv1.Submission_Order{Order: &orderv1.Order{Id: id, Note: note}}}
}

// pipe is a stream of submissions in memory.
type pipe struct {
	grpc.ServerStream
	ctx  context.Context //nolint:containedctx // a stream has one
	in   []*ingestv1.Submission
	next func(int)
	at   int
	out  *ingestv1.SubmitStreamResponse
}

func (p *pipe) Context() context.Context { return p.ctx }

func (p *pipe) Recv() (*ingestv1.SubmitStreamRequest, error) {
	if p.next != nil {
		p.next(p.at)
	}
	if p.at == len(p.in) {
		return nil, io.EOF
	}
	p.at++
	return &ingestv1.SubmitStreamRequest{Submission: p.in[p.at-1]}, nil
}

func (p *pipe) SendAndClose(r *ingestv1.SubmitStreamResponse) error {
	p.out = r
	return nil
}

// A version that could not be stored comes again; the one behind it, of the same order,
// must not be stored ahead of it.
func TestALaterVersionWaitsForOneThatIsNotStored(t *testing.T) {
	begun, fails := make(chan struct{}), make(chan struct{})
	d := &disk{commit: func(event []byte) error {
		if bytes.Contains(event, []byte("first")) {
			close(begun)
			<-fails
			return errors.New("disk on fire")
		}
		return nil
	}}
	s := server(d)
	p := &pipe{ctx: caller(t.Context(), "Bearer secret"), in: []*ingestv1.Submission{whole("1", "first"), whole("1", "second"), whole("2", "other")}}
	p.next = func(at int) {
		if at == len(p.in) {
			<-begun
			close(fails)
		}
	}
	err := s.SubmitStream(p)
	if status.Code(err) != codes.Unavailable || p.out != nil {
		t.Errorf("answered %v, %v", p.out, err)
	}
	for _, e := range d.stored(t) {
		if e.GetOrder().GetId() == "1" {
			t.Errorf("stored %v", e)
		}
	}
	d.commit = nil
	again := &pipe{ctx: p.ctx, in: p.in}
	if err := s.SubmitStream(again); err != nil || again.out.GetStored()+again.out.GetRepetitions() != 3 {
		t.Errorf("handed in again: %v, %v", again.out, err)
	}
	atRest(t, s)
}

// One that waits for its turn to be worked on finds nothing of the one before it, and must
// not be stored ahead of it all the same.
func TestALaterVersionThatWaitsForAPlaceIsNotStored(t *testing.T) {
	d := new(disk)
	s := server(d)
	r := &run{server: s, places: make(chan struct{}, 1), last: make(map[string]chan struct{}), missing: -1, ended: make(chan struct{})}
	r.places <- struct{}{} // the first version's
	var taking sync.WaitGroup
	taking.Go(func() { r.take(caller(t.Context(), "Bearer secret"), 1, whole("1", "second")) })
	r.fail(0, of(keep.Unavailable("not-stored", "disk on fire", keep.Soon), ""))
	<-r.places
	taking.Wait()
	r.work.Wait()
	if events := d.stored(t); len(events) > 0 || r.missing != 0 {
		t.Errorf("stored %v, first missing %d", events, r.missing)
	}
	atRest(t, s)
}

// A stream that says nothing more keeps others out, and must not do so for ever; what it
// brought before is stored, and it is told how much that is. So when the instance stops.
func TestAStreamThatSaysNothingMoreIsEnded(t *testing.T) {
	for name, end := range map[string]func(s *Server){
		"after a while":             func(s *Server) { s.config.Idle = 50 * time.Millisecond },
		"as the instance stops":     func(s *Server) { s.Stop() },
		"as it stops a second time": func(s *Server) { s.Stop(); s.Stop() },
	} {
		t.Run(name, func(t *testing.T) {
			d := new(disk)
			s := server(d)
			s.config.Idle = time.Hour
			silent := make(chan struct{})
			defer close(silent)
			p := &pipe{ctx: caller(t.Context(), "Bearer secret"), in: []*ingestv1.Submission{whole("1", "x")}}
			p.next = func(at int) {
				if at == len(p.in) {
					<-silent
				}
			}
			if name == "after a while" {
				end(s)
			} else {
				d.commit = func([]byte) error { end(s); return nil }
			}
			err := s.SubmitStream(p)
			told, retries := int64(-1), false
			for _, detail := range status.Convert(err).Details() {
				switch detail := detail.(type) {
				case *ingestv1.Progress:
					told = detail.GetStoredFromFirst()
				case *errdetails.RetryInfo:
					retries = detail.GetRetryDelay().AsDuration() > 0
				}
			}
			if status.Code(err) != codes.Unavailable || told != 1 || !retries || len(d.stored(t)) != 1 {
				t.Errorf("answered %v, progress %d, retry %v, %d stored", err, told, retries, len(d.stored(t)))
			}
			atRest(t, s)
		})
	}
}

// A stream of which nothing is right ends, and what it is told stays small.
func TestAStreamOfNothingButMistakesEnds(t *testing.T) {
	s := server(new(disk))
	p := &pipe{ctx: caller(t.Context(), "Bearer secret")}
	for range 5000 {
		p.in = append(p.in, whole("", "x"))
	}
	err := s.SubmitStream(p)
	if status.Code(err) != codes.InvalidArgument || p.at > maxRejected+2 {
		t.Errorf("after %d: %v", p.at, err)
	}
	if size := proto.Size(status.Convert(err).Proto()); size > 4<<10 {
		t.Errorf("the status has %d bytes", size)
	}
	atRest(t, s)
}

func TestBodiesAreReadBeforeTheyAreStored(t *testing.T) {
	for topic, want := range map[string]codes.Code{"thin": codes.OK, "orders/create": codes.InvalidArgument} {
		d := new(disk)
		_, err := server(d).Submit(caller(t.Context(), "Bearer secret"), &ingestv1.SubmitRequest{Submission: &ingestv1.Submission{
			Connector: "bug", Topic: topic, Content: &ingestv1.Submission_Body{Body: []byte("{}")},
		}})
		if status.Code(err) != want || (len(d.stored(t)) == 1) != (want == codes.OK) {
			t.Errorf("%s: %v, stored %d", topic, err, len(d.stored(t)))
		}
	}
}

func TestCredentials(t *testing.T) {
	s := server(new(disk))
	for header, known := range map[string]bool{
		"Bearer secret": true, "bearer  secret ": true, "Bearer secre": false, "Bearer secret2": false, "Bearer ": false, "Bearer": false,
		"": false, "Basic secret": false, "secret": false,
	} {
		_, err := s.Submit(caller(t.Context(), header), &ingestv1.SubmitRequest{Submission: whole("1", "")})
		if (err == nil) != known || !known && status.Code(err) != codes.Unauthenticated || (s.Standing(caller(t.Context(), header)) == Known) != known {
			t.Errorf("%q: %v, standing %v", header, err, s.Standing(caller(t.Context(), header)))
		}
	}
	twice := metadata.NewIncomingContext(t.Context(), metadata.Pairs("authorization", "Bearer secret", "authorization", "Bearer x"))
	if _, err := s.Submit(twice, &ingestv1.SubmitRequest{Submission: whole("1", "")}); status.Code(err) != codes.Unauthenticated {
		t.Errorf("two of them: %v", err)
	}
}

func atRest(t testing.TB, s *Server) {
	t.Helper()
	if left := s.config.Keeper.Memory().Left(); left != memory || s.config.Keeper.Working() != 0 {
		t.Errorf("%d bytes of %d are free and %d requests in work in the end", left, memory, s.config.Keeper.Working())
	}
}

// FuzzSubmit: whatever comes, there is no panic, OK stands for a stored event with just
// that content, and everything else for none; what passes says when to come again.
func FuzzSubmit(f *testing.F) {
	add := func(s *ingestv1.Submission, token string) {
		data, err := proto.Marshal(s)
		if err != nil {
			f.Fatal(err)
		}
		for outcome := range uint8(3) {
			f.Add(data, token, outcome)
		}
	}
	add(whole("1", "x"), "Bearer secret")
	add(whole("1", "x"), "Bearer guess")
	add(&ingestv1.Submission{Connector: "feed", Topic: "t", Bulk: true, Content: &ingestv1.Submission_Order{Order: &orderv1.Order{Id: "1"}}}, "Bearer secret")
	add(&ingestv1.Submission{Connector: "shop", Topic: "orders/create", Content: &ingestv1.Submission_Body{Body: []byte(`{"id": 1, "line_items": []}`)}}, "Bearer secret")
	add(&ingestv1.Submission{Connector: "bug", Topic: "thin", EventId: strings.Repeat("x", 128), Content: &ingestv1.Submission_Body{Body: []byte(`{}`)}}, "Bearer secret")
	outcomes := []error{nil, groupcommit.ErrOverloaded, errors.New("odd")}
	f.Fuzz(func(t *testing.T, data []byte, token string, outcome uint8) {
		sub := &ingestv1.Submission{}
		if proto.Unmarshal(data, sub) != nil {
			return
		}
		d := new(disk)
		if err := outcomes[int(outcome)%len(outcomes)]; err != nil {
			d.commit = func([]byte) error { return err }
		}
		s := server(d)
		r, err := s.Submit(caller(t.Context(), token), &ingestv1.SubmitRequest{Submission: proto.CloneOf(sub)})
		events := d.stored(t)
		switch code := status.Code(err); code {
		case codes.OK:
			if len(events) != 1 || events[0].GetId() != r.GetEventId() || r.GetEventId() == "" ||
				!bytes.Equal(events[0].GetBody(), sub.GetBody()) || !proto.Equal(events[0].GetOrder(), sub.GetOrder()) ||
				events[0].GetBulk() != sub.GetBulk() {
				t.Fatalf("OK %v with %v stored", r, events)
			}
		default:
			passes := code == codes.Unavailable || code == codes.ResourceExhausted
			if len(events) > 0 || passes == (len(status.Convert(err).Details()) == 0) && code != codes.InvalidArgument {
				t.Fatalf("%v with %d events stored", err, len(events))
			}
		}
		atRest(t, s)
	})
}

// What is handed in under a topic that no flow can take would go nowhere, and nobody would
// be told.
func TestATopicThatTellsOfNoOrderIsRefused(t *testing.T) {
	const listed = "orders/cancelled, orders/create, orders/edited, orders/fulfilled, orders/paid, orders/partially_fulfilled, orders/updated"
	body := &ingestv1.Submission_Body{Body: []byte(`{"id": 1, "updated_at": "2026-11-27T14:47:00Z", "line_items": []}`)}
	order := &ingestv1.Submission_Order{Order: &orderv1.Order{Id: "1"}}
	for name, c := range map[string]struct {
		submission *ingestv1.Submission
		want       string
	}{
		"one that is spelled wrong": {&ingestv1.Submission{Connector: "shop", Topic: "orders/creat", Content: order},
			`found "orders/creat", expected one under which system Shopify tells of orders, or which a Flow takes of this Connector (spec.from): ` + listed},
		"with what the system sends":   {&ingestv1.Submission{Connector: "shop", Topic: "orders/creat", Content: body}, listed},
		"of something else":            {&ingestv1.Submission{Connector: "shop", Topic: "products/update", Content: order}, listed},
		"one that it knows":            {&ingestv1.Submission{Connector: "shop", Topic: "orders/create", Content: order}, ""},
		"with what it sends under it":  {&ingestv1.Submission{Connector: "shop", Topic: "orders/create", Content: body}, ""},
		"one that only a flow takes":   {&ingestv1.Submission{Connector: "shop", Topic: "orders/edited", Content: order}, ""},
		"any of a system of programs":  {&ingestv1.Submission{Connector: "feed", Topic: "whatever", Content: order}, ""},
		"one that the Connector names": {&ingestv1.Submission{Connector: "desk", Topic: "order.made", Content: order}, ""},
		"one that it does not name": {&ingestv1.Submission{Connector: "desk", Topic: "order.maid", Content: order},
			`(spec.from): order.made, orders/edited`},
		"of a source that panics": {&ingestv1.Submission{Connector: "bug", Topic: "t", Content: order}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			d := &disk{}
			_, err := server(d).Submit(caller(t.Context(), "Bearer secret"), &ingestv1.SubmitRequest{Submission: c.submission})
			switch {
			case c.want == "" && (err != nil || len(d.stored(t)) != 1):
				t.Errorf("%v, stored %v", err, d.stored(t))
			case c.want != "" && (status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), c.want) || len(d.stored(t)) != 0):
				t.Errorf("%v, stored %v, want %q", err, d.stored(t), c.want)
			}
		})
	}
}

// Without an id an event is named by what it says, and an order that becomes again what it
// was says the same as a retry that comes late. It takes an id, or a time of change, to tell
// them apart (ADR 0014).
func TestAnOrderThatBecomesAgainWhatItWas(t *testing.T) {
	at := func(second int64) *timestamppb.Timestamp { return &timestamppb.Timestamp{Seconds: second} }
	for name, c := range map[string]struct {
		third func(*ingestv1.Submission)
		want  bool
	}{
		"without an id it is a repetition": {func(*ingestv1.Submission) {}, true},
		"with one it is none":              {func(s *ingestv1.Submission) { s.EventId = "third" }, false},
		"with a time of change it is none": {func(s *ingestv1.Submission) { s.GetOrder().UpdatedAt = at(3) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			d := &disk{}
			s := server(d)
			third := whole("1", "A")
			c.third(third)
			for i, submission := range []*ingestv1.Submission{whole("1", "A"), whole("1", "B"), third} {
				answer, err := s.Submit(caller(t.Context(), "Bearer secret"), &ingestv1.SubmitRequest{Submission: submission})
				if err != nil || answer.GetRepetition() != (c.want && i == 2) {
					t.Errorf("number %d: %v, %v", i+1, answer, err)
				}
			}
			want := 3
			if c.want {
				want = 2
			}
			if n := len(d.stored(t)); n != want {
				t.Errorf("%d are stored, want %d", n, want)
			}
		})
	}
}
