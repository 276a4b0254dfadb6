// Package scenario holds the tests of the product as its users meet it: built,
// started as a process, fed and judged from outside. They measure pace, so they
// run one after the other.
package scenario
