//! Problems: what a request gets instead of an answer (RFC 9457), and the one place that says which status and code
//! belongs to which refusal and which accident.

use crate::layout::Layout;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Map, Value, json};
use vestibule_engine::{Refusal, SeatId};
use vestibule_raft::cluster::{ProposeError, QueryError};

/// What a request gets instead of an answer.
///
/// As a response it has no body yet: [`edge`](crate::edge) writes it, since it knows the request id.
#[derive(Debug, Clone)]
pub(crate) struct Problem(Box<Parts>);

#[derive(Debug, Clone)]
struct Parts {
    status: StatusCode,
    code: &'static str,
    detail: String,
    extra: Map<String, Value>,
    retry_after_secs: Option<u32>,
    replayed: bool,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self(Box::new(Parts { status, code, detail, extra: Map::new(), retry_after_secs: None, replayed: false }))
    }

    /// 400: the request cannot be read.
    pub(crate) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed_request", detail)
    }

    /// 401: no token, or none that holds.
    pub(crate) fn unauthenticated(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, code, detail)
    }

    /// 403: the token does not allow this.
    pub(crate) fn forbidden(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, code, detail)
    }

    /// 404: no such thing, or somebody else's.
    pub(crate) fn not_found(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, detail)
    }

    /// 422: it can be read, and is not allowed.
    pub(crate) fn unprocessable(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail)
    }

    /// 503: not now.
    pub(crate) fn unavailable(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail)
    }

    /// 500: a mistake of ours. What it is goes to the log, not to the client.
    pub(crate) fn internal(what: impl std::fmt::Display) -> Self {
        tracing::error!(%what, "a request met a mistake of ours");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "something went wrong on our side")
    }

    /// Adds a member of its own to the problem.
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.extra.insert(name.to_owned(), value.into());
        self
    }

    /// Marks it as the remembered answer to an earlier request.
    pub(crate) fn replayed(mut self, replayed: bool) -> Self {
        self.0.replayed = replayed;
        self
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.0.status
    }

    pub(crate) fn code(&self) -> &'static str {
        self.0.code
    }

    pub(crate) fn detail(&self) -> &str {
        &self.0.detail
    }

    /// Why a command changed nothing. `layout` turns seat numbers into what people call the seats.
    pub(crate) fn of_refusal(refusal: &Refusal, layout: Option<&Layout>) -> Self {
        use StatusCode as S;
        let labels = |seats: &[SeatId]| -> Value {
            let labels = layout.map(|layout| seats.iter().filter_map(|&seat| layout.index.label(seat)));
            labels.into_iter().flatten().map(Value::from).collect()
        };
        let (status, code) = match refusal {
            Refusal::RequestIdReused => (S::UNPROCESSABLE_ENTITY, "idempotency_key_reused"),
            Refusal::OutOfBounds { .. } => (S::UNPROCESSABLE_ENTITY, "out_of_bounds"),
            Refusal::NoSuchShowtime => (S::NOT_FOUND, "no_such_showtime"),
            Refusal::NoSuchTicket => (S::NOT_FOUND, "no_such_ticket"),
            Refusal::NoSuchHold => (S::NOT_FOUND, "no_such_hold"),
            Refusal::HoldGone => (S::GONE, "hold_gone"),
            Refusal::NoSuchOrder => (S::NOT_FOUND, "no_such_order"),
            Refusal::NoSuchSeat(_) => (S::UNPROCESSABLE_ENTITY, "no_such_seat"),
            Refusal::NoSuchArea(_) => (S::UNPROCESSABLE_ENTITY, "no_such_area"),
            Refusal::NoSuchOrganisation => (S::NOT_FOUND, "no_such_organisation"),
            Refusal::NoSuchVenue => (S::NOT_FOUND, "no_such_venue"),
            Refusal::NoSuchEvent => (S::NOT_FOUND, "no_such_event"),
            Refusal::NoSuchEntry => (S::NOT_FOUND, "no_such_entry"),
            Refusal::NoSuchUser => (S::NOT_FOUND, "no_such_user"),
            Refusal::NoSuchNode => (S::NOT_FOUND, "no_such_node"),
            Refusal::NoSuchGroup => (S::NOT_FOUND, "no_such_group"),
            Refusal::NoSuchSink => (S::NOT_FOUND, "no_such_sink"),
            Refusal::AlreadyExists => (S::CONFLICT, "already_exists"),
            Refusal::VersionMismatch { .. } => (S::PRECONDITION_FAILED, "version_mismatch"),
            Refusal::NoGroups => (S::SERVICE_UNAVAILABLE, "no_groups"),
            Refusal::InUse => (S::CONFLICT, "in_use"),
            Refusal::SaleRejects => (S::CONFLICT, "sale_rejects"),
            Refusal::NoWaitlist => (S::CONFLICT, "no_waitlist"),
            Refusal::BeaconMissing => (S::CONFLICT, "beacon_missing"),
            Refusal::SeatsFit => (S::CONFLICT, "seats_fit"),
            Refusal::MoreThanDue { .. } => (S::UNPROCESSABLE_ENTITY, "more_than_due"),
            Refusal::NoLine => (S::CONFLICT, "no_line"),
            Refusal::WrongQueueState { .. } => (S::CONFLICT, "wrong_queue_state"),
            Refusal::QueueFull => (S::CONFLICT, "queue_full"),
            Refusal::NotCalledYet { .. } => (S::CONFLICT, "not_called_yet"),
            Refusal::TicketOver => (S::GONE, "ticket_over"),
            Refusal::NotAdmitted => (S::FORBIDDEN, "not_admitted"),
            Refusal::TooManySeats { .. } => (S::UNPROCESSABLE_ENTITY, "too_many_seats"),
            Refusal::BuyerLimit { .. } => (S::UNPROCESSABLE_ENTITY, "buyer_limit"),
            Refusal::SeatsUnavailable { .. } => (S::CONFLICT, "seats_unavailable"),
            Refusal::LeavesOrphan { .. } => (S::UNPROCESSABLE_ENTITY, "leaves_orphan"),
            Refusal::NoSeatsFit => (S::CONFLICT, "no_seats_fit"),
            Refusal::AreaFull { .. } => (S::CONFLICT, "area_full"),
            Refusal::HoldHasOrder => (S::CONFLICT, "hold_has_order"),
            Refusal::HoldTotalReached => (S::CONFLICT, "hold_total_reached"),
            Refusal::WrongOrderState { .. } => (S::CONFLICT, "wrong_order_state"),
            Refusal::PaymentIdReused => (S::UNPROCESSABLE_ENTITY, "payment_id_reused"),
            Refusal::AtCapacity { .. } => (S::SERVICE_UNAVAILABLE, "at_capacity"),
            Refusal::SinkLapsed { .. } => (S::GONE, "sink_lapsed"),
            Refusal::TooFewNodes { .. } => (S::CONFLICT, "too_few_nodes"),
        };
        let problem = Self::new(status, code, refusal.to_string());
        match refusal {
            Refusal::OutOfBounds { field, .. } => problem.with("field", field.as_str()),
            Refusal::NoSuchSeat(seat) => problem.with("seats", labels(&[*seat])),
            Refusal::SeatsUnavailable { seats } | Refusal::LeavesOrphan { seats } => {
                problem.with("seats", labels(seats))
            }
            Refusal::VersionMismatch { expected, actual } => {
                problem.with("expected", *expected).with("actual", *actual)
            }
            Refusal::WrongQueueState { state, opens_at } => {
                problem.with("state", state.as_str()).with("opensAt", json!(opens_at.map(crate::wire::time_text)))
            }
            Refusal::NotCalledYet { ahead } => problem.with("ahead", *ahead),
            Refusal::TooManySeats { max } => problem.with("max", *max),
            Refusal::BuyerLimit { max, taken } => problem.with("max", *max).with("taken", *taken),
            Refusal::MoreThanDue { due } => problem.with("due", *due),
            Refusal::AreaFull { available } => problem.with("available", *available),
            Refusal::WrongOrderState { state } => problem.with("state", state.as_str()),
            _ => problem,
        }
    }

    /// The response, with its body, for the request of this id.
    pub(crate) fn render(&self, request_id: &str) -> Response {
        let parts = &self.0;
        let mut body = Map::new();
        body.insert("type".to_owned(), format!("urn:vestibule:problem:{}", parts.code).into());
        body.insert("title".to_owned(), title(parts.code).into());
        body.insert("status".to_owned(), parts.status.as_u16().into());
        body.insert("detail".to_owned(), parts.detail.as_str().into());
        body.insert("code".to_owned(), parts.code.into());
        body.insert("requestId".to_owned(), request_id.into());
        for (name, value) in &parts.extra {
            body.entry(name.as_str()).or_insert_with(|| value.clone());
        }
        let mut response = (parts.status, Value::Object(body).to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        let retry_after = match parts.status {
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
                Some(parts.retry_after_secs.unwrap_or(1))
            }
            _ => parts.retry_after_secs,
        };
        if let Some(secs) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(secs));
        }
        if parts.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if parts.replayed {
            headers.insert("idempotency-replayed", HeaderValue::from_static("true"));
        }
        response
    }
}

/// A code in words: `seats_unavailable` is "Seats unavailable".
fn title(code: &str) -> String {
    let mut title = code.replace('_', " ");
    if let Some(first) = title.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    title
}

impl From<ProposeError> for Problem {
    fn from(error: ProposeError) -> Self {
        let code = match error {
            ProposeError::NoLeader(_) => "no_leader",
            ProposeError::Overloaded(_) => "overloaded",
            ProposeError::DiskFull(_) => "disk_full",
            ProposeError::UnknownOutcome(_) => "outcome_unknown",
            ProposeError::TooLarge(_) => {
                return Self::new(StatusCode::PAYLOAD_TOO_LARGE, "command_too_large", error.to_string());
            }
            ProposeError::Forbidden(what) | ProposeError::Malformed(what) => return Self::internal(what),
        };
        Self::unavailable(code, error.to_string())
    }
}

impl From<QueryError> for Problem {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::Unavailable(_) => Self::unavailable("unavailable", error.to_string()),
            QueryError::Malformed(what) => Self::internal(what),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}
