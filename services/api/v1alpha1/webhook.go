package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Webhook says how incoming webhooks are checked and read.
type Webhook struct {
	// The secret that signs them: key "secret", and "previousSecret" while it is
	// being changed. For system BigCommerce also, or instead, the app's client secret,
	// "clientSecret", and "previousClientSecret".
	// +required
	SecretRef SecretReference `json:"secretRef"`
	// The largest body taken, in bytes; larger ones get 413.
	// +kubebuilder:default=1048576
	// +kubebuilder:validation:Minimum=1024
	// +kubebuilder:validation:Maximum=4194304
	// +optional
	MaxBodyBytes int64 `json:"maxBodyBytes,omitempty"`
	// Where the system reaches the engine, such as
	// https://orders.example.com/v1/webhooks/shopify; it ends in /v1/webhooks/ and the
	// Connector's name. Where it is written, and the system can be asked for its webhooks,
	// those of the topics that flows take are made when they are missing and mended when
	// they are switched off.
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:XValidation:rule="isURL(self) && url(self).getScheme() in ['https', 'http']",message="address is a URL such as https://orders.example.com/v1/webhooks/shopify"
	// +optional
	Address string `json:"address,omitempty"`
	// How far the time that a delivery is signed with may be from now, both ways: who
	// records a delivery can send it again for so long. For systems StandardWebhooks,
	// Stripe and BigCommerce, and where there is hmac.timestamp; 5m where it is not written.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule=`self.matches('^([0-9]+([.][0-9]+)?(ns|us|ms|s|m|h))+$') && duration(self) >= duration('1s') && duration(self) <= duration('168h')`,message="tolerance is a time between 1s and 168h, such as 5m"
	// +optional
	Tolerance metav1.Duration `json:"tolerance,omitzero"`
	// How deliveries are signed, for systems HTTP and CloudEvents. Where it is not
	// written, they show the secret: Authorization: Bearer <secret>.
	// +optional
	HMAC *HMAC `json:"hmac,omitempty"`
	// Where a delivery says what it is about, for system HTTP; {constant: order} where
	// it is not written.
	// +optional
	Topic *WebhookTopic `json:"topic,omitempty"`
	// Where a delivery names its event, the same on every retry, for system HTTP. Where
	// it is not written, or a delivery has none, equal topic and body are the same event.
	// +optional
	EventID *WebhookEventID `json:"eventId,omitempty"`
	// The topics that carry an order, for systems HTTP, StandardWebhooks and CloudEvents.
	// Events of others are kept and change nothing. All do where none is written.
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=255
	// +listType=set
	// +optional
	OrderTopics []string `json:"orderTopics,omitempty"`
	// How a body becomes an order, for systems HTTP, StandardWebhooks and CloudEvents: an
	// expression (CEL) that sees body and topic, whose value is a map with the fields of
	// the canonical order, such as {"id": string(body.number), "updated_at": body.changed,
	// "lines": []}. No order where the value is null, absent or {}. Where it is not
	// written, the body, or its data, has that form.
	// +kubebuilder:validation:MaxLength=65536
	// +optional
	Order string `json:"order,omitempty"`
}

// HMAC says how a sender signs its deliveries with a secret that both know.
//
// +kubebuilder:validation:XValidation:rule="!has(self.signed) || self.signed.contains('{timestamp}') == has(self.timestamp)",message="signed holds {timestamp} where there is a timestamp, and only there: one that is not signed protects from nothing"
// +kubebuilder:validation:XValidation:rule="!has(self.signed) || self.signed.split('{body}').size() == 2 && self.signed.split('{timestamp}').size() <= 2",message="signed holds {body} once, and {timestamp} at most once, such as \"{timestamp}.{body}\""
type HMAC struct {
	// The header with the signature, such as X-Hub-Signature-256. It may hold several,
	// with "," or ";" between them: one that is right is enough.
	// +required
	Header HeaderName `json:"header"`
	// SHA1 is for senders that know nothing else: its collisions do not help to forge an
	// HMAC (RFC 6194, section 3.3).
	// +kubebuilder:default=SHA256
	// +optional
	Algorithm HMACAlgorithm `json:"algorithm,omitempty"`
	// How the signature is written.
	// +kubebuilder:default=Hex
	// +optional
	Encoding SignatureEncoding `json:"encoding,omitempty"`
	// What stands in front of it, such as "sha256=".
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule=`self.matches(r'^[\x21-\x2b\x2d-\x3a\x3c-\x7e]*$')`,message="prefix is letters and signs without space, ',' and ';', such as sha256="
	// +optional
	Prefix string `json:"prefix,omitempty"`
	// What is signed: {body} is the body as it comes, {timestamp} what the header says.
	// "{timestamp}.{body}" where it is not written and there is a timestamp, else "{body}".
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule=`self.matches(r'^[^{}]*(\{(body|timestamp)\}[^{}]*)+$')`,message="signed is a text in which {body} stands, and {timestamp} where there is one, such as {timestamp}.{body}"
	// +optional
	Signed string `json:"signed,omitempty"`
	// Where a delivery says when it was sent. Without it, who records one can send it
	// again for ever; that changes nothing while its order is known.
	// +optional
	Timestamp *SignedTimestamp `json:"timestamp,omitempty"`
}

