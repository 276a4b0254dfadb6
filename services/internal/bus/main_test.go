package bus_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/peppasync/peppasync/services/internal/bus/bustest"
)

func TestMain(m *testing.M) {
	bustest.RunNode()
	goleak.VerifyTestMain(m)
}
