// Package chaos kills, stops, slows and misleads the product, as processes of their
// own, and lets the simulated ERP judge what arrived: never more than its limits take
// in any window, each order once, its edits in order, and all of them. It cuts the power
// of the disk that the product stores on, takes its disk space and its NATS away, and
// sends it what no sender should, and reads past the product whether every webhook that
// got 2xx is stored.
//
// make test runs each test in its short form, some of them beside others; make chaos runs
// the long one (-long), one after the other.
// Each prints its seed, and -seed repeats it.
package chaos
