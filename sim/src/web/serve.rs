//! A gateway's process: what `vestibule gateway` runs, over simulated seams.

use super::Web;
use super::net::HttpListener;
use super::provider::SimProvider;
use super::recorder::Recorder;
use crate::clock::{SimClock, SimIds};
use crate::dice::Dice;
use crate::options::Options;
use crate::trace::Trace;
use crate::workload::{ORGANISATION, Shop};
use futures::FutureExt as _;
use std::sync::Arc;
use std::time::Duration;
use vestibule_client::Token;
use vestibule_gateway::{Gateway, serve};
use vestibule_raft::cluster::Cluster;

/// Serves HTTP until the machine is taken down, or `stop` is done and requests under way are.
pub async fn run(
    (number, life): (usize, u64),
    cluster: Arc<dyn Cluster>,
    options: &Options,
    shop: &Shop,
    trace: &Trace,
    stop: impl Future<Output = ()>,
) {
    let name = crate::gateway::gateway_name(number);
    let mut dice = Dice::new(options.seed, &format!("web of {name} in life {life}"));
    let clock = SimClock::new(trace.clone());
    let skew = dice.within(0..=2 * options.web.skew_max_ms) as i64 - options.web.skew_max_ms as i64;
    clock.set_skew(skew);
    let cluster = Recorder::new(name.clone(), cluster, shop.history.clone());
    let ids = SimIds::new(dice);
    let luck = Dice::new(options.seed, &format!("charges of {name} in life {life}"));
    let payments = SimProvider::new(options.web.provider.clone(), shop.clone(), luck);
    let config = options.web.gateway.clone();
    let gateway = Gateway::with_payments(config, Arc::new(cluster), Arc::new(clock), Arc::new(ids), Arc::new(payments));
    let listener = HttpListener::bind(trace.clone()).await.expect("nobody else listens there");
    let _here = shop.web.enter(number);
    let making_token = make_token(gateway.clone(), shop.web.clone(), shop.clone());
    tokio::select! {
        biased;
        () = serve(listener, gateway, stop) => {}
        () = making_token.then(|()| std::future::pending()) => {}
    }
}

/// Gives the organiser a token, as whoever runs the cluster does.
async fn make_token(gateway: Gateway, web: Web, shop: Shop) {
    while web.token().is_none() {
        tokio::time::sleep(Duration::from_millis(100)).await;
        if shop.house().is_some()
            && let Ok(made) = gateway.organizer_token(ORGANISATION).await
        {
            web.set_token(Token::new(made.token));
        }
    }
}
