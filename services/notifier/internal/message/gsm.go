package message

import (
	"strings"
	"unicode"
)

// The default alphabet of SMS (GSM 03.38) without its control characters.
// Those of the extension take two septets.
const (
	basic = "@£$¥èéùìòÇØøÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?" +
		"¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
	extension = "^{}\\[~]|€"
	ellipsis  = "..."
	unknown   = '?'
)

// spellings are the characters that people and systems write most often and
// the alphabet lacks.
var spellings = strings.NewReplacer(
	"‘", "'", "’", "'", "‚", "'", "`", "'", "´", "'", "“", "\"", "”", "\"", "„", "\"", "«", "\"", "»", "\"",
	"–", "-", "—", "-", "‐", "-", "‑", "-", "−", "-", "…", ellipsis, "•", "-", "·", "-", "×", "x", "№", "No.",
	"á", "a", "â", "a", "ã", "a", "À", "A", "Á", "A", "Â", "A", "Ã", "A", "ç", "c", "č", "c", "ć", "c", "Č", "C",
	"ê", "e", "ë", "e", "ě", "e", "ę", "e", "È", "E", "Ê", "E", "Ë", "E", "í", "i", "î", "i", "ï", "i", "Í", "I", "Î", "I",
	"ł", "l", "Ł", "L", "ń", "n", "ó", "o", "ô", "o", "õ", "o", "ő", "o", "Ó", "O", "Ô", "O", "Õ", "O", "ř", "r", "š", "s",
	"ś", "s", "ş", "s", "Š", "S", "ú", "u", "û", "u", "ű", "u", "ů", "u", "Ú", "U", "Û", "U", "ý", "y", "ž", "z", "ź", "z", "ż", "z", "Ž", "Z",
)

// plain returns text on one line in the alphabet, cut to at most limit septets;
// what was cut is marked. Characters that the alphabet lacks become one "?" for
// each run of them.
func plain(text string, limit int) string {
	// Far more than fits, and a bound on what a hostile text costs.
	if most := 16 * Segment; len(text) > most {
		text = text[:most]
	}
	text = spellings.Replace(strings.ToValidUTF8(text, string(unknown)))
	var b strings.Builder
	last := ' '
	for _, r := range text {
		switch {
		case unicode.IsSpace(r) || unicode.IsControl(r):
			r = ' '
		case width(r) == 0:
			r = unknown
		}
		if r == last && (r == ' ' || r == unknown) {
			continue
		}
		last = r
		b.WriteRune(r)
	}
	return cut(strings.TrimRight(b.String(), " "), limit)
}

// cut shortens a text of the alphabet to limit septets, between two words where
// that costs little.
func cut(text string, limit int) string {
	if septets(text) <= limit {
		return text
	}
	if limit < len(ellipsis) {
		return ""
	}
	used, space := 0, 0
	for at, r := range text {
		if r == ' ' {
			space = at
		}
		if used += width(r); used <= limit-len(ellipsis) {
			continue
		}
		if at-space < at/4 {
			at = space
		}
		return strings.TrimRight(text[:at], " ,.:;") + ellipsis
	}
	return text
}

// septets returns the length of a text of the alphabet on the air.
func septets(text string) int {
	n := 0
	for _, r := range text {
		n += width(r)
	}
	return n
}

// width returns how many septets a character takes, 0 where it has none.
func width(r rune) int {
	switch {
	case strings.ContainsRune(basic, r):
		return 1
	case strings.ContainsRune(extension, r):
		return 2
	default:
		return 0
	}
}
