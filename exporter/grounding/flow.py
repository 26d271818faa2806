"""The flow of grounding on one screen: checkpoint folder -> traced parts -> few bits -> files -> engines -> judged -> bundle.

A model of several graphs and of more weights than fit into memory twice: parts are traced without values, and each weight is
read, rounded and written by itself. pipeline.py hands over to this module where a task names it.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ...calibration.codes.weights import decibels
from ...calibration.precisions import PRECISIONS
from ...runtime.backends.load import load
from ...runtime.bundle.bundle import Bundle, write_bundle
from ...runtime.bundle.report import write_report
from ...runtime.errors import BackendUnavailable, ParityFailed, UserMistake
from ...runtime.pictures.preprocess import preprocess
from ..bundle.golden import golden_picture
from ..run.stages import Run, not_lost
from .bundle import Golden, MadeGrounding, files, manifest
from .codes import BLOCKS
from .forms import Forms
from .judge import judged, rounded, texts
from .plan import check_room, make_plan
from .store import Store
from .verify import HELD, SAME, TOLD, GroundingRow, answers, row, together
from .write import WrittenGraph, in_cache, low_type, write

if TYPE_CHECKING:
    from ...models.folders.folder import ModelFolder
    from ..plan.plan import Plan

__all__ = ["Carried", "carry_out", "make_plan"]


@dataclass(frozen=True)
class Carried:
    """What the pipeline tells of it."""

    bundle: Bundle
    parity: tuple[GroundingRow, ...]


def carry_out(plan: Plan, run: Run) -> Carried:
    """Export by a plan of plan.make_plan.

    Raises:
        UserMistake: the folder is none of this model, or something asked for cannot be done; nothing was written.
        ParityFailed: the bundle does not answer what PyTorch answers.
    """
    with run.stage("open", f"{plan.weights}") as stage:
        folder = opened(plan)
        plan = dataclasses.replace(plan, rule=dataclasses.replace(plan.rule, block=block_of(plan, folder)))
        check_room(plan, folder.parameters)
        stage.detail = (
            f"{plan.spec.name}, {folder.parameters / 1e6:,.1f} M parameters in {folder.dtype}, {folder.weighting.name}"
        )
    made = written(plan, folder, run)
    made = with_engines(plan, folder, made, run)
    with run.stage("verify", "against PyTorch in float32, layer by layer") as stage:
        draft, rows, more = verified(plan, folder, made, run)
        stage.detail = (
            f"{sum(one.passed for one in rows)} of {len(rows)} checks against PyTorch hold" if rows else more[0]
        )
    with run.stage("bundle", str(plan.out)) as stage:
        notes = [plan.spec.licence_weights, *folder.notes, *draft.manifest["notes"], *more]
        with not_lost(draft.path, plan.out):
            bundle = published(plan, draft, run, rows, notes)
        stage.detail = f"{plan.out}, {len(made.graphs)} graphs, report and self-test inside"
        stage.size_bytes = sum(record["bytes"] for record in bundle.manifest["files"].values())
    return Carried(bundle, tuple(rows))


def opened(plan: Plan) -> ModelFolder:
    """The checkpoint's sizes, prompt and tensors that are not read yet."""
    from ...models.families.gui_aima.versions import check_transformers
    from ...models.folders.folder import open_folder, random_folder

    if plan.weights == "pretrained":
        raise UserMistake(
            f"{plan.spec.name}: the weights are not downloaded",
            found="--weights pretrained",
            expected="the folder of a checkpoint, or random",
            because=f"they come under a licence of their own: {plan.spec.licence_weights}",
            attempt="download the folder yourself, then --weights FOLDER",
        )
    folder = random_folder(seed=plan.seed) if plan.weights == "random" else open_folder(plan.weights)
    check_transformers()
    return folder


def block_of(plan: Plan, folder: ModelFolder) -> int:
    """Weights of 4 bits that share a scale: what was asked, or the widest that all products of the language model take."""
    sides = (folder.shape.hidden, folder.shape.heads * folder.shape.head_dim, folder.shape.mlp)
    fitting = [block for block in BLOCKS if all(side % block == 0 for side in sides)]
    return plan.rule.block or (fitting or BLOCKS[-1:])[0]


def written(plan: Plan, folder: ModelFolder, run: Run) -> MadeGrounding:
    """All graphs and their weights, in the run's folder."""
    from .parts.attention import CHUNKS, IN_CACHE
    from .parts.sizes import Sizes
    from .parts.stored import Storage
    from .parts.trace import trace_instruction, trace_prefix, trace_vision
    from .parts.weighting import Weighting

    sizes, rule = sizes_of(folder, Sizes), plan.rule
    storage = Storage(rule.kv_bits)
    before = folder.prompt.before

    def read(name: str) -> np.ndarray:
        array: np.ndarray = folder.tensors[name].read().float().numpy()
        return array

    graphs: list[WrittenGraph] = []
    with Store(run.folder / "vision.data") as vision, Store(run.folder / "language.data") as language:
        tower, words = (
            Forms(store, read, rule.block, plan.target.engine.runs_here, low_type(plan)) for store in (vision, language)
        )

        def put(kind: str, name: str, part: Any, forms: Forms) -> None:
            graphs.append(write(name, part, plan, forms, read, run.folder))

        cuts = IN_CACHE if in_cache(plan) else CHUNKS
        for one in rule.buckets:
            with run.stage("vision", f"{one.screen[0]}x{one.screen[1]}") as stage:
                put("vision", f"vision_{one.name}", trace_vision(sizes, one.grid, plan.opset, cuts), tower)
                stage.detail = f"{one.screen[0]}x{one.screen[1]} seen as {one.name}, {one.visual_tokens} tokens"
                stage.size_bytes = vision.size_bytes
            with run.stage("prefix", f"{one.screen[0]}x{one.screen[1]}") as stage:
                part = trace_prefix(sizes, before, one.grid, storage, plan.opset)
                put("prefix", f"prefix_{one.name}", part, words)
                stage.detail = f"{len(before) + one.visual_tokens} tokens -> keys and values of {rule.kv_bits} bits"
                stage.size_bytes = language.size_bytes
        with run.stage("instruct", "the instruction over a stored screen") as stage:
            weighting = Weighting.named(folder.weighting.name)
            part = trace_instruction(sizes, len(before), storage, weighting, plan.opset)
            put("instruction", "instruction", part, words)
            stage.detail = f"instruction and anchor over a stored screen, {folder.weighting.name}"
            stage.size_bytes = language.size_bytes
    notes = [*few_bits_notes(plan, tower, words), *(note for graph in graphs for note in graph.notes)]
    return MadeGrounding(tuple(graphs), (vision.path, language.path), {}, {}, tuple(dict.fromkeys(notes)))


