//! A connection to a broker that H2's services share.

use std::fmt::{self, Debug};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::{
    BasicCancelOptions, BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions,
    ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::uri::AMQPUri;
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, ConnectionStatus,
    Consumer, ExchangeKind, PublisherConfirm,
};
use registry_api::{Error, ErrorKind, Result};
use tokio::sync::Notify;
use tokio::time::{Interval, interval, sleep, timeout};

use crate::names::{DIRECT, REQUESTS, TOPICS};
use crate::reach::Reach;

/// The longest it may take to connect and to declare what is needed.
const PATIENCE: Duration = Duration::from_secs(3);

/// Why nothing is published.
pub(crate) const FULL: &str = "the broker takes no messages: its memory or its disk is full";

/// Where the broker is.
#[derive(Clone)]
pub struct Broker {
    uri: AMQPUri,
}

impl Broker {
    /// The broker of a URL, `amqp://user:password@host:port/vhost`, or `amqps://…`.
    /// An empty vhost means `/`, as H2's own default needs.
    pub fn parse(url: &str) -> Result<Self> {
        let rule = "must read amqp://user:password@host/vhost";
        let mut uri: AMQPUri = url.parse().map_err(|_| Error::invalid("url", rule))?;
        if uri.vhost.is_empty() {
            uri.vhost = "/".to_owned();
        }
        uri.query.heartbeat.get_or_insert(10);
        Ok(Self { uri })
    }
}

impl Broker {
    pub(crate) async fn connect(
        &self,
        properties: ConnectionProperties,
    ) -> lapin::Result<Connection> {
        portolan_amqp_link::connect(self.uri.clone(), properties, portolan_amqp_link::dial).await
    }
}

impl Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let authority = &self.uri.authority;
        write!(f, "Broker({}:{}/{})", authority.host, authority.port, self.uri.vhost)
    }
}

/// What a queue is for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Role {
    /// Replies to a caller: nobody else has to do with it.
    Caller,
    /// Requests for an instance: others may bind it, and read how long it is.
    Instance,
}

/// A connection, with a queue of our own that is being read.
pub(crate) struct Bus {
    /// Ends when the last who has it drops it.
    connection: Arc<Connection>,
    /// Publishes without confirms.
    channel: Channel,
    /// Publishes, and is told what became of it.
    confirmed: Channel,
    queue: String,
    inbox: Consumer,
    /// What all instances of a service read, where that is how they share.
    shared: Option<(Channel, Consumer)>,
    /// A channel that we publish on was closed.
    broken: Arc<Notify>,
    looks: Interval,
}

/// Whom a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum To<'a> {
    /// Who reads this queue.
    Queue(&'a str),
    /// An instance of the service in its headers.
    Service,
}

/// What became of a message for somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivered {
    /// It is in a queue.
    Queued,
    /// There is no such queue.
    Returned,
}

impl Bus {
    /// Connects, and reads the queue called `queue`.
    pub(crate) async fn open(broker: &Broker, queue: &str, role: Role) -> Result<Self> {
        let opening = async {
            let properties =
                ConnectionProperties::default().with_connection_name("portolan h2".into());
            let connection = Arc::new(broker.connect(properties).await?);
            let channel = connection.create_channel().await?;
            let confirmed = connection.create_channel().await?;
            confirmed.confirm_select(ConfirmSelectOptions::default()).await?;
            let inbox = inbox(&connection, queue, role).await?;
            let queue = queue.to_owned();
            let (shared, broken) = (None, Arc::default());
            let mut looks = interval(LOOK);
            looks.reset(); // It has just been declared.
            Ok(Self { connection, channel, confirmed, queue, inbox, shared, broken, looks })
        };
        patiently(opening).await
    }

    /// Connects as an instance of `service`, which is reached as `reach` says; that is
    /// found out where nobody knows, and forgotten where it no longer works.
    pub(crate) async fn join(
        broker: &Broker,
        service: &str,
        queue: &str,
        reach: &mut Option<Reach>,
    ) -> Result<Self> {
        let mut bus = Self::open(broker, queue, Role::Instance).await?;
        let known = match reach.take() {
            Some(known) => known,
            None => patiently(Reach::probe(broker, &bus.connection, service)).await?,
        };
        bus.shared = patiently(async {
            match known.bind(&bus.connection, service, queue).await? {
                None => Ok(None),
                Some(shared) => {
                    let channel = bus.connection.create_channel().await?;
                    let consumer = consume(&channel, &shared).await?;
                    Ok(Some((channel, consumer)))
                }
            }
        })
        .await?;
        *reach = Some(known);
        Ok(bus)
    }

