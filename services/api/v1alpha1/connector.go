package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Connector is one external account: where it is, how to sign in, and what it
// may be asked to take. It is a source, a destination, or both; one account has
// one budget.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=conn,categories=peppasync
// +kubebuilder:printcolumn:name="System",type=string,JSONPath=`.spec.system`
// +kubebuilder:printcolumn:name="Limit",type=string,JSONPath=`.status.limit`
// +kubebuilder:printcolumn:name="Pace",type=string,JSONPath=`.status.pace`
// +kubebuilder:printcolumn:name="Queue",type=integer,JSONPath=`.status.queue`
// +kubebuilder:printcolumn:name="Held",type=integer,JSONPath=`.status.held`
// +kubebuilder:printcolumn:name="ETA",type=string,JSONPath=`.status.eta`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Reachable",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Reachable")].status`
// +kubebuilder:printcolumn:name="Largest",type=string,priority=1,JSONPath=`.status.largest`
// +kubebuilder:printcolumn:name="Endpoint",type=string,priority=1,JSONPath=`.spec.endpoint`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.matches('^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$')",message="the name of a Connector is at most 63 lower-case letters, digits and '-', without dots, such as netsuite-eu"
type Connector struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`
	// +required
	Spec ConnectorSpec `json:"spec"`
	// +optional
	Status ConnectorStatus `json:"status,omitzero"`
}

// ConnectorList is a list of Connectors.
//
// +kubebuilder:object:root=true
type ConnectorList struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Connector `json:"items"`
}

// System names the kind of external system.
//
// +kubebuilder:validation:Enum=Shopify;WooCommerce;BigCommerce;NetSuite;HTTP;Twilio;Stripe;StandardWebhooks;CloudEvents;GRPC
type System string

// The systems.
const (
	SystemShopify     System = "Shopify"
	SystemWooCommerce System = "WooCommerce"
	SystemBigCommerce System = "BigCommerce"
	SystemNetSuite    System = "NetSuite"
	SystemHTTP        System = "HTTP"
	SystemTwilio      System = "Twilio"
	// SystemStripe and those below send events and are never called.
	SystemStripe           System = "Stripe"
	SystemStandardWebhooks System = "StandardWebhooks"
	SystemCloudEvents      System = "CloudEvents"
	SystemGRPC             System = "GRPC"
)

// SendsOnly reports whether a system sends events and is never called.
func (s System) SendsOnly() bool {
	switch s {
	case SystemStripe, SystemStandardWebhooks, SystemCloudEvents, SystemGRPC:
		return true
	case SystemShopify, SystemWooCommerce, SystemBigCommerce, SystemNetSuite, SystemHTTP, SystemTwilio:
	}
	return false
}

// ConnectorSpec is what a user says about an external account.
//
// +kubebuilder:validation:XValidation:rule="has(self.endpoint) || self.system in ['Stripe', 'StandardWebhooks', 'CloudEvents', 'GRPC'] || self.system == 'HTTP' && has(self.webhook)",message="endpoint is needed where the system is called, such as https://123456.suitetalk.api.netsuite.com"
// +kubebuilder:validation:XValidation:rule="!has(self.endpoint) || !(self.system in ['Stripe', 'StandardWebhooks', 'CloudEvents', 'GRPC'])",message="systems Stripe, StandardWebhooks, CloudEvents and GRPC send events and are never called: write no endpoint"
// +kubebuilder:validation:XValidation:rule="has(self.endpoint) || has(self.webhook)",message="webhook is needed where there is no endpoint: it says how the events that come in are checked"
// +kubebuilder:validation:XValidation:rule="has(self.endpoint) == has(self.limits)",message="limits are written where there is an endpoint, and only there: they say what the account may be asked to take"
// +kubebuilder:validation:XValidation:rule="has(self.endpoint) || !has(self.auth) && !has(self.maintenance)",message="auth and maintenance are for Connectors with an endpoint: without one nothing is called"
// +kubebuilder:validation:XValidation:rule="has(self.http) == (self.system == 'HTTP' && has(self.endpoint))",message="http is written for system HTTP with an endpoint, and only there: it lists what can be called"
// +kubebuilder:validation:XValidation:rule="has(self.twilio) == (self.system == 'Twilio')",message="twilio is written for system Twilio, and only there: it holds accountSID and from"
// +kubebuilder:validation:XValidation:rule="!has(self.shopify) || self.system == 'Shopify'",message="shopify is written only for system Shopify"
// +kubebuilder:validation:XValidation:rule="has(self.auth) || self.system == 'HTTP' || !has(self.endpoint)",message="auth.secretRef.name is needed: only system HTTP can do without signing in"
// +kubebuilder:validation:XValidation:rule="!has(self.webhook) || !has(self.webhook.hmac) || self.system in ['HTTP', 'CloudEvents']",message="webhook.hmac is for systems HTTP and CloudEvents: the others sign in a way of their own"
// +kubebuilder:validation:XValidation:rule="!has(self.webhook) || !has(self.webhook.topic) && !has(self.webhook.eventId) || self.system == 'HTTP'",message="webhook.topic and webhook.eventId are for system HTTP: the others name both in a way of their own"
// +kubebuilder:validation:XValidation:rule="!has(self.webhook) || !has(self.webhook.order) && !has(self.webhook.orderTopics) || self.system in ['HTTP', 'StandardWebhooks', 'CloudEvents']",message="webhook.order and webhook.orderTopics are for systems HTTP, StandardWebhooks and CloudEvents: the orders of the others have a form of their own"
// +kubebuilder:validation:XValidation:rule="!has(self.webhook) || !has(self.webhook.tolerance) || self.system in ['StandardWebhooks', 'Stripe', 'BigCommerce'] || has(self.webhook.hmac) && has(self.webhook.hmac.timestamp)",message="webhook.tolerance is for systems StandardWebhooks, Stripe and BigCommerce and for webhook.hmac.timestamp: no other time is signed"
type ConnectorSpec struct {
	// What kind of system it is. To move to another kind, make another Connector.
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="system cannot change: make a new Connector and let this one drain"
	// +required
	System System `json:"system"`
	// The base URL of its API. https, or http inside the cluster and on loopback. A
	// Connector without one takes events in, and nothing else.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:XValidation:rule="isURL(self) && url(self).getScheme() in ['https', 'http']",message="endpoint is a URL such as https://123456.suitetalk.api.netsuite.com"
	// +optional
	Endpoint string `json:"endpoint,omitempty"`
	// How to sign calls in.
	// +optional
	Auth *Authentication `json:"auth,omitempty"`
	// Present where the system sends webhooks to the engine.
	// +optional
	Webhook *Webhook `json:"webhook,omitempty"`
	// How to find the orders that no webhook told of, by asking the system for those that
	// changed. Where it can be asked for them, has an endpoint and sends webhooks, that is
	// done unless every is 0s.
	// +optional
	Reconcile *Reconcile `json:"reconcile,omitempty"`
	// What the account may be asked to take. All hold at once. There must be one
	// where there is an endpoint.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +listType=map
	// +listMapKey=name
	// +optional
	Limits []Limit `json:"limits,omitempty"`
	// How calls are spread inside a window.
	// +kubebuilder:default=Even
	// +optional
	Pacing Pacing `json:"pacing,omitempty"`
	// Who goes first when calls wait, by weight.
	// +kubebuilder:default={{name: "express", weight: 7}, {name: "standard", weight: 2}, {name: "bulk", weight: 1}}
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	// +listType=map
	// +listMapKey=name
	// +optional
	Lanes []Lane `json:"lanes,omitempty"`
	// How long a call may take until its outcome counts as unknown.
	// +kubebuilder:default="30s"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule=`self.matches('^([0-9]+([.][0-9]+)?(ns|us|ms|s|m|h))+$') && duration(self) >= duration('100ms') && duration(self) <= duration('10m')`,message="timeout is between 100ms and 10m, such as 30s"
	// +optional
	Timeout metav1.Duration `json:"timeout,omitzero"`
	// How long after its last possible arrival a call whose outcome is unknown may
	// still take effect: a slow system may commit minutes after the connection was
	// cut. "Not found" counts only after that, and until then what concerns the
	// same order waits. Not written means 15m for NetSuite, 1m for HTTP, Twilio and the shops.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule=`self.matches('^([0-9]+([.][0-9]+)?(ns|us|ms|s|m|h))+$') && duration(self) >= duration('0s') && duration(self) <= duration('24h')`,message="commitHorizon is between 0s and 24h, such as 15m"
	// +optional
	CommitHorizon *metav1.Duration `json:"commitHorizon,omitempty"`
	// How long to go on with a call that fails for a passing reason.
	// +kubebuilder:default={}
	// +optional
	Retry Retry `json:"retry,omitzero"`
	// When it is not to be called: calls under way end before, nothing is sent
	// during, and feeding goes on by itself after.
	// +kubebuilder:validation:MaxItems=16
	// +listType=atomic
	// +optional
	Maintenance []MaintenanceWindow `json:"maintenance,omitempty"`
	// What to do when it is back after an outage.
	// +optional
	Outage Outage `json:"outage,omitzero"`
	// Paused keeps everything and sends nothing.
	// +optional
	Paused bool `json:"paused,omitempty"`

	// Settings of system Shopify.
	// +optional
	Shopify *ShopifySettings `json:"shopify,omitempty"`
	// Settings of system HTTP.
	// +optional
	HTTP *HTTPSettings `json:"http,omitempty"`
	// Settings of system Twilio.
	// +optional
	Twilio *TwilioSettings `json:"twilio,omitempty"`
}

// ReadsBodies reports whether the system's bodies have no form of their own, so that
// spec.webhook may say how an order is read from them, and which topics carry one.
func (s System) ReadsBodies() bool {
	return s == SystemHTTP || s == SystemStandardWebhooks || s == SystemCloudEvents
}

// OnlySends reports whether a Connector is where events come from, and nothing that is
// called: one of a system that is never called, or one of system HTTP without an
// endpoint.
func (s *ConnectorSpec) OnlySends() bool {
	return s.System.SendsOnly() || s.System == SystemHTTP && s.Endpoint == "" && s.Webhook != nil
}

// Authentication says where the credentials are. It never holds them.
type Authentication struct {
	// +required
	SecretRef SecretReference `json:"secretRef"`
}

// SecretReference names a secret beside the resource.
type SecretReference struct {
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +required
	Name string `json:"name"`
}

// Reconcile says how the orders are found that no webhook told of.
type Reconcile struct {
	// How often to ask; 0s for never.
	// +kubebuilder:default="5m"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule=`self.matches('^([0-9]+([.][0-9]+)?(ns|us|ms|s|m|h))+$') && (duration(self) == duration('0s') || duration(self) >= duration('5s') && duration(self) <= duration('24h'))`,message="every is a time between 5s and 24h, such as 5m, or 0s for never"
	// +optional
	Every *metav1.Duration `json:"every,omitempty"`
	// How far back each time, beyond what was asked for before: a system may list an order
	// later than the time that it gives it.
	// +kubebuilder:default="10m"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule=`self.matches('^([0-9]+([.][0-9]+)?(ns|us|ms|s|m|h))+$') && duration(self) >= duration('1s') && duration(self) <= duration('24h')`,message="overlap is a time between 1s and 24h, such as 10m"
	// +optional
	Overlap metav1.Duration `json:"overlap,omitzero"`
	// How far back at the very first time. What another program has handled before comes
	// again within it: then write 0s.
	// +kubebuilder:default="24h"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule=`self.matches('^([0-9]+([.][0-9]+)?(ns|us|ms|s|m|h))+$') && duration(self) >= duration('0s') && duration(self) <= duration('1440h')`,message="lookBack is a time up to 1440h, such as 24h"
	// +optional
	LookBack *metav1.Duration `json:"lookBack,omitempty"`
	// The lane of this Connector that it asks in. Not written means bulk, and where there
	// is none, the lane with the least weight.
	// +kubebuilder:validation:MaxLength=63
	// +optional
	Lane string `json:"lane,omitempty"`
}

// Limit is one limit of the account: exactly one of rollingWindow, concurrency and
// bucket.
//
// +kubebuilder:validation:XValidation:rule="[has(self.rollingWindow), has(self.concurrency), has(self.bucket)].filter(written, written).size() == 1",message="a limit is one of rollingWindow: {calls, per}, concurrency: {calls} and bucket: {capacity, refill}"
// +kubebuilder:validation:XValidation:rule="!has(self.arrivesWithin) || has(self.rollingWindow)",message="arrivesWithin belongs to a rollingWindow"
// +kubebuilder:validation:XValidation:rule="!has(self.headroom) || type(self.headroom) != int || !has(self.rollingWindow) || self.headroom < self.rollingWindow.calls",message="headroom must be smaller than rollingWindow.calls, or nothing could ever be sent"
// +kubebuilder:validation:XValidation:rule="!has(self.headroom) || type(self.headroom) != int || !has(self.concurrency) || self.headroom < self.concurrency.calls",message="headroom must be smaller than concurrency.calls, or nothing could ever be sent"
// +kubebuilder:validation:XValidation:rule="!has(self.headroom) || type(self.headroom) != int || !has(self.bucket) || self.headroom < self.bucket.capacity",message="headroom must be smaller than bucket.capacity, or nothing could ever be sent"
type Limit struct {
	// What reports call it, such as per-minute.
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule=`self.matches(r'^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')`,message="the name of a limit is lower-case letters, digits and '-', with a letter or digit at both ends, such as per-minute"
	// +required
	Name string `json:"name"`
	// At most so many calls arrive in any stretch of time of this length.
	// +optional
	RollingWindow *RollingWindow `json:"rollingWindow,omitempty"`
	// At most so many calls run at the same time.
	// +optional
	Concurrency *Concurrency `json:"concurrency,omitempty"`
	// Calls fill it, and it drains all the time; what does not fit waits. Such are
	// the limits of Shopify, ShipHero and Amazon's SP-API (rate and burst).
	// +optional
	Bucket *Bucket `json:"bucket,omitempty"`
	// What to leave unused: a number of calls, or of points of a bucket, or a share
	// such as "2%", rounded up. 1 for windows and 0 for the others where it is not
	// written.
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=3
	// +kubebuilder:validation:XValidation:rule="type(self) == int ? self >= 0 : self.matches('^[0-9]{1,2}%$')",message="headroom is a number of calls, such as 1, or a share, such as \"2%\""
	// +optional
	Headroom *intstr.IntOrString `json:"headroom,omitempty"`
	// A bound on the time from writing a call to its arrival, which makes short
	// windows faster. Not written means that nothing is assumed.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule=`self.matches('^([0-9]+([.][0-9]+)?(ns|us|ms|s|m|h))+$') && duration(self) > duration('0s')`,message="arrivesWithin is a time such as 20ms"
	// +optional
	ArrivesWithin *metav1.Duration `json:"arrivesWithin,omitempty"`
}

// RollingWindow allows Calls in every stretch of time of length Per.
type RollingWindow struct {
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	// +required
	Calls int64 `json:"calls"`
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule=`self.matches('^([0-9]+([.][0-9]+)?(ns|us|ms|s|m|h))+$') && duration(self) >= duration('100ms') && duration(self) <= duration('168h')`,message="per is a time between 100ms and 168h, such as 1m"
	// +required
	Per metav1.Duration `json:"per"`
}

// Concurrency allows Calls at the same time.
type Concurrency struct {
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10000
	// +required
	Calls int64 `json:"calls"`
}

// Bucket lets calls add up to Capacity while Refill of it becomes free again all the
// time. Nothing is known of what is in it when the engine first calls the account,
// or after refill is changed: then it counts as full.
type Bucket struct {
	// The most that is in it: the burst that an idle account takes.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000000
	// +required
	Capacity int64 `json:"capacity"`
	// How fast it becomes free again. From full that takes less than 30 days.
	// +required
	Refill Refill `json:"refill"`
}

// Refill is a rate, and what it counts: exactly one of calls and points.
//
// +kubebuilder:validation:XValidation:rule="has(self.calls) != has(self.points)",message="refill is one of {calls, per} and {points, per}"
type Refill struct {
	// Each call counts one.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000000
	// +optional
	Calls int64 `json:"calls,omitempty"`
	// Each call counts what it costs: for system HTTP the cost of its operation, for
	// Shopify what the query may cost. What a reply says that it did not cost is
	// free again at once.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000000
	// +optional
	Points int64 `json:"points,omitempty"`
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule=`self.matches('^([0-9]+([.][0-9]+)?(ns|us|ms|s|m|h))+$') && duration(self) >= duration('100ms') && duration(self) <= duration('168h')`,message="per is a time between 100ms and 168h, such as 1s"
	// +required
	Per metav1.Duration `json:"per"`
}

// Pacing says how calls are spread inside a window.
//
// +kubebuilder:validation:Enum=Even;Burst
type Pacing string

// The ways of pacing.
const (
	// PacingEven spaces calls evenly.
	PacingEven Pacing = "Even"
	// PacingBurst sends as soon as the limits allow.
	PacingBurst Pacing = "Burst"
)

// Lane is a queue of the connector with its share of the pace.
type Lane struct {
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule=`self.matches(r'^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')`,message="the name of a lane is lower-case letters, digits and '-', with a letter or digit at both ends, such as express"
	// +required
	Name string `json:"name"`
	// Its share while other lanes have calls waiting too.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	// +required
	Weight int32 `json:"weight"`
}

// The lanes that a connector has where none are written.
const (
	LaneExpress  = "express"
	LaneStandard = "standard"
	LaneBulk     = "bulk"
)

// Retry bounds how long a call that fails for a passing reason is repeated;
// after that it goes to the Error Hold. Outages do not count.
type Retry struct {
	// +kubebuilder:default=12
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	// +optional
	MaxAttempts int32 `json:"maxAttempts,omitempty"`
	// +kubebuilder:default="72h"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule=`self.matches('^([0-9]+([.][0-9]+)?(ns|us|ms|s|m|h))+$') && duration(self) >= duration('1s') && duration(self) <= duration('720h')`,message="maxAge is a time between 1s and 720h, such as 72h"
	// +optional
	MaxAge metav1.Duration `json:"maxAge,omitzero"`
}

// MaintenanceWindow is a time at which the external system works on itself.
type MaintenanceWindow struct {
	// When it begins, as five fields of cron: minute, hour, day of the month, month
	// and day of the week, such as "0 2 * * 0" for Sundays at two. SUN#3 is the
	// third Sunday of a month, SUN#L the last.
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:XValidation:rule=`self.matches(r'^\s*[^=\s]+(\s+[^=\s]+){4}\s*$')`,message="schedule is five fields of cron: minute, hour, day, month and weekday, such as 0 2 * * 0 for Sundays at two"
	// +required
	Schedule string `json:"schedule"`
	// Whose clock schedule goes by: a name of the IANA database. On a night on which
	// the clock changes, every reading of a time that is skipped or comes twice
	// holds.
	// +kubebuilder:default=UTC
	// +kubebuilder:validation:MaxLength=64
	// +optional
	TimeZone string `json:"timeZone,omitempty"`
	// How long it lasts; less than the time from one beginning to the next.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule=`self.matches('^([0-9]+([.][0-9]+)?(ns|us|ms|s|m|h))+$') && duration(self) > duration('0s') && duration(self) <= duration('336h')`,message="duration is a time above 0 and up to 336h, such as 2h"
	// +required
	Duration metav1.Duration `json:"duration"`
	// The time after it over which the pace grows from a tenth to the whole; full
	// pace at once where it is not written.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule=`self.matches('^([0-9]+([.][0-9]+)?(ns|us|ms|s|m|h))+$') && duration(self) >= duration('0s') && duration(self) <= duration('24h')`,message="rampUp is a time up to 24h, such as 10m"
	// +optional
	RampUp metav1.Duration `json:"rampUp,omitzero"`
}

// Outage says what to do about outages that nobody announced.
type Outage struct {
	// The time after an outage over which the pace grows from a tenth to the whole;
	// full pace at once where it is not written.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule=`self.matches('^([0-9]+([.][0-9]+)?(ns|us|ms|s|m|h))+$') && duration(self) >= duration('0s') && duration(self) <= duration('24h')`,message="rampUp is a time up to 24h, such as 10m"
	// +optional
	RampUp metav1.Duration `json:"rampUp,omitzero"`
}

// ShopifySettings are the settings of a Shopify shop.
type ShopifySettings struct {
	// The version of the Admin API.
	// +kubebuilder:default="2026-10"
	// +kubebuilder:validation:MaxLength=7
	// +kubebuilder:validation:XValidation:rule=`self.matches(r'^20[0-9]{2}-(01|04|07|10)$')`,message="apiVersion is a quarter's version of the Admin API, such as 2026-10"
	// +optional
	APIVersion string `json:"apiVersion,omitempty"`
}

// HTTPSettings describe a system that has no folder of its own: each call is a
// JSON request.
type HTTPSettings struct {
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +listType=map
	// +listMapKey=name
	// +required
	Operations []HTTPOperation `json:"operations"`
	// A path that answers GET cheaply and without effect, asked after an outage.
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule=`self.matches(r'^/')`,message="probePath is a path from the endpoint on, such as /health"
	// +optional
	ProbePath string `json:"probePath,omitempty"`
}

// HTTPOperation is one request that can be made.
//
// +kubebuilder:validation:XValidation:rule="self.effect != 'Idempotent' || self.path.contains('{externalId}') || self.method != 'PUT'",message="an idempotent PUT names its record: write {externalId} in path"
// +kubebuilder:validation:XValidation:rule="!has(self.find) || self.effect == 'Once'",message="find belongs to effect Once: an idempotent request is simply sent again, and one without effect has nothing to find"
// +kubebuilder:validation:XValidation:rule="!has(self.reply) || !has(self.reply.alreadyThere) || self.effect != 'None'",message="reply.alreadyThere belongs to effects Once and Idempotent: what only asks leaves nothing there"
type HTTPOperation struct {
	// What flows call it, such as putOrder.
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule=`self.matches(r'^[a-z][A-Za-z0-9]*$')`,message="the name of an operation is letters and digits with a small letter in front, such as putOrder"
	// +required
	Name string `json:"name"`
	// +kubebuilder:validation:Enum=GET;POST;PUT;PATCH;DELETE
	// +required
	Method string `json:"method"`
	// Relative to the endpoint; {externalId} becomes the order's external id.
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule=`self.matches(r'^/')`,message="path is a path from the endpoint on, such as /orders/{externalId}"
	// +required
	Path string `json:"path"`
	// What a repetition would do.
	// +required
	Effect HTTPEffect `json:"effect"`
	// What a call counts for in buckets of points, and so does a look-up by find, and a
	// probe where it is a GET of probePath; 1 where it is not written.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000000
	// +optional
	Cost int64 `json:"cost,omitempty"`
	// How to look up whether a call of effect Once arrived whose outcome is
	// unknown. Without it a person has to look.
	// +optional
	Find *HTTPFind `json:"find,omitempty"`
	// What its replies say in their bodies. Without it the status decides; but for a
	// page of HTML, a problem document, a body with "error" or "errors" in it, and one
	// that is cut off or is neither JSON nor a page though its type says so: then it is
	// open whether the call was taken.
	// +optional
	Reply *HTTPReply `json:"reply,omitempty"`
}

// HTTPReply says what the replies to an operation mean, by expressions (CEL) that see
// status, body (a JSON object or list; any use of it fails where the body is none),
// text (the body as it came) and externalId. An expression that fails does not hold.
// Neither a page of HTML nor a body that is cut off is asked anything; all else is,
// whatever type it is sent under.
type HTTPReply struct {
	// Which replies with a status from 200 to 299 say that the call was taken, such as
	// has(body.data.order.id). It counts only where none of the others holds; what none
	// of them is true of is in doubt.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=65536
	// +required
	Accepted string `json:"accepted"`
	// Which replies say that the call was refused for good. Asked at 200 to 299.
	// +kubebuilder:validation:MaxLength=65536
	// +optional
	Refused string `json:"refused,omitempty"`
	// Which replies say that calls come too fast, and that this one had no effect.
	// Asked at 200 to 299, and at the statuses from 400 to 499 that refuse a call for
	// good or its credentials.
	// +kubebuilder:validation:MaxLength=65536
	// +optional
	Throttled string `json:"throttled,omitempty"`
	// Which replies refuse the credentials: nothing is sent until they change. Asked at
	// 200 to 299, and at the statuses from 400 to 499 that refuse a call for good.
	// +kubebuilder:validation:MaxLength=65536
	// +optional
	Unauthorized string `json:"unauthorized,omitempty"`
	// Which replies say that the effect is there from an earlier call. Asked as
	// unauthorized is. Where there is a find, it is looked up before it is believed.
	// +kubebuilder:validation:MaxLength=65536
	// +optional
	AlreadyThere string `json:"alreadyThere,omitempty"`
	// The system's own name for the record, such as body.data.order.id. Where it is not
	// written or absent: the end of Location, id or reference of the body.
	// +kubebuilder:validation:MaxLength=65536
	// +optional
	Reference string `json:"reference,omitempty"`
	// The code of a failure, by which alike ones are grouped, such as
	// body.errors[0].extensions.code. Where it is not written or absent: that of a
	// problem document, or code of the body.
	// +kubebuilder:validation:MaxLength=65536
	// +optional
	Code string `json:"code,omitempty"`
	// What people are shown of a failure, such as body.errors[0].message. Where it is
	// not written or absent: that of a problem document, or message of the body.
	// +kubebuilder:validation:MaxLength=65536
	// +optional
	Message string `json:"message,omitempty"`
}

// HTTPFind is the request that says whether the effect of an operation is there.
// What it answers for an external id must be true for that id alone.
type HTTPFind struct {
	// A reply to HEAD has no record in it that could name the order.
	// +kubebuilder:default=GET
	// +kubebuilder:validation:Enum=GET
	// +optional
	Method string `json:"method,omitempty"`
	// Relative to the endpoint, with {externalId} in it. What it finds counts where a
	// field of it, at any depth, is the external id.
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule=`self.matches(r'^/')`,message="find.path is a path from the endpoint on, such as /orders/{externalId}"
	// +kubebuilder:validation:XValidation:rule="self.contains('{externalId}')",message="find.path names the record: write {externalId} in it"
	// +required
	Path string `json:"path"`
	// The statuses that say that it is there. 200 where none is written.
	// +kubebuilder:default={200}
	// +kubebuilder:validation:MaxItems=8
	// +listType=set
	// +optional
	FoundStatus []int32 `json:"foundStatus,omitempty"`
	// The statuses that say that it is not there. Where none is written, 404 does if
	// its body is JSON; one that is written does without a body as well. A page of HTML
	// is a gateway's word, and never counts.
	// +kubebuilder:validation:MaxItems=8
	// +listType=set
	// +optional
	AbsentStatus []int32 `json:"absentStatus,omitempty"`
	// The field that lists what a search found, such as orders or data.items; "."
	// where the body is the list. An empty list says that it is not there. Not
	// written where the path names one record.
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule=`self.matches(r'^(\.|[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*)$')`,message="list is a field of the body, such as orders or data.items, or . where the body is the list"
	// +optional
	List string `json:"list,omitempty"`
}

// HTTPEffect says what a repetition of a request would do.
//
// +kubebuilder:validation:Enum=Idempotent;Once;None
type HTTPEffect string

// The effects.
const (
	// HTTPEffectIdempotent: a repetition has no second effect.
	HTTPEffectIdempotent HTTPEffect = "Idempotent"
	// HTTPEffectOnce: a repetition may have a second effect.
	HTTPEffectOnce HTTPEffect = "Once"
	// HTTPEffectNone: the request only asks.
	HTTPEffectNone HTTPEffect = "None"
)
