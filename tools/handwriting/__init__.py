"""From a picture of handwriting to the form of MNIST's images."""
