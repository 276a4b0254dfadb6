package twilio_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/conformance"
	"github.com/peppasync/peppasync/services/connectors/twilio"
	"github.com/peppasync/peppasync/services/internal/fault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const accountSID = "AC00000000000000000000000000000001"

func spec() *v1alpha1.ConnectorSpec {
	return &v1alpha1.ConnectorSpec{
		System:   v1alpha1.SystemTwilio,
		Endpoint: "https://api.twilio.com",
		Auth:     &v1alpha1.Authentication{SecretRef: v1alpha1.SecretReference{Name: "texts"}},
		Twilio:   &v1alpha1.TwilioSettings{AccountSID: accountSID, From: "+15550100"},
	}
}

func call(to, body string) connectors.Call {
	return connectors.Call{
		Operation:      connectors.OperationSendMessage,
		IdempotencyKey: "0197a1de-0000-7000-8000-000000000001",
		Arguments: &structpb.Struct{Fields: map[string]*structpb.Value{
			"to": structpb.NewStringValue(to), "body": structpb.NewStringValue(body),
		}},
	}
}

// page is a reply that lists messages; each is its text and how long after Since
// it was made.
func page(next string, messages ...any) connectors.Reply {
	list := []map[string]any{}
	for i := 0; i < len(messages); i += 2 {
		made := conformance.Since.Add(messages[i+1].(time.Duration)).Format(time.RFC1123Z)
		list = append(list, map[string]any{
			"sid": fmt.Sprint("SM", i), "to": "+15550123", "body": messages[i], "status": "queued", "date_created": made, "date_sent": nil,
		})
	}
	body, err := json.Marshal(map[string]any{"messages": list, "page": 0, "next_page_uri": map[bool]any{true: nil, false: next}[next == ""]})
	if err != nil {
		panic(err)
	}
	return connectors.Reply{Status: 200, Body: body}
}

func lookups() map[string]conformance.Lookup {
	const text = "Order #500 & more is held"
	return map[string]conformance.Lookup{
		"the text":                          {Reply: page("", "another", time.Hour, text, time.Second), Presence: connectors.Present, Reference: "SM2"},
		"the text of an account on trial":   {Reply: page("", "Sent from your Twilio trial account - "+text, time.Second), Presence: connectors.Present, Reference: "SM0"},
		"the text, by a clock behind ours":  {Reply: page("", text, -20*time.Second), Presence: connectors.Present, Reference: "SM0"},
		"the same text, a day before":       {Reply: page("", text, -24*time.Hour), Presence: connectors.Absent},
		"another text":                      {Reply: page("", text+"!", time.Second), Presence: connectors.Absent},
		"no text":                           {Reply: page(""), Presence: connectors.Absent},
		"a full page that goes back enough": {Reply: page("/next", "another", time.Second, "older", -time.Hour), Presence: connectors.Absent},
		"a full page of newer ones":         {Reply: page("/next", "another", 2*time.Hour, "another", time.Hour)},
		"an account that is not there":      {Reply: connectors.Reply{Status: 404, Body: []byte(`{"code":20404,"message":"not found","status":404}`)}},
	}
}

func system() conformance.System {
	return conformance.System{
		System: twilio.Twilio{},
		Spec:   spec(),
		Secret: connectors.Secret{"authToken": "a-secret-auth-token"},
		Cases: []conformance.Case{{
			Call:      call("+15550123", "Order #500 & more is held"),
			Accepted:  connectors.Reply{Status: 201, Body: []byte(`{"sid":"SM1","status":"queued","error_code":null}`)},
			Reference: "SM1", Lookups: lookups(),
		}},
	}
}

func TestConformance(t *testing.T) { system().Test(t) }
func FuzzRead(f *testing.F)        { system().FuzzRead(f) }

func TestRequest(t *testing.T) {
	request, err := twilio.Twilio{}.Request(spec(), call("+15550123", "Order #500 & more is held"))
	if err != nil {
		t.Fatal(err)
	}
	form, err := url.ParseQuery(string(request.Body))
	if err != nil {
		t.Fatal(err)
	}
	want := url.Values{"To": {"+15550123"}, "From": {"+15550100"}, "Body": {"Order #500 & more is held"}}
	if diff := cmp.Diff(want, form); diff != "" || request.Path != "/2010-04-01/Accounts/"+accountSID+"/Messages.json" {
		t.Errorf("%s, form (-want +got):\n%s", request.Path, diff)
	}
}

