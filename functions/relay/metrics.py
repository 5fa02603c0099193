"""The metrics of one invocation, in CloudWatch's embedded metric format. Only the functions use this."""

from enum import StrEnum

UNKNOWN_BOT = "unknown"
"""The dimension `bot` of a message that has no bot: a name that a sender made up is never a dimension."""


class Metric(StrEnum):
    """What is measured. docs/reference.md shows these."""

    DELIVERED = "Delivered"
    """Attempts with the outcome accepted."""
    REFUSED = "Refused"
    """Attempts with the outcome refused or not sent."""
    UNKNOWN = "Unknown"
    """Attempts with the outcome unknown."""
    PARKED = "Parked"
    """Messages that were parked."""
    DELIVERY_LATENCY = "DeliveryLatency"
    """Time from when a message was queued until LangBot accepted it."""
    TIME_TO_ANSWER = "TimeToAnswer"
    """Time from when a message was queued until the final part of its own turn was received. For a sync call,
    until the response with the reply. Merged messages, and those whose settlement was missed, do not
    count."""
    UNANSWERED = "Unanswered"
    """Messages that became `unanswered`."""
    DUPLICATES = "Duplicates"
    """Parts that were stored before. LangBot posted them again, or a part came from SpillQueue again."""
    QUARANTINED = "Quarantined"
    """Signed bodies that are no valid part."""
    SPILLED = "Spilled"
    """Parts that callback put on SpillQueue."""
    SIGNATURE_REFUSED = "SignatureRefused"
    """Callbacks that callback answered 401."""
    PARKED_MESSAGES = "ParkedMessages"
    """Messages that are parked now, up to 1,000. Settle writes it each minute, unless it is 0."""
    LATE_MESSAGES = "LateMessages"
    """How often push had a message that was queued more than 30 minutes before and stays on the queue."""
    STOPPED_TRIGGERS = "StoppedTriggers"
    """Event source mappings that bring their function nothing, or 1 if settle cannot look at them. Settle
    writes it each minute, unless it is 0."""
    LOST_EVENTS = "LostEvents"
    """Events that publish gave up."""


Value = tuple[tuple[tuple[str, str], ...], Metric, str, float]
"""The dimensions of a value, its metric, its unit, and itself."""


class Metrics:
    """Collects values while threads run, and emits them once they have ended."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._values: list[Value] = []

    def count(self, metric: Metric, **dimension: str) -> None:
        """Count one event, by one dimension or of the whole stack."""
        self._add(metric, "Count", 1, dimension)

    def gauge(self, metric: Metric, value: int) -> None:
        """Measure a number of the whole stack. 0 is not written: an hour without a value costs nothing."""
        if value:
            self._add(metric, "Count", value, {})

    def duration(self, metric: Metric, seconds: float, **dimension: str) -> None:
        """Measure a duration, by one dimension. It is emitted in milliseconds."""
        self._add(metric, "Milliseconds", round(seconds * 1000), dimension)

    def take(self) -> list[Value]:
        """Return all values, and forget them."""
        values, self._values = self._values, []
        return values

    def emit(self) -> None:
        """Write all values to the log, a line for each dimension, and forget them. No value, no line."""
        if not self._values:
            return
        # Most invocations of callback and settle have nothing to emit, so they do not pay for this import.
        from aws_lambda_powertools.metrics import EphemeralMetrics

        values = self.take()
        for dimension in dict.fromkeys(of for of, *_ in values):
            line = EphemeralMetrics(namespace=self._namespace)
            for name_and_value in dimension:
                line.add_dimension(*name_and_value)
            for of, metric, unit, value in values:
                if of == dimension:
                    line.add_metric(metric, unit, value)
            # add_metric itself writes a line with each hundredth value; without a value, flush_metrics warns.
            if line.metric_set:
                line.flush_metrics()

    def _add(self, metric: Metric, unit: str, value: float, dimension: dict[str, str]) -> None:
        # Powertools' add_metric is not locked; to append to a list is atomic.
        self._values.append((tuple(dimension.items()), metric, unit, value))
