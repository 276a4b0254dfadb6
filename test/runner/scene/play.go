package scene

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/peppasync/peppasync/test/runner"
)

const (
	// tick is how often the outside world is asked how far things are, remoteTick how
	// often one that runs elsewhere, which sends its whole report.
	tick       = 100 * time.Millisecond
	remoteTick = 500 * time.Millisecond
	// quiet is how long everything must have been settled, so that what comes
	// once more, an order or a text, is still seen.
	quiet = 4 * time.Second
)

// Act is one thing that happens. Acts happen in their order, each when it is
// due.
type Act struct {
	Name string
	Due  func(Progress) bool
	Do   func(ctx context.Context, s *Stage) error
}

// Burst sells all orders but those of Later.
func Burst() Act {
	return Act{
		Name: "the burst begins",
		Due:  func(Progress) bool { return true },
		Do:   func(ctx context.Context, s *Stage) error { return s.outside.sell(ctx, s.Script.burst()) },
	}
}

// Receipt books goods in at the ERP.
func Receipt() Act {
	return Act{
		Name: "goods come in at the ERP",
		Due:  func(p Progress) bool { return p.Fed >= p.script.ReceiptAt },
		Do: func(ctx context.Context, s *Stage) error {
			return s.outside.bookReceipt(ctx, SKU, s.Script.Receipt)
		},
	}
}

// Maintenance takes the ERP down for a while.
func Maintenance() Act {
	return Act{
		Name: "the ERP goes into maintenance",
		Due:  func(p Progress) bool { return p.Fed >= p.script.MaintenanceAt },
		Do: func(ctx context.Context, s *Stage) error {
			return s.outside.startMaintenance(ctx, s.Script.Maintenance.Std())
		},
	}
}

// Sell sells so many of the orders of Later.
func Sell(name string, due func(Progress) bool, orders int) Act {
	return Act{Name: name, Due: due, Do: func(ctx context.Context, s *Stage) error { return s.sell(ctx, orders) }}
}

// KillAfter ends the product at once when due, and starts it again after down.
// So many of the orders of Later are sold in the meantime: the shop tries to tell
// of them and tries again 10 s later, so that the restarted product does not know
// of them at first.
func KillAfter(name string, due func(Progress) bool, down time.Duration, sold int) Act {
	return Act{Name: name, Due: due, Do: func(ctx context.Context, s *Stage) error {
		return killed(ctx, s, down, func() error { return s.sell(ctx, sold) })
	}}
}

// BurstKilled is Burst with the product ended when so many orders are captured.
// The shop goes on selling.
func BurstKilled(captured int, down time.Duration) Act {
	act := Burst()
	act.Name = fmt.Sprintf("the burst begins; the product is killed when %d orders are captured", captured)
	sell := act.Do
	act.Do = func(ctx context.Context, s *Stage) error {
		if err := sell(ctx, s); err != nil {
			return err
		}
		err := runner.Until(ctx, time.Millisecond, fmt.Sprintf("%d orders are captured", captured),
			func() bool { return len(s.World.Shop.Captured()) >= captured })
		if err != nil {
			return err
		}
		return killed(ctx, s, down, func() error { return nil })
	}
	return act
}

