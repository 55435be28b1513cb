//! A backend of one's own, proved by the suite: one lock, no background task.
//!
//! `cargo run -p portolan-conformance-tests --example custom_backend`

use std::collections::HashMap;
use std::hash::RandomState;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use conformance_tests::{ManualClock, Store, VirtualTarget};
use futures_util::stream;
use registry_api::kernel::{Command, Cursor, LeaseTable, Outcome, State};
use registry_api::*;
use tokio::sync::watch;

/// Everything of one namespace: kernel parts behind one lock.
#[derive(Debug)]
struct Simple {
    info: Info,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    leases: LeaseTable<RandomState>,
    news: watch::Sender<()>,
}

impl Simple {
    fn new(clock: Arc<dyn Clock>) -> Self {
        let claims = Capabilities::none().with(Capability::Push).with(Capability::Resume);
        Self {
            info: Info::new("simple", claims, Limits::new().with_watch_backlog(500)),
            clock,
            state: Mutex::new(State::new(Era(1), 500)),
            leases: LeaseTable::with_hasher(RandomState::new()),
            news: watch::Sender::new(()),
        }
    }

    /// The state, with everything that time has brought.
    fn settled(&self) -> (MutexGuard<'_, State>, Option<Timestamp>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let sweep = self.leases.sweep(self.clock.now());
        if state.settle(sweep.transitions) {
            self.news.send_replace(());
        }
        (state, sweep.next)
    }

    fn write(&self, command: Command) -> Outcome {
        let (mut state, _) = self.settled();
        let outcome = state.write(command);
        if let Outcome::Connected(answers) = &outcome {
            let now = self.clock.now();
            let granted = answers.iter().flatten();
            granted.for_each(|p| _ = self.leases.grant(&p.id, p.epoch, p.terms, now));
        }
        self.news.send_replace(());
        outcome
    }

    /// The next item of a watch; waits for news, or for what time brings.
    async fn next(&self, cursor: &mut Cursor) -> WatchItem {
        let mut news = self.news.subscribe();
        let silent_until = self.clock.now() + self.info.limits.progress_interval;
        loop {
            news.mark_unchanged();
            let (item, revision, due) = {
                let (state, due) = self.settled();
                (state.poll(cursor), state.catalogue().revision(), due)
            };
            if let Some(item) = item {
                return item;
            }
            if self.clock.now() >= silent_until {
                return WatchItem::Progress(revision);
            }
            let until = due.map_or(silent_until, |due| due.min(silent_until));
            tokio::select! {
                _ = news.changed() => {}
                () = self.clock.sleep_until(until) => {}
            }
        }
    }
}

/// The currency is `Arc<dyn Registry>`; a watch needs the state to outlive the handle.
#[derive(Debug)]
struct Handle(Arc<Simple>);

#[async_trait]
impl Registry for Handle {
    fn info(&self) -> &Info {
        &self.0.info
    }

    async fn register(&self, registration: Registration) -> Result<Vec<Arc<ServiceRecord>>> {
        self.0.write(Command::Register(registration)).records()
    }

    async fn deregister(&self, owner: &Owner, services: &[ServiceName]) -> Result<()> {
        self.0.write(Command::Deregister(owner.clone(), services.to_vec())).done()
    }

    async fn connect(&self, instances: &[InstanceSpec]) -> Result<Vec<Result<Lease>>> {
        self.0.write(Command::Connect(instances.to_vec())).leases()
    }

    async fn heartbeat(&self, beats: &[Beat]) -> Result<Vec<BeatOutcome>> {
        let now = self.0.clock.now();
        let outcomes = beats.iter().map(|b| self.0.leases.beat(&b.id, b.epoch, now)).collect();
        drop(self.0.settled()); // Tells who was revived.
        Ok(outcomes)
    }

    async fn disconnect(&self, instances: &[InstanceRef]) -> Result<()> {
        self.0.write(Command::Disconnect(instances.to_vec()));
        instances.iter().for_each(|i| self.0.leases.release(&i.id, i.epoch));
        Ok(())
    }

    async fn resolve(&self, query: &Query) -> Result<View> {
        let (state, _) = self.0.settled();
        state.read(query, &self.0.leases, self.0.clock.now())
    }

    async fn watch(&self, scope: &Scope, from: WatchFrom) -> Result<WatchStream> {
        let simple = Arc::clone(&self.0);
        let cursor = simple.settled().0.cursor(scope.clone(), from);
        Ok(WatchStream::new(stream::unfold((simple, cursor), |(simple, mut cursor)| async {
            let item = simple.next(&mut cursor).await;
            Some((Ok(item), (simple, cursor)))
        })))
    }
}

/// A store: one world per namespace, judged by the suite's clock.
fn store(clock: &ManualClock) -> Store {
    let (clock, open) = (clock.clone(), Mutex::new(HashMap::new()));
    Arc::new(move |namespace: &Namespace| {
        let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(Simple::new(Arc::new(clock.clone())));
        let simple = open.entry(namespace.clone()).or_insert_with(new);
        Ok(Guard::shared(Handle(Arc::clone(simple))))
    })
}

fn main() -> ExitCode {
    conformance_tests::main(&[Arc::new(VirtualTarget::new("simple", store))], "")
}
