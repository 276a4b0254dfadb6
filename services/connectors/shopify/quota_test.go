package shopify_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/quota"
	"github.com/peppasync/peppasync/services/connectors/shopify"
)

func TestSpent(t *testing.T) {
	tests := map[string]struct {
		body string
		want int64
		ok   bool
	}{
		"what it did cost":   {string(readAccepted), 9, true},
		"a part of a point":  {`{"extensions":{"cost":{"actualQueryCost":9.2}}}`, 10, true},
		"nothing":            {`{"extensions":{"cost":{"actualQueryCost":0}}}`, 0, true},
		"throttled":          {`{"errors":[{"extensions":{"code":"THROTTLED"}}],"extensions":{"cost":{"requestedQueryCost":752,"actualQueryCost":null}}}`, 0, false},
		"nothing is said":    {string(setAccepted), 0, false},
		"less than nothing":  {`{"extensions":{"cost":{"actualQueryCost":-1}}}`, 0, false},
		"more than any shop": {`{"extensions":{"cost":{"actualQueryCost":1e300}}}`, 0, false},
		"a page":             {`<html>`, 0, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, ok := shopify.Shopify{}.Spent(connectors.Reply{Status: http.StatusOK, Body: []byte(test.body)})
			if got != test.want || ok != test.ok {
				t.Errorf("%d %v, want %d %v", got, ok, test.want, test.ok)
			}
		})
	}
}

func TestQuota(t *testing.T) {
	at := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	tests := map[string]struct {
		body string
		want []quota.Figure
	}{
		"enough is left": {string(readAccepted), []quota.Figure{{Name: "throttleStatus", Limit: 2, Remaining: 2, Bucket: true, Capacity: 2000, Available: 1991, Points: true}}},
		"another one like this would be throttled": {
			`{"errors":[{"extensions":{"code":"THROTTLED"}}],"extensions":{"cost":{"requestedQueryCost":752,
				"throttleStatus":{"maximumAvailable":2000,"currentlyAvailable":252,"restoreRate":100}}}}`,
			[]quota.Figure{{Name: "throttleStatus", Limit: 2, ResetsAt: at.Add(5 * time.Second), Bucket: true, Capacity: 2000, Available: 252, Points: true}},
		},
		"nothing is said":   {string(setAccepted), nil},
		"not a bucket":      {`{"extensions":{"cost":{"requestedQueryCost":9,"throttleStatus":{}}}}`, nil},
		"a page":            {`<html>`, nil},
		"texts for numbers": {`{"extensions":{"cost":{"throttleStatus":{"maximumAvailable":"2000"}}}}`, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := shopify.Shopify{}.Quota(connectors.Reply{Status: http.StatusOK, Body: []byte(test.body), At: at})
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("figures (-want +got):\n%s", diff)
			}
		})
	}
}
