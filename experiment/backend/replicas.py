"""Several devices that share each batch of one training, by the backend's own means.

Every device holds the whole network and takes an equal part of the batch. Their gradients are added
up, which makes it the step of one device. With TensorFlow dropout drops the same places of each.
"""

from contextlib import nullcontext

from common.errors import UserError


def make_virtual_cpus(backend: str, count: int) -> None:
    """Split the CPU into `count` virtual devices. Raises UserError once the backend has started."""
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
        used = "this process has used the CPU as one device already"
        raise UserError(f"{used}: start a new one for --devices") from error


def replica_scopes(device) -> tuple:
    """The contexts to create a network for a `Device` in, and to train it in."""
    if device.count == 1:
        return nullcontext(), nullcontext()
    if device.backend == "tensorflow":
        import tensorflow as tf

        found = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        names = [one.name for one in found[: device.count]]
        return tf.distribute.MirroredStrategy(names).scope(), nullcontext()
    import jax
    import keras

    each = device.count // device.processes
    chosen = [one for number in range(device.processes) for one in jax.local_devices(number)[:each]]
    spread = keras.distribution.DataParallel(devices=chosen, auto_shard_dataset=False)
    return spread.scope(), spread.scope()
