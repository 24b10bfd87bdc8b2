//! Which groups of a node are neither here nor gone: they wait for a peer's checkpoint, or are being given up.
//!
//! A mark keeps two tasks from working on one group. Whoever gives a group up marks it first and looks at the directory
//! then. The other way round, the directory could want the group between the look and the mark: whoever follows the
//! directory would find the group in place and unmarked, be content, and not look again, while it is given up.

use std::collections::BTreeSet;
use tokio::sync::watch;
use vestibule_engine::GroupId;

/// The groups of a node that are in motion.
#[derive(Debug, Default)]
pub(crate) struct InMotion(watch::Sender<BTreeSet<GroupId>>);

impl InMotion {
    /// Whether a group is in motion.
    pub(crate) fn contains(&self, group: GroupId) -> bool {
        self.0.borrow().contains(&group)
    }

    /// Whether any group is in motion.
    pub(crate) fn is_busy(&self) -> bool {
        !self.0.borrow().is_empty()
    }

    /// Marks a group; gives whether it was not marked before.
    pub(crate) fn begin(&self, group: GroupId) -> bool {
        // Nobody waits for marks to be set, only for them to go.
        let mut is_first = false;
        self.0.send_if_modified(|groups| {
            is_first = groups.insert(group);
            false
        });
        is_first
    }

    /// Marks a group if it is not marked and, once it is, `check` still agrees.
    pub(crate) fn begin_if(&self, group: GroupId, check: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
        if !self.begin(group) {
            return Err("the group is being taken on or given up".to_owned());
        }
        check().inspect_err(|_| self.end(group))
    }

    /// Takes the mark away, and wakes those who wait for that.
    pub(crate) fn end(&self, group: GroupId) {
        self.0.send_if_modified(|groups| groups.remove(&group));
    }

    /// Follows marks being taken away.
    pub(crate) fn follow(&self) -> watch::Receiver<BTreeSet<GroupId>> {
        self.0.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: GroupId = GroupId(3);

    #[test]
    fn a_group_is_marked_before_it_is_asked_whether_it_may_go() {
        let groups = InMotion::default();
        let asked = groups.begin_if(GROUP, || {
            // What is decided from now on is decided by those who see the mark.
            assert!(groups.contains(GROUP));
            assert!(groups.begin_if(GROUP, || panic!("another has it")).is_err());
            Ok(())
        });
        assert_eq!(asked, Ok(()));
        assert!(groups.contains(GROUP));
    }

    #[test]
    fn whoever_waits_is_woken_when_a_mark_goes_also_of_a_group_that_stays() {
        let groups = InMotion::default();
        let mut follower = groups.follow();
        assert!(groups.begin(GROUP));
        assert!(!follower.has_changed().expect("the sender lives"));
        groups.end(GROUP);
        assert!(follower.has_changed().expect("the sender lives"));
        follower.mark_unchanged();

        assert!(groups.begin_if(GROUP, || Err("it is wanted here".to_owned())).is_err());
        assert!(!groups.contains(GROUP));
        assert!(follower.has_changed().expect("the sender lives"));
        follower.mark_unchanged();
        groups.end(GROUP);
        assert!(!follower.has_changed().expect("the sender lives"), "nothing was there to go");
    }
}
