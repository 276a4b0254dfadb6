package chaos

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/peppasync/peppasync/test/runner"
	"github.com/peppasync/peppasync/test/runner/disk"
	"github.com/peppasync/peppasync/test/sim/jsontime"
	"github.com/peppasync/peppasync/test/sim/shopify"
)

// storeSize is that of the disk. The product may use 80% of it.
const storeSize = 512 << 20

// TestPowerLoss cuts the power of the disk that the product stores on, while webhooks
// come in. What the disk had not flushed is lost, in whole or in part, torn, or in
// another order than it was written in; then the product is started on what is left.
// Every webhook that was answered with 2xx before a cut is in there.
//
// Some of the cuts are real: all processes die with the disk, and the same shop and ERP
// go on with what is left. Others are what a cut would have left at that moment, looked
// at aside.
func TestPowerLoss(t *testing.T) {
	besideOthers(t)
	if testing.Short() {
		t.Skip("runs the product and the outside world for half a minute: runs without -short, as in make test")
	}
	if err := disk.Possible(t.Context()); err != nil {
		t.Skipf("this machine lets no test cut the power of a disk: %v", err)
	}
	p := newPowered(t)
	var sales []func() int
	cuts, aside := often(2, 10), often(2, 4)
	for range cuts {
		sales = append(sales, p.begin(shopify.Burst{
			Count: 600, SKU: sku, Quantity: 1, Over: jsontime.Duration(3 * time.Second), Duplicates: 0.1,
		}))
		for range aside {
			acknowledged := p.load()
			p.images = append(p.images, cut{p.taken(p.disk.ImageAfter(p.writes())), acknowledged})
		}
		p.cut()
	}
	for _, sold := range sales {
		sold()
	}
	t.Logf("%d cuts, %d more looked at aside; %d writes were not flushed", cuts, cuts*aside, p.pending)
	if p.pending == 0 {
		t.Error("no cut came while something was written: they show nothing")
	}
	p.allTaken(time.Minute)
}

// powered is the product on a disk.
type powered struct {
	*field
	folder  string
	losses  int
	room    *disk.Room
	disk    *disk.Disk
	mounted *disk.Mounted
	// images are what cuts would have left.
	images []cut
	// pending are the writes that the cuts left to chance.
	pending int
}

// cut is what one leaves, with what was acknowledged before it.
type cut struct {
	image        disk.Image
	acknowledged []shopify.Delivery
}

func newPowered(t *testing.T) *powered {
	t.Helper()
	p := &powered{folder: t.TempDir()}
	var err error
	if p.room, err = disk.NewRoom(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.room.Close(); err != nil {
			t.Error(err)
		}
	})
	empty := filepath.Join(p.folder, "empty")
	if err := disk.Format(t.Context(), empty, storeSize); err != nil {
		t.Fatal(err)
	}
	if p.disk, err = disk.Load(empty); err != nil {
		t.Fatal(err)
	}
	what := fastERP()
	what.together, what.data, what.binary = true, filepath.Join(p.folder, "data"), filepath.Join(p.folder, "peppasync")
	if err := p.room.Wrap(what.binary, binary(t)); err != nil {
		t.Fatal(err)
	}
	if p.mounted, err = p.room.Mount(t.Context(), p.disk, what.data); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			p.disk.Fail() // else whatever waits for it waits for ever
		}
		if err := p.mounted.Unmount(); err != nil {
			t.Error(err)
		}
	})
	p.field = open(t, what)
	return p
}

// load waits while webhooks come in, and returns what was acknowledged before a cut.
// Whatever was by then must be there after it.
func (p *powered) load() []shopify.Delivery {
	p.t.Helper()
	before := len(p.acknowledged())
	p.until(10*time.Second, "webhooks are taken in before the cut", func() bool { return len(p.acknowledged()) > before+20 })
	<-time.After(p.moment(0, 300*time.Millisecond))
	return p.acknowledged()
}

// writes is how many blocks are written until a cut: about what a few webhooks take.
func (p *powered) writes() int { return 1 + p.random.IntN(20) }

func (p *powered) taken(image <-chan disk.Image) disk.Image {
	p.t.Helper()
	select {
	case taken := <-image:
		return taken
	case <-time.After(10 * time.Second):
		p.t.Fatal("nothing is written for 10 s")
		return disk.Image{}
	}
}

// cut cuts the power, and lets everything begin again on what is left. Meanwhile it
// looks at the images that were taken since the last one.
func (p *powered) cut() {
	p.t.Helper()
	acknowledged := p.load()
	image := p.taken(p.disk.CutAfter(p.writes()))
	// The processes die before the disk answers by an error, which they must not see.
	if err := p.product.Doom(); err != nil {
		p.t.Fatal(err)
	}
	p.disk.Fail()
	if err := errors.Join(p.product.Kill(), p.mounted.Abandon()); err != nil {
		p.t.Fatal(err)
	}
	for _, c := range p.images {
		p.look(c)
	}
	p.images = nil
	loss := p.loss(image, acknowledged)
	p.disk = image.Disk(loss, p.random)
	var err error
	if p.mounted, err = p.room.Mount(p.t.Context(), p.disk, p.product.Data); err != nil {
		p.t.Fatalf("after a cut that lost %s the disk cannot be mounted: %v", loss, err)
	}
	if err := p.product.Start(p.t.Context()); err != nil {
		p.t.Fatalf("after a cut that lost %s the product does not start: %v", loss, err)
	}
	p.judgeTaken(p.product.URL(), acknowledged, fmt.Sprintf("after a cut that lost %s of %d writes", loss, image.Pending()))
}

// loss returns what the next cut loses: each kind in turn.
func (p *powered) loss(image disk.Image, acknowledged []shopify.Delivery) disk.Loss {
	p.t.Helper()
	loss := disk.Losses[p.losses%len(disk.Losses)]
	p.losses++
	p.pending += image.Pending()
	p.t.Logf("a cut with %d webhooks acknowledged loses %s of %d writes", len(acknowledged), loss, image.Pending())
	return loss
}

// look starts another product on what a cut would have left, with nobody to call, and
// looks what it has.
func (p *powered) look(c cut) {
	p.t.Helper()
	loss := p.loss(c.image, c.acknowledged)
	folder := filepath.Join(p.folder, fmt.Sprint("aside-", p.losses))
	store := filepath.Join(folder, "data")
	mounted, err := p.room.Mount(p.t.Context(), c.image.Disk(loss, p.random), store)
	if err != nil {
		p.t.Fatalf("after a cut that loses %s the disk cannot be mounted: %v", loss, err)
	}
	files := filepath.Join(folder, "config")
	nobody := runner.Overrides{"netsuite": {"limits": []any{map[string]any{"name": "parallel", "concurrency": map[string]any{"calls": 1}}}}}
	if err := runner.WriteManifests("testdata", files, nobody); err != nil {
		p.t.Fatal(err)
	}
	aside := &runner.Product{
		Binary: p.product.Binary, Files: files, Secrets: p.product.Secrets, Data: store,
		Log: p.product.Log, Watched: true,
	}
	if err := aside.Start(p.t.Context()); err != nil {
		p.t.Fatalf("after a cut that loses %s the product does not start: %v", loss, err)
	}
	p.judgeTaken(aside.URL(), c.acknowledged, fmt.Sprintf("after a cut that loses %s of %d writes", loss, c.image.Pending()))
	if err := errors.Join(aside.Kill(), mounted.Unmount()); err != nil {
		p.t.Fatal(err)
	}
}
