//! What becomes of a directory whose cluster is restored from a backup.

use super::Directory;
use super::rows::Dirty;

impl Directory {
    /// Makes this the directory of a new cluster that goes on where another stood.
    ///
    /// Nodes and placements were that cluster's: the new one enters its own, as it does when it is first started. The
    /// groups may be a little younger than the directory, so no showtime is made under an id up to `last_showtime`,
    /// the highest counter that a showtime of any group has.
    ///
    /// This is no command: the events, and with them the chain, stay as they were.
    pub fn refound(&mut self, last_showtime: u64) {
        let nodes = std::mem::take(&mut self.nodes).into_keys().map(Dirty::Node);
        let placements = std::mem::take(&mut self.placements).into_keys().map(Dirty::Placement);
        self.dirty.extend(nodes.chain(placements));
        if last_showtime > self.counters.showtime {
            self.counters.showtime = last_showtime;
            self.dirty.insert(Dirty::Cluster);
        }
    }
}
