"""How fast a run's trainings are on this machine, and how near to what the machine can do.

Networks are untrained and images random: only sizes matter. Each figure is the median over several repeats of
several steps, after steps to warm up; on a GPU the clock is read when the GPU has finished.
"""
