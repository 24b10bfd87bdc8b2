//! Every interleaving of the threads that share something, up to a bound on preemptions: `just loom`.
#![cfg(loom)]

use loom::future::block_on;
use loom::sync::Arc;
use loom::thread;
use std::collections::BTreeSet;
use vestibule_sync::distribution::Distribution;
use vestibule_sync::hand_off::HandOff;
use vestibule_sync::monitor::Monitor;
use vestibule_sync::proposal_queue::{Asker, Bounds, ProposalQueue, Waiting};

/// Takes all that is there; nothing when nothing is.
fn everything<T>(items: &mut std::collections::VecDeque<T>, _is_last: bool) -> Option<Vec<T>> {
    (!items.is_empty()).then(|| items.drain(..).collect())
}

#[test]
fn no_change_falls_between_a_look_and_a_wait() {
    loom::model(|| {
        let monitor = Arc::new(Monitor::new(0));
        let changers: Vec<_> = (0..2)
            .map(|_| {
                let monitor = monitor.clone();
                thread::spawn(move || monitor.change(|value| *value += 1))
            })
            .collect();
        // A wake-up that is lost is a deadlock here, which loom reports.
        block_on(monitor.wait_for(|value| (*value == 2).then_some(())));
        changers.into_iter().for_each(|changer| changer.join().expect("no thread panics"));
    });
}

#[test]
fn what_was_handed_over_before_the_end_is_taken_in_order() {
    loom::model(|| {
        let desk = Arc::new(HandOff::default());
        let pusher = thread::spawn({
            let desk = desk.clone();
            move || (0..2).filter(|number| desk.push(*number).is_ok()).collect::<Vec<_>>()
        });
        let finisher = thread::spawn({
            let desk = desk.clone();
            move || desk.finish()
        });
        let taken = block_on(async {
            let mut taken = Vec::new();
            while let Some(items) = desk.take(everything).await {
                taken.extend(items);
            }
            taken
        });
        finisher.join().expect("no thread panics");
        // It is not the worker's order that decides: what was accepted was taken, and nothing else.
        assert_eq!(pusher.join().expect("no thread panics"), taken);
        assert_eq!(desk.close().len(), 0);
    });
}

#[test]
fn what_a_failing_worker_leaves_is_given_back() {
    loom::model(|| {
        let desk = Arc::new(HandOff::default());
        let pushers: Vec<_> = (0..2)
            .map(|number| {
                let desk = desk.clone();
                thread::spawn(move || desk.push(number).is_ok())
            })
            .collect();
        let worker = thread::spawn({
            let desk = desk.clone();
            move || {
                // It fails at the first item, or is asked to end before there is one.
                let first = block_on(desk.take(|items, _| items.pop_front()));
                first.into_iter().chain(desk.close()).collect::<Vec<usize>>()
            }
        });
        let accepted: Vec<bool> = pushers.into_iter().map(|pusher| pusher.join().expect("no thread panics")).collect();
        desk.finish();
        let mut handled = worker.join().expect("no thread panics");
        handled.sort_unstable();
        let expected: Vec<usize> = (0..2).filter(|number| accepted[*number]).collect();
        assert_eq!(handled, expected);
    });
}

#[test]
fn what_waits_for_company_goes_at_the_end() {
    loom::model(|| {
        let desk = Arc::new(HandOff::<u8>::default());
        let amender = thread::spawn({
            let desk = desk.clone();
            move || desk.amend(|items| items.push_back(1)).is_some()
        });
        let finisher = thread::spawn({
            let desk = desk.clone();
            move || desk.finish()
        });
        // As the syncer does with commit points: alone they are taken at the end only.
        let taken = block_on(desk.take(|items, is_last| if is_last { items.pop_front() } else { None }));
        finisher.join().expect("no thread panics");
        assert_eq!(amender.join().expect("no thread panics"), taken.is_some());
    });
}

struct Item(u64);

impl Waiting for Item {
    fn bytes(&self) -> usize {
        1
    }
    fn is_forsaken(&self) -> bool {
        false
    }
}

#[test]
fn every_proposal_is_proposed_refused_or_left_once() {
    loom::model(|| {
        let queue =
            Arc::new(ProposalQueue::new(Bounds { len_max: 1, bytes_max: 9, batch_len_max: 1, batch_bytes_max: 9 }));
        let askers: Vec<_> = (1..=2)
            .map(|asker| {
                let queue = queue.clone();
                thread::spawn(move || queue.push(Asker(asker), Item(asker)))
            })
            .collect();
        let proposer = thread::spawn({
            let queue = queue.clone();
            move || {
                let mut proposed = Vec::new();
                block_on(async {
                    while let Some(batch) = queue.next_batch().await {
                        proposed.extend(batch);
                    }
                });
                proposed
            }
        });
        let mut seen: Vec<Item> =
            askers.into_iter().flat_map(|asker| asker.join().expect("no thread panics")).collect();
        seen.extend(queue.close());
        seen.extend(proposer.join().expect("no thread panics"));
        assert_eq!(seen.len(), 2);
        assert_eq!(seen.iter().map(|item| item.0).collect::<BTreeSet<_>>().len(), 2);
    });
}

#[test]
fn counters_lose_nothing_and_never_go_back() {
    loom::model(|| {
        let times = Arc::new(Distribution::default());
        let observers: Vec<_> = (1..=2)
            .map(|value| {
                let times = times.clone();
                thread::spawn(move || times.observe(value))
            })
            .collect();
        let earlier = times.observed();
        let later = times.observed();
        assert!(earlier.count() <= later.count() && earlier.sum <= later.sum && later.count() <= 2);
        observers.into_iter().for_each(|observer| observer.join().expect("no thread panics"));
        assert_eq!((times.observed().count(), times.observed().sum), (2, 3));
    });
}
