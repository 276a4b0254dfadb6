package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"
)

// ErrNotFound: there is no such record, bucket or stream. Test with errors.Is.
var ErrNotFound = errors.New("not found")

// errDisconnected: the connection went away while a reply was awaited. What
// was asked may have been done.
var errDisconnected = errors.New("connection lost before the reply came; the outcome is unknown")

// Codes that nats.go has no name for, from nats-server's server/errors.json.
const (
	codeNoPeers                   jetstream.ErrorCode = 10005
	codeClusterNotAvailable       jetstream.ErrorCode = 10008
	codeInsufficientResources     jetstream.ErrorCode = 10023
	codeStorageExceeded           jetstream.ErrorCode = 10047
	codeStreamStoreFailed         jetstream.ErrorCode = 10077
	codeTTLDisabled               jetstream.ErrorCode = 10166
	codeLastSequenceNotReady      jetstream.ErrorCode = 10163
	codeWrongLastSequenceConstant jetstream.ErrorCode = 10164
)

// errInProcess: what another write to the subject comes to is not decided yet.
var errInProcess = errors.New("an earlier write to this subject is still in process; whether it will be stored is not known")

// IsConflict reports whether a compare-and-set found another sequence than
// expected, or a batch held an id that is already there. This write is not
// stored. That does not say that another one is: a replicated stream answers
// 10164 also while an earlier write to the subject waits for its quorum, and that
// one may still come to nothing; and for a moment after that one's
// acknowledgment. Mostly it is the same write, tried before with its answer lost.
// So the caller reads before it decides: a newer record is there,
// or the same write is to be tried again; Instead does that.
func IsConflict(err error) bool {
	return hasCode(err, jetstream.JSErrCodeStreamWrongLastSequence, codeWrongLastSequenceConstant,
		codeLastSequenceNotReady, jetstreamext.JSErrCodeBatchPublishDuplicateMsgID)
}

// IsFull reports whether the stream or the server has no room left: nothing was
// written, and it passes only when room is made.
func IsFull(err error) bool {
	return hasCode(err, codeStreamStoreFailed, codeInsufficientResources, codeStorageExceeded)
}

// IsTTLRefused reports whether the stream takes no message with a TTL, as one does that an
// older Apply has made: nothing was written.
func IsTTLRefused(err error) bool { return hasCode(err, codeTTLDisabled) }

// IsUnavailable reports whether the bus did not answer, or asked to come back
// later. What was asked may have been done all the same; asking again is right,
// where it is guarded by an id or a compare-and-set.
func IsUnavailable(err error) bool {
	for _, target := range []error{
		context.DeadlineExceeded, errDisconnected, errInProcess, jetstream.ErrNoStreamResponse, jetstream.ErrJetStreamNotEnabled,
		jetstream.ErrNoHeartbeat, jetstream.ErrConsumerLeadershipChanged, jetstream.ErrServerShutdown,
		nats.ErrTimeout, nats.ErrNoResponders, nats.ErrDisconnected, nats.ErrConnectionClosed, nats.ErrConnectionDraining,
		nats.ErrConnectionReconnecting, nats.ErrReconnectBufExceeded, nats.ErrNoServers, nats.ErrStaleConnection,
	} {
		if errors.Is(err, target) {
			return true
		}
	}
	return hasCode(err, codeClusterNotAvailable, jetstream.JSErrCodeJetStreamNotEnabled,
		jetstreamext.JSErrCodeBatchPublishIncomplete, jetstreamext.JSErrCodeAtomicPublishTooManyInflight,
		jetstreamext.JSErrCodeBatchPublishTooManyInflight)
}

func hasCode(err error, codes ...jetstream.ErrorCode) bool {
	var coded jetstream.JetStreamError
	if !errors.As(err, &coded) {
		return false
	}
	api := coded.APIError()
	if api == nil {
		return false
	}
	return slices.Contains(codes, api.ErrorCode)
}

// describe wraps err with what was tried, and turns the library's several ways
// of saying "not there" into ErrNotFound.
func describe(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	what := fmt.Sprintf(format, args...)
	if errors.Is(err, jetstream.ErrMsgNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) ||
		errors.Is(err, jetstream.ErrConsumerNotFound) {
		return fmt.Errorf("bus: %s: %w (%w)", what, ErrNotFound, err)
	}
	return fmt.Errorf("bus: %s: %w", what, err)
}
