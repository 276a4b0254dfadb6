package bus

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// subjectOverlap is by how many subjects two pages of a list overlap.
const subjectOverlap = 1000

// EachSubject calls each for the subjects of a stream that a filter selects, in no order,
// with how many records there are on it. Where there are more than 100,000 the server tells
// them in pages, of which one is in memory at a time: Tally has all of them. A subject that
// is there from the beginning to the end is told once, whatever is removed meanwhile.
func (b *Bus) EachSubject(ctx context.Context, stream, filter string, each func(subject string, records uint64)) error {
	err := eachSubject(func(offset int) (subjectPage, error) { return b.subjectPage(ctx, stream, filter, offset) }, each)
	return describe(because(ctx, err), "count what %s holds on %s", stream, filter)
}

// subjectPage is a part of the sorted subjects of a stream, from an offset on; total is how
// many there are.
type subjectPage struct {
	Error  *jetstream.APIError `json:"error"`
	Total  int                 `json:"total"`
	Offset int                 `json:"offset"`
	State  struct {
		Subjects map[string]uint64 `json:"subjects"`
	} `json:"state"`
}

func (b *Bus) subjectPage(ctx context.Context, stream, filter string, offset int) (subjectPage, error) {
	var page subjectPage
	request, err := json.Marshal(struct {
		Filter string `json:"subjects_filter"`
		Offset int    `json:"offset"`
	}{filter, offset})
	if err != nil {
		return page, fmt.Errorf("encode what is asked: %w", err)
	}
	reply, err := b.nc.RequestWithContext(ctx, "$JS.API.STREAM.INFO."+stream, request)
	if err != nil {
		return page, err
	}
	if err := json.Unmarshal(reply.Data, &page); err != nil {
		return page, fmt.Errorf("the server's answer cannot be read: %w", err)
	}
	if page.Error != nil {
		return page, page.Error
	}
	return page, nil
}

// eachSubject asks for page after page. What is removed before the end of a page moves the
// others to smaller offsets, so that each begins before the end of the one before; where it
// does not, because more was removed than that, it is asked for again from further ahead.
func eachSubject(ask func(offset int) (subjectPage, error), each func(subject string, records uint64)) error {
	last := ""
	for offset := 0; ; {
		page, err := ask(offset)
		if err != nil {
			return err
		}
		newest, overlaps := last, offset == 0
		for subject := range page.State.Subjects {
			newest, overlaps = max(newest, subject), overlaps || subject <= last
		}
		if !overlaps {
			offset = max(0, offset/2-subjectOverlap)
			continue
		}
		for subject, records := range page.State.Subjects {
			if subject > last {
				each(subject, records)
			}
		}
		end := offset + len(page.State.Subjects)
		if end >= page.Total {
			return nil
		}
		// One page at least is new but for the overlap.
		last, offset = newest, max(end-subjectOverlap, offset+1)
	}
}
