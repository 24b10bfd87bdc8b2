//! What the gateway counts, as Prometheus reads it. Labels take few values: routes are patterns, never paths.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// A cheap handle on all counters.
#[derive(Clone)]
pub(crate) struct Metrics(Arc<Counters>);

struct Counters {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    seconds: Family<RouteLabels, Histogram>,
    in_flight: Gauge,
    connections: Gauge,
    shed: Counter,
    proposals: Family<ResultLabels, Counter>,
    queries: Family<ResultLabels, Counter>,
    mirror_age: Gauge<f64, AtomicU64>,
    mirror_showtimes: Gauge,
    mirror_snapshots: Counter,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    route: Arc<str>,
    status: u16,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RouteLabels {
    method: &'static str,
    route: Arc<str>,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ResultLabels {
    result: &'static str,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("vestibule_gateway");
        let requests = Family::default();
        registry.register("requests", "Requests answered", requests.clone());
        // 250 µs to 16 s.
        let seconds = Family::<RouteLabels, Histogram>::new_with_constructor(|| {
            Histogram::new(exponential_buckets(0.000_25, 2.0, 17))
        });
        registry.register_with_unit("request_duration", "Time to answer", Unit::Seconds, seconds.clone());
        let in_flight = Gauge::default();
        registry.register("requests_in_flight", "Requests under way", in_flight.clone());
        let connections = Gauge::default();
        registry.register("connections", "Connections open", connections.clone());
        let shed = Counter::default();
        registry.register("requests_shed", "Requests turned away because too many were under way", shed.clone());
        let proposals = Family::default();
        registry.register("proposals", "Commands sent to the cluster, by what came of them", proposals.clone());
        let queries = Family::default();
        registry.register("queries", "Questions sent to the cluster", queries.clone());
        let mirror_age = Gauge::default();
        registry.register_with_unit(
            "mirror_age",
            "Time since the feed that was checked longest ago was known to be complete",
            Unit::Seconds,
            mirror_age.clone(),
        );
        let mirror_showtimes = Gauge::default();
        registry.register("mirror_showtimes", "Showtimes kept in memory", mirror_showtimes.clone());
        let mirror_snapshots = Counter::default();
        registry.register("mirror_snapshots", "Times the seats of a showtime were loaded", mirror_snapshots.clone());
        Self(Arc::new(Counters {
            registry,
            requests,
            seconds,
            in_flight,
            connections,
            shed,
            proposals,
            queries,
            mirror_age,
            mirror_showtimes,
            mirror_snapshots,
        }))
    }

    /// One request was answered.
    pub(crate) fn answered(&self, method: &http::Method, route: &Arc<str>, status: u16, took: Duration) {
        let method = method_label(method);
        let labels = RequestLabels { method, route: Arc::clone(route), status };
        self.0.requests.get_or_create(&labels).inc();
        let labels = RouteLabels { method, route: Arc::clone(route) };
        self.0.seconds.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// Counts a request as under way while the value lives.
    pub(crate) fn in_flight(&self) -> Counted {
        self.0.in_flight.inc();
        Counted(self.0.in_flight.clone())
    }

    /// Counts a connection as open while the value lives.
    pub(crate) fn connected(&self) -> Counted {
        self.0.connections.inc();
        Counted(self.0.connections.clone())
    }

    pub(crate) fn shed(&self) {
        self.0.shed.inc();
    }

    pub(crate) fn proposed(&self, result: &'static str) {
        self.0.proposals.get_or_create(&ResultLabels { result }).inc();
    }

    pub(crate) fn queried(&self, answered: bool) {
        let result = if answered { "answered" } else { "failed" };
        self.0.queries.get_or_create(&ResultLabels { result }).inc();
    }

    pub(crate) fn snapshot_loaded(&self) {
        self.0.mirror_snapshots.inc();
    }

    pub(crate) fn mirror(&self, age: Duration, showtimes: usize) {
        self.0.mirror_age.set(age.as_secs_f64());
        self.0.mirror_showtimes.set(i64::try_from(showtimes).unwrap_or(i64::MAX));
    }

    /// Everything in the text format of Prometheus.
    pub(crate) fn render(&self) -> String {
        let mut text = String::new();
        match encode(&mut text, &self.0.registry) {
            Ok(()) => text,
            Err(error) => {
                tracing::error!(%error, "the metrics cannot be written");
                String::new()
            }
        }
    }
}

/// Counts as one in a gauge while it lives.
pub(crate) struct Counted(Gauge);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn method_label(method: &http::Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}
