// Package scenario holds the tests of the product as its users meet it: built,
// started as a process, fed and judged from outside. Those that measure pace or judge by
// the clock run one after the other, those that mostly wait run at the same time.
package scenario
