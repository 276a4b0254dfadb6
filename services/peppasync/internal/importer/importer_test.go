package importer_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	ingestv1 "github.com/peppasync/peppasync/proto/peppasync/ingest/v1"
	"github.com/peppasync/peppasync/services/peppasync/internal/importer"
	"github.com/peppasync/peppasync/services/peppasync/internal/orderfile"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// door is an ingest that stores, unless fail has an error for the stream of that number.
type door struct {
	ingestv1.IngestServiceClient
	fail    func(stream int) error
	streams int
	stored  []string
}

// caller is one stream.
type caller struct {
	grpc.ClientStream
	door *door
	ids  []string
	err  error
}

func (d *door) SubmitStream(context.Context, ...grpc.CallOption) (grpc.ClientStreamingClient[ingestv1.SubmitStreamRequest, ingestv1.SubmitStreamResponse], error) {
	d.streams++
	c := &caller{door: d}
	if d.fail != nil {
		c.err = d.fail(d.streams)
	}
	return c, nil
}

func (c *caller) Send(r *ingestv1.SubmitStreamRequest) error {
	if !r.GetSubmission().GetBulk() {
		return errors.New("it is not said that it is one of many")
	}
	c.ids = append(c.ids, r.GetSubmission().GetOrder().GetId())
	return nil
}

func (c *caller) CloseAndRecv() (*ingestv1.SubmitStreamResponse, error) {
	if c.err != nil {
		return nil, c.err
	}
	c.door.stored = append(c.door.stored, c.ids...)
	return &ingestv1.SubmitStreamResponse{Stored: int64(len(c.ids))}, nil
}

// busy is the status of an ingest that wants to be asked again.
func busy(after time.Duration) error {
	s, err := status.New(codes.ResourceExhausted, "full").WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(after)})
	if err != nil {
		panic(err)
	}
	return s.Err()
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func config(t *testing.T, d *door, text string) importer.Config {
	t.Helper()
	path := filepath.Join(t.TempDir(), "orders.csv")
	write(t, path, text)
	return importer.Config{
		Client: d, Secret: "secret", File: path, CSV: orderfile.Options{Comma: ',', Zone: time.UTC}, Connector: "desk", Topic: "orders/create", Bulk: true,
		Rejects: path + ".rejects", State: path + ".state", Patience: time.Minute, Progress: func(importer.Progress) {},
	}
}

// file is a CSV file of orders with these ids.
func file(ids ...string) string { return "order_id\n" + strings.Join(ids, "\n") + "\n" }

// batch is how many orders are handed in together.
const batch = 500

// stopped imports with a door that refuses the credentials from the second batch on, and
// so leaves the state of one batch.
func stopped(t *testing.T, d *door, ids ...string) importer.Config {
	t.Helper()
	all := make([]string, 0, batch+len(ids))
	for i := range batch {
		all = append(all, fmt.Sprint("first-", i))
	}
	c := config(t, d, file(append(all, ids...)...))
	d.fail = func(stream int) error {
		if stream > 1 {
			return status.Error(codes.Unauthenticated, "no")
		}
		return nil
	}
	s, err := importer.Run(t.Context(), c)
	if err == nil || !strings.Contains(err.Error(), "ingest refuses the secret") || s.Stored != batch || s.Complete || len(d.stored) != batch {
		t.Fatalf("%+v, %v", s, err)
	}
	d.fail, d.stored = nil, nil
	return c
}

func TestARunGoesOnWhereTheLastOneWas(t *testing.T) {
	d := &door{}
	c := stopped(t, d, "A", "B")
	s, err := importer.Run(t.Context(), c)
	if err != nil || s.Stored != 502 || s.Orders != 502 || !s.Complete {
		t.Errorf("%+v, %v", s, err)
	}
	if diff := cmp.Diff([]string{"A", "B"}, d.stored); diff != "" {
		t.Errorf("handed in (-want +got):\n%s", diff)
	}
	if _, err := os.Stat(c.State); err == nil {
		t.Error("the state is left behind")
	}
}

