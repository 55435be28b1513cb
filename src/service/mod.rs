//! A process that serves: any number of services on any wires, joined as one instance
//! that is seen to start, to be ready and to drain.

mod call_count;
mod hosts;
mod operator;

use std::fmt::{self, Debug};
use std::sync::Arc;

use futures_util::future::select_all;
use registry_api::call::Host;
use registry_api::{
    Address, Error, InstanceId, InstanceSpec, LeaseTerms, Metadata, Offer, Phase, Result,
    ServiceName,
};

pub use self::call_count::CallCount;
use self::hosts::Hosts;
pub use self::operator::{Operator, Order};
use crate::client::Client;
use crate::membership::{Membership, StopOptions};

type Operators = Vec<Arc<dyn Operator>>;

/// A process, before it joins.
///
/// ```no_run
/// # async fn run(client: portolan::Client, thrift: impl portolan::call::Host) -> portolan::Result<()> {
/// use portolan::Service;
///
/// // Whose handler is behind a guard; `with_no_auth` is for others.
/// let serving = Service::new("UserService")?.with_host(thrift).with_tag("color", "blue");
/// serving.join(&client)?.run().await // Ready, until SIGTERM or Ctrl-C; then it drains.
/// # }
/// ```
pub struct Service {
    name: ServiceName,
    id: InstanceId,
    hosts: Hosts,
    listed: Vec<Address>,
    tags: Vec<(String, String)>,
    terms: LeaseTerms,
    stop: StopOptions,
    operators: Operators,
    is_open: bool,
    /// Whether it gets a status server where it has no operator.
    has_status: bool,
}

/// A [`Service`] at work. Dropping it ends it at once; [`stop`](Self::stop) lets calls in
/// flight finish.
#[derive(Debug)]
pub struct Serving {
    hosts: Hosts,
    /// None where it stands alone.
    membership: Option<Membership>,
    stop: StopOptions,
    operators: Operators,
}

impl Service {
    /// A process of this service, under a new id.
    ///
    /// Errors: `InvalidArgument` for a name that is none.
    pub fn new(name: &str) -> Result<Self> {
        let id = InstanceId::parse(&uuid::Uuid::new_v4().to_string())?;
        let (hosts, listed, tags, operators) = Default::default();
        let (terms, stop) = (LeaseTerms::default(), StopOptions::default());
        let name = ServiceName::parse(name)?;
        Ok(Self {
            name,
            id,
            hosts,
            listed,
            tags,
            terms,
            stop,
            operators,
            is_open: false,
            has_status: true,
        })
    }

    /// Adds what serves, on any wire; it may be for another service, which is then one of
    /// this process too.
    #[must_use]
    pub fn with_host(mut self, host: impl Host) -> Self {
        self.hosts.add(Arc::new(host));
        self
    }

    /// Lets anybody call it who reaches it. Without this, every host has to have a guard:
    /// [`identity::Verifier`](crate::identity::Verifier) makes one.
    #[must_use]
    pub fn with_no_auth(mut self) -> Self {
        self.is_open = true;
        self
    }

    /// Adds somebody who is told how it is, and whose orders are obeyed: a status server
    /// that says more than the one it would get by itself.
    #[must_use]
    pub fn with_operator(mut self, operator: impl Operator) -> Self {
        self.tags.extend(operator.tags());
        self.operators.push(Arc::new(operator));
        self
    }

    /// Goes without a status server. Otherwise one that has no operator gets one, with
    /// the feature `status`: on a free port of the loopback address, which the metadata
    /// `status` names.
    #[must_use]
    pub fn without_status(mut self) -> Self {
        self.has_status = false;
        self
    }

    /// Adds an address of the service that something else serves, a port of TCP or HTTP:
    /// it is registered and listed, and nothing here calls it or waits for it.
    #[must_use]
    pub fn with_address(mut self, address: Address) -> Self {
        self.listed.push(address);
        self
    }

    /// Adds a tag to all it offers: callers choose by it.
    #[must_use]
    pub fn with_tag(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.tags.push((key.into(), value.into()));
        self
    }

    /// Sets the id, where it is to be the same after a restart.
    #[must_use]
    pub fn with_id(mut self, id: InstanceId) -> Self {
        self.id = id;
        self
    }

    /// Sets how long silence lasts before it is offline, and before it is gone.
    #[must_use]
    pub fn with_terms(mut self, terms: LeaseTerms) -> Self {
        self.terms = terms;
        self
    }

    /// Sets how long each step of a stop may take.
    #[must_use]
    pub fn with_stop(mut self, stop: StopOptions) -> Self {
        self.stop = stop;
        self
    }

