package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/peppasync/peppasync/test/sim/netsuite"
)

// refusedItem is the cause of a hold of an order whose item the ERP does not know.
const refusedItem = "nonexistent-id"

// TestReleases has the ERP refuse orders, and people let them go at the same time,
// again and again: too early, so that they are refused once more, and when the ERP
// knows the item. What is on hold in doubt, because a replica died between a call and
// its reply, goes when somebody has looked. Meanwhile other orders flow, orders are edited (those on hold,
// too), the shop tells of old orders anew, and a random one of three replicas is
// killed every 2.5 s.
func TestReleases(t *testing.T) {
	besideOthers(t)
	f := open(t, fifty())
	span := lasting(10*time.Second, 2*time.Minute)
	f.sell(int(12 * span.Seconds()))
	f.refusable = make(map[string]bool)
	for _, name := range f.sellOf(strange, 25) {
		f.refusable[name] = true
	}
	f.until(time.Minute, "an order is on hold", func() bool { return len(f.holds()) > 0 })
	people, stop := context.WithCancel(t.Context())
	var working sync.WaitGroup
	defer working.Wait()
	defer stop()
	var released, resolved, replayed atomic.Int64
	working.Go(func() { f.repeatedly(people, func() { released.Add(f.releaseAll()) }) })
	working.Go(func() { f.repeatedly(people, func() { released.Add(f.releaseOldest()) }) })
	working.Go(func() { f.repeatedly(people, func() { resolved.Add(f.lookAndRelease()) }) })
	choice := rand.New(rand.NewPCG(f.random.Uint64(), 0)) // of its own: it is used beside the edits'
	working.Go(func() { f.repeatedly(people, func() { replayed.Add(f.replay(choice)) }) })
	for begin, known := time.Now(), false; time.Since(begin) < span; {
		f.editing(20, 500*time.Millisecond)
		f.killing(2*time.Second, 1500*time.Millisecond)
		if !known && time.Since(begin) > span/2 {
			early := len(f.world.ERP.Report().Refused)
			if early <= len(f.refusable) {
				t.Errorf("%d refusals of %d orders: none was let go too early, and this test shows less than it says", early, len(f.refusable))
			}
			if err := f.world.ERP.AddItem(netsuite.Item{SKU: strange, OnHand: 10_000_000}); err != nil {
				t.Fatal(err)
			}
			known = true
		}
	}
	f.until(time.Minute, "nothing is on hold", func() bool { return len(f.holds()) == 0 })
	stop()
	working.Wait()
	f.settled(2*span + time.Minute)
	t.Logf("%d releases, %d more of what was in doubt, %d refusals of %d orders, %d old events told anew", released.Load(), resolved.Load(), len(f.world.ERP.Report().Refused), len(f.refusable), replayed.Load())
	if released.Load() == 0 || replayed.Load() == 0 {
		t.Error("nothing was released or nothing told anew")
	}
}

// repeatedly does something five times a second, or as often as it can be done.
func (f *field) repeatedly(ctx context.Context, something func()) {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			something()
		case <-ctx.Done():
			return
		}
	}
}

// onHold is an entry of the Error Hold as the command tells it.
type onHold struct {
	Order    string    `json:"order"`
	Since    time.Time `json:"since"`
	InDoubt  bool      `json:"inDoubt"`
	Delivery string    `json:"delivery"`
}

func (f *field) holds() []onHold {
	out, err := f.run("holds", "-o", "json")
	if err != nil {
		f.t.Error(err)
		return nil
	}
	var found []onHold
	if err := json.Unmarshal([]byte(out), &found); err != nil {
		f.t.Errorf("peppasync holds: %v", err)
	}
	return found
}

// releaseAll lets go what is on hold for its item, and returns how many went.
func (f *field) releaseAll() (released int64) {
	out, err := f.run("release", "--reason", "perhaps it goes now", "--all", "--cause", refusedItem)
	if err != nil {
		f.t.Error(err)
	}
	if _, err := fmt.Sscanf(out, "%d released", &released); err != nil {
		f.t.Errorf("peppasync release says %q", out)
	}
	return released
}

// releaseOldest lets one delivery go that is not in doubt.
func (f *field) releaseOldest() int64 {
	for _, held := range f.holds() {
		if !held.InDoubt {
			return f.releaseOne(held.Delivery)
		}
	}
	return 0
}

// lookAndRelease lets go what is in doubt by what the ERP shows, once it is certain
// that nothing comes of the call any more.
func (f *field) lookAndRelease() (released int64) {
	for _, held := range f.holds() {
		if !held.InDoubt || time.Since(held.Since) < horizon+time.Second {
			continue
		}
		there := slices.ContainsFunc(f.world.ERP.Orders(), func(o netsuite.Order) bool { return o.OtherRefNum == held.Order })
		released += f.releaseOne(held.Delivery, "--in-doubt-resolved", map[bool]string{true: "sent", false: "not-sent"}[there])
	}
	return released
}

// releaseOne lets a delivery go, unless somebody else was faster, and returns whether
// it went as a number.
func (f *field) releaseOne(delivery string, arguments ...string) int64 {
	_, err := f.run("release", append([]string{"--reason", "somebody asked for it", delivery}, arguments...)...)
	switch {
	case err == nil:
		return 1
	case strings.Contains(err.Error(), "is not in the Error Hold"), strings.Contains(err.Error(), "is just being put into the Error Hold"):
		return 0
	}
	f.t.Error(err)
	return 0
}

// replay has the shop tell of five orders anew, by the first and by the newest that it
// said of each, and returns how many events that is.
func (f *field) replay(choice *rand.Rand) (told int64) {
	names := f.world.Shop.Names()
	for range 5 {
		name := names[choice.IntN(len(names))]
		if f.world.Shop.Replay(name, "orders/create") == nil {
			told++
		}
		if f.world.Shop.Replay(name, "orders/updated") == nil { // else it has had no edit
			told++
		}
		if f.world.Shop.Resend(name, "orders/create") == nil {
			told++
		}
	}
	return told
}

// run runs one of the product's commands beside it.
func (f *field) run(command string, arguments ...string) (string, error) {
	ctx, cancel := context.WithTimeout(f.t.Context(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, f.product.Binary, append([]string{command, "--nats", f.product.URL()}, arguments...)...).Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		err = fmt.Errorf("peppasync %s: %w: %s", command, err, exit.Stderr)
	}
	return string(out), err
}
