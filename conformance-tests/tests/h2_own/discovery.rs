//! A service of H2 that knows nothing of Portolan registers, is pinged, and is gone when
//! it says nothing.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use conformance_tests::own::{Outcome, check};
use conformance_tests::servers::RabbitMq;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use portolan::h2::{Broker, Discovery, DiscoveryOptions};
use portolan::{Health, InstanceId, Query, Registry, Target};

use super::peer::{DIRECT, Peer, answers, header};
use super::topology::HASHING;
use super::{Echo, Instance, Place, url};

const DISCOVERY: &str = "com.hailocab.kernel.discovery";
const SERVICE: &str = "com.hailocab.service.hello";
const EVERY: Duration = Duration::from_millis(200);

/// Discovery over a registry in memory.
struct World {
    broker: Arc<RabbitMq>,
    registry: Arc<dyn Registry>,
    _discovery: Discovery,
}

impl World {
    /// On a broker of its own: there is one discovery at a broker.
    async fn open(plugins: &[&'static str]) -> Result<Self, Outcome> {
        let broker = Arc::new(super::with_plugins(plugins)?);
        let registry = portolan::open("memory:").await?;
        let options = DiscoveryOptions::default().with_ping_every(EVERY);
        let at = Broker::parse(&url(&broker))?;
        let discovery = Discovery::serve(Arc::clone(&registry), at, options).await?;
        Ok(Self { broker, registry, _discovery: discovery })
    }

    /// The health of an instance; none for one that is not there.
    async fn health(&self, id: &str) -> Result<Option<Health>, Outcome> {
        let view = self.registry.resolve(&Query::all()).await?;
        Ok(view.instance(&InstanceId::parse(id)?).map(|instance| instance.health))
    }
}

/// A field of protobuf that holds bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    assert!(bytes.len() < 128, "one byte of length");
    [&[number << 3 | 2, bytes.len() as u8], bytes].concat()
}

/// What H2's server sends to `multiregister`, by the numbers of its fields.
fn registration(id: &str, service: &str) -> Vec<u8> {
    let version = [24, 0x8d, 0x4b]; // 9613
    let told = [
        field(1, service.as_bytes()),
        version.to_vec(),
        field(4, b"github"),
        field(5, b"a@b"),
        field(6, b""),
    ];
    let endpoint = |name: &[u8], topic: &[u8]| {
        field(5, &[field(1, name), vec![16, 50, 24, 100], field(4, topic)].concat())
    };
    [
        field(1, id.as_bytes()),
        field(2, b"host-1"),
        field(3, b"eu-west-1a"),
        field(4, &told.concat()),
        endpoint(b"hello", b""),
        endpoint(b"a.topic", b"a.topic"),
        field(6, b"default"),
    ]
    .concat()
}

/// Asks discovery, and returns the kind of its answer and the body.
async fn ask(
    peer: &mut Peer,
    endpoint: &str,
    json: bool,
    body: &[u8],
) -> Result<(String, Vec<u8>), Outcome> {
    let id = peer.id();
    let properties = peer.asking(DISCOVERY, endpoint, &id);
    let kind = if json { "application/json" } else { "application/octetstream" };
    peer.publish("h2o", "", properties.with_content_type(kind.into()), body).await?;
    loop {
        let Some(delivery) = peer.next(Duration::from_secs(5)).await else {
            return Err(Outcome::Broken(format!("{endpoint} was not answered")));
        };
        if answers(&delivery) == id {
            return Ok((header(&delivery, "messageType"), delivery.data));
        }
    }
}

/// Answers pings as H2's server does, for so many times.
async fn pong(peer: &mut Peer, id: &str, times: usize) -> Result<(), Outcome> {
    for _ in 0..times {
        let Some(ping) = peer.next(EVERY * 4).await else {
            return Err(Outcome::Broken("it was not pinged".into()));
        };
        let reply_to = ping.properties.reply_to().as_ref().map(|to| to.to_string());
        let reply_to = reply_to.unwrap_or_default();
        check(ping.data == b"PING", "no ping")?;
        check(header(&ping, "messageType") == "heartbeat", "a ping of no kind")?;
        check(header(&ping, "heartbeat") == "ping", "a ping without its header")?;
        check(reply_to.starts_with("discovery-"), format_args!("{reply_to:?}"))?;
        let mut table = FieldTable::default();
        table.insert("messageType".into(), AMQPValue::LongString("heartbeat".into()));
        let properties = BasicProperties::default()
            .with_content_type("text/plain".into())
            .with_reply_to(id.into())
            .with_headers(table);
        peer.publish(DIRECT, &reply_to, properties, b"PONG").await?;
    }
    Ok(())
}

