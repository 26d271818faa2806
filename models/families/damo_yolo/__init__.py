"""DAMO-YOLO."""
