//! A request with H2's headers and its answer, by a client and nothing else: the same
//! exchange, queues of the same shape, the same properties, and a confirm for who asks.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::StreamExt;
use lapin::options::*;
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, Consumer};
use tokio::sync::oneshot;

type Waiting = Arc<Mutex<HashMap<String, oneshot::Sender<Vec<u8>>>>>;

const DIRECT: &str = "h2o.direct";
const CLIENT: &str = "client-bare";
const SERVER: &str = "server-bare";

pub struct Bare {
    channel: Channel,
    next: AtomicU64,
    waiting: Waiting,
    _connections: [Connection; 2],
}

impl Bare {
    pub async fn open(address: &str) -> Self {
        let url = format!("amqp://guest:guest@{address}/%2f");
        let connect = async || {
            Connection::connect(&url, ConnectionProperties::default()).await.expect("it connects")
        };
        let (client, server) = (connect().await, connect().await);
        let requests = queue(&server, SERVER, true).await;
        let answers = queue(&client, CLIENT, false).await;
        let reply = server.create_channel().await.expect("a channel");
        tokio::spawn(serve(requests, reply));
        let waiting = Waiting::default();
        tokio::spawn(hear(answers, Arc::clone(&waiting)));
        let channel = client.create_channel().await.expect("a channel");
        channel.confirm_select(ConfirmSelectOptions::default()).await.expect("confirms");
        Self { channel, next: AtomicU64::new(0), waiting, _connections: [client, server] }
    }

    pub async fn call(&self) {
        let id = format!("3f2b8c1e-4d6a-9c1b-{:017x}", self.next.fetch_add(1, Ordering::Relaxed));
        let (tell, told) = oneshot::channel();
        self.waiting.lock().expect("unharmed").insert(id.clone(), tell);
        let mut table = FieldTable::default();
        for (name, value) in [
            ("messageType", "request"),
            ("service", super::SERVICE),
            ("endpoint", "echo"),
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
        let properties = BasicProperties::default()
            .with_content_type("application/octetstream".into())
            .with_delivery_mode(1)
            .with_message_id(id.into())
            .with_reply_to(CLIENT.into())
            .with_headers(table);
        let mandatory = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let (to, key) = (DIRECT.into(), SERVER.into());
        let sent = self.channel.basic_publish(to, key, mandatory, &[7; 100], properties).await;
        assert!(sent.expect("it is sent").await.expect("it is confirmed").is_ack());
        assert_eq!(told.await.expect("an answer").len(), 100);
    }
}

async fn serve(mut requests: Consumer, channel: Channel) {
    while let Some(Ok(request)) = requests.next().await {
        let properties = &request.properties;
        let to = properties.reply_to().clone().expect("whom to answer");
        let mut table = FieldTable::default();
        table.insert("messageType".into(), AMQPValue::LongString("reply".into()));
        let answer = BasicProperties::default()
            .with_content_type("application/octetstream".into())
            .with_delivery_mode(1)
            .with_correlation_id(properties.message_id().clone().expect("an id"))
            .with_reply_to(SERVER.into())
            .with_headers(table);
        let plain = BasicPublishOptions::default();
        let sent = channel.basic_publish(DIRECT.into(), to, plain, &request.data, answer).await;
        drop(sent.expect("it is sent"));
    }
}

async fn hear(mut answers: Consumer, waiting: Waiting) {
    while let Some(Ok(answer)) = answers.next().await {
        let to = answer.properties.correlation_id().clone().expect("what it answers");
        let waits = waiting.lock().expect("unharmed").remove(to.as_str());
        if let Some(tell) = waits {
            tell.send(answer.data).expect("somebody waits");
        }
    }
}

async fn queue(connection: &Connection, name: &str, durable: bool) -> Consumer {
    let channel = connection.create_channel().await.expect("a channel");
    let none = FieldTable::default;
    let lasting = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let kind = lapin::ExchangeKind::Direct;
    channel.exchange_declare(DIRECT.into(), kind, lasting, none()).await.expect("an exchange");
    let shape = QueueDeclareOptions {
        durable,
        exclusive: !durable,
        auto_delete: true,
        ..QueueDeclareOptions::default()
    };
    channel.queue_declare(name.into(), shape, none()).await.expect("a queue");
    let plain = QueueBindOptions::default();
    channel
        .queue_bind(name.into(), DIRECT.into(), name.into(), plain, none())
        .await
        .expect("bound");
    let taken = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
    channel.basic_consume(name.into(), "".into(), taken, none()).await.expect("a consumer")
}
