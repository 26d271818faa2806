"""``edgesmith run --reconnect`` on a camera of the network that plays a generated clip again and again, for as many minutes as wanted.

The camera is a server of this machine: MJPEG over HTTP at a steady rate, with a second of frames as fast as they go in each clip, and the
line is lost after each. It counts the frames that it has sent. At the end it is gone for good, and ``run`` gets SIGTERM.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from soak_watch import Watch, judged, thinned

CLIP, RATE = 3000, 60  # frames of the clip and a second
RUSH = 60  # frames of a clip that come as fast as they go
LINES_S = 5  # for the answers to the last frames


def clip() -> list[bytes]:
    """JPEGs of a square that wanders over noise."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 60, (240, 320, 3), dtype=np.uint8)
    found = []
    for index in range(CLIP):
        frame = np.roll(noise, index, axis=1)
        x, y = index * 3 % 280, index * 2 % 200
        frame[y : y + 40, x : x + 40] = (40, 200, index % 256)
        found.append(cv2.imencode(".jpg", frame)[1].tobytes())
    return found


class Camera:
    """Serves the clip until ``until``; ``sent`` counts frames, ``lines`` connections."""

    def __init__(self, minutes: float) -> None:
        self.sent = self.lines = 0
        self.until = time.monotonic() + minutes * 60
        self.over = threading.Event()
        frames, camera = clip(), self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                camera.lines += 1
                self.send_response(200)
                self.send_header("Content-Type", "video/x-motion-jpeg")
                self.end_headers()
                due = time.monotonic()
                for index, frame in enumerate(frames):
                    self.wfile.write(frame)
                    camera.sent += 1
                    if time.monotonic() > camera.until:
                        camera.over.set()
                        return
                    due = max(due + (0 if index < RUSH else 1 / RATE), time.monotonic() - 1)
                    time.sleep(max(due - time.monotonic(), 0))

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/live.mjpeg"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def soak(bundle: Path, minutes: float, every_s: float) -> dict[str, Any]:
    """What became of every frame, and of the memory of the process."""
    camera = Camera(minutes)
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        words = [
            sys.executable,
            "-m",
            "edgesmith",
            "run",
            str(bundle),
            "--source",
            camera.url,
            "--reconnect",
            "--json-lines",
        ]
        errors = Path(name, "errors")
        with (
            errors.open("wb") as said,
            subprocess.Popen(
                [*words, "--health", str(Path(name, "health.json"))], stdout=subprocess.PIPE, stderr=said
            ) as process,
        ):
            assert process.stdout is not None

            def read() -> None:
                for line in process.stdout or ():
                    told = json.loads(line)
                    if "reconnected" in told:
                        counts["reconnected"] = told["reconnected"]
                    elif "error" in told:
                        counts["lost"] += told.get("lost", 1)
                    else:
                        counts["answered"] += 1
                        counts["dropped"] = told["dropped"]

            reader = threading.Thread(target=read)
            reader.start()
            begun = time.monotonic()
            watch = Watch(process.pid, every_s, lambda: (time.monotonic() - begun) / 60)
            with watch.watching():
                while not camera.over.wait(1) and process.poll() is None:
                    pass
            camera.close()
            time.sleep(LINES_S)
            process.send_signal(signal.SIGTERM)
            code = process.wait(60)
            reader.join()
        last = errors.read_text(errors="replace").strip().splitlines()[-3:]
    known = sum(counts[key] for key in ("answered", "dropped", "lost"))
    return {
        "minutes": minutes, "sent": camera.sent, "lines": camera.lines, **{key: counts[key] for key in ("answered", "dropped", "lost", "reconnected")},
        "unaccounted": camera.sent - known, "exit_code": code, "last_words": last,
        "judged": judged(watch.samples), "samples": thinned(watch.samples),
    }  # fmt: skip
