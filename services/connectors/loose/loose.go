// Package loose reads JSON as shops write it: a field may be a text, a number, a
// boolean or null from one version or plugin to the next, and what is odd in one
// field is no reason to refuse an order.
package loose

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
)

var errNotObject = errors.New("it is not a JSON object")

// Object reads a body that has to be an object into what has its fields: encoding/json
// would take null for an empty one.
func Object(body []byte, into any) error {
	if trimmed := bytes.TrimLeft(body, " \t\r\n"); len(trimmed) == 0 || trimmed[0] != '{' {
		return errNotObject
	}
	return json.Unmarshal(body, into)
}

// Text is a string that may come as a number, as a boolean, as null or as
// anything else; what is no string is kept as its compact JSON.
type Text string

// UnmarshalJSON takes any JSON.
func (t *Text) UnmarshalJSON(data []byte) error {
	value, err := scalar(data)
	*t = Text(value)
	return err
}

func scalar(data []byte) (string, error) {
	switch data[0] {
	case 'n':
		return "", nil
	case '"':
		var s string
		err := json.Unmarshal(data, &s)
		return s, err
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, data); err != nil {
		return "", err
	}
	// Bytes inside a JSON value that are no UTF-8 could not be stored as text.
	return strings.ToValidUTF8(compact.String(), "\uFFFD"), nil
}

// Integer is a whole number as its decimal digits, never a float: an id has up
// to 19 of them. Empty where it is null or missing.
type Integer string

var errNotInteger = errors.New("want a whole number")

// UnmarshalJSON takes a whole number, as a number or as a text.
func (i *Integer) UnmarshalJSON(data []byte) error {
	value, err := scalar(data)
	if err != nil {
		return err
	}
	digits := strings.TrimPrefix(value, "-")
	if value != "" && (digits == "" || len(digits) > 20 || strings.Trim(digits, "0123456789") != "") {
		return errNotInteger
	}
	*i = Integer(value)
	return nil
}

// UnlessZero is the digits of an id, empty for 0, by which shops say that there is none.
func (i Integer) UnlessZero() string {
	if i == "0" {
		return ""
	}
	return string(i)
}

// MaxUnits is more than anyone sells in one line, and little enough for the sums of a
// stock pool never to overflow.
const MaxUnits = 1_000_000_000

// Units is how many units of a line there are, 0 where nothing is said; an error for less
// than none, and for more than MaxUnits.
func (i Integer) Units() (int64, error) {
	units, err := strconv.ParseInt(string(cmp.Or(i, "0")), 10, 64)
	if err != nil || units < 0 || units > MaxUnits {
		return 0, fmt.Errorf("found %s, want a whole number from 0 to %d", i, int64(MaxUnits))
	}
	return units, nil
}

// Flag is a boolean; null and anything else are false.
type Flag bool

// UnmarshalJSON takes any JSON.
func (f *Flag) UnmarshalJSON(data []byte) error {
	*f = Flag(string(data) == "true" || string(data) == `"true"`)
	return nil
}

// Moment is a point in time with an offset, kept in UTC; zero where it is null or
// missing.
type Moment struct{ time.Time }

// Timestamp is the moment as orders have it, nil where it is zero.
func (m *Moment) Timestamp() *timestamppb.Timestamp {
	if m.IsZero() {
		return nil
	}
	return timestamppb.New(m.Time)
}

var errNotMoment = errors.New("want a time such as 2026-11-23T09:30:00-05:00, between the years 1 and 9999")

// UnmarshalJSON takes a time of RFC 3339, and its offset without a colon.
func (m *Moment) UnmarshalJSON(data []byte) error {
	return m.Read(data, time.RFC3339Nano, "2006-01-02T15:04:05.999999999-0700")
}

// Read takes JSON that is a time in one of the layouts; a time without an offset is
// in UTC.
func (m *Moment) Read(data []byte, layouts ...string) error {
	value, err := scalar(data)
	if err != nil || value == "" {
		return err
	}
	for _, layout := range layouts {
		at, err := time.Parse(layout, value)
		// Outside of these a protobuf timestamp does not exist; an offset can carry
		// the first and the last hours of that span out of it.
		if at = at.UTC(); err == nil && at.Year() >= 1 && at.Year() <= 9999 {
			m.Time = at
			return nil
		}
	}
	return errNotMoment
}

// Tags are a comma-separated string; GraphQL and newer shapes send a list.
type Tags []string

// UnmarshalJSON takes both.
func (t *Tags) UnmarshalJSON(data []byte) error {
	if data[0] == '[' {
		var list []Text
		if err := json.Unmarshal(data, &list); err != nil {
			return err
		}
		for _, tag := range list {
			t.add(string(tag))
		}
		return nil
	}
	value, err := scalar(data)
	if err != nil {
		return err
	}
	for tag := range strings.SplitSeq(value, ",") {
		t.add(tag)
	}
	return nil
}

func (t *Tags) add(tag string) {
	if tag = strings.TrimSpace(tag); tag != "" {
		*t = append(*t, tag)
	}
}

// Pairs are a list of {name, value} or {key, value}, or an object; values of any
// type. Where a name comes twice, the last one counts.
type Pairs map[string]string

// UnmarshalJSON takes any JSON; what is no list and no object is none.
func (p *Pairs) UnmarshalJSON(data []byte) error {
	switch data[0] {
	case '[':
		var list []struct {
			Name  *Text `json:"name"`
			Key   Text  `json:"key"`
			Value Text  `json:"value"`
		}
		if err := json.Unmarshal(data, &list); err != nil {
			return err
		}
		for _, pair := range list {
			if pair.Name == nil {
				pair.Name = &pair.Key
			}
			p.Set(string(*pair.Name), string(pair.Value))
		}
		return nil
	case '{':
		var object map[string]Text
		if err := json.Unmarshal(data, &object); err != nil {
			return err
		}
		for name, value := range object {
			p.Set(name, string(value))
		}
	}
	return nil
}

// Set adds a pair.
func (p *Pairs) Set(name, value string) {
	if *p == nil {
		*p = make(Pairs)
	}
	(*p)[name] = value
}
