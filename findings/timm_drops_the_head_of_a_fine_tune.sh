#!/bin/bash
# timm: a fine-tune of 10 classes given as pretrained_cfg_overlay={"file": FILE} with num_classes=10 gets a RANDOM head.
# Guess: the head of the file has the shape of the model's, so it is loaded. Seen: timm compares num_classes with the
# architecture's pretrained_cfg (1000), drops the head of the file before loading and loads the rest without strict; nothing is printed
# at the default level of logging. With num_classes in the overlay too, the head is loaded.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q torch==2.14.1 torchvision==0.29.1 timm==1.0.31 numpy==2.4.6
cd "$work"
venv/bin/python - <<'PY'
import timm, torch

torch.manual_seed(0)
config = {"num_classes": 10, "depths": (1, 1, 1, 1)}
tuned = timm.create_model("davit_tiny", **config)
torch.save(tuned.state_dict(), "ten.pth")


def loaded(**overlay):
    overlay = {"file": "ten.pth", **overlay}
    model = timm.create_model("davit_tiny", pretrained=True, pretrained_cfg_overlay=overlay, **config)
    return torch.equal(model.head.fc.weight, tuned.head.fc.weight), torch.equal(model.stem.conv.weight, tuned.stem.conv.weight)


print(f"torch {torch.__version__}, timm {timm.__version__}")
head, stem = loaded()
print(f"overlay with the file alone:        head of the file loaded: {head}, stem: {stem}")
head_too, stem_too = loaded(num_classes=10)
print(f"overlay with num_classes=10 as well: head of the file loaded: {head_too}, stem: {stem_too}")
assert (head, stem, head_too, stem_too) == (False, True, True, True)
PY
