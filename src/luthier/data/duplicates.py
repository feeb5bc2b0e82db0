"""Texts that occur more than once: exactly, or nearly.

Exactly means equal after Unicode composition (NFC), which is what the split keeps together. Nearly means that the sets
of character 5-grams overlap, whatever the case, width and spacing of the characters: MinHash signatures propose pairs,
and the true Jaccard similarity decides. Characters serve Chinese as well as English; no word boundaries are needed.

References: Broder, 1997, On the Resemblance and Containment of Documents (MinHash); Indyk and Motwani, 1998,
Approximate Nearest Neighbors (banding); Lee et al., 2022, Deduplicating Training Data Makes Language Models Better.

Covered: pairs at or above the threshold are found with a chance of at least 0.998. Not covered: what lies beyond the
first `max_characters` of a text; every single pair inside a crowd of hundreds of near copies (its rows still end up in
one group); paraphrases. Shingles are compared by 40-bit hashes: for two texts of
100 characters the odds that two different shingles look equal are about 1 in 10^8.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]

SHINGLE = 5  # characters
HASHES = 128
RECALL = 0.999  # of the pairs at the threshold, by the banding alone
CHARACTERS_AT_ONCE = 250_000  # characters turned into shingles at a time: 2 MB per temporary array
CROWD = 32  # rows in a bucket up to which every pair is looked at
NEIGHBOURS = 1  # in a larger bucket each row is paired with this many that follow, and with the first


def exact_key(text: str) -> bytes:
    """Return 16 bytes that are equal for texts that are equal after Unicode composition (NFC)."""
    composed = unicodedata.normalize("NFC", text)
    return hashlib.blake2b(composed.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def first_of_equals(texts: Iterable[str]) -> IntArray:
    """Return for each row the first row whose text is exactly equal, (N,): its own index where there is none before.

    Memory is 16 bytes a row while reading, about 60 after.
    """
    joined = b"".join(map(exact_key, texts))
    keys = np.frombuffer(joined, dtype=np.dtype([("high", "<u8"), ("low", "<u8")]))
    order = np.lexsort((keys["low"], keys["high"]))
    ordered = keys[order]
    starts = np.append(True, ordered[1:] != ordered[:-1])[: len(keys)]
    # lexsort is stable: the first of a run is its lowest row.
    first = np.empty(len(keys), dtype=np.int64)
    first[order] = order[starts][np.cumsum(starts) - 1]
    return first


def loose_form(text: str) -> str:
    """Return the text with width, case and spacing evened out (NFKC, case folded, runs of space as one space)."""
    if text.isascii():
        return " ".join(text.lower().split())
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


@dataclass(frozen=True, eq=False)
class NearDuplicates:
    """Rows that say nearly the same.

    Attributes:
        pairs: (P, 2) row indices, the lower one first, one row standing for all rows of one loose form.
        similarity: (P,) Jaccard similarity of each pair, at or above the threshold.
        group: (N,) the lowest row of the group each row belongs to; groups are chains of pairs and equal loose forms.
        crowds: buckets in which not every pair was looked at, because they hold too many rows.
    """

    pairs: IntArray
    similarity: NDArray[np.float64]
    group: IntArray
    crowds: int

    def groups(self) -> list[IntArray]:
        """Return the rows of each group of at least two, largest group first."""
        order = np.argsort(self.group, kind="stable")
        _, starts = np.unique(self.group[order], return_index=True)
        parts = [part for part in np.split(order, starts[1:]) if len(part) > 1]
        return sorted(parts, key=lambda part: (-len(part), int(part[0])))


def near_duplicates(texts: Sequence[str], threshold: float = 0.9, max_characters: int = 2_000) -> NearDuplicates:
    """Find texts whose character 5-gram sets have a Jaccard similarity of at least `threshold`.

    Args:
        texts: (N,) raw texts.
        threshold: in (0, 1]; a change inside a text of n characters costs about 10 / n.
        max_characters: a longer text is compared by its beginning of that length, about what 512 tokens hold.

    Returns:
        Pairs, their similarity, and a group per row; the same for the same texts, whatever the machine.
    """
    assert 0 < threshold <= 1, f"threshold must be in (0, 1]; got {threshold}"
    forms, first, standing = _distinct([_beginning(text, max_characters) for text in texts])
    signatures = _signatures(forms)
    found, crowds = _candidates(signatures, threshold)
    alike = _agreement(signatures, found) >= _least_agreement(threshold)
    found = found[alike]
    similarity = _jaccard(forms, found)
    kept = similarity >= threshold
    found, similarity = found[kept], similarity[kept]
    group = _groups(len(forms), found)
    return NearDuplicates(first[found], similarity, first[group][standing], crowds)


def _beginning(text: str, characters: int) -> str:
    """Return the loose form of a text's beginning, without working on megabytes behind it."""
    return loose_form(text[: 4 * characters])[:characters]


