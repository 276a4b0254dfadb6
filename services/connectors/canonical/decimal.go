package canonical

import (
	"strconv"
	"strings"
)

const (
	// exact is how many significant digits of a decimal a double keeps (DBL_DIG). A
	// fraction with more of them has been one on its way: 19.899999999999999 was 19.90.
	exact = 15
	// furthest is as far as an exponent moves the point; further out there is no money.
	furthest = 30
)

// decimal writes a number of JSON as digits with at most a point in them, without an
// exponent; false where it is no number or an absurd one. Whole numbers keep all their
// digits, fractions those that were written.
func decimal(number string) (string, bool) {
	mantissa, exponent, scientific := cutAny(number, "eE")
	shift := 0
	if scientific {
		parsed, err := strconv.Atoi(exponent)
		if err != nil || parsed < -furthest || parsed > furthest {
			return "", false
		}
		shift = parsed
	}
	digits, negative := strings.CutPrefix(mantissa, "-")
	whole, fraction, pointed := strings.Cut(digits, ".")
	if !plain(mantissa) {
		return "", false
	}
	if pointed && len(strings.TrimLeft(whole+fraction, "0")) > exact && !scientific {
		return rounded(number)
	}
	whole, fraction = moved(whole, fraction, shift)
	if fraction != "" {
		whole += "." + fraction
	}
	if negative {
		whole = "-" + whole
	}
	return whole, true
}

// plain reports whether a text is digits with at most a point in them, and a sign.
func plain(text string) bool {
	const longest = 40
	whole, fraction, pointed := strings.Cut(strings.TrimPrefix(text, "-"), ".")
	return whole != "" && (fraction != "" || !pointed) && strings.Trim(whole+fraction, "0123456789") == "" && len(text) <= longest
}

// moved moves the point to the right, or to the left where shift is negative.
func moved(whole, fraction string, shift int) (string, string) {
	switch {
	case shift > 0:
		fraction += strings.Repeat("0", max(0, shift-len(fraction)))
		whole, fraction = whole+fraction[:shift], fraction[shift:]
	case shift < 0:
		whole = strings.Repeat("0", max(0, 1-shift-len(whole))) + whole
		whole, fraction = whole[:len(whole)+shift], whole[len(whole)+shift:]+fraction
	default:
		return whole, fraction
	}
	if whole = strings.TrimLeft(whole, "0"); whole == "" {
		whole = "0"
	}
	return whole, fraction
}

func rounded(number string) (string, bool) {
	value, err := strconv.ParseFloat(number, 64)
	if err != nil {
		return "", false
	}
	if value, err = strconv.ParseFloat(strconv.FormatFloat(value, 'g', exact, 64), 64); err != nil {
		return "", false
	}
	return strconv.FormatFloat(value, 'f', -1, 64), true
}

func cutAny(text, letters string) (before, after string, found bool) {
	if i := strings.IndexAny(text, letters); i >= 0 {
		return text[:i], text[i+1:], true
	}
	return text, "", false
}
