// Package twilio simulates the Messages resource of Twilio's REST API: it takes texts, lists them, and forgets nothing.
package twilio

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/peppasync/peppasync/test/sim/account"
	"github.com/peppasync/peppasync/test/sim/jsontime"
)

// The credentials of an account that declares none.
const (
	DefaultAccountSID = "AC00000000000000000000000000000001"
	DefaultAuthToken  = "twilio-token"
)

// bodyMax is the longest Body that Twilio takes, in characters.
const bodyMax = 1600

// Config describes the account.
type Config struct {
	account.Config
	AccountSID string `json:"accountSID,omitempty"`
	AuthToken  string `json:"authToken,omitempty"`
	// QueuedFor is how long a text waits in Twilio's own queue; until then it has no date_sent. 1s if it is not given.
	QueuedFor jsontime.Duration `json:"queuedFor,omitempty"`
	// OptedOut are numbers whose owners replied STOP: texts to them are refused with 21610.
	OptedOut []string `json:"optedOut,omitempty"`
}

// Text is a text that was accepted.
type Text struct {
	SID  string    `json:"sid"`
	To   string    `json:"to"`
	From string    `json:"from"`
	Body string    `json:"body"`
	At   time.Time `json:"at"`
}

// Account is the simulated account. It is an http.Handler through its embedded Front.
type Account struct {
	*account.Front
	cfg Config

	mu      sync.Mutex
	texts   []Text
	refused map[string]int
}

// New returns an account, or an error that names what is wrong in the configuration.
func New(cfg Config) (*Account, error) {
	if cfg.AccountSID == "" {
		cfg.AccountSID = DefaultAccountSID
	}
	if cfg.AuthToken == "" {
		cfg.AuthToken = DefaultAuthToken
	}
	if cfg.QueuedFor == 0 {
		cfg.QueuedFor = jsontime.Duration(time.Second)
	}
	a := &Account{cfg: cfg, refused: make(map[string]int)}
	front, err := account.New(a, cfg.Config)
	if err != nil {
		return nil, fmt.Errorf("twilio: %w", err)
	}
	a.Front = front
	return a, nil
}

// The operations that arrivals, reports and fault rules name.
const (
	OpSend    = "message.create"
	OpList    = "message.list"
	OpAccount = "account.read"
	OpOther   = "other"
)

func (a *Account) path() string { return "/2010-04-01/Accounts/" + a.cfg.AccountSID }

// Classify names the operation; the key of a text is the number it goes to.
func (a *Account) Classify(r *http.Request, body []byte) (operation, to string) {
	switch {
	case r.URL.Path == a.path()+"/Messages.json" && r.Method == http.MethodPost:
		form, err := url.ParseQuery(string(body))
		if err != nil {
			return OpSend, ""
		}
		return OpSend, form.Get("To")
	case r.URL.Path == a.path()+"/Messages.json" && r.Method == http.MethodGet:
		return OpList, r.URL.Query().Get("To")
	case r.URL.Path == a.path()+".json" && r.Method == http.MethodGet:
		return OpAccount, ""
	}
	return OpOther, ""
}

// Serve carries out one call.
func (a *Account) Serve(c account.Call, r *http.Request, body []byte) account.Reply {
	user, password, ok := r.BasicAuth()
	if !ok || user != a.cfg.AccountSID || subtle.ConstantTimeCompare([]byte(password), []byte(a.cfg.AuthToken)) != 1 {
		return failure(http.StatusUnauthorized, 20003, "Authenticate")
	}
	switch c.Operation {
	case OpSend:
		return a.send(body)
	case OpList:
		return a.list(r)
	case OpAccount:
		return account.JSON(http.StatusOK, "application/json", map[string]string{
			"sid": a.cfg.AccountSID, "status": "active", "type": "Full", "friendly_name": "simulated", "uri": a.path() + ".json",
		})
	}
	return failure(http.StatusNotFound, 20404, "The requested resource "+r.URL.Path+" was not found")
}

var e164 = regexp.MustCompile(`^\+[1-9]\d{6,14}$`)

