//! A prefix on a broker, for one case.

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use conformance_tests::proxy::{Mode, Proxy};
use conformance_tests::servers::{MovedClock, RabbitMq};
use conformance_tests::{Absent, Handles, Link, Linked, Machine, Pace, World};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use portolan::{Namespace, Registry, Result, SystemClock};

use super::open;

pub(crate) struct AmqpWorld {
    broker: Arc<RabbitMq>,
    proxy: Proxy,
    link: Link,
    prefix: String,
    clock: Option<MovedClock>,
}

impl AmqpWorld {
    pub(crate) async fn open(broker: Arc<RabbitMq>) -> Result<Self, Absent> {
        let link = Link::new();
        let proxy = Proxy::start(broker.address(), link.clone()).await;
        let proxy = proxy.map_err(|error| Absent(format!("no proxy: {error}")))?;
        let prefix = format!("test-{:016x}", random());
        Ok(Self { broker, proxy, link, prefix, clock: None })
    }

    /// The same, where the broker's clock is this one.
    pub(crate) fn with_clock(self, clock: MovedClock) -> Self {
        Self { clock: Some(clock), ..self }
    }

    /// The URL of the broker behind its proxy.
    pub(crate) fn url(&self) -> String {
        self.of(self.proxy.address())
    }

    /// The URL of the broker itself.
    pub(crate) fn direct(&self) -> String {
        self.of(self.broker.address())
    }

    fn of(&self, at: SocketAddr) -> String {
        format!("amqp://{at}/?prefix={}", self.prefix)
    }

    /// The broker.
    pub(crate) fn broker(&self) -> &RabbitMq {
        &self.broker
    }

    /// A connection of somebody else's, for whoever does what only others do.
    pub(crate) async fn stranger(&self) -> (Connection, Channel) {
        let url = format!("amqp://{}/%2f", self.broker.address());
        let opened = Connection::connect(&url, ConnectionProperties::default()).await;
        let connection = opened.expect("the broker was started");
        let channel = connection.create_channel().await.expect("a channel");
        (connection, channel)
    }

    /// Declares a stream.
    pub(crate) async fn make_a_stream(&self, name: &str) {
        let (_connection, channel) = self.stranger().await;
        let mut stream = FieldTable::default();
        stream.insert("x-queue-type".into(), AMQPValue::LongString("stream".into()));
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        channel.queue_declare(name.into(), durable, stream).await.expect("a stream");
    }

    /// What the queues and exchanges of the default namespace are called.
    pub(crate) fn named(&self, what: &str) -> String {
        format!("{}.default.{what}", self.prefix)
    }
}

#[async_trait]
impl World for AmqpWorld {
    async fn handle(&self, namespace: &Namespace) -> Result<Arc<dyn Registry>> {
        let registry = open(&self.url(), namespace).await?;
        // What no socket shows is counted at the trait.
        Ok(Arc::new(Linked::new(registry, self.link.meter(), Arc::new(SystemClock))))
    }

    fn pace(&self) -> Pace {
        Pace::Real(Arc::new(SystemClock))
    }

    fn link(&self) -> Option<&Link> {
        Some(&self.link)
    }

    /// A message and its confirmation, on one of two connections; beacons beside it.
    fn beat_trips(&self) -> u64 {
        6
    }

    fn handles(&self) -> Option<Arc<dyn Handles>> {
        Some(Arc::new(Direct(self.direct())))
    }

    async fn kill_and_restart(&self) -> Option<()> {
        self.broker.kill_and_restart().ok()
    }

    fn machine(&self) -> Option<&dyn Machine> {
        Some(self)
    }

    fn jump_wall_clock(&self, seconds: i64) -> Option<()> {
        self.clock.as_ref()?.jump(seconds)
    }

    async fn plant_junk(&self) -> Option<()> {
        let (_connection, channel) = self.stranger().await;
        channel.confirm_select(ConfirmSelectOptions::default()).await.ok()?;
        let (log, fanout) = (self.named("log"), self.named("beats"));
        let ours = |kind: &str| BasicProperties::default().with_type(kind.into());
        let junk: [(BasicProperties, &[u8]); 6] = [
            (BasicProperties::default(), b"nonsense"),
            (ours("portolan/1"), b"nonsense"),
            (ours("portolan/1"), br#"{"by":1,"n":1,"era":null,"from":null,"entry":"dance"}"#),
            (ours("portolan/1"), br#"{"by":1,"n":1,"era":1,"from":99,"entry":{"connect":[{}]}}"#),
            (ours("portolan/0"), b"\xff\xfe"),
            (ours("portolan.beats/1"), b"{}"),
        ];
        for (properties, body) in junk {
            for (exchange, key) in [("", &*log), (&*fanout, "")] {
                let none = BasicPublishOptions::default();
                let sent = channel
                    .basic_publish(exchange.into(), key.into(), none, body, properties.clone())
                    .await;
                sent.ok()?.await.ok()?;
            }
        }
        let huge = vec![b'['; 20 << 20];
        let none = BasicPublishOptions::default();
        let sent =
            channel.basic_publish("".into(), (&*log).into(), none, &huge, ours("portolan/1")).await;
        sent.ok()?.await.ok()?;
        Some(())
    }
}

impl Machine for AmqpWorld {
    fn freeze(&self, frozen: bool) -> Option<()> {
        let done = if frozen { self.broker.freeze() } else { self.broker.thaw() };
        done.ok()
    }

    fn forget(&self) {
        self.proxy.forget();
    }

    fn swallow(&self, swallowed: bool) {
        self.proxy.set(if swallowed { Mode::HalfOpen } else { Mode::Pass });
    }
}

/// Opens handles from any thread.
struct Direct(String);

#[async_trait]
impl Handles for Direct {
    async fn open(&self) -> Result<Arc<dyn Registry>> {
        open(&self.0, &Namespace::default()).await
    }
}

/// A number that is another one every time.
pub(crate) fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish()
}
