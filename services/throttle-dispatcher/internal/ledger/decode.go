package ledger

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	ledgerv1 "github.com/peppasync/peppasync/proto/peppasync/ledger/v1"
)

// ErrMalformed: a record of the ledger cannot be read or contradicts itself.
// Sending on without it could break a limit, so the owner must not start; the
// error says which record and what is wrong. Test with errors.Is.
var ErrMalformed = errors.New("malformed ledger block")

// Decode reads a record and checks everything that Fold relies on. Any bytes are
// safe to pass.
func Decode(data []byte) (*ledgerv1.Block, error) {
	block := new(ledgerv1.Block)
	if err := proto.Unmarshal(data, block); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if err := check(block); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return block, nil
}

// mostPermits keeps counting up far from overflow.
const mostPermits = 1 << 62

func check(block *ledgerv1.Block) error {
	if block.GetConnector() == "" {
		return errors.New("it names no connector")
	}
	for what, t := range map[string]*timestamppb.Timestamp{
		"written_at": block.GetWrittenAt(), "closed_until": block.GetClosedUntil(), "next_send": block.GetNextSend(),
	} {
		if t != nil && !t.IsValid() {
			return fmt.Errorf("%s %v is not a time", what, t)
		}
	}
	if block.GetWrittenAt() == nil {
		return errors.New("written_at is missing")
	}
	if n := block.GetLastPermit(); n < 0 || n > mostPermits {
		return fmt.Errorf("last_permit is %d, it must not be negative or above %d", n, int64(mostPermits))
	}
	if n := block.GetParallel(); n < 0 {
		return fmt.Errorf("parallel is %d, it must not be less than 0", n)
	}
	for _, l := range block.GetLevels() {
		if l.GetRefill() < 1 || !l.GetPer().IsValid() || l.GetPer().AsDuration() <= 0 || !l.GetDrainedAt().IsValid() || !l.GetAsOf().IsValid() {
			return fmt.Errorf("the level of %q lacks a valid refill, per, drained_at or as_of", l.GetLimit())
		}
	}
	if err := checkPermits(block); err != nil {
		return err
	}
	if err := checkReopenings(block); err != nil {
		return err
	}
	return checkEntries(block)
}

func checkReopenings(block *ledgerv1.Block) error {
	for _, r := range block.GetReopenings() {
		if !r.GetAt().IsValid() || !r.GetClosedUntil().IsValid() {
			return fmt.Errorf("the reopening by %q lacks a valid at or closed_until", r.GetBy())
		}
	}
	return nil
}

func checkPermits(block *ledgerv1.Block) error {
	var last int64
	for _, p := range block.GetPermits() {
		if p.GetNumber() <= last {
			return fmt.Errorf("permit %d follows %d, numbers must count up from 1", p.GetNumber(), last)
		}
		last = p.GetNumber()
		if !p.GetSendAt().IsValid() || !p.GetNotAfter().IsValid() || !p.GetDeadline().IsValid() {
			return fmt.Errorf("permit %d lacks a valid send_at, not_after or deadline", last)
		}
		if p.GetNotAfter().AsTime().Before(p.GetSendAt().AsTime()) || p.GetDeadline().AsTime().Before(p.GetNotAfter().AsTime()) {
			return fmt.Errorf("permit %d: send_at, not_after and deadline are not in this order", last)
		}
		if p.GetCost() < 0 {
			return fmt.Errorf("permit %d: cost is %d, it must not be less than 0", last, p.GetCost())
		}
	}
	if last > block.GetLastPermit() {
		return fmt.Errorf("last_permit is %d, but permit %d is handed out", block.GetLastPermit(), last)
	}
	for _, s := range block.GetSettlements() {
		if s.GetPermit() <= 0 {
			return fmt.Errorf("a settlement names permit %d, numbers start at 1", s.GetPermit())
		}
		if !s.GetVoid() && !s.GetSettledAt().IsValid() {
			return fmt.Errorf("the settlement of permit %d has no valid time", s.GetPermit())
		}
		if s.GetSpent() < 0 {
			return fmt.Errorf("the settlement of permit %d: spent is %d, it must not be less than 0", s.GetPermit(), s.GetSpent())
		}
	}
	return nil
}

func checkEntries(block *ledgerv1.Block) error {
	for i, c := range block.GetClaims() {
		if c.GetDelivery().GetId() == "" {
			return fmt.Errorf("claim %d of the block names no delivery", i)
		}
		for what, t := range map[string]*timestamppb.Timestamp{
			"next_attempt_at": c.GetNextAttemptAt(), "arrived_by": c.GetArrivedBy(), "sent_at": c.GetSentAt(),
		} {
			if t != nil && !t.IsValid() {
				return fmt.Errorf("claim of delivery %q: %s is not a time", c.GetDelivery().GetId(), what)
			}
		}
	}
	for i, c := range block.GetCloses() {
		if c.GetResult().GetDeliveryId() == "" {
			return fmt.Errorf("close %d of the block names no delivery", i)
		}
		if t := c.GetKeyFreeAt(); t != nil && !t.IsValid() {
			return fmt.Errorf("close of delivery %q: key_free_at is not a time", c.GetResult().GetDeliveryId())
		}
	}
	for i, d := range block.GetDeferrals() {
		if d.GetDelivery().GetId() == "" {
			return fmt.Errorf("deferral %d of the block names no delivery", i)
		}
		if t := d.GetNextAttemptAt(); t != nil && !t.IsValid() {
			return fmt.Errorf("deferral of delivery %q: next_attempt_at is not a time", d.GetDelivery().GetId())
		}
	}
	return nil
}
