package catalog

import (
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
)

var (
	secretName     = regexp.MustCompile(`^[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?$`)
	share          = regexp.MustCompile(`^\d{1,2}%$`)
	shopifyVersion = regexp.MustCompile(`^20\d{2}-(01|04|07|10)$`)
	accountSID     = regexp.MustCompile(`^AC[0-9a-f]{32}$`)
	phone          = regexp.MustCompile(`^\+[1-9]\d{6,14}$`)
)

const (
	externalIDToken = "{externalId}"
	maxCalls        = 1_000_000
	maxConcurrency  = 10_000
	maxPoints       = 1_000_000_000
	// maxDrain is how long a bucket may take to become empty from full.
	maxDrain = 30 * 24 * time.Hour
)

func (c *compiler) connector(e *entry[*v1alpha1.Connector]) {
	if e.broken {
		return
	}
	spec := &e.object.Spec
	c.snapshot.Connectors[e.object.Name] = e.object
	if enum(c, e.Resource, "spec.system", spec.System, enums["System"]) && !c.known(spec.System) {
		c.reportf(e.Resource, "spec.system", "%s is not built into this program", spec.System)
	}
	c.webhook(e)
	if c.onlySends(e) {
		return
	}
	c.endpoint(e.Resource, spec.Endpoint)
	c.credentials(e)
	c.limits(e)
	c.lanes(e)
	enum(c, e.Resource, "spec.pacing", spec.Pacing, enums["Pacing"])
	c.between(e.Resource, "spec.timeout", spec.Timeout.Duration, 100*time.Millisecond, 10*time.Minute)
	if horizon := spec.CommitHorizon; horizon != nil {
		c.between(e.Resource, "spec.commitHorizon", horizon.Duration, 0, 24*time.Hour)
	}
	c.count(e.Resource, "spec.retry.maxAttempts", int64(spec.Retry.MaxAttempts), 1, 1000)
	c.between(e.Resource, "spec.retry.maxAge", spec.Retry.MaxAge.Duration, time.Second, 720*time.Hour)
	c.maintenance(e)
	c.between(e.Resource, "spec.outage.rampUp", spec.Outage.RampUp.Duration, 0, maxRampUp)
	c.reconcile(e)
	c.settings(e)
}

// endpoint allows plain HTTP only where the bytes stay on the machine or inside
// the cluster: credentials go with every call.
func (c *compiler) endpoint(r *Resource, endpoint string) {
	const field = "spec.endpoint"
	if endpoint == "" {
		c.reportf(r, field, "is missing, expected a URL, such as https://123456.suitetalk.api.netsuite.com")
		return
	}
	parsed, err := url.Parse(endpoint)
	if err != nil || parsed.Host == "" || parsed.Hostname() == "" || (parsed.Scheme != "https" && parsed.Scheme != "http") {
		c.reportf(r, field, "found %q, expected a URL, such as https://123456.suitetalk.api.netsuite.com", shorten(withoutUser(endpoint)))
		return
	}
	if parsed.User != nil {
		c.reportf(r, field, "holds a user or a password, expected the URL alone: credentials belong into the secret that auth.secretRef names")
	}
	if parsed.RawQuery != "" || parsed.ForceQuery || parsed.Fragment != "" {
		c.reportf(r, field, "has a query or a fragment, expected the base URL of the API")
	}
	if parsed.Scheme == "http" && !nearby(parsed.Hostname()) {
		c.reportf(r, field, "found http to %q, expected https: http is only for loopback and for services inside the cluster "+
			"(a name without dots, or one that ends in .svc or .cluster.local)", parsed.Hostname())
	}
}

// withoutUser cuts what stands before an @, which may be a password.
func withoutUser(endpoint string) string {
	if i := strings.LastIndex(endpoint, "@"); i >= 0 {
		return "..." + endpoint[i:]
	}
	return endpoint
}

