"""Engine + facts -> bundle: judged against PyTorch, packed, published; where the numbers part when they do."""
