"""What the experiments are about: images, augmentation, networks and plots."""
