"""A small edit of an ONNX file: free the input's shape, without the `onnx` package.

CenterFace was exported with a fixed input of 10 x 3 x 32 x 32, though the network is fully convolutional. Its graph
also lists every weight as an input, which keeps onnxruntime from folding batch norms into convolutions. Both are
repaired by rewriting the graph's list of inputs and outputs. Field numbers are those of onnx.proto.
"""

from __future__ import annotations

from collections.abc import Iterator

_IR_VERSION, _GRAPH = 1, 7  # ModelProto
_INITIALIZER, _INPUT, _OUTPUT = 5, 11, 12  # GraphProto
_TENSOR_NAME = 8  # TensorProto
_VALUE_NAME, _VALUE_TYPE = 1, 2  # ValueInfoProto
_TENSOR_TYPE, _ELEM_TYPE = 1, 1  # TypeProto, TypeProto.Tensor
_FIXED_WIDTH = {1: 8, 5: 4}  # protobuf wire type: bytes
_BYTES = 2  # the wire type of strings and messages
_IR_WITHOUT_WEIGHT_INPUTS = 4  # from this IR version on, weights need not be inputs


def with_free_input_shape(model: bytes) -> bytes:
    """Return the ONNX model with inputs and outputs of any shape, and weights no longer among the inputs.

    Raises:
        ValueError: When the bytes are not an ONNX model.
    """
    try:
        fields = list(_fields(model))
    except (IndexError, KeyError) as error:
        raise ValueError(f"model must be an ONNX file, but its {len(model)} bytes do not parse as one.") from error
    parts = []
    for number, raw, value in fields:
        if number == _IR_VERSION:
            continue
        parts.append(_message(_GRAPH, _free_graph(value)) if number == _GRAPH else raw)
    return _varint(_IR_VERSION << 3) + _varint(_IR_WITHOUT_WEIGHT_INPUTS) + b"".join(parts)


def _free_graph(graph: bytes) -> bytes:
    fields = list(_fields(graph))
    weights = {_first(value, _TENSOR_NAME) for number, _, value in fields if number == _INITIALIZER}
    parts = []
    for number, raw, value in fields:
        if number not in (_INPUT, _OUTPUT):
            parts.append(raw)
        elif _first(value, _VALUE_NAME) not in weights:
            parts.append(_message(number, _without_shape(value)))
    return b"".join(parts)


def _without_shape(value_info: bytes) -> bytes:
    """Keep a value's name and float type, drop its shape."""
    float_tensor = _message(_TENSOR_TYPE, _varint(_ELEM_TYPE << 3) + _varint(1))
    return _message(_VALUE_NAME, _first(value_info, _VALUE_NAME)) + _message(_VALUE_TYPE, float_tensor)


def _first(message: bytes, wanted: int) -> bytes:
    return next(value for number, _, value in _fields(message) if number == wanted)


def _fields(message: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield each field as (number, its bytes with the tag, its value's bytes)."""
    at = 0
    while at < len(message):
        tag, body = _read_varint(message, at)
        wire = tag & 7
        start = body
        if wire == 0:
            _, end = _read_varint(message, body)
        elif wire == _BYTES:
            length, start = _read_varint(message, body)
            end = start + length
        else:
            end = body + _FIXED_WIDTH[wire]
        yield tag >> 3, message[at:end], message[start:end]
        at = end


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _message(number: int, payload: bytes) -> bytes:
    return _varint(number << 3 | _BYTES) + _varint(len(payload)) + payload
