"""Several devices that share each batch of one training, by the backend's own means.

Every device holds the whole network and takes an equal share of the batch; their gradients are
added up before the step, so that it is the step of one device with the same batch. That is
TensorFlow's `MirroredStrategy`, where each drops the same places of its share if there is dropout,
or JAX's sharding through `keras.distribution`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from common.errors import UserError

if TYPE_CHECKING:
    from experiment.backend.device import Device


def divide_processor(backend: str, count: int) -> None:
    """Make `count` devices of the processor, before the backend starts.

    Raises UserError when it has been started already.
    """
    try:
        if backend == "tensorflow":
            import tensorflow as tf

            (processor,) = tf.config.list_physical_devices("CPU")
            parts = [tf.config.LogicalDeviceConfiguration()] * count
            tf.config.set_logical_device_configuration(processor, parts)
        elif backend == "jax":
            import jax

            jax.config.update("jax_num_cpu_devices", count)
    except RuntimeError as error:
        raise UserError(
            "this process has used the processor already, as it was: start a new one for --devices"
        ) from error


class Replicas:
    """The devices, and in which contexts a network is created for and trained on them."""

    def __init__(self, device: Device) -> None:
        self.creating: Callable[[], AbstractContextManager] = contextlib.nullcontext
        self.training: Callable[[], AbstractContextManager] = contextlib.nullcontext
        if device.count > 1 and device.backend == "tensorflow":
            import tensorflow as tf

            names = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
            chosen = [one.name for one in names[: device.count]]
            self.creating = tf.distribute.MirroredStrategy(chosen).scope
        elif device.count > 1:
            import jax
            import keras

            each = device.count // device.processes
            of_processes = [jax.local_devices(number) for number in range(device.processes)]
            chosen = [one for of_process in of_processes for one in of_process[:each]]
            spread = keras.distribution.DataParallel(devices=chosen, auto_shard_dataset=False)
            self.creating = self.training = spread.scope

    @contextlib.contextmanager
    def leaving(self) -> Iterator[None]:
        """Within `training`, compute on one device."""
        import keras

        spread = keras.distribution.distribution()
        keras.distribution.set_distribution(None)
        try:
            yield
        finally:
            keras.distribution.set_distribution(spread)


def normalise_together(model) -> None:
    """Let batch normalisation see the whole batch, as on one device. JAX does so by itself."""
    import keras

    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = keras.backend.backend() == "tensorflow"
