//! A simulated gateway machine: the real gateway, serving HTTP; and beside it buyers who make commands of the cluster's client
//! directly, also such as no HTTP client can make.

use crate::dice::Dice;
use crate::host::address;
use crate::net::SimConnector;
use crate::options::Options;
use crate::trace::Trace;
use crate::web;
use crate::workload::{Client, Shop, bound, buy, close, keep_catalogue, organise, relay};
use futures::FutureExt as _;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::Notify;
use vestibule_engine::UserId;
use vestibule_raft::cluster::GrpcCluster;

/// The name of a gateway's machine.
pub fn gateway_name(number: usize) -> String {
    format!("gateway-{number}")
}

/// A machine. It outlives the process that runs on it.
pub struct Gateway {
    /// Counts gateways from 1 on.
    pub number: usize,
    options: Options,
    trace: Trace,
    shop: Shop,
    lives: Cell<u64>,
    busy: Rc<Cell<usize>>,
    /// Tells the process to stop.
    stop: RefCell<Rc<Notify>>,
    has_stopped: Cell<bool>,
}

impl Gateway {
    /// One on which nothing runs yet.
    pub fn new(number: usize, options: Options, trace: Trace, shop: Shop) -> Self {
        let busy = Rc::new(Cell::new(options.buyers + 1));
        let (stop, has_stopped) = Default::default();
        Self { number, options, trace, shop, lives: Cell::new(0), busy, stop, has_stopped }
    }

    /// Has the process stop as a signal does: it lets requests under way end.
    pub fn ask_to_stop(&self) {
        self.stop.borrow().notify_one();
    }

    /// Whether the process has ended because it was asked to, since this was asked last.
    pub fn take_stopped(&self) -> bool {
        self.has_stopped.take()
    }

    /// Whether some of its buyers have not made an end yet.
    pub fn is_busy(&self) -> bool {
        self.busy.get() > 0
    }

    /// Serves its buyers until they make an end, and then whoever comes; or until it is asked to stop.
    pub async fn run(&self) {
        let life = self.lives.get() + 1;
        self.lives.set(life);
        self.busy.set(self.options.buyers + 1);
        let seeds = (1..=self.options.nodes).map(address).collect();
        let cluster = GrpcCluster::new(seeds, Arc::new(SimConnector::new(self.trace.clone())));
        let stop = Rc::new(Notify::new());
        self.stop.replace(stop.clone());
        let stopping = async move { stop.notified().await };
        let process = (self.number, life);
        let serving = web::serve::run(process, cluster.clone(), &self.options, &self.shop, &self.trace, stopping);
        let client = |name: String| {
            // A client that comes again asks for other things, so under other ids.
            let dice = Dice::new(self.options.seed, &format!("requests of {name} in life {life}"));
            Client::new(name, cluster.clone(), self.shop.history.clone(), dice, self.options.market.again)
        };
        if self.number == 1 {
            let named = |name: &str| {
                let dice = Dice::new(self.options.seed, &format!("{name} in life {life}"));
                (client(name.to_owned()), self.options.clone(), self.shop.clone(), dice)
            };
            let (organiser, options, shop, dice) = named("organiser");
            tokio::spawn(organise(organiser, options, shop, dice));
            let (registrar, options, shop, dice) = named("registrar");
            tokio::spawn(keep_catalogue(registrar, options, shop, dice));
            let (caretaker, options, shop, dice) = named("caretaker");
            tokio::spawn(bound(caretaker, options, shop, dice));
            for sink in ["relay-1", "relay-2"] {
                let (reader, options, shop, dice) = named(sink);
                tokio::spawn(relay(reader, sink.to_owned(), options, shop, dice));
            }
        }
        let buyers = (0..self.options.buyers).map(|buyer| {
            let user = UserId((self.number * 100 + buyer) as u128);
            let name = format!("buyer-{}", user.0);
            let dice = Dice::new(self.options.seed, &format!("{name} in life {life}"));
            let busy = self.busy.clone();
            let buying = buy(client(name), user, self.options.clone(), self.shop.clone(), dice);
            async move {
                buying.await;
                busy.set(busy.get() - 1);
            }
        });
        let name = format!("closer-{}", self.number);
        let dice = Dice::new(self.options.seed, &format!("{name} in life {life}"));
        let closing = close(client(name), self.shop.clone(), dice);
        let ending = async {
            futures::future::join_all(buyers).await;
            closing.await;
            self.busy.set(self.busy.get() - 1);
        };
        tokio::select! {
            biased;
            () = serving => {}
            () = ending.then(|()| std::future::pending()) => {}
        }
        // The machine is taken down before anything else happens on it.
        self.has_stopped.set(true);
        std::future::pending().await
    }
}
