"""What a GPU check ran with: ``python -m bench.gpu.versions FILE``."""

from __future__ import annotations

import importlib
import json
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("numpy", "cupy", "torch", "triton", "pytest", "pybind11", "scikit_build_core")


def versions() -> dict[str, Any]:
    """Versions by name; for what is missing, why it cannot be imported."""
    found: dict[str, Any] = {"python": platform.python_version(), "platform": platform.platform()}
    for name in PACKAGES:
        try:
            module = importlib.import_module(name)
        except Exception as error:  # a library without its GPU may raise anything
            found[name] = f"{type(error).__name__}: {error}"
            continue
        found[name] = getattr(module, "__version__", None) or metadata.version(name)
    if "torch" in sys.modules:
        import torch

        found["torch_cuda"] = torch.version.cuda
        found["cudnn"] = torch.backends.cudnn.version()
        found["cudnn_allow_tf32"] = torch.backends.cudnn.allow_tf32  # torch's default, for RNNs
    return found


if __name__ == "__main__":
    result = versions()
    Path(sys.argv[1]).write_text(json.dumps(result, indent=1) + "\n")
    print("\n".join(f"{name} {value}" for name, value in result.items()))
