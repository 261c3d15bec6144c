"""The network of a run in words: what each layer is, its output, and what it costs."""

import inspect
import math
import textwrap
from collections.abc import Iterator

from common.console import warn
from common.files import write_text
from common.tables import markdown_table
from experiment.runs.folder import NETWORK
from experiment.runs.run import Run
from experiment.values import in_words

# What a layer's configuration says, and a person does not ask.
HIDDEN_OPTIONS = {"name", "dtype", "trainable", "data_format", "seed"}
# Layers with as many multiply-adds as weights for each place of the output.
COUNTED = {"Dense", "Conv1D", "Conv2D", "Conv3D", "DepthwiseConv2D", "SeparableConv2D"}


def keep_network(model, run: Run) -> None:
    """Write network.md, and print the network unless another run of the call had the same."""
    try:
        layers = scratch_layers(model, run) if run.custom_engine else keras_layers(model)
    except Exception as error:  # a layer of somebody's own may lack what Keras's have
        warn(f"network.md was not written: {error}")
        return
    sums = {key: sum(row[key] for row in layers) for key in ("parameters", "multiply-adds")}
    rows = [*layers, {"layer": "Total", "output": ""} | sums]
    table = markdown_table([row | {key: f"{row[key]:,}" for key in sums} for row in rows])
    write_text(run.folder / NETWORK, table)
    shapes = [f"{row['layer'].split()[0]} {row['output']}" for row in layers]
    size = ", ".join(f"{number:,} {key}" for key, number in sums.items())
    text = "\n  ".join([f"network: {size} per image", *textwrap.wrap(" > ".join(shapes), 96)])
    if text not in run.printed_networks:
        run.printed_networks.add(text)
        run.say(*text.split("\n"))


def layers_of(model) -> Iterator:
    """The layers of a Keras model, and of the models inside it."""
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from layers_of(layer)
        elif type(layer).__name__ != "InputLayer":
            yield layer


def keras_layers(model) -> list[dict]:
    """A row of the table for each layer of a Keras model."""
    rows = []
    for layer in layers_of(model):
        shape = getattr(getattr(layer, "output", None), "shape", (None,))[1:]
        weights = tuple(values.shape for values in layer.weights)
        options = layer_options(layer) | ({} if layer.trainable else {"fixed": True})
        rows.append(layer_row(type(layer).__name__, options, shape, weights))
    return rows


def layer_options(layer) -> dict:
    """The options of a Keras layer that differ from their defaults."""
    parameters, options = inspect.signature(type(layer).__init__).parameters, {}
    for key, value in layer.get_config().items():
        default = parameters[key].default if key in parameters else None
        if isinstance(value, dict):  # such as an initializer, whose default is a name
            value, default = value.get("class_name"), f"{default}".title().replace("_", "")
        if key not in HIDDEN_OPTIONS and value not in (None, "linear", default):
            options[key] = value
    return options


def scratch_layers(network, run: Run) -> list[dict]:
    """The layers of a `DenseNetwork`, named as Keras's."""
    scale = 1 / 255 if run.args.rescale else 1
    rows = [layer_row("Rescaling", {"scale": scale}, (28, 28)), layer_row("Flatten", {}, (784,))]
    shapes = [tuple(values.shape) for values in network.parameters]
    *hidden, last = zip(shapes[::2], shapes[1::2], strict=True)
    for weights, biases in hidden:
        options = {"units": biases[0], "activation": run.args.activation}
        rows.append(layer_row("Dense", options, biases, (weights, biases)))
        rows.append(layer_row("Dropout", {"rate": run.args.dropout}, biases))
    return [*rows, layer_row("Dense", {"units": last[1][0]}, last[1], last)]


def layer_row(kind: str, options: dict, shape: tuple, weights: tuple = ()) -> dict:
    """A layer's row of network.md: `Conv2D filters 32, kernel size 5`, `24x24x32`, 832, 460800."""
    words = {}
    for key, value in options.items():
        if isinstance(value, tuple | list) and len({*value}) == 1:  # (5, 5)
            value = value[0]
        words[key] = f"{value:.4g}" if isinstance(value, float) else value
    places = math.prod(shape[:-1]) if kind in COUNTED and None not in shape else 0
    return {
        "layer": f"{kind} {in_words(words)}".strip(),
        "output": "x".join(map(str, shape)),
        "parameters": sum(map(math.prod, weights)),
        "multiply-adds": places * sum(math.prod(one) for one in weights if len(one) > 1),
    }
