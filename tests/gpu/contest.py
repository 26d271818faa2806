"""One race: the inputs on the GPU, our kernels and chains of them, the peers; every contestant agrees with ours, then runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from edgesmith.exporter.plugins.declaration import FusedOp
from edgesmith.exporter.plugins.pack.compile import kernel_function
from edgesmith.runtime.plugins.expressions import parse
from edgesmith.runtime.plugins.pack import KernelPack
from edgesmith.runtime.plugins.schema import OpSchema, chosen

from .chains import CHAINS, UNPACKED_FIRST, WHOLE_PEERS, Launcher, Run
from .correctness import Kernels
from .driver import Driver
from .formats import codes, equal_share, relative_error
from .kv_peers import KV_PEERS
from .launching import launch_rule
from .peers import COMPILED, PEERS, Attributes, Contestant, Prepare, Tensors
from .races import NATIVE, RACES, Race
from .shapes import output_shapes
from .timing import Timed, race

T = "float16"
MOST_SETS = 96
CACHES = 2.5  # times the L2 cache that the inputs of a cold race fill together
AGREES, CODES_AGREE = 2e-2, 0.99  # that a peer computes the same; not a judgement of it
COPIES = ("QuantizeK", "QuantizeV", "DequantizeK", "DequantizeV", "DequantizeRotatedK")
OURS = "ours"


class PackLauncher:
    """The kernels of the pack, on torch's current stream."""

    def __init__(self, driver: Driver, pack: KernelPack, stream: Callable[[], int] | None = None) -> None:
        self._driver, self._pack, self._kernels = driver, pack, Kernels(driver, pack)
        self._stream = stream or (lambda: torch.cuda.current_stream().cuda_stream)

    def tactics(self, op: str, tensors: Tensors, attributes: Attributes) -> int:
        ours = self._pack.ops[op]
        return len(chosen(ours.launches, T, ours.schema.bind([tuple(x.shape) for x in tensors], attributes)))

    def prepare(self, op: str, tensors: Tensors, attributes: Attributes, tactic: int = 0) -> tuple[list[Tensor], Run]:
        ours = self._pack.ops[op]
        names = ours.schema.bind([tuple(x.shape) for x in tensors], attributes)
        launch = chosen(ours.launches, T, names)[tactic]
        function, (grid, scalars) = self._kernels[launch.entry], launch_rule(launch, names)
        outputs = empty_outputs(ours.schema, names, tensors[0].device)
        read, written = [x.data_ptr() for x in tensors], [x.data_ptr() for x in outputs]

        def run() -> Tensor:
            self._driver.launch(
                function, grid, launch.threads, launch.shared_bytes, read, scalars, written, self._stream()
            )
            return outputs[0]

        return outputs, run


def empty_outputs(schema: OpSchema, names: Mapping[str, int], device: torch.device) -> list[Tensor]:
    return [
        torch.empty(shape, dtype=getattr(torch, tensor.type_for(T)), device=device)
        for tensor, shape in zip(schema.outputs, output_shapes(schema, names), strict=True)
    ]


def tensors_of(schema: OpSchema, asked: Race, device: str) -> list[Tensor]:
    """The case's inputs as float16 tensors; ``layers`` repeats those that have a batch of heads."""
    made = []
    for array, declared in zip(asked.case.arrays(), schema.inputs, strict=True):
        tensor = torch.from_numpy(array).to(device=device, dtype=getattr(torch, declared.type_for(T)))
        made.append(tensor.repeat(asked.layers, *[1] * (tensor.dim() - 1)) if tensor.dim() > 3 else tensor)
    return made


def contestants(
    launcher: Launcher, op: FusedOp, asked: Race, sets: Sequence[Tensors]
) -> dict[str, Callable[[], Timed]]:
    """Everybody by name, ours first; each is set up when it is called."""
    attributes = {a.name: asked.case.attributes.get(a.name, a.default) for a in op.schema.attributes}
    found: dict[str, Callable[[], Timed]] = {}
    chain = CHAINS.get(asked.whole)
    if chain is None:
        for tactic in range(launcher.tactics(op.name, sets[0], attributes)):
            name = OURS if tactic == 0 else f"{OURS}, tactic {tactic}"
            found[name] = lambda tactic=tactic: _of_ours(
                lambda tensors: launcher.prepare(op.name, tensors, attributes, tactic)[1], sets
            )
    else:
        found[OURS] = lambda: _of_ours(lambda tensors: chain(launcher, tensors, attributes, asked.extra), sets)
    if through := UNPACKED_FIRST.get(asked.whole or op.name):
        found["dequantise + SDPA"] = lambda: _of_ours(lambda tensors: through(launcher, tensors, attributes), sets)
    peers = WHOLE_PEERS.get(asked.whole) or {**PEERS, **KV_PEERS}.get(op.name, {})
    for name, prepare in peers.items():
        found[name] = lambda prepare=prepare: _of_peer(prepare, sets, {**attributes, **asked.extra})
        if asked.compiled and name in COMPILED:
            found[f"{name}, compiled"] = lambda prepare=prepare: _compiled(prepare, sets, {**attributes, **asked.extra})
    return found


def _of_ours(prepare: Callable[[Tensors], Run], sets: Sequence[Tensors]) -> Timed:
    return Timed(lambda run: run(), [(prepare(tensors),) for tensors in sets])


