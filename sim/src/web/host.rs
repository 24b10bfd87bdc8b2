//! A simulated machine with HTTP clients on it: visitors, and on the first one the organiser, the offender, the inspector, and
//! whoever sends the notices of the payment provider.

use super::browser::Browser;
use super::{inspector, offender, promoter, provider, visitor};
use crate::dice::Dice;
use crate::host::address;
use crate::net::SimConnector;
use crate::options::Options;
use crate::trace::Trace;
use crate::workload::{Client, Shop};
use std::sync::Arc;
use std::time::Duration;
use vestibule_raft::cluster::GrpcCluster;

/// The name of a visitors' machine.
pub fn host_name(number: usize) -> String {
    format!("visitors-{number}")
}

/// A machine that never dies: it stands for people.
pub struct Host {
    /// Counts machines from 1 on.
    pub number: usize,
    options: Options,
    trace: Trace,
    shop: Shop,
}

impl Host {
    /// One on which nothing runs yet; its visitors are expected.
    pub fn new(number: usize, options: Options, trace: Trace, shop: Shop) -> Self {
        shop.web.expect_visitors(options.web.visitors + if number == 1 { 3 } else { 0 });
        Self { number, options, trace, shop }
    }

    /// Lets everybody on it do what they do, until they make an end.
    pub async fn run(&self) {
        let house = loop {
            if let Some(house) = self.shop.house() {
                break house;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        let (options, shop) = (&self.options, &self.shop);
        let browser = |name: String| {
            let dice = Dice::new(options.seed, &name);
            Browser::new(name, options, shop, house.clone(), &self.trace, dice)
        };
        let visiting = (1..=options.web.visitors).map(|visitor| {
            let browser = browser(format!("visitor-{}{visitor}", self.number));
            async move {
                visitor::visit(browser, options, shop).await;
                shop.web.leave();
            }
        });
        let organising = async {
            if self.number == 1 {
                promoter::promote(browser("promoter".to_owned()), options, shop).await;
                shop.web.leave();
            }
        };
        let offending = async {
            if self.number == 1 {
                offender::offend(options, shop, house.clone(), &self.trace).await;
                shop.web.leave();
            }
        };
        let notifying = async {
            if self.number == 1 {
                let seeds = (1..=options.nodes).map(address).collect();
                let cluster = GrpcCluster::new(seeds, Arc::new(SimConnector::new(self.trace.clone())));
                let dice = |what: &str| Dice::new(options.seed, &format!("{what} of the provider"));
                let (name, again) = (provider::NAME.to_owned(), options.market.again);
                let client = Client::new(name, cluster, shop.history.clone(), dice("requests"), again);
                provider::notify(&client, &options.web.provider, shop, dice("notices")).await;
                shop.web.leave();
            }
        };
        let inspecting = async {
            if self.number == 1 {
                inspector::inspect(browser("inspector".to_owned()), shop).await;
            }
        };
        tokio::join!(futures::future::join_all(visiting), organising, offending, notifying, inspecting);
        std::future::pending().await
    }
}