func TestALongTextIsShortened(t *testing.T) {
	request, err := twilio.Twilio{}.Request(spec(), call("+15550123", strings.Repeat("ä", 1700)))
	if err != nil {
		t.Fatal(err)
	}
	form, _ := url.ParseQuery(string(request.Body))
	if n := utf8.RuneCountInString(form.Get("Body")); n != 1600 || !strings.HasSuffix(form.Get("Body"), "…") {
		t.Errorf("%d characters are sent, want 1600, the last of them an ellipsis", n)
	}
}

func TestAuthorizeIsBasic(t *testing.T) {
	header, err := twilio.Twilio{}.Authorize(spec(), connectors.Secret{"authToken": "t"})
	if err != nil || header.Get("Authorization") != "Basic QUMwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMTp0" {
		t.Errorf("%v, error %v", header, err)
	}
	s := spec()
	s.Twilio = nil
	if _, err := (twilio.Twilio{}).Authorize(s, connectors.Secret{"authToken": "t"}); err == nil {
		t.Error("signed in without an account")
	}
}

func TestReplies(t *testing.T) {
	type want struct {
		Class        fault.Class
		Wait         time.Duration
		Code, Detail string
	}
	tests := map[string]struct {
		status int
		body   string
		want   want
	}{
		"too many at once": {429, `{"code":20429,"message":"Too Many Requests","more_info":"https://www.twilio.com/docs/errors/20429","status":429}`,
			want{fault.Throttled, 0, "too-many-requests", "Too Many Requests"}},
		"the number's queue is full":               {400, `{"code":21611,"message":"full","status":400}`, want{fault.Throttled, 0, "queue-full", "full"}},
		"opted out":                                {400, `{"code":21610,"message":"unsubscribed recipient"}`, want{fault.Permanent, 0, "opted-out", "unsubscribed recipient"}},
		"a number that is none":                    {400, `{"code":21211,"message":"Invalid 'To'"}`, want{fault.Permanent, 0, "invalid-to", "Invalid 'To'"}},
		"a trial account":                          {400, `{"code":21608,"message":"unverified"}`, want{fault.Permanent, 0, "unverified-number", "unverified"}},
		"a code that no table has":                 {400, `{"code":29999,"detail":"new form","title":"T","type":"x"}`, want{fault.Permanent, 0, "twilio-29999", "new form"}},
		"a token that is wrong":                    {401, `{"code":20003,"message":"Authenticate"}`, want{fault.Auth, 0, "authentication-failed", "Authenticate"}},
		"a server error, whatever its code":        {500, `{"code":20429,"message":"?"}`, want{fault.Unknown, 0, "twilio-20429", "?"}},
		"unavailable":                              {503, `{"code":20503,"message":"later"}`, want{fault.Transient, 0, "twilio-20503", "later"}},
		"a page that says that all is well":        {200, "<html><body>Sign in</body></html>", want{fault.Unknown, 0, "page-for-a-reply", "Sign in"}},
		"a success that names no message":          {201, `{"code":20429,"message":"?"}`, want{fault.Unknown, 0, "unreadable-reply", `a reply that names no message: {"code":20429,"message":"?"}`}},
		"a success without a body":                 {201, ``, want{fault.Unknown, 0, "unreadable-reply", "a reply that names no message:"}},
		"a success that ends too early":            {201, `{"sid":"SM1"`, want{fault.Unknown, 0, "unreadable-reply", `a reply that names no message: {"sid":"SM1"`}},
		"a code of a type that it should not have": {400, `{"code":"x"}`, want{fault.Permanent, 0, "http-400", `{"code":"x"}`}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			answer := system().Check(t, call("+1", "x"), connectors.Reply{Status: test.status, Body: []byte(test.body), Written: true, At: conformance.At})
			got := want{answer.Class, answer.Wait, answer.Cause.Code, answer.Cause.Detail}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
