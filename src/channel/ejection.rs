//! Outlier ejection: who fails again and again is left alone for a while.

use std::time::Duration;

use super::node::{Node, TICK, Tick};
use super::sync::{Arc, AtomicUsize, Mutex, Ordering, PoisonError};

/// When an instance is ejected, and for how long.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Ejection {
    /// Failures in a row after which an instance is ejected.
    pub failures: u32,
    /// For how long; the second time twice as long, and so on.
    pub base: Duration,
    /// But never longer than this.
    pub longest: Duration,
    /// The most that are ejected at a time, in percent; one may always be.
    pub percent: u8,
}

impl Default for Ejection {
    /// Five failures, 30 s, five minutes, 10 %.
    fn default() -> Self {
        Self {
            failures: 5,
            base: Duration::from_secs(30),
            longest: Duration::from_secs(300),
            percent: 10,
        }
    }
}

/// Those who are ejected.
#[derive(Debug, Default)]
pub(crate) struct Ejected {
    count: AtomicUsize,
    nodes: Mutex<Vec<Arc<Node>>>,
}

impl Ejected {
    /// Whether so many of `all` are ejected that the ejections are doubted: with
    /// less than half left, everybody is picked.
    #[inline]
    pub(crate) fn is_panic(&self, all: usize) -> bool {
        2 * self.count.load(Ordering::Relaxed) > all
    }

    /// Ejects a node that failed `streak` times in a row, if there is room among
    /// `all`. Returns whether it did.
    pub(crate) fn consider(
        &self,
        policy: &Ejection,
        node: &Arc<Node>,
        streak: u32,
        all: usize,
        now: Tick,
    ) -> bool {
        if streak < policy.failures || node.is_ejected(now) {
            return false;
        }
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.retain(|node| node.is_ejected(now));
        let room = (all * usize::from(policy.percent) / 100).max(1);
        let ejects = nodes.len() < room && !node.is_ejected(now);
        if ejects {
            node.eject(ticks(policy.base), ticks(policy.longest), now);
            nodes.push(Arc::clone(node));
        }
        self.count.store(nodes.len(), Ordering::Relaxed);
        ejects
    }

    /// Lets go of those whose time is over, and of those who are no longer there.
    pub(crate) fn prune(&self, now: Tick, is_there: impl Fn(&Arc<Node>) -> bool) {
        if self.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.retain(|node| node.is_ejected(now) && is_there(node));
        self.count.store(nodes.len(), Ordering::Relaxed);
    }
}

fn ticks(duration: Duration) -> Tick {
    Tick::try_from(duration.as_nanos() / TICK.as_nanos()).unwrap_or(Tick::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_ten_is_ejected_longer_each_time() {
        let (ejected, policy) = (Ejected::default(), Ejection::default());
        let nodes: Vec<_> = (0..20).map(|_| Arc::new(Node::default())).collect();
        let fails = |node: &Arc<Node>, now| ejected.consider(&policy, node, 5, 20, now);
        assert!(!ejected.consider(&policy, &nodes[0], 4, 20, 1));
        assert!(fails(&nodes[0], 1) && fails(&nodes[1], 1) && !fails(&nodes[2], 1));
        assert!(!fails(&nodes[0], 2), "it is ejected already");
        assert!(ejected.is_panic(3) && !ejected.is_panic(4), "two are ejected");
        assert!(fails(&nodes[2], 302), "the others' time is over");
        assert!(fails(&nodes[0], 303));
        assert!(nodes[0].is_ejected(303 + 599) && !nodes[0].is_ejected(303 + 600));
    }

    #[test]
    fn the_last_is_doubted_rather_than_lost() {
        let (ejected, policy) = (Ejected::default(), Ejection::default());
        let node = Arc::new(Node::default());
        assert!(ejected.consider(&policy, &node, 5, 1, 1));
        assert!(ejected.is_panic(1));
        ejected.prune(400, |_| true);
        assert!(!ejected.is_panic(1));
    }
}
