"""Trainings of classifier and GAN, and what they share: loop, resume state, metrics, checkpoints."""
