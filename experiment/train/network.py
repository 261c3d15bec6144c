"""The Keras network that `build_model` gives, looked at before it is trained."""

import sys
from collections.abc import Callable

import keras

from common.errors import UserError

FIRST = 'it must begin with Input((28, 28), dtype="uint8")'
LAST = "its last layer must be Dense(10), one logit for each class"


def check_shapes(model: keras.Model) -> None:
    """Raise UserError unless a network takes images (n, 28, 28) and gives (n, 10)."""
    if not isinstance(model, keras.Model):
        raise UserError(f"build_model returns {model!r} instead of a Keras model")
    ends = {
        "takes": ("inputs", FIRST, ["(n, 28, 28)", "(n, 28, 28, 1)"]),  # Keras adds the channel
        "gives": ("outputs", LAST, ["(n, 10)"]),
    }
    for does, (name, advice, right) in ends.items():
        tensors = getattr(model, name, None) or ()
        shapes = " and ".join(str(tensor.shape).replace("None", "n") for tensor in tensors)
        if shapes not in right:
            raise UserError(f"build_model's network {does} {shapes or 'nothing'}; {advice}")


def without_softmax(model: keras.Model, say: Callable[[str], None]) -> keras.Model:
    """A network without the softmax or sigmoid at its end, which `say` is told of.

    Another activation there is a warning. Raises UserError for what cannot be left out.
    """
    last = model
    while isinstance(last, keras.Model):  # a network may be the last layer of another
        holder, last = last, last.outputs[0]._keras_history.operation
    function = getattr(last, "activation", last)  # of Dense or Activation; or a Softmax itself
    name = getattr(function, "__name__", type(function).__name__).lower()
    if not name.startswith(("softmax", "sigmoid")):  # TensorFlow's own is named softmax_v2
        if function is not last and name not in ("linear", "log_softmax"):
            line = (
                f"warning: the network's last layer ends in {name}, but logits need no activation"
            )
            print(line, file=sys.stderr)
        return model
    name = name.partition("_")[0]
    say(f"note: the {name} at the network's end is left out: the loss and the tests take logits")
    if function is not last:
        last.activation = keras.activations.linear
    elif isinstance(holder, keras.Sequential):
        holder.pop()
    elif holder is model:
        return keras.Model(model.input, last.input)
    else:
        raise UserError(f"leave out the {name} at the end of build_model's network")
    return model
