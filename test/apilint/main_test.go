package main

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
)

func TestWhatBreaksTheConventionsIsFound(t *testing.T) {
	var out bytes.Buffer
	none := []exception{{"nofloats", regexp.MustCompile("nothing has this field"), "to be told that it is needless"}}
	err := run(&out, ".", "./testdata/v1alpha1", none)
	if err == nil {
		t.Error("nothing is wrong with it")
	}
	text := out.String()
	for what, want := range map[string]string{
		"a float":                       "Broken.Share",
		"a time that is a number":       "Broken.Wait is a number of nanoseconds",
		"an integer of the machine":     "Broken.Times should not use an int",
		"neither optional nor required": "Broken.Name must be marked as optional or required",
		"an exception that is needless": `nothing needs the exception of nofloats`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%s is not found: no %q in\n%s", what, want, text)
		}
	}
	if strings.Contains(text, "since") {
		t.Errorf("what is not in the YAML is judged:\n%s", text)
	}
}

func TestAnExceptionStands(t *testing.T) {
	var out bytes.Buffer
	everything := regexp.MustCompile("")
	except := []exception{
		{"nofloats", everything, ""}, {"numericTimes", everything, ""}, {"integers", everything, ""},
		{"optionalorrequired", everything, ""}, {"maxlength", everything, ""},
	}
	if err := run(&out, ".", "./testdata/v1alpha1", except); err != nil {
		t.Errorf("%v:\n%s", err, out.String())
	}
}

func TestWhatIsNotThereIsNoSuccess(t *testing.T) {
	var out bytes.Buffer
	if err := run(&out, ".", "./testdata/nothing", nil); err == nil {
		t.Error("a package that is not there breaks no convention")
	}
}
