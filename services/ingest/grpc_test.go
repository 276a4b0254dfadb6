package ingest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	eventv1 "github.com/peppasync/peppasync/proto/peppasync/event/v1"
	ingestv1 "github.com/peppasync/peppasync/proto/peppasync/ingest/v1"
	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/internal/bus/bustest"
)

// program is a caller of IngestService with a connection of its own.
func (f *fixture) program(t testing.TB) ingestv1.IngestServiceClient {
	t.Helper()
	return ingestv1.NewIngestServiceClient(f.dial(t))
}

func (f *fixture) dial(t testing.TB) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+f.config.GRPC.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallSendMsgSize(16<<20)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// as returns a context with credentials.
func as(ctx context.Context, token string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
}

// whole is a submission of an order.
func whole(connector, id string, edit func(*orderv1.Order)) *ingestv1.Submission {
	o := &orderv1.Order{Id: id, Name: "#" + id, Currency: "USD", Total: "10.00", UpdatedAt: &timestamppb.Timestamp{Seconds: 1_780_000_000},
		Lines: []*orderv1.Line{{Id: "1", Sku: "MUG", Quantity: 1, UnitPrice: "10.00"}}}
	if edit != nil {
		edit(o)
	}
	return &ingestv1.Submission{Connector: connector, Topic: "orders/create", Content: &ingestv1.Submission_Order{Order: o}}
}

func raw(connector, topic, body string) *ingestv1.Submission {
	return &ingestv1.Submission{Connector: connector, Topic: topic, Content: &ingestv1.Submission_Body{Body: []byte(body)}}
}

func submit(ctx context.Context, client ingestv1.IngestServiceClient, s *ingestv1.Submission) (*ingestv1.SubmitResponse, error) {
	return client.Submit(ctx, &ingestv1.SubmitRequest{Submission: s})
}

// stream hands all in and returns the answer.
func stream(ctx context.Context, client ingestv1.IngestServiceClient, all ...*ingestv1.Submission) (*ingestv1.SubmitStreamResponse, error) {
	s, err := client.SubmitStream(ctx)
	if err != nil {
		return nil, err
	}
	for _, one := range all {
		if err := s.Send(&ingestv1.SubmitStreamRequest{Submission: one}); errors.Is(err, io.EOF) {
			break // the status says why
		} else if err != nil {
			return nil, err
		}
	}
	return s.CloseAndRecv()
}

// detail returns the first detail of a type that a status has.
func detail[T any](err error) (found T, ok bool) {
	for _, d := range status.Convert(err).Details() {
		if found, ok = d.(T); ok {
			return found, true
		}
	}
	return found, false
}

