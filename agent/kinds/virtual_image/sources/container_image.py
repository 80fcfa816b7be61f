"""The file below /disk of a container image."""

from __future__ import annotations

from collections.abc import Mapping

from agent.core.container_reference import ConfigurationError, Reference, credentials
from agent.core.encoded import decoded
from agent.core.facts import View
from agent.core.image_sources import ContainerSource
from agent.core.model import Condition, Key, Object
from agent.core.recognition import DEFAULT_NAMESPACE
from agent.kinds.virtual_image.address import secret_data
from agent.kinds.virtual_image.sources.coming import Origin
from agent.kinds.virtual_image.sources.http import certificates
from agent.kinds.virtual_image.spec import Container

_CONFIGURATIONS = (".dockerconfigjson", ".dockercfg")
_PAIR = ("username", "password")
_NOT_FOUND = "ContainerRegistrySecretNotFound"


def origin(obj: Object, container: Container, view: View) -> Origin:
    source = ContainerSource(container["image"], certificates(container.get("caBundle")))
    named = container.get("imagePullSecret", {})
    if not named.get("name"):
        return Origin(source)
    namespace = obj.key.namespace or named.get("namespace", DEFAULT_NAMESPACE)
    key = Key("Secret", namespace, named["name"])
    data, lacking = secret_data(key, view)
    if data is None:
        condition = Condition("DatasourceReady", "False", _NOT_FOUND, lacking)
        return Origin(source, lacking, condition=condition)
    if lacking:
        return Origin(source, lacking)
    try:
        pair = _pair(container["image"], data)
    except ConfigurationError as error:
        return Origin(source, f"{key}, the imagePullSecret, {error}.")
    except ValueError:
        return Origin(source, f"{key} holds a value that is no text in Base64.")
    return Origin(ContainerSource(source.image, source.ca_bundle, pair))


def _pair(image: str, data: Mapping[str, str]) -> tuple[str, str]:
    """User and password."""
    for name in _CONFIGURATIONS:
        if data.get(name):
            return credentials(decoded(data[name]), Reference.parse(image))
    user, password = (decoded(data.get(name) or "").decode().strip() for name in _PAIR)
    if not user or not password:
        raise ConfigurationError(
            f"has neither {' nor '.join(_CONFIGURATIONS)}, nor both {' and '.join(_PAIR)}"
        )
    return user, password
