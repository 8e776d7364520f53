"""How fast a run's stages are on this machine, and how near to what it can do.

Networks are new and images random: only sizes matter. Each figure is the median over several
repeats of so many steps, after steps to warm up; a GPU is waited for before a clock is read.
"""