func TestWhatAProgramHandsInIsStored(t *testing.T) {
	f := start(t, bustest.Start(t), nil).ready(t)
	client, ctx := f.program(t), as(t.Context(), secret)
	ctx = metadata.AppendToOutgoingContext(ctx, "traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	named := whole("feed", "A-1", nil)
	named.EventId = "mine"
	for name, test := range map[string]struct {
		submission *ingestv1.Submission
		id         string
	}{
		"an order":            {named, "mine"},
		"an order without id": {whole("feed", "A-2", nil), ""},
		"a body":              {raw("shop", "orders/paid", string(order(1))), ""},
		"an order of a shop":  {whole("shop", "7", nil), ""},
	} {
		t.Run(name, func(t *testing.T) {
			first, err := submit(ctx, client, test.submission)
			if err != nil {
				t.Fatal(err)
			}
			again, err := submit(ctx, client, test.submission)
			if err != nil {
				t.Fatal(err)
			}
			if first.GetRepetition() || !again.GetRepetition() || again.GetEventId() != first.GetEventId() || first.GetEventId() == "" ||
				test.id != "" && first.GetEventId() != test.id {
				t.Errorf("answered %v, then %v", first, again)
			}
		})
	}
	events := stored(t, f.bus)
	if len(events) != 4 || f.Counts().Stored != 4 || f.Counts().Duplicates != 4 {
		t.Fatalf("%d events are stored, %+v", len(events), f.Counts())
	}
	for _, e := range events {
		if !strings.Contains(e.GetTraceparent(), "4bf92f3577b34da6a3ce929d0e0e4736") || e.GetReceivedAt() == nil ||
			(e.GetOrder() == nil) == (len(e.GetBody()) == 0) {
			t.Errorf("stored %v", e)
		}
	}
}

func TestWhatAProgramIsRefused(t *testing.T) {
	f := start(t, bustest.Start(t), nil).ready(t)
	client := f.program(t)
	long := whole("feed", "1", func(o *orderv1.Order) { o.Note = strings.Repeat("x", 1<<20) })
	huge := whole("feed", "1", func(o *orderv1.Order) { o.Note = strings.Repeat("x", 2<<20) })
	many := whole("feed", "1", func(o *orderv1.Order) { o.Tags = make([]string, 300_000) })
	for name, test := range map[string]struct {
		token      string
		submission *ingestv1.Submission
		code       codes.Code
		field      string
		retries    bool
	}{
		"no credentials":                   {"", whole("feed", "1", nil), codes.Unauthenticated, "", false},
		"wrong credentials":                {"guess", whole("feed", "1", nil), codes.Unauthenticated, "", false},
		"those of another connector":       {secret, whole("other", "1", nil), codes.NotFound, "", false},
		"an unknown connector":             {secret, whole("nobody", "1", nil), codes.NotFound, "", false},
		"a connector that takes no events": {secret, whole("erp", "1", nil), codes.NotFound, "", false},
		"a secret that is missing":         {secret, whole("lost", "1", nil), codes.Unavailable, "", true},
		"nothing":                          {secret, &ingestv1.Submission{Connector: "feed", Topic: "t"}, codes.InvalidArgument, "submission.order", false},
		"an order that is none":            {secret, whole("feed", "", nil), codes.InvalidArgument, "submission.order.id", false},
		"an order that is too large":       {secret, long, codes.InvalidArgument, "submission.order", false},
		"an order of too many parts":       {secret, many, codes.InvalidArgument, "submission.order", false},
		"the same for another's connector": {secret, whole("other", "1", func(o *orderv1.Order) { o.Tags = make([]string, 300_000) }), codes.NotFound, "", false},
		"an order that is far too large":   {secret, huge, codes.ResourceExhausted, "", false},
		"a body that nobody reads":         {secret, raw("feed", "t", "{}"), codes.InvalidArgument, "submission.body", false},
		"a body that is no JSON":           {secret, raw("shop", "orders/create", "{"), codes.InvalidArgument, "submission.body", false},
		"a body that is no order":          {secret, raw("shop", "orders/create", "[]"), codes.InvalidArgument, "submission.body", false},
		"a body that is too large":         {secret, raw("shop", "orders/create", strings.Repeat(" ", maxBody+1)), codes.InvalidArgument, "submission.body", false},
		"a topic without an order":         {secret, raw("shop", "carts/update", "{}"), codes.InvalidArgument, "submission.topic", false},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			if test.token != "" {
				ctx = as(ctx, test.token)
			}
			_, err := submit(ctx, client, test.submission)
			bad, _ := detail[*errdetails.BadRequest](err)
			retry, _ := detail[*errdetails.RetryInfo](err)
			field := ""
			if violations := bad.GetFieldViolations(); len(violations) > 0 {
				field = violations[0].GetField()
			}
			if status.Code(err) != test.code || field != test.field || (retry.GetRetryDelay().AsDuration() > 0) != test.retries {
				t.Errorf("answered %v, field %q, retry %v", err, field, retry)
			}
		})
	}
	if events := stored(t, f.bus); len(events) > 0 {
		t.Errorf("stored %v", events)
	}
	if text := f.logs.String(); strings.Contains(text, secret) || strings.Contains(text, "guess") {
		t.Errorf("the log shows credentials:\n%s", text)
	}
}

