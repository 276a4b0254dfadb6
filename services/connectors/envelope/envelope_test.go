package envelope_test

import (
	"errors"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/envelope"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestIDs(t *testing.T) {
	for name, test := range map[string]struct {
		parts []string
		want  string // "" for a digest
	}{
		"as it is":             {[]string{"msg_1"}, "msg_1"},
		"with the separator":   {[]string{"a|b"}, "a|b"},
		"two parts":            {[]string{"/shop", "1"}, "/shop|1"},
		"two with a separator": {[]string{"/shop|1", "2"}, ""},
		"with a space":         {[]string{"a b"}, ""},
		"not in ASCII":         {[]string{"ä"}, ""},
		"empty":                {[]string{""}, ""},
		"too long":             {[]string{strings.Repeat("a", 129)}, ""},
		"just short enough":    {[]string{strings.Repeat("a", 128)}, strings.Repeat("a", 128)},
	} {
		got := envelope.ID(test.parts...)
		if got != test.want && (test.want != "" || got != envelope.Digest(test.parts...) || len(got) > 128) {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
	if envelope.ID("a|b", "c") == envelope.ID("a", "b|c") {
		t.Error("two names are one")
	}
}

func TestTopics(t *testing.T) {
	for topic, taken := range map[string]bool{
		"order.created": true, "orders/create": true, "order created": true, "Bestellung geändert": true, strings.Repeat("a", 255): true,
		"": false, "a\x00": false, "a\nb": false, "a\xff": false, strings.Repeat("a", 256): false,
	} {
		if err := envelope.Topic(topic, "type"); (err == nil) != taken || err != nil && !errors.Is(err, connectors.ErrMalformed) {
			t.Errorf("%q: error %v", topic, err)
		}
	}
}

func TestMembers(t *testing.T) {
	members, err := envelope.Read([]byte(` {"type":"a","Type":"b","n":9007199254740993,"meta":{"event":"c","deep":{"id":7}},"list":[1],"null":null}`))
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"type": "a", "n": "9007199254740993", "meta.event": "c", "meta.deep.id": "7",
		"meta": "", "meta.none": "", "type.none": "", "list": "", "null": "", "none": "", "none.none": "", "": "",
	} {
		if got := members.At(path); got != want {
			t.Errorf("%s is %q, want %q", path, got, want)
		}
	}
	for _, body := range []string{"", "null", "[]", "5", "{", `{"a":1}}`, "\x00"} {
		if _, err := envelope.Read([]byte(body)); !errors.Is(err, connectors.ErrMalformed) {
			t.Errorf("%q: error %v, want ErrMalformed", body, err)
		}
	}
}
