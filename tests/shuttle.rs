//! The published snapshot of a channel under every kind of interleaving: threads
//! pick, fail and finish while another publishes rosters.
//!
//! The lock-free parts are compiled here a second time, on shuttle's primitives,
//! which let it choose who runs at every access. The swap of the snapshot itself
//! is `arc_swap`'s and stands here as a mutex around an `Arc`.
#![allow(missing_docs, dead_code, unused_imports, unreachable_pub, clippy::unwrap_used)]

mod sync {
    pub(crate) use std::sync::PoisonError;

    pub(crate) use shuttle::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
    pub(crate) use shuttle::sync::{Arc, Mutex};
}

#[path = "../src/channel/ejection.rs"]
mod ejection;
#[path = "../src/channel/node.rs"]
mod node;

use std::time::Duration;

use ejection::{Ejected, Ejection};
use node::{Node, Tick};
use shuttle::thread;
use sync::{Arc, Mutex};

/// Instances by their life; a roster is what may be picked at one moment.
type Roster = Vec<(u32, Arc<Node>)>;

struct Channel {
    roster: Mutex<Arc<Roster>>,
    ejected: Ejected,
    policy: Ejection,
}

impl Channel {
    fn load(&self) -> Arc<Roster> {
        Arc::clone(&self.roster.lock().unwrap())
    }

    /// As the one publisher does it: nodes of lives that stay are taken over.
    fn publish(&self, lives: &[u32], now: Tick) {
        let before = self.load();
        let node = |life: &u32| {
            let known = before.iter().find(|(known, _)| known == life);
            (*life, known.map(|(_, node)| Arc::clone(node)).unwrap_or_default())
        };
        let roster: Arc<Roster> = Arc::new(lives.iter().map(node).collect());
        self.ejected.prune(now, |node| roster.iter().any(|(_, there)| Arc::ptr_eq(there, node)));
        *self.roster.lock().unwrap() = roster;
    }

    /// One call: picked from one snapshot, ended when others may be there.
    fn call(&self, place: usize, fails: bool, now: Tick) -> Arc<Node> {
        let roster = self.load();
        let (_, node) = &roster[place % roster.len()];
        node.enter();
        let took = Duration::from_millis(1);
        if fails {
            let streak = node.failed(took, now);
            self.ejected.consider(&self.policy, node, streak, roster.len(), now);
        } else {
            node.answered(took, now);
        }
        node.leave();
        Arc::clone(node)
    }
}

fn run() {
    let mut policy = Ejection::default();
    (policy.failures, policy.percent) = (1, 50);
    let channel =
        Channel { roster: Mutex::new(Arc::default()), ejected: Ejected::default(), policy };
    let channel = Arc::new(channel);
    channel.publish(&[1, 2, 3], 1);
    let first = channel.load();
    let callers: Vec<_> = (0..2)
        .map(|caller| {
            let channel = Arc::clone(&channel);
            thread::spawn(move || {
                (0..3).map(|n| channel.call(caller + n, n != 1, 2)).collect::<Vec<_>>()
            })
        })
        .collect();
    let publisher = {
        let channel = Arc::clone(&channel);
        thread::spawn(move || {
            channel.publish(&[1, 2], 2);
            channel.publish(&[1, 4], 2);
        })
    };
    let called: Vec<_> = callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect();
    publisher.join().unwrap();

    // Whoever was called from whatever snapshot: nobody counts as busy any more.
    assert!(called.iter().all(|node| node.in_flight() == 0));
    // A life that stayed kept what is known of it; one that went and a new one do not.
    let last = channel.load();
    assert!(Arc::ptr_eq(&first[0].1, &last[0].1), "life 1 lost its node");
    assert!(first.iter().all(|(_, node)| !Arc::ptr_eq(node, &last[1].1)), "life 4 has another's");
    // Never more than the share, and once their time is over nobody is left behind.
    let ejected = last.iter().filter(|(_, node)| node.is_ejected(2)).count();
    assert!(ejected <= 2, "{ejected} are ejected");
    channel.publish(&[1, 4], Tick::MAX);
    assert!(!channel.ejected.is_panic(0), "somebody is counted as ejected for ever");
}

fn main() {
    shuttle::check_random(run, 5_000);
    shuttle::check_pct(run, 5_000, 3);
    println!("shuttle: 10,000 schedules of picks, failures and snapshots");
}
