"""A text cut to some tokens, where a character is more than one token."""

from __future__ import annotations

import pytest
from tests.tiny import build_decoder

from luthier.data.text import TextEncoder

TEXT = "ab你好c😀d"


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> TextEncoder:
    return TextEncoder(build_decoder(tmp_path_factory.mktemp("decoder")), max_length=64)


@pytest.mark.parametrize("side", ["right", "left"])
def test_no_character_is_cut_and_no_more_than_fits_stays(encoder: TextEncoder, side: str) -> None:
    number = len(encoder.ids([TEXT])[0])
    assert number == len(TEXT.encode("utf-8")), "its tokens are bytes"
    for tokens in range(-1, number + 1):
        parts = [TEXT[:size] if side == "right" else TEXT[len(TEXT) - size :] for size in range(len(TEXT) + 1)]
        fitting = [part for part in parts if len(part.encode("utf-8")) <= max(0, tokens)]
        assert encoder.shortened(TEXT, tokens, side=side) == fitting[-1]
