//! A caller of H2 written from its wire alone, on nothing but an AMQP client.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use conformance_tests::own::Outcome;
use conformance_tests::servers::RabbitMq;
use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::{
    BasicConsumeOptions, BasicPublishOptions, ExchangeDeclareOptions, QueueBindOptions,
    QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, Consumer, ExchangeKind};

/// Where replies and what is for one instance goes through.
pub(super) const DIRECT: &str = "h2o.direct";

/// A connection with a queue that it reads.
pub(super) struct Peer {
    _connection: Connection,
    channel: Channel,
    replies: Consumer,
    queue: String,
    /// How many ids it has given out.
    ids: u32,
}

impl Peer {
    /// Connects, and binds a queue of this name to `h2o.direct` by this key.
    pub(super) async fn open(broker: &RabbitMq, queue: &str, key: &str) -> Result<Self, Outcome> {
        Self::opened(broker, queue, key).await.map_err(broken)
    }

    async fn opened(broker: &RabbitMq, queue: &str, key: &str) -> lapin::Result<Self> {
        let properties = ConnectionProperties::default();
        let connection = Connection::connect(&super::url(broker), properties).await?;
        let channel = connection.create_channel().await?;
        let own = QueueDeclareOptions { auto_delete: true, ..QueueDeclareOptions::default() };
        let mut shape = FieldTable::default();
        shape.insert("x-message-ttl".into(), AMQPValue::LongInt(5_000));
        shape.insert("x-expires".into(), AMQPValue::LongInt(30_000));
        channel.queue_declare(queue.into(), own, shape).await?;
        // As an estate has it: whoever comes first makes it.
        let durable = ExchangeDeclareOptions { durable: true, ..Default::default() };
        let none = FieldTable::default();
        channel.exchange_declare(DIRECT.into(), ExchangeKind::Direct, durable, none).await?;
        let (to, from, options) = (queue.into(), DIRECT.into(), QueueBindOptions::default());
        channel.queue_bind(to, from, key.into(), options, FieldTable::default()).await?;
        let taken = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
        let replies =
            channel.basic_consume(queue.into(), "".into(), taken, FieldTable::default()).await?;
        Ok(Self { _connection: connection, channel, replies, queue: queue.to_owned(), ids: 0 })
    }

    /// Binds itself, as some of H2's services do.
    pub(super) async fn bind_itself(&self, service: &str) -> Result<(), Outcome> {
        let mut arguments = FieldTable::default();
        for (name, value) in [("service", service), ("x-match", "all")] {
            arguments.insert(name.into(), AMQPValue::LongString(value.into()));
        }
        let (to, key, options) = ((&*self.queue).into(), service.into(), Default::default());
        let binding = self.channel.queue_bind(to, "h2o".into(), key, options, arguments);
        binding.await.map_err(broken)
    }

    /// Reads a topic, as the binder has it done for an instance.
    pub(super) async fn subscribe(&self, topic: &str) -> Result<(), Outcome> {
        let durable = ExchangeDeclareOptions { durable: true, ..Default::default() };
        let (name, none) = ("h2o.topic", FieldTable::default);
        let declaring =
            self.channel.exchange_declare(name.into(), ExchangeKind::Topic, durable, none());
        declaring.await.map_err(broken)?;
        let (to, key, options) = ((&*self.queue).into(), topic.into(), Default::default());
        self.channel.queue_bind(to, name.into(), key, options, none()).await.map_err(broken)
    }