// A message of many empty parts, which took sixty times its bytes to be read, takes a few,
// alone and in a stream, and the others of the stream go on.
func TestAMessageOfManyEmptyPartsTakesLittle(t *testing.T) {
	f := start(t, bustest.Start(t), nil).ready(t)
	full := whole("feed", "2", func(o *orderv1.Order) {
		o.Lines = make([]*orderv1.Line, 340_000)
		for i := range o.Lines {
			o.Lines[i] = &orderv1.Line{}
		}
	})
	data, err := proto.Marshal(&ingestv1.SubmitRequest{Submission: full})
	if err != nil {
		t.Fatal(err)
	}
	took := testing.Benchmark(func(b *testing.B) {
		b.Helper()
		for b.Loop() {
			if err := newCodec().Unmarshal(mem.BufferSlice{mem.SliceBuffer(data)}, new(ingestv1.SubmitRequest)); err != nil {
				b.Fatal(err)
			}
		}
	}).AllocedBytesPerOp()
	if most := int64(8 * len(data)); took > most {
		t.Errorf("reading %d bytes takes %d, want %d at most", len(data), took, most)
	}
	got, err := stream(as(t.Context(), secret), f.program(t), whole("feed", "1", nil), full, whole("feed", "3", nil))
	if err != nil || got.GetStored() != 2 || len(got.GetRejected()) != 1 || got.GetRejected()[0].GetIndex() != 1 {
		t.Fatalf("answered %v, %v", got, err)
	}
	if v := got.GetRejected()[0].GetViolations(); len(v) != 1 || !strings.HasPrefix(v[0].GetDescription(), "has 340000 lines, properties") {
		t.Errorf("violations %v", v)
	}
}

// A connector of somebody else and one that is not there are answered alike to the letter,
// one by one and in a stream; the operator is told which it was.
func TestNobodyLearnsTheNamesOfOtherConnectors(t *testing.T) {
	f := start(t, bustest.Start(t), nil).ready(t)
	ctx, client := as(t.Context(), secret), f.program(t)
	answers := map[string]string{}
	for _, name := range []string{"other", "nobody", "erp"} {
		_, alone := submit(ctx, client, whole(name, "1", nil))
		_, wrong := submit(ctx, client, whole(name, "", func(o *orderv1.Order) { o.Currency = "x" }))
		_, streamed := stream(ctx, client, whole(name, "1", nil))
		answers[name] = strings.ReplaceAll(fmt.Sprint(status.Convert(alone).Proto(), status.Convert(wrong).Proto(), status.Convert(streamed).Proto()), name, "NAME")
	}
	for name, answer := range answers {
		if answer != answers["nobody"] || !strings.Contains(answer, "there is no connector") {
			t.Errorf("%s is answered %s\nand one that is not there %s", name, answer, answers["nobody"])
		}
	}
	if log := f.logs.String(); !strings.Contains(log, "connector=other kind=credentials") || !strings.Contains(log, "connector=nobody") {
		t.Errorf("the log does not tell them apart:\n%s", log)
	}
}

// Both secrets let a program in while they are being changed, and an empty one nobody.
func TestCredentialsWhileTheyAreChanged(t *testing.T) {
	f := start(t, bustest.Start(t), nil).ready(t)
	client := f.program(t)
	for token, want := range map[string]codes.Code{"old-secret": codes.OK, "new-secret": codes.OK, " ": codes.Unauthenticated, secret: codes.NotFound} {
		if _, err := submit(as(t.Context(), token), client, whole("other", "1", nil)); status.Code(err) != want {
			t.Errorf("%q: %v, want %v", token, err, want)
		}
	}
}

