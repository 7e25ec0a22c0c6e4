"""The golden picture: what a model must say of it before anybody else may ask."""

from __future__ import annotations

from hardtack.core.errors import ModelError
from hardtack.inference.images import decode
from hardtack.inference.model import Model
from hardtack.inference.tasks import BoxesResult, ClassResult, Result


def check(model: Model) -> None:
    """Put the golden pictures of a model and of its out-of-distribution model to them.

    Raises ModelError where one says something else; a package without such a picture passes.
    """
    for judged in (model, model.outliers):
        golden = judged.package.golden if judged else None
        if judged is None or golden is None:
            continue
        path = judged.package.directory / golden.picture.file
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ModelError(f"{path} can't be read: {error.strerror}.") from None
        prediction = judged.own(decode(data))
        if wrong := golden.difference(said(prediction.result), prediction.confidence):
            raise ModelError(
                f"{judged.package.directory} fails its golden picture {path.name}: {wrong}.",
                remedy="Publish the version again, or what [golden] says of it.",
            )


def said(result: Result) -> str | int:
    """An answer as `[golden]` has it."""
    if isinstance(result, BoxesResult):
        return result.count
    return result.label if isinstance(result, ClassResult) else result.text
