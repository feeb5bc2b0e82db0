"""The charts of the report, each a pure function from numbers to an SVG drawing."""

from luthier.reporting.charts.bars import Bar, bar_chart, scale_of
from luthier.reporting.charts.confusion import ROOMY, confusion_matrix, matrix_width
from luthier.reporting.charts.curve import Series, epoch_ends, line_chart
from luthier.reporting.charts.front import front_chart
from luthier.reporting.charts.lengths import length_histogram
from luthier.reporting.charts.means import means_chart
from luthier.reporting.charts.reliability import reliability_diagram

__all__ = [
    "ROOMY",
    "Bar",
    "Series",
    "bar_chart",
    "confusion_matrix",
    "epoch_ends",
    "front_chart",
    "length_histogram",
    "line_chart",
    "matrix_width",
    "means_chart",
    "reliability_diagram",
    "scale_of",
]
