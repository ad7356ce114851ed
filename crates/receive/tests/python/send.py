"""Sends one trace, its log record, and a metric with the stock OpenTelemetry SDK.

Usage: send.py grpc|http ENDPOINT SERVICE. Prints the trace id. Exits with 1 if an exporter says that it failed.
"""

import logging
import sys

from opentelemetry import metrics, trace
from opentelemetry._logs import set_logger_provider
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

protocol, endpoint, service = sys.argv[1:4]

if protocol == "grpc":
    import grpc
    from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    def exporter(kind, path):
        return kind(endpoint=endpoint, insecure=True, compression=grpc.Compression.Gzip)
else:
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    def exporter(kind, path):
        return kind(endpoint=endpoint + path, compression=Compression.Gzip)


class Failures(logging.Handler):
    """Counts what the SDK logs as failed: exporters report nothing else."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.messages = []

    def emit(self, record):
        self.messages.append(record.getMessage())


failures = Failures()
logging.getLogger("opentelemetry").addHandler(failures)

resource = Resource.create({"service.name": service})
tracer_provider = TracerProvider(resource=resource)
tracer_provider.add_span_processor(BatchSpanProcessor(exporter(OTLPSpanExporter, "/v1/traces")))
trace.set_tracer_provider(tracer_provider)

reader = PeriodicExportingMetricReader(exporter(OTLPMetricExporter, "/v1/metrics"))
meter_provider = MeterProvider(resource=resource, metric_readers=[reader])
metrics.set_meter_provider(meter_provider)

logger_provider = LoggerProvider(resource=resource)
logger_provider.add_log_record_processor(BatchLogRecordProcessor(exporter(OTLPLogExporter, "/v1/logs")))
set_logger_provider(logger_provider)
orders = logging.getLogger("orders")
orders.setLevel(logging.INFO)
orders.propagate = False
orders.addHandler(LoggingHandler(logger_provider=logger_provider))

tracer = trace.get_tracer("orders")
latency = metrics.get_meter("orders").create_histogram("order.duration", unit="s")
with tracer.start_as_current_span("place order") as root:
    with tracer.start_as_current_span("charge card"):
        orders.error("card refused", extra={"order.id": 17})
    latency.record(0.25, {"shop": "east"})
    trace_id = format(root.get_span_context().trace_id, "032x")

for provider in (tracer_provider, meter_provider, logger_provider):
    provider.force_flush()
    provider.shutdown()
for message in failures.messages:
    print(message, file=sys.stderr)
print(trace_id)
sys.exit(1 if failures.messages else 0)
