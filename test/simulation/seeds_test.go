//go:build !race

package simulation_test

// defaultSeeds is how many seeds a plain run of the tests takes.
const defaultSeeds = 100

// defaultBurst is how many events a plain run queues at once.
const defaultBurst = 1000
