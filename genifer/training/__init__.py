"""The trainings of classifier and GAN, and their shared parts: loop, resume state, metrics, checkpoints."""
