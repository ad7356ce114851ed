"""Shows one metric of every kind with the stock client; prints its port and serves until its input ends."""

import sys

from prometheus_client import CollectorRegistry, Counter, Enum, Gauge, Histogram, Info, Summary, start_http_server

registry = CollectorRegistry()
orders = Counter("shop_orders", "Orders, by kind.", ["kind"], registry=registry)
orders.labels("a \"quoted\"\nkind").inc(3, exemplar={"trace_id": "0af7651916cd43dd8448eb211c80319c"})
Gauge("shop_queue_length", "Orders that wait.", registry=registry).set(2.5)
seconds = Histogram("shop_order_seconds", "Time of an order.", buckets=[0.1, 1, 10], registry=registry)
seconds.observe(0.05, exemplar={"trace_id": "1af7651916cd43dd8448eb211c80319c"})
seconds.observe(5)
Summary("shop_order_bytes", "Bytes of an order.", registry=registry).observe(100)
Info("shop_build", "The build.", registry=registry).info({"version": "1.2"})
Enum("shop_state", "The state.", states=["open", "closed"], registry=registry).state("closed")

server, _ = start_http_server(0, addr="127.0.0.1", registry=registry)
print(server.server_port, flush=True)
sys.stdin.read()
