"""The errors a user can meet, all children of `ConvslimError`.

Every message names the place, the value that was found, the rule it breaks and the way out.

>>> nearest("resnet56_cifr", ["resnet56_cifar", "digits_cnn"])
" Did you mean 'resnet56_cifar'?"
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ConvslimError(Exception):
    """Base of all errors that convslim raises for its users."""


class ModelError(ConvslimError):
    """A model cannot be built, traced or run, or its weights do not load."""


class PlanError(ConvslimError):
    """A plan does not fit the model, or a name pattern matches nothing."""


class BudgetError(ConvslimError):
    """A budget is malformed or cannot be reached."""


class VerificationError(ConvslimError):
    """A rewritten model is not equal to what it must equal."""


class DataError(ConvslimError):
    """A data set is missing, corrupt or wrongly labeled."""


class RecipeError(ConvslimError):
    """A recipe holds an unknown key, a wrong type or an impossible value."""


class TrainingError(ConvslimError):
    """Training met NaN or infinite values, or diverged."""


class ArtifactError(ConvslimError):
    """A file is missing, truncated, of the wrong kind or cannot be written."""


class ExportError(ConvslimError):
    """An export failed, or the exported file disagrees with the model."""


def nearest(name: str, known: Iterable[str]) -> str:
    """End of an error message that proposes the known name nearest to `name`.

    Returns:
        `" Did you mean '…'?"`, or an empty string where no known name is near.
    """
    matches = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean '{matches[0]}'?" if matches else ""
