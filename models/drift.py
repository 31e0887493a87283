# SPDX-License-Identifier: Apache-2.0
"""What happens to the demo's images on their way: fog, noise, contrast, blur, static.

Everything is a function of (seed, index of the image) and of nothing else: the same image
under the same index comes out the same in any batch, on any machine.  Needs numpy.

Images are uint8 [n, height, width, 1]; strengths are 0 (unchanged) to 1.
"""

import numpy as np

STREAMS = 16  # of random numbers, for each seed; clouds() has 0 to 3
FOG, NOISE, CONTRAST, BLUR = "fog", "noise", "contrast", "blur"
KINDS = (FOG, NOISE, CONTRAST, BLUR)


def uniform(seed, stream, index, n):
    """[len(index), n] numbers in (0, 1), a sequence of its own for each index.

    From raw Philox words: what numpy's distributions make of them may change with its version.
    """
    words = [np.random.Philox(key=[seed * STREAMS + stream, int(i)]).random_raw(n) for i in index]
    return ((np.array(words) >> np.uint64(11)).astype(np.float64) + 0.5) / 2**53


def normal(seed, stream, index, n):
    """The same with a standard normal distribution (Box and Muller)."""
    u = uniform(seed, stream, index, 2 * n)
    return np.sqrt(-2 * np.log(u[:, :n])) * np.cos(2 * np.pi * u[:, n:])


def hat(size, cells):
    """[size, cells + 1] weights of linear interpolation between cells + 1 points."""
    at = np.linspace(0, cells, size)
    return np.maximum(0, 1 - abs(at[:, None] - np.arange(cells + 1)))


def clouds(seed, index, height, width):
    """[n, height, width] smooth fields in 0..1: value noise in four octaves."""
    total = np.zeros((len(index), height, width))
    for octave, cells in enumerate((2, 4, 8, 16)):
        points = uniform(seed, octave, index, (cells + 1) ** 2)
        points = points.reshape(-1, cells + 1, cells + 1)
        total += hat(height, cells) @ points @ hat(width, cells).T / 2**octave
    low, high = total.min((1, 2), keepdims=True), total.max((1, 2), keepdims=True)
    return (total - low) / (high - low)


def fog(x, strength, seed, index):
    """Towards bright clouds."""
    share = 0.35 * strength
    veil = 60 + 195 * clouds(seed, index, *x.shape[1:3])
    return (1 - share) * x + share * veil[..., None]


def noise(x, strength, seed, index):
    """Gaussian, the same variance everywhere."""
    n = x[0].size
    return x + 40 * strength * normal(seed, 4, index, n).reshape(x.shape)


def contrast(x, strength, seed, index):
    """Towards a grey that is brighter than most images."""
    del seed, index
    return (1 - 0.8 * strength) * x + 0.8 * strength * 120


def blur(x, strength, seed, index):
    """Gaussian; edges are repeated."""
    del seed, index
    sigma = 1.6 * strength
    at = np.arange(-7, 8)
    weights = np.exp(-0.5 * (at / sigma) ** 2)
    weights /= weights.sum()
    for axis in (1, 2):
        padded = np.pad(x, [(7, 7) if a == axis else (0, 0) for a in range(4)], mode="edge")
        size = x.shape[axis]
        x = sum(w * np.take(padded, range(k, k + size), axis) for k, w in enumerate(weights))
    return x


def corrupt(images, kind, strength, seed=0, index=None):
    """images under one of KINDS; index: of each image, 0 1 2 ... when not given."""
    if strength <= 0:
        return images
    index = range(len(images)) if index is None else index
    change = {FOG: fog, NOISE: noise, CONTRAST: contrast, BLUR: blur}[kind]
    changed = change(images.astype(np.float64), min(strength, 1), seed, index)
    return np.clip(np.rint(changed), 0, 255).astype(np.uint8)


def static(n, seed=0, first=0, shape=(28, 28, 1)):
    """n images of the hostile stream, the first of them number first: nothing but random pixels,
    as from a camera whose cable is broken.  Whoever makes predictions on these more certain,
    batch after batch, ends up certain of one class, whatever the image."""
    values = 256 * uniform(seed, 5, range(first, first + n), int(np.prod(shape)))
    return values.astype(np.uint8).reshape(-1, *shape)


def schedule(t):
    """{kind: strength} at time t in 0..1.

    Clean for the first eighth, then one kind after the other.  Each grows, stays, and fades
    while the next grows.
    """
    start, leg, ramp = 0.125, 0.21875, 0.0625
    strengths = {}
    for k, kind in enumerate(KINDS):
        begin = start + k * leg
        end = begin + leg if k < len(KINDS) - 1 else 2
        strengths[kind] = min(max(min((t - begin) / ramp, 1 - (t - end) / ramp), 0), 1)
    return strengths


def drift(images, t, seed=0, index=None):
    """images as the stream shows them at time t in 0..1."""
    for kind, strength in schedule(t).items():
        images = corrupt(images, kind, strength, seed, index)
    return images
