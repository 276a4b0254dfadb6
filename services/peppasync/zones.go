package main

// The images hold nothing but the binary, and maintenance windows name time
// zones.
import _ "time/tzdata"
