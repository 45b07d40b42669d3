//go:build race

package simulation_test

// defaultSeeds is how many seeds a plain run of the tests takes: under the race detector each is ten times slower.
const defaultSeeds = 60

// defaultBurst is how many events a plain run queues at once.
const defaultBurst = 200
