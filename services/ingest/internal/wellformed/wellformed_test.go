package wellformed

import (
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
)

// seeds are what is on the border of being JSON.
var seeds = []string{
	``, ` `, `{}`, `[]`, `[ ]`, `{ }`, `{"a":1}`, `{"a" : [1, 2,{"b":null}] , "c":"d"}`, `{"a":1,}`, `[1,]`, `[,1]`, `{,}`, `{"a"}`, `{"a":}`, `{a:1}`,
	`{"a":1]`, `[1}`, `[[]`, `[]]`, `{}{}`, `1 2`, `true`, `tru`, `truee`, `nul`, `null`, `false`, `True`, `"`, `"a`, `"a"`, `"a"b`, `"\`, `"\"`, `"\\"`,
	`"\x"`, `"\u12"`, `"\u12g4"`, `"\u12aF"`, `"\u12aF`, "\"a\nb\"", "\"\x00\"", "\"\x1f\"", "\"\x7f\"", "\"\xff\xfe\"", `"ä€𝄞"`, "\"1234567\x1f\"", "\"12345678\x1f\"",
	`0`, `-0`, `-`, `01`, `1.`, `.5`, `1.5`, `1e`, `1e+`, `1e5`, `1E-5`, `1.5e+10`, `+1`, `0x1`, `1.e5`, `--1`, `1e5.5`, `-a`, `NaN`, "\ufeff{}", "\v1", "\t\r\n 1 \n",
	`{"a":{"b":{"c":[[[{}]]]}}}`, `[{"a":1},{"b":2}]`, `["12345678","1234567\"","\\\\\\\\"]`, `{"a":"b","a":"b"}`, `{"":""}`, `{"a"::1}`, `{"a":1 "b":2}`, `[1 2]`,
}

func TestJSONIsWhatEncodingJSONTakes(t *testing.T) {
	for _, text := range seeds {
		if got, want := JSON([]byte(text)), json.Valid([]byte(text)); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

func TestDepth(t *testing.T) {
	for _, depth := range []int{1, 63, 64, 65, maxDepth - 1, maxDepth, maxDepth + 1, maxDepth + 65} {
		for _, pair := range []string{"[ ]", `{"a": }`} {
			begin, end, _ := strings.Cut(pair, " ")
			for _, inner := range []string{"1", begin + end} {
				if begin+end == `{"a":}` && inner != "1" {
					inner = "{}"
				}
				text := []byte(strings.Repeat(begin, depth) + inner + strings.Repeat(end, depth))
				if got, want := JSON(text), json.Valid(text); got != want {
					t.Errorf("%d times %s around %s: %v, want %v", depth, pair, inner, got, want)
				}
			}
		}
	}
}

// Texts that were JSON, with a few bytes changed, removed or doubled.
func TestSpoiledJSON(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	const odd = "{}[]\",:\\/ \n\x00\x1f-+.eEu0123tfn\xff"
	for range 50_000 {
		text := []byte(seeds[random.IntN(len(seeds))] + seeds[random.IntN(len(seeds))])
		if random.IntN(2) == 0 {
			text = []byte(`{"id":12,"x":[true,{"note":"leave it at the \"door\" \u00e4"},-1.5e3],"y":` + string(text) + `}`)
		}
		for range random.IntN(3) {
			at := random.IntN(len(text) + 1)
			switch rest := append([]byte(nil), text[min(at+1, len(text)):]...); random.IntN(3) {
			case 0:
				text = append(text[:at], rest...)
			default:
				text = append(append(text[:at], odd[random.IntN(len(odd))]), rest...)
			}
		}
		if got, want := JSON(text), json.Valid(text); got != want {
			t.Fatalf("%q: %v, want %v (seed %d)", text, got, want, seed)
		}
	}
}

func FuzzJSON(f *testing.F) {
	for _, text := range seeds {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if got, want := JSON(data), json.Valid(data); got != want {
			t.Errorf("%q: %v, want %v", data, got, want)
		}
	})
}

func BenchmarkJSON(b *testing.B) {
	text := []byte(`{"lines":[` + strings.Repeat(`{"id":14000000000,"sku":"VIRAL-1","title":"Gebäck, süß","quantity":1,"price":"19.90","taxable":true,"note":null},`, 35) + `{}]}`)
	for name, valid := range map[string]func([]byte) bool{"encoding-json": json.Valid, "wellformed": JSON} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				if !valid(text) {
					b.Fatal("no JSON")
				}
			}
		})
	}
}
