"""How the weights of a dense network start, for Keras and for the engines from scratch."""

import itertools
from collections.abc import Sequence

import numpy as np

# Each is a normal or a uniform distribution around 0, of this variance.
VARIANCES = {
    "glorot_uniform": lambda fan_in, fan_out: 2 / (fan_in + fan_out),
    "he_normal": lambda fan_in, fan_out: 2 / fan_in,
    "standard_normal": lambda fan_in, fan_out: 1,
    "fan_out_normal": lambda fan_in, fan_out: 1 / fan_out,
}


def initial_parameters(sizes: Sequence[int], initializer: str, seed: int) -> list[np.ndarray]:
    """Random float64 [W_1, b_1, W_2, b_2, ...] for layers of `sizes` units, the pixels first."""
    generator = np.random.default_rng(seed)
    parameters = []
    for fan_in, fan_out in itertools.pairwise(sizes):
        variance = VARIANCES[initializer](fan_in, fan_out)
        deviation, limit = np.sqrt(variance), np.sqrt(3 * variance)
        if initializer == "glorot_uniform":
            weights = generator.uniform(-limit, limit, (fan_in, fan_out))
        else:
            weights = generator.normal(0, deviation, (fan_in, fan_out))
        drawn = initializer == "fan_out_normal"
        biases = generator.normal(0, deviation, fan_out) if drawn else np.zeros(fan_out)
        parameters += [weights, biases]
    return parameters


def keras_initializers(name: str) -> dict:
    """The same as `kernel_initializer` and `bias_initializer` of a Keras layer."""
    from keras import initializers

    start = {
        "glorot_uniform": initializers.GlorotUniform,
        "he_normal": lambda: initializers.VarianceScaling(2, distribution="untruncated_normal"),
        "standard_normal": lambda: initializers.RandomNormal(stddev=1),
        "fan_out_normal": lambda: initializers.VarianceScaling(1, "fan_out", "untruncated_normal"),
    }[name]()
    drawn = name == "fan_out_normal"
    return {"kernel_initializer": start, "bias_initializer": start if drawn else "zeros"}
