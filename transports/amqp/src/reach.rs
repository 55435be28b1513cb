//! How an instance is reached by whoever knows its service and not its queue: through
//! the exchange `h2o`, which chooses one of several.
//!
//! H2 had an exchange type of its own for that, `x-hailo2`; stock RabbitMQ has not.
//! What stands there is found out by asking, and made of what the broker has. A plain
//! `headers` exchange with all instances bound to it, H2's documented way out, gives a
//! request to every one of them, and is never made.
//!
//! Facts: HailoOSS `rabbitmq-hailo-magic-exchange` at f95f3c8; `platform` at 39e911a,
//! `raven.BindService`.

use lapin::options::{
    ExchangeBindOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ConnectionProperties, ExchangeKind};

use crate::bus::{Broker, Role};
use crate::names::{REQUESTS, TOPICS};

/// H2's own type.
const HAILO: &str = "x-hailo2";
/// Those that ship with RabbitMQ and choose one of several, the better one first: a
/// request that is sent again goes where it went before, and is not run again.
const CHOOSING: [&str; 2] = ["x-consistent-hash", "x-random"];

/// The key of an instance: a weight where the type hashes, and nothing otherwise.
const WEIGHT: &str = "10";

/// How the instances of one service share its requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// The exchange knows services.
    Hailo,
    /// An exchange of the service's own, of this type, chooses.
    Group(&'static str),
    /// One queue that all instances read.
    Shared,
}

impl Reach {
    /// What this broker has; makes `h2o` where it is missing.
    pub(crate) async fn probe(
        broker: &Broker,
        connection: &Connection,
        service: &str,
    ) -> lapin::Result<Self> {
        if requests(connection).await?.as_deref() == Some(HAILO) {
            return Ok(Self::Hailo);
        }
        // With a queue and an exchange at a time, each request would be run twice.
        if exists(connection, &shared(service)).await? {
            return Ok(Self::Shared);
        }
        for kind in CHOOSING {
            if let Some(kind) = chooses(broker, kind, service).await? {
                return Ok(Self::Group(kind));
            }
        }
        Ok(Self::Shared)
    }

    /// Binds the queue of an instance, and says which other queue it has to read.
    pub(crate) async fn bind(
        &self,
        connection: &Connection,
        service: &str,
        queue: &str,
    ) -> lapin::Result<Option<String>> {
        let channel = connection.create_channel().await?;
        match self {
            Self::Hailo => bind(&channel, service, queue).await.map(|()| None),
            Self::Group(kind) => {
                let group = group(service);
                declare_group(&channel, kind, service).await?;
                let plain = (QueueBindOptions::default(), FieldTable::default());
                let (to, from) = (queue.into(), (&*group).into());
                channel.queue_bind(to, from, WEIGHT.into(), plain.0, plain.1).await?;
                let (to, from) = ((&*group).into(), REQUESTS.into());
                let options = ExchangeBindOptions::default();
                channel.exchange_bind(to, from, service.into(), options, of(service)).await?;
                Ok(None)
            }
            Self::Shared => {
                let shared = shared(service);
                let (_, arguments) = Role::Instance.queue();
                let durable =
                    QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
                channel.queue_declare((&*shared).into(), durable, arguments).await?;
                bind(&channel, service, &shared).await?;
                Ok(Some(shared))
            }
        }
    }
    /// Takes the queue of an instance out of the choice.
    pub(crate) async fn unbind(
        &self,
        connection: &Connection,
        service: &str,
        queue: &str,
    ) -> lapin::Result<()> {
        let channel = connection.create_channel().await?;
        let unbind = async |from: &str, key: &str, arguments| {
            channel.queue_unbind(queue.into(), from.into(), key.into(), arguments).await
        };
        match self {
            Self::Hailo => unbind(REQUESTS, service, of(service)).await,
            Self::Group(_) => unbind(&group(service), WEIGHT, FieldTable::default()).await,
            Self::Shared => Ok(()),
        }
    }
}

/// The exchange that chooses among the instances of a service.
fn group(service: &str) -> String {
    format!("{REQUESTS}.group.{service}")
}

/// The queue that all instances of a service read.
fn shared(service: &str) -> String {
    format!("{REQUESTS}.service.{service}")
}

/// Binds a queue to `h2o`, as H2's own `BindService` does: `x-hailo2` looks at the
/// key, `headers` at the arguments.
async fn bind(channel: &Channel, service: &str, queue: &str) -> lapin::Result<()> {
    let (to, key, options) = (queue.into(), service.into(), QueueBindOptions::default());
    channel.queue_bind(to, REQUESTS.into(), key, options, of(service)).await
}

/// Takes an instance out that has bound itself to `h2o`.
pub(crate) async fn unbind_self(
    connection: &Connection,
    service: &str,
    queue: &str,
) -> lapin::Result<()> {
    let channel = connection.create_channel().await?;
    channel.queue_unbind(queue.into(), REQUESTS.into(), service.into(), of(service)).await
}

