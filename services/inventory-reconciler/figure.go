package inventoryreconciler

import (
	"errors"
	"fmt"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors/stock"
	"github.com/peppasync/peppasync/services/inventory-reconciler/internal/allocation"
)

// answered returns the figures of a read, or an error where it ended in the Error
// Hold or its answer cannot be read. expired means that no call was made.
func answered(result *dispatchv1.Result) (figures []stock.Figure, expired bool, err error) {
	switch result.GetOutcome() {
	case dispatchv1.Outcome_OUTCOME_EXPIRED:
		return nil, true, nil
	case dispatchv1.Outcome_OUTCOME_DELIVERED:
	default:
		return nil, false, refused(result)
	}
	if result.GetIssuedAt() == nil || result.GetSettledAt() == nil {
		return nil, false, errors.New("the result does not say when the call was made")
	}
	if figures, err = stock.ParseValue(result.GetValue()); err != nil {
		return nil, false, fmt.Errorf("the answer cannot be read: %w", err)
	}
	return figures, false, nil
}

// refused says how a question ended that has no answer.
func refused(result *dispatchv1.Result) error {
	cause := result.GetCause()
	return fmt.Errorf("%s ended as %s: %s (status %d): %s", result.GetOperation(), result.GetOutcome(), cause.GetCode(), cause.GetStatus(), cause.GetDetail())
}

// sightings are what the places of a pool said last about their open orders.
type sightings struct {
	committed map[v1alpha1.StockChannel]map[string]int64
	// sold are the sightings of each connector, by SKU, over its places.
	sold map[string]map[string]sighting
}

// sighting is what a connector counts, against what the engine knew.
type sighting struct {
	counted int64
	// unseen is what was counted and not known when the answer was looked at.
	unseen int64
	// known is the most that was known since before the connector was asked: an
	// order that is fulfilled after the answer has not become unseen.
	known int64
}

func newSightings() sightings {
	return sightings{committed: map[v1alpha1.StockChannel]map[string]int64{}, sold: map[string]map[string]sighting{}}
}

// see takes in what a place said. known is Ledger.Open of its connector as of
// before it was asked, open as of now.
func (s sightings) see(place v1alpha1.StockChannel, figures []stock.Figure, known, open map[string]int64) {
	for _, f := range figures {
		if f.Committed == nil {
			continue
		}
		if s.committed[place] == nil {
			s.committed[place] = map[string]int64{}
		}
		if s.sold[place.Connector] == nil {
			s.sold[place.Connector] = map[string]sighting{}
		}
		s.committed[place][f.SKU] = *f.Committed
		counted := int64(0)
		for other, committed := range s.committed {
			if other.Connector == place.Connector {
				counted += committed[f.SKU]
			}
		}
		s.sold[place.Connector][f.SKU] = sighting{
			counted: counted, unseen: allocation.Unseen(counted, open[f.SKU]), known: max(known[f.SKU], open[f.SKU]),
		}
	}
}

// unseen returns the units that the connectors sold and the engine has not heard
// of: at most so many, and at least. open is Ledger.Open by connector and SKU.
func (s sightings) unseen(sku string, open map[string]map[string]int64) (most, least int64) {
	for connector, skus := range s.sold {
		sight, ok := skus[sku]
		if !ok {
			continue
		}
		sight.known = max(sight.known, open[connector][sku])
		skus[sku] = sight
		most += sight.unseen
		least += min(sight.unseen, allocation.Unseen(sight.counted, sight.known))
	}
	return most, least
}