def sizes_of(folder: ModelFolder, sizes: Any) -> Any:
    """What the traced parts have to know of the checkpoint."""
    from ...models.families.gui_aima.network import configuration

    return sizes.of(configuration(folder.shape))


def few_bits_notes(plan: Plan, tower: Forms, words: Forms) -> list[str]:
    """What was written in few bits and how exact that is."""
    notes = []
    for place, forms in (("vision tower", tower), ("language model", words)):
        for kind, count in forms.written.counts.items():
            error_db = decibels(*forms.written.energies[kind])
            wide = f"{kind} of {plan.rule.block}" if "blocks" in kind else kind
            notes.append(
                f"{place}: {count} weights in {wide}, {forms.written.values[kind] / 1e6:,.1f} M values, {error_db:.1f} dB"
            )
    return notes


def with_engines(plan: Plan, folder: ModelFolder, made: MadeGrounding, run: Run) -> MadeGrounding:
    """The engines of a target that is built here, graph by graph, or what TensorRT-RTX makes of a device's files."""
    from .engines import built

    if not plan.target.archs:
        return made
    with run.stage("build", f"for {plan.target.engine}") as stage:
        found = built(plan, folder, made, run)
        stage.detail = found.notes[-1] if found.notes else ""
        stage.size_bytes = sum(path.stat().st_size for path in found.files.values())
    return found


def verified(
    plan: Plan, folder: ModelFolder, made: MadeGrounding, run: Run
) -> tuple[Bundle, list[GroundingRow], list[str]]:
    """The bundle in the run's own folder, how it agrees with PyTorch, and what could not be run here."""
    picture = golden_picture(plan.contract.size, plan.seed)
    rows = [folder.prompt.instruction(text, folder.tokenizer) for text in texts(folder)]
    pixels = preprocess([picture], plan.contract)[0]
    scores = judged(folder, pixels, rows)
    tails = [folder.prompt.tail(ids) for ids in rows]
    golden = Golden(picture, tuple(tuple(tail) for tail in tails), scores)
    content = manifest(plan, folder, made)
    draft = write_bundle(run.folder / "draft.edge", files(plan, folder, made, golden), content, overwrite=True)
    for path in (*made.weights, *(graph.path for graph in made.graphs)):
        path.unlink()  # the draft has them
    try:
        with load(draft) as session:
            alone, batch = answers(session, picture, tails), together(session, picture, tails)
            backend = session.backend
    except BackendUnavailable as unavailable:
        what = "engines built" if made.engines else "graphs ready, engines are built on the device"
        return draft, [], [f"{what}, not run here: {unavailable.found or unavailable.what}"]
    found = [row(plan, "batch", backend, "padded", alone, batch, SAME)]
    if PRECISIONS[plan.precision].quantised:
        same = judged(rounded(folder, plan.rule.block, plan.target.engine.runs_here), pixels, rows)
        found.append(row(plan, "codes", backend, "instructions", same, alone, HELD))
    found.append(row(plan, "bundle", backend, "instructions", scores, alone, TOLD if len(found) > 1 else HELD))
    failed = [one for one in found if not one.passed]
    if failed and plan.check:
        raise ParityFailed(
            f"{plan.spec.name} does not answer what PyTorch answers",
            found=f"{failed[0].stage} on {backend}: {failed[0]}",
            expected=failed[0].limit,
            because="the graphs or the engine compute something else",
            attempt="--precision fp32, to see whether it is the precision; --no-check writes the bundle all the same",
        )
    return draft, found, [f"parity does NOT hold: {one.stage}: {one}" for one in failed]


def published(plan: Plan, draft: Bundle, run: Run, rows: list[GroundingRow], notes: list[str]) -> Bundle:
    """The draft with what was measured since, in its place in one rename."""
    taken: dict[str, Any] = {name: draft.path / name for name in draft.manifest["files"]}
    content = {key: value for key, value in draft.manifest.items() if key != "files"}
    content["parity"] = [one.to_json() for one in rows]
    content["stages"] = [stage.to_json() for stage in run.stages]
    content["notes"] = list(dict.fromkeys(notes))
    if rows:
        content["precision_report"] |= {"golden_cosine": rows[-1].cosine}
    taken["report.html"] = write_report({**content, "files": draft.manifest["files"]}).encode()
    return write_bundle(plan.out, taken, content, overwrite=plan.overwrite)