func nearby(host string) bool {
	if ip := net.ParseIP(host); ip != nil {
		return ip.IsLoopback()
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return !strings.Contains(host, ".") || strings.HasSuffix(host, ".svc") || strings.HasSuffix(host, ".cluster.local") || strings.HasSuffix(host, ".localhost")
}

func (c *compiler) credentials(e *entry[*v1alpha1.Connector]) {
	spec := &e.object.Spec
	switch {
	case spec.Auth != nil:
		c.secret(e.Resource, "spec.auth.secretRef.name", spec.Auth.SecretRef.Name)
	case spec.System != v1alpha1.SystemHTTP:
		c.reportf(e.Resource, "spec.auth", "is missing, expected {secretRef: {name: ...}}: only system HTTP can do without signing in")
	}
}

// known reports whether this program can do something with a system. Of GRPC there is
// nothing to understand: programs hand in orders as they are.
func (c *compiler) known(system v1alpha1.System) bool {
	return c.systems.Systems[string(system)] != nil || c.systems.Sources[string(system)] != nil || system == v1alpha1.SystemGRPC
}

// onlySends reports whether the Connector is a source and nothing else, so that what
// says how to call it has no meaning.
func (c *compiler) onlySends(e *entry[*v1alpha1.Connector]) bool {
	spec := &e.object.Spec
	if !spec.OnlySends() {
		return false
	}
	if spec.Webhook == nil {
		c.reportf(e.Resource, "spec.webhook", "is missing, expected {secretRef: {name: ...}}: a Connector of system %s without endpoint takes events in, "+
			"and nothing else", spec.System)
	}
	if spec.Endpoint != "" {
		c.reportf(e.Resource, "spec.endpoint", "belongs to systems that can be called, expected none: %s sends events and is never called", spec.System)
		return true
	}
	for _, part := range []struct {
		field   string
		written bool
	}{
		{"spec.auth", spec.Auth != nil}, {"spec.limits", len(spec.Limits) > 0},
		{"spec.maintenance", len(spec.Maintenance) > 0}, {"spec.http", spec.HTTP != nil}, {"spec.reconcile", spec.Reconcile != nil},
	} {
		if part.written {
			c.reportf(e.Resource, part.field, "belongs to Connectors that can be called, expected none without endpoint")
		}
	}
	return true
}

// callable returns the system of a connector that calls can be made to, and otherwise
// nil, which it reports.
func (c *compiler) callable(r *Resource, field string, connector *v1alpha1.Connector) connectors.System {
	if connector.Spec.OnlySends() {
		c.reportf(r, field, "Connector %q has no endpoint and so cannot be called, expected one that can", connector.Name)
		return nil
	}
	return c.systems.Systems[string(connector.Spec.System)]
}

func (c *compiler) secret(r *Resource, field, name string) {
	if !secretName.MatchString(name) {
		// The name is not repeated: it may be the secret itself.
		c.reportf(r, field, "is not the name of a secret, expected lower-case letters, digits, - and dots, such as netsuite-token; "+
			"the secret itself never belongs here")
	}
}

func (c *compiler) limits(e *entry[*v1alpha1.Connector]) {
	limits := e.object.Spec.Limits
	c.size(e.Resource, "spec.limits", len(limits), 16, "limit")
	names := make([]string, len(limits))
	for i := range limits {
		names[i] = limits[i].Name
		c.limit(e.Resource, at("spec.limits", i), &limits[i])
	}
	c.unique(e.Resource, "spec.limits", names, ".name")
}

func (c *compiler) limit(r *Resource, field string, l *v1alpha1.Limit) {
	c.name(r, field+".name", l.Name)
	kinds := kindsOf(l)
	if len(kinds) != 1 {
		what := "has " + strings.Join(kinds, " and ") + ", expected one of them: write a limit for each"
		if len(kinds) == 0 {
			what = "has neither rollingWindow nor concurrency nor bucket, expected one of them, such as rollingWindow: {calls: 100, per: 1m}"
		}
		c.reportf(r, field, "%s", what)
		return
	}
	switch {
	case l.RollingWindow != nil:
		c.count(r, field+".rollingWindow.calls", l.RollingWindow.Calls, 1, maxCalls)
		c.between(r, field+".rollingWindow.per", l.RollingWindow.Per.Duration, 100*time.Millisecond, 168*time.Hour)
	case l.Concurrency != nil:
		c.count(r, field+".concurrency.calls", l.Concurrency.Calls, 1, maxConcurrency)
	default:
		c.bucket(r, field+".bucket", l.Bucket)
	}
	c.headroom(r, field, l)
	if l.ArrivesWithin == nil {
		return
	}
	bound := l.ArrivesWithin.Duration
	switch {
	case l.RollingWindow == nil:
		c.reportf(r, field+".arrivesWithin", "belongs to a rollingWindow, expected none here")
	case bound <= 0 || bound >= l.RollingWindow.Per.Duration:
		c.reportf(r, field+".arrivesWithin", "found %s, expected more than 0 and less than the window's %s, such as 20ms",
			short(bound), short(l.RollingWindow.Per.Duration))
	}
}

// kindsOf returns which kinds of limit are written.
func kindsOf(l *v1alpha1.Limit) []string {
	var kinds []string
	if l.RollingWindow != nil {
		kinds = append(kinds, "rollingWindow")
	}
	if l.Concurrency != nil {
		kinds = append(kinds, "concurrency")
	}
	if l.Bucket != nil {
		kinds = append(kinds, "bucket")
	}
	return kinds
}

func (c *compiler) bucket(r *Resource, field string, b *v1alpha1.Bucket) {
	c.count(r, field+".capacity", b.Capacity, 1, maxPoints)
	rate := b.Refill.Calls
	switch {
	case b.Refill.Calls != 0 && b.Refill.Points != 0:
		c.reportf(r, field+".refill", "has calls and points, expected one of them: write a limit for each")
		return
	case b.Refill.Points != 0:
		rate = b.Refill.Points
		c.count(r, field+".refill.points", rate, 1, maxPoints)
	case b.Refill.Calls != 0:
		c.count(r, field+".refill.calls", rate, 1, maxPoints)
	default:
		c.reportf(r, field+".refill", "has neither calls nor points, expected one of them, such as refill: {calls: 2, per: 1s}")
		return
	}
	per := b.Refill.Per.Duration
	c.between(r, field+".refill.per", per, 100*time.Millisecond, 168*time.Hour)
	if drain := float64(b.Capacity) / float64(rate) * per.Hours(); rate > 0 && drain >= maxDrain.Hours() {
		c.reportf(r, field+".refill", "a full bucket takes %s hours to become empty, expected less than %s: make refill larger",
			figure(drain), figure(maxDrain.Hours()))
	}
}

// costs checks that each operation fits into every bucket of points.
func (c *compiler) costs(r *Resource, spec *v1alpha1.ConnectorSpec) {
	for i, o := range spec.HTTP.Operations {
		field := at("spec.http.operations", i) + ".cost"
		if o.Cost != 0 {
			c.count(r, field, o.Cost, 1, maxPoints)
		}
		for n := range spec.Limits {
			l := &spec.Limits[n]
			if l.Bucket == nil || l.Bucket.Refill.Points == 0 {
				continue
			}
			headroom, err := l.HeadroomCalls()
			if most := l.Bucket.Capacity - headroom; err == nil && most > 0 && o.Cost > most {
				c.reportf(r, field, "found %d, expected at most %d, for which limit %q has room when its bucket is empty", o.Cost, most, l.Name)
			}
		}
	}
}

func (c *compiler) headroom(r *Resource, field string, l *v1alpha1.Limit) {
	readable := l.Headroom.Type == intstr.Int || share.MatchString(l.Headroom.StrVal)
	calls, err := l.HeadroomCalls()
	switch {
	case !readable || err != nil || calls < 0:
		c.reportf(r, field+".headroom", "found %q, expected a whole number of calls, such as 1, or a share, such as \"2%%\"", shorten(l.Headroom.String()))
	case calls >= l.Calls() && l.Calls() > 0:
		unit := "calls"
		if l.Bucket != nil && l.Bucket.Refill.Points != 0 {
			unit = "points"
		}
		c.reportf(r, field+".headroom", "%d of %d %s stay unused, so nothing could ever be sent, expected less than %d%s",
			calls, l.Calls(), unit, l.Calls(), unwritten(r, field))
	}
}

// unwritten explains a headroom that nobody wrote.
func unwritten(r *Resource, field string) string {
	if _, ok := r.places[field+".headroom"]; ok || len(r.places) == 0 {
		return ""
	}
	return " (a rollingWindow has headroom 1 where none is written: write headroom: 0)"
}

func (c *compiler) lanes(e *entry[*v1alpha1.Connector]) {
	lanes := e.object.Spec.Lanes
	c.size(e.Resource, "spec.lanes", len(lanes), 8, "lane")
	names := make([]string, len(lanes))
	for i, lane := range lanes {
		names[i] = lane.Name
		c.name(e.Resource, at("spec.lanes", i)+".name", lane.Name)
		c.count(e.Resource, at("spec.lanes", i)+".weight", int64(lane.Weight), 1, 1000)
	}
	c.unique(e.Resource, "spec.lanes", names, ".name")
}

// settings checks the blocks that belong to one system each.
func (c *compiler) settings(e *entry[*v1alpha1.Connector]) {
	spec := &e.object.Spec
	foreign := func(field string, present bool, system v1alpha1.System) {
		if present && spec.System != system {
			c.reportf(e.Resource, field, "belongs to system %s, expected none for system %s", system, spec.System)
		}
	}
	foreign("spec.shopify", spec.Shopify != nil, v1alpha1.SystemShopify)
	foreign("spec.http", spec.HTTP != nil, v1alpha1.SystemHTTP)
	foreign("spec.twilio", spec.Twilio != nil, v1alpha1.SystemTwilio)
	switch spec.System {
	case v1alpha1.SystemShopify:
		if !shopifyVersion.MatchString(spec.Shopify.APIVersion) {
			c.reportf(e.Resource, "spec.shopify.apiVersion",
				"found %q, expected a quarter's version of the Admin API, such as 2026-10", shorten(spec.Shopify.APIVersion))
		}
	case v1alpha1.SystemHTTP:
		c.http(e.Resource, spec.HTTP)
		if spec.HTTP != nil {
			c.costs(e.Resource, spec)
		}
	case v1alpha1.SystemTwilio:
		c.twilio(e.Resource, spec.Twilio)
	case v1alpha1.SystemNetSuite, v1alpha1.SystemWooCommerce, v1alpha1.SystemBigCommerce, v1alpha1.SystemStripe,
		v1alpha1.SystemStandardWebhooks, v1alpha1.SystemCloudEvents, v1alpha1.SystemGRPC: // have none
	}
}

func (c *compiler) http(r *Resource, settings *v1alpha1.HTTPSettings) {
	if settings == nil {
		c.reportf(r, "spec.http", "is missing, expected {operations: [{name, method, path, effect}]}: it says what can be called")
		return
	}
	c.size(r, "spec.http.operations", len(settings.Operations), 32, "operation")
	names := make([]string, len(settings.Operations))
	for i := range settings.Operations {
		names[i] = settings.Operations[i].Name
		c.httpOperation(r, at("spec.http.operations", i), &settings.Operations[i])
	}
	c.unique(r, "spec.http.operations", names, ".name")
	if settings.ProbePath != "" {
		c.path(r, "spec.http.probePath", settings.ProbePath, settings.ProbePath)
	}
}

func (c *compiler) httpOperation(r *Resource, field string, o *v1alpha1.HTTPOperation) {
	switch {
	case slices.Contains([]string{connectors.OperationReadStock, connectors.OperationSetStock, connectors.OperationSendMessage}, o.Name):
		c.reportf(r, field+".name", "%q has a meaning of its own that system HTTP does not have, expected another name", o.Name)
	case !operation.MatchString(o.Name):
		c.reportf(r, field+".name", "found %q, expected letters and digits with a small letter in front, such as putOrder", shorten(o.Name))
	}
	enum(c, r, field+".method", o.Method, []string{"GET", "POST", "PUT", "PATCH", "DELETE"})
	enum(c, r, field+".effect", o.Effect, enums["HTTPEffect"])
	c.path(r, field+".path", o.Path, strings.ReplaceAll(o.Path, externalIDToken, "x"))
	c.httpFind(r, field+".find", o)
	c.httpReply(r, field+".reply", o)
	if o.Method == http.MethodPut && o.Effect == v1alpha1.HTTPEffectIdempotent && !strings.Contains(o.Path, externalIDToken) {
		c.reportf(r, field+".path", "found %q, expected %s in it: an idempotent PUT names its record", shorten(o.Path), externalIDToken)
	}
}

// path judges one, with what takes the place of its braces, and shows it as it was written.
func (c *compiler) path(r *Resource, field, written, path string) {
	parsed, err := url.Parse(path)
	if err != nil || !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") || parsed.Fragment != "" || strings.ContainsAny(path, "{} \t") {
		c.reportf(r, field, "found %q, expected a path from the endpoint on, such as /orders/%s (the only name that braces may hold)",
			shorten(written), externalIDToken)
	}
}

func (c *compiler) twilio(r *Resource, settings *v1alpha1.TwilioSettings) {
	if settings == nil {
		c.reportf(r, "spec.twilio", "is missing, expected {accountSID: ..., from: ...}")
		return
	}
	if !accountSID.MatchString(settings.AccountSID) {
		c.reportf(r, "spec.twilio.accountSID", "found %q, expected AC and 32 hexadecimal digits", shorten(settings.AccountSID))
	}
	c.phone(r, "spec.twilio.from", settings.From)
}

func (c *compiler) phone(r *Resource, field, number string) {
	if !phone.MatchString(number) {
		c.reportf(r, field, "found %q, expected a phone number in E.164 form, in quotes, such as \"+15550100002\"", shorten(number))
	}
}

func (c *compiler) count(r *Resource, field string, value, least, most int64) {
	if value < least || value > most {
		c.reportf(r, field, "found %d, expected a whole number from %d to %d", value, least, most)
	}
}

func (c *compiler) between(r *Resource, field string, value, least, most time.Duration) {
	if value < least || value > most {
		c.reportf(r, field, "found %s, expected a time from %s to %s", short(value), short(least), short(most))
	}
}

// short drops the zero parts that the standard library prints: 1m0s is 1m.
func short(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
