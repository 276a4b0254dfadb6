// Package importer hands the orders of a file in over gRPC, in batches, each of which is
// on ingest's disk before the next one's end is written down. Killed at any moment it goes
// on from there, and what it hands in twice is a repetition.
package importer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	ingestv1 "github.com/peppasync/peppasync/proto/peppasync/ingest/v1"
	"github.com/peppasync/peppasync/services/peppasync/internal/orderfile"
)

const (
	// A batch is one stream: large enough that its fsyncs and those of the two files here
	// do not count, small enough that little is handed in again.
	batchOrders = 500
	batchBytes  = 2 << 20
)

// Formats and types of files.
const (
	FormatOrder  = "order"
	FormatSource = "source"
	TypeCSV      = "csv"
	TypeNDJSON   = "ndjson"
)

// Config says what to import. Client, File, Connector, Topic, Rejects, State, Patience and
// Progress are required.
type Config struct {
	Client ingestv1.IngestServiceClient
	// Secret is the connector's.
	Secret string
	File   string
	// Type is how the file is written, empty for what its name says; Format is what is in
	// it, empty for orders.
	Type, Format     string
	CSV              orderfile.Options
	Connector, Topic string
	// Bulk: live orders overtake them.
	Bulk bool
	// Rejects is where what is not taken goes, State where it is written down how far it
	// came.
	Rejects, State string
	// Restart begins anew whatever State says.
	Restart bool
	// Patience is how long it waits while nothing is taken.
	Patience time.Duration
	// Progress is told after each batch.
	Progress func(Progress)
}

// Progress is how far it came.
type Progress struct {
	Summary
	// Bytes of Size are done; the import began at From, at Began.
	Bytes, Size, From int64
	Began             time.Time
	// Waiting is why nothing is taken at the moment, empty where it is.
	Waiting string
}

// Summary is what became of the file, over all runs that it took.
type Summary struct {
	File string `json:"file"`
	// Orders, of which so many are stored, were stored before, and are not taken.
	Orders      int64 `json:"orders"`
	Stored      int64 `json:"stored"`
	Repetitions int64 `json:"repetitions"`
	Rejected    int64 `json:"rejected"`
	Lines       int64 `json:"lines"`
	// Rejects is the file of those that are not taken, empty for none.
	Rejects string `json:"rejects,omitempty"`
	// Complete says that the file was read to its end.
	Complete bool `json:"complete"`
}

// Run imports the file. The summary is valid with an error, too.
func Run(ctx context.Context, c Config) (Summary, error) {
	file, err := os.Open(c.File)
	if err != nil {
		return Summary{File: c.File}, err
	}
	defer file.Close() //nolint:errcheck // it is only read
	info, err := file.Stat()
	if err != nil {
		return Summary{File: c.File}, err
	}
	if !info.Mode().IsRegular() {
		return Summary{File: c.File}, fmt.Errorf("%s is no file, expected one: an import goes on where it was interrupted, and so has to read it again", c.File)
	}
	if err := c.apart(info); err != nil {
		return Summary{File: c.File}, err
	}
	open, start, err := c.open(file)
	if err != nil {
		return Summary{File: c.File}, fmt.Errorf("%s: %w", c.File, err)
	}
	s, err := load(c, file, start)
	if err != nil {
		return Summary{File: c.File}, err
	}
	if _, err := file.Seek(s.Offset, io.SeekStart); err != nil {
		return s.summary(c), err
	}
	rejects, err := openRejects(c.Rejects, s.RejectBytes)
	if err != nil {
		return s.summary(c), err
	}
	p := &run{config: c, state: s, rejects: rejects, from: s.Offset, size: info.Size(), began: time.Now()}
	err = p.all(ctx, open(file, orderfile.Position{Offset: s.Offset, Line: s.Line}))
	err = errors.Join(err, rejects.close())
	summary := s.summary(c)
	if err == nil {
		summary.Complete = true
		err = forget(c.State)
	}
	return summary, err
}

// apart refuses to write to the file that is read: the rejects would take its place.
func (c Config) apart(file os.FileInfo) error {
	for flag, path := range map[string]string{"--rejects": c.Rejects, "--state": c.State} {
		if info, err := os.Stat(path); err == nil && os.SameFile(file, info) {
			return fmt.Errorf("%s is %s, the file that is imported; expected another one", flag, path)
		}
	}
	if filepath.Clean(c.Rejects) == filepath.Clean(c.State) {
		return fmt.Errorf("--rejects and --state are both %s, expected two files", c.State)
	}
	return nil
}

