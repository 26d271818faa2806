"""The outputs of a graph as one array with the batch in front: what parity, evaluation and the self-test compare.

    classification      logits (B, C)                                              -> (B, C)
    detection           boxes (B, N, 4), scores (B, N, K)                          -> (B, N, 4 + K)
    detection with NMS  num_detections (B, 1), detection_boxes (B, D, 4),
      in the graph      detection_scores (B, D), detection_classes (B, D)          -> (B, D, 6): box, score, class

Rows past num_detections are filled with score 0 and class -1.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

OUTPUTS = {"classification": ("logits",), "detection": ("boxes", "scores")}  # of a torch model, by task
NMS_OUTPUTS = ("num_detections", "detection_boxes", "detection_scores", "detection_classes")


def joined(results: Mapping[str, np.ndarray]) -> np.ndarray:
    """The outputs by name -> one float32 array."""
    if len(results) == 1:
        (only,) = results.values()
        return np.asarray(only, np.float32)
    if NMS_OUTPUTS[0] not in results:
        return np.concatenate([np.asarray(results[name], np.float32) for name in OUTPUTS["detection"]], axis=-1)
    count, boxes, scores, classes = (np.asarray(results[name], np.float32) for name in NMS_OUTPUTS)
    array = np.concatenate([boxes, scores[..., None], classes[..., None]], axis=-1)
    array[np.arange(array.shape[1]) >= count.reshape(-1, 1)] = (0, 0, 0, 0, 0, -1)
    return array


def separated(answers: np.ndarray, task: str) -> dict[str, np.ndarray]:
    """The outputs of the torch model by name again."""
    if task == "detection":
        return dict(zip(OUTPUTS[task], (answers[..., :4], answers[..., 4:]), strict=True))
    return {OUTPUTS[task][0]: answers}
