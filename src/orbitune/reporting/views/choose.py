"""The view that suits the labels."""

from orbitune.evaluation.details.score_details import ScoreDetails
from orbitune.evaluation.tasks.label_set_scores import LabelSetScores
from orbitune.reporting.views.one_label import OneLabelView
from orbitune.reporting.views.score_view import ScoreView
from orbitune.reporting.views.several_labels import SeveralLabelsView


def view_scores(details: ScoreDetails, tiles: str, *, synthetic: bool) -> ScoreView:
    """Return the view of some scores.

    Args:
        details: of the scores.
        tiles: what the tiles are called.
        synthetic: whether they are synthetic.
    """
    kind = SeveralLabelsView if isinstance(details.scores, LabelSetScores) else OneLabelView
    return kind(details, tiles, synthetic=synthetic)
