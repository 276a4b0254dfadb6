package certificate

import (
	"bytes"
	"testing"
	"time"
)

func TestCertificateIsTakenWhileItIsGood(t *testing.T) {
	t.Parallel()
	now := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	hosts := []string{"peppasync-operator.shop.svc", "127.0.0.1"}
	data, err := Make(nil, hosts, now)
	if err != nil {
		t.Fatal(err)
	}
	other, err := Make(nil, hosts, now)
	if err != nil {
		t.Fatal(err)
	}
	mixed := map[string][]byte{KeyAuthority: other[KeyAuthority], KeyServing: data[KeyServing], KeyServingPrivate: data[KeyServingPrivate]}
	for name, test := range map[string]struct {
		data  map[string][]byte
		hosts []string
		at    time.Time
		good  bool
	}{
		"the one that was made":     {data, hosts, now, true},
		"half a year later":         {data, hosts, now.AddDate(0, 6, 0), true},
		"shortly before its end":    {data, hosts, now.AddDate(0, 11, 0), false},
		"for another name":          {data, []string{"elsewhere.shop.svc"}, now, false},
		"of an empty Secret":        {nil, hosts, now, false},
		"beside another authority":  {mixed, hosts, now, false},
		"before the clock is right": {data, hosts, now.Add(-30 * time.Minute), true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := Serving(test.data, test.hosts, test.at); (err == nil) != test.good {
				t.Errorf("err = %v, want it to be good: %v", err, test.good)
			}
		})
	}
	if !Bundles(data[KeyAuthority], data) || Bundles(other[KeyAuthority], data) || Bundles(nil, data) {
		t.Error("the bundle of another authority is taken for its own")
	}
}

// The next certificate is trusted by who trusts the one before, and the other way round:
// replicas do not change over at one time, and a refused call of admission is a refused
// write.
func TestAuthorityStays(t *testing.T) {
	t.Parallel()
	now := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	hosts := []string{"peppasync-operator.shop.svc"}
	data, err := Make(nil, hosts, now)
	if err != nil {
		t.Fatal(err)
	}
	first := data
	for year := range 9 {
		now = now.AddDate(0, 11, 0)
		if _, err := Serving(data, hosts, now); err == nil {
			t.Fatalf("year %d: the certificate is good, and ends in a month", year)
		}
		if data, err = Make(data, hosts, now); err != nil {
			t.Fatal(err)
		}
		if _, err := Serving(data, hosts, now); err != nil {
			t.Fatalf("year %d: %v", year, err)
		}
		if !Bundles(first[KeyAuthority], data) || bytes.Equal(first[KeyServing], data[KeyServing]) {
			t.Fatalf("year %d: the authority is another, or the certificate the same", year)
		}
	}
	if data, err = Make(data, hosts, now.AddDate(2, 0, 0)); err != nil {
		t.Fatal(err)
	}
	if Bundles(first[KeyAuthority], data) {
		t.Error("an authority is kept that ends before its certificate")
	}
	other, err := Make(map[string][]byte{KeyAuthority: data[KeyAuthority], KeyAuthorityPrivate: first[KeyAuthorityPrivate]}, hosts, now)
	if err != nil {
		t.Fatal(err)
	}
	if Bundles(data[KeyAuthority], other) {
		t.Error("an authority is kept whose key is another's")
	}
}
