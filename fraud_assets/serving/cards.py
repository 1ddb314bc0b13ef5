"""What the registry says of a version, for people: its windows, and its model card.

Loading versions is the business of `lineup`.
"""

from __future__ import annotations

from fraud_assets.modeling.registry import ModelRegistry, without_password


class RegistryUnavailableError(RuntimeError):
    """The registry does not answer; the message holds the remedy."""


class ModelCards:
    """Asks the registry. Everything here blocks.

    Args:
        registry: the versions of the served model.
    """

    def __init__(self, registry: ModelRegistry) -> None:
        self._registry = registry
        self._tags: dict[str, dict[str, str]] = {}

    def tags(self, version: str) -> dict[str, str]:
        """What was written down when a version was registered, such as `train_window`.

        Asked for once: it does not change, and a registry that is away takes minutes to say so.

        Raises:
            RegistryUnavailableError: it does not answer, or has lost the version.
        """
        if version not in self._tags:
            try:
                self._tags[version] = self._registry.describe(version).tags
            except Exception as error:
                raise self._unavailable(error) from error
        return self._tags[version]

    def card(self, version: str) -> str:
        """A version's model card, as Markdown; empty if it has none.

        Raises:
            RegistryUnavailableError: it does not answer, or has lost the version.
        """
        try:
            return self._registry.describe(version).description
        except Exception as error:
            raise self._unavailable(error) from error

    def _unavailable(self, error: Exception) -> RegistryUnavailableError:
        uri = without_password(self._registry.tracking_uri)
        return RegistryUnavailableError(
            f"the model registry {uri} does not tell ({type(error).__name__}); check that it "
            "runs, and FRAUD_MLFLOW_TRACKING_URI"
        )
