//! The service graph: how two spans become a request, and what becomes of one alone.

use std::time::Duration;

use throughline_derive::{DeriveConfig, Deriver, GraphConfig};

use crate::values::{CLIENT, CONSUMER, INTERNAL, NOW, PRODUCER, SECOND, SERVER, Span, batch, values_of};

fn deriver() -> Deriver {
    Deriver::new(&DeriveConfig::default())
}

fn requests(deriver: &mut Deriver) -> Vec<(String, f64)> {
    values_of(deriver, "traces_service_graph_request_total")
}

fn unpaired(deriver: &mut Deriver) -> Vec<(String, f64)> {
    values_of(deriver, "traces_service_graph_unpaired_spans_total")
}

fn one(text: &str, value: f64) -> Vec<(String, f64)> {
    vec![(text.to_owned(), value)]
}

/// A client's span and the server's under it.
fn pair() -> [Span; 2] {
    let client = Span::new("shop", CLIENT, 1).taking(200_000_000);
    [client, Span::new("cart", SERVER, 2).under(1).taking(150_000_000)]
}

#[test]
fn two_sides_are_one_request_in_either_order() {
    for order in [[0, 1], [1, 0]] {
        let mut deriver = deriver();
        for side in order {
            deriver.observe(NOW, &batch(&pair()[side..=side]));
        }
        let edge = "client=\"shop\",server=\"cart\"";
        assert_eq!(requests(&mut deriver), one(&format!("{{{edge}}}"), 1.0));
        let sums = values_of(&mut deriver, "traces_service_graph_request_");
        let of = |name: &str| sums.iter().find(|(found, _)| found.starts_with(name)).map(|(_, value)| *value);
        assert_eq!(of("server_seconds_sum"), Some(0.15));
        assert_eq!(of("client_seconds_sum"), Some(0.2));
        assert_eq!(of("failed_total"), None);
        assert_eq!(of(&format!("server_seconds_bucket{{{edge},le=\"0.1\"")), None);
        let bounds: Vec<&str> = sums
            .iter()
            .filter_map(|(name, _)| name.strip_prefix("client_seconds_bucket{client=\"shop\",le=\""))
            .filter_map(|rest| rest.split('"').next())
            .collect();
        assert_eq!(bounds, ["+Inf", "0.2", "0.4", "0.8", "1.6", "12.8", "3.2", "6.4"]);
        deriver.advance(NOW + 60 * SECOND);
        assert!(unpaired(&mut deriver).is_empty());
    }
}

#[test]
fn either_side_can_fail_a_request() {
    let [client, server] = pair();
    for (client, server) in [(client.clone().failing(), server.clone()), (client, server.failing())] {
        let mut deriver = deriver();
        deriver.observe(NOW, &batch(&[client, server]));
        let failed = values_of(&mut deriver, "traces_service_graph_request_failed_total");
        assert_eq!(failed.iter().map(|(_, n)| *n).collect::<Vec<_>>(), [1.0]);
    }
}

#[test]
fn a_message_is_a_request_through_a_messaging_system() {
    let mut deriver = deriver();
    let spans = [Span::new("shop", PRODUCER, 1), Span::new("mail", CONSUMER, 2).under(1)];
    deriver.observe(NOW, &batch(&spans));
    let edge = "{client=\"shop\",connection_type=\"messaging_system\",server=\"mail\"}";
    assert_eq!(requests(&mut deriver), one(edge, 1.0));
}

#[test]
fn a_request_to_a_database_waits_for_nobody() {
    let mut deriver = deriver();
    let client = Span::new("shop", CLIENT, 1).with("db.system", "postgresql").with("db.name", "orders");
    deriver.observe(NOW, &batch(&[client]));
    let edge = "{client=\"shop\",connection_type=\"database\",server=\"orders\"}";
    assert_eq!(requests(&mut deriver), one(edge, 1.0));
}

#[test]
fn a_request_from_outside_comes_from_a_user() {
    let mut deriver = deriver();
    deriver.observe(NOW, &batch(&[Span::new("shop", SERVER, 1), Span::new("shop", INTERNAL, 2)]));
    let edge = "{client=\"user\",connection_type=\"virtual_node\",server=\"shop\"}";
    assert_eq!(requests(&mut deriver), one(edge, 1.0));
}

#[test]
fn a_client_whose_peer_is_silent_calls_a_virtual_node_when_the_wait_is_over() {
    let mut deriver = deriver();
    let client = Span::new("shop", CLIENT, 1).with("server.address", "pay.example");
    deriver.observe(NOW, &batch(&[client]));
    deriver.advance(NOW + 10 * SECOND);
    assert!(requests(&mut deriver).is_empty());
    deriver.advance(NOW + 10 * SECOND + 1);
    let edge = "{client=\"shop\",connection_type=\"virtual_node\",server=\"pay.example\"}";
    assert_eq!(requests(&mut deriver), one(edge, 1.0));
    // The other side comes too late.
    deriver.observe(NOW + 11 * SECOND, &batch(&[Span::new("pay", SERVER, 2).under(1)]));
    deriver.advance(NOW + 30 * SECOND);
    assert_eq!(requests(&mut deriver), one(edge, 1.0));
    assert_eq!(unpaired(&mut deriver), one("{server=\"pay\"}", 1.0));
}

#[test]
fn sides_without_another_are_counted() {
    let graph = GraphConfig { store_limit: 2, wait: Duration::from_secs(5), ..GraphConfig::default() };
    let mut deriver = Deriver::new(&DeriveConfig { service_graph: Some(graph), ..DeriveConfig::default() });
    let spans = [
        Span::new("shop", CLIENT, 1),
        Span::new("shop", CLIENT, 1),
        Span::new("cart", SERVER, 2).under(3),
        Span::new("cart", SERVER, 4).under(5),
    ];
    deriver.observe(NOW, &batch(&spans));
    deriver.advance(NOW + 6 * SECOND);
    let found = unpaired(&mut deriver);
    assert_eq!(found, [("{client=\"shop\"}".to_owned(), 2.0), ("{server=\"cart\"}".to_owned(), 1.0)]);
    let counts = deriver.graph.as_ref().expect("a graph").counts;
    assert_eq!((counts.paired, counts.expired, counts.unpaired, counts.dropped), (0, 2, 3, 1));
}

#[test]
fn both_sides_have_labels_of_the_users_choice() {
    let graph = GraphConfig { dimensions: vec!["service.namespace".to_owned()], ..GraphConfig::default() };
    let mut deriver = Deriver::new(&DeriveConfig { service_graph: Some(graph), ..DeriveConfig::default() });
    let [client, server] = pair();
    let client = Span { resource: "{\"service.namespace\":\"web\"}", ..client };
    let server =
        Span { resource: "{\"service.namespace\":\"back\"}", ..server }.with("service.namespace", "span's");
    deriver.observe(NOW, &batch(&[client, server, Span::new("shop", SERVER, 9)]));
    assert_eq!(
        requests(&mut deriver).into_iter().map(|(name, _)| name).collect::<Vec<_>>(),
        [
            "{client=\"shop\",client_service_namespace=\"web\",server=\"cart\",server_service_namespace=\"back\"}",
            "{client=\"user\",connection_type=\"virtual_node\",server=\"shop\"}",
        ]
    );
}
