//! The real log on the simulated disk: the power is cut at every kind of moment, and whatever had been acknowledged is
//! found again.

use bytes::Bytes;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use vestibule_engine::GroupId;
use vestibule_raft::wal::{Ballot, EntryBody, LogPosition, Owner, Wal, WalConfig};
use vestibule_sim::disk::SimDisk;
use vestibule_sim::spawner::TaskSpawner;

const OWNER: Owner = Owner { cluster: 3, node: 1, incarnation: 9 };
const GROUPS: u32 = 3;
const SEEDS: u64 = 150;
const LIVES: u64 = 6;

fn small() -> WalConfig {
    WalConfig {
        segment_len: 24 << 10,
        resident_bytes_max: 2 << 10,
        queue_bytes_max: 256 << 10,
        frame_bytes_max: 2 << 10,
        ballast_len: 24 << 10,
    }
}

/// What a group's user knows: everything it asked for, and how much of that was acknowledged.
#[derive(Default)]
struct Known {
    /// Terms of all entries appended, by index; truncated ones are cut off.
    terms: Vec<u64>,
    /// Entries below this index have been acknowledged as durable.
    acknowledged: Arc<AtomicU64>,
    vote_asked: u64,
    vote_acknowledged: u64,
    /// Entries below this index were noted as committed, mostly before they were on disk.
    committed: u64,
    purge_asked: Option<u64>,
    purge_acknowledged: Option<u64>,
}

fn position(known: &Known, index: u64) -> LogPosition {
    LogPosition { term: known.terms[index as usize], node: 1, index }
}

fn body(index: u64, term: u64, len: usize) -> EntryBody {
    let mut bytes = vec![(index % 251) as u8; len.max(16)];
    bytes[..8].copy_from_slice(&index.to_le_bytes());
    bytes[8..16].copy_from_slice(&term.to_le_bytes());
    EntryBody::Batch(Bytes::from(bytes))
}

/// Works on the log until the disk fails.
async fn work(wal: &Wal, known: &mut [Known], random: &mut ChaCha8Rng) {
    for _ in 0..400 {
        let group = random.next_u32() % GROUPS;
        let log = wal.group(GroupId(group));
        let known = &mut known[group as usize];
        let done = match random.next_u32() % 20 {
            0 => {
                known.vote_asked += 1;
                let asked = known.vote_asked;
                let saved = log.save_vote(Ballot { term: asked, node: 2, committed: false }).await;
                saved.map(|()| known.vote_acknowledged = asked)
            }
            // Only what is acknowledged is purged, as behind a checkpoint.
            1 if known.acknowledged.load(Ordering::SeqCst) > known.purge_asked.map_or(0, |asked| asked + 1) + 3 => {
                let upto = known.acknowledged.load(Ordering::SeqCst) - 2;
                known.purge_asked = Some(upto);
                let purged = log.purge(position(known, upto)).await;
                purged.map(|()| known.purge_acknowledged = Some(upto))
            }
            2 if known.terms.len() as u64 > known.purge_asked.map_or(0, |asked| asked + 1).max(known.committed) + 2 => {
                // A new leader voids the tail: from then on those entries may be there or not.
                let keep = known.terms.len() - 2;
                known.terms.truncate(keep);
                // What is still on its way must not be counted as there once its callback comes.
                let acknowledged = known.acknowledged.load(Ordering::SeqCst).min(keep as u64);
                known.acknowledged = Arc::new(AtomicU64::new(acknowledged));
                let last = keep.checked_sub(1).map(|last| position(known, last as u64));
                log.truncate(last).await
            }
            3 | 4 if !known.terms.is_empty() => {
                known.committed = known.terms.len() as u64;
                log.save_committed(Some(position(known, known.committed - 1)))
            }
            5 => log.move_up().await.map(drop),
            _ => {
                let count = 1 + random.next_u32() % 4;
                let term = known.terms.last().copied().unwrap_or(1) + u64::from(random.next_u32().is_multiple_of(10));
                let mut entries = Vec::new();
                for _ in 0..count {
                    let index = known.terms.len() as u64;
                    known.terms.push(term);
                    let len = (random.next_u32() % 900) as usize;
                    entries.push((LogPosition { term, node: 1, index }, body(index, term, len)));
                }
                let (acknowledged, upto) = (known.acknowledged.clone(), known.terms.len() as u64);
                let tell = move |result: std::io::Result<()>| {
                    if result.is_ok() {
                        acknowledged.fetch_max(upto, Ordering::SeqCst);
                    }
                };
                log.append(entries, Box::new(tell)).await
            }
        };
        if done.is_err() {
            return;
        }
        if random.next_u32().is_multiple_of(3) {
            tokio::task::yield_now().await;
        }
    }
}

