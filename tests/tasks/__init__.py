"""Tests of the benchmarks as data."""