func TestAStreamTellsWhichAreWrongAndStoresTheOthers(t *testing.T) {
	f := start(t, bustest.Start(t), nil).ready(t)
	var all []*ingestv1.Submission
	for i := range 1000 {
		s := whole("feed", fmt.Sprint(i), nil)
		if i%100 == 99 {
			s.GetOrder().Total = "ten"
		}
		all = append(all, s)
	}
	client, ctx := f.program(t), as(t.Context(), secret)
	got, err := stream(ctx, client, all...)
	if err != nil || got.GetStored() != 990 || got.GetRepetitions() != 0 || len(got.GetRejected()) != 10 {
		t.Fatalf("answered %v, %v", got, err)
	}
	for i, r := range got.GetRejected() {
		if r.GetIndex() != int64(i*100+99) || r.GetViolations()[0].GetField() != "order.total" {
			t.Errorf("rejected %v", r)
		}
	}
	if events := stored(t, f.bus); len(events) != 990 || f.Counts().Packs >= 500 {
		t.Errorf("%d events are stored in %d packs", len(events), f.Counts().Packs)
	}
	got, err = stream(ctx, client, all...)
	if err != nil || got.GetStored() != 0 || got.GetRepetitions() != 990 {
		t.Errorf("a repetition is answered %v, %v", got, err)
	}
	if got, err := stream(ctx, client); err != nil || got.GetStored() != 0 {
		t.Errorf("an empty stream is answered %v, %v", got, err)
	}
}

// Versions of one order that follow each other in a stream are stored in that order,
// though many are in work at the same time and there are several shards.
func TestAStreamKeepsTheOrderOfEachOrder(t *testing.T) {
	f := start(t, bustest.Start(t), func(b *bounds) { b.writersPerShard = 4 }).ready(t)
	var all []*ingestv1.Submission
	for version := range 40 {
		for id := range 10 {
			all = append(all, whole("feed", fmt.Sprint(id), func(o *orderv1.Order) { o.Note = fmt.Sprintf("%03d", version) }))
		}
	}
	if _, err := stream(as(t.Context(), secret), f.program(t), all...); err != nil {
		t.Fatal(err)
	}
	events := stored(t, f.bus)
	slices.SortFunc(events, func(a, b *eventv1.Event) int { return a.GetReceivedAt().AsTime().Compare(b.GetReceivedAt().AsTime()) })
	newest := map[string]string{}
	for _, e := range events {
		if id := e.GetOrder().GetId(); e.GetOrder().GetNote() <= newest[id] {
			t.Fatalf("order %s: %s is stored after %s", id, e.GetOrder().GetNote(), newest[id])
		}
		newest[e.GetOrder().GetId()] = e.GetOrder().GetNote()
	}
	if len(newest) != 10 || newest["9"] != "039" {
		t.Errorf("newest %v", newest)
	}
}

func TestAStreamThatCannotGoOnSaysHowFarItCame(t *testing.T) {
	f := start(t, bustest.Start(t), nil).ready(t)
	got, err := stream(as(t.Context(), secret), f.program(t), whole("feed", "1", nil), whole("feed", "2", nil), whole("nobody", "3", nil), whole("feed", "4", nil))
	progress, ok := detail[*ingestv1.Progress](err)
	if status.Code(err) != codes.NotFound || !ok || progress.GetStoredFromFirst() != 2 {
		t.Errorf("answered %v, %v, %v", got, err, progress)
	}
	// One after the break may have been taken in or not; the two before it are there.
	if events := byOrder(t, f); events["1"] != 1 || events["2"] != 1 || events["3"] != 0 {
		t.Errorf("stored %v", events)
	}
}

// byOrder counts stored events by the order's id.
func byOrder(t testing.TB, f *fixture) map[string]int {
	t.Helper()
	counts := map[string]int{}
	for _, e := range stored(t, f.bus) {
		counts[e.GetOrder().GetId()]++
	}
	return counts
}

