package backlog

import (
	"encoding/binary"
	"slices"
)

// keys are orders' keys one behind the other, each behind its length: some 20 bytes of each,
// where a string of its own is 50. There may be a million.
type keys struct {
	data  []byte
	count int
}

func (k *keys) add(key string) {
	k.data = append(binary.AppendUvarint(k.data, uint64(len(key))), key...)
	k.count++
}

// first returns at most so many of the first, and the others.
func (k *keys) first(most int) ([]string, keys) {
	rest := *k
	found := make([]string, 0, min(most, rest.count))
	for len(found) < most && rest.count > 0 {
		length, prefix := binary.Uvarint(rest.data)
		end := prefix + int(length) //nolint:gosec // as add wrote it
		found = append(found, string(rest.data[prefix:end]))
		rest.data, rest.count = rest.data[end:], rest.count-1
	}
	return found, rest
}

// distinct returns them sorted, each once.
func (k *keys) distinct() keys {
	all, _ := k.first(k.count)
	slices.Sort(all)
	sorted := keys{data: make([]byte, 0, len(k.data))}
	for _, key := range slices.Compact(all) {
		sorted.add(key)
	}
	sorted.data = slices.Clip(slices.Clone(sorted.data))
	return sorted
}