func killed(ctx context.Context, s *Stage, down time.Duration, meanwhile func() error) error {
	if err := s.Kill(); err != nil {
		return err
	}
	if err := meanwhile(); err != nil {
		return err
	}
	wait := time.NewTimer(down)
	defer wait.Stop()
	select {
	case <-wait.C:
		return s.Restart(ctx)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// sell starts the sale of so many orders beyond those of the burst.
func (s *Stage) sell(ctx context.Context, orders int) error {
	more := s.Script.burst()
	more.Count = orders
	return s.outside.sell(ctx, more)
}

// Acts are those of the scene.
func Acts() []Act { return []Act{Burst(), Receipt(), Maintenance()} }

// errLate is why a scene is ended that does not end by itself.
var errLate = errors.New("the time is over")

// Play lets the acts happen and waits until everything is fed or held and stock
// is settled. It ends with an error that says what is missing after three times
// the expected time and a minute. watch, which may be nil, is told how far
// things are, ten times a second (where the world runs elsewhere, twice), and of
// each act.
func (s *Stage) Play(ctx context.Context, acts []Act, watch func(Progress)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 3*s.Script.Expected()+time.Minute, errLate)
	defer cancel()
	ticker := time.NewTicker(s.tick())
	defer ticker.Stop()
	started := time.Now()
	var settledSince time.Time
	for {
		p, err := s.progress(ctx, started)
		if err != nil {
			return err
		}
		if len(acts) > 0 && acts[0].Due(p) {
			p.Act = acts[0].Name
			if err := acts[0].Do(ctx, s); err != nil {
				return fmt.Errorf("%s: %w", acts[0].Name, err)
			}
			acts = acts[1:]
		}
		if watch != nil {
			watch(p)
		}
		if err := s.ended(); err != nil && ctx.Err() == nil { // an interrupt from the keyboard ends the product too
			return err
		}
		s.sampleMemory()
		missing := p.missing()
		switch {
		case len(acts) > 0 || len(missing) > 0:
			settledSince = time.Time{}
		case settledSince.IsZero():
			settledSince = time.Now()
		case time.Since(settledSince) >= quiet:
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			for _, act := range acts {
				missing = append(missing, "it did not come to this: "+act.Name)
			}
			return fmt.Errorf("%w after %v: %s", context.Cause(ctx), time.Since(started).Round(time.Second), strings.Join(missing, "; "))
		}
	}
}

// Progress is how far things are, as the outside world sees it.
type Progress struct {
	// Act is what has just happened, "" for nothing.
	Act     string
	Elapsed time.Duration
	// Captured, AtWMS and Fed count orders that are acknowledged, taken by the
	// WMS, and in the ERP; Held those that the WMS refused; Texts what was sent.
	Captured, AtWMS, Fed, Held int
	Texts                      []string
	// Calls is the number of all calls at the ERP.
	Calls int
	// Shown and Free are the units that the shop shows and those that are there
	// to be sold.
	Shown, Free int
	// Down says that the ERP is in maintenance.
	Down bool

	script Script
}

// Queue is the number of orders that are captured and neither fed nor held.
func (p Progress) Queue() int { return max(p.Captured-p.Fed-p.Held, 0) }

func (s *Stage) progress(ctx context.Context, started time.Time) (Progress, error) {
	seen, err := s.outside.look(ctx)
	if err != nil {
		return Progress{}, err
	}
	shop, erp, warehouse := seen.Shop, seen.ERP, seen.WMS
	p := Progress{
		Elapsed: time.Since(started), Captured: shop.Captured, AtWMS: warehouse.Accepted, Fed: erp.Orders,
		Held: len(warehouse.Refused), Calls: erp.Calls, script: s.Script,
	}
	for _, text := range seen.Twilio.Texts {
		p.Texts = append(p.Texts, text.Body)
	}
	for _, stock := range shop.Stock {
		p.Shown += stock.Available
	}
	for _, stock := range erp.Stock {
		p.Free += stock.Available
	}
	p.Free -= shop.Sold - erp.Orders
	if n := len(erp.Maintenance); n > 0 {
		p.Down = erp.Maintenance[n-1].End == nil
	}
	return p, nil
}

// missing says what is not settled yet.
func (p Progress) missing() []string {
	var missing []string
	need := func(have, want int, what string) {
		if have < want {
			missing = append(missing, fmt.Sprintf("%d of %d %s", have, want, what))
		}
	}
	good := p.script.Orders - 1
	need(p.Captured, p.script.Orders, "orders are captured")
	need(p.AtWMS, good, "orders are in the WMS")
	need(p.Fed, good, "orders are in the ERP")
	need(p.Held, 1, "orders are refused by the WMS")
	need(len(p.Texts), 1, "texts are sent")
	if p.Down {
		missing = append(missing, "the ERP is still in maintenance")
	}
	if p.Shown != p.Free {
		missing = append(missing, fmt.Sprintf("the shop shows %d units where %d are free", p.Shown, p.Free))
	}
	return missing
}
