package scene

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/peppasync/peppasync/test/sim"
	"github.com/peppasync/peppasync/test/sim/jsontime"
	"github.com/peppasync/peppasync/test/sim/shopify"
)

// outside is the outside world, wherever it runs.
type outside interface {
	driven
	witness
}

// driven is what a scene does to it.
type driven interface {
	// sell starts a burst and does not wait for its end.
	sell(ctx context.Context, burst shopify.Burst) error
	bookReceipt(ctx context.Context, sku string, quantity int) error
	startMaintenance(ctx context.Context, length time.Duration) error
}

// witness is what it asks of it.
type witness interface {
	// look returns how far things are, of the systems of the scene.
	look(ctx context.Context) (sim.Systems, error)
	// records returns all that the judge needs.
	records() (records, error)
}

type records struct {
	report  sim.Report
	changes []shopify.Change
	calls   sim.Arrivals
}

// here is a world in this process.
type here struct{ world *sim.World }

func (h here) sell(_ context.Context, burst shopify.Burst) error {
	_, err := h.world.Shop.Sell(burst) //nolint:contextcheck // a burst outlives the act that starts it
	return err
}

func (h here) bookReceipt(_ context.Context, sku string, quantity int) error {
	_, err := h.world.ERP.BookReceipt(sku, quantity)
	return err
}

func (h here) startMaintenance(_ context.Context, length time.Duration) error {
	return h.world.ERP.StartMaintenance(length)
}

func (h here) look(context.Context) (sim.Systems, error) {
	w := h.world
	return sim.Systems{Shop: w.Shop.Report(), ERP: w.ERP.Report(), WMS: w.WMS.Report(), Twilio: w.Twilio.Report()}, nil
}

func (h here) records() (records, error) {
	log := h.world.ERP.Arrivals()
	return records{
		report: h.world.Report(), changes: h.world.Shop.Changes(),
		calls: sim.Arrivals{Origin: log.Origin(), Log: log.Snapshot()},
	}, nil
}

// elsewhere is a world behind its control server.
type elsewhere struct {
	control string
	client  *http.Client
}

const controlTimeout = 30 * time.Second

var errElsewhere = errors.New("the product runs elsewhere: whoever started it has to end it")

// Join returns a stage of a world and a product that run elsewhere, as Prepare has
// written them down. control is the URL of the world's control server. peak, which may be
// nil, returns the largest resident size of the product's processes so far.
func Join(script Script, control string, peak func() (int64, error)) *Stage {
	return &Stage{Script: script, outside: elsewhere{control, &http.Client{Timeout: controlTimeout}}, peak: peak}
}

func (s *Stage) tick() time.Duration {
	if s.World == nil {
		return remoteTick
	}
	return tick
}

func (e elsewhere) sell(ctx context.Context, burst shopify.Burst) error {
	return e.call(ctx, http.MethodPost, "/shop/sell", sim.SellRequest{Burst: burst}, nil)
}

func (e elsewhere) bookReceipt(ctx context.Context, sku string, quantity int) error {
	return e.call(ctx, http.MethodPost, "/erp/receipt", sim.ReceiptRequest{SKU: sku, Quantity: quantity}, nil)
}

func (e elsewhere) startMaintenance(ctx context.Context, length time.Duration) error {
	return e.call(ctx, http.MethodPost, "/erp/maintenance", sim.MaintenanceRequest{Duration: jsontime.Duration(length)}, nil)
}

func (e elsewhere) look(ctx context.Context) (sim.Systems, error) {
	var report sim.Report
	err := e.call(ctx, http.MethodGet, "/report", nil, &report)
	return report.Systems, err
}

func (e elsewhere) records() (records, error) {
	// Play's context may be over, and what became of the scene is to be known.
	ctx, cancel := context.WithTimeout(context.Background(), 2*controlTimeout)
	defer cancel()
	var r records
	err := errors.Join(
		e.call(ctx, http.MethodGet, "/report", nil, &r.report),
		e.call(ctx, http.MethodGet, "/shop/changes", nil, &r.changes),
		e.call(ctx, http.MethodGet, "/erp/arrivals", nil, &r.calls),
	)
	return r, err
}

// call makes one request; body and answer may be nil.
func (e elsewhere) call(ctx context.Context, method, path string, body, answer any) error {
	var payload io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return err
		}
		payload = bytes.NewReader(encoded)
	}
	request, err := http.NewRequestWithContext(ctx, method, e.control+path, payload)
	if err != nil {
		return fmt.Errorf("the world's control server %q: %w", e.control, err)
	}
	response, err := e.client.Do(request)
	if err != nil {
		return fmt.Errorf("the world's control server: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	said, err := io.ReadAll(response.Body)
	if err != nil {
		return fmt.Errorf("the world's answer to %s %s: %w", method, path, err)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("the world answers %s %s with %s: %s", method, path, response.Status, said)
	}
	if answer == nil {
		return nil
	}
	if err := json.Unmarshal(said, answer); err != nil {
		return fmt.Errorf("the world's answer to %s %s: %w", method, path, err)
	}
	return nil
}