// open returns how the file is read from a position on, and where its orders begin.
func (c Config) open(file io.ReadSeeker) (func(io.Reader, orderfile.Position) orderfile.Reader, orderfile.Position, error) {
	start := orderfile.Position{}
	switch kind := c.kind(); {
	case c.Format != "" && c.Format != FormatOrder && c.Format != FormatSource:
		return nil, start, fmt.Errorf("the format is %q, expected %s or %s", c.Format, FormatOrder, FormatSource)
	case kind == TypeCSV && c.Format == FormatSource:
		return nil, start, errors.New("a CSV file holds orders, expected no format source")
	case kind == TypeCSV:
		h, err := orderfile.ReadHeader(file, c.CSV)
		if err != nil {
			return nil, start, err
		}
		return h.CSV, h.End, nil
	case kind != TypeNDJSON:
		return nil, start, fmt.Errorf("the type is %q, expected %s or %s", kind, TypeCSV, TypeNDJSON)
	case c.Format == FormatSource:
		return orderfile.Bodies, start, nil
	}
	return orderfile.Orders, start, nil
}

func (c Config) kind() string {
	if c.Type != "" {
		return c.Type
	}
	switch ending := strings.ToLower(filepath.Ext(c.File)); ending {
	case ".csv", ".tsv", ".txt":
		return TypeCSV
	case ".ndjson", ".jsonl":
		return TypeNDJSON
	default:
		return ending
	}
}

// run is one import.
type run struct {
	config  Config
	state   *state
	rejects *rejects

	from, size int64
	began      time.Time
}

// all hands in what is left. The next batch is read while one is handed in.
func (r *run) all(ctx context.Context, in orderfile.Reader) error {
	batches := make(chan []orderfile.Item, 1)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer close(batches)
		for {
			batch, err := read(in)
			if len(batch) > 0 {
				select {
				case batches <- batch:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return fmt.Errorf("reading %s: %w", r.config.File, err)
			}
		}
	})
	group.Go(func() error {
		r.tell("")
		for batch := range batches {
			if err := r.batch(ctx, batch); err != nil {
				return err
			}
			r.tell("")
		}
		return nil
	})
	return group.Wait()
}

// read returns the next batch, with io.EOF where it is the last. It does not end at what is
// wrong, as far as that may be: a line that cannot be read may be of the order behind it, of
// which a run that begins there would know nothing and hand in the rest.
func read(in orderfile.Reader) ([]orderfile.Item, error) {
	var batch []orderfile.Item
	wrong := false
	for size := 0; (len(batch) < batchOrders || wrong && len(batch) < 2*batchOrders) && size < batchBytes; {
		item, err := in.Next()
		if err != nil {
			return batch, err
		}
		batch, size, wrong = append(batch, item), size+len(item.Original), item.Problem != ""
	}
	return batch, nil
}

// batch hands a batch in, writes down what was not taken, and then how far it came.
func (r *run) batch(ctx context.Context, batch []orderfile.Item) error {
	good := slices.DeleteFunc(slices.Clone(batch), func(item orderfile.Item) bool { return item.Problem != "" })
	answer, err := r.submit(ctx, good)
	if err != nil {
		return err
	}
	reasons := make(map[int64]string) // by line
	for _, no := range answer.GetRejected() {
		// That is no line's fault: each has the same.
		if topic := about(no, "topic"); topic != nil {
			return fmt.Errorf("--topic: %s", topic.GetDescription())
		}
		if i := no.GetIndex(); i >= 0 && i < int64(len(good)) {
			reasons[good[i].Line] = textOf(no)
		}
	}
	for _, item := range batch {
		reason := item.Problem
		if reason == "" {
			reason = reasons[item.Line]
		}
		if reason == "" {
			continue
		}
		if err := r.rejects.add(item.Line, reason, item.Original); err != nil {
			return err
		}
		r.state.Rejected++
	}
	if r.state.RejectBytes, err = r.rejects.sync(); err != nil {
		return err
	}
	end := batch[len(batch)-1].End
	r.state.Offset, r.state.Line = end.Offset, end.Line
	r.state.Orders += int64(len(batch))
	r.state.Stored += answer.GetStored()
	r.state.Repetitions += answer.GetRepetitions()
	return r.state.save()
}

// about returns what is wrong with a field, nil for nothing.
func about(no *ingestv1.Rejection, field string) *ingestv1.Violation {
	for _, v := range no.GetViolations() {
		if v.GetField() == field {
			return v
		}
	}
	return nil
}

func textOf(no *ingestv1.Rejection) string {
	texts := make([]string, 0, len(no.GetViolations()))
	for _, v := range no.GetViolations() {
		texts = append(texts, v.GetField()+" "+v.GetDescription())
	}
	return strings.Join(texts, "; ")
}

func (r *run) tell(waiting string) {
	r.config.Progress(Progress{
		Summary: r.state.summary(r.config), Bytes: r.state.Offset, Size: r.size, From: r.from, Began: r.began, Waiting: waiting,
	})
}
