//! The company that the telemetry is about: 24 services on 8 instances each, their routes, tables and topics.

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::resource::v1::Resource;

use crate::random::Random;

/// Services, as many as a middling company has behind one entrance.
pub const SERVICES: usize = 24;
/// Instances of every service.
pub const INSTANCES_PER_SERVICE: usize = 8;
/// All instances: each has its own resource.
pub const INSTANCES: usize = SERVICES * INSTANCES_PER_SERVICE;
/// Agents (one a node) that gather the telemetry of the instances near them into requests.
pub const AGENTS: usize = 32;

/// What is fixed about one service.
pub struct Service {
    /// `service.name`.
    pub name: &'static str,
    /// `telemetry.sdk.language`.
    pub language: &'static str,
    /// Version of the service's own instrumentation scope.
    pub version: &'static str,
    /// The nouns of its HTTP routes.
    pub nouns: [&'static str; 2],
    /// Its database.
    pub database: Database,
}

/// What is fixed about the database of a service.
pub struct Database {
    /// `db.system.name`.
    pub system: &'static str,
    /// `db.namespace`.
    pub namespace: &'static str,
    /// `db.collection.name`.
    pub tables: [&'static str; 3],
}

const fn service(
    name: &'static str,
    language: &'static str,
    version: &'static str,
    nouns: [&'static str; 2],
    system: &'static str,
    tables: [&'static str; 3],
) -> Service {
    Service { name, language, version, nouns, database: Database { system, namespace: nouns[0], tables } }
}

/// The services. The first three are entrances: every trace starts in one of them.
pub const CATALOG: [Service; SERVICES] = [
    service("gateway", "go", "4.18.2", ["orders", "session"], "redis", ["sessions", "limits", "routes"]),
    service("mobile-bff", "nodejs", "2.44.0", ["home", "orders"], "redis", ["views", "flags", "sessions"]),
    service(
        "partner-api",
        "java",
        "1.9.7",
        ["shipments", "orders"],
        "postgresql",
        ["partners", "keys", "quotas"],
    ),
    service("task-svc", "rust", "0.31.4", ["tasks", "boards"], "dynamodb", ["tasks", "boards", "counters"]),
    service("auth", "go", "3.2.1", ["tokens", "logins"], "postgresql", ["users", "credentials", "grants"]),
    service(
        "user-profile",
        "java",
        "5.6.0",
        ["profiles", "avatars"],
        "mongodb",
        ["profiles", "devices", "consents"],
    ),
    service(
        "catalog",
        "java",
        "7.12.3",
        ["products", "categories"],
        "postgresql",
        ["products", "variants", "categories"],
    ),
    service(
        "search",
        "java",
        "6.0.9",
        ["queries", "suggestions"],
        "elasticsearch",
        ["products", "synonyms", "queries"],
    ),
    service(
        "pricing",
        "rust",
        "1.14.0",
        ["prices", "discounts"],
        "postgresql",
        ["prices", "rules", "currencies"],
    ),
    service(
        "inventory",
        "go",
        "2.8.8",
        ["stock", "reservations"],
        "postgresql",
        ["stock", "warehouses", "reservations"],
    ),
    service("cart", "dotnet", "3.3.5", ["carts", "cart-items"], "redis", ["carts", "items", "merges"]),
    service(
        "checkout",
        "java",
        "8.1.2",
        ["checkouts", "orders"],
        "postgresql",
        ["orders", "order_lines", "outbox"],
    ),
    service(
        "payment",
        "java",
        "4.4.4",
        ["payments", "refunds"],
        "postgresql",
        ["payments", "ledger_entries", "refunds"],
    ),
    service("fraud", "python", "2.0.17", ["scores", "cases"], "mongodb", ["features", "cases", "lists"]),
    service(
        "shipping",
        "go",
        "1.21.6",
        ["shipments", "labels"],
        "postgresql",
        ["shipments", "carriers", "labels"],
    ),
    service("tracking", "nodejs", "3.9.1", ["parcels", "events"], "cassandra", ["parcels", "scans", "etas"]),
    service(
        "notification",
        "nodejs",
        "2.2.2",
        ["messages", "templates"],
        "mongodb",
        ["messages", "templates", "optouts"],
    ),
    service("email", "python", "1.3.3", ["mails", "bounces"], "postgresql", ["mails", "bounces", "domains"]),
    service(
        "recommendation",
        "python",
        "9.5.0",
        ["recommendations", "models"],
        "redis",
        ["vectors", "models", "clicks"],
    ),
    service("review", "ruby", "0.98.1", ["reviews", "votes"], "mysql", ["reviews", "votes", "flags"]),
    service("media", "rust", "2.6.2", ["images", "thumbnails"], "postgresql", ["assets", "variants", "jobs"]),
    service("loyalty", "dotnet", "1.7.4", ["points", "tiers"], "mssql", ["accounts", "points", "tiers"]),
    service(
        "reporting",
        "python",
        "3.1.0",
        ["reports", "exports"],
        "clickhouse",
        ["facts", "reports", "exports"],
    ),
    service("audit", "go", "1.1.9", ["entries", "policies"], "postgresql", ["entries", "actors", "policies"]),
];

/// Methods and path shapes of the routes of a service; `{noun}` stands for one of its two nouns.
const ROUTES: [(&str, &str); 5] = [
    ("GET", "/api/v1/{noun}/{id}"),
    ("GET", "/api/v1/{noun}"),
    ("POST", "/api/v1/{noun}"),
    ("PUT", "/api/v1/{noun}/{id}"),
    ("GET", "/api/v1/{noun}/{id}/details"),
];
/// Routes of one service: every shape with each noun.
pub const ROUTES_PER_SERVICE: usize = ROUTES.len() * 2;

/// Method and route (`http.route`) by number.
pub fn route(service: usize, route: usize) -> (&'static str, String) {
    let (method, shape) = ROUTES[route % ROUTES.len()];
    let noun = CATALOG[service].nouns[(route / ROUTES.len()) % 2];
    (method, shape.replace("{noun}", noun))
}

/// The node agent through which an instance sends.
pub fn agent_of(instance: usize) -> usize {
    instance % AGENTS
}

/// Builds the resource of one instance: 14 attributes.
pub fn resource(seed: u64, instance: usize) -> Resource {
    let (number, service) = (instance % INSTANCES_PER_SERVICE, &CATALOG[instance / INSTANCES_PER_SERVICE]);
    let mut random = Random::of(seed, 0x5e50, instance as u64);
    let replica_set = random.bits() & 0xff_ffff_ffff;
    let pod = format!("{}-{replica_set:010x}-{:05x}", service.name, random.bits() & 0xf_ffff);
    let node = format!("ip-10-{}-{}-{}.internal", agent_of(instance), number, random.below(250));
    let id = format!("{:016x}-{:08x}", random.bits(), random.bits() & 0xffff_ffff);
    let pairs = [
        ("service.name", service.name.to_owned()),
        ("service.namespace", "shop".to_owned()),
        ("service.version", service.version.to_owned()),
        ("service.instance.id", id),
        ("deployment.environment.name", "production".to_owned()),
        ("host.name", node.clone()),
        ("host.arch", if number.is_multiple_of(2) { "amd64" } else { "arm64" }.to_owned()),
        ("os.type", "linux".to_owned()),
        ("k8s.namespace.name", "shop-production".to_owned()),
        ("k8s.deployment.name", service.name.to_owned()),
        ("k8s.pod.name", pod),
        ("k8s.node.name", node),
        ("cloud.region", ["eu-central-1", "us-east-1"][number % 2].to_owned()),
        ("telemetry.sdk.language", service.language.to_owned()),
    ];
    let attributes = pairs.into_iter().map(|(key, value)| text(key, value)).collect();
    Resource { attributes, ..Resource::default() }
}

/// An attribute with a string value.
pub fn text(key: &str, value: impl Into<String>) -> KeyValue {
    attribute(key, Value::StringValue(value.into()))
}

/// An attribute with an integer value.
pub fn int(key: &str, value: i64) -> KeyValue {
    attribute(key, Value::IntValue(value))
}

/// An attribute with a boolean value.
pub fn bool(key: &str, value: bool) -> KeyValue {
    attribute(key, Value::BoolValue(value))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}
