"""Images turned as viewers turn them, by their EXIF orientation."""

from PIL import Image
from PIL.Image import Transpose

_ORIENTATION = 0x0112
_STATED = {"exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp"}  # where Pillow finds it in a PNG
_TURNS = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
"""What shows an image upright, by the number of its orientation; 1 is upright.

References:
    JEITA CP-3451C (2010), Exchangeable image file format for digital still cameras: Exif version 2.3, section 4.6.4.
"""


def oriented(image: Image.Image) -> Image.Image:
    """The image as a viewer shows it."""
    image.load()
    turn = _TURNS.get(_orientation(image))
    return image if turn is None else image.transpose(turn)


def oriented_size(image: Image.Image) -> tuple[int, int]:
    """Width and height as a viewer shows the image, which is not decoded for that.

    A PNG whose orientation is stated behind its pixels shows it only to `oriented`.
    """
    if image.format == "PNG" and not _STATED & set(image.info):
        return image.size
    return image.size[::-1] if _orientation(image) >= 5 else image.size


def _orientation(image: Image.Image) -> int:
    """From 1 to 8; 1 where none is stated, or it cannot be read. Pillow turns TIFF itself."""
    if image.format == "TIFF":
        return 1
    try:
        stated = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # damaged EXIF data are no part of the image: viewers show it
        return 1
    return stated if stated in range(1, 9) else 1