func (a *Account) send(body []byte) account.Reply {
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return failure(http.StatusBadRequest, 20001, "The form could not be read")
	}
	to, from, text := form.Get("To"), form.Get("From"), form.Get("Body")
	if from == "" {
		from = form.Get("MessagingServiceSid")
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case to == "":
		return a.refuse(21604, "A 'To' phone number is required.")
	case !e164.MatchString(to):
		return a.refuse(21211, "Invalid 'To' Phone Number: "+to)
	case from == "":
		return a.refuse(21603, "A 'From' phone number is required.")
	case text == "":
		return a.refuse(21602, "Message body is required.")
	case utf8.RuneCountInString(text) > bodyMax:
		return a.refuse(21617, "The concatenated message body exceeds the 1600 character limit")
	case slices.Contains(a.cfg.OptedOut, to):
		return a.refuse(21610, "Attempt to send to unsubscribed recipient")
	}
	message := Text{SID: sid(len(a.texts), to, text), To: to, From: from, Body: text, At: time.Now()}
	a.texts = append(a.texts, message)
	reply := account.JSON(http.StatusCreated, "application/json", a.document(message, message.At))
	reply.Write = true
	return reply
}

// refuse needs the lock.
func (a *Account) refuse(code int, message string) account.Reply {
	a.refused[strconv.Itoa(code)]++
	return failure(http.StatusBadRequest, code, message)
}

// sid makes the 34 characters of a message SID, unique per account.
func sid(n int, to, body string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d\x00%s\x00%s", n, to, body))
	return "SM" + hex.EncodeToString(sum[:16])
}

// document is a text as it is read at now.
func (a *Account) document(m Text, now time.Time) map[string]any {
	status, sent := "queued", any(nil)
	if at, ok := a.sent(m, now); ok {
		status, sent = "delivered", at.UTC().Format(time.RFC1123Z)
	}
	return map[string]any{
		"sid": m.SID, "account_sid": a.cfg.AccountSID, "api_version": "2010-04-01", "body": m.Body, "to": m.To, "from": m.From,
		"status": status, "direction": "outbound-api", "num_segments": strconv.Itoa(1 + (utf8.RuneCountInString(m.Body)-1)/160),
		"num_media": "0", "error_code": nil, "error_message": nil, "price": nil, "price_unit": "USD", "messaging_service_sid": nil,
		"date_created": m.At.UTC().Format(time.RFC1123Z), "date_updated": m.At.UTC().Format(time.RFC1123Z), "date_sent": sent,
		"uri": a.path() + "/Messages/" + m.SID + ".json",
	}
}

// Refuse returns Twilio's form of a refusal.
func (a *Account) Refuse(reason account.Reason) account.Reply {
	switch reason {
	case account.InMaintenance, account.InjectedUnavailable:
		return failure(http.StatusServiceUnavailable, 20503, "Service Unavailable")
	case account.InjectedServerError:
		return failure(http.StatusInternalServerError, 20500, "Internal Server Error")
	default:
		return failure(http.StatusTooManyRequests, 20429, "Too Many Requests")
	}
}

func failure(status, code int, message string) account.Reply {
	return account.JSON(status, "application/json", map[string]any{
		"code": code, "message": message, "status": status, "more_info": "https://www.twilio.com/docs/errors/" + strconv.Itoa(code),
	})
}

// Report is what the account took.
type Report struct {
	account.Report
	Texts []Text `json:"texts"`
	// DuplicateTexts counts texts beyond the first with the same words to the same number. An engine may have meant to send
	// them all.
	DuplicateTexts int `json:"duplicateTexts"`
	// Refused counts refused texts by Twilio's error code.
	Refused map[string]int `json:"refused,omitempty"`
}

// Report returns the state of the account now.
func (a *Account) Report() Report {
	r := Report{Report: a.Front.Report(), Refused: make(map[string]int)}
	a.mu.Lock()
	defer a.mu.Unlock()
	r.Texts = append([]Text{}, a.texts...)
	maps.Copy(r.Refused, a.refused)
	seen := make(map[[2]string]bool)
	for _, text := range r.Texts {
		if words := [2]string{text.To, text.Body}; seen[words] {
			r.DuplicateTexts++
		} else {
			seen[words] = true
		}
	}
	return r
}
