package twilio

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/peppasync/peppasync/test/sim/account"
)

const (
	defaultPageSize = 50
	maxPageSize     = 1000
)

// sent returns when a text left Twilio's queue, and false while it is in it.
func (a *Account) sent(m Text, now time.Time) (time.Time, bool) {
	at := m.At.Add(a.cfg.QueuedFor.Std())
	return at, !at.After(now)
}

// list is GET .../Messages.json: newest first, filtered by To, From and DateSent, in pages. A filter on DateSent leaves out
// what has not been sent yet.
func (a *Account) list(r *http.Request) account.Reply {
	query := r.URL.Query()
	size, page := defaultPageSize, 0
	for name, into := range map[string]*int{"PageSize": &size, "Page": &page} {
		if text := query.Get(name); text != "" {
			n, err := strconv.Atoi(text)
			if err != nil || n < 0 {
				return failure(http.StatusBadRequest, 20001, "Invalid "+name+": "+text)
			}
			*into = n
		}
	}
	size = min(max(size, 1), maxPageSize)
	passes, err := filter(query)
	if err != nil {
		return failure(http.StatusBadRequest, 20001, err.Error())
	}
	now := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	var found []Text
	for _, m := range slices.Backward(a.texts) {
		at, sent := a.sent(m, now)
		if passes(m, at, sent) {
			found = append(found, m)
		}
	}
	first := min(page*size, len(found))
	last := min(first+size, len(found))
	messages := []map[string]any{}
	for _, m := range found[first:last] {
		messages = append(messages, a.document(m, now))
	}
	var next any
	if last < len(found) {
		query.Set("Page", strconv.Itoa(page+1))
		query.Set("PageSize", strconv.Itoa(size))
		next = r.URL.Path + "?" + query.Encode()
	}
	return account.JSON(http.StatusOK, "application/json", map[string]any{
		"messages": messages, "page": page, "page_size": size, "start": first, "end": max(last-1, 0),
		"uri": strings.TrimSuffix(r.URL.RequestURI(), "?"), "next_page_uri": next,
	})
}

// filter reads To, From, DateSent, DateSent< and DateSent>, whose values are days.
func filter(query url.Values) (func(m Text, at time.Time, sent bool) bool, error) {
	days := make(map[string]string)
	for _, name := range []string{"DateSent", "DateSent<", "DateSent>"} {
		text := query.Get(name)
		if text == "" {
			continue
		}
		if _, err := time.Parse(time.DateOnly, text); err != nil {
			return nil, fmt.Errorf("invalid %s: %s is not a date as YYYY-MM-DD", name, text)
		}
		days[name] = text
	}
	return func(m Text, at time.Time, sent bool) bool {
		if to := query.Get("To"); to != "" && m.To != to {
			return false
		}
		if from := query.Get("From"); from != "" && m.From != from {
			return false
		}
		day := at.UTC().Format(time.DateOnly)
		for name, limit := range days {
			switch {
			case !sent, name == "DateSent" && day != limit, name == "DateSent<" && day > limit, name == "DateSent>" && day < limit:
				return false
			}
		}
		return true
	}, nil
}
