"""Short videos with a patch that moves, and a server that sends pictures as a camera on the network does."""

from __future__ import annotations

import socketserver
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import cv2
import numpy as np

CODECS = {".mp4": "mp4v", ".avi": "MJPG", ".webm": "VP80", ".mpg": "MPG1"}


def picture(index: int, size: tuple[int, int] = (64, 96)) -> np.ndarray:
    """uint8 (height, width, 3) RGB: black, with a red square that moves 4 pixels a frame and wraps around."""
    image = np.zeros((*size, 3), np.uint8)
    left = index * 4 % (size[1] - 32)
    image[16:48, left : left + 32] = (255, 0, 0)
    return image


def write_clip(path: Path, frames: int = 12, size: tuple[int, int] = (64, 96), fps: float = 10) -> Path:
    code = cv2.VideoWriter.fourcc(*CODECS[path.suffix])
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, code, fps, (size[1], size[0]))
    assert writer.isOpened()
    for index in range(frames):
        writer.write(cv2.cvtColor(picture(index, size), cv2.COLOR_RGB2BGR))
    writer.release()
    return path


def frames_of(path: Path) -> list[np.ndarray]:
    """All frames as RGB."""
    capture, found = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG), []
    while True:
        there, pixels = capture.read()
        if not there:
            capture.release()
            return found
        found.append(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))


@contextmanager
def stream(frames: int, every_s: float = 0.02, hang_s: float = 0.0, damaged: Collection[int] = ()) -> Iterator[str]:
    """The address of a motion JPEG stream; after its frames it hangs for a while, then ends.

    Of the ``damaged`` ones nothing can be decoded.
    """
    leave = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            try:
                for index in range(frames):
                    data = cv2.imencode(".jpg", picture(index)[:, :, ::-1])[1].tobytes()
                    data = bytes(len(data)) if index in damaged else data
                    head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
                    self.wfile.write(head.encode() + data + b"\r\n")
                    time.sleep(every_s)
                leave.wait(hang_s)
            except OSError:  # the reader has left
                pass

        def log_message(self, *_: object) -> None:
            pass

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address, daemon_threads, block_on_close = True, True, False

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/camera.mjpg"
        leave.set()
        server.shutdown()
