// Package arch holds the tests of the repository's structure: who may import
// whom, which names and sizes a file may have, and why. A rule that is only
// written down is not kept, so each stands here with its reason, which the
// failure prints, and with a case that it refuses.
package arch
