"""A dense network from scratch: forward propagation, backward propagation, gradient descent.

Nothing but NumPy. A batch of m images is a matrix (m, 784), an image a row. Some texts lay each
image in a column: their W X + b is the transpose of our X W + b, which is how Keras keeps its
weights, too. With layers l = 1 ... L of n_l units each, forward propagation is

    A_0 = X                                 (m, 784)          pixels between 0 and 1
    Z_l = A_(l-1) W_l + b_l                 (m, n_l)          W_l: (n_(l-1), n_l), b_l: (n_l,)
    A_l = f(Z_l)                            (m, n_l)          f: the activation
    P   = softmax(Z_L)                      (m, 10)           the last layer's Z are the logits
    C   = -1/m sum over i of log P[i, y_i]                    cross-entropy with the labels y

and backward propagation is the chain rule (Rumelhart, Hinton and Williams, Nature 323, 1986)

    dC/dZ_L     = (P - Y) / m               (m, 10)           Y: the labels, one-hot
    dC/dW_l     = A_(l-1)^T dC/dZ_l         as W_l
    dC/db_l     = sum of the rows of dC/dZ_l
    dC/dZ_(l-1) = (dC/dZ_l W_l^T) f'(Z_(l-1))                 element by element
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from common.data.load import normalise


def sigmoid(z: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-z)), written so that it overflows for no z."""
    return 0.5 * np.tanh(0.5 * z) + 0.5


# An activation f(z), and its derivative f'(z) in terms of a = f(z).
ACTIVATIONS = {
    "relu": (lambda z: np.maximum(z, 0), lambda a: (a > 0).astype(a.dtype)),
    "sigmoid": (sigmoid, lambda a: a * (1 - a)),
    "tanh": (np.tanh, lambda a: 1 - a * a),
}


def initial_parameters(sizes: Sequence[int], initializer: str, seed: int) -> list[np.ndarray]:
    """Random [W_1, b_1, W_2, b_2, ...] for layers of `sizes` units, the pixels first: float64.

    The initializers are those of `mnist_dense.py`; all but fan_out_normal make biases zero.
    """
    generator = np.random.default_rng(seed)
    parameters = []
    for fan_in, fan_out in itertools.pairwise(sizes):
        weights, biases = (fan_in, fan_out), (fan_out,)
        if initializer == "glorot_uniform":
            limit = np.sqrt(6 / (fan_in + fan_out))
            parameters += [generator.uniform(-limit, limit, weights), np.zeros(biases)]
        elif initializer == "he_normal":
            parameters += [generator.normal(0, np.sqrt(2 / fan_in), weights), np.zeros(biases)]
        elif initializer == "standard_normal":
            parameters += [generator.normal(0, 1, weights), np.zeros(biases)]
        elif initializer == "fan_out_normal":
            deviation = np.sqrt(1 / fan_out)
            parameters += [generator.normal(0, deviation, shape) for shape in (weights, biases)]
        else:
            raise ValueError(f"no initializer {initializer!r}")
    return parameters


