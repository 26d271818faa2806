"""A Python file as a user has it, whose functions give networks and things that are none."""

from __future__ import annotations

from pathlib import Path

FILE = '''"""Networks of one's own."""

import torch
from torch import nn

WIDTH = 4


class Net(nn.Module):
    """Pictures -> a number a class, in a dict beside what training looks at."""

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU())
        self.head = nn.Linear(width, num_classes)

    def forward(self, x):
        pooled = self.body(x).mean((2, 3))
        return {"logits": self.head(pooled), "pooled": pooled}


class Two(nn.Module):
    def forward(self, image, depth):
        return image + depth


class Several(nn.Module):
    def forward(self, x):
        return x.mean((2, 3)), x


class Means(nn.Module):
    """Without parameters."""

    def forward(self, x):
        return (x.mean((2, 3)),)


class Small(nn.Module):
    """One size only: its last layer counts the pixels."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3 * 32 * 32, 4)

    def forward(self, x):
        return self.layer(x.flatten(1))


def make(width=WIDTH, num_classes=5):
    return Net(width, num_classes)


def fixed(width=WIDTH):
    return Net(width, 3)


def needs(depth, width=WIDTH):
    return Net(width, depth)


def two():
    return Two()


def several():
    return Several()


def means():
    return Means()


def small():
    return Small()


def sized(image_size=48, width=WIDTH):
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * image_size * image_size, width))


def number():
    return 3


def raises():
    raise ValueError("no such backbone")
'''


def write_file(folder: Path, name: str = "net.py") -> Path:
    file = folder / name
    file.write_text(FILE, encoding="utf-8")
    return file