def _of_peer(prepare: Prepare, sets: Sequence[Tensors], attributes: Attributes) -> Timed:
    made: list[Contestant] = [prepare(tensors, attributes) for tensors in sets]
    return Timed(made[0][0], [arguments for _, arguments in made])


def _compiled(prepare: Prepare, sets: Sequence[Tensors], attributes: Attributes) -> Timed:
    made = _of_peer(prepare, sets, attributes)
    torch._dynamo.reset()
    return Timed(torch.compile(made.run, dynamic=False), made.states)


# --- the race itself


@dataclass(frozen=True)
class Track:
    """Where a race is held: a GPU with its clock, or a CPU and a test's."""

    launcher: Launcher
    device: str
    l2_bytes: int
    wait: Callable[[], None] = torch.cuda.synchronize
    clock: Callable[[Mapping[str, Timed]], dict[str, dict[str, Any]]] = race


def time_op(driver: Driver, pack: KernelPack, op: FusedOp, go_on: Callable[[], bool]) -> Iterator[dict[str, Any]]:
    """Rows of one op's races on this GPU."""
    torch.backends.cudnn.benchmark = True
    torch.set_grad_enabled(False)
    track = Track(PackLauncher(driver, pack), "cuda", driver.about()["l2_bytes"])
    for asked in RACES[op.name]():
        head = {"op": op.name, "race": asked.case.label, "type": T, "cold": asked.cold, "ok": True}
        yield head | (hold(track, op, asked, go_on) if go_on() else {"why": "not run: no time left"})


def hold(track: Track, op: FusedOp, asked: Race, go_on: Callable[[], bool]) -> dict[str, Any]:
    """Set everybody up, compare, time; what a result row has beside its head."""
    first = tensors_of(op.schema, asked, track.device)
    names = op.schema.bind([tuple(tensor.shape) for tensor in first], asked.case.attributes)
    outputs = empty_outputs(op.schema, names, torch.device("meta"))
    moved = sum(tensor.nbytes for tensor in (*first, *outputs))
    count = max(1, min(MOST_SETS, -(-int(CACHES * track.l2_bytes) // moved))) if asked.cold else 1
    sets = [first, *([tensor.clone() for tensor in first] for _ in range(count - 1))]
    setups = contestants(track.launcher, op, asked, sets)
    if op.name in NATIVE and not asked.whole:
        setups["ours, compiled for this chip"] = lambda: native(op, names, sets)
    ready: dict[str, Timed] = {}
    results: dict[str, dict[str, Any]] = {}
    agreement: dict[str, bool] = {}
    for name, setup in setups.items():
        if name != OURS and not go_on():
            results[name] = {"why": "no time left"}
            continue
        try:
            timed = setup()
            output = timed.run(*timed.states[0]).clone()
            track.wait()
        except Exception as error:
            if name == OURS:
                raise
            results[name] = {"why": f"{type(error).__name__}: {str(error)[:300]}"}
            continue
        if name == OURS:
            wanted = output
        agreement[name] = agrees(output, wanted, asked.case.attributes)
        ready[name] = timed
    if op.name in COPIES and not asked.whole:
        ready["copy of as many bytes"] = copies(moved, len(sets), track.device)
    found = track.clock(ready)
    for name, same in agreement.items():
        found[name]["agrees"] = same
    row: dict[str, Any] = {"bytes": moved, "sets": len(sets), "contestants": {**found, **results}}
    if "median_us" in found[OURS] and not asked.whole:
        row["ours_gb_s"] = round(moved / found[OURS]["median_us"] / 1e3, 1)
    return row


def agrees(output: Tensor, wanted: Tensor, attributes: Attributes) -> bool:
    mine, ours = output.cpu().numpy(), wanted.cpu().numpy()
    if mine.shape != ours.shape:
        return False
    if ours.dtype.kind == "i":
        bits = int(attributes["bits"])
        return equal_share(codes(mine, bits), codes(ours, bits)) >= CODES_AGREE
    return relative_error(mine, ours) <= AGREES


def copies(moved: int, count: int, device: str) -> Timed:
    """A plain copy that reads half of the bytes and writes the other half."""
    made = [torch.ones(2, moved // 2, dtype=torch.uint8, device=device).unbind(0) for _ in range(count)]
    return Timed(lambda to, source: to.copy_(source), made)


def native(op: FusedOp, names: Mapping[str, int], sets: Sequence[Tensors]) -> Timed:
    """The first tactic, compiled by this machine's Triton for this GPU and not from the pack's portable code."""
    kernel = op.kernel
    assert kernel is not None
    variant = next(v for v in kernel.variants if v.type == T and parse(v.when).value(names))
    grid = tuple(int(parse(text).value(names)) for text in kernel.grid_for(variant))
    scalars = [int(parse(text).value(names)) for text in kernel.scalars.values()]
    function = kernel_function(kernel)
    options = {"num_warps": variant.warps, "num_stages": variant.stages}

    def run(*tensors: Tensor) -> Tensor:
        read, written = tensors[: len(op.schema.inputs)], tensors[len(op.schema.inputs) :]
        function[grid](*read, *scalars, *written, **variant.constants, **options)
        return written[0]

    return Timed(run, [(*tensors, *empty_outputs(op.schema, names, tensors[0].device)) for tensors in sets])
