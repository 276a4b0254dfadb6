package catalog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// decodeFile reads all documents of one file.
func decodeFile(path string, data []byte) ([]Resource, Problems) {
	if problem := foreign(path, data); problem != nil {
		return []Resource{{File: path, broken: true}}, Problems{*problem}
	}
	var resources []Resource
	var problems Problems
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var document yaml.Node
		err := decoder.Decode(&document)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			// What follows a syntax error cannot be told apart any more.
			resources = append(resources, Resource{File: path, broken: true})
			problems = append(problems, syntaxProblem(path, data, err))
			break
		}
		resource, more := decodeDocument(path, &document)
		switch {
		case resource != nil:
			resources = append(resources, *resource)
		case len(more) > 0:
			resources = append(resources, Resource{File: path, broken: true})
		}
		problems = append(problems, more...)
	}
	problems.sort()
	return resources, problems
}

// foreign finds bytes that no YAML text holds, of which the library says no line.
func foreign(path string, data []byte) *Problem {
	for offset := 0; offset < len(data); {
		letter, size := utf8.DecodeRune(data[offset:])
		switch {
		case letter == utf8.RuneError && size == 1:
			return &Problem{File: path, Line: lineOf(data, offset), Message: "found bytes that are not UTF-8, expected text in UTF-8"}
		case letter < ' ' && letter != '\t' && letter != '\n' && letter != '\r',
			letter >= 0x7f && letter <= 0x9f && letter != 0x85, letter == 0xfffe, letter == 0xffff:
			return &Problem{File: path, Line: lineOf(data, offset), Message: fmt.Sprintf("found the control character %U, expected text", letter)}
		}
		offset += size
	}
	return nil
}

func lineOf(data []byte, offset int) int { return 1 + bytes.Count(data[:offset], []byte("\n")) }

var (
	// unfinished are the texts of the YAML library about something that has a
	// beginning, whose line they count from 0. It says where that begins, not
	// where it went wrong.
	unfinished = regexp.MustCompile(`^did not find expected (key|node content|'-' indicator|',' or '[\]}]'|<document start>)`)
	noAnchor   = regexp.MustCompile(`^unknown anchor '([^']*)'`)
	tabbed     = regexp.MustCompile(`^ *\t`)
)

// syntaxProblem takes the line out of the YAML library's text, which is where it
// says it; the first line is not said.
func syntaxProblem(path string, data []byte, err error) Problem {
	message, line := strings.TrimPrefix(err.Error(), "yaml: "), 1
	if rest, ok := strings.CutPrefix(message, "line "); ok {
		number, text, found := strings.Cut(rest, ": ")
		if n, err := strconv.Atoi(number); err == nil && found {
			line, message = n, text
			if unfinished.MatchString(text) {
				line++
			}
		}
	}
	where := ""
	if unfinished.MatchString(message) {
		where = " in what begins here"
	}
	expected := "key: value, with indentation by spaces"
	if anchor := noAnchor.FindStringSubmatch(message); anchor != nil {
		if offset := bytes.Index(data, []byte("*"+anchor[1])); offset >= 0 {
			line = lineOf(data, offset)
		}
		expected = fmt.Sprintf("&%s above it, or quotes around a text that begins with *", anchor[1])
	}
	lines := bytes.Split(data, []byte("\n"))
	line = min(line, len(lines)) // the end of the text counts as one more
	if tabbed.Match(lines[line-1]) {
		message = "a tab before the text"
	}
	return Problem{File: path, Line: line, Message: fmt.Sprintf("found text that is not YAML%s (%s), expected %s", where, message, expected)}
}
