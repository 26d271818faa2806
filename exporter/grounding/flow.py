"""The flow of grounding on one screen: checkpoint folder -> traced parts -> few bits -> files -> engines -> judged -> bundle.

A model of several graphs and of more weights than fit into memory twice: parts are traced without values, and each weight is
read, rounded and written by itself. pipeline.py hands over to this module where a task names it.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ...calibration.codes.weights import decibels
from ...calibration.precisions import PRECISIONS
from ...runtime.backends.load import load
from ...runtime.bundle.bundle import Bundle, write_bundle
from ...runtime.bundle.report import write_report
from ...runtime.errors import BackendUnavailable, ParityFailed, UserMistake
from ...runtime.ground.limits import BF16
from ...runtime.pictures.preprocess import preprocess
from ..bundle.golden import golden_picture
from ..run.stages import Run, not_lost
from ..tasks.grounding.pictures import clicked, drawable
from ..tasks.rows import Row
from .bundle import Golden, MadeGrounding, files, manifest
from .few_bits.codes import BLOCKS
from .few_bits.forms import Forms, Read
from .few_bits.store import Store
from .judge import judged, rounded, texts
from .plan import check_room, check_storage, make_plan
from .verify import HELD, SAME, TOLD, answers, check_others, looked, parts, row, together, unrounded
from .write import WrittenGraph, in_cache, low_type, write

if TYPE_CHECKING:
    from ...models.folders.folder import ModelFolder
    from ..plan.plan import Plan

__all__ = ["Carried", "carry_out", "make_plan"]


@dataclass(frozen=True)
class Carried:
    """What the pipeline tells of it."""

    bundle: Bundle
    parity: tuple[Row, ...]


def carry_out(plan: Plan, run: Run) -> Carried:
    """Export by a plan of plan.make_plan.

    Raises:
        UserMistake: the folder is none of this model, or something asked for cannot be done; nothing was written.
        ParityFailed: the bundle does not answer what PyTorch answers.
    """
    with run.stage("open", f"{plan.weights}") as stage:
        folder = opened(plan)
        plan = dataclasses.replace(plan, rule=dataclasses.replace(plan.rule, block=block_of(plan, folder)))
        check_storage(plan, folder)
        check_room(plan, folder.parameters)
        stage.detail = (
            f"{plan.spec.name}, {folder.parameters / 1e6:,.1f} M parameters in {folder.dtype}, {folder.weighting.name}"
        )
    smooth, told = calibrated(plan, folder, run)
    made = written(plan, smooth, run)
    made = dataclasses.replace(made, notes=(*made.notes, *told))
    made = with_engines(plan, folder, made, run)
    with run.stage("verify", "against PyTorch in float32, layer by layer") as stage:
        found = verified(plan, folder, smooth, made, run)
        rows = found.rows
        stage.detail = (
            f"{sum(one.passed for one in rows)} of {len(rows)} checks against PyTorch hold" if rows else found.notes[0]
        )
    with run.stage("bundle", str(plan.out)) as stage:
        notes = [folder.licence, *folder.notes, *found.draft.manifest["notes"], *found.notes]
        with not_lost(found.draft.path, plan.out):
            bundle = published(plan, found, run, notes)
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


def calibrated(plan: Plan, folder: ModelFolder, run: Run) -> tuple[ModelFolder, list[str]]:
    """The folder with a vision tower whose activations fit 8 bits, and notes; as it is where the plan has no screens."""
    if plan.calibration is None or plan.calibration.data is None:
        return folder, []
    import onnx_ir as ir

    from .few_bits.smooth import largest_inputs, smoothed
    from .parts.sizes import Sizes
    from .parts.trace import trace_vision
    from .parts.weights import fill

    screens, strength = plan.calibration.data, plan.calibration.recipe.smooth
    with run.stage("calibrate", f"the vision tower on {len(screens.calibration)} screens") as stage:
        part = trace_vision(sizes_of(folder, Sizes), plan.rule.buckets[0].grid, plan.opset)
        path = run.folder / "tower.onnx"
        ir.save(fill(part.model, part.weights, reader(folder)), path, external_data="tower.data")
        largest = largest_inputs(ir.load(path), part.weights, screens.calibration, plan.calibration.cache)
        for name in ("tower.onnx", "tower.data"):
            (run.folder / name).unlink(missing_ok=True)
        found = smoothed(folder, largest, strength)
        stage.detail = f"{len(screens.calibration)} screens; channels evened out by up to {found.ratio:.0f} times"
    return (found.of(folder) if strength else folder), [f"vision tower: {stage.detail}", *screens.notes]


def reader(folder: ModelFolder) -> Read:
    """State name -> float32."""

    def read(name: str) -> np.ndarray:
        array: np.ndarray = folder.tensors[name].read().float().numpy()
        return array

    return read


def written(plan: Plan, folder: ModelFolder, run: Run) -> MadeGrounding:
    """All graphs and their weights, in the run's folder."""
    from .parts.attention import CHUNKS, IN_CACHE
    from .parts.sizes import Sizes
    from .parts.stored import Storage
    from .parts.trace import trace_instruction, trace_prefix, trace_vision
    from .parts.weighting import Weighting

    sizes, rule = sizes_of(folder, Sizes), plan.rule
    storage = Storage(rule.kv_bits, scheme=rule.kv_scheme)
    before = folder.prompt.before

    read = reader(folder)
    graphs: list[WrittenGraph] = []
    with Store(run.folder / "vision.data") as vision, Store(run.folder / "language.data") as language:
        engine = plan.target.engine
        tower = Forms(vision, read, rule.block, engine.runs_here, low_type(plan), plan.calibration is not None)
        words = Forms(language, read, rule.block, engine.runs_here, low_type(plan))

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


