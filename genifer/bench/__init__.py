"""Benchmarks: the speed of a run's trainings on this machine, and its ratio to the machine's peak.

Networks are untrained and images random, because only their sizes matter. Each figure is the median over
several repeats of several steps, after warm-up steps; on a GPU, timing includes waiting for the GPU.
"""