/// Gives publications on a topic to an instance.
pub(crate) async fn bind_topic(
    connection: &Connection,
    topic: &str,
    queue: &str,
) -> lapin::Result<()> {
    topics(connection).await?;
    let channel = connection.create_channel().await?;
    let (options, none) = (QueueBindOptions::default(), FieldTable::default());
    channel.queue_bind(queue.into(), TOPICS.into(), topic.into(), options, none).await
}

/// Makes the exchange of publications where it is missing: who publishes to none loses
/// the channel.
pub(crate) async fn topics(connection: &Connection) -> lapin::Result<()> {
    let channel = connection.create_channel().await?;
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    channel
        .exchange_declare(TOPICS.into(), ExchangeKind::Topic, durable, FieldTable::default())
        .await
}

/// Whether a queue or an exchange is not there.
pub(crate) fn is_not_found(error: &lapin::Error) -> bool {
    is(error, &AMQPSoftError::NOTFOUND.into())
}

/// What a request for this service has in its headers.
fn of(service: &str) -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("service".into(), AMQPValue::LongString(service.into()));
    arguments.insert("x-match".into(), AMQPValue::LongString("all".into()));
    arguments
}

/// The type of `h2o`, where it is not `headers`; made as that where it is missing.
pub(crate) async fn requests(connection: &Connection) -> lapin::Result<Option<String>> {
    // A refusal closes the channel.
    let channel = connection.create_channel().await?;
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let none = FieldTable::default();
    match channel.exchange_declare(REQUESTS.into(), ExchangeKind::Headers, durable, none).await {
        Ok(()) => Ok(None),
        Err(error) => match told(&error) {
            Some(kind) => Ok(Some(kind)),
            None => Err(error),
        },
    }
}

/// The type that an exchange has, from what the broker says when it is declared as
/// another: "… inequivalent arg 'type' for exchange 'h2o' in vhost '/': received
/// 'headers' but current is 'x-hailo2'".
fn told(error: &lapin::Error) -> Option<String> {
    let lapin::ErrorKind::ProtocolError(told) = error.kind() else { return None };
    if !is(error, &AMQPSoftError::PRECONDITIONFAILED.into()) {
        return None;
    }
    let text = told.get_message().as_str();
    let kind = text.split_once("but current is '")?.1;
    text.contains("arg 'type'").then(|| kind.trim_end_matches('\'').to_owned())
}

/// Whether there is such a queue.
async fn exists(connection: &Connection, queue: &str) -> lapin::Result<bool> {
    let channel = connection.create_channel().await?;
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    match channel.queue_declare(queue.into(), passive, FieldTable::default()).await {
        Ok(_) => Ok(true),
        Err(error) if is_not_found(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The type of the service's group, if it is this one or another that chooses; none
/// where the broker does not have this type. That costs the connection, so it gets one
/// of its own.
async fn chooses(
    broker: &Broker,
    kind: &'static str,
    service: &str,
) -> lapin::Result<Option<&'static str>> {
    let connection = broker.connect(ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    match declare_group(&channel, kind, service).await {
        Ok(()) => Ok(Some(kind)),
        Err(error) if is(&error, &AMQPHardError::COMMANDINVALID.into()) => Ok(None),
        Err(error) => {
            let there = told(&error);
            let there = CHOOSING.into_iter().find(|kind| Some(*kind) == there.as_deref());
            there.map(Some).ok_or(error)
        }
    }
}

/// It goes with the last instance that is bound to it.
async fn declare_group(channel: &Channel, kind: &str, service: &str) -> lapin::Result<()> {
    let options = ExchangeDeclareOptions {
        durable: true,
        auto_delete: true,
        ..ExchangeDeclareOptions::default()
    };
    let mut arguments = FieldTable::default();
    // Of the type that hashes; the other passes it over.
    arguments.insert("hash-property".into(), AMQPValue::LongString("message_id".into()));
    let kind = ExchangeKind::Custom(kind.into());
    channel.exchange_declare((&*group(service)).into(), kind, options, arguments).await
}

/// Whether a failure is the broker's refusal of this kind.
fn is(error: &lapin::Error, kind: &AMQPErrorKind) -> bool {
    matches!(error.kind(), lapin::ErrorKind::ProtocolError(told) if told.kind() == kind)
}

#[cfg(test)]
mod tests {
    use lapin::protocol::AMQPError;

    use super::*;

    #[test]
    fn the_broker_says_what_an_exchange_is() {
        let says = |text: &str| {
            let code = AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED);
            told(&lapin::ErrorKind::ProtocolError(AMQPError::new(code, text.into())).into())
        };
        let text = "PRECONDITION_FAILED - inequivalent arg 'type' for exchange 'h2o' in vhost '/': \
                    received 'headers' but current is 'x-hailo2'";
        assert_eq!(says(text).as_deref(), Some(HAILO));
        let text = "PRECONDITION_FAILED - inequivalent arg 'durable' for exchange 'h2o' in vhost \
                    '/': received 'true' but current is 'false'";
        assert_eq!(says(text), None);
    }
}