// HeaderName is the name of a header, never what it holds.
//
// +kubebuilder:validation:MaxLength=128
// +kubebuilder:validation:XValidation:rule=`self.matches(r"^[A-Za-z0-9!#$%&'*+.^_|~-]+$")`,message="found what is no name of a header, write one such as X-Hub-Signature-256; what the header holds never belongs here"
type HeaderName string

// HMACAlgorithm is the hash of an HMAC.
//
// +kubebuilder:validation:Enum=SHA1;SHA256;SHA512
type HMACAlgorithm string

// The hashes.
const (
	HMACAlgorithmSHA1   HMACAlgorithm = "SHA1"
	HMACAlgorithmSHA256 HMACAlgorithm = "SHA256"
	HMACAlgorithmSHA512 HMACAlgorithm = "SHA512"
)

// SignatureEncoding is how the bytes of a signature are written.
//
// +kubebuilder:validation:Enum=Base64;Hex
type SignatureEncoding string

// The encodings.
const (
	SignatureEncodingBase64 SignatureEncoding = "Base64"
	SignatureEncodingHex    SignatureEncoding = "Hex"
)

// SignedTimestamp says where a delivery tells when it was sent.
type SignedTimestamp struct {
	// Such as X-Slack-Request-Timestamp, or the header of the signature.
	// +required
	Header HeaderName `json:"header"`
	// What stands in front of it, such as "t=".
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule=`self.matches(r'^[\x21-\x2b\x2d-\x3a\x3c-\x7e]*$')`,message="prefix is letters and signs without space, ',' and ';', such as t="
	// +optional
	Prefix string `json:"prefix,omitempty"`
	// +kubebuilder:default=UnixSeconds
	// +optional
	Format TimestampFormat `json:"format,omitempty"`
}

// TimestampFormat is how a time is written.
//
// +kubebuilder:validation:Enum=UnixSeconds;UnixMilliseconds;RFC3339
type TimestampFormat string

// The formats.
const (
	TimestampFormatUnixSeconds      TimestampFormat = "UnixSeconds"
	TimestampFormatUnixMilliseconds TimestampFormat = "UnixMilliseconds"
	TimestampFormatRFC3339          TimestampFormat = "RFC3339"
)

// WebhookTopic says where a delivery tells what it is about.
//
// +kubebuilder:validation:XValidation:rule="[has(self.header), has(self.field), has(self.constant)].filter(written, written).size() == 1",message="topic is one of header, field and constant"
type WebhookTopic struct {
	// A header, such as X-Shop-Topic.
	// +optional
	Header HeaderName `json:"header,omitempty"`
	// A field of the body, such as type or meta.event.
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule=`self.matches(r'^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$')`,message="field is a field of the body, such as type or meta.event"
	// +optional
	Field string `json:"field,omitempty"`
	// The topic of all deliveries.
	// +kubebuilder:validation:MaxLength=255
	// +optional
	Constant string `json:"constant,omitempty"`
}

// WebhookEventID says where a delivery names its event.
//
// +kubebuilder:validation:XValidation:rule="has(self.header) != has(self.field)",message="eventId is one of header and field"
type WebhookEventID struct {
	// A header, such as X-GitHub-Delivery.
	// +optional
	Header HeaderName `json:"header,omitempty"`
	// A field of the body, such as id or meta.id.
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule=`self.matches(r'^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$')`,message="field is a field of the body, such as id or meta.id"
	// +optional
	Field string `json:"field,omitempty"`
}

// SignsTime reports whether the Connector's deliveries are signed with the time at which
// they were sent.
func (s *ConnectorSpec) SignsTime() bool {
	if s.Webhook == nil {
		return false
	}
	switch s.System {
	case SystemStandardWebhooks, SystemStripe, SystemBigCommerce:
		return true
	default:
		return s.Webhook.HMAC != nil && s.Webhook.HMAC.Timestamp != nil
	}
}