class DenseNetwork:
    """A network of dense layers, and the arithmetic that trains it."""

    def __init__(
        self,
        parameters: Sequence[np.ndarray],
        activation: str,
        dropout: float = 0,
        *,
        rescale: bool = True,
        loss: str = "mean",
        optimizer: str = "sgd",
        dtype: type = np.float32,
    ) -> None:
        """`parameters`: [W_1, b_1, W_2, b_2, ...], to start from.

        activation: "relu", "sigmoid" or "tanh"
        dropout: share of each hidden layer's outputs dropped while training
        rescale: False feeds the pixels as they are, 0 to 255
        loss: gradients of the batch's "mean" cross-entropy, or of the "sum"
        optimizer: "sgd" (gradient descent), "momentum" or "adam"
        """
        self.parameters = [np.array(values, dtype) for values in parameters]
        self.activation, self.slope = ACTIVATIONS[activation]
        self.dropout, self.rescale, self.loss, self.dtype = dropout, rescale, loss, dtype
        self.update = {"sgd": self.descend, "momentum": self.roll, "adam": self.adapt}[optimizer]
        self.steps = 0
        self.velocity = [np.zeros_like(values) for values in self.parameters]
        self.square = [np.zeros_like(values) for values in self.parameters]

    def forward(
        self, images: np.ndarray, generator: np.random.Generator | None = None
    ) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray]:
        """Forward propagation of `images`, uint8 (m, 28, 28): A_0 ... A_(L-1), slopes, logits.

        The slopes are f'(Z_1) ... f'(Z_(L-1)). While training, with a `generator`, some outputs
        are dropped and the others enlarged, so that the expected sum stays (inverted dropout:
        https://jmlr.org/papers/v15/srivastava14a.html).
        """
        pixels = normalise(images) if self.rescale else images
        layers, slopes = [pixels.reshape(len(images), -1).astype(self.dtype, copy=False)], []
        *hidden, (weights, biases) = zip(self.parameters[::2], self.parameters[1::2], strict=True)
        for hidden_weights, hidden_biases in hidden:
            outputs = self.activation(layers[-1] @ hidden_weights + hidden_biases)
            slope = self.slope(outputs)
            if generator and self.dropout:
                kept = generator.random(outputs.shape, np.float32) >= self.dropout
                scale = kept * self.dtype(1 / (1 - self.dropout))
                outputs, slope = outputs * scale, slope * scale
            layers.append(outputs)
            slopes.append(slope)
        return layers, slopes, layers[-1] @ weights + biases

    def gradients(
        self, images: np.ndarray, labels: np.ndarray, generator: np.random.Generator | None = None
    ) -> tuple[float, float, list[np.ndarray]]:
        """Backward propagation: mean cross-entropy, accuracy, and a gradient for each parameter.

        `labels`: (m,), 0 to 9. With a `generator`, dropout is on.
        """
        layers, slopes, logits = self.forward(images, generator)
        loss, probabilities = cross_entropy_and_softmax(logits, labels)
        accuracy = float((logits.argmax(axis=1) == labels).mean())

        error = probabilities  # dC/dZ_L, and then dC/dZ_l for ever lower l
        error[np.arange(len(labels)), labels] -= 1
        if self.loss == "mean":
            error /= len(labels)
        gradients = []
        for layer in reversed(range(len(layers))):
            gradients = [layers[layer].T @ error, error.sum(axis=0), *gradients]
            if layer:
                error = (error @ self.parameters[2 * layer].T) * slopes[layer - 1]
        return loss, accuracy, gradients

    def train_step(
        self, images: np.ndarray, labels: np.ndarray, rate: float, seed: Sequence[int] = (0,)
    ) -> tuple[float, float]:
        """One step of learning rate `rate` down the gradient: the loss and accuracy before it.

        `seed`: what dropout is drawn from, different for every step.
        """
        generator = np.random.default_rng(seed)
        loss, accuracy, gradients = self.gradients(images, labels, generator)
        self.steps += 1
        self.update(gradients, rate)
        return loss, accuracy

    def descend(self, gradients: list[np.ndarray], rate: float) -> None:
        """Gradient descent."""
        for values, gradient in zip(self.parameters, gradients, strict=True):
            values -= self.dtype(rate) * gradient

    def roll(self, gradients: list[np.ndarray], rate: float, friction: float = 0.9) -> None:
        """Gradient descent with momentum (Polyak, 1964)."""
        for values, gradient, velocity in zip(
            self.parameters, gradients, self.velocity, strict=True
        ):
            velocity *= self.dtype(friction)
            velocity -= self.dtype(rate) * gradient
            values += velocity

    def adapt(
        self, gradients: list[np.ndarray], rate: float, beta1: float = 0.9, beta2: float = 0.999
    ) -> None:
        """Adam (https://arxiv.org/abs/1412.6980, in the form at the end of its section 2)."""
        rate *= np.sqrt(1 - beta2**self.steps) / (1 - beta1**self.steps)
        for values, gradient, velocity, square in zip(
            self.parameters, gradients, self.velocity, self.square, strict=True
        ):
            velocity += self.dtype(1 - beta1) * (gradient - velocity)
            square += self.dtype(1 - beta2) * (gradient * gradient - square)
            values -= self.dtype(rate) * velocity / (np.sqrt(square) + self.dtype(1e-7))

    def predict(self, images: np.ndarray, batch_size: int = 1000, verbose: int = 0) -> np.ndarray:
        """Logits (n, 10) of `images`, uint8 (n, 28, 28). Called like Keras's own."""
        starts = range(0, len(images), batch_size)
        return np.concatenate([self.forward(images[i : i + batch_size])[2] for i in starts])

    def evaluate(self, images: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
        """Mean cross-entropy in nats, and accuracy, over `images` and their labels (n,)."""
        logits = self.predict(images)
        accuracy = float((logits.argmax(axis=1) == labels).mean())
        return cross_entropy_and_softmax(logits, labels)[0], accuracy

    def count_params(self) -> int:
        """How many numbers the network has learned."""
        return sum(np.size(values) for values in self.parameters)

    def state(self) -> list[np.ndarray]:
        """Copies of all that training changes: parameters, and what the optimizer remembers."""
        everything = (*self.parameters, *self.velocity, *self.square, self.steps)
        return [np.array(values) for values in everything]

    def restore(self, state: Sequence[np.ndarray]) -> None:
        """Put back what `state` gave."""
        everything = (*self.parameters, *self.velocity, *self.square)
        for values, saved in zip(everything, state[:-1], strict=True):
            values[:] = saved
        self.steps = int(state[-1])

    def save(self, path: Path) -> None:
        """Write the parameters to an .npz file: arrays `weights_1`, `biases_1`, `weights_2` ..."""
        # The names never end; zip takes as many as there are parameters.
        names = (f"{kind}_{n}" for n in itertools.count(1) for kind in ("weights", "biases"))
        arrays = dict(zip(names, map(np.asarray, self.parameters)))  # noqa: B905
        with path.open("wb") as file:
            np.savez(file, **arrays)


def cross_entropy_and_softmax(logits: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean cross-entropy in nats with `labels` (m,), and the softmax, of `logits` (m, classes)."""
    shifted = logits - logits.max(axis=1, keepdims=True)  # so that exp cannot overflow
    exponentials = np.exp(shifted)
    sums = exponentials.sum(axis=1, keepdims=True)
    of_labels = shifted[np.arange(len(labels)), labels, None]
    return float((np.log(sums) - of_labels).mean()), exponentials / sums
