// Package message says what a person is told of a hold, whom it concerns, and
// under which name that is sent. It is pure: values in, values out.
package message

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"time"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	"github.com/peppasync/peppasync/services/connectors"
)

// eventRequester is the role that holds events of orders, not calls.
const eventRequester = "logic-gate"

// Kind is what a hold is about.
type Kind int

const (
	// KindOrder: an order, or an event that should have become one.
	KindOrder Kind = iota
	// KindMessage: a message to a person. Nobody is told of it by another one.
	KindMessage
	// KindRefused: a message that the throttle-dispatcher refused. Who sends one can send
	// a million, so that of all of a day one text tells.
	KindRefused
	// KindSource: what a source of orders refuses, until it does no more.
	KindSource
	// KindOther: no order, such as a read of stock, which its requester asks
	// again within seconds.
	KindOther
)

// KindOf returns what a hold is about; requester is the role that sends texts.
func KindOf(hold *dispatchv1.Hold, requester string) Kind {
	d := hold.GetDelivery()
	switch {
	case hold.GetRefused() != nil:
		return KindRefused
	case d.GetOperation() == connectors.OperationSendMessage || d.GetRequester() == requester:
		return KindMessage
	case d.GetKey() == connectors.KeyOfSources:
		if connectors.IsRefusal(hold) {
			return KindSource
		}
		return KindOther // a single try, which an earlier build has held
	case d.GetOrderStep() != nil || d.GetRequester() == eventRequester:
		return KindOrder
	default:
		return KindOther
	}
}

// ID returns the delivery id of the text to one recipient about one hold. It is
// the same on every repetition, and another one where the same delivery is held
// again after it was released. A hold is known by its subject and the moment
// it was made, not by its sequence: a dispatcher that dies between the hold and
// its result publishes it again, by then perhaps behind a release. The sequence
// stands in where the moment is missing. Policy and connector are left out on
// purpose: whoever is named by two policies, or by one that is edited at the
// wrong moment, is told once. Of messages that were refused all of one day, by UTC,
// have the same, whatever their connectors.
func ID(subject string, sequence uint64, hold *dispatchv1.Hold, recipient string) string {
	moment := "sequence " + strconv.FormatUint(sequence, 10)
	if at := hold.GetHeldAt(); at.IsValid() {
		moment = at.AsTime().Format(time.RFC3339Nano)
	}
	if hold.GetRefused() != nil {
		subject, moment = "refused messages", hold.GetHeldAt().AsTime().Format(time.DateOnly)
	}
	h := sha256.New()
	for _, part := range []string{subject, moment, recipient} {
		// The length before each part: no two lists of parts give the same bytes.
		h.Write([]byte(strconv.Itoa(len(part)) + ":" + part))
	}
	return "text-" + hex.EncodeToString(h.Sum(nil)[:16])
}
