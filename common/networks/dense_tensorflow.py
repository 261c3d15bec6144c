"""The network of `dense_numpy.py` in low-level TensorFlow, which derives the gradients."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from common.networks import dense_numpy

ACTIVATIONS = {"relu": tf.nn.relu, "sigmoid": tf.math.sigmoid, "tanh": tf.math.tanh}


class DenseNetwork(dense_numpy.DenseNetwork):
    """A network of dense layers, created and used like the one in NumPy."""

    def __init__(self, parameters: Sequence[np.ndarray], activation: str, *args, **keywords):
        """As in NumPy."""
        super().__init__(parameters, activation, *args, **keywords)
        self.activation = ACTIVATIONS[activation]
        self.steps = tf.Variable(0, dtype=tf.int64)
        self.parameters = [tf.Variable(values) for values in self.parameters]
        self.first_moment = [tf.Variable(values) for values in self.first_moment]
        self.second_moment = [tf.Variable(values) for values in self.second_moment]
        # TensorFlow traces Python code into a graph, once for all batches whatever their size.
        batch = (tf.TensorSpec((None, 28, 28), tf.uint8), tf.TensorSpec(None, tf.uint8))
        step = (*batch, tf.TensorSpec((), self.dtype), tf.TensorSpec(2, tf.int64))
        self.traced_step = tf.function(self.step, input_signature=step)
        self.traced_forward = tf.function(self.forward, input_signature=batch[:1])

    def forward(self, images: tf.Tensor, seed: tf.Tensor | None = None) -> tf.Tensor:
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

    def step(self, images, labels, rate, seed) -> tf.Tensor:
        """One step down the gradient: the loss and accuracy before it."""
        with tf.GradientTape() as tape:
            logits = self.forward(images, seed)
            labels = tf.cast(labels, tf.int64)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
            loss = tf.reduce_mean(losses) if self.loss == "mean" else tf.reduce_sum(losses)
        gradients = tape.gradient(loss, self.parameters)
        self.steps.assign_add(1)
        self.update(gradients, rate)
        right = tf.cast(tf.argmax(logits, axis=1) == labels, self.dtype)
        return tf.stack([tf.reduce_mean(losses), tf.reduce_mean(right)])

    def train_step(self, images, labels, rate, seed: Sequence[int] = (0,)) -> tuple[float, float]:
        """As in NumPy."""
        # TensorFlow's random numbers are drawn from two integers.
        two = np.random.SeedSequence(seed).generate_state(2).astype(np.int64)
        loss, accuracy = self.traced_step(images, labels, self.dtype(rate), two).numpy()
        return float(loss), float(accuracy)

    def sgd(self, gradients: list, rate: tf.Tensor) -> None:
        """Gradient descent."""
        for values, gradient, *_ in self.with_moments(gradients):
            values.assign_sub(rate * gradient)

    def momentum(self, gradients: list, rate: tf.Tensor, momentum: float = 0.9) -> None:
        """Gradient descent with momentum."""
        for values, gradient, velocity, _ in self.with_moments(gradients):
            velocity.assign(momentum * velocity - rate * gradient)
            values.assign_add(velocity)

    def adam(self, gradients: list, rate, beta1: float = 0.9, beta2: float = 0.999) -> None:
        """Adam."""
        steps = tf.cast(self.steps, tf.float64)
        rate *= tf.cast(tf.sqrt(1 - beta2**steps) / (1 - beta1**steps), self.dtype)
        for values, gradient, first, second in self.with_moments(gradients):
            first.assign_add((1 - beta1) * (gradient - first))
            second.assign_add((1 - beta2) * (gradient * gradient - second))
            values.assign_sub(rate * first / (tf.sqrt(second) + 1e-7))

    def logits(self, images: np.ndarray) -> np.ndarray:
        """As in NumPy."""
        return self.traced_forward(images).numpy()

    def restore(self, state: Sequence[np.ndarray]) -> None:
        """Put back what `state` gave."""
        variables = (*self.parameters, *self.first_moment, *self.second_moment, self.steps)
        for variable, values in zip(variables, state, strict=True):
            variable.assign(values)
