"""The network of a run in words: what each layer is, its output, and what it costs."""

import inspect
import math
import sys
import textwrap
from argparse import Namespace
from collections.abc import Sequence

from common.files import write_json
from experiment.runs.run import Run
from experiment.runs.saved import NETWORK
from experiment.values import in_words

# What a layer's configuration says, and a person does not ask.
UNTOLD = {"name", "dtype", "trainable", "data_format", "seed"}
# Layers with as many multiply-adds as weights for each place of the output.
COUNTED = {"Dense", "Conv1D", "Conv2D", "Conv3D", "DepthwiseConv2D", "SeparableConv2D"}


def keep_network(model, run: Run) -> None:
    """Write network.json, and print the network, unless a run of this call had the same."""
    try:
        layers = scratch_layers(model, run.args) if run.custom_engine else keras_layers(model)
    except Exception as error:  # a layer of somebody's own may lack what Keras's have
        print(f"warning: the network is not kept in words: {error}", file=sys.stderr)
        return
    write_json(run.folder / NETWORK, {"layers": layers})
    run.say_once(in_brief(layers))


def keras_layers(model) -> list[dict]:
    """The layers of a Keras model, and of the models inside it."""
    rows = []
    for layer in model.layers:
        if hasattr(layer, "layers"):
            rows += keras_layers(layer)
        elif type(layer).__name__ != "InputLayer":
            shape = getattr(getattr(layer, "output", None), "shape", (None,))[1:]
            weights = [tuple(values.shape) for values in layer.weights]
            rows.append(layer_row(type(layer).__name__, layer_options(layer), shape, weights))
    return rows


def layer_options(layer) -> dict:
    """The options of a Keras layer that differ from their defaults."""
    parameters, options = inspect.signature(type(layer).__init__).parameters, {}
    for key, value in layer.get_config().items():
        default = parameters[key].default if key in parameters else None
        if isinstance(value, dict):  # such as an initializer, whose default is a name
            value, default = value.get("class_name"), f"{default}".title().replace("_", "")
        if key not in UNTOLD and value not in (None, "linear", default):
            options[key] = value
    return options


def scratch_layers(network, args: Namespace) -> list[dict]:
    """The layers of a `DenseNetwork`, named as Keras's."""
    scale = 1 / 255 if args.rescale else 1
    rows = [layer_row("Rescaling", {"scale": scale}, (28, 28)), layer_row("Flatten", {}, (784,))]
    shapes = [tuple(values.shape) for values in network.parameters]
    *hidden, last = zip(shapes[::2], shapes[1::2], strict=True)
    for weights, biases in hidden:
        options = {"units": biases[0], "activation": args.activation}
        rows.append(layer_row("Dense", options, biases, [weights, biases]))
        rows.append(layer_row("Dropout", {"rate": args.dropout}, biases))
    return [*rows, layer_row("Dense", {"units": last[1][0]}, last[1], last)]


def layer_row(kind: str, options: dict, shape: tuple, weights: Sequence[tuple] = ()) -> dict:
    """What network.json says of a layer: `Conv2D filters 32, kernel size 5`, `24x24x32`, 832 ..."""
    options = {
        key: value[0] if isinstance(value, tuple | list) and len({*value}) == 1 else value
        for key, value in options.items()
    }
    words = {k: f"{v:.4g}" if isinstance(v, float) else v for k, v in options.items()}
    places = math.prod(shape[:-1]) if kind in COUNTED and None not in shape else 0
    return {
        "layer": f"{kind} {in_words(words)}".strip(),
        "output": "x".join(map(str, shape)),
        "parameters": sum(map(math.prod, weights)),
        "multiply_adds": places * sum(math.prod(one) for one in weights if len(one) > 1),
    }


def in_brief(layers: list[dict]) -> str:
    """The network in a few lines: its size, and the layers with the shapes that they change."""
    words, before = [], None
    for row in layers:
        kind = row["layer"].split()[0]
        words.append(f"{kind} {row['output']}" if row["output"] != before else kind)
        before = row["output"]
    parameters, operations = (
        sum(row[key] for row in layers) for key in ("parameters", "multiply_adds")
    )
    size = f"{parameters:,} parameters, {operations:,} multiply-adds per image"
    lines = textwrap.wrap(" > ".join(words), 96)
    return "\n  ".join([f"network: {size}", *lines])
