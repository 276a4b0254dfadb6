package main

import "regexp"

// off are the linters that are off, each with its reason. All others are on, those that
// come with a new version too.
var off = map[string]string{
	"commentstart":       "the comments are what kubectl explain shows, which has the field's name above them already",
	"conflictingmarkers": "it knows no markers that conflict by itself",
	"defaults":           "it wants +default, which takes no list of objects as it is written in YAML; +kubebuilder:default is known to everybody",
	"dependenttags":      "it knows no tags that depend on others by itself",
	"forbiddenmarkers":   "it forbids no markers by itself",
	"minlength":          "an empty text is one that is not written, and is taken for it",
	"namingconventions":  "it knows no conventions by itself",
	"nobools":            "paused: true is what everybody expects to write",
	"nodurations":        "people write 30s; numbers that are times are found here instead, by numericTimes",
	"optionalfields":     "the zero value of an optional field is that it is not written, which a pointer would say twice",
	"preferredmarkers":   "it prefers no markers by itself",
	"requiredfields":     "it does not read rules: what a program writes that forgets a required field is refused by the field's own rule, with its sentence",
}

// exception is a finding that stands.
type exception struct {
	linter  string
	message *regexp.Regexp
	reason  string
}

var exceptions = []exception{
	{
		"maxlength", regexp.MustCompile(`^field (ConnectorStatus|LimitStatus|Status)\.`),
		"the operator alone writes a status, and a bound would keep it from saying how things are",
	},
	{"noreferences", regexp.MustCompile(`field HTTPReply\.Reference:`), "it is what the other system calls an order, and names no object"},
	{"notimestamp", regexp.MustCompile(`field HMAC\.Timestamp:`), "senders call what they sign a timestamp, and {timestamp} stands in what is signed"},
	{"conditions", regexp.MustCompile(`must be the first field`), "a status reads in the order of its story"},
}
