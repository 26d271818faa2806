"""Fine-tune a model on classes of your own, then export it as int8 that may cost two points of accuracy at most.

You learn: where a torch module of ours comes from, what a checkpoint has to hold, how pictures in memory calibrate and judge,
and what an accuracy budget does.

    python examples/finetune_to_int8.py
"""

import tempfile
from pathlib import Path

import torch
from torch import nn

import edgesmith
from edgesmith.models import create, find
from edgesmith.models.fixtures.digits import digits
from edgesmith.models.fixtures.fixtures import TRAINED
from edgesmith.runtime.pictures.preprocess import preprocess

NAMES = ["zero or one", "two to nine"]  # our own classes


def main(folder: Path) -> None:
    pictures, digit = digits("train")
    own = (digit > 1).astype("int64")  # and our own labels
    contract = find("smt_mnist").contract  # how a picture becomes the tensor that this model expects

    torch.manual_seed(0)
    module = create("smt_mnist", TRAINED / "smt_mnist.safetensors")
    module.head = nn.Linear(module.head.in_features, len(NAMES))
    optimizer = torch.optim.AdamW(module.head.parameters(), 1e-2)  # the head only, to be quick
    for start in range(0, 640, 64):
        batch = torch.from_numpy(preprocess(list(pictures[start : start + 64]), contract))
        loss = nn.functional.cross_entropy(module(batch), torch.from_numpy(own[start : start + 64]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    torch.save(module.state_dict(), folder / "mine.pth")  # a state dict is all that is needed
    (folder / "names.txt").write_text("\n".join(NAMES))

    result = edgesmith.export(
        "smt_mnist", folder / "mine.pth", num_classes=2, labels=folder / "names.txt", out=folder / "mine.edge",
        precision="int8", max_drop=2.0, calib_images=32, eval_images=100,
        data=list(zip(pictures[1000:1200], own[1000:1200].tolist(), strict=True)),  # some calibrate, the others judge
    )  # fmt: skip
    accuracy = result.quantisation["accuracy"]
    before, after = (accuracy[side]["value"] for side in ("reference", "quantised"))
    print(f"top-1 {before:.1f} % in float32, {after:.1f} % in int8, of {accuracy['drop']['n']} pictures")
    with edgesmith.load(result.path) as session:
        print(session(digits("held_out")[0][0]))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        main(Path(scratch))
