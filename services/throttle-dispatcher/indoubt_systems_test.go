package throttledispatcher_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	throttledispatcher "github.com/peppasync/peppasync/services/throttle-dispatcher"
)

// keys is a resolver with one secret for everybody.
type keys map[string]string

// Secret is part of secrets.Resolver.
func (k keys) Secret(context.Context, string) (map[string]string, error) { return k, nil }

// texts is a text service as Twilio's: every POST makes a text.
type texts struct {
	t       *testing.T
	account *account
	// cut says whether the connection is cut, and whether the text is made.
	cut func() (cut, made bool)

	mu    sync.Mutex
	made  []map[string]any
	lists int
}

const accountSID = "AC00000000000000000000000000000001"

// sendTexts makes the world's connector one of Twilio.
func (w *world) sendTexts(t *testing.T, horizon time.Duration) *texts {
	t.Helper()
	s := &texts{t: t, account: w.account, cut: func() (bool, bool) { return false, true }}
	w.secrets = keys{"authToken": "token"}
	w.catalog.respec(func(spec *v1alpha1.ConnectorSpec) {
		brief(spec)
		spec.System, spec.HTTP = v1alpha1.SystemTwilio, nil
		spec.Auth = &v1alpha1.Authentication{SecretRef: v1alpha1.SecretReference{Name: "texts"}}
		spec.Twilio = &v1alpha1.TwilioSettings{AccountSID: accountSID, From: "+15550100001"}
		spec.CommitHorizon = &metav1.Duration{Duration: horizon}
	})
	w.account.answer(s.serve)
	return s
}

func (s *texts) serve(w http.ResponseWriter, r *http.Request, body string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.URL.Path != "/2010-04-01/Accounts/"+accountSID+"/Messages.json" {
		return http.StatusOK // the probe
	}
	if r.Method == http.MethodGet {
		s.lists++
		found := []map[string]any{}
		for _, text := range s.made {
			if text["to"] == r.URL.Query().Get("To") {
				found = append(found, text)
			}
		}
		if err := json.NewEncoder(w).Encode(map[string]any{"messages": found, "next_page_uri": nil}); err != nil {
			s.t.Error(err)
		}
		return http.StatusOK
	}
	form, err := url.ParseQuery(body)
	if err != nil {
		s.t.Error(err)
	}
	cut, made := s.cut()
	sid := fmt.Sprint("SM", len(s.made))
	if made {
		s.made = append(s.made, map[string]any{
			"sid": sid, "to": form.Get("To"), "body": form.Get("Body"), "status": "queued", "date_sent": nil,
			"date_created": time.Now().UTC().Format(time.RFC1123Z),
		})
	}
	if cut {
		s.account.arrivals = append(s.account.arrivals, arrival{at: time.Now(), method: r.Method, path: r.URL.Path})
		panic(http.ErrAbortHandler)
	}
	_, _ = io.WriteString(w, `{"sid":"`+sid+`"}`)
	return http.StatusCreated
}

// count returns how often a text was made.
func (s *texts) count(body string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, text := range s.made {
		if text["body"] == body {
			n++
		}
	}
	return n
}

// text asks for a text.
func (w *world) text(id, body string) *dispatchv1.Delivery {
	w.t.Helper()
	d := &dispatchv1.Delivery{
		Id: id, Connector: "wms", Lane: "express", Key: id, Operation: connectors.OperationSendMessage, Requester: "test", CreatedAt: timestamppb.Now(),
		Content: &dispatchv1.Delivery_Arguments{Arguments: &structpb.Struct{Fields: map[string]*structpb.Value{
			"to": structpb.NewStringValue("+15550100002"), "body": structpb.NewStringValue(body),
		}}},
	}
	w.ask(d)
	return d
}

// A dispatcher that is killed while a text is on its way, or between the text and
// its record, is followed by one that sends it exactly once. No person is asked.
func TestATextKilledInMidCallIsSentOnce(t *testing.T) {
	t.Parallel()
	for name, made := range map[string]bool{"it was made": true, "it was not": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 20, time.Second)
			s := w.sendTexts(t, time.Second)
			first := true
			s.cut = func() (bool, bool) {
				if first {
					first = false
					return true, made
				}
				return false, true
			}
			reached, silent := make(chan struct{}, 10), make(chan struct{})
			w.account.hold(func() {
				reached <- struct{}{}
				<-silent
			})
			const body = "Order #500 is held: configuration 'CFG-X' is not known"
			d := w.text("hold-500", body)
			killer := deadlyAfter(1000)
			kill := w.start(killer.before(), throttledispatcher.Abrupt)
			<-reached
			killer.die()
			kill()
			w.account.hold(nil)
			close(silent)
			w.eventually("the first call is at its end", func() bool { return len(w.account.seen()) == 1 })
			w.start()
			w.delivered(1)
			w.allAcknowledged(d)
			if n := s.count(body); n != 1 {
				t.Errorf("%d texts, want one", n)
			}
		})
	}
}

