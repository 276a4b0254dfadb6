package bustest

import (
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// Refusal returns the error of a publish that a replicated stream refuses while an
// earlier write to the subject waits for its quorum.
func Refusal(subject string) error {
	return fmt.Errorf("bus: publish on %s: %w", subject, &jetstream.APIError{
		Code: 400, ErrorCode: 10164, Description: "wrong last sequence",
	})
}