/// Checks what the log says against what its user knows, and makes the user believe the log.
async fn check(wal: &Wal, known: &mut [Known], seed: u64) {
    for (group, known) in (0..).zip(known) {
        let log = wal.group(GroupId(group));
        let at = format!("seed {seed}, group {group}");
        let vote = log.vote().map_or(0, |vote| vote.term);
        assert!(vote >= known.vote_acknowledged && vote <= known.vote_asked, "{at}: vote {vote}");
        known.vote_asked = vote;
        known.vote_acknowledged = vote;

        let purged = log.purged().map(|purged| purged.index);
        assert!(purged >= known.purge_acknowledged && purged <= known.purge_asked, "{at}: purged {purged:?}");
        known.purge_asked = purged;
        known.purge_acknowledged = purged;

        // Opening has refused a commit point without its entry.
        let committed = log.committed().map_or(0, |committed| committed.index + 1);
        assert!(committed <= known.committed, "{at}: committed {committed}");
        known.committed = committed;

        let acknowledged = known.acknowledged.load(Ordering::SeqCst);
        let next = log.last().map_or(0, |last| last.index + 1);
        assert!(next >= acknowledged, "{at}: {acknowledged} entries were acknowledged, {next} are there");
        let first = purged.map_or(0, |purged| purged + 1);
        let entries = log.read(first, u64::MAX, usize::MAX).await.expect("the log can be read");
        assert_eq!(entries.len() as u64, next - first, "{at}");
        let mut terms = known.terms.clone();
        terms.truncate(next as usize);
        terms.resize(next as usize, 0);
        for (index, (found, bytes)) in (first..).zip(entries) {
            assert_eq!(found.index, index, "{at}");
            if index < acknowledged {
                assert_eq!(found.term, terms[index as usize], "{at}: entry {index}");
            }
            assert_eq!(bytes, body(index, found.term, bytes.bytes().len()), "{at}: entry {index}");
            terms[index as usize] = found.term;
        }
        known.terms = terms;
        known.acknowledged = Arc::new(AtomicU64::new(next));
    }
}

async fn run(seed: u64) -> (u64, u64) {
    let disk = SimDisk::new(seed);
    let mut random = ChaCha8Rng::seed_from_u64(seed ^ 0x5eed);
    let mut known: Vec<Known> = (0..GROUPS).map(|_| Known::default()).collect();
    let mut trims = 0;
    for life in 0..LIVES {
        // The power goes at any moment, also while the log is being opened.
        disk.cut_power_after(u64::from(random.next_u32() % 120));
        match Wal::open(Arc::new(disk.clone()), OWNER, small(), &TaskSpawner).await {
            Ok((wal, report)) => {
                trims += u64::from(report.trimmed.is_some());
                check(&wal, &mut known, seed).await;
                work(&wal, &mut known, &mut random).await;
                wal.close().await;
            }
            Err(error) => assert!(error.to_string().contains("power"), "seed {seed}, life {life}: {error}"),
        }
        disk.restore_power();
    }
    let (wal, _) = Wal::open(Arc::new(disk.clone()), OWNER, small(), &TaskSpawner).await.expect("it opens");
    check(&wal, &mut known, seed).await;
    wal.close().await;
    (disk.lost_sectors(), trims)
}

