//go:build !race

package throttledispatcher_test

const slowness = 1
