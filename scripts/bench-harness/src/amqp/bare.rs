//! A message into a stream and out again, by a client and nothing else.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::StreamExt;
use lapin::options::*;
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use tokio::sync::oneshot;

type Waiting = Arc<Mutex<HashMap<u64, oneshot::Sender<()>>>>;

/// A stream, one connection that publishes and one that consumes.
pub struct Bare {
    channel: Channel,
    name: String,
    next: AtomicU64,
    waiting: Waiting,
    _connections: [Connection; 2],
}

impl Bare {
    pub async fn open(address: &str, name: &str) -> Self {
        let connect = async || {
            let url = format!("amqp://guest:guest@{address}/%2f");
            Connection::connect(&url, ConnectionProperties::default()).await.expect("it connects")
        };
        let (publisher, consumer) = (connect().await, connect().await);
        let channel = publisher.create_channel().await.expect("a channel");
        channel.confirm_select(ConfirmSelectOptions::default()).await.expect("confirms");
        let mut stream = FieldTable::default();
        stream.insert("x-queue-type".into(), AMQPValue::LongString("stream".into()));
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        channel.queue_declare(name.into(), durable, stream).await.expect("a stream");
        let waiting = Waiting::default();
        consume(&consumer, name, Arc::clone(&waiting)).await;
        let _connections = [publisher, consumer];
        Self { channel, name: name.to_owned(), next: AtomicU64::new(0), waiting, _connections }
    }

    /// Publishes a message of so many bytes, and waits for its confirmation and for
    /// it to come back.
    pub async fn pass(&self, bytes: usize) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (tell, told) = oneshot::channel();
        self.waiting.lock().expect("unharmed").insert(number, tell);
        let mut body = vec![b'x'; bytes];
        body[..8].copy_from_slice(&number.to_be_bytes());
        let mandatory = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let properties = BasicProperties::default();
        let key = (&*self.name).into();
        let sent = self.channel.basic_publish("".into(), key, mandatory, &body, properties).await;
        let confirmed = sent.expect("it is sent").await.expect("it is confirmed");
        assert!(confirmed.is_ack());
        told.await.expect("it comes back");
    }
}

async fn consume(connection: &Connection, name: &str, waiting: Waiting) {
    let channel = connection.create_channel().await.expect("a channel");
    channel.basic_qos(4000, BasicQosOptions::default()).await.expect("a prefetch");
    let mut end = FieldTable::default();
    end.insert("x-stream-offset".into(), AMQPValue::LongString("next".into()));
    let plain = BasicConsumeOptions::default();
    let consumer = channel.basic_consume(name.into(), "".into(), plain, end).await;
    let mut consumer = consumer.expect("it consumes");
    tokio::spawn(async move {
        let _channel = channel;
        let mut unacknowledged = 0;
        while let Some(Ok(delivery)) = consumer.next().await {
            let number = delivery.data[..8].try_into().expect("eight bytes");
            let waits = waiting.lock().expect("unharmed").remove(&u64::from_be_bytes(number));
            if let Some(tell) = waits {
                tell.send(()).expect("somebody waits");
            }
            unacknowledged += 1;
            if unacknowledged == 500 {
                unacknowledged = 0;
                let all = BasicAckOptions { multiple: true };
                delivery.ack(all).await.expect("it is acknowledged");
            }
        }
    });
}