func TestAFileThatHasGrownGoesOn(t *testing.T) {
	d := &door{}
	c := stopped(t, d, "A")
	before, err := os.ReadFile(c.File)
	if err != nil {
		t.Fatal(err)
	}
	write(t, c.File, string(before)+"B\n")
	if s, err := importer.Run(t.Context(), c); err != nil || s.Orders != 502 {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestAStateOfSomethingElseIsNotTaken(t *testing.T) {
	for name, test := range map[string]struct {
		change func(t *testing.T, c *importer.Config)
		want   string
	}{
		"another file":      {func(t *testing.T, c *importer.Config) { write(t, c.File, file("other")) }, "is of another file"},
		"another connector": {func(_ *testing.T, c *importer.Config) { c.Connector = "other" }, "is of an import with other settings"},
		"another topic":     {func(_ *testing.T, c *importer.Config) { c.Topic = "orders/paid" }, "is of an import with other settings"},
		"another column":    {func(_ *testing.T, c *importer.Config) { c.CSV.Columns = map[string]string{"x": ""} }, "is of an import with other settings"},
		"half a state":      {func(t *testing.T, c *importer.Config) { write(t, c.State, `{"version": 1, "off`) }, "does not say how far an import came"},
	} {
		t.Run(name, func(t *testing.T) {
			d := &door{}
			c := stopped(t, d, "A")
			test.change(t, &c)
			if _, err := importer.Run(t.Context(), c); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
			if len(d.stored) > 0 {
				t.Errorf("handed in %v", d.stored)
			}
			c.Restart = true
			if s, err := importer.Run(t.Context(), c); err != nil || !s.Complete || s.Orders != int64(len(d.stored)) {
				t.Errorf("begun anew: %+v, %v", s, err)
			}
		})
	}
}

// A line that nobody can read is the last of a batch, and the run ends there: of the order
// behind it, which it may be of, the rest is not handed in by the next run either.
func TestARunDoesNotBeginBehindALineInDoubt(t *testing.T) {
	var text strings.Builder
	text.WriteString("order_id,sku,quantity\n")
	for i := range batch - 1 {
		fmt.Fprintf(&text, "first-%d,A,1\n", i)
	}
	text.WriteString(",B,1\nhalf,C,1\nwhole,A,1\nlast,A,1\n")
	d := &door{fail: func(stream int) error {
		if stream == 2 {
			return status.Error(codes.Unauthenticated, "no")
		}
		return nil
	}}
	c := config(t, d, text.String())
	if s, err := importer.Run(t.Context(), c); err == nil || len(d.stored) < batch-2 {
		t.Fatalf("%+v, %v", s, err)
	}
	if s, err := importer.Run(t.Context(), c); err != nil || !s.Complete {
		t.Fatalf("%+v, %v", s, err)
	}
	if slices.Contains(d.stored, "half") || !slices.Contains(d.stored, "whole") || !slices.Contains(d.stored, "last") {
		t.Errorf("handed in %v", d.stored[batch-5:])
	}
}

// Somebody mends a line in the middle, and all that is behind it begins elsewhere.
func TestAFileThatWasMendedInTheMiddleIsAnother(t *testing.T) {
	ids := make([]string, 1000)
	for i := range ids {
		ids[i] = fmt.Sprint("number-", strings.Repeat("0", 200), i) // 100 kB a batch
	}
	d := &door{}
	c := stopped(t, d, ids...)
	d.fail = func(stream int) error {
		if stream > 3 {
			return status.Error(codes.Unauthenticated, "no")
		}
		return nil
	}
	if s, err := importer.Run(t.Context(), c); err == nil || s.Orders != 1000 {
		t.Fatalf("%+v, %v", s, err)
	}
	d.fail, d.stored = nil, nil
	before, err := os.ReadFile(c.File)
	if err != nil {
		t.Fatal(err)
	}
	write(t, c.File, strings.Replace(string(before), ids[400], ids[400]+"-mended", 1))
	if _, err := importer.Run(t.Context(), c); err == nil || !strings.Contains(err.Error(), "is of another file") || len(d.stored) > 0 {
		t.Errorf("%v, handed in %d", err, len(d.stored))
	}
}

// What is written must not take the place of what is read.
func TestTheFileItselfIsNotWrittenTo(t *testing.T) {
	for name, change := range map[string]func(c *importer.Config){
		"rejects in its place": func(c *importer.Config) { c.Rejects = c.File },
		"state in its place":   func(c *importer.Config) { c.State, c.Restart = c.File, true },
		"both in one":          func(c *importer.Config) { c.State = c.Rejects },
	} {
		t.Run(name, func(t *testing.T) {
			d := &door{}
			c := config(t, d, file("1"))
			change(&c)
			if _, err := importer.Run(t.Context(), c); err == nil || !strings.Contains(err.Error(), "--rejects") && !strings.Contains(err.Error(), "--state") {
				t.Errorf("got %v", err)
			}
			if data, err := os.ReadFile(c.File); err != nil || string(data) != file("1") || len(d.stored) > 0 {
				t.Errorf("the file is %q, %v, handed in %v", data, err, d.stored)
			}
		})
	}
}

// A batch that is not taken now is handed in again, after what ingest asks for.
func TestABusyIngestIsAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &door{fail: func(stream int) error {
			switch stream {
			case 1:
				return busy(20 * time.Second)
			case 2:
				return status.Error(codes.Unavailable, "connection lost")
			default:
				return nil
			}
		}}
		c := config(t, d, file("1"))
		var waits []string
		c.Progress = func(p importer.Progress) { waits = append(waits, p.Waiting) }
		began := time.Now()
		s, err := importer.Run(t.Context(), c)
		if took := time.Since(began); err != nil || s.Stored != 1 || took < 20*time.Second || took > 23*time.Second {
			t.Errorf("%+v, %v after %v", s, err, took)
		}
		if diff := cmp.Diff([]string{"", "full", "connection lost", ""}, waits); diff != "" {
			t.Errorf("told (-want +got):\n%s", diff)
		}
	})
}

func TestPatienceEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &door{fail: func(int) error { return busy(time.Second) }}
		c := config(t, d, file("1"))
		began := time.Now()
		s, err := importer.Run(t.Context(), c)
		if took := time.Since(began); err == nil || !strings.Contains(err.Error(), "nothing was taken for 1m0s (--patience): ingest: full") || s.Complete ||
			took < time.Minute || took > 61*time.Second {
			t.Errorf("%+v, %v after %v", s, err, took)
		}
	})
}

func TestAnInterruptedRunEndsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &door{fail: func(int) error { return busy(time.Hour) }}
		ctx, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		if _, err := importer.Run(ctx, config(t, d, file("1"))); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("ended with %v", err)
		}
	})
}
