#!/usr/bin/env bash
# GUESS    two OpenVINO models with INFERENCE_NUM_THREADS=1, called from two Python threads, run on two cores
# SEEN     both run on the first core, and so would those of other processes: with a number of threads OpenVINO pins, and
#          always from the first core on. The calling thread is bound while it infers. ENABLE_CPU_PINNING=False cures it
# COST     two workers get done what one does; nothing says why, and `top` shows one busy core
# RUN      bash findings/openvino_one_thread_models_share_a_core.sh     needs Linux and two cores
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check openvino==2026.4.1 numpy==2.4.6
export CI=true  # no telemetry
"$folder/env/bin/python" - <<'PYTHON'
import os
import threading

import numpy as np
import openvino as ov
from openvino import opset13 as ops

if len(os.sched_getaffinity(0)) < 2:
    raise SystemExit("two cores are needed")
given = ops.parameter([512, 512], np.float32)
made = given
for seed in range(12):  # some tenths of a second a run
    made = ops.matmul(made, np.random.default_rng(seed).standard_normal((512, 512), np.float32) / 23, False, False)
model = ov.Model([made], [given], "products")
ov.Type.f32.to_dtype()  # the bindings set themselves up here, in one thread


def cores(**settings: object) -> list[set[int]]:
    """For each of two models, each called from a thread of its own: the cores that thread may use while it infers."""
    compiled = [ov.Core().compile_model(model, "CPU", {"INFERENCE_NUM_THREADS": 1, **settings}) for _ in range(2)]
    seen: list[set[int]] = [set(range(os.cpu_count() or 1)) for _ in compiled]
    threads, over = [], threading.Event()

    def work(one: ov.CompiledModel) -> None:
        request = one.create_infer_request()
        while not over.is_set():
            request.infer([np.ones((512, 512), np.float32)])

    for one in compiled:
        threads.append(threading.Thread(target=work, args=(one,)))
        threads[-1].start()
    for _ in range(200):
        for index, thread in enumerate(threads):
            now = os.sched_getaffinity(thread.native_id)
            seen[index] = now if len(now) < len(seen[index]) else seen[index]
        over.wait(0.005)
    over.set()
    for thread in threads:
        thread.join()
    return seen


usual, cured = cores(), cores(ENABLE_CPU_PINNING=False)
print("openvino", ov.__version__)
print("cores of the two threads while they infer:", usual, "with ENABLE_CPU_PINNING=False:", cured)
assert len(usual[0]) == 1 and usual[0] == usual[1], "two models no longer share one core"
assert len(cured[0]) > 1 and len(cured[1]) > 1, "pinning is not switched off any more"
PYTHON
