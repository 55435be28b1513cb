//! Servers to be called, without a wire, and without mercy.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use portolan::call::{Call, CallError, Caller, Peer, Reply};
use portolan::{
    Address, Channel, ChannelOptions, Client, ClientOptions, Clock, Endpoint, ErrorKind,
    InstanceId, InstanceSpec, LeaseTerms, Offer, Owner, Registration, RegistrationMode,
    ServiceName, ServiceSpec, Sla, SystemClock, Timestamp,
};

pub(crate) fn service() -> ServiceName {
    ServiceName::parse("s").unwrap()
}

/// What a server does with a call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Does {
    /// Answers after this time.
    Answer(Duration),
    /// Answers with an error of the application.
    Decline,
    /// Answers that this caller may not.
    Forbid(ErrorKind),
    /// Refuses before it runs anything.
    Refuse,
    /// Loses the connection when the call may have run.
    Lose,
    /// Works off its calls one after the other, each this long, whether anybody
    /// still waits or not.
    Work(Duration),
}

#[derive(Debug)]
struct Server {
    does: Does,
    calls: u32,
    /// When it has worked off what it has.
    free: Timestamp,
}

/// All servers of a test, and a client that knows them.
#[derive(Clone, Debug)]
pub(crate) struct Servers {
    all: Arc<Mutex<BTreeMap<String, Server>>>,
    pub(crate) client: Client,
}

pub(crate) const FAST: Does = Does::Answer(Duration::from_millis(1));

impl Servers {
    /// So many servers `0`, `1`, … that answer in a millisecond.
    pub(crate) async fn start(count: usize) -> Self {
        let registry = portolan::open("memory:").await.unwrap();
        let servers =
            Self { all: Arc::default(), client: Client::new(registry, ClientOptions::default()) };
        for n in 0..count {
            servers.add(&n.to_string(), |offer| offer).await;
        }
        servers
    }

    pub(crate) async fn add(&self, id: &str, change: impl Fn(Offer) -> Offer) {
        let address = Address::parse(&format!("tcp://{id}:1")).unwrap();
        let day = Duration::from_secs(24 * 3600);
        let spec = InstanceSpec::new(id_of(id), [change(Offer::new(service(), address))])
            .with_terms(LeaseTerms::new(day, day).unwrap());
        self.client.registry().connect(&[spec]).await.unwrap().remove(0).unwrap();
        let server = Server { does: FAST, calls: 0, free: Timestamp::ZERO };
        self.lock().insert(id.to_owned(), server);
    }

    pub(crate) async fn remove(&self, id: &str) {
        let registry = self.client.registry();
        let view = registry.resolve(&portolan::Query::instance(id_of(id))).await.unwrap();
        registry.disconnect(&[view.instances[0].reference()]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    /// Declares how long the method `m` takes, and that it may be run twice.
    pub(crate) async fn declare(&self, p95: Duration) {
        let sla = Some(Sla { mean: p95 / 2, p95 });
        let endpoint = Endpoint { name: "m".into(), sla, roles: Vec::new(), idempotent: true };
        let spec = ServiceSpec::new(service()).with_endpoints(vec![endpoint]);
        let owner = Owner::parse("o").unwrap();
        let declaration = Registration::new(owner, RegistrationMode::Create, vec![spec]);
        self.client.registry().register(declaration).await.unwrap();
    }

    /// What a server does from now on.
    pub(crate) fn set(&self, id: &str, does: Does) {
        self.lock().get_mut(id).unwrap().does = does;
    }

    pub(crate) fn set_all(&self, does: Does) {
        self.lock().values_mut().for_each(|server| server.does = does);
    }

    /// How many calls each got since it was last asked.
    pub(crate) fn calls(&self) -> BTreeMap<String, u32> {
        let mut all = self.lock();
        all.iter_mut().map(|(id, server)| (id.clone(), std::mem::take(&mut server.calls))).collect()
    }

    pub(crate) async fn channel(&self, options: ChannelOptions) -> Channel {
        let channel = self.client.channel(&service(), Arc::new(self.clone()), options);
        channel.view().ready().await.unwrap();
        channel
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Server>> {
        self.all.lock().unwrap()
    }

    fn take(&self, id: &str) -> (Does, Timestamp) {
        let mut all = self.lock();
        let server = all.get_mut(id).unwrap();
        server.calls += 1;
        if let Does::Work(each) = server.does {
            server.free = server.free.max(SystemClock.now()) + each;
        }
        (server.does, server.free)
    }
}

#[async_trait]
impl Caller for Servers {
    fn speaks(&self, _: &Address) -> bool {
        true
    }

    async fn call(&self, peer: Peer<'_>, call: Call) -> Result<Reply, CallError> {
        let (id, _) = peer.life.unwrap();
        let (does, free) = self.take(id.as_str());
        let left = call.time_left();
        let lost = |reason: &str| CallError::new(ErrorKind::Unavailable.into(), reason);
        let answer = async {
            match does {
                Does::Answer(after) => tokio::time::sleep(after).await,
                Does::Decline => return Err(CallError::application("No", Vec::new().into())),
                Does::Forbid(kind) => return Err(CallError::new(kind.into(), "you may not")),
                Does::Refuse => return Err(lost("refused").not_run()),
                Does::Lose => return Err(lost("lost")),
                Does::Work(_) => SystemClock.sleep_until(free).await,
            }
            Ok(Reply::new(id.as_str().to_owned().into_bytes().into())
                .with_header("left", left.as_millis().to_string()))
        };
        let late = |_| Err(CallError::new(ErrorKind::Timeout.into(), "too late"));
        tokio::time::timeout(left, answer).await.unwrap_or_else(late)
    }
}

pub(crate) fn call() -> Call {
    Call::new(service(), "m", Vec::new().into())
}

/// Who answered.
pub(crate) fn by(reply: &Reply) -> String {
    String::from_utf8(reply.payload.to_vec()).unwrap()
}

fn id_of(id: &str) -> InstanceId {
    InstanceId::parse(id).unwrap()
}
