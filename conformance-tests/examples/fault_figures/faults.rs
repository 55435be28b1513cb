//! What breaks.

use std::sync::Arc;
use std::time::Duration;

use conformance_tests::{Fault as RegistryFault, Faults, Faulty};
use portolan::call::Call;
use portolan::{
    Channel, ChannelOptions, Client, ClientOptions, InstanceId, InstanceSpec, LeaseTerms,
    Membership, Phase, StopOptions, SystemClock,
};

use crate::instance::Mode;
use crate::load::{Figures, Load};
use crate::wires::{Estate, Served, Wire, argument, service};

/// One thing that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Killed,
    Frozen,
    Slow,
    Restarts,
    Registry,
}

pub(crate) const ALL: [Fault; 5] =
    [Fault::Killed, Fault::Frozen, Fault::Slow, Fault::Restarts, Fault::Registry];
const INSTANCES: usize = 10;
/// How long before the fault, and with it.
const BEFORE: Duration = Duration::from_secs(1);
const WITH: Duration = Duration::from_secs(4);
/// The time a call has.
const TIMEOUT: Duration = Duration::from_secs(1);

impl Fault {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Killed => "killed",
            Self::Frozen => "frozen",
            Self::Slow => "slow",
            Self::Restarts => "restarts",
            Self::Registry => "registry",
        }
    }
}

/// An instance that has joined.
struct Member {
    served: Served,
    membership: Option<Membership>,
}

/// Runs one fault on one wire. The error says why it cannot be here.
pub(crate) async fn run(wire: &Wire, fault: Fault) -> Result<Figures, String> {
    let estate = wire.open().await?;
    let text = |error: portolan::Error| error.to_string();
    let registry = portolan::open("memory:").await.map_err(text)?;
    let faults = Faults::new(Arc::new(SystemClock));
    let faulty = Faulty::new(registry, faults.clone());
    let client = Client::new(Arc::new(faulty), ClientOptions::default());
    let mut members = Vec::new();
    for number in 0..INSTANCES {
        members.push(join(&client, &estate, number, fault).await?);
    }
    let channel = client.channel(&service(), estate.caller(), ChannelOptions::default());
    channel.view().ready().await.map_err(text)?;
    while channel.view().current().instances.len() < INSTANCES {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let call = Call::new(service(), "SayHello", argument()).with_timeout(TIMEOUT);
    let call = call.with_idempotent(true);
    let mut warm = Load::new(&channel);
    warm.drive(&channel, &call, BEFORE).await;
    warm.figures(&channel).await;
    let mut load = Load::new(&channel);
    load.drive(&channel, &call, BEFORE).await;
    load.fault();
    breaks(fault, &client, &estate, &mut members, &faults, (&mut load, &channel, &call)).await?;
    Ok(load.figures(&channel).await)
}

/// Without beats where the registry is not to learn of anything.
async fn join(
    client: &Client,
    estate: &Estate,
    number: usize,
    fault: Fault,
) -> Result<Member, String> {
    let served = estate.serve().await?;
    let id = InstanceId::parse(&format!("{number}")).map_err(|error| error.to_string())?;
    let spec = InstanceSpec::new(id, served.offers.clone());
    if fault == Fault::Restarts {
        let membership = client.join(spec);
        membership.connected().await;
        return Ok(Member { served, membership: Some(membership) });
    }
    let day = Duration::from_secs(24 * 3600);
    let terms = LeaseTerms::new(day, day).map_err(|error| error.to_string())?;
    let spec = spec.with_terms(terms).with_phase(Phase::Ready);
    let joined = client.registry().connect(&[spec]).await;
    joined.map_err(|error| error.to_string())?.remove(0).map_err(|error| error.to_string())?;
    Ok(Member { served, membership: None })
}

async fn breaks(
    fault: Fault,
    client: &Client,
    estate: &Estate,
    members: &mut Vec<Member>,
    faults: &Faults,
    (load, channel, call): (&mut Load, &Channel, &Call),
) -> Result<(), String> {
    match fault {
        Fault::Killed => drop(members.pop()),
        Fault::Frozen => members[0].served.mode.set(Mode::FROZEN),
        Fault::Slow => members[0].served.mode.set(Mode::SLOW),
        Fault::Registry => faults.set(RegistryFault::Failing),
        Fault::Restarts => {
            for (number, member) in members.iter_mut().enumerate() {
                let next = join(client, estate, INSTANCES + number, fault).await?;
                let stopped = tokio::spawn(stop(std::mem::replace(member, next)));
                load.drive(channel, call, WITH / 10).await;
                stopped.await.map_err(|error| error.to_string())?;
            }
            return Ok(());
        }
    }
    load.drive(channel, call, WITH).await;
    Ok(())
}

async fn stop(member: Member) {
    if let Some(membership) = member.membership {
        let options = StopOptions::default().with_notice(Duration::from_millis(100));
        let _ = membership.stop(Some(&*member.served.host), options).await; // The registry is there.
    }
}