@dataclass(frozen=True)
class Verified:
    """The bundle in the run's own folder, how it agrees with PyTorch, and what could not be run here."""

    draft: Bundle
    rows: list[Row]
    notes: list[str]
    pictures: dict[str, bytes] = field(default_factory=dict)
    report: dict[str, Any] = field(default_factory=dict)  # entries of the manifest that tell of the pictures


def verified(plan: Plan, folder: ModelFolder, smooth: ModelFolder, made: MadeGrounding, run: Run) -> Verified:
    """A draft that was opened as a device does, beside PyTorch."""
    picture, asked = golden_picture(plan.contract.size, plan.seed), texts(folder)
    rows = [folder.prompt.instruction(text, folder.tokenizer) for text in asked]
    pixels = preprocess([picture], plan.contract)[0]
    judge = judged(folder, pixels, rows)
    tails = [folder.prompt.tail(ids) for ids in rows]
    golden = Golden(picture, tuple(tuple(tail) for tail in tails), judge.scores)
    content = manifest(plan, folder, made)
    draft = write_bundle(run.folder / "draft.edge", files(plan, folder, made, golden), content, overwrite=True)
    for path in (*made.weights, *(graph.path for graph in made.graphs)):
        path.unlink()  # the draft has them
    few = PRECISIONS[plan.precision].quantised
    try:
        with load(draft) as session:
            image, stored = looked(session, picture)
            alone, batch = answers(session, stored, tails), together(session, stored, tails)
            backend = session.backend
            if plan.check:
                check_others(session, picture, tails[0])
            exact = session.exactly() if few else None
        exactly = alone if exact is None else unrounded(exact, picture, tails)
    except BackendUnavailable as unavailable:
        what = "engines built" if made.engines else "graphs ready, engines are built on the device"
        return Verified(draft, [], [f"{what}, not run here: {unavailable.found or unavailable.what}"])
    found: list[Row] = [*parts(plan, backend, judge, image, stored["visual_sums"][0])]
    found.append(row(plan, "batch", backend, "padded", alone, batch, SAME))
    if few:
        block = plan.rule.block if PRECISIONS[plan.precision].bits == 4 else None
        same = judged(rounded(smooth, block, plan.target.engine.runs_here), pixels, rows).scores
        found.append(row(plan, "codes", backend, "instructions", same, exactly, HELD))
        if exact is not None:
            found.append(row(plan, "engine", backend, "instructions", same, alone, TOLD))
    found.append(row(plan, "bundle", backend, "instructions", judge.scores, alone, TOLD if few else HELD))
    if plan.precision == BF16 and not found[-1].passed:  # asked last: it is the whole of PyTorch once more
        own = judged(folder, pixels, rows, "bfloat16").scores
        found[-1] = row(plan, "bundle", backend, "instructions", judge.scores, alone, HELD, own)
    failed = [one for one in found if not one.passed]
    if failed and plan.check:
        raise ParityFailed(
            f"{plan.spec.name} does not answer what PyTorch answers",
            found=f"{failed[0].stage} on {backend}: {failed[0]}",
            expected=failed[0].limit,
            because="the graphs or the engine compute something else",
            attempt="--precision fp32, to see whether it is the precision; --no-check writes the bundle all the same",
        )
    notes = [f"parity does NOT hold: {one.stage}: {one}" for one in failed]
    shown = clicked(picture, asked, judge.scores, alone, plan.rule.buckets[0]) if drawable(alone) else ({}, {})
    return Verified(draft, found, notes, *shown)


def published(plan: Plan, found: Verified, run: Run, notes: list[str]) -> Bundle:
    """The draft with what was measured since, in its place in one rename."""
    draft, rows = found.draft, found.rows
    taken: dict[str, Any] = {name: draft.path / name for name in draft.manifest["files"]}
    taken |= found.pictures
    content = {key: value for key, value in draft.manifest.items() if key != "files"}
    content |= found.report
    content["parity"] = [one.to_json() for one in rows]
    content["stages"] = [stage.to_json() for stage in run.stages]
    content["notes"] = list(dict.fromkeys(notes))
    if rows:
        content["precision_report"] |= {"golden_cosine": rows[-1].cosine}
    taken["report.html"] = write_report({**content, "files": draft.manifest["files"]}).encode()
    return write_bundle(plan.out, taken, content, overwrite=plan.overwrite)
