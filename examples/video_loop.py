"""A loop over a video or a camera, as it runs on the device: numpy, OpenCV and one engine, nothing else.

You learn: how frames come in (of a camera always the newest), what an answer of a detector holds, how to draw it, and how to
see where the time goes.

    python examples/video_loop.py street.edge street.mp4        or 0 for the camera, or rtsp://...
"""

import sys
from collections import Counter
from statistics import median

import edgesmith
from edgesmith.runtime.pictures.file import write_image
from edgesmith.runtime.pictures.video import frames
from edgesmith.runtime.tasks.detection.draw import draw

SCORE = 0.3  # what a person wants to see; the bundle keeps far weaker boxes


def main(bundle: str, source: str) -> None:
    seen: Counter[str] = Counter()
    times_ms: list[float] = []
    last = None
    with edgesmith.load(bundle, threads=1) as session, frames(source) as incoming:
        for frame in incoming:
            if frame.image is None:  # a frame that could not be read
                print(frame.error)
                continue
            found = session(frame.image, score=SCORE)
            for one in found:
                seen[one.label] += 1  # also: one.score, one.box in pixels of the frame
            times_ms.append(found.preprocess_ms + found.infer_ms + found.postprocess_ms)
            last = draw(frame.image, found)
    if last is None:
        sys.exit(f"no frame came from {source}")
    write_image("last_frame.png", last)
    print(", ".join(f"{label} {count}" for label, count in seen.most_common()) or "nothing found")
    print(f"{len(times_ms)} frames, {median(times_ms):.1f} ms each; the last one is drawn in last_frame.png")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
