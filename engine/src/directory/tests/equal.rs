//! Two directories fed the same log are equal, byte for byte.

use super::golden;
use crate::*;

#[test]
fn neither_seeds_nor_cuts_show() {
    // Everything, and everything again.
    let log = || (1..).map(RequestId).zip(golden::samples());
    let log: Vec<_> =
        log().chain(log()).map(|(request, command)| Envelope { request: Some(request), command }).collect();
    let play = |batch_max: usize| {
        let mut directory = Directory::new(GroupId::DIRECTORY);
        let replies: Vec<Reply> =
            log.chunks(batch_max).flat_map(|batch| directory.apply(Timestamp(1_000), batch)).collect();
        directory.audit().unwrap();
        (
            replies,
            directory.events(1, usize::MAX).unwrap(),
            directory.rows(),
            directory.drain_dirty(),
            directory.digest(),
        )
    };
    let wanted = play(1);
    assert!(wanted.0[log.len() / 2..].iter().all(|reply| reply.replayed));
    for (other, batch_max) in [(0, 7), (0, usize::MAX), (1, 1), (u64::MAX, 3)] {
        let got = crate::lookup::with_other_seeds(other, || play(batch_max));
        assert!(got == wanted, "seed {other}, batches of {batch_max}");
    }
}
