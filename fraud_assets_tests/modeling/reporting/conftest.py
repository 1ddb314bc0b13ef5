"""What the tests of all pictures look at: the pixels, the size and the colours."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

Pixels = tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]


@pytest.fixture(scope="session")
def opened() -> Callable[[bytes], Image.Image]:
    """Reads a PNG file, all of it."""

    def read(png: bytes) -> Image.Image:
        image = Image.open(io.BytesIO(png))
        image.load()
        return image

    return read


@pytest.fixture(scope="session")
def painted(opened: Callable[[bytes], Image.Image]) -> Callable[[bytes, str], Pixels]:
    """Finds rows and columns of the pixels that have nearly a colour, written "#rrggbb"."""

    def found(png: bytes, colour: str) -> Pixels:
        picture: npt.NDArray[Any] = np.asarray(opened(png).convert("RGB")).astype(int)
        wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        rows, columns = np.nonzero(np.abs(picture - wanted).sum(axis=2) < 12)
        return rows, columns

    return found


@pytest.fixture(scope="session")
def small_picture(opened: Callable[[bytes], Image.Image]) -> Callable[[bytes], None]:
    """Asserts that a PNG file is 500 pixels wide, has at most 40 kB, and is not blank."""

    def check(png: bytes) -> None:
        image = opened(png)
        assert (image.format, image.width) == ("PNG", 500)
        assert len(png) <= 40_000
        assert len(image.convert("RGB").getcolors(1 << 16)) > 10

    return check
