//! The list, and the servers it is gone through on.

mod behind;
mod dialects;
mod kernel;
mod leases;
mod members;
mod rights;

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

pub(crate) use conformance_tests::own::{Outcome, check};
use conformance_tests::servers::{Recipe, Server, etcd_cluster};
use conformance_tests::{Absent, World};
use portolan::{Namespace, Registry, WatchItem, WatchStream};

use crate::etcd::EtcdWorld;

type Running<'a> = Pin<Box<dyn Future<Output = Result<(), Outcome>> + Send + 'a>>;
pub(crate) type Case = for<'a> fn(&'a Place) -> Running<'a>;

macro_rules! list {
    ($($module:ident { $($name:ident)* })*) => {
        /// Every case.
        pub(crate) fn cases() -> Vec<(&'static str, Case)> {
            vec![$($((stringify!($name), (|place| Box::pin($module::$name(place))) as Case)),*),*]
        }
    };
}

list! {
    behind {
        a_compacted_watch_is_right_again
        a_restored_snapshot_is_another_era
        a_restored_snapshot_that_has_grown_is_another_era
        a_full_etcd_takes_no_writes_and_goes_on_reading
    }
    dialects {
        an_hprose_record_is_an_instance
        ours_is_an_hprose_record_while_it_is_online_and_ready
        a_native_record_counts_before_a_foreign_one
        kitex_and_hertz_records_are_instances_and_ours_are_theirs
        copies_of_other_namespaces_are_not_read
        fifty_records_of_one_transaction_are_one_item
    }
    kernel {
        random_commands_have_the_results_of_the_kernel
    }
    leases {
        no_lease_is_left_behind
        what_is_deleted_behind_the_holders_back_is_found_by_a_beat
        an_instance_with_32_offers_costs_two_renewals_a_beat
        a_thousand_instances_use_one_stream
        ten_thousand_who_join_at_once_do_not_drown_etcd
    }
    members {
        a_leader_that_is_lost_is_followed_by_another
        a_minority_says_nothing_rather_than_something_old
    }
    rights {
        rights_on_the_prefix_are_enough_and_less_is_refused
        a_token_that_ended_is_renewed_on_every_lane
        certificates_are_checked_both_ways
    }
}

/// A server that all cases share that do it no harm.
#[derive(Default)]
pub(crate) struct Place {
    shared: OnceLock<Result<Arc<Vec<Server>>, Absent>>,
}

impl Place {
    /// A new prefix on the shared server.
    pub(crate) async fn world(&self) -> Result<EtcdWorld, Outcome> {
        let members = self.shared.get_or_init(|| start(&Recipe::default()));
        Ok(EtcdWorld::open(members.clone()?).await?)
    }

    /// A server of one's own.
    pub(crate) async fn alone(&self, recipe: &Recipe) -> Result<EtcdWorld, Outcome> {
        Ok(EtcdWorld::open(start(recipe)?).await?)
    }

    /// A cluster of one's own.
    pub(crate) async fn cluster(&self) -> Result<EtcdWorld, Outcome> {
        let members = etcd_cluster(&Recipe::default(), 3)?;
        Ok(EtcdWorld::open(Arc::new(members)).await?)
    }
}

fn start(recipe: &Recipe) -> Result<Arc<Vec<Server>>, Absent> {
    etcd_cluster(recipe, 1).map(Arc::new)
}

/// A failure of etcd's own client.
#[allow(clippy::needless_pass_by_value)] // As `map_err` gives it.
pub(crate) fn broken(error: etcd_client::Error) -> Outcome {
    Outcome::Broken(error.to_string())
}

/// A handle on the default namespace.
pub(crate) async fn handle(world: &EtcdWorld) -> Result<Arc<dyn Registry>, Outcome> {
    Ok(world.handle(&Namespace::default()).await?)
}

/// A handle that reads and writes foreign layouts too.
pub(crate) async fn speaking(
    world: &EtcdWorld,
    dialects: &str,
) -> Result<Arc<dyn Registry>, Outcome> {
    let url = format!("{}?dialect={dialects}", world.url());
    Ok(crate::etcd::open(&url, &Namespace::default()).await?)
}

/// The next item that says something.
pub(crate) async fn next(watch: &mut WatchStream) -> Result<WatchItem, Outcome> {
    let patience = Duration::from_secs(10);
    loop {
        match tokio::time::timeout(patience, watch.next()).await {
            Ok(Some(Ok(WatchItem::Progress(_)))) => {}
            Ok(Some(Ok(item))) => return Ok(item),
            Ok(Some(Err(error))) => return Err(error.into()),
            Ok(None) => return Err(Outcome::Broken("the watch ended".into())),
            Err(_) => return Err(Outcome::Broken("the watch was silent".into())),
        }
    }
}

/// Tries until it holds, for a few seconds.
pub(crate) async fn soon<F>(what: &str, mut holds: impl FnMut() -> F) -> Result<(), Outcome>
where
    F: Future<Output = Result<bool, Outcome>>,
{
    for _ in 0..100 {
        if holds().await? {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err(Outcome::Broken(format!("not within ten seconds: {what}")))
}
