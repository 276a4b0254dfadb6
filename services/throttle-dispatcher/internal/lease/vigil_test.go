package lease

import "testing"

func TestVigil(t *testing.T) {
	same := func(n int) []uint64 {
		looks := make([]uint64, n)
		for i := range looks {
			looks[i] = 7
		}
		return looks
	}
	const missed = ^uint64(0)
	for name, c := range map[string]struct {
		looks  []uint64
		silent bool
	}{
		"the same for long":                            {same(vigilLooks), true},
		"one look less":                                {same(vigilLooks - 1), false},
		"nothing said since one look":                  {append([]uint64{6}, same(vigilLooks-1)...), false},
		"nothing said since one look, and then long":   {append([]uint64{6}, same(vigilLooks)...), true},
		"a record that the store removes is a change":  {append(same(vigilLooks-1), 8), false},
		"no record for long":                           {make([]uint64, vigilLooks), true},
		"the store silent before the last look":        {append(append(same(vigilLooks-1), missed), same(1)...), false},
		"the store silent in between, long":            {append(append(same(5), missed, missed), same(vigilLooks-1)...), false},
		"the store silent in between, and then silent": {append(append(same(5), missed), same(vigilLooks)...), true},
		"beats all the time":                           {[]uint64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18}, false},
	} {
		t.Run(name, func(t *testing.T) {
			var v Vigil
			silent := false
			for _, look := range c.looks {
				if look == missed {
					v.Missed()
					continue
				}
				silent = v.Saw(look)
			}
			if silent != c.silent {
				t.Errorf("silent is %v, want %v", silent, c.silent)
			}
		})
	}
}
