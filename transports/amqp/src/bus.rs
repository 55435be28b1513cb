//! A connection to a broker that H2's services share.

use std::fmt::{self, Debug};
use std::time::Duration;

use lapin::options::{
    BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions,
    QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::uri::AMQPUri;
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, Consumer,
    ExchangeKind,
};
use registry_api::{Error, ErrorKind, Result};
use tokio::time::timeout;

use crate::names::DIRECT;

/// The longest it may take to connect and to declare what is needed.
const PATIENCE: Duration = Duration::from_secs(3);

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

impl Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let authority = &self.uri.authority;
        write!(f, "Broker({}:{}/{})", authority.host, authority.port, self.uri.vhost)
    }
}

/// What a queue is for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Role {
    /// Replies: it ends with the connection.
    Caller,
    /// Requests: it outlives a connection for a moment, and others may bind it.
    Instance,
}

/// A connection, with a queue of our own that is being read.
pub(crate) struct Bus {
    // Ends when this is dropped.
    _connection: Connection,
    /// Publishes without confirms.
    channel: Channel,
    /// Publishes, and is told what became of it.
    confirmed: Channel,
    queue: String,
    pub(crate) inbox: Consumer,
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
            let connection = Connection::connect_uri(broker.uri.clone(), properties).await?;
            let channel = connection.create_channel().await?;
            let confirmed = connection.create_channel().await?;
            confirmed.confirm_select(ConfirmSelectOptions::default()).await?;
            let inbox = inbox(&connection, queue, role).await?;
            let queue = queue.to_owned();
            Ok(Self { _connection: connection, channel, confirmed, queue, inbox })
        };
        match timeout(PATIENCE, opening).await {
            Ok(opened) => opened.map_err(unavailable),
            Err(_) => Err(Error::new(ErrorKind::Unavailable, "the broker says nothing")),
        }
    }

    /// A way to publish that can be shared.
    pub(crate) fn outlet(&self) -> Outlet {
        Outlet { channel: self.channel.clone(), confirmed: self.confirmed.clone() }
    }

    /// Reads no more, and gives the queue up: what comes now is returned.
    pub(crate) async fn leave(&self) {
        let gone = self.channel.queue_delete((&*self.queue).into(), Default::default());
        let _ = timeout(PATIENCE, gone).await; // It expires by itself otherwise.
    }
}

/// Publishes.
#[derive(Clone)]
pub(crate) struct Outlet {
    channel: Channel,
    confirmed: Channel,
}

impl Outlet {
    /// Publishes to a queue on the direct exchange, whether it is there or not.
    pub(crate) async fn send(&self, queue: &str, properties: BasicProperties, body: &[u8]) {
        let plain = BasicPublishOptions::default();
        let sent =
            self.channel.basic_publish(DIRECT.into(), queue.into(), plain, body, properties).await;
        if let Err(error) = sent {
            tracing::debug!(%error, queue, "a message could not be sent");
        }
    }

    /// Publishes to a queue, and says whether it is there.
    pub(crate) async fn deliver(
        &self,
        queue: &str,
        properties: BasicProperties,
        body: &[u8],
    ) -> Result<Delivered> {
        let mandatory = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let sent = self
            .confirmed
            .basic_publish(DIRECT.into(), queue.into(), mandatory, body, properties)
            .await;
        match sent.map_err(unavailable)?.await.map_err(unavailable)? {
            Confirmation::Ack(None) => Ok(Delivered::Queued),
            Confirmation::Ack(Some(_)) | Confirmation::Nack(Some(_)) => Ok(Delivered::Returned),
            Confirmation::Nack(None) | Confirmation::NotRequested => {
                Err(Error::new(ErrorKind::Unavailable, "the broker did not take the message"))
            }
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
    // What is taken is run at most once: it is gone from the queue before it begins.
    let taken = lapin::options::BasicConsumeOptions { no_ack: true, ..Default::default() };
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
    fn queue(self) -> (QueueDeclareOptions, FieldTable) {
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
                let durable =
                    QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
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