def _distinct(forms: list[str]) -> tuple[list[str], IntArray, IntArray]:
    """Return the distinct forms, the first row of each, and for each row the place of its form."""
    places: dict[str, int] = {}
    standing = np.fromiter((places.setdefault(form, len(places)) for form in forms), np.int64, len(forms))
    _, first = np.unique(standing, return_index=True)
    return list(places), first.astype(np.int64), standing


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Spread 64-bit numbers evenly (the finaliser of SplitMix64, Steele et al., 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


_POWERS = [np.uint64(pow(0x9E3779B97F4A7C15, power, 2**64)) for power in range(SHINGLE)]


def _shingles(forms: Sequence[str]) -> tuple[NDArray[np.uint64], IntArray]:
    """Hash the 5-grams of each form (a shorter form is one shingle), with repeats: all hashes, and (M + 1,) bounds."""
    padded = [form if len(form) >= SHINGLE else form + "\0" * (SHINGLE - len(form)) for form in forms]
    lengths = np.fromiter(map(len, padded), np.int64, len(padded))
    points = np.frombuffer("".join(padded).encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.uint64)
    width = len(points) - SHINGLE + 1
    hashes = np.zeros(max(width, 0), dtype=np.uint64)
    for offset, power in enumerate(_POWERS):
        hashes += points[offset : offset + width] * power
    counts = lengths - SHINGLE + 1
    bounds = np.concatenate([[0], np.cumsum(counts)])
    ends = np.cumsum(lengths)[:-1]
    inside = np.ones(len(hashes), dtype=bool)  # windows that do not run over the end of a form
    for back in range(1, SHINGLE):
        inside[ends - back] = False
    return _mix(hashes[inside]), bounds


def _blocks(forms: Sequence[str]) -> Iterator[slice]:
    """Cut the forms into runs of a bounded number of characters (at least one form each)."""
    start = size = 0
    for place, form in enumerate(forms):
        size += max(len(form), SHINGLE)
        if size >= CHARACTERS_AT_ONCE:
            yield slice(start, place + 1)
            start, size = place + 1, 0
    if start < len(forms):
        yield slice(start, len(forms))


def _signatures(forms: Sequence[str]) -> NDArray[np.uint32]:
    """Return the MinHash signature of each form, (M, HASHES)."""
    numbers = _mix(np.arange(1, 2 * HASHES + 1, dtype=np.uint64)).astype(np.uint32)
    factors, shifts = numbers[:HASHES] | np.uint32(1), numbers[HASHES:]
    signatures = np.empty((HASHES, len(forms)), dtype=np.uint32)
    for block in _blocks(forms):
        hashes, bounds = _shingles(forms[block])
        short = (hashes >> np.uint64(32)).astype(np.uint32)
        scratch = np.empty_like(short)
        for index in range(HASHES):
            np.multiply(short, factors[index], out=scratch)
            scratch ^= shifts[index]
            np.minimum.reduceat(scratch, bounds[:-1], out=signatures[index, block])
    return np.ascontiguousarray(signatures.T)


def _rows_per_band(threshold: float) -> int:
    """Return the widest band (the fewest false candidates) that still finds pairs at the threshold."""
    for rows in range(HASHES, 1, -1):
        if 1 - (1 - threshold**rows) ** (HASHES // rows) >= RECALL:
            return rows
    return 1


def _candidates(signatures: NDArray[np.uint32], threshold: float) -> tuple[IntArray, int]:
    """Return pairs (K, 2) of places that agree on a whole band, and the number of buckets too large for all pairs."""
    rows = _rows_per_band(threshold)
    size = max(len(signatures), 1)
    pairs, crowds = [np.zeros(0, dtype=np.int64)], 0
    for start in range(0, HASHES // rows * rows, rows):
        key = np.zeros(len(signatures), dtype=np.uint64)
        for column in range(start, start + rows):
            key = _mix(key + signatures[:, column])
        low, high, crowded = _bucket_pairs(key)
        pairs.append(low * size + high)
        crowds += crowded
    joined = np.sort(np.concatenate(pairs), kind="stable")
    joined = joined[np.diff(joined, prepend=-1) > 0]
    return np.stack([joined // size, joined % size], axis=1), crowds


def _bucket_pairs(key: NDArray[np.uint64]) -> tuple[IntArray, IntArray, int]:
    """Return pairs of places with equal keys, the lower first; in a crowd only near neighbours and the first."""
    order = np.argsort(key, kind="stable")
    ordered = key[order]
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])[: len(key)])
    sizes = np.diff(np.append(starts, len(key)))
    size, start = np.repeat(sizes, sizes), np.repeat(starts, sizes)
    place = np.arange(len(key))
    low, high = [], []
    for step in range(1, min(int(sizes.max(initial=0)), CROWD)):
        reach = place[(place + step < start + size) & ((size <= CROWD) | (step <= NEIGHBOURS))]
        if not len(reach):
            break
        low.append(order[reach])
        high.append(order[reach + step])
    far = place[(size > CROWD) & (place > start + NEIGHBOURS)]
    low.append(order[start[far]])
    high.append(order[far])
    return np.concatenate(low), np.concatenate(high), int((sizes > CROWD).sum())


def _agreement(signatures: NDArray[np.uint32], pairs: IntArray) -> IntArray:
    """Count the hashes on which the two of each pair agree, (K,)."""
    agreed = np.zeros(len(pairs), dtype=np.int64)
    for start in range(0, len(pairs), 50_000):
        left, right = pairs[start : start + 50_000].T
        agreed[start : start + 50_000] = (signatures[left] == signatures[right]).sum(axis=1)
    return agreed


def _least_agreement(threshold: float) -> float:
    """Return the agreement below which a pair is not worth verifying: one pair in a thousand at the threshold."""
    from scipy.special import bdtrik

    return float(bdtrik(0.001, HASHES, threshold))


# One number holds a shingle's hash and the form or pair it belongs to: sorting plain numbers is ten times as fast.
_OWNER_BITS, _HASH_BITS = np.uint64(24), np.uint64(40)
_HASH_MASK = np.uint64(2**40 - 1)


def _jaccard(forms: Sequence[str], pairs: IntArray) -> NDArray[np.float64]:
    """Return the true Jaccard similarity of the shingle sets of each pair, (K,)."""
    similarity = np.zeros(len(pairs))
    for part in _blocks_of_pairs(forms, pairs):
        left, right = pairs[part].T
        here, where = np.unique(np.concatenate([left, right]), return_inverse=True)
        sets, bounds = _shingle_sets([forms[place] for place in here])
        shared = _shared(sets, bounds, where[: len(left)], where[len(left) :])
        count = np.diff(bounds)
        total = count[where[: len(left)]] + count[where[len(left) :]] - shared
        similarity[part] = shared / total
    return similarity


def _blocks_of_pairs(forms: Sequence[str], pairs: IntArray) -> Iterator[slice]:
    """Cut the pairs into runs of a bounded number of characters."""
    if not len(pairs):
        return
    lengths = np.fromiter(map(len, forms), np.int64, len(forms))
    size = np.cumsum(lengths[pairs].sum(axis=1) + SHINGLE) // (4 * CHARACTERS_AT_ONCE)
    edges = np.flatnonzero(np.diff(size, prepend=-1))
    for start, end in zip(edges, np.append(edges[1:], len(pairs)), strict=True):
        yield slice(int(start), int(end))


def _shingle_sets(forms: Sequence[str]) -> tuple[NDArray[np.uint64], IntArray]:
    """Return the distinct shingle hashes of each form, cut to 40 bits, and (M + 1,) bounds."""
    hashes, bounds = _shingles(forms)
    keys = _keyed(np.repeat(np.arange(len(forms)), np.diff(bounds)), hashes >> _OWNER_BITS)
    keys = keys[np.append(True, keys[1:] != keys[:-1])]
    counts = np.bincount((keys >> _HASH_BITS).astype(np.int64), minlength=len(forms))
    return keys & _HASH_MASK, np.concatenate([[0], np.cumsum(counts)])


def _shared(sets: NDArray[np.uint64], bounds: IntArray, left: IntArray, right: IntArray) -> IntArray:
    """Count the hashes that two sets of each pair have in common, (K,)."""
    chosen = np.stack([left, right], axis=1).ravel()
    counts = np.diff(bounds)[chosen]
    ends = np.cumsum(counts)
    within = np.arange(ends[-1]) - np.repeat(ends - counts, counts)
    values = sets[np.repeat(bounds[:-1][chosen], counts) + within]
    keys = _keyed(np.repeat(np.arange(len(chosen)) // 2, counts), values)
    twice = keys[1:][keys[1:] == keys[:-1]]
    return np.bincount((twice >> _HASH_BITS).astype(np.int64), minlength=len(left)).astype(np.int64)


def _keyed(owner: IntArray, hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return numbers that hold an owner and a 40-bit hash, sorted by owner and then hash."""
    keys = (owner.astype(np.uint64) << _HASH_BITS) | hashes
    keys.sort(kind="stable")  # owners come in order already, and mostly hashes too: a merge of runs
    return keys


def _groups(size: int, pairs: IntArray) -> IntArray:
    """Return the lowest place of the chain of pairs that each place belongs to, (size,)."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    links = coo_array((np.ones(len(pairs), dtype=bool), (pairs[:, 0], pairs[:, 1])), shape=(size, size))
    _, label = connected_components(links, directed=False)
    _, first, chain = np.unique(label, return_index=True, return_inverse=True)
    return np.asarray(first[chain], dtype=np.int64)
