"""TensorProtos as TensorFlow writes them, for records that tests make."""

import numpy as np

from rvm_bench.errors import UserError
from rvm_bench.formats.tf_example import _DTYPES, _messages


def tensor_to_proto(array: np.ndarray) -> bytes:
    """A TensorProto that holds `array`, as `tf.io.serialize_tensor` writes it.

    Raises:
        UserError: an element type that we do not read either.
    """
    little = array.dtype.newbyteorder("<")
    known = {np.dtype(element): number for number, (element, _) in _DTYPES.items()}
    if little not in known:
        raise UserError(f"no tensor of {array.dtype} values; known: {', '.join(str(dtype) for dtype in known)}")
    message = _messages()["TensorProto"](dtype=known[little])
    message.tensor_shape.SetInParent()
    for size in array.shape:
        message.tensor_shape.dim.add(size=size)
    message.tensor_content = array.astype(little).tobytes()
    return message.SerializeToString()
