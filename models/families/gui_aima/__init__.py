"""GUI-AIMA: where on a screenshot an instruction would click, read from the attention of Qwen2.5-VL."""
