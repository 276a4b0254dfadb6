//go:build race

package throttledispatcher_test

// slowness is how many times slower everything is under the race detector, about.
const slowness = 5
