"""Builder of ONNX graphs, node by node."""

from collections.abc import Sequence
from typing import Any

import numpy as np

OPSET = 17  # the first with a LayerNormalization operator, for runtimes that are not the newest
IR_VERSION = 8  # that of opset 17; some readers refuse 10


class GraphBuilder:
    """Nodes and constants of an ONNX graph.

    Values are named by strings, as in ONNX itself. A node or an unnamed constant that was added before is not
    added again.

    Args:
        dtype: dtype of floating-point constants; may be changed between nodes.
        prefix: of the numbered names, where the nodes are added to those of another graph.
    """

    def __init__(self, dtype: Any = np.float32, *, prefix: str = "") -> None:
        self.dtype, self._prefix = dtype, prefix
        self._nodes: list[Any] = []
        self._constants: dict[str, Any] = {}
        self._known: dict[Any, Any] = {}

    def constant(self, value: Any, name: str = "") -> str:
        """Add a constant, and return its name.

        Args:
            value: array or number; floating-point values are stored in `dtype`, all others as they are.
            name: unique name of a weight; a number where there is none.
        """
        from onnx import numpy_helper

        array = np.asarray(value)
        if array.dtype.kind == "f":
            array = array.astype(self.dtype)
        key = name or (array.dtype.str, array.shape, array.tobytes())
        if key not in self._known:
            self._known[key] = name = name or f"{self._prefix}constant_{len(self._constants)}"
            self._constants[name] = numpy_helper.from_array(np.array(array, order="C"), name)
        return str(self._known[key])

    def shape(self, *sizes: int) -> str:
        """Add a constant of integers, such as a shape, and return its name."""
        return self.constant(np.array(sizes, np.int64))

    def add(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Add a node with one output, and return the output's name.

        Args:
            operator: of the standard domain.
            inputs: names of values.
            output: name of an output of the graph; a number where there is none.
            attributes: of the operator.
        """
        from onnx import helper

        key = operator, inputs, output, tuple(map(str, attributes.items()))
        if key not in self._known:
            name = f"{self._prefix}{operator}_{len(self._nodes)}"
            self._known[key] = output = output or name
            self._nodes.append(helper.make_node(operator, list(inputs), [output], name, **attributes))
        return str(self._known[key])

    def cast(self, value: str, dtype: Any) -> str:
        """Add a cast to a NumPy dtype, and return its output's name."""
        from onnx import helper

        return self.add("Cast", value, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    @property
    def nodes(self) -> list[Any]:
        """Return the nodes, each an onnx.NodeProto, in the order of the computation."""
        return list(self._nodes)

    @property
    def constants(self) -> list[Any]:
        """Return the constants, each an onnx.TensorProto."""
        return list(self._constants.values())

    def model(self, tiles: Any, outputs: Sequence[Any]) -> Any:
        """Return the graph as an onnx.ModelProto.

        Args:
            tiles, outputs: onnx.ValueInfoProto of the input and of the outputs.
        """
        from onnx import helper

        graph = helper.make_graph(self.nodes, "orbitune", [tiles], outputs, self.constants)
        opsets = [helper.make_opsetid("", OPSET)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="orbitune")