// While the bus is away a program is asked to come again, and is told no OK; afterwards
// everything is taken, once.
func TestProgramsComeAgainWhileTheBusIsAway(t *testing.T) {
	server := bustest.NewServer(t)
	f := start(t, server.Bus(t), func(b *bounds) { b.patience, b.writeTimeout = 300*time.Millisecond, 200*time.Millisecond }).ready(t)
	client, ctx := f.program(t), as(t.Context(), secret)
	server.Stop()
	_, err := submit(ctx, client, whole("feed", "1", nil))
	retry, ok := detail[*errdetails.RetryInfo](err)
	if code := status.Code(err); code != codes.Unavailable && code != codes.ResourceExhausted || !ok || retry.GetRetryDelay().AsDuration() < time.Second {
		t.Errorf("answered %v, %v", err, retry)
	}
	_, err = stream(ctx, client, whole("feed", "2", nil), whole("feed", "3", nil))
	progress, told := detail[*ingestv1.Progress](err)
	if _, ok := detail[*errdetails.RetryInfo](err); !ok || !told || progress.GetStoredFromFirst() != 0 {
		t.Errorf("a stream is answered %v", err)
	}
	server.Restart(t)
	f.eventually(t, "taken", func() bool {
		got, err := stream(ctx, client, whole("feed", "1", nil), whole("feed", "2", nil), whole("feed", "3", nil))
		return err == nil && got.GetStored()+got.GetRepetitions() == 3
	})
	if events := byOrder(t, f); len(events) != 3 {
		t.Errorf("stored %v", events)
	}
}

// More than may be in work at the same time makes a stream slower, and breaks none.
func TestStreamsWaitForEachOther(t *testing.T) {
	f := start(t, bustest.Start(t), func(b *bounds) { b.requests, b.bodyBytes = 8, 64<<10 }).ready(t)
	client, ctx := f.program(t), as(t.Context(), secret)
	var callers sync.WaitGroup
	for caller := range 4 {
		callers.Go(func() {
			var all []*ingestv1.Submission
			for i := range 100 {
				all = append(all, whole("feed", fmt.Sprint(caller, "-", i), func(o *orderv1.Order) { o.Note = strings.Repeat("x", 4<<10) }))
			}
			if got, err := stream(ctx, client, all...); err != nil || got.GetStored() != 100 {
				t.Errorf("stream %d: %v, %v", caller, got, err)
			}
		})
	}
	callers.Wait()
	if free := f.keeper.Memory().Left(); free != 64<<10 || f.keeper.Working() != 0 {
		t.Errorf("%d bytes are free and %d requests in work in the end", free, f.keeper.Working())
	}
}

func TestCallsBeyondTheBoundAreToldSo(t *testing.T) {
	f := start(t, bustest.Start(t), func(b *bounds) { b.calls = 2 }).ready(t)
	client, ctx := f.program(t), as(t.Context(), secret)
	var open []grpc.ClientStreamingClient[ingestv1.SubmitStreamRequest, ingestv1.SubmitStreamResponse]
	for range 2 {
		s, err := client.SubmitStream(ctx)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, s)
	}
	f.eventually(t, "told", func() bool {
		_, err := submit(ctx, client, whole("feed", "1", nil))
		_, ok := detail[*errdetails.RetryInfo](err)
		return status.Code(err) == codes.ResourceExhausted && ok
	})
	for _, s := range open {
		if _, err := s.CloseAndRecv(); err != nil {
			t.Error(err)
		}
	}
	f.eventually(t, "taken", func() bool {
		_, err := submit(ctx, client, whole("feed", "1", nil))
		return err == nil
	})
}