    /// The connection, for whoever declares more over it.
    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// A way to publish that can be shared.
    pub(crate) fn outlet(&self) -> Outlet {
        Outlet {
            channel: self.channel.clone(),
            confirmed: self.confirmed.clone(),
            status: self.connection.status().clone(),
            broken: Arc::clone(&self.broken),
        }
    }

    /// The next message; none when there will be no other, or none of what we send
    /// would arrive. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<Delivery> {
        loop {
            let shared = async {
                match &mut self.shared {
                    Some((_, shared)) => shared.next().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                delivery = self.inbox.next() => return delivery?.ok(),
                delivery = shared => return delivery?.ok(),
                () = self.broken.notified() => return None,
                _ = self.looks.tick() => {
                    if let Err(error) = self.rebind().await {
                        tracing::warn!(%error, "a queue or its exchange is gone; connecting again");
                        return None;
                    }
                }
            }
        }
    }

    /// Our queue is bound, or is again: whoever deleted an exchange deleted what was bound
    /// to it, and nothing that comes would tell. A broker that takes nothing is not asked.
    async fn rebind(&self) -> Result<()> {
        if self.connection.status().blocked() {
            return Ok(());
        }
        let queue = &*self.queue;
        let plain = QueueBindOptions::default();
        patiently(self.channel.queue_bind(queue.into(), DIRECT.into(), queue.into(), plain, none()))
            .await
    }

    /// Is chosen no more and gives the queue up: what comes now is returned. What came
    /// before is handed out.
    pub(crate) async fn leave(&mut self, service: &str, reach: &Reach) -> Vec<Delivery> {
        let leaving = async {
            reach.unbind(&self.connection, service, &self.queue).await?;
            if let Some((channel, shared)) = &self.shared {
                channel.basic_cancel(shared.tag(), BasicCancelOptions::default()).await?;
            }
            let plain = QueueDeleteOptions::default();
            self.channel.queue_delete((&*self.queue).into(), plain).await
        };
        let mut last = Vec::new();
        // It goes with its reader otherwise.
        if patiently(leaving).await.is_ok() {
            let consumers = [Some(&mut self.inbox), self.shared.as_mut().map(|(_, c)| c)];
            for consumer in consumers.into_iter().flatten() {
                let rest = async {
                    while let Some(Ok(d)) = consumer.next().await {
                        last.push(d)
                    }
                };
                let _ = timeout(PATIENCE, rest).await;
            }
        }
        last
    }
}

/// Waits for a broker that may say nothing.
pub(crate) async fn patiently<T>(doing: impl Future<Output = lapin::Result<T>>) -> Result<T> {
    patient(async { doing.await.map_err(unavailable) }).await
}

/// [`patiently`], of what has told its failure already.
pub(crate) async fn patient<T>(doing: impl Future<Output = Result<T>>) -> Result<T> {
    let silent = || Error::new(ErrorKind::Unavailable, "the broker says nothing");
    timeout(PATIENCE, doing).await.unwrap_or_else(|_| Err(silent()))
}

/// Publishes.
#[derive(Clone)]
pub(crate) struct Outlet {
    channel: Channel,
    confirmed: Channel,
    status: ConnectionStatus,
    broken: Arc<Notify>,
}

/// How often a connection looks whether its queue is still bound.
const LOOK: Duration = Duration::from_secs(5);
/// How often whoever waits for a confirmation looks whether the broker takes messages.
const BLOCKED: Duration = Duration::from_millis(200);

impl Outlet {
    /// Publishes to a queue on the direct exchange, whether it is there or not.
    pub(crate) async fn send(&self, queue: &str, properties: BasicProperties, body: &[u8]) {
        let plain = BasicPublishOptions::default();
        let sent =
            self.channel.basic_publish(DIRECT.into(), queue.into(), plain, body, properties).await;
        if let Err(error) = sent {
            self.broken.notify_one();
            tracing::debug!(%error, queue, "a message could not be sent");
        }
    }

    /// Publishes to all who read a topic, if there is anybody.
    pub(crate) async fn publish(
        &self,
        topic: &str,
        properties: BasicProperties,
        body: &[u8],
    ) -> Result<()> {
        let plain = BasicPublishOptions::default();
        let (to, key) = (TOPICS.into(), topic.into());
        let sent = self.confirmed.basic_publish(to, key, plain, body, properties);
        taken(&self.confirmed(sent).await?).map(drop)
    }

    /// Whether the broker takes no messages at the moment: its memory or its disk is full.
    pub(crate) fn is_blocked(&self) -> bool {
        self.status.blocked()
    }

