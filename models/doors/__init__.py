"""Networks that are no family of ours: by a name of timm or torchvision, a folder, a function of one's own, a file."""