// Connections that say nothing do not lock a program out, also one whose call is in work.
func TestIdleConnectionsGiveWayToPrograms(t *testing.T) {
	f := start(t, bustest.Start(t), func(b *bounds) { b.callers = 4 }).ready(t)
	client, ctx := f.program(t), as(t.Context(), secret)
	s, err := client.SubmitStream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Send(&ingestv1.SubmitStreamRequest{Submission: whole("feed", "1", nil)}); err != nil {
		t.Fatal(err)
	}
	f.eventually(t, "stored", func() bool { return f.Counts().Stored == 1 })
	for range 20 {
		conn, err := net.Dial("tcp", f.config.GRPC.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
	}
	f.eventually(t, "taken over another connection", func() bool {
		_, err := submit(ctx, f.program(t), whole("feed", "2", nil))
		return err == nil
	})
	if got, err := s.CloseAndRecv(); err != nil || got.GetStored() != 1 {
		t.Errorf("the stream that was open: %v, %v", got, err)
	}
}

func TestHealthOverGRPC(t *testing.T) {
	server := bustest.NewServer(t)
	f := start(t, server.Bus(t), nil).ready(t)
	client := healthv1.NewHealthClient(f.dial(t))
	serving := func() healthv1.HealthCheckResponse_ServingStatus {
		got, err := client.Check(t.Context(), &healthv1.HealthCheckRequest{Service: ingestv1.IngestService_ServiceDesc.ServiceName})
		if err != nil {
			t.Fatal(err)
		}
		return got.GetStatus()
	}
	if got := serving(); got != healthv1.HealthCheckResponse_SERVING {
		t.Errorf("status %v", got)
	}
	server.Stop()
	f.eventually(t, "not serving", func() bool { return serving() == healthv1.HealthCheckResponse_NOT_SERVING })
	if _, err := client.Check(t.Context(), &healthv1.HealthCheckRequest{Service: "x"}); status.Code(err) != codes.NotFound {
		t.Errorf("a service that is not there: %v", err)
	}
}

// An instance that stops ends the streams that go on, and what they were told is stored
// is.
func TestStoppingEndsStreams(t *testing.T) {
	f := start(t, bustest.Start(t), nil).ready(t)
	client, ctx := f.program(t), as(t.Context(), secret)
	s, err := client.SubmitStream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	sent := 0
	for ; sent < 10; sent++ {
		if err := s.Send(&ingestv1.SubmitStreamRequest{Submission: whole("feed", fmt.Sprint(sent), nil)}); err != nil {
			t.Fatal(err)
		}
	}
	f.eventually(t, "stored", func() bool { return f.Counts().Stored == 10 })
	f.stop()
	f.eventually(t, "ended", func() bool {
		err = s.Send(&ingestv1.SubmitStreamRequest{Submission: whole("feed", "late", nil)})
		return err != nil
	})
	_, err = s.CloseAndRecv()
	progress, ok := detail[*ingestv1.Progress](err)
	if _, retries := detail[*errdetails.RetryInfo](err); status.Code(err) != codes.Unavailable || !ok || !retries || progress.GetStoredFromFirst() < 10 {
		t.Errorf("ended with %v, %v", err, progress)
	}
	f.end(t)
}

// Both doors know what came in by the other.
func TestADoorKnowsWhatCameInByTheOther(t *testing.T) {
	f := start(t, bustest.Start(t), nil).ready(t)
	body := order(1)
	if got := f.deliver(t, "w1", body, nil); got.status != http.StatusOK {
		t.Fatalf("answer %+v", got)
	}
	s := raw("shop", "orders/create", string(body))
	s.EventId = "w1"
	got, err := submit(as(t.Context(), secret), f.program(t), s)
	if err != nil || !got.GetRepetition() || len(stored(t, f.bus)) != 1 {
		t.Errorf("answered %v, %v", got, err)
	}
}

// An instance that starts knows what programs handed in to the one before it.
func TestWhatAProgramHandedInIsKnownAfterARestart(t *testing.T) {
	b := bustest.Start(t)
	before := start(t, b, nil).ready(t)
	ctx := as(t.Context(), secret)
	attributes := func(o *orderv1.Order) { o.Attributes = map[string]string{"a": "1", "b": "2", "c": "3", "d": "4"} }
	if _, err := submit(ctx, before.program(t), whole("feed", "1", attributes)); err != nil {
		t.Fatal(err)
	}
	before.end(t)
	after := start(t, b, nil).ready(t).rebuiltAll(t)
	got, err := submit(ctx, after.program(t), whole("feed", "1", attributes))
	if err != nil || !got.GetRepetition() || len(stored(t, b)) != 1 {
		t.Errorf("answered %v, %v", got, err)
	}
}
