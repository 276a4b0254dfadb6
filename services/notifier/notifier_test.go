package notifier

import (
	"testing"
)

func TestOneTextForEachHoldAndRecipient(t *testing.T) {
	w := newWorld(t, policy("operations", boss, deputy), policy("nights", boss))
	w.start(nil)
	w.dispatch()
	w.hold("1500")
	w.settled(2)
	told := map[string]string{}
	for _, s := range w.texts() {
		told[s.to()] = s.body()
	}
	const want = "Order #1500 is held: wms refused it: configuration 'CFG-X9' is not known. It waits in the Error Hold; all others go on."
	if len(told) != 2 || told[boss] != want || told[deputy] != want {
		t.Errorf("told %q", told)
	}
}