#[tokio::test(start_paused = true)]
async fn nothing_acknowledged_is_lost_when_the_power_goes() {
    let (mut lost_sectors, mut trims) = (0, 0);
    for seed in 0..SEEDS {
        let (lost, trimmed) = run(seed).await;
        lost_sectors += lost;
        trims += trimmed;
    }
    // A run in which the fault never bit would prove nothing.
    assert!(lost_sectors > 100, "only {lost_sectors} sectors were lost");
    assert!(trims > 10, "only {trims} torn tails were trimmed");
}

/// Appends to one group and saves votes in another, in segments so small that they are begun, dropped and made again
/// all the time. Gives what was acknowledged: entries, and the vote.
async fn churn(wal: &Wal, rounds: std::ops::Range<u64>) -> (u64, u64) {
    let (log, voter) = (wal.group(GroupId(1)), wal.group(GroupId(2)));
    let mut next = log.last().map_or(0, |last| last.index + 1);
    let mut vote = voter.vote().map_or(0, |vote| vote.term);
    for round in rounds {
        let (tell, told) = tokio::sync::oneshot::channel();
        let entry = (LogPosition { term: 1, node: 1, index: next }, body(next, 1, 900));
        let on_flushed = Box::new(|result: std::io::Result<()>| tell.send(result.is_ok()).unwrap_or_default());
        if log.append(vec![entry], on_flushed).await.is_err() || !told.await.unwrap_or(false) {
            break;
        }
        next += 1;
        // Rarely: for long stretches the vote is only in the frames that begin the segments.
        if round % 20 == 0 {
            if voter.save_vote(Ballot { term: vote + 1, node: 1, committed: false }).await.is_err() {
                break;
            }
            vote += 1;
        }
        if round % 7 == 0 && next > 4 && log.purge(LogPosition { term: 1, node: 1, index: next - 3 }).await.is_err() {
            break;
        }
    }
    (next, vote)
}

#[tokio::test(start_paused = true)]
async fn segments_are_begun_and_dropped_safely_at_every_step() {
    let config = WalConfig { segment_len: 12 << 10, ..small() };
    let open = async |disk: &SimDisk| Wal::open(Arc::new(disk.clone()), OWNER, config.clone(), &TaskSpawner).await;
    let whole = SimDisk::new(0);
    let (wal, _) = open(&whole).await.expect("it opens");
    churn(&wal, 0..40).await;
    wal.close().await;
    let operations = whole.operations();
    assert!(operations > 150, "only {operations}");
    for cut in 0..operations {
        for seed in 0..4 {
            let disk = SimDisk::new(seed << 32 | cut);
            disk.cut_power_after(cut);
            let mut acknowledged = (0, 0);
            if let Ok((wal, _)) = open(&disk).await {
                acknowledged = churn(&wal, 0..40).await;
                wal.close().await;
            }
            disk.restore_power();
            // What is written behind the place of the cut must be found, too, and everything that older segments said
            // when they are dropped: the first life does little more than that.
            for (life, rounds) in [3..8, 0..40, 0..0].into_iter().enumerate() {
                let at = format!("cut {cut}, seed {seed}, life {life}");
                let opened = open(&disk).await;
                let (wal, _) = opened.unwrap_or_else(|error| panic!("{at}: {error}"));
                let next = wal.group(GroupId(1)).last().map_or(0, |last| last.index + 1);
                let vote = wal.group(GroupId(2)).vote().map_or(0, |vote| vote.term);
                assert!(next >= acknowledged.0 && vote >= acknowledged.1, "{at}: {next}, {vote} of {acknowledged:?}");
                let votes = rounds.clone().filter(|round| round % 20 == 0).count() as u64;
                acknowledged = churn(&wal, rounds.clone()).await;
                assert_eq!(acknowledged, (next + rounds.end - rounds.start, vote + votes), "{at}");
                wal.close().await;
            }
        }
    }
}
