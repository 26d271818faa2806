"""What every step needs, imported once in the parent: its children are forked and start with it. No session is opened here."""

from __future__ import annotations

import timm  # noqa: F401
import torch

import edgesmith.exporter.bundle.pack
import edgesmith.exporter.pipeline
import edgesmith.exporter.trace.trace  # noqa: F401

torch.set_num_threads(1)  # a pool of threads does not live through a fork
