"""To which size a screenshot is resized before the network looks at it.

    (height, width)  --smart_size-->  multiples of 28 with a number of pixels in a range       Qwen2.5-VL's rule
    (height, width)  --screen_size->  that rule twice: to 12.8 million pixels, then to 5.76 million    GUI-AIMA's

28 pixels are what one visual token covers: 2 x 2 patches of 14. Both sides are rounded on their own, so a picture is
stretched by a per cent or two. The resize itself is Pillow's bicubic one (runtime/pictures/resize.py).
"""

from __future__ import annotations

import math

from ...errors import UserMistake

MULTIPLE = 28
LEAST_PIXELS, MOST_PIXELS = 3_136, 12_845_056
SCREEN_PIXELS = 5_760_000  # the second limit, of GUI-AIMA
MOST_RATIO = 200  # of the longer side to the shorter one, as Qwen2.5-VL has it


def smart_size(
    height: int, width: int, multiple: int = MULTIPLE, least: int = LEAST_PIXELS, most: int = MOST_PIXELS
) -> tuple[int, int]:
    """(height, width) of the resized picture: multiples, with ``least`` to ``most`` pixels, nearest to the same shape.

    Raises:
        UserMistake: a side without pixels, or one more than 200 times as long as the other.
    """
    if min(height, width) < 1 or max(height, width) > MOST_RATIO * min(height, width):
        raise UserMistake(
            "the picture is no screen",
            found=f"{width} x {height} pixels",
            expected=f"sides of which the longer is at most {MOST_RATIO} times the shorter",
        )
    rows, columns = (max(round(side / multiple), 1) for side in (height, width))  # half to even
    if rows * columns * multiple**2 > most:
        shrink = math.sqrt(height * width / most)
        rows, columns = (max(math.floor(side / shrink / multiple), 1) for side in (height, width))
    elif rows * columns * multiple**2 < least:
        grow = math.sqrt(least / (height * width))
        rows, columns = (math.ceil(side * grow / multiple) for side in (height, width))
    return rows * multiple, columns * multiple


def screen_size(
    height: int,
    width: int,
    multiple: int = MULTIPLE,
    least: int = LEAST_PIXELS,
    most: int = MOST_PIXELS,
    second_most: int = SCREEN_PIXELS,
) -> tuple[int, int]:
    """(height, width) at which GUI-AIMA looks at a screenshot: ``smart_size`` to ``most`` pixels, then to ``second_most``."""
    first = smart_size(height, width, multiple, least, most)
    return smart_size(*first, multiple, least, second_most)
