"""The settings of a recording, with what the plan found out about its tower."""

from saev.core.errors import UserError
from saev.core.files import sha256_file
from saev.core.spec import Spec
from saev.settings.vit import VitResolved, VitSettings


def vit_settings(spec: Spec) -> VitSettings:
    """Settings of the tower, with the SHA-256 of the weights that the plan found.

    Raises:
        UserError: the model's configuration file has changed since then.
    """
    resolved = spec.found(VitResolved)
    settings: VitSettings = spec.parsed(VitSettings)
    if resolved.weights_sha256 is not None:
        settings = settings.model_copy(update={"weights_sha256": resolved.weights_sha256})
    if resolved.model_sha256 not in (None, resolved.model_sha256 and sha256_file(settings.model)):
        raise UserError(
            f"{settings.model} was changed while the workflow ran: start the workflow again"
        )
    return settings
