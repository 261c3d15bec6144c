"""The dense network of `dense_numpy.py` again, in low-level TensorFlow.

Variables, `tf.function`, `GradientTape` and updates by hand; nothing of Keras. TensorFlow derives
the gradients by itself, and computes on a GPU where there is one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from common.networks import dense_numpy

ACTIVATIONS = {"relu": tf.nn.relu, "sigmoid": tf.math.sigmoid, "tanh": tf.math.tanh}


class DenseNetwork(dense_numpy.DenseNetwork):
    """A network of dense layers, created and used like the one in NumPy."""

    def __init__(
        self, parameters: Sequence[np.ndarray], activation: str, dropout: float = 0, **keywords
    ) -> None:
        """As in NumPy."""
        super().__init__(parameters, activation, dropout, **keywords)
        self.activation = ACTIVATIONS[activation]
        self.steps = tf.Variable(0, dtype=tf.int64)
        self.parameters = [tf.Variable(values) for values in self.parameters]
        self.velocity = [tf.Variable(values) for values in self.velocity]
        self.square = [tf.Variable(values) for values in self.square]
        # TensorFlow traces Python code into a graph, once for all batches whatever their size.
        batch = (tf.TensorSpec((None, 28, 28), tf.uint8), tf.TensorSpec(None, tf.uint8))
        step = (*batch, tf.TensorSpec((), self.dtype), tf.TensorSpec(2, tf.int64))
        self._step = tf.function(self._step, input_signature=step)
        self._logits = tf.function(self.logits, input_signature=batch[:1])

    def logits(self, images: tf.Tensor, seed: tf.Tensor | None = None) -> tf.Tensor:
        """Logits (m, 10) of `images`, uint8 (m, 28, 28); with a `seed`, dropout is on."""
        pixels = tf.cast(images, tf.float32) * (1 / 255 if self.rescale else 1)
        outputs = tf.cast(tf.reshape(pixels, (-1, 784)), self.dtype)
        *hidden, (weights, biases) = zip(self.parameters[::2], self.parameters[1::2], strict=True)
        for layer, (hidden_weights, hidden_biases) in enumerate(hidden):
            outputs = self.activation(outputs @ hidden_weights + hidden_biases)
            if seed is not None and self.dropout:
                random = tf.random.stateless_uniform(tf.shape(outputs), seed + layer)
                kept = tf.cast(random >= self.dropout, self.dtype)
                outputs *= kept / (1 - self.dropout)
        return outputs @ weights + biases

    def _step(
        self, images: tf.Tensor, labels: tf.Tensor, rate: tf.Tensor, seed: tf.Tensor
    ) -> tf.Tensor:
        with tf.GradientTape() as tape:
            logits = self.logits(images, seed)
            labels = tf.cast(labels, tf.int64)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
            reduce = tf.reduce_mean if self.loss == "mean" else tf.reduce_sum
            loss = reduce(losses)
        gradients = tape.gradient(loss, self.parameters)
        self.steps.assign_add(1)
        self.update(gradients, rate)
        right = tf.cast(tf.argmax(logits, axis=1) == labels, self.dtype)
        return tf.stack([tf.reduce_mean(losses), tf.reduce_mean(right)])

    def train_step(
        self, images: np.ndarray, labels: np.ndarray, rate: float, seed: Sequence[int] = (0,)
    ) -> tuple[float, float]:
        """One step of learning rate `rate` down the gradient: the loss and accuracy before it."""
        # TensorFlow's random numbers take two integers, which these are made into.
        two = np.random.SeedSequence(seed).generate_state(2)
        loss, accuracy = self._step(images, labels, self.dtype(rate), two.astype(np.int64)).numpy()
        return float(loss), float(accuracy)

    def descend(self, gradients: list[tf.Tensor], rate: tf.Tensor) -> None:
        """Gradient descent."""
        for values, gradient in zip(self.parameters, gradients, strict=True):
            values.assign_sub(rate * gradient)

    def roll(self, gradients: list[tf.Tensor], rate: tf.Tensor, friction: float = 0.9) -> None:
        """Gradient descent with momentum."""
        for values, gradient, velocity in zip(
            self.parameters, gradients, self.velocity, strict=True
        ):
            velocity.assign(friction * velocity - rate * gradient)
            values.assign_add(velocity)

    def adapt(
        self,
        gradients: list[tf.Tensor],
        rate: tf.Tensor,
        beta1: float = 0.9,
        beta2: float = 0.999,
    ) -> None:
        """Adam."""
        steps = tf.cast(self.steps, tf.float64)
        rate *= tf.cast(tf.sqrt(1 - beta2**steps) / (1 - beta1**steps), self.dtype)
        for values, gradient, velocity, square in zip(
            self.parameters, gradients, self.velocity, self.square, strict=True
        ):
            velocity.assign_add((1 - beta1) * (gradient - velocity))
            square.assign_add((1 - beta2) * (gradient * gradient - square))
            values.assign_sub(rate * velocity / (tf.sqrt(square) + 1e-7))

    @property
    def variables(self) -> list[tf.Variable]:
        """All that training changes."""
        return [*self.parameters, *self.velocity, *self.square, self.steps]

    def state(self) -> list[np.ndarray]:
        """Copies of the variables' values."""
        return [variable.numpy() for variable in self.variables]

    def restore(self, state: Sequence[np.ndarray]) -> None:
        """Put back what `state` gave."""
        for variable, values in zip(self.variables, state, strict=True):
            variable.assign(values)

    def predict(self, images: np.ndarray, batch_size: int = 1000, verbose: int = 0) -> np.ndarray:
        """Logits (n, 10) of `images`, uint8 (n, 28, 28). Called like Keras's own."""
        starts = range(0, len(images), batch_size)
        return np.concatenate([self._logits(images[i : i + batch_size]).numpy() for i in starts])
