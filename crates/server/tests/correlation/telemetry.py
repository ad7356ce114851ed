"""What the OpenTelemetry SDK for Python sends when a program does this or that: one scenario for each rule of the doctor.

Usage: telemetry.py OTLP_HTTP_ENDPOINT [SCENARIO ...]. Spans and records of the past are dated back by the SDK's own parameters.
"""
import logging
import random
import sys
import threading
import time

from opentelemetry import context, trace
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import AlwaysOnExemplarFilter, MeterProvider, TraceBasedExemplarFilter
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags

ENDPOINT = sys.argv[1]
MINUTE = 60 * 10**9


class Service:
    """A process of its own, but for the process."""

    def __init__(self, name, sampler=ALWAYS_ON, instance=None, traces_to=ENDPOINT, exemplars=TraceBasedExemplarFilter()):
        attributes = {"service.name": name} if name else {}
        if instance:
            attributes["service.instance.id"] = instance
        resource = Resource.create(attributes)
        self.tracers = TracerProvider(resource=resource, sampler=sampler)
        self.tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{traces_to}/v1/traces", timeout=1)))
        self.tracer = self.tracers.get_tracer("scenario")
        self.loggers = LoggerProvider(resource=resource)
        self.loggers.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter(f"{ENDPOINT}/v1/logs")))
        self.logger = logging.Logger(name or "nameless")
        self.logger.addHandler(LoggingHandler(logger_provider=self.loggers))
        reader = PeriodicExportingMetricReader(OTLPMetricExporter(f"{ENDPOINT}/v1/metrics"))
        self.meters = MeterProvider(resource=resource, metric_readers=[reader], exemplar_filter=exemplars)
        self.meter = self.meters.get_meter("scenario")
        self.duration = self.meter.create_histogram("http.server.request.duration", "s")

    def log_at(self, level, message, ns):
        """A record whose time is not now."""
        record = self.logger.makeRecord(self.logger.name, level, "f", 1, message, (), None)
        record.created = ns / 1e9
        self.logger.handle(record)

    def end(self):
        for provider in (self.tracers, self.loggers, self.meters):
            provider.shutdown()


def healthy():
    """Two services, a call between them ten times, records within their spans, an error with an error status."""
    front, back = Service("front", instance="front-1"), Service("back", instance="back-1")
    for n in range(10):
        at = time.time_ns() - 5 * MINUTE + n * 10**9
        ms = 10**6
        outer = front.tracer.start_span("GET /", kind=SpanKind.SERVER, start_time=at)
        with trace.use_span(outer, end_on_exit=False):
            call = front.tracer.start_span("GET", kind=SpanKind.CLIENT, start_time=at + 5 * ms, attributes={"server.address": "back"})
            with trace.use_span(call, end_on_exit=False):
                inner = back.tracer.start_span("GET /item", kind=SpanKind.SERVER, start_time=at + 10 * ms)
                with trace.use_span(inner, end_on_exit=False):
                    back.log_at(logging.INFO, "found", at + 20 * ms)
                    back.duration.record(0.02, {"http.route": "/item"})
                    if n == 3:
                        back.log_at(logging.ERROR, "no such item", at + 21 * ms)
                        inner.set_status(Status(StatusCode.ERROR, "no such item"))
                inner.end(at + 30 * ms)
            call.end(at + 40 * ms)
            front.log_at(logging.INFO, "served", at + 45 * ms)
            front.duration.record(0.05, {"http.route": "/"})
        outer.end(at + 50 * ms)
    front.end(), back.end()