    /// Waits for what became of a message.
    async fn confirmed(
        &self,
        sent: impl Future<Output = lapin::Result<PublisherConfirm>>,
    ) -> Result<Confirmation> {
        let mut told = pin!(async { sent.await?.await });
        loop {
            tokio::select! {
                biased;
                told = &mut told => return told.map_err(|error| {
                    self.broken.notify_one();
                    unavailable(error)
                }),
                () = sleep(BLOCKED) => if self.is_blocked() {
                    return Err(Error::new(ErrorKind::Unavailable, FULL));
                },
            }
        }
    }

    /// Publishes to a queue, or to one that `h2o` chooses, and says whether there is
    /// any.
    pub(crate) async fn deliver(
        &self,
        to: To<'_>,
        properties: BasicProperties,
        body: &[u8],
    ) -> Result<Delivered> {
        let mandatory = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let (exchange, key) = match to {
            To::Queue(queue) => (DIRECT, queue),
            To::Service => (REQUESTS, ""),
        };
        let (to, key) = (exchange.into(), key.into());
        let sent = self.confirmed.basic_publish(to, key, mandatory, body, properties);
        taken(&self.confirmed(sent).await?)
    }
}

fn taken(confirmation: &Confirmation) -> Result<Delivered> {
    match confirmation {
        Confirmation::Ack(None) => Ok(Delivered::Queued),
        Confirmation::Ack(Some(_)) | Confirmation::Nack(Some(_)) => Ok(Delivered::Returned),
        Confirmation::Nack(None) | Confirmation::NotRequested => {
            Err(Error::new(ErrorKind::Unavailable, "the broker did not take the message"))
        }
    }
}

/// Declares a queue, binds it to the direct exchange by its own name, reads it.
async fn inbox(connection: &Connection, queue: &str, role: Role) -> lapin::Result<Consumer> {
    direct(connection).await?;
    let channel = connection.create_channel().await?;
    let (options, arguments) = role.queue();
    channel.queue_declare(queue.into(), options, arguments).await?;
    let plain = QueueBindOptions::default();
    channel.queue_bind(queue.into(), DIRECT.into(), queue.into(), plain, none()).await?;
    consume(&channel, queue).await
}

/// Reads a queue.
pub(crate) async fn consume(channel: &Channel, queue: &str) -> lapin::Result<Consumer> {
    // What is taken is run at most once: it is gone from the queue before it begins.
    let taken = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
    channel.basic_consume(queue.into(), "".into(), taken, none()).await
}

/// The exchange that replies go through; H2's services expect it to be there.
async fn direct(connection: &Connection) -> lapin::Result<()> {
    let declare = async |options| {
        // A refusal closes the channel.
        let channel = connection.create_channel().await?;
        channel.exchange_declare(DIRECT.into(), ExchangeKind::Direct, options, none()).await
    };
    let passive = ExchangeDeclareOptions { passive: true, ..Default::default() };
    let durable = ExchangeDeclareOptions { durable: true, ..Default::default() };
    match declare(durable).await {
        Ok(()) => Ok(()),
        // It is there with other arguments, or we may not make one.
        Err(_) => declare(passive).await,
    }
}

impl Role {
    /// H2 itself declares neither durable nor exclusive queues that delete
    /// themselves, which RabbitMQ refuses from 4.3 on. Peers know a queue by name
    /// only. Milliseconds are 32 bits wide, as theirs are.
    pub(crate) fn queue(self) -> (QueueDeclareOptions, FieldTable) {
        match self {
            Self::Caller => {
                let own = QueueDeclareOptions {
                    exclusive: true,
                    auto_delete: true,
                    ..QueueDeclareOptions::default()
                };
                (own, none())
            }
            Self::Instance => {
                // It goes with its reader, so that no request waits for one that is dead.
                let durable = QueueDeclareOptions {
                    durable: true,
                    auto_delete: true,
                    ..QueueDeclareOptions::default()
                };
                let mut arguments = none();
                arguments.insert("x-message-ttl".into(), AMQPValue::LongInt(5_000));
                arguments.insert("x-expires".into(), AMQPValue::LongInt(30_000));
                (durable, arguments)
            }
        }
    }
}

fn none() -> FieldTable {
    FieldTable::default()
}

fn unavailable(error: lapin::Error) -> Error {
    Error::new(ErrorKind::Unavailable, "the broker cannot be used").because(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_vhost_is_the_brokers_own() {
        for url in ["amqp://hailo:hailo@localhost:5672/", "amqp://hailo:hailo@localhost"] {
            let broker = Broker::parse(url).unwrap();
            assert_eq!(broker.uri.vhost, "/", "{url}");
            assert!(!format!("{broker:?}").contains("hailo:"), "{broker:?}");
        }
        assert!(Broker::parse("http://h").is_err());
    }
}
