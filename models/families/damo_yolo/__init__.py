"""DAMO-YOLO, a detector: facts, backbone, neck, head and decoding, and the deploy form in which its branches are one convolution."""