    /// Answers as H2's server does, until it is ended: pings, and requests with what
    /// they said. What has run goes to `ran`.
    pub(super) async fn serve(mut self, ran: Arc<Mutex<Vec<String>>>) {
        while let Some(delivery) = self.next(Duration::from_secs(600)).await {
            let text = |value: &Option<lapin::types::ShortString>| {
                value.as_ref().map_or(String::new(), |value| value.as_str().to_owned())
            };
            let reply_to = text(delivery.properties.reply_to());
            let is_ping = header(&delivery, "messageType") == "heartbeat";
            let kind = if is_ping { "heartbeat" } else { "reply" };
            let mut table = FieldTable::default();
            table.insert("messageType".into(), AMQPValue::LongString(kind.into()));
            let mut properties = BasicProperties::default()
                .with_reply_to((&*self.queue).into())
                .with_content_type("text/plain".into())
                .with_headers(table);
            let mut body = b"PONG".to_vec();
            if !is_ping {
                let id = text(delivery.properties.message_id());
                ran.lock().expect("nobody panics").push(id.clone());
                properties = properties
                    .with_correlation_id(id.into())
                    .with_content_type("application/octetstream".into());
                body = delivery.data;
            }
            let _ = self.publish(DIRECT, &reply_to, properties, &body).await; // It may be gone.
        }
    }

    /// A request as H2's own client sends it, to whoever serves this.
    pub(super) async fn request(&self, service: &str, id: &str) -> Result<(), Outcome> {
        let properties = self.properties(service, id);
        self.publish("h2o", "", properties, id.as_bytes()).await
    }

    /// What such a request has.
    pub(super) fn properties(&self, service: &str, id: &str) -> BasicProperties {
        self.asking(service, "echo", id)
    }

    /// What a request to an endpoint has, in the order that H2 writes it.
    pub(super) fn asking(&self, service: &str, endpoint: &str, id: &str) -> BasicProperties {
        let mut table = FieldTable::default();
        for (name, value) in [
            ("messageType", "request"),
            ("service", service),
            ("endpoint", endpoint),
            ("traceID", ""),
            ("traceShouldPersist", "0"),
            ("sessionID", ""),
            ("parentMessageID", ""),
            ("from", ""),
            ("remoteAddr", ""),
            ("authorised", "0"),
        ] {
            table.insert(name.into(), AMQPValue::LongString(value.into()));
        }
        BasicProperties::default()
            .with_content_type("application/octetstream".into())
            .with_delivery_mode(1)
            .with_message_id(id.into())
            .with_reply_to((&*self.queue).into())
            .with_headers(table)
    }

    /// An id for another request.
    pub(super) fn id(&mut self) -> String {
        self.ids += 1;
        format!("{}-{}", self.queue, self.ids)
    }

    /// Publishes anything.
    pub(super) async fn publish(
        &self,
        exchange: &str,
        key: &str,
        properties: BasicProperties,
        body: &[u8],
    ) -> Result<(), Outcome> {
        let plain = BasicPublishOptions::default();
        let sent = self.channel.basic_publish(exchange.into(), key.into(), plain, body, properties);
        sent.await.map(drop).map_err(broken)
    }

    /// What comes, until nothing comes for so long.
    pub(super) async fn collect(&mut self, silence: Duration) -> Vec<Delivery> {
        let mut all = Vec::new();
        while let Some(delivery) = self.next(silence).await {
            all.push(delivery);
        }
        all
    }

    /// The next message, if it comes in time.
    pub(super) async fn next(&mut self, patience: Duration) -> Option<Delivery> {
        match tokio::time::timeout(patience, self.replies.next()).await {
            Ok(Some(Ok(delivery))) => Some(delivery),
            Ok(_) | Err(_) => None,
        }
    }
}

/// Which request it answers.
pub(super) fn answers(delivery: &Delivery) -> String {
    let id = delivery.properties.correlation_id();
    id.as_ref().map_or(String::new(), |id| id.as_str().to_owned())
}

/// A header's text.
pub(super) fn header(delivery: &Delivery, name: &str) -> String {
    let table = delivery.properties.headers().as_ref();
    match table.and_then(|table| table.inner().get(name)) {
        Some(AMQPValue::LongString(text)) => text.to_string(),
        _ => String::new(),
    }
}

#[allow(clippy::needless_pass_by_value)] // As `map_err` gives it.
fn broken(error: lapin::Error) -> Outcome {
    Outcome::Broken(error.to_string())
}
