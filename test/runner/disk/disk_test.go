package disk

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

func block(fill byte) []byte { return bytes.Repeat([]byte{fill}, blockSize) }

// TestLosses writes two blocks, flushes, and writes one of them twice and a third.
func TestLosses(t *testing.T) {
	d := newDisk(16*blockSize, make(content))
	d.writeAt(block(1), 0)
	d.writeAt(block(2), blockSize)
	d.flush()
	d.writeAt(block(3), blockSize)
	d.writeAt(block(4), blockSize)
	taken := d.ImageAfter(1)
	d.writeAt(block(5), 2*blockSize)
	d.writeAt(block(9), 0)
	image := <-taken
	d.flush()
	random := rand.New(rand.NewPCG(1, 1))
	seen := make(map[Loss]map[[3]byte]bool)
	for _, loss := range Losses {
		seen[loss] = make(map[[3]byte]bool)
		for range 200 {
			left := image.Disk(loss, random)
			var data [3 * blockSize]byte
			left.readAt(data[:], 0)
			if !bytes.Equal(data[:blockSize], block(1)) {
				t.Fatalf("%s: what was flushed is not there", loss)
			}
			for at := 0; at < len(data); at += sectorSize {
				if n := bytes.Count(data[at:at+sectorSize], data[at:at+1]); n != sectorSize {
					t.Fatalf("%s: a sector is torn", loss)
				}
			}
			seen[loss][[3]byte{data[0], data[blockSize], data[2*blockSize]}] = true
			if loss != Sectors && (data[blockSize] != data[2*blockSize-1] || data[2*blockSize] != data[3*blockSize-1]) {
				t.Fatalf("%s: a block is torn", loss)
			}
		}
	}
	for loss, states := range map[Loss]int{Everything: 1, Nothing: 1, Tail: 4, Blocks: 6, Sectors: 6} {
		if len(seen[loss]) != states {
			t.Errorf("%s left %v, want %d states", loss, seen[loss], states)
		}
	}
	if !seen[Everything][[3]byte{1, 2, 0}] || !seen[Nothing][[3]byte{1, 4, 5}] || seen[Tail][[3]byte{1, 2, 5}] {
		t.Errorf("left: %v", seen)
	}
}

// TestUnaligned writes and reads across blocks.
func TestUnaligned(t *testing.T) {
	d := newDisk(16*blockSize, make(content))
	data := bytes.Repeat([]byte("0123456789"), 1000)
	d.writeAt(data, blockSize-7)
	got := make([]byte, len(data)+2)
	d.readAt(got, blockSize-8)
	if got[0] != 0 || got[len(got)-1] != 0 || !bytes.Equal(got[1:len(got)-1], data) {
		t.Error("what is read is not what was written")
	}
}

// TestWithoutPower asks a disk without power, which does not answer before Fail.
func TestWithoutPower(t *testing.T) {
	d := newDisk(16*blockSize, make(content))
	if !d.alive() {
		t.Fatal("a new disk has no power")
	}
	cut := d.CutAfter(2)
	d.writeAt(make([]byte, 2*blockSize), 0)
	if image := <-cut; image.Pending() != 2 {
		t.Errorf("after the cut %d blocks are left to chance, want 2", image.Pending())
	}
	answered := make(chan bool)
	go func() { answered <- d.alive() }()
	select {
	case <-answered:
		t.Fatal("a disk without power answers")
	default:
	}
	d.Fail()
	d.Fail()
	if <-answered {
		t.Error("a disk without power says that it works")
	}
}
