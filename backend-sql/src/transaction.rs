//! A transaction: takes the turn, reads what its writes are about, lets the
//! kernel decide, and writes down what that did.

mod load;
mod save;

use registry_api::kernel::{Command, Outcome, State, Transition};
use registry_api::{InstanceId, Timestamp};

use self::load::{Head, Loaded};
use self::save::Saving;
use crate::session::{Failed, Session};
use crate::store::Store;
use crate::writer::{Work, doubtful};

/// What became of a transaction.
pub(crate) enum Attempt {
    Committed(Vec<Outcome>),
    /// Nothing was done: this reading of the clock needs a second look.
    Jumped {
        asked: Timestamp,
        now: i64,
        term: i64,
    },
}

/// Does all of `works` in the transaction that `session` has begun. On an error
/// it is still in it.
pub(crate) async fn attempt(
    store: &Store,
    session: &mut Session,
    works: &[Work],
) -> Result<Attempt, Failed> {
    let asked = store.clock.now();
    let head = load::head(store, session).await?;
    if store.has_jumped(asked, head.now, head.term) {
        session.rollback().await?;
        let Head { now, term, .. } = head;
        return Ok(Attempt::Jumped { asked, now, term });
    }
    let loaded = load::load(store, session, &head, works).await?;
    let mut state = loaded.state(&head);
    let outcomes = decide(&mut state, &loaded, works);
    let saving = Saving::new(&head, &state, &outcomes, &loaded);
    if saving.is_empty() {
        session.rollback().await?;
        return Ok(Attempt::Committed(outcomes));
    }
    saving.save(store, session).await?;
    session.commit().await.map_err(doubtful)?;
    Ok(Attempt::Committed(outcomes))
}

/// The kernel's answers, after what time has done meanwhile.
fn decide(state: &mut State, loaded: &Loaded, works: &[Work]) -> Vec<Outcome> {
    let mut outcomes = Vec::with_capacity(works.len());
    for work in works {
        match work {
            Work::Sweep(ids) => {
                state.settle(loaded.transitions(ids));
                outcomes.push(Outcome::Done(Ok(())));
            }
            Work::Command(command) => {
                state.settle(loaded.gone(&ids_of(command)));
                outcomes.push(state.write(command.clone()));
            }
        }
    }
    outcomes
}

/// The instances a command is about.
fn ids_of(command: &Command) -> Vec<InstanceId> {
    match command {
        Command::Connect(specs) => specs.iter().map(|spec| spec.id.clone()).collect(),
        Command::Delist(delists) => delists.iter().map(|delist| delist.id.clone()).collect(),
        Command::Disconnect(instances) | Command::Renew(instances) => {
            instances.iter().map(|i| i.id.clone()).collect()
        }
        Command::Deregister(..) | Command::Register(_) => Vec::new(),
    }
}

impl Loaded {
    /// Those of `ids` that are over.
    fn gone(&self, ids: &[InstanceId]) -> Vec<Transition> {
        let transitions = self.transitions(ids).into_iter();
        transitions.filter(|transition| matches!(transition, Transition::Gone(_))).collect()
    }
}
