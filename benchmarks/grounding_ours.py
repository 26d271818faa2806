"""Our flow of the grounding benchmark: a bundle, through the calls of its users. And the judge, which is never timed.

ours     session.open(picture), screen.click(text); more screens may be kept open beside the current one
judge    models/families/gui_aima/judge.py in float32: the official flows must give its scores
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from grounding_flows import Answer

from edgesmith.runtime.tasks.grounding.regions import regions


@dataclass
class Ours:
    """A bundle on one of our backends."""

    session: Any
    screen: Any = None
    kept: list[Any] = field(default_factory=list)  # further screens, open at once

    @classmethod
    def open(cls, settings: Mapping[str, Any]) -> Ours:
        from edgesmith.runtime.backends.load import load

        pool_mb = settings.get("pool_mb")
        return cls(load(settings["bundle"], backend=settings["backend"], threads=settings["threads"], pool_mb=pool_mb))

    def first(self, picture: np.ndarray, text: str) -> Answer:
        if self.screen is not None:
            self.screen.close()
        self.screen = self.session.open(picture)
        return self.further(text)

    def further(self, text: str) -> Answer:
        click = self.screen.click(text)
        return Answer(click.point, click.scores)

    def keep(self, picture: np.ndarray) -> None:
        self.kept.append(self.session.open(picture))

    def any(self, at: int, text: str) -> Answer:
        click = self.kept[at].click(text)
        return Answer(click.point, click.scores)

    def all(self, text: str) -> None:
        """One batch over all screens that are kept."""
        self.session.click([(screen, text) for screen in self.kept])

    def state(self) -> dict[str, int]:
        pool = self.session.screens().pool
        return {"pool_bytes": pool.used_bytes, "kept": len(pool)}


@dataclass
class Judge:
    """What is right, in float32."""

    folder: Any
    module: Any
    picture: np.ndarray | None = None

    @classmethod
    def open(cls, settings: Mapping[str, Any]) -> Judge:
        import torch

        from edgesmith.models.folders.folder import load_eager, open_folder

        torch.set_num_threads(settings["threads"])
        folder = open_folder(settings["folder"])
        return cls(folder, load_eager(folder))

    def first(self, picture: np.ndarray, text: str) -> Answer:
        self.picture = picture
        return self.further(text)

    def further(self, text: str) -> Answer:
        from edgesmith.models.families.gui_aima import judge
        from edgesmith.models.families.gui_aima.picture import grid_of, prepared

        assert self.picture is not None
        pixels, prompt = prepared(self.picture), self.folder.prompt
        ids = prompt.instruction(text, self.folder.tokenizer)
        scores = judge.scores(self.module, prompt, pixels, ids, self.folder.weighting)
        grid = scores.reshape(grid_of((pixels.shape[1], pixels.shape[2])))
        return Answer(regions(grid)[0].point, grid)
