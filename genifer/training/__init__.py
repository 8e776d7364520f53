"""The three trainings: first classes and bounds (supervised), GAN, next task (genifer)."""
