"""A dense network from scratch: forward propagation, backward propagation, gradient descent.

Nothing but NumPy. A batch of m images is a matrix (m, 784), one image a row. (Some texts put each
image into a column: their W X + b is the transpose of our X W + b, which is also Keras's form.)
With layers l = 1 ... L of n_l units each, forward propagation is

    A_0 = X                                 (m, 784)          pixels between 0 and 1
    Z_l = A_(l-1) W_l + b_l                 (m, n_l)          W_l: (n_(l-1), n_l), b_l: (n_l,)
    A_l = f(Z_l)                            (m, n_l)          f: the activation
    P   = softmax(Z_L)                      (m, 10)           the last layer's Z are the logits
    C   = -1/m sum over i of log P[i, y_i]                    cross-entropy with the labels y

and backward propagation is the chain rule (Rumelhart, Hinton and Williams, Nature 323, 1986)

    dC/dZ_L     = (P - Y) / m               (m, 10)           Y: the labels, one-hot
    dC/dW_l     = A_(l-1)^T dC/dZ_l         (n_(l-1), n_l)
    dC/db_l     = sum over the m rows of dC/dZ_l              (n_l,)
    dC/dZ_(l-1) = (dC/dZ_l W_l^T) f'(Z_(l-1))                 element by element
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from common.data.dataset import normalise

# An activation f(z), and its derivative f'(z) in terms of a = f(z).
ACTIVATIONS = {
    "relu": (lambda z: np.maximum(z, 0), lambda a: (a > 0).astype(a.dtype)),
    # 1 / (1 + exp(-z)), written so that it overflows for no z
    "sigmoid": (lambda z: 0.5 * np.tanh(0.5 * z) + 0.5, lambda a: a * (1 - a)),
    "tanh": (np.tanh, lambda a: 1 - a * a),
}


class DenseNetwork:
    """A network of dense layers, with the methods of a Keras model."""

    def __init__(
        self,
        parameters: Sequence[np.ndarray],
        activation: str,
        dropout: float = 0,
        rescale: bool = True,
        dtype: type = np.float32,
    ) -> None:
        """`parameters`: [W_1, b_1, W_2, b_2, ...], to start from.

        activation: "relu", "sigmoid" or "tanh"
        dropout: fraction of each hidden layer's outputs dropped during training
        rescale: False takes the pixels as they are, 0 to 255
        """
        self.parameters = [np.array(values, dtype) for values in parameters]
        self.activation, self.derivative = ACTIVATIONS[activation]
        self.dropout, self.rescale, self.dtype = dropout, rescale, dtype
        self.steps = 0
        self.first_moment = [np.zeros_like(values) for values in self.parameters]
        self.second_moment = [np.zeros_like(values) for values in self.parameters]

    def compile(self, optimizer: str, learning_rate: Callable[[int], float], loss: str) -> None:
        """Choose how to train.

        optimizer: "sgd" (gradient descent), "momentum" or "adam"
        learning_rate: the rate of each step, counted from 0
        loss: "mean" or "sum" of the cross-entropies in a batch
        """
        self.update = {"sgd": self.sgd, "momentum": self.momentum, "adam": self.adam}[optimizer]
        self.learning_rate, self.loss = learning_rate, loss

    # An overflow needs no warning: it shows in the loss, which the callback looks at.
    @np.errstate(over="ignore", invalid="ignore")
    def fit(self, batches, epochs: int, initial_epoch: int, validation_data, callback) -> None:
        """What Keras's `fit` does, spelled out; a Keras `callback` may set `stop_training`.

        `batches[n]` and `validation_data`, which may be None, are images and labels.
        """
        self.stop_training = False
        for epoch in range(initial_epoch, epochs):
            callback.on_epoch_begin(epoch)
            sums = np.zeros(2)  # of the cross-entropies, and of the right predictions
            for number in range(len(batches)):
                images, labels = batches[number]
                rate = self.learning_rate(epoch * len(batches) + number)
                measured = self.train_step(images, labels, rate, batches.dropout_seed(number))
                sums += len(labels) * np.array(measured)
                callback.on_train_batch_end(number)
                if self.stop_training:
                    break
            logs = dict(zip(("loss", "accuracy"), sums / batches.images_per_epoch, strict=True))
            if validation_data and not self.stop_training:
                callback.on_test_begin()
                loss, accuracy = self.evaluate(*validation_data)
                logs |= {"val_loss": loss, "val_accuracy": accuracy}
            callback.on_epoch_end(epoch, logs)
            if self.stop_training:
                return

    def forward(
        self, images: np.ndarray, generator: np.random.Generator | None = None
    ) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray]:
        """Forward propagation of `images`, uint8 (m, 28, 28), through all layers.

        Gives each layer's inputs A_0 ... A_(L-1), the derivatives f'(Z_1) ... f'(Z_(L-1)), and the
        logits. With a `generator`, for training, inverted dropout zeroes some outputs and scales
        up the rest (https://jmlr.org/papers/v15/srivastava14a.html).
        """
        pixels = normalise(images) if self.rescale else images
        inputs, derivatives = [pixels.reshape(len(images), -1).astype(self.dtype, copy=False)], []
        *hidden, (weights, biases) = zip(self.parameters[::2], self.parameters[1::2], strict=True)
        for hidden_weights, hidden_biases in hidden:
            outputs = self.activation(inputs[-1] @ hidden_weights + hidden_biases)
            derivative = self.derivative(outputs)
            if generator and self.dropout:
                kept = generator.random(outputs.shape, np.float32) >= self.dropout
                scale = kept * self.dtype(1 / (1 - self.dropout))
                outputs, derivative = outputs * scale, derivative * scale
            inputs.append(outputs)
            derivatives.append(derivative)
        return inputs, derivatives, inputs[-1] @ weights + biases

    def gradients(
        self, images: np.ndarray, labels: np.ndarray, generator: np.random.Generator | None = None
    ) -> tuple[float, float, list[np.ndarray]]:
        """Backward propagation: mean cross-entropy, accuracy, and a gradient for each parameter."""
        inputs, derivatives, logits = self.forward(images, generator)
        loss, probabilities = cross_entropy_and_softmax(logits, labels)
        accuracy = float((logits.argmax(axis=1) == labels).mean())

        error = probabilities  # dC/dZ_L, and then dC/dZ_l for ever lower l
        error[np.arange(len(labels)), labels] -= 1
        if self.loss == "mean":
            error /= len(labels)
        gradients = []
        for layer in reversed(range(len(inputs))):
            gradients = [inputs[layer].T @ error, error.sum(axis=0), *gradients]
            if layer:
                error = (error @ self.parameters[2 * layer].T) * derivatives[layer - 1]
        return loss, accuracy, gradients

    def train_step(
        self, images: np.ndarray, labels: np.ndarray, rate: float, seed: Sequence[int] = (0,)
    ) -> tuple[float, float]:
        """One step down the gradient, with dropout from `seed`: loss and accuracy before it."""
        generator = np.random.default_rng(seed)
        loss, accuracy, gradients = self.gradients(images, labels, generator)
        self.steps += 1
        self.update(gradients, rate)
        return loss, accuracy

    def with_moments(self, gradients: list) -> Iterator[tuple]:
        """Each parameter with its gradient, first moment and second moment."""
        return zip(self.parameters, gradients, self.first_moment, self.second_moment, strict=True)

    def sgd(self, gradients: list, rate: float) -> None:
        """Gradient descent."""
        for values, gradient, *_ in self.with_moments(gradients):
            values -= self.dtype(rate) * gradient

    def momentum(self, gradients: list, rate: float, momentum: float = 0.9) -> None:
        """Gradient descent with momentum (Polyak, 1964)."""
        for values, gradient, velocity, _ in self.with_moments(gradients):
            velocity *= self.dtype(momentum)
            velocity -= self.dtype(rate) * gradient
            values += velocity

    def adam(self, gradients: list, rate: float, beta1: float = 0.9, beta2: float = 0.999) -> None:
        """Adam (https://arxiv.org/abs/1412.6980, in the form at the end of its section 2)."""
        rate *= np.sqrt(1 - beta2**self.steps) / (1 - beta1**self.steps)
        for values, gradient, first, second in self.with_moments(gradients):
            first += self.dtype(1 - beta1) * (gradient - first)
            second += self.dtype(1 - beta2) * (gradient * gradient - second)
            values -= self.dtype(rate) * first / (np.sqrt(second) + self.dtype(1e-7))

    def predict(self, images: np.ndarray, batch_size: int = 1000, verbose: int = 0) -> np.ndarray:
        """Logits (n, 10) of `images`, uint8 (n, 28, 28)."""
        starts = range(0, len(images), batch_size)
        return np.concatenate([self.logits(images[i : i + batch_size]) for i in starts])

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Logits (m, 10) of one batch."""
        return self.forward(images)[2]

    def evaluate(self, images: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
        """Mean cross-entropy in nats, and accuracy, over `images` and their labels (n,)."""
        logits = self.predict(images)
        accuracy = float((logits.argmax(axis=1) == labels).mean())
        return cross_entropy_and_softmax(logits, labels)[0], accuracy

    def count_params(self) -> int:
        """How many numbers the network learns."""
        return sum(np.size(values) for values in self.parameters)

    def state(self) -> list[np.ndarray]:
        """Copies of all that training changes: parameters, moments, number of steps."""
        everything = (*self.parameters, *self.first_moment, *self.second_moment, self.steps)
        return [np.asarray(values).copy() for values in everything]

    def restore(self, state: Sequence[np.ndarray]) -> None:
        """Put back what `state` gave."""
        everything = (*self.parameters, *self.first_moment, *self.second_moment)
        for values, saved in zip(everything, state[:-1], strict=True):
            values[:] = saved
        self.steps = int(state[-1])

    def save(self, path: Path) -> None:
        """Write the parameters to an .npz file: arrays `weights_1`, `biases_1`, `weights_2` ..."""
        arrays = {}
        for place, values in enumerate(self.parameters):
            kind = "biases" if place % 2 else "weights"
            arrays[f"{kind}_{place // 2 + 1}"] = np.asarray(values)
        np.savez(path, **arrays)


def cross_entropy_and_softmax(logits: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean cross-entropy in nats with `labels` (m,), and the softmax, of `logits` (m, classes)."""
    shifted = logits - logits.max(axis=1, keepdims=True)  # so that exp cannot overflow
    exponentials = np.exp(shifted)
    sums = exponentials.sum(axis=1, keepdims=True)
    of_labels = shifted[np.arange(len(labels)), labels, None]
    return float((np.log(sums) - of_labels).mean()), exponentials / sums
