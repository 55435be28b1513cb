//! The list, and the brokers it is gone through on.

mod apart;
mod broker;
mod history;
mod kernel;
mod log;
mod rights;

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use conformance_tests::Absent;
pub(crate) use conformance_tests::own::{Outcome, check, within};
use conformance_tests::servers::{RabbitMq, Recipe};
use portolan::{LeaseTerms, Registry, WatchItem, WatchStream};

use crate::amqp::AmqpWorld;

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
    apart {
        each_process_that_was_cut_off_accuses_nobody_and_is_right_again
        a_process_that_starts_knows_who_is_silent
        clocks_an_hour_apart_agree
        a_beat_at_the_last_moment_is_kept_or_refused_by_all
        ten_thousand_beats_are_one_message
    }
    broker {
        a_broker_that_takes_nothing_says_so_and_goes_on_giving
        queues_and_exchanges_deleted_behind_our_back_are_there_again
        a_log_that_is_deleted_goes_on_from_memory
        headers_that_cannot_be_read_hurt_nobody
    }
    history {
        racing_registrations_have_one_winner_whoever_is_killed
    }
    kernel {
        random_commands_have_the_results_of_the_kernel
    }
    log {
        a_cold_process_begins_at_a_snapshot
        ten_thousand_instances_are_read_in_a_couple_of_seconds
        several_may_write_snapshots_and_the_oldest_log_is_given_up
        processes_that_found_a_log_at_the_same_time_agree
        an_entry_of_the_future_is_a_clear_error
        a_queue_that_is_no_log_is_refused
    }
    rights {
        rights_on_the_prefix_are_enough_and_less_is_refused
        certificates_are_checked_both_ways
    }
}

/// A broker that all cases share that do it no harm.
#[derive(Default)]
pub(crate) struct Place {
    shared: OnceLock<Result<Arc<RabbitMq>, Absent>>,
}

impl Place {
    /// A new prefix on the shared broker.
    pub(crate) async fn world(&self) -> Result<AmqpWorld, Outcome> {
        let broker = self.shared.get_or_init(|| crate::amqp::start(&Recipe::default()));
        Ok(AmqpWorld::open(broker.clone()?).await?)
    }

    /// A broker of one's own.
    pub(crate) async fn alone(&self, recipe: &Recipe) -> Result<AmqpWorld, Outcome> {
        Ok(crate::amqp::alone(recipe).await?)
    }
}

/// A failure of AMQP's own client.
#[allow(clippy::needless_pass_by_value)] // As `map_err` gives it.
pub(crate) fn broken(error: lapin::Error) -> Outcome {
    Outcome::Broken(error.to_string())
}

/// A handle on the default namespace, as another process would have it.
pub(crate) async fn open(url: &str) -> Result<Arc<dyn Registry>, Outcome> {
    Ok(crate::amqp::open(url, &Default::default()).await?)
}

/// Terms that end in no case.
pub(crate) fn lasting() -> LeaseTerms {
    LeaseTerms::new(Duration::from_secs(600), Duration::from_secs(1200)).expect("ordered")
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

pub(crate) async fn pause(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}
