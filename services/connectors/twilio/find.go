package twilio

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/reply"
	"github.com/peppasync/peppasync/services/internal/fault"
)

const (
	// pageSize is the largest page of a list.
	pageSize = 1000
	// clocksApart is by how much Twilio's clock may be behind, and more: a message
	// with the same words to the same number within it is as good as this one.
	clocksApart = time.Minute
)

// Find lists the messages to the recipient, newest first. Not by date: that
// filter is on the time of sending, which a message that waits in Twilio's queue
// does not have yet.
func (Twilio) Find(spec *v1alpha1.ConnectorSpec, lookup connectors.Lookup) (connectors.Request, bool) {
	to, body := text(lookup.Call)
	if lookup.Call.Operation != connectors.OperationSendMessage || spec.Twilio == nil || to == "" || body == "" {
		return connectors.Request{}, false
	}
	query := url.Values{"To": {to}, "From": {spec.Twilio.From}, "PageSize": {strconv.Itoa(pageSize)}}
	return connectors.Request{
		Method: http.MethodGet,
		Path:   accountPath(spec) + "/Messages.json?" + query.Encode(),
		Header: http.Header{"Accept": {"application/json"}},
	}, true
}

// messageList is a page of the Messages resource.
type messageList struct {
	Messages []struct {
		SID         string `json:"sid"`
		To          string `json:"to"`
		Body        string `json:"body"`
		DateCreated string `json:"date_created"`
	} `json:"messages"`
	NextPageURI *string `json:"next_page_uri"`
}

// ReadFound compares the texts of what was made since then. A page that is not
// the last one proves that there is none only if it reaches back before that.
func (Twilio) ReadFound(_ *v1alpha1.ConnectorSpec, lookup connectors.Lookup, r connectors.Reply) connectors.Finding {
	if verdict, missing := reply.Missing(r); missing {
		return connectors.Finding{Answer: connectors.Answer{Verdict: verdict}}
	}
	verdict := reply.ByStatus(r, connectors.EffectNone)
	if verdict.Class != fault.OK {
		return connectors.Finding{Answer: connectors.Answer{Verdict: byCode(verdict, r)}}
	}
	var list messageList
	if err := json.Unmarshal(r.Body, &list); err != nil || r.Err != nil || list.Messages == nil {
		return connectors.Finding{Answer: reply.Unreadable(r, "a look-up's reply that is no whole list of messages: "+reply.Excerpt(r.Header, r.Body))}
	}
	to, body := text(lookup.Call)
	since := lookup.Since.Add(-clocksApart)
	whole := list.NextPageURI == nil || *list.NextPageURI == ""
	for _, message := range list.Messages {
		created, err := time.Parse(time.RFC1123Z, message.DateCreated)
		switch {
		case err != nil:
			return connectors.Finding{Answer: reply.Unreadable(r, "a message with the date "+message.DateCreated)}
		case created.Before(since):
			whole = true
		case message.To == to && sameWords(message.Body, body):
			answer := reply.Told(r)
			answer.Reference = reply.Shorten(message.SID)
			return connectors.Finding{Answer: answer, Presence: connectors.Present}
		}
	}
	if !whole {
		return connectors.Finding{Answer: reply.Unreadable(r, "more messages to this number than one page lists")}
	}
	return connectors.Finding{Answer: reply.Told(r), Presence: connectors.Absent}
}

// trialPrefix is what Twilio puts before the texts of accounts on trial.
const trialPrefix = "Sent from your Twilio trial account - "

func sameWords(made, wanted string) bool {
	return strings.TrimSpace(strings.TrimPrefix(made, trialPrefix)) == strings.TrimSpace(wanted)
}