def shapes():
    """As it should be in other shapes: a front end without logs and metrics, messages that are taken in traces of their own with a span
    link, calls that fail before anybody answers, a batch job of minutes, and a controller that mostly works outside of requests."""
    front, orders, worker = Service("storefront"), Service("orders"), Service("worker")
    ms = 10**6
    for n in range(10):
        at = time.time_ns() - 5 * MINUTE + n * 10**9
        page = front.tracer.start_span("GET /checkout", kind=SpanKind.SERVER, start_time=at)
        call = front.tracer.start_span("POST", kind=SpanKind.CLIENT, start_time=at + ms, attributes={"server.address": "orders"},
                                       context=trace.set_span_in_context(page))
        served = orders.tracer.start_span("POST /orders", kind=SpanKind.SERVER, start_time=at + 2 * ms, context=trace.set_span_in_context(call))
        message = orders.tracer.start_span("orders publish", kind=SpanKind.PRODUCER, start_time=at + 3 * ms,
                                           context=trace.set_span_in_context(served), attributes={"messaging.destination.name": "orders"})
        message.end(at + 4 * ms)
        with trace.use_span(served, end_on_exit=False):
            orders.log_at(logging.INFO, "order taken", at + 5 * ms)
        served.end(at + 6 * ms), call.end(at + 7 * ms), page.end(at + 8 * ms)
        if n == 4:
            refused = front.tracer.start_span("POST", kind=SpanKind.CLIENT, start_time=at + 9 * ms,
                                              attributes={"server.address": "orders", "error.type": "ConnectionRefusedError"})
            refused.set_status(Status(StatusCode.ERROR, "connection refused"))
            refused.end(at + 10 * ms)
        taken = worker.tracer.start_span("orders process", kind=SpanKind.CONSUMER, start_time=at + 500 * ms, context=context.Context(),
                                         links=[trace.Link(message.get_span_context())])
        with trace.use_span(taken, end_on_exit=False):
            worker.log_at(logging.INFO, "order packed", at + 510 * ms)
        taken.end(at + 520 * ms)
    front.end(), orders.end(), worker.end()
    job, controller = Service("nightly"), Service("controller")
    at = time.time_ns() - 20 * MINUTE
    span = job.tracer.start_span("reindex", start_time=at)
    with trace.use_span(span, end_on_exit=False):
        for n in range(30):
            job.log_at(logging.INFO, f"part {n} done", at + n * 10**10)
    span.end(at + 6 * MINUTE)
    controller.tracer.start_span("GET /healthz", kind=SpanKind.SERVER, start_time=at).end(at + ms)
    for n in range(60):
        controller.log_at(logging.INFO, "reconciled", at + n * 10**9)
    job.end(), controller.end()


def status_unset():
    """The exception is caught, recorded and logged; the status is forgotten."""
    service = Service("forgetful")
    with service.tracer.start_as_current_span("GET /cart") as span:
        try:
            raise ValueError("no such cart")
        except ValueError as error:
            span.record_exception(error)
            service.logger.error("no such cart")
    service.end()


def outside_span():
    service = Service("timer")
    with service.tracer.start_as_current_span("GET /"):
        pass
    time.sleep(0.1)
    service.logger.error("cleanup failed")
    service.end()


def detached():
    """A thread does not have the context of who started it; and a task goes on after its span has ended."""
    service = Service("detached")
    with service.tracer.start_as_current_span("POST /mail"):
        thread = threading.Thread(target=lambda: service.logger.error("mail not sent"))
        time.sleep(0.02)
        thread.start(), thread.join()
        time.sleep(0.02)
    span = service.tracer.start_span("POST /late")
    span.end()
    time.sleep(0.05)
    with trace.use_span(span):
        service.logger.error("too late")
    service.end()


def head_sampled():
    service = Service("sampled-out", sampler=ALWAYS_OFF)
    for n in range(6):
        with service.tracer.start_as_current_span("GET /"):
            service.logger.error("failed %d", n)
    service.end()


def spans_lost():
    """Records arrive, spans go to a port where nobody listens."""
    service = Service("lossy", traces_to="http://127.0.0.1:9")
    with service.tracer.start_as_current_span("GET /"):
        service.log_at(logging.ERROR, "it failed", time.time_ns() - 10 * MINUTE)
    service.end()


def not_ended():
    service = Service("endless")
    outer = service.tracer.start_span("consume")
    with trace.use_span(outer, end_on_exit=False):
        with service.tracer.start_as_current_span("handle"):
            pass
        service.logger.error("stuck")
    service.end()


def clock_skew():
    """The record's time comes from another clock."""
    service = Service("skewed")
    with service.tracer.start_as_current_span("GET /"):
        service.log_at(logging.ERROR, "from the past", time.time_ns() - 10 * MINUTE)
    service.end()


def nameless():
    service = Service(None)
    with service.tracer.start_as_current_span("GET /"):
        service.logger.info("who am I")
    service.end()


def span_names():
    service = Service("wide")
    for n in range(150):
        service.tracer.start_span(f"GET /user/{1000 + n}").end()
    service.end()


def attributes():
    service = Service("users")
    for n in range(120):
        service.duration.record(0.1, {"user.id": f"u-{n}"})
    service.end()


def propagation():
    """The client sends no headers: the server begins a trace of its own. And one peer is no service of ours."""
    front, back = Service("shop"), Service("stock")
    at = time.time_ns() - 5 * MINUTE
    for n in range(5):
        call = front.tracer.start_span("GET", kind=SpanKind.CLIENT, start_time=at + n, attributes={"server.address": "stock.internal"})
        back.tracer.start_span("GET /stock", kind=SpanKind.SERVER, start_time=at + n, context=context.Context()).end(at + n + 10**6)
        call.end(at + n + 10**7)
    front.tracer.start_span("POST", kind=SpanKind.CLIENT, start_time=at, attributes={"server.address": "api.example.com"}).end(at + 10**7)
    front.end(), back.end()


