"""The HTTP tests of tests/integration, of a service in a container in place of a process."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import ModuleType

SHOPS = {"shop", "any_shop"}


def adopt(module: ModuleType) -> dict[str, Any]:
    """Choose a module's tests of the shared service, and the fixtures that they use."""
    found = {
        name: each
        for name, each in vars(module).items()
        if name.startswith("test_") and SHOPS & set(inspect.signature(each).parameters)
    }
    assert found, module
    fixtures = {
        name: each
        for name, each in vars(module).items()
        if type(each).__name__ == "FixtureFunctionDefinition"
    }
    return found | fixtures