    /// Joins as starting; it is called once it is [`ready`](Serving::ready).
    ///
    /// Errors: `InvalidArgument` where it offers nothing, two things that contradict each
    /// other, or something that anybody may call while nobody said so.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn join(mut self, client: &Client) -> Result<Serving> {
        self.check_guards()?;
        self.add_status();
        let spec = InstanceSpec::new(self.id.clone(), self.offers()?)
            .with_terms(self.terms)
            .with_phase(Phase::Starting);
        spec.check()?;
        self.operators.iter().for_each(|operator| operator.joined(client));
        Ok(self.serving(Some(client.join(spec))))
    }

    /// Serves without any registry, for whoever knows the address.
    ///
    /// Errors: `InvalidArgument` where anybody may call it and nobody said so.
    pub fn alone(mut self) -> Result<Serving> {
        self.check_guards()?;
        self.add_status();
        Ok(self.serving(None))
    }

    fn add_status(&mut self) {
        if !self.has_status || !self.operators.is_empty() {
            return;
        }
        if let Some(usual) = crate::usual_operator(&self.name) {
            self.tags.extend(usual.tags());
            self.operators.push(usual);
        }
    }

    fn check_guards(&self) -> Result<()> {
        let Some(open) = self.hosts.open().filter(|_| !self.is_open) else { return Ok(()) };
        let rule = "must check who calls: protect their handlers with an identity::Verifier, or say with_no_auth";
        Err(Error::invalid("hosts", rule).with("service", open))
    }

    fn serving(self, membership: Option<Membership>) -> Serving {
        let Self { hosts, stop, operators, .. } = self;
        Serving { hosts, membership, stop, operators }
    }

    /// What it joins with: one offer per service.
    fn offers(&self) -> Result<Vec<Offer>> {
        let mut offers = self.hosts.merged(&self.name, &self.listed)?;
        for offer in &mut offers {
            let known = offer.metadata.iter();
            let known = known.map(|(key, value)| (key.to_owned(), value.to_owned()));
            let all: Vec<_> = known.chain(self.tags.iter().cloned()).collect();
            offer.metadata = Metadata::new(all)?;
        }
        match offers.is_empty() {
            true => Err(Error::invalid("hosts", "must be one at least, or an address")),
            false => Ok(offers),
        }
    }
}

impl Serving {
    /// Returns once the registry knows it; at once where it stands alone.
    pub async fn connected(&self) {
        if let Some(membership) = &self.membership {
            membership.connected().await;
        }
    }

    /// Says that it can be called.
    pub fn ready(&self) {
        self.say(Phase::Ready);
    }

    /// Says that it cannot be called for now.
    pub fn starting(&self) {
        self.say(Phase::Starting);
    }

    fn say(&self, phase: Phase) {
        self.operators.iter().for_each(|operator| operator.sees(phase));
        if let Some(membership) = &self.membership {
            membership.update(move |spec| spec.phase = phase);
        }
    }

    /// As an instance; none where it stands alone.
    pub fn membership(&self) -> Option<&Membership> {
        self.membership.as_ref()
    }

    /// Stops: says that it is draining, lets callers see it, lets all hosts finish what
    /// is in flight, and leaves.
    ///
    /// The error is that of leaving: the lease ends what the registry could not be told.
    pub async fn stop(self) -> Result<()> {
        self.say(Phase::Draining);
        match self.membership {
            Some(membership) => membership.stop(Some(&self.hosts), self.stop).await,
            None => {
                // Hosts bound themselves how long they wait.
                self.hosts.close().await;
                Ok(())
            }
        }
    }

    /// Is ready until SIGTERM, Ctrl-C or an order of its operator, and then stops.
    pub async fn run(self) -> Result<()> {
        self.ready();
        tokio::select! {
            () = told_to_stop() => {}
            () = self.ordered_to_stop() => {}
        }
        self.stop().await
    }

    async fn ordered_to_stop(&self) {
        if self.operators.is_empty() {
            return std::future::pending().await;
        }
        let ordered = |order| select_all(self.operators.iter().map(move |one| one.ordered(order)));
        ordered(Order::Drain).await;
        self.say(Phase::Draining);
        ordered(Order::Stop).await;
    }
}

/// Returns at SIGTERM or Ctrl-C.
async fn told_to_stop() {
    use tokio::signal::unix::{SignalKind, signal};

    let Ok(mut terminated) = signal(SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminated.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

impl Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Service");
        shown.field("name", &self.name).field("id", &self.id).finish_non_exhaustive()
    }
}
