"""models.txt by its rule: of each module of timm the variant with the fewest parameters, by name where several have as many.

Counted on the device meta; names of sizes that are never the smallest are not built.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

LARGE = ("_large", "_xlarge", "_xxlarge", "_huge", "_giant", "gigantic", "enormous", "so400m", "_7b")
HEAD = "# The smallest variant of each module of timm {timm}, with its module: python benchmarks/zoo --choose"
TESTS = "test_"  # networks of timm's own tests, which nobody deploys


def choose(path: Path) -> None:
    smallest: dict[str, tuple[int, str]] = {}
    for module, parameters, name in _counted():
        smallest[module] = min(smallest.get(module, (parameters, name)), (parameters, name))
    rows = sorted((name, module) for module, (_, name) in smallest.items())
    path.write_text("\n".join([HEAD.format(timm=version("timm")), *(f"{n} {m}" for n, m in rows)]) + "\n")


def _counted() -> Iterator[tuple[str, int, str]]:
    """(module, parameters, name) of every architecture that can be the smallest."""
    import timm
    import torch

    for module in timm.list_modules():
        for name in timm.list_models(module=module):
            if name.startswith(TESTS) or any(word in name for word in LARGE):
                continue
            with torch.device("meta"):
                network = timm.create_model(name)
            yield module, sum(parameter.numel() for parameter in network.parameters()), name