// Killed after any of its writes, with every other call cut, dispatchers one after
// the other send every text exactly once.
func TestTextsAreSentOnceThroughKillsAndCuts(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random, dice := rand.New(rand.NewPCG(seed, 1)), rand.New(rand.NewPCG(seed, 2))
	const limit, per, number, lives = 20, time.Second, 20, 3
	w := newWorld(t, limit, per)
	s := w.sendTexts(t, time.Second)
	s.cut = func() (bool, bool) { cut := dice.IntN(3) == 0; return cut, !cut || dice.IntN(2) == 0 }
	w.account.setDelay(20 * time.Millisecond)
	var all []*dispatchv1.Delivery
	for i := range number {
		all = append(all, w.text(fmt.Sprint("hold-", i), fmt.Sprintf("Order #%d is held", i)))
	}
	for range lives {
		killer := deadlyAfter(2 + random.IntN(30))
		kill := w.start(killer.before(), throttledispatcher.Abrupt)
		select {
		case <-killer.died:
		case <-time.After(5 * time.Second):
		}
		kill()
	}
	w.start()
	w.delivered(number)
	w.allAcknowledged(all...)
	for i := range number {
		if n := s.count(fmt.Sprintf("Order #%d is held", i)); n != 1 {
			t.Errorf("text %d was made %d times", i, n)
		}
	}
	w.account.within(t, limit, per)
	t.Logf("%d calls, %d of them look-ups", len(w.account.seen()), s.lists)
}

// NetSuite refuses an upsert because another request for the same external id was
// faster: an earlier one of this call, most likely. It is believed when the order
// is there.
func TestWhatIsSaidToBeThereIsLookedUp(t *testing.T) {
	t.Parallel()
	for name, there := range map[string]bool{"it is": true, "it is not": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 20, time.Second)
			w.secrets = keys{"accessToken": "token"}
			w.catalog.respec(func(spec *v1alpha1.ConnectorSpec) {
				brief(spec)
				spec.System, spec.HTTP = v1alpha1.SystemNetSuite, nil
				spec.Auth = &v1alpha1.Authentication{SecretRef: v1alpha1.SecretReference{Name: "erp"}}
				spec.CommitHorizon = &metav1.Duration{Duration: time.Second}
			})
			puts := 0
			w.account.answer(func(rw http.ResponseWriter, r *http.Request, _ string) int {
				write := func(status int, body string) int {
					_, _ = io.WriteString(rw, body)
					return status
				}
				switch {
				case r.Method == http.MethodPut && puts == 0:
					puts++
					return write(http.StatusBadRequest, `{"o:errorDetails":[{"detail":"This record already exists","o:errorCode":"USER_ERROR"}]}`)
				case r.Method == http.MethodPut:
					puts++
					rw.Header().Set("Location", "/services/rest/record/v1/salesOrder/882")
					return http.StatusNoContent
				case !there:
					return write(http.StatusNotFound, `{"o:errorDetails":[{"detail":"The record instance does not exist.","o:errorCode":"NONEXISTENT_ID"}]}`)
				}
				return write(http.StatusOK, `{"id":"881","externalId":"shopify-1"}`)
			})
			w.store(1, "")
			d := delivery(1)
			d.Operation = "upsertSalesOrder"
			w.ask(d)
			w.start()
			result := w.results(1)[keyOf(1)]
			want := map[bool]string{true: "881", false: "882"}[there]
			if result.GetOutcome() != dispatchv1.Outcome_OUTCOME_DELIVERED || result.GetReference() != want {
				t.Errorf("%v as %q because of %v, want it delivered as %q", result.GetOutcome(), result.GetReference(), result.GetCause(), want)
			}
			if calls := w.account.seen(); calls[1].method != http.MethodGet || !strings.HasSuffix(calls[1].path, "/salesOrder/eid:shopify-1") {
				t.Errorf("the second call is %s %s, want a look-up", calls[1].method, calls[1].path)
			}
		})
	}
}
