package scene

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"time"

	"github.com/peppasync/peppasync/test/runner"
	"github.com/peppasync/peppasync/test/sim"
)

// Options of Open. Binary, Manifests and Folder are required.
type Options struct {
	Script Script
	// Binary is the product, Manifests the folder of YAML that it is given with
	// the endpoints of the outside world put in.
	Binary, Manifests string
	// Folder is an empty one that everything is written to.
	Folder string
	// Arguments are further flags of the product.
	Arguments []string
	// Apart runs each role as a process of its own.
	Apart bool
	// Secured has each of them sign in to NATS with a key of its own, over TLS.
	Secured bool
	// Overrides change the manifests beyond the script's own changes.
	Overrides runner.Overrides
}

// Downtime is a span in which the product was killed and not started again.
type Downtime struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
}

// Stage is an outside world and the product in it. It is not safe for
// concurrent use; World is. Where both run elsewhere (Join), World and Product are nil.
type Stage struct {
	World   *sim.World
	Product *runner.Product
	Script  Script

	outside outside
	// peak returns the largest resident size of a product that runs elsewhere.
	peak       func() (int64, error)
	folder     string
	log        *os.File
	downtimes  []Downtime
	peakMemory int64
}

// Open starts the outside world, and the product with the demo's manifests.
// After an error nothing runs.
func Open(ctx context.Context, o Options) (*Stage, error) {
	world, err := sim.Start(o.Script.world())
	if err != nil {
		return nil, fmt.Errorf("the outside world: %w", err)
	}
	s := &Stage{World: world, Script: o.Script, outside: here{world}, folder: o.Folder}
	if err := s.start(ctx, o); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Stage) start(ctx context.Context, o Options) error {
	overrides := s.Script.overrides(s.World.Addresses())
	for name, values := range o.Overrides {
		if overrides[name] == nil {
			overrides[name] = make(map[string]any)
		}
		maps.Copy(overrides[name], values)
	}
	if err := runner.WriteManifests(o.Manifests, s.Files(), overrides); err != nil {
		return err
	}
	secretsDir := filepath.Join(o.Folder, "secrets")
	if err := runner.WriteSecrets(secretsDir, secrets()); err != nil {
		return err
	}
	var err error
	if s.log, err = os.Create(s.Log()); err != nil {
		return err
	}
	s.Product = &runner.Product{
		Binary: o.Binary, Files: s.Files(), Secrets: secretsDir, Data: filepath.Join(o.Folder, "data"),
		Arguments: o.Arguments, Apart: o.Apart, Secured: o.Secured, Log: s.log,
	}
	if err := s.Product.Start(ctx); err != nil {
		return fmt.Errorf("%w; its log is %s", err, s.Log())
	}
	return s.World.Shop.SetTarget(s.Product.WebhookURL(webhookConnector))
}

// Files returns the folder of YAML that the product watches.
func (s *Stage) Files() string { return filepath.Join(s.folder, "config") }

// Log returns the file of what the product wrote to its standard error.
func (s *Stage) Log() string { return filepath.Join(s.folder, "product.log") }

// Kill ends the product at once, as kill -9 does.
func (s *Stage) Kill() error {
	if s.Product == nil {
		return errElsewhere
	}
	s.sampleMemory()
	if err := s.Product.Kill(); err != nil {
		return err
	}
	s.downtimes = append(s.downtimes, Downtime{From: time.Now()})
	return nil
}

// Restart starts the product again after a Kill, on the same data and port.
func (s *Stage) Restart(ctx context.Context) error {
	if s.Product == nil {
		return errElsewhere
	}
	if n := len(s.downtimes); n > 0 {
		s.downtimes[n-1].To = time.Now()
	}
	return s.Product.Start(ctx)
}

// sampleMemory keeps the peak of this run of the product. One that has just
// ended has none to tell, and that it ended is noticed elsewhere.
func (s *Stage) sampleMemory() {
	measure := s.peak
	if s.Product != nil {
		measure = s.Product.PeakMemory
	}
	if measure == nil {
		return
	}
	if peak, err := measure(); err == nil {
		s.peakMemory = max(s.peakMemory, peak)
	}
}

// ended returns an error if the product has ended by itself.
func (s *Stage) ended() error {
	if s.Product == nil {
		return nil
	}
	if ended, err := s.Product.Exited(); ended {
		return fmt.Errorf("the product ended by itself: %w; its log is %s", err, s.Log())
	}
	return nil
}

// Close stops the product and the outside world. The error is how the product
// ended, where that was not well.
func (s *Stage) Close() error {
	var err error
	if s.Product != nil {
		if stopped := s.Product.Stop(); stopped != nil {
			err = fmt.Errorf("stopping the product: %w; its log is %s", stopped, s.Log())
		}
	}
	if s.World != nil {
		s.World.Close()
	}
	if s.log != nil {
		err = errors.Join(err, s.log.Close())
	}
	return err
}
