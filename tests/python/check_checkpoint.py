"""Reads a model that warpsweep saved, as a PyTorch user would: python check_checkpoint.py FILE

Needs safetensors and numpy. With torch installed it also builds the module from the metadata and
loads the weights with strict=True; without, it checks names and shapes against that expression.
"""

import json
import re
import sys

import numpy as np
from safetensors import safe_open


def expected_shapes(expression):
    """Tensor names and shapes of `nn.Sequential(...)`, from its text."""
    inner = re.fullmatch(r"nn\.Sequential\((.*)\)", expression).group(1)
    shapes = {}
    for index, module in enumerate(re.findall(r"nn\.\w+\([^)]*\)", inner)):
        linear = re.fullmatch(r"nn\.Linear\((\d+), (\d+)\)", module)
        if linear:
            inputs, outputs = map(int, linear.groups())
            shapes[f"{index}.weight"] = (outputs, inputs)
            shapes[f"{index}.bias"] = (outputs,)
    return shapes


def main(path):
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    assert metadata["format"] == "pt", metadata
    architecture = json.loads(metadata["architecture"])
    shapes = expected_shapes(metadata["pytorch"])
    assert {name: tensor.shape for name, tensor in tensors.items()} == shapes
    assert all(t.dtype == np.float32 and np.isfinite(t).all() for t in tensors.values())
    widths = [architecture["inputs"], *(h["units"] for h in architecture["hidden"])]
    widths.append(architecture["classes"])
    weights = [shape for shape in shapes.values() if len(shape) == 2]
    assert weights == list(zip(widths[1:], widths[:-1])), (weights, widths)
    try:
        import torch
        from torch import nn
    except ImportError:
        print(f"{path}: names and shapes are right (skipped: torch is not installed)")
        return
    model = eval(metadata["pytorch"], {"nn": nn})
    model.load_state_dict({name: torch.from_numpy(t) for name, t in tensors.items()}, strict=True)
    model.eval()
    assert model(torch.zeros(2, architecture["inputs"])).shape == (2, architecture["classes"])
    print(f"{path}: loads into {metadata['pytorch']}")


if __name__ == "__main__":
    main(sys.argv[1])
