"""The networks: classifier, generator, discriminator and its augmentation."""
