"""The options of ``edgesmith triton``, one table for both commands, and what they mean together."""

from __future__ import annotations

from dataclasses import dataclass

from ...bundle.trust import check_older
from ...errors import UserMistake

HELP = "Write bundles as a model repository of Triton Inference Server, or check one."
ENGINE, PYTHON = "engine", "python"
OPTIONS: dict[str, tuple[type, str]] = {
    "--out": (str, "Folder of the model repository to write."),
    "--backend": (
        str,
        "engine: the graph in Triton's own backend, our runtime before and after it (default); python: all of it in our runtime.",
    ),
    "--max-batch": (int, "At most so many pictures in a batch (default 8)."),
    "--instances": (int, "So many instances of each model (default 1)."),
    "--wait-us": (int, "A request waits so many microseconds for others to fill the batch (default 500)."),
    "--threads": (int, "CPU threads of our runtime in each instance; the engine decides when left out."),
    "--force": (bool, "Replace the repository that was written there before, with the plans that were built in it."),
    "--check": (str, "Look whether this repository holds, instead of writing one."),
    "--keyring": (
        str,
        "Take only bundles that a key of this folder (NAME.pub) signed; with --check: all in the repository are.",
    ),
    "--allow-older": (bool, "Take a signed bundle that is older than one that was taken here."),
    "--url": (str, "With --check: ask the server there about each model too, such as 127.0.0.1:8000."),
}


@dataclass(frozen=True)
class Asked:
    """The words of the command; None is "not said"."""

    bundles: tuple[str, ...] = ()
    out: str | None = None
    backend: str | None = None
    max_batch: int | None = None
    instances: int | None = None
    wait_us: int | None = None
    threads: int | None = None
    force: bool = False
    check: str | None = None
    keyring: str | None = None
    allow_older: bool = False
    url: str | None = None
    as_json: bool = False

    def verify(self) -> None:
        """UserMistake for words that contradict each other or mean nothing."""
        writing = bool(self.bundles) or self.out is not None
        if self.check is not None and writing:
            raise UserMistake(
                "--check looks at a repository and writes none",
                found=f"--check {self.check} beside bundles or --out",
                attempt=f"edgesmith triton --check {self.check}",
            )
        if self.check is None and not (self.bundles and self.out is not None):
            raise UserMistake(
                "nothing to write" if not self.bundles else "no place to write to",
                found="no bundle" if not self.bundles else "no --out",
                expected="bundles and --out, or --check",
                attempt="edgesmith triton smt.edge --out repository",
            )
        check_older(self.allow_older, self.keyring)
        if self.allow_older and self.check is not None:
            raise UserMistake(
                "--check takes no bundle, so none is older", found="--allow-older", attempt="leave it out"
            )
        if self.url is not None and self.check is None:
            raise UserMistake(
                "--url belongs to --check", found=f"--url {self.url}", attempt="--check repository --url ..."
            )
        if self.backend not in (None, ENGINE, PYTHON):
            raise UserMistake(
                "there is no such backend", found=f"--backend {self.backend}", expected=f"{ENGINE} or {PYTHON}"
            )
        least = {"--max-batch": (self.max_batch, 1), "--instances": (self.instances, 1), "--wait-us": (self.wait_us, 0)}
        for flag, (count, low) in (least | {"--threads": (self.threads, 1)}).items():
            if count is not None and not low <= count < 2**31:
                raise UserMistake(f"{flag} is a number from {low}", found=str(count), attempt=f"{flag} {max(low, 1)}")
