"""The page of configuration keys matches the models."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from tests import configuration

MODELS = [*dict.fromkeys(model for root, _ in configuration.ROOTS.values() for model in configuration.sections(root))]


def test_configuration_page_matches_models() -> None:
    assert configuration.DOCUMENT.read_text(encoding="utf-8") == configuration.document(), "write it again: make texts"


@pytest.mark.parametrize("model", MODELS)
def test_configuration_model_documents_each_key(model: type[BaseModel]) -> None:
    assert set(model.model_fields) - set(configuration.meanings(model)) == set()
