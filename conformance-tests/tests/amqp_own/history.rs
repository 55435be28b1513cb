//! Racing registrations over several processes while the broker is killed: what
//! they were told has an order in which it is right.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use conformance_tests::fixtures::{owner, query, registration, service};
use conformance_tests::servers::Recipe;
use futures_util::future::try_join_all;
use porcupine_rs::{CheckResult, Model, Operation, check_operations_timeout};
use portolan::{Clock, ErrorKind, RegistrationMode, Registry, SystemClock};

use super::{Outcome, Place, check, open, pause};

/// One name: whose it is. Every owner is another one.
#[derive(Clone, Debug)]
struct Name;

#[derive(Clone, Debug)]
enum Did {
    /// Declared it, as so many.
    Claimed(u64),
    /// Tried to, and was told nothing: it may have.
    MayHaveClaimed(u64),
    /// Was told that it is taken.
    Lost,
    /// Withdrew it, or found that it had not been claimed.
    Released(u64),
    Settled(u64),
    MayHaveReleased(u64),
    /// Saw whose it is.
    Saw(Option<u64>),
}

impl Model for Name {
    type State = Option<u64>;
    type Op = Did;
    type Metadata = ();

    fn init() -> Option<u64> {
        None
    }

    fn step(state: &Option<u64>, did: &Did) -> (bool, Option<u64>) {
        match did {
            Did::Claimed(by) => (state.is_none(), Some(*by)),
            Did::MayHaveClaimed(by) => (true, state.or(Some(*by))),
            Did::Lost => (state.is_some(), *state),
            Did::Released(by) => (*state == Some(*by), None),
            Did::Settled(by) => (state.is_none_or(|owner| owner == *by), None),
            Did::MayHaveReleased(by) => (true, state.filter(|owner| owner != by)),
            Did::Saw(owner) => (state == owner, *state),
        }
    }
}

/// Names that are fought over, and how many operations each sees at most.
const NAMES: [&str; 3] = ["red", "green", "blue"];
const MOST: usize = 900;

struct Worker {
    registry: Arc<dyn Registry>,
    number: u32,
    owners: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Worker {
    /// Claims a name, looks, and gives it back, again and again.
    async fn work(&self, name: &'static str) -> Result<Vec<Operation<Name>>, Outcome> {
        let mut history = Vec::new();
        let most = MOST / 6;
        while !self.stop.load(Ordering::Relaxed) && history.len() + 3 < most {
            let by = self.owners.fetch_add(1, Ordering::Relaxed);
            let claimed = self.record(&mut history, self.claim(name, by)).await?;
            self.record(&mut history, self.look(name)).await?;
            match claimed {
                Some(Did::Claimed(_)) => {
                    let release = self.release(name, by, Did::Released(by));
                    self.record(&mut history, release).await?;
                }
                Some(Did::MayHaveClaimed(_)) => {
                    let release = self.release(name, by, Did::Settled(by));
                    self.record(&mut history, release).await?;
                }
                _ => {}
            }
            pause(10).await;
        }
        Ok(history)
    }

    /// What may have been done counts as done any time from then on.
    async fn record(
        &self,
        history: &mut Vec<Operation<Name>>,
        act: impl Future<Output = Result<Option<Did>, Outcome>>,
    ) -> Result<Option<Did>, Outcome> {
        let now = || i64::try_from(SystemClock.now().as_nanos()).unwrap_or(i64::MAX);
        let called = now();
        let did = act.await?;
        if let Some(op) = did.clone() {
            let open = matches!(op, Did::MayHaveClaimed(_) | Did::MayHaveReleased(_));
            let return_time = if open { i64::MAX - i64::from(self.number) } else { now() };
            history.push(Operation {
                client_id: Some(self.number),
                call_time: called,
                return_time,
                op,
                metadata: None,
            });
        }
        Ok(did)
    }

    async fn claim(&self, name: &str, by: u64) -> Result<Option<Did>, Outcome> {
        let create = registration(&by.to_string(), RegistrationMode::Create, &[name]);
        match self.registry.register(create).await {
            Ok(_) => Ok(Some(Did::Claimed(by))),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(Some(Did::Lost)),
            Err(error) if error.may_have_applied() => Ok(Some(Did::MayHaveClaimed(by))),
            Err(error) if error.is_retryable() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn release(&self, name: &str, by: u64, did: Did) -> Result<Option<Did>, Outcome> {
        match self.registry.deregister(&owner(&by.to_string()), &[service(name)]).await {
            Ok(()) => Ok(Some(did)),
            // Somebody else has it: the claim had not been made.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(None),
            Err(error) if error.is_retryable() => Ok(Some(Did::MayHaveReleased(by))),
            Err(error) => Err(error.into()),
        }
    }

    async fn look(&self, name: &str) -> Result<Option<Did>, Outcome> {
        match self.registry.resolve(&query(name)).await {
            Ok(view) => {
                let record = view.service(&service(name));
                let by = record.and_then(|record| record.owner.as_str().parse().ok());
                Ok(Some(Did::Saw(by)))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Some(Did::Saw(None))),
            Err(error) if error.is_retryable() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

pub(super) async fn racing_registrations_have_one_winner_whoever_is_killed(
    place: &Place,
) -> Result<(), Outcome> {
    let world = place.alone(&Recipe::default()).await?;
    let (owners, stop) = (Arc::new(AtomicU64::new(1)), Arc::new(AtomicBool::new(false)));
    let mut workers = Vec::new();
    for number in 0..6 {
        // Two callers in each of three processes.
        let registry = match number % 2 {
            0 => open(&world.url()).await?,
            _ => workers
                .last()
                .map(|worker: &Worker| worker.registry.clone())
                .unwrap_or_else(|| unreachable!("every second one follows on a first one")),
        };
        let (owners, stop) = (Arc::clone(&owners), Arc::clone(&stop));
        workers.push(Worker { registry, number, owners, stop });
    }
    let killing = async {
        for _ in 0..2 {
            pause(1500).await;
            // From a thread of its own: the others go on meanwhile.
            let killed = tokio::task::block_in_place(|| world.broker().kill_and_restart());
            killed?;
            pause(1500).await;
        }
        stop.store(true, Ordering::Relaxed);
        Ok::<_, Outcome>(())
    };
    let working = NAMES.iter().flat_map(|name| workers.iter().map(move |w| (name, w)));
    let working =
        try_join_all(working.map(|(name, worker)| async move {
            Ok::<_, Outcome>((*name, worker.work(name).await?))
        }));
    let (histories, killed) = tokio::join!(working, killing);
    killed?;
    let histories = histories?;
    for name in NAMES {
        let of = histories.iter().filter(|(of, _)| *of == name);
        let history: Vec<_> = of.flat_map(|(_, history)| history.clone()).collect();
        let won = history.iter().filter(|o| matches!(o.op, Did::Claimed(_))).count();
        check(won > 5, format_args!("{name}: only {won} of {} won", history.len()))?;
        check(history.len() <= 1000, "too many operations for the checker")?;
        let checked = tokio::task::block_in_place(|| {
            check_operations_timeout::<Name>(&history, Duration::from_secs(20))
        });
        check(checked == CheckResult::Ok, format_args!("{name}: {checked:?} of {history:#?}"))?;
    }
    Ok(())
}
