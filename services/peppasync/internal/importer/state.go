package importer

import (
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/peppasync/peppasync/services/peppasync/internal/orderfile"
)

const (
	stateVersion = 1
	// headBytes is how much of a file tells it from others; one may grow in the meantime.
	headBytes = 64 << 10
)

// state is how far an import came. All that is before Offset is on ingest's disk, or among
// the rejects.
type state struct {
	Version int `json:"version"`
	// Settings are those of the import, Head is the hash of the file's first HeadBytes.
	Settings  string `json:"settings"`
	Head      string `json:"head"`
	HeadBytes int64  `json:"headBytes"`
	Offset    int64  `json:"offset"`
	// Tail is the hash of the last headBytes before Offset: in a file that was mended in
	// the middle an order may begin elsewhere now.
	Tail string `json:"tail"`
	Line int64  `json:"line"`

	Orders      int64 `json:"orders"`
	Stored      int64 `json:"stored"`
	Repetitions int64 `json:"repetitions"`
	Rejected    int64 `json:"rejected"`
	// RejectBytes is how long the file of rejects is.
	RejectBytes int64 `json:"rejectBytes"`

	path string
	file io.ReaderAt
}

// load returns where to begin: where the last run came to, or at start.
func load(c Config, file *os.File, start orderfile.Position) (*state, error) {
	fresh := &state{path: c.State, file: file, Version: stateVersion, Settings: c.settings(), Offset: start.Offset, Line: start.Line}
	var err error
	if fresh.Head, fresh.HeadBytes, err = head(file, headBytes); err != nil {
		return nil, err
	}
	data, err := os.ReadFile(c.State)
	if c.Restart || errors.Is(err, fs.ErrNotExist) {
		return fresh, nil
	}
	if err != nil {
		return nil, fmt.Errorf("how far the import came cannot be read: %w", err)
	}
	s := &state{path: c.State, file: file}
	if err := json.Unmarshal(data, s); err != nil || s.Version != stateVersion {
		return nil, fmt.Errorf("%s does not say how far an import came, expected what an earlier run wrote; to begin anew: --restart", c.State)
	}
	if s.Settings != fresh.Settings {
		return nil, fmt.Errorf("%s is of an import with other settings (connector, topic, format, columns); to begin anew: --restart", c.State)
	}
	found, n, err := head(file, s.HeadBytes)
	if err != nil {
		return nil, err
	}
	tail, err := s.tail()
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if found != s.Head || tail != s.Tail || n != s.HeadBytes || info.Size() < s.Offset || s.Offset < start.Offset {
		return nil, fmt.Errorf("%s is of another file than %s is now; to begin anew: --restart", c.State, c.File)
	}
	return s, nil
}

// settings are what makes another import of the same file.
func (c Config) settings() string {
	h := sha256.New()
	parts := []string{c.Connector, c.Topic, c.kind(), c.Format, string(c.CSV.Comma), c.CSV.Zone.String()}
	for _, theirs := range slices.Sorted(maps.Keys(c.CSV.Columns)) {
		parts = append(parts, theirs, c.CSV.Columns[theirs])
	}
	for _, part := range parts {
		_, _ = fmt.Fprintf(h, "%q ", part) // a hash takes everything
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

func head(file *os.File, most int64) (hash string, n int64, err error) {
	h := sha256.New()
	n, err = io.Copy(h, io.NewSectionReader(file, 0, most))
	return hex.EncodeToString(h.Sum(nil)[:16]), n, err
}

func (s *state) tail() (string, error) {
	from := max(0, s.Offset-headBytes)
	h := sha256.New()
	_, err := io.Copy(h, io.NewSectionReader(s.file, from, s.Offset-from))
	return hex.EncodeToString(h.Sum(nil)[:16]), err
}

// save writes the state in one step.
func (s *state) save() error {
	var err error
	if s.Tail, err = s.tail(); err != nil {
		return err
	}
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	// Always the same one, so that runs which are killed leave no more than one behind.
	path := filepath.Join(filepath.Dir(s.path), "."+filepath.Base(s.path)+".next")
	next, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err == nil {
		_, err = next.Write(append(data, '\n'))
		err = errors.Join(err, next.Sync(), next.Close())
	}
	if err == nil {
		err = os.Rename(path, s.path)
	}
	if err != nil {
		return fmt.Errorf("how far the import came cannot be written down (--state names another place): %w", err)
	}
	return nil
}

func forget(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (s *state) summary(c Config) Summary {
	summary := Summary{File: c.File, Orders: s.Orders, Stored: s.Stored, Repetitions: s.Repetitions, Rejected: s.Rejected, Lines: s.Line}
	if s.Rejected > 0 {
		summary.Rejects = c.Rejects
	}
	return summary
}

// rejects is the file of what was not taken.
type rejects struct {
	path string
	file *os.File
	out  *csv.Writer
}

// openRejects opens the file at a length: what a run wrote behind that was handed in again.
func openRejects(path string, length int64) (*rejects, error) {
	r := &rejects{path: path}
	if length > 0 {
		err := r.open(length)
		return r, err
	}
	// One of an earlier import would be taken for this one's.
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return r, nil
}

func (r *rejects) open(length int64) error {
	file, err := os.OpenFile(r.path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("what is not taken cannot be written down (--rejects names another place): %w", err)
	}
	if info, err := file.Stat(); err != nil || info.Size() < length {
		_ = file.Close()
		return fmt.Errorf("%s is shorter than an earlier run left it; to begin anew: --restart", r.path)
	}
	err = file.Truncate(length)
	if err == nil {
		_, err = file.Seek(length, io.SeekStart)
	}
	if err != nil {
		return errors.Join(err, file.Close())
	}
	r.file, r.out = file, csv.NewWriter(file)
	return nil
}

// add writes down an item that is not taken.
func (r *rejects) add(line int64, reason string, original []byte) error {
	if r.file == nil {
		if err := r.open(0); err != nil {
			return err
		}
		if err := r.out.Write([]string{"line", "reason", "original"}); err != nil {
			return err
		}
	}
	return r.out.Write([]string{strconv.FormatInt(line, 10), reason, string(trimBreak(original))})
}

func trimBreak(text []byte) []byte {
	for _, end := range []byte{'\n', '\r'} {
		if n := len(text); n > 0 && text[n-1] == end {
			text = text[:n-1]
		}
	}
	return text
}

// sync returns how long the file is, once that much is on disk.
func (r *rejects) sync() (int64, error) {
	if r.file == nil {
		return 0, nil
	}
	r.out.Flush()
	if err := errors.Join(r.out.Error(), r.file.Sync()); err != nil {
		return 0, fmt.Errorf("writing %s: %w", r.path, err)
	}
	return r.file.Seek(0, io.SeekCurrent)
}

func (r *rejects) close() error {
	if r.file == nil {
		return nil
	}
	return r.file.Close()
}
