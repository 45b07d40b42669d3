//go:build !race

package simulation_test

// defaultSeeds is how many seeds a plain run of the tests takes.
const defaultSeeds = 400
