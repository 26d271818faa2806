"""What networks behind a door are made for, as facts of a spec: the one place here that names tasks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Kind = Mapping[str, Any]

CLASSES: Kind = {}  # (B, classes): what a spec is made for where it says nothing
FEATURES: Kind = {"task": "features", "may_classify": True}  # no classifier, until it is given a number of classes
MAPS: Kind = {"task": "segmentation"}  # (B, classes, h, w)
TENSORS: Kind = {"task": "tensors"}  # anything else