pub(super) async fn a_service_registers_is_pinged_and_goes_when_it_is_silent(
    _: &Place,
) -> Result<(), Outcome> {
    let world = World::open(&[]).await?;
    let id = "server-com.hailocab.service.hello-1";
    let mut caller = Peer::open(&world.broker, "client-caller", "client-caller").await?;
    let mut service = Peer::open(&world.broker, id, id).await?;
    let body = registration(id, SERVICE);
    let told = ask(&mut caller, "multiregister", false, &body).await?;
    check(told == ("reply".to_owned(), vec![]), format_args!("{told:?}"))?;
    let view = world.registry.resolve(&Query::all()).await?;
    let [instance] = &view.instances[..] else {
        return Err(Outcome::Broken(format!("{:?}", view.instances)));
    };
    let offer = &instance.offers[0];
    check(matches!(offer.addresses[0].target(), Target::Queue(queue) if queue == id), "address")?;
    let seen = (offer.service.as_str(), &*offer.version, &*offer.zone);
    check(seen == (SERVICE, "9613", "eu-west-1a"), format_args!("{seen:?}"))?;
    // Three of its ttds.
    let epoch = instance.epoch;
    pong(&mut service, id, 10).await?;
    check(world.health(id).await? == Some(Health::Online), "it answers, and is not online")?;
    let (_, instances) = ask(&mut caller, "instances", true, b"{}").await?;
    let instances: serde_json::Value = serde_json::from_slice(&instances).unwrap_or_default();
    let expected = serde_json::json!({"instances": [{
        "instanceId": id, "hostname": "host-1", "serviceName": SERVICE, "serviceVersion": 9613,
        "azName": "eu-west-1a", "subTopic": ["a.topic"], "machineClass": "default",
    }]});
    check(instances == expected, format_args!("{instances}"))?;
    // Once more is the same life.
    ask(&mut caller, "multiregister", false, &body).await?;
    let view = world.registry.resolve(&Query::all()).await?;
    check(view.instances[0].epoch == epoch, "another life")?;
    // It is silent: offline after two and a half pings, gone after three and a half.
    tokio::time::sleep(EVERY * 6).await;
    check(world.health(id).await?.is_none(), "it is silent, and still there")
}

pub(super) async fn the_binder_shares_requests_over_an_exchange(_: &Place) -> Result<(), Outcome> {
    the_binder_shares_requests(&[HASHING]).await
}

pub(super) async fn the_binder_shares_requests_without_plugins(_: &Place) -> Result<(), Outcome> {
    the_binder_shares_requests(&[]).await
}

/// Two services of H2, of which one has bound itself, and one of ours: each gets its
/// share, nothing is run twice, and who is silent gets nothing any more.
async fn the_binder_shares_requests(plugins: &[&'static str]) -> Result<(), Outcome> {
    let world = World::open(plugins).await?;
    let ours = Instance::serve(&world.broker, SERVICE, Echo::default()).await?;
    let mut caller = Peer::open(&world.broker, "client-caller", "client-caller").await?;
    let (mut serving, mut ran) = (Vec::new(), Vec::new());
    for number in 0..2 {
        let id = format!("server-hello-{number}");
        let peer = Peer::open(&world.broker, &id, &id).await?;
        if number == 0 {
            peer.bind_itself(SERVICE).await?;
        }
        let list = Arc::new(Mutex::new(Vec::new()));
        serving.push(tokio::spawn(peer.serve(Arc::clone(&list))));
        ran.push(list);
        ask(&mut caller, "multiregister", false, &registration(&id, SERVICE)).await?;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let count = |list: &Arc<Mutex<Vec<String>>>| list.lock().expect("nobody panics").len();
    let shares = || [ours.echo.ran().len(), count(&ran[0]), count(&ran[1])];
    call(&mut caller, 300).await?;
    let first = shares();
    check(first.iter().sum::<usize>() == 300, format_args!("{first:?}: some were run twice"))?;
    check(first.iter().all(|share| *share >= 50), format_args!("{first:?}"))?;
    // One of them is killed: its queue is gone at once, and its share goes to the others.
    serving[1].abort();
    tokio::time::sleep(EVERY * 5).await;
    call(&mut caller, 100).await?;
    let second = shares();
    check(second[2] == first[2], format_args!("{second:?}: a dead one ran"))?;
    check(second.iter().sum::<usize>() == 400, format_args!("{second:?}"))
}

/// Calls the service so many times, and wants as many answers.
async fn call(caller: &mut Peer, times: usize) -> Result<(), Outcome> {
    for _ in 0..times {
        let id = caller.id();
        caller.request(SERVICE, &id).await?;
    }
    let answered = caller.collect(Duration::from_millis(700)).await.len();
    check(answered == times, format_args!("{answered} answers to {times} requests"))
}

pub(super) async fn who_leaves_is_gone_and_strangers_are_refused(_: &Place) -> Result<(), Outcome> {
    let world = World::open(&[]).await?;
    let mut caller = Peer::open(&world.broker, "client-caller", "client-caller").await?;
    let id = "server-com.hailocab.service.hello-2";
    let body = registration(id, SERVICE);
    ask(&mut caller, "multiregister", false, &body).await?;
    let (_, endpoints) = ask(&mut caller, "endpoints", true, b"{}").await?;
    let endpoints = String::from_utf8_lossy(&endpoints).into_owned();
    let hello =
        r#"{"fqName":"com.hailocab.service.hello.hello","version":9613,"mean":50,"upper95":100}"#;
    check(endpoints.contains(hello), &endpoints)?;
    // A name that is not the platform's, and a queue that is no instance's.
    for (id, service) in [("server-x", "payments"), ("payments.orders", SERVICE)] {
        let (kind, _) =
            ask(&mut caller, "multiregister", false, &registration(id, service)).await?;
        check(kind == "error", format_args!("{id} of {service} was taken"))?;
    }
    let (kind, _) = ask(&mut caller, "multiregister", false, b"\xff\xff").await?;
    check(kind == "error", "junk was taken")?;
    check(world.registry.resolve(&Query::all()).await?.instances.len() == 1, "who else?")?;
    // H2's server sends all it registered with.
    let left = ask(&mut caller, "unregister", false, &body).await?;
    check(left == ("reply".to_owned(), vec![]), format_args!("{left:?}"))?;
    check(world.health(id).await?.is_none(), "it left, and is there")
}
