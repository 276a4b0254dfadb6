// Package bench holds the benchmarks of the product as a whole, from outside,
// beside what the machine can do at most.
package bench