def orphans():
    """The caller sent a traceparent and never its span."""
    service = Service("callee")
    at = time.time_ns() - 5 * MINUTE
    for n in range(3):
        caller = SpanContext(random.getrandbits(128), random.getrandbits(64), is_remote=True, trace_flags=TraceFlags(1))
        parent = trace.set_span_in_context(NonRecordingSpan(caller))
        service.tracer.start_span("GET /", context=parent, kind=SpanKind.SERVER, start_time=at + n).end(at + n + 10**6)
    service.end()


def host_clocks():
    """The server's host is two seconds ahead."""
    near, far = Service("near", instance="near-1"), Service("far", instance="far-1")
    ms = 10**6
    for n in range(8):
        at = time.time_ns() - 5 * MINUTE + n * 10**9
        call = near.tracer.start_span("GET", kind=SpanKind.CLIENT, start_time=at, attributes={"server.address": "far"})
        parent = trace.set_span_in_context(call)
        ahead = at + 2000 * ms
        far.tracer.start_span("GET /", context=parent, kind=SpanKind.SERVER, start_time=ahead + 5 * ms).end(ahead + 15 * ms)
        call.end(at + 20 * ms)
    near.end(), far.end()


def no_exemplars():
    """Measured where no span is current."""
    service = Service("unmeasured")
    with service.tracer.start_as_current_span("GET /"):
        pass
    service.duration.record(0.1)
    service.end()


def without_ids():
    """The service is traced, and its logger does not know of it."""
    service = Service("unlinked")
    for n in range(25):
        with service.tracer.start_as_current_span("GET /"):
            pass
        service.log_at(logging.INFO, "served", time.time_ns() - 5 * MINUTE + n)
    service.end()


def untraced():
    service = Service("untraced")
    service.logger.error("it failed")
    service.end()


def placeholder():
    """The application fills in the id by itself, and a text that is none where there is no span."""
    service = Service("placeholder")
    with service.tracer.start_as_current_span("GET /"):
        service.logger.info("served")
    for n in range(3):
        service.logger.info("tidied up", extra={"trace_id": "no-trace"})
    service.logger.error("not tidied up", extra={"trace_id": "no-trace"})
    service.end()


def records_lost():
    """Of some requests the records arrive and the spans do not; nothing failed."""
    service, lossy = Service("quiet"), Service("quiet", traces_to="http://127.0.0.1:9")
    for n in range(9):
        of = lossy if n < 4 else service
        with of.tracer.start_as_current_span("GET /"):
            of.log_at(logging.INFO, "served", time.time_ns() - 10 * MINUTE)
    lossy.end(), service.end()


def exemplars_of_nothing():
    """A filter that lets every measurement be an exemplar: where no span is current, and where the span is not sampled."""
    service = Service("measured", sampler=ALWAYS_OFF, exemplars=AlwaysOnExemplarFilter())
    for n in range(3):
        service.duration.record(0.1, {"http.route": f"/timer-{n}"})
    for n in range(2):
        with service.tracer.start_as_current_span("GET /"):
            service.log_at(logging.INFO, "served", time.time_ns() - 5 * MINUTE)
            service.duration.record(0.1, {"http.route": f"/page-{n}"})
    service.end()


def several_names():
    """Records and spans get the service's name from different places, once in another spelling and once as another name."""
    traced, logged = Service("Basket"), Service("basket")
    with traced.tracer.start_as_current_span("GET /"):
        pass
    logged.logger.info("started")
    traced.end(), logged.end()
    traced, logged = Service("payment"), Service("billing-logs")
    for n in range(20):
        at = time.time_ns() - 5 * MINUTE + n * 10**9
        span = traced.tracer.start_span("POST /pay", kind=SpanKind.SERVER, start_time=at)
        with trace.use_span(span, end_on_exit=False):
            logged.log_at(logging.INFO, "paid", at + 10**6)
        span.end(at + 2 * 10**6)
    traced.end(), logged.end()


def dropped():
    """Errors that nobody sets as a status, under a policy that looks at nothing else."""
    service = Service("unkept")
    for n in range(4):
        at = time.time_ns() - 5 * MINUTE
        span = service.tracer.start_span("GET /", kind=SpanKind.SERVER, start_time=at)
        with trace.use_span(span, end_on_exit=False):
            service.log_at(logging.ERROR, "it failed", at + 10**6)
        span.end(at + 2 * 10**6)
    service.end()


for scenario in sys.argv[2:]:
    globals()[scenario]()
print("sent")
