package twilio_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/peppasync/peppasync/test/sim/account"
	"github.com/peppasync/peppasync/test/sim/jsontime"
	"github.com/peppasync/peppasync/test/sim/twilio"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const base = "/2010-04-01/Accounts/" + twilio.DefaultAccountSID

func newAccount(t *testing.T, cfg twilio.Config) *twilio.Account {
	t.Helper()
	a, err := twilio.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a
}

func do(a *twilio.Account, method, path string, form url.Values) (int, map[string]any) {
	r := httptest.NewRequest(method, path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth(twilio.DefaultAccountSID, twilio.DefaultAuthToken)
	w := httptest.NewRecorder()
	a.ServeHTTP(w, r)
	var answer map[string]any
	if json.Unmarshal(w.Body.Bytes(), &answer) != nil {
		return w.Code, nil
	}
	return w.Code, answer
}

func text(to, body string) url.Values {
	return url.Values{"To": {to}, "From": {"+15550000001"}, "Body": {body}}
}

func TestTextsAreTakenAndListedNewestFirst(t *testing.T) {
	a := newAccount(t, twilio.Config{})
	var first map[string]any
	for i, body := range []string{"order #500 is held", "second", strings.Repeat("é", 161)} {
		to := "+15551234567"
		if i == 1 {
			to = "+15559999999"
		}
		status, answer := do(a, http.MethodPost, base+"/Messages.json", text(to, body))
		if status != http.StatusCreated || answer["status"] != "queued" || answer["body"] != body || len(answer["sid"].(string)) != 34 || answer["error_code"] != nil {
			t.Errorf("%d %v", status, answer)
		}
		if i == 0 {
			first = answer
		}
	}
	status, answer := do(a, http.MethodGet, base+"/Messages.json?To=%2B15551234567", nil)
	messages := answer["messages"].([]any)
	if status != http.StatusOK || len(messages) != 2 {
		t.Fatalf("%d %v", status, answer)
	}
	newest, oldest := messages[0].(map[string]any), messages[1].(map[string]any)
	if oldest["sid"] != first["sid"] || newest["num_segments"] != "2" || newest["sid"] == first["sid"] {
		t.Errorf("list %v", messages)
	}
	if texts := a.Report().Texts; len(texts) != 3 || texts[0].Body != "order #500 is held" || texts[1].To != "+15559999999" {
		t.Errorf("texts %+v", texts)
	}
}

func TestRefusalsHaveTwiliosCodes(t *testing.T) {
	a := newAccount(t, twilio.Config{OptedOut: []string{"+15551110000"}})
	for code, form := range map[float64]url.Values{
		21211: text("555", "x"), 21604: text("", "x"), 21602: text("+15551234567", ""), 21610: text("+15551110000", "x"),
		21617: text("+15551234567", strings.Repeat("x", 1601)), 21603: {"To": {"+15551234567"}, "Body": {"x"}},
	} {
		status, answer := do(a, http.MethodPost, base+"/Messages.json", form)
		if status != http.StatusBadRequest || answer["code"] != code || answer["status"] != 400.0 || answer["message"] == "" {
			t.Errorf("%v: %d %v", code, status, answer)
		}
	}
	if r := a.Report(); len(r.Texts) != 0 || r.Refused["21211"] != 1 {
		t.Errorf("report %+v", r)
	}
	r := httptest.NewRequest(http.MethodGet, base+".json", nil)
	r.SetBasicAuth(twilio.DefaultAccountSID, "wrong")
	w := httptest.NewRecorder()
	a.ServeHTTP(w, r)
	if w.Code != http.StatusUnauthorized || !strings.Contains(w.Body.String(), "20003") {
		t.Errorf("wrong token = %d %s", w.Code, w.Body)
	}
	if status, answer := do(a, http.MethodGet, base+"/Calls.json", nil); status != http.StatusNotFound || answer["code"] != 20404.0 {
		t.Errorf("other resource = %d %v", status, answer)
	}
}

func TestProbeAndLimit(t *testing.T) {
	a := newAccount(t, twilio.Config{Config: account.Config{Limits: []account.Window{{Name: "s", Calls: 1, Per: jsontime.Duration(time.Hour)}}}})
	if status, answer := do(a, http.MethodGet, base+".json", nil); status != http.StatusOK || answer["status"] != "active" {
		t.Errorf("probe = %d %v", status, answer)
	}
	if status, answer := do(a, http.MethodPost, base+"/Messages.json", text("+15551234567", "x")); status != 429 || answer["code"] != 20429.0 {
		t.Errorf("over the limit = %d %v", status, answer)
	}
	if r := a.Report(); len(r.Texts) != 0 || r.Throttled != 1 {
		t.Errorf("report %+v", r)
	}
}

func TestListsAreFilteredAndPaged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAccount(t, twilio.Config{QueuedFor: jsontime.Duration(10 * time.Second)})
		for i := range 5 {
			if status, _ := do(a, http.MethodPost, base+"/Messages.json", text("+15551234567", fmt.Sprint("text ", i))); status != http.StatusCreated {
				t.Fatalf("text %d = %d", i, status)
			}
			time.Sleep(time.Second)
		}
		list := func(query string) (bodies []any, next any) {
			t.Helper()
			status, answer := do(a, http.MethodGet, base+"/Messages.json?"+query, nil)
			if status != http.StatusOK {
				t.Fatalf("%s = %d %v", query, status, answer)
			}
			for _, m := range answer["messages"].([]any) {
				bodies = append(bodies, m.(map[string]any)["body"])
			}
			return bodies, answer["next_page_uri"]
		}
		bodies, next := list("PageSize=2&To=%2B15551234567")
		if len(bodies) != 2 || bodies[0] != "text 4" || next == nil {
			t.Errorf("first page %v, next %v", bodies, next)
		}
		rest, next := list("PageSize=3&Page=1")
		if len(rest) != 2 || rest[1] != "text 0" || next != nil {
			t.Errorf("second page %v, next %v", rest, next)
		}
		today, tomorrow := time.Now().UTC().Format(time.DateOnly), time.Now().UTC().AddDate(0, 0, 1).Format(time.DateOnly)
		count := func(query string) int { bodies, _ := list(query); return len(bodies) }
		if n := count("DateSent%3E=" + today); n != 0 {
			t.Errorf("%d texts were sent while all of them are queued", n)
		}
		time.Sleep(7 * time.Second) // the first three are sent
		for query, want := range map[string]int{
			"": 5, "DateSent=" + today: 3, "DateSent%3E=" + today: 3, "DateSent%3C=" + today: 3, "DateSent%3E=" + tomorrow: 0,
			"To=%2B15550000000": 0, "From=%2B15550000001": 5, "From=%2B15550000009": 0,
		} {
			if n := count(query); n != want {
				t.Errorf("%q lists %d, want %d", query, n, want)
			}
		}
		for _, query := range []string{"PageSize=x", "Page=-1", "DateSent=yesterday"} {
			if status, _ := do(a, http.MethodGet, base+"/Messages.json?"+query, nil); status != http.StatusBadRequest {
				t.Errorf("%s = %d", query, status)
			}
		}
	})
}

func TestDuplicatesAreCounted(t *testing.T) {
	a := newAccount(t, twilio.Config{})
	for _, form := range []url.Values{text("+15551234567", "x"), text("+15551234567", "x"), text("+15551234568", "x"), text("+15551234567", "y")} {
		do(a, http.MethodPost, base+"/Messages.json", form)
	}
	if r := a.Report(); r.DuplicateTexts != 1 || len(r.Texts) != 4 {
		t.Errorf("%d duplicates of %d texts, want 1 of 4", r.DuplicateTexts, len(r.Texts))
	}
}
