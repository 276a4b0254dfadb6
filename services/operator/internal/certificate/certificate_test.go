package certificate

import (
	"testing"
	"time"
)

func TestCertificateIsTakenWhileItIsGood(t *testing.T) {
	t.Parallel()
	now := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	hosts := []string{"peppasync-operator.shop.svc", "127.0.0.1"}
	data, err := Make(hosts, now)
	if err != nil {
		t.Fatal(err)
	}
	other, err := Make(hosts, now)
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
