// Package disk is a disk whose power can be cut. What is written to it is lost, or
// kept in part, by chance, unless it was flushed: as the cache of a real one behaves.
// The kernel sees it as a file (serve_linux.go), which is mounted through a loop
// device, so that a real file system works on it.
package disk

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
)

const (
	// blockSize is that of the file systems that are made here. A disk writes sectors:
	// it may have written some of a block and not the others.
	blockSize  = 4096
	sectorSize = 512
)

// content is what a disk holds, by the number of the block; what is not in it is zero.
// A block is never changed once it is in one, so that copies of a content share them.
type content map[int64][]byte

var zeros = make([]byte, blockSize)

func (c content) block(n int64) []byte {
	if block, ok := c[n]; ok {
		return block
	}
	return zeros
}

// write is one block as it was written.
type write struct {
	block int64
	data  []byte
}

// await is an image that is taken in the middle of what is written.
type await struct {
	// left are the writes that it waits for; cut says that the power goes with them.
	left  int
	cut   bool
	taken chan Image
}

// Disk is safe for concurrent use.
type Disk struct {
	size int64

	mu sync.Mutex
	// current is what is read, durable what was there at the last flush; pending is
	// what was written since, in its order.
	current, durable content
	pending          []write
	// awaited are the images that were asked for and wait for writes.
	awaited []*await
	// off is not nil once the power is cut; it is closed when waiting ends.
	off chan struct{}
}

// Load returns a disk with the content of a file, which is not used after that.
func Load(name string) (*Disk, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	d, err := load(file)
	if err = errors.Join(err, file.Close()); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return d, nil
}

func load(file io.Reader) (*Disk, error) {
	held, buffer := make(content), make([]byte, blockSize)
	for n := int64(0); ; n++ {
		_, err := io.ReadFull(file, buffer)
		switch {
		case errors.Is(err, io.EOF):
			return newDisk(n*blockSize, held), nil
		case err != nil:
			return nil, fmt.Errorf("its size must be a multiple of %d: %w", blockSize, err)
		case !bytes.Equal(buffer, zeros):
			held[n] = bytes.Clone(buffer)
		}
	}
}

func newDisk(size int64, held content) *Disk {
	return &Disk{size: size, current: held, durable: maps.Clone(held)}
}

func (d *Disk) readAt(into []byte, offset int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for len(into) > 0 {
		n := copy(into, d.current.block(offset / blockSize)[offset%blockSize:])
		into, offset = into[n:], offset+int64(n)
	}
}

func (d *Disk) writeAt(data []byte, offset int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for len(data) > 0 {
		at := offset / blockSize
		block := bytes.Clone(d.current.block(at))
		n := copy(block[offset%blockSize:], data)
		d.current[at] = block
		d.pending = append(d.pending, write{at, block})
		d.count()
		data, offset = data[n:], offset+int64(n)
	}
}

func (d *Disk) flush() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, w := range d.pending {
		d.durable[w.block] = w.data
	}
	d.pending = nil
}

// count tells who awaits a write, one block of it, that it has happened.
func (d *Disk) count() {
	d.awaited = slices.DeleteFunc(d.awaited, func(a *await) bool {
		if a.left--; a.left > 0 {
			return false
		}
		if a.cut {
			d.cut()
		}
		a.taken <- d.image()
		return true
	})
}

// Image is a disk at one moment: what is certain, and what chance decides about.
type Image struct {
	size    int64
	durable content
	pending []write
}

// ImageAfter returns what a cut of the power would leave after so many blocks more are
// written, at least one. A moment that chance chooses by the clock would most often be
// one when nothing is written. The disk goes on.
func (d *Disk) ImageAfter(writes int) <-chan Image { return d.await(&await{left: writes}) }

// CutAfter cuts the power after so many blocks more are written, at least one: from then
// on nothing is read, written or flushed, and whoever asks for it waits. The processes
// that used the disk die at the same moment: kill them, and let those that wait go on by
// Fail.
func (d *Disk) CutAfter(writes int) <-chan Image { return d.await(&await{left: writes, cut: true}) }

func (d *Disk) await(a *await) <-chan Image {
	a.taken = make(chan Image, 1)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.awaited = append(d.awaited, a)
	return a.taken
}

func (d *Disk) image() Image {
	return Image{size: d.size, durable: maps.Clone(d.durable), pending: slices.Clone(d.pending)}
}

// cut needs the lock.
func (d *Disk) cut() {
	if d.off == nil {
		d.off = make(chan struct{})
	}
}

// Fail answers whatever waits for a disk without power, and comes later, by an error.
func (d *Disk) Fail() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cut()
	select {
	case <-d.off:
	default:
		close(d.off)
	}
}

// alive returns at once with true while there is power; else it waits for Fail.
func (d *Disk) alive() bool {
	d.mu.Lock()
	off := d.off
	d.mu.Unlock()
	if off == nil {
		return true
	}
	<-off
	return false
}

// Pending returns how many writes chance decides about.
func (i Image) Pending() int { return len(i.pending) }

// Loss says what becomes of the writes that were not flushed.
type Loss string

// All of these are what a disk may do.
const (
	// Everything that was not flushed is lost.
	Everything Loss = "everything"
	// Nothing is lost.
	Nothing Loss = "nothing"
	// Tail is lost: what was written after a moment.
	Tail Loss = "the tail"
	// Blocks are lost here and there, each back to one of the states that it was in
	// since the last flush: a disk writes in the order that it likes.
	Blocks Loss = "blocks"
	// Sectors are lost here and there, so that blocks are torn.
	Sectors Loss = "sectors"
)

// Losses are all of them.
var Losses = []Loss{Everything, Sectors, Tail, Blocks, Nothing}

// left returns what is on the disk when the power is back.
func (i Image) left(loss Loss, random *rand.Rand) content {
	left := maps.Clone(i.durable)
	pending := i.pending
	switch loss {
	case Everything:
		pending = nil
	case Tail:
		pending = pending[:random.IntN(len(pending)+1)]
	case Blocks, Sectors:
		i.scatter(left, loss, random)
		return left
	case Nothing:
	}
	for _, w := range pending {
		left[w.block] = w.data
	}
	return left
}

// scatter puts each block, or each of its sectors, into one of its states.
func (i Image) scatter(left content, loss Loss, random *rand.Rand) {
	states := make(map[int64][][]byte)
	var order []int64 // of a map there is none, and a seed must repeat
	for _, w := range i.pending {
		if states[w.block] == nil {
			states[w.block] = [][]byte{left.block(w.block)}
			order = append(order, w.block)
		}
		states[w.block] = append(states[w.block], w.data)
	}
	for _, n := range order {
		of := states[n]
		if loss == Blocks {
			left[n] = of[random.IntN(len(of))]
			continue
		}
		torn := make([]byte, blockSize)
		for at := 0; at < blockSize; at += sectorSize {
			copy(torn[at:at+sectorSize], of[random.IntN(len(of))][at:])
		}
		left[n] = torn
	}
}

// Disk returns the disk when the power is back.
func (i Image) Disk(loss Loss, random *rand.Rand) *Disk {
	return newDisk(i.size, i.left(loss, random))
}
