"""Where ``QUEUE_MODE`` decides: the one place that knows both pipelines."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from services.pipeline.base import Pipeline
    from shared.ledger.ledger import Ledger
    from shared.settings import Settings


def new_pipeline(ledger: Ledger, settings: Settings, *, run_id: str, niceness: int = 0) -> Pipeline:
    """Make the pipeline of the mode that is set; its libraries are loaded only where it is."""
    if settings.queue_mode == "redis":
        from services.pipeline.redis import RedisPipeline  # noqa: PLC0415

        return RedisPipeline(ledger, settings, run_id=run_id, niceness=niceness)
    from services.pipeline.local import LocalPipeline  # noqa: PLC0415

    return LocalPipeline(ledger, settings, run_id=run_id, niceness=niceness)


def modules_of_workers(settings: Settings) -> list[str]:
    """Name what payment workers import."""
    modules = ["services.worker.process"]
    if settings.queue_mode == "redis":
        modules.append("services.worker.rq_worker")
    if settings.has_own_bank:
        modules.append("services.bank.child")
    if settings.gateway_url is not None:
        modules.append("services.payment.http_client")
    if not settings.ledger_url.startswith("sqlite"):
        modules.append("shared.ledger.database.postgres")
    return modules


def queue_trouble(settings: Settings, ledger_id: str) -> str | None:
    """Ask the queue's server, where there is one, and not for long; say what is wrong with it."""
    if settings.queue_mode == "redis":
        from shared.queue.redis_check import trouble  # noqa: PLC0415

        return trouble(settings.redis_url, settings.redis_password_file, ledger_id)
    return None
