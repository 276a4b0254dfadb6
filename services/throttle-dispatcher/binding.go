package throttledispatcher

import (
	"bytes"

	"google.golang.org/protobuf/proto"

	"github.com/peppasync/peppasync/services/connectors"
)

// unbind gives up the claim of a delivery whose newest attempt is over and on
// record as such. An attempt that had no effect for certain binds nothing: condition,
// mapping and revision are asked again at the next one, which may be hours later, and
// by then the order may be cancelled. After an attempt whose outcome is unknown the
// claim stays, until a look-up has settled it: its effect may be there, and anything
// else would be a second one.
func (j *job) unbind() {
	if j.claim == nil || !j.doubt.ArrivedBy().IsZero() {
		return
	}
	j.givenUp, j.claim, j.call = j.claim, nil, connectors.Call{}
}

// renew counts a payload that differs from the one given up, which needs an
// idempotency key of its own.
func (j *job) renew(p prepared) prepared {
	if p.claim == nil || j.givenUp == nil {
		return p
	}
	p.claim.Delivery = j.givenUp.GetDelivery()
	if !bytes.Equal(p.claim.GetPayload(), j.givenUp.GetPayload()) {
		p.claim.Delivery = proto.CloneOf(p.claim.GetDelivery())
		p.claim.Delivery.Renewals++
	}
	p.call = recalled(p.claim)
	return p
}
