#!/bin/bash
# timm.create_model(..., img_size=X, checkpoint_path=FILE) does not bring position embeddings to the new grid, while
# create_model(..., img_size=X, pretrained=True, pretrained_cfg_overlay={"file": FILE}) does: one file, two answers.
# Guess: both ways load the same model. Seen: where the number of patches happens to be the same (14x14 and 7x28), checkpoint_path
# loads the embeddings as they are, without a message, and the logits differ; where it is another, it raises.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q torch==2.14.1 torchvision==0.29.1 timm==1.0.31 numpy==2.4.6
cd "$work"
venv/bin/python - <<'PY'
import timm, torch

torch.manual_seed(0)
config = {"num_classes": 10, "depth": 2, "embed_dim": 96, "global_pool": "avg"}
trained = timm.create_model("vit_tiny_patch16_224", **config)  # at 224x224: 14x14 patches
torch.nn.init.normal_(trained.pos_embed)  # about as large as trained ones
torch.save(trained.state_dict(), "vit.pth")


def by_path(size):
    return timm.create_model("vit_tiny_patch16_224", img_size=size, checkpoint_path="vit.pth", **config).eval()


def as_pretrained(size):
    overlay = {"file": "vit.pth", "num_classes": 10, "custom_load": False}
    return timm.create_model("vit_tiny_patch16_224", img_size=size, pretrained=True, pretrained_cfg_overlay=overlay, **config).eval()


def apart(images):
    """Difference of the logits, as a share of their length."""
    size = tuple(images.shape[2:])
    with torch.inference_mode():
        first, second = by_path(size)(images), as_pretrained(size)(images)
    return ((first - second).norm() / second.norm()).item()


print(f"torch {torch.__version__}, timm {timm.__version__}")
same, other_grid = apart(torch.randn(1, 3, 224, 224)), apart(torch.randn(1, 3, 112, 448))
try:
    by_path((256, 256))
    other = "loads"
except RuntimeError as error:
    other = "raises " + str(error).splitlines()[1].strip()[:60]
untouched = torch.equal(by_path((112, 448)).pos_embed, trained.pos_embed)
print(f"224x224: the logits of the two ways are {same:.1%} apart")
print(f"112x448, as many patches: {other_grid:.1%}; position embeddings untouched by checkpoint_path: {untouched}")
print(f"256x256 by checkpoint_path: {other}")
assert same == 0 and other_grid > 0.01 and untouched and other.startswith("raises")
PY
