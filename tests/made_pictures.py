"""Picture files made by hand from NumPy arrays, so that what is read can be compared with what was meant."""

import io
import struct
import zlib

import numpy as np
import tifffile
from PIL import Image

TURNS = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}  # EXIF orientation to Pillow's transposition
_PASSES = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))


def ramps(channels=3, dtype=np.uint8, size=(37, 53)):
    """(H, W, channels) that differ in every row, column and channel."""
    rows, cols = np.mgrid[: size[0], : size[1]] / max(size)
    planes = np.stack([rows, cols, 1 - rows, 0.3 + cols / 2][:channels], axis=2)
    return (planes * np.iinfo(dtype).max).astype(dtype)


def turned(planes, orientation):
    """(H, W, C) as an orientation wants it shown."""
    if TURNS[orientation] is None:
        return planes
    shown = [
        np.asarray(Image.fromarray(p.astype(np.int32)).transpose(TURNS[orientation])) for p in np.moveaxis(planes, 2, 0)
    ]
    return np.stack(shown, axis=2).astype(planes.dtype)


def packed(samples, bits):
    """Rows of samples (H, ...) as bytes, the first sample in the highest bits."""
    flat = samples.reshape(samples.shape[0], -1)
    if bits >= 8:
        return [row.astype(">u2" if bits == 16 else "u1").tobytes() for row in flat]
    single = (flat[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    return [np.packbits(row.astype(np.uint8)).tobytes() for row in single.reshape(len(flat), -1)]


def png(samples, bits, kind, chunks=(), interlaced=False):
    """A PNG of samples (H, W, C); `chunks` stand before the pixels."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    parts = [samples[y::down, x::across] for y, x, down, across in _PASSES] if interlaced else [samples]
    rows = [row for part in parts if part.size for row in packed(part, bits)]
    header = struct.pack(">IIBBBBB", samples.shape[1], samples.shape[0], bits, kind, 0, 0, int(interlaced))
    before = b"".join(chunk(*each) for each in chunks)
    pixels = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + before + pixels + chunk(b"IEND", b"")


def tiff(planes, **options):
    """A TIFF of (H, W, C) or (H, W) by tifffile, with what it is told alone."""
    file = io.BytesIO()
    tifffile.imwrite(file, planes, metadata=None, **options)
    return file.getvalue()


def under_lzw(data):
    """A TIFF without compression, or under Deflate, with its strips or tiles under LZW instead, as Pillow does it."""
    content, offsets, counts = bytearray(data), [], []
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages[0]
        for start, count in zip(page.dataoffsets, page.databytecounts, strict=True):
            raw = data[start : start + count]
            raw = raw if page.compression == 1 else zlib.decompress(raw)
            made = io.BytesIO()
            Image.frombytes("L", (len(raw), 1), raw).save(made, "TIFF", compression="tiff_lzw")
            made.seek(0)
            piece = tifffile.TiffFile(made).pages[0]
            (offset,), (length,) = piece.dataoffsets, piece.databytecounts
            offsets.append(len(content))
            counts.append(length)
            content += made.getvalue()[offset : offset + length]
        kind = "Tile" if page.is_tiled else "Strip"
    made = io.BytesIO(bytes(content))
    with tifffile.TiffFile(made, mode="r+") as file:
        tags = file.pages[0].tags
        for name, value in (("Compression", 5), (f"{kind}Offsets", offsets), (f"{kind}ByteCounts", counts)):
            tags[name].overwrite(value)
        return made.getvalue()


def raw_tiff(size, bits, photometric, rows, more=()):
    """A TIFF of one sample and one strip, written by hand: for bits that tifffile doesn't pack."""
    height, width = size
    data = b"".join(rows)
    own = {256: width, 257: height, 258: bits, 259: 1, 262: photometric, 277: 1, 278: height, 279: len(data)}
    entries = sorted([(273, None), *((tag, (value,)) for tag, value in own.items()), *more])
    start, late = 8 + 2 + 12 * len(entries) + 4, b""
    fields = []
    for tag, values in entries:
        if values is None:
            fields.append((tag, None, 1))
        elif len(values) == 1:
            fields.append((tag, values[0], 1))
        else:
            fields.append((tag, start + len(late), len(values)))
            late += struct.pack(f"<{len(values)}H", *values)
    body = b"".join(
        struct.pack("<HHII", tag, 3 if count > 1 else 4, count, start + len(late) if value is None else value)
        for tag, value, count in fields
    )
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + body + bytes(4) + late + data


def bmp(samples, bits, top_down=False, palette=None, masks=None, header=40):
    """A BMP of samples (H, W) or (H, W, C in BGR order)."""
    height, width = samples.shape[:2]
    order = samples if top_down else samples[::-1]
    rows = packed(order, bits) if bits < 8 else [np.ascontiguousarray(row).tobytes() for row in order]
    body = b"".join(row + bytes(-len(row) % 4) for row in rows)
    info = struct.pack("<IiiHH", header, width, -height if top_down else height, 1, bits)
    info += struct.pack(
        "<IIiiII", 3 if masks else 0, len(body), 2835, 2835, len(palette) if palette is not None else 0, 0
    )
    if header > 40:
        info += struct.pack("<4I", *masks) + b"BGRs" + bytes(header - 60)
    elif masks:
        info += struct.pack("<3I", *masks)
    if palette is not None:
        info += np.concatenate([palette[:, ::-1], np.zeros((len(palette), 1), np.uint8)], axis=1).tobytes()
    start = 14 + len(info)
    return b"BM" + struct.pack("<IHHI", start + len(body), 0, 0, start) + info + body


def cmyk_profile(corners):
    """An ICC profile of inks: Lab colours of the 16 corners of CMYK, (2, 2, 2, 2, 3), and what lies between."""
    lab = np.asarray(corners, dtype=np.float64).reshape(16, 3)
    table = np.stack([lab[:, 0] * 255 / 100, lab[:, 1] + 128, lab[:, 2] + 128], axis=1).round().astype(np.uint8)
    identity = np.arange(256, dtype=np.uint8).tobytes()
    lut = b"mft1" + bytes(4) + bytes([4, 3, 2, 0])
    lut += (
        struct.pack(">9i", *(65536 if i % 4 == 0 else 0 for i in range(9)))
        + 4 * identity
        + table.tobytes()
        + 3 * identity
    )
    text = b"made inks\0"
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", len(text)) + text + bytes(78),
        b"cprt": b"text" + bytes(4) + text,
        b"wtpt": b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061),
        b"A2B0": lut,
    }
    at, table_of_tags, data = 128 + 4 + 12 * len(tags), b"", b""
    for name, content in tags.items():
        content += bytes(-len(content) % 4)
        table_of_tags += name + struct.pack(">II", at + len(data), len(content))
        data += content
    header = bytearray(128)
    header[0:4] = struct.pack(">I", at + len(data))
    header[8:12] = struct.pack(">I", 0x02400000)
    header[12:24] = b"prtrCMYKLab "
    header[36:40] = b"acsp"
    header[68:80] = struct.pack(">3i", 63190, 65536, 54061)
    return bytes(header) + struct.pack(">I", len(tags)) + table_of_tags + data
